"""Phoenix clients at the door: versions, tokens, late refusals, closes, and what harms nobody."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from presence_actors.core.effects import CloseClient, Deliver
from presence_actors.core.events import (
    ClientDisconnected,
    ClientRefused,
    ClientSent,
    GuestConnected,
)
from presence_actors.core.ids import ConnectionId
from presence_actors.core.limits import BAD_FRAMES_MAX, CLIENT_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import Goaway, Identity, Ping, Set, Sub, Unset, Unsub
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import mint
from tests.integration.edge.scripted import KEY, STEP_SECONDS, Gateway, Play, witness
from tests.phoenix_wire import LOBBY, entry, snap

pytestmark = pytest.mark.sockets

OK = {"status": "ok", "response": {}}
#: Refusals come soon enough for a test.
QUICK = EdgeLimits(refusal_ms=50)


class Phone:
    """A Phoenix client by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, *frame: object) -> None:
        """One frame of version 2."""
        await self.socket.send_str(json.dumps(frame))

    async def hear(self) -> Any:
        """The next frame."""
        heard = await self.socket.receive(STEP_SECONDS)
        assert heard.type is aiohttp.WSMsgType.TEXT, heard
        return json.loads(heard.data)

    async def ask(self, *frame: object) -> Any:
        """One frame, and the next one that comes."""
        await self.say(*frame)
        return await self.hear()

    async def beats(self) -> bool:
        """Whether the next that it hears is the answer to a heartbeat."""
        answer = await self.ask(None, "77", "phoenix", "heartbeat", {})
        return bool(answer == [None, "77", "phoenix", "phx_reply", OK])

    async def end(self) -> int | None:
        """The code that the gateway closes with, whatever comes before."""
        while True:
            heard = await self.socket.receive(STEP_SECONDS)
            if heard.type is not aiohttp.WSMsgType.TEXT:
                return self.socket.close_code


async def ring(gateway: Gateway, query: str = "token=dev:alice&vsn=2.0.0", **more: Any) -> Phone:
    """A client whose socket is open."""
    url = f"{gateway.url}/socket/websocket?{query}"
    return Phone(await gateway.http.ws_connect(url, max_msg_size=0, **more))


async def joined(gateway: Gateway, **more: Any) -> tuple[Phone, ConnectionId]:
    """A client that is in the lobby."""
    phone = await ring(gateway, **more)
    assert (await phone.ask("3", "3", LOBBY, "phx_join", {"meta": {"a": 1}}))[4] == OK
    return phone, gateway.machine.told(GuestConnected)[-1].connection


async def refusal(gateway: Gateway, query: str, **more: Any) -> int:
    """The status with which an upgrade is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await ring(gateway, query, **more)
    return refused.value.status


def test_a_client_is_introduced_with_its_first_join(play: Play) -> None:
    """The machine hears who it is and what it says of itself, then what it wants."""

    async def story() -> None:
        async with Gateway() as gateway:
            phone = await ring(gateway, "token=dev:alice&device=tv&device_id=d1&vsn=2.0.0")
            assert await phone.beats()
            assert gateway.machine.events == []
            answer = await phone.ask("3", "4", LOBBY, "phx_join", {"meta": {"a": 1}})
            assert answer == ["3", "4", LOBBY, "phx_reply", OK]
            first, *rest = gateway.machine.events
            assert isinstance(first, GuestConnected)
            assert first.identity == Identity("default", "alice")  # type: ignore[arg-type]
            assert (first.device, first.topic, first.meta) == ("tv", LOBBY, {"a": 1})
            assert rest == [
                ClientSent(first.connection, Set(id=1, topic=LOBBY, meta={"a": 1})),
                ClientSent(first.connection, Sub(id=2, topics=[LOBBY])),
            ]
            assert await phone.beats()
            assert gateway.machine.events[-1] == ClientSent(first.connection, Ping())

    play(story)


def test_a_state_reaches_each_version_in_its_own_framing(play: Play) -> None:
    """One room, one message of the machine."""

    async def story() -> None:
        async with Gateway() as gateway:
            new, first = await joined(gateway)
            old, second = await ring(gateway, "token=dev:bob"), None
            await old.socket.send_str(
                json.dumps({"topic": LOBBY, "event": "phx_join", "payload": {}, "ref": "1"})
            )
            assert (await old.hear())["payload"] == OK
            second = gateway.machine.told(GuestConnected)[-1].connection
            gateway.perform(Deliver([first, second], snap(entry("alice"))))
            framed, bare = await new.hear(), await old.hear()
            assert framed[:4] == ["3", None, LOBBY, "presence_state"]
            assert bare == {
                "topic": LOBBY,
                "event": "presence_state",
                "payload": framed[4],
                "ref": None,
            }

    play(story)


def test_a_token_may_come_in_the_subprotocol(play: Play) -> None:
    """And is never said back: the answer is `phoenix`."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            token = mint("bob", key=KEY, namespace="shop")
            encoded = base64.b64encode(token.encode()).rstrip(b"=").decode()
            protocols = ("phoenix", f"base64url.bearer.phx.{encoded}")
            phone = await ring(gateway, "vsn=2.0.0", protocols=protocols)
            assert phone.socket.protocol == "phoenix"
            await phone.ask("3", "3", LOBBY, "phx_join", {})
            identity = gateway.machine.told(GuestConnected)[0].identity
            assert (identity.namespace, identity.user) == ("shop", "bob")

    play(story)


