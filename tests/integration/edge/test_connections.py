"""Clients that come in as they should, and what becomes of their connections."""

import asyncio

import aiohttp
import pytest

from presence_actors.core.effects import CloseClient, Deliver, Send
from presence_actors.core.events import ClientConnected, ClientDisconnected, ClientSent
from presence_actors.core.ids import NodeName
from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX, UNSENT_BYTES_MAX
from presence_actors.core.vocabulary import Bye, Hello, Identity, Ok, Ping, Set
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import mint
from tests.integration.edge.scripted import KEY, STEP_SECONDS, Gateway, Play, witness

pytestmark = pytest.mark.sockets


def test_a_client_that_says_who_it_is_gets_served(play: Play) -> None:
    """The machine hears who it is, then its hello without the token."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            assert gateway.machine.events == [
                ClientConnected(connection, Identity("default", "alice")),  # type: ignore[arg-type]
                ClientSent(connection, Hello()),
            ]
            assert client.socket.protocol == "presence.v1.json"
            assert await client.is_served()

    play(story)


def test_a_token_may_come_in_the_header(play: Play) -> None:
    """As server programs do it; one in the hello wins."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            headers = {"Authorization": f"Bearer {mint('bob', key=KEY, namespace='shop')}"}
            for hello, user in ((Hello(), "bob"), (Hello(token=mint("eve", key=KEY)), "eve")):
                client = await gateway.connect(headers=headers)
                await client.say(hello)
                assert (await client.hear())["type"] == "welcome"
                assert gateway.machine.told(ClientConnected)[-1].identity.user == user

    play(story)


def test_what_the_machine_says_in_one_turn_arrives_in_its_order(play: Play) -> None:
    """Each client hears what is for it, and only that."""

    async def story() -> None:
        async with Gateway() as gateway:
            alice, first = await gateway.greet("alice")
            bob, second = await gateway.greet("bob")
            gateway.perform(
                Deliver([first, second], Ok(id=1)),
                Deliver([second], Ok(id=2)),
                Deliver([first, second], Ok(id=3)),
            )
            assert [await alice.hear() for _ in range(2)] == [
                {"type": "ok", "id": 1},
                {"type": "ok", "id": 3},
            ]
            assert [(await bob.hear())["id"] for _ in range(3)] == [1, 2, 3]

    play(story)


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, 300_000])
def test_a_frame_of_any_length_arrives_whole(play: Play, size: int) -> None:
    """The header has three forms, by length."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            gateway.perform(
                Deliver([connection], Ok(id="x" * size)), Deliver([connection], Ok(id=1))
            )
            assert (await client.hear())["id"] == "x" * size
            assert (await client.hear())["id"] == 1

    play(story)


def test_what_is_for_other_nodes_goes_to_the_links(play: Play) -> None:
    """The driver does not look into it."""

    async def story() -> None:
        async with Gateway() as gateway:
            gateway.perform(Send(NodeName("a/w0"), []))
            assert gateway.sent == [("a/w0", [])]

    play(story)


def test_a_client_that_says_bye_leaves_in_order(play: Play) -> None:
    """Its end is reported at once, as an orderly one, and the socket closed as usual."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            await client.say(Bye())
            assert await client.end() == (1000, "bye")
            assert gateway.machine.events[-2:] == [
                ClientSent(connection, Bye()),
                ClientDisconnected(connection, orderly=True),
            ]

    play(story)


@pytest.mark.parametrize("how", ["closes", "vanishes"])
def test_a_client_that_goes_without_a_word_is_lost(play: Play, how: str) -> None:
    """The machine hears of it once, and not as an orderly end: it may come back."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            if how == "closes":
                await client.socket.close(code=1001)
            else:
                transport = client.socket.get_extra_info("socket")
                assert transport is not None
                client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
            await gateway.machine.until(ClientDisconnected)
            assert gateway.machine.told(ClientDisconnected) == [ClientDisconnected(connection)]
            assert gateway.driver.connections == 0

    play(story)


def test_the_machine_may_close_a_connection(play: Play) -> None:
    """With its code and reason, after what it said before; the client's end is then a fact."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            gateway.perform(
                Deliver([connection], Ok(id=1)),
                CloseClient(connection, 4508, "idle"),
                Deliver([connection], Ok(id=2)),
            )
            assert (await client.hear())["id"] == 1
            assert await client.end() == (4508, "idle")
            await gateway.machine.until(ClientDisconnected)
            assert gateway.machine.told(ClientDisconnected) == [ClientDisconnected(connection)]

    play(story)


