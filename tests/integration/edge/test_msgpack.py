"""The native protocol in MessagePack over real sockets."""

import asyncio

import aiohttp
import msgspec
import pytest

from presence_actors.core.effects import Deliver
from presence_actors.core.events import ClientConnected
from presence_actors.core.ids import ConnectionId
from presence_actors.core.vocabulary import ClientMessage, Hello, Ok, Ping
from presence_actors.wire import native, native_msgpack
from tests.integration.edge.scripted import STEP_SECONDS, Client, Gateway, Play

pytestmark = pytest.mark.sockets


async def say(client: Client, message: ClientMessage) -> None:
    """Send a binary frame."""
    await client.socket.send_bytes(native_msgpack.encode_client(message))


async def hear(client: Client) -> dict[str, object]:
    """The next frame, which must be binary."""
    async with asyncio.timeout(STEP_SECONDS):
        frame = await client.socket.receive()
    assert frame.type is aiohttp.WSMsgType.BINARY, frame
    return msgspec.msgpack.decode(frame.data, type=dict[str, object])


async def greeted(gateway: Gateway) -> tuple[Client, ConnectionId]:
    """A client that was welcomed, in MessagePack."""
    client = await gateway.connect(protocols=(native_msgpack.SUBPROTOCOL,))
    await say(client, Hello(token="dev:alice"))
    assert (await hear(client))["type"] == "welcome"
    return client, gateway.machine.told(ClientConnected)[-1].connection


def test_one_message_reaches_each_client_in_its_encoding(play: Play) -> None:
    """The same delivery, text to one and binary to the other."""

    async def story() -> None:
        async with Gateway() as gateway:
            packed, first = await greeted(gateway)
            plain, second = await gateway.greet("bob")
            await say(packed, Ping(t=7))
            assert (await hear(packed))["t"] == 7
            gateway.perform(Deliver([first, second], Ok(id=1)))
            assert await hear(packed) == {"type": "ok", "id": 1}
            assert await plain.hear() == {"type": "ok", "id": 1}

    play(story)


@pytest.mark.parametrize(
    "offered",
    [
        (native_msgpack.SUBPROTOCOL, native.SUBPROTOCOL),
        (native.SUBPROTOCOL, native_msgpack.SUBPROTOCOL),
        ("presence.v9.json", native_msgpack.SUBPROTOCOL),
    ],
)
def test_the_first_protocol_that_is_known_is_spoken(play: Play, offered: tuple[str, ...]) -> None:
    """The client's order decides; what is not known is passed over."""

    async def story() -> None:
        async with Gateway() as gateway:
            client = await gateway.connect(protocols=offered)
            known = [word for word in offered if word != "presence.v9.json"]
            assert client.socket.protocol == known[0]

    play(story)


def test_text_on_a_binary_connection_is_one_bad_frame(play: Play) -> None:
    """It is told so, in its own encoding, and stays connected."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, _ = await greeted(gateway)
            await client.socket.send_str('{"type":"ping"}')
            refused = await hear(client)
            assert (refused["type"], refused["code"]) == ("err", "bad_frame")
            assert "binary frames only" in str(refused["message"])
            await say(client, Ping(t=1))
            assert (await hear(client))["type"] == "pong"

    play(story)