@pytest.mark.parametrize(
    "query",
    [
        "token=dev:alice&vsn=3.0.0",
        "token=dev:alice&vsn=2",
        "token=alice&vsn=2.0.0",
        "token=&vsn=2.0.0",
        "vsn=2.0.0",
        f"token=dev:alice&device={'x' * 50}&vsn=2.0.0",
    ],
)
def test_a_client_that_cannot_be_taken_is_refused_late(query: str, play: Play) -> None:
    """With 403 after a while: it tries again at once, and for ever. Nobody else waits."""

    async def story() -> None:
        async with Gateway(limits=QUICK) as gateway, witness(gateway):
            loop = asyncio.get_running_loop()
            start = loop.time()
            assert await refusal(gateway, query) == 403
            # Less a little: the clocks of loops are coarse.
            assert loop.time() - start > 0.04
            assert gateway.machine.told(GuestConnected) == []

    play(story)


def test_refusals_that_wait_have_a_limit(play: Play) -> None:
    """Beyond it they are quick, so that they cannot be used to fill the gateway."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(refusal_ms=1_000, refusals_max=1)) as gateway:
            refusals = [asyncio.create_task(refusal(gateway, "vsn=2.0.0")) for _ in range(3)]
            ends = asyncio.as_completed(refusals)
            assert [await next(ends), await next(ends)] == [403, 403]
            assert sum(not end.done() for end in refusals) == 1
            assert await next(ends) == 403

    play(story)


def test_a_foreign_page_may_not_connect(play: Play) -> None:
    """The origin is looked at before anything else, and that refusal is quick."""

    async def story() -> None:
        async with Gateway() as gateway:
            for origin in ("https://evil.example", "null"):
                query = "token=dev:alice&vsn=2.0.0"
                assert await refusal(gateway, query, headers={"Origin": origin}) == 403

    play(story)


def test_bad_frames_are_counted_and_end_the_connection(play: Play) -> None:
    """With 4400, after a few; nobody else is touched."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            phone, connection = await joined(gateway)
            for number in range(BAD_FRAMES_MAX):
                await phone.socket.send_str("{" if number % 2 else '["3","3","x"]')
            assert await phone.beats()
            assert (
                gateway.machine.told(ClientRefused) == [ClientRefused(connection)] * BAD_FRAMES_MAX
            )
            await phone.socket.send_bytes(b"\xff")
            assert await phone.end() == 4400

    play(story)


def test_a_frame_above_the_limit_closes_with_1009(play: Play) -> None:
    """As for native clients."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            phone, _ = await joined(gateway)
            await phone.say("3", "4", LOBBY, "track", {"a": "x" * CLIENT_FRAME_BYTES_MAX})
            assert await phone.end() == 1009

    play(story)


def test_a_binary_push_gets_an_answer(play: Play) -> None:
    """It is no bad frame, only of no use here."""

    async def story() -> None:
        async with Gateway() as gateway:
            phone, _ = await joined(gateway)
            texts = [b"3", b"4", LOBBY.encode(), b"shout"]
            head = bytes([0, *map(len, texts)])
            await phone.socket.send_bytes(head + b"".join(texts) + b"\x00")
            assert (await phone.hear())[4]["status"] == "error"
            assert gateway.machine.told(ClientRefused) == []

    play(story)


def test_a_client_that_joins_nothing_and_says_nothing_is_closed(play: Play) -> None:
    """With 4508; a heartbeat puts it off."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(idle_ms=150)) as gateway:
            phone = await ring(gateway)
            assert await phone.beats()
            assert await phone.end() == 4508
            assert gateway.machine.events == []

    play(story)