def test_a_reason_that_is_too_long_for_a_closing_frame_is_cut(play: Play) -> None:
    """A closing frame has 123 bytes for it, and no half characters."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            gateway.perform(CloseClient(connection, 4508, "ä" * 200))
            assert await client.end() == (4508, "ä" * 61)

    play(story)


def test_a_client_that_does_not_read_is_closed_and_the_others_get_all(play: Play) -> None:
    """It is told 4513 behind what it was sent; nobody waits for it.

    slow   . . . . . (does not read) . . . . . reads ... 4513
    quick  1 2 3 4 ...                           n
    """

    async def story() -> None:
        async with Gateway() as gateway:
            slow, lagging = await gateway.greet("slow")
            quick, keeping_up = await gateway.greet("quick")
            count = 0
            while not gateway.machine.told(ClientDisconnected):
                count += 1
                assert count < 1_000
                gateway.perform(Deliver([lagging, keeping_up], Ok(id="x" * 60_000)))
                await quick.hear()
            assert gateway.machine.told(ClientDisconnected) == [ClientDisconnected(lagging)]
            assert count * 60_000 > UNSENT_BYTES_MAX
            assert gateway.driver.counts["too_slow"] == 1
            assert await slow.end() == (4513, "too slow to read")
            assert await quick.is_served()

    play(story)


def test_one_turn_may_say_more_than_a_slow_client_may_be_behind(play: Play) -> None:
    """The snapshot of a large room does not make a client slow that has read all before."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            gateway.perform(*(Deliver([connection], Ok(id="x" * 200_000)) for _ in range(20)))
            for _ in range(20):
                assert len((await client.hear())["id"]) == 200_000
            assert await client.is_served()

    play(story)


def test_a_client_that_reads_nothing_at_all_does_not_hold_its_socket(play: Play) -> None:
    """If it does not answer the closing frame in time, it is cut off."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(close_ms=100)) as gateway:
            _reading_nothing, connection = await gateway.greet()
            gateway.perform(*(Deliver([connection], Ok(id="x" * 200_000)) for _ in range(40)))
            gateway.perform(CloseClient(connection, 4508, "idle"))
            await gateway.machine.until(ClientDisconnected)
            assert gateway.driver.connections == 0

    play(story)


def test_a_silent_socket_is_pinged_and_dropped(play: Play) -> None:
    """A peer that is gone without a word is noticed without its help; a living one just answers."""

    async def story() -> None:
        async with Gateway(ping_ms=100) as gateway:
            _mute, dead = await gateway.greet("dead", autoping=False)
            alive, _ = await gateway.greet("alive")
            reading = asyncio.create_task(alive.socket.receive())
            assert (await gateway.machine.until(ClientDisconnected)).connection == dead
            assert not reading.done()
            reading.cancel()

    play(story)


def test_stopping_sends_everybody_elsewhere(play: Play) -> None:
    """Each is told so, then closed with 1012, and the port is free again."""

    async def story() -> None:
        gateway = Gateway()
        async with gateway:
            client, _ = await gateway.greet()
            silent = await gateway.connect()
            stopping = asyncio.create_task(gateway.server.stop("restart"))
            assert await client.hear() == {"type": "goaway", "reason": "restart"}
            assert await client.end() == (1012, "restart")
            assert await silent.end() == (1012, "restart")
            await stopping
            with pytest.raises(aiohttp.ClientConnectorError):
                await gateway.connect()

    play(story)


def test_a_gateway_that_is_drained_refuses_before_the_upgrade(play: Play) -> None:
    """Until that is called off."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, _ = await gateway.greet()
            gateway.driver.drain("deploy", spread_ms=1_000)
            assert await gateway.refusal() == 503
            assert await client.is_served()
            gateway.driver.end_drain()
            assert await gateway.refusal() == 101

    play(story)


def test_a_machine_that_breaks_takes_nobody_in(play: Play) -> None:
    """Its driver says so once; new connections are sent to another gateway."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, _ = await gateway.greet()
            gateway.machine.broken = True
            await client.say(Ping())
            error = await asyncio.wait_for(gateway.broke.get(), STEP_SECONDS)
            assert isinstance(error, ZeroDivisionError)
            assert gateway.broke.empty()
            assert (await gateway.get("/healthz"))[0] == 503
            assert await gateway.refusal() == 503

    play(story)


def test_a_full_frame_is_served_and_others_do_not_notice(play: Play) -> None:
    """The limit itself is allowed."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, connection = await gateway.greet()
            frame = '{"type":"set","id":5,"topic":"lobby"}'
            await client.say(frame + " " * (CLIENT_FRAME_BYTES_MAX - len(frame)))
            assert await client.hear() == {"type": "ok", "id": 5}
            assert gateway.machine.events[-1] == ClientSent(
                connection, Set(id=5, topic="room:lobby")
            )

    play(story)


def test_connections_have_a_limit_in_all(play: Play) -> None:
    """Beyond it, an upgrade is refused with the time to come back."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(connections_max=1)) as gateway:
            client, _ = await gateway.greet()
            assert await gateway.refusal() == 503
            await client.socket.close()
            await gateway.machine.until(ClientDisconnected)
            await gateway.greet()

    play(story)