@pytest.mark.parametrize(
    ("code", "reason", "orderly"),
    [
        (1000, b"", True),
        (1000, b"heartbeat timeout", False),
        (1001, b"", False),
        (None, b"", True),
    ],
)
def test_only_a_goodbye_needs_no_grace(
    code: int | None, reason: bytes, play: Play, *, orderly: bool
) -> None:
    """The machine hears whether the client meant to go; `disconnect()` closes without a code."""

    async def story() -> None:
        async with Gateway() as gateway:
            phone, connection = await joined(gateway)
            if code is None:
                assert phone.socket._writer is not None
                await phone.socket._writer.send_frame(b"", aiohttp.WSMsgType.CLOSE)
            else:
                await phone.socket.close(code=code, message=reason)
            gone = await gateway.machine.until(ClientDisconnected)
            assert gone == ClientDisconnected(connection, orderly)

    play(story)


def test_a_connection_that_breaks_has_its_grace(play: Play) -> None:
    """Nothing was said, so it may come back."""

    async def story() -> None:
        async with Gateway() as gateway:
            phone, connection = await joined(gateway)
            transport = phone.socket.get_extra_info("socket")
            assert transport is not None
            response = phone.socket._response
            assert response.connection is not None
            assert response.connection.transport is not None
            response.connection.transport.abort()
            gone = await gateway.machine.until(ClientDisconnected)
            assert gone == ClientDisconnected(connection, orderly=False)

    play(story)


def test_a_leave_tells_the_machine_at_once(play: Play) -> None:
    """And the channel is closed for good."""

    async def story() -> None:
        async with Gateway() as gateway:
            phone, connection = await joined(gateway)
            assert await phone.ask("3", "9", LOBBY, "phx_leave", {}) == [
                "3",
                "9",
                LOBBY,
                "phx_reply",
                OK,
            ]
            assert await phone.hear() == ["3", "3", LOBBY, "phx_close", {}]
            assert gateway.machine.events[-2:] == [
                ClientSent(connection, Unset(topic=LOBBY)),
                ClientSent(connection, Unsub(topics=[LOBBY])),
            ]

    play(story)


def test_no_connection_is_ever_closed_with_1000(play: Play) -> None:
    """Older clients would stay away for ever: a drain and a stop say 1012."""

    async def story() -> None:
        async with Gateway() as gateway:
            phone, connection = await joined(gateway)
            gateway.perform(
                Deliver([connection], Goaway(reason="drain")),
                CloseClient(connection, 1012, "drain"),
            )
            assert await phone.end() == 1012
            last, _ = await joined(gateway)
            idle = await ring(gateway)
            assert await idle.beats()
            ends = [asyncio.create_task(phone.end()) for phone in (last, idle)]
            await gateway.server.stop()
            assert [await end for end in ends] == [1012, 1012]

    play(story)


def test_pythons_clients_get_frames_that_they_take(play: Play) -> None:
    """By the name that their library gives itself; anybody else gets a large room at once."""

    async def story() -> None:
        async with Gateway() as gateway:
            agent = {"User-Agent": "Python/3.11 websockets/15.0.1"}
            python, first = await joined(gateway, headers=agent)
            browser, second = await joined(gateway)
            crowd = [entry(f"user-{number}", text="x" * 300) for number in range(4_000)]
            gateway.perform(Deliver([first, second], snap(*crowd)))
            whole = await browser.hear()
            assert (whole[3], len(whole[4])) == ("presence_state", 4_000)
            state, more = await python.hear(), await python.hear()
            assert (state[3], more[3]) == ("presence_state", "presence_diff")
            assert len(state[4]) + len(more[4]["joins"]) == 4_000

    play(story)
