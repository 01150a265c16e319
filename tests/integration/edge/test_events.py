"""Streams of events over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import numpy as np
import pytest

from presence_actors.core.effects import CloseClient, Deliver, Mark
from presence_actors.core.events import ClientConnected, ClientDisconnected, ClientSent
from presence_actors.core.ids import ConnectionId, UserId
from presence_actors.core.limits import SUBSCRIPTIONS_PER_CONNECTION_MAX as MOST
from presence_actors.core.vocabulary import Snap, StatusFrame, Sub, UserStatus
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import mint
from tests.integration.edge.scripted import KEY, STEP_SECONDS, Gateway, Play

pytestmark = pytest.mark.sockets


class Stream:
    """A reader of events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> str:
        """The next block of lines, without the empty line behind it."""
        lines: list[str] = []
        async with asyncio.timeout(STEP_SECONDS):
            while True:
                line = (await self.response.content.readline()).decode()
                if line in ("\n", ""):
                    return "".join(lines).rstrip("\n")
                lines.append(line)

    async def event(self) -> tuple[str, object]:
        """The next event: its name and its data."""
        fields = dict(line.split(": ", 1) for line in (await self.block()).split("\n"))
        return fields["event"], msgspec.json.decode(fields["data"])


@asynccontextmanager
async def stream(gateway: Gateway, path: str, **headers: str) -> AsyncIterator[Stream]:
    """A stream that was opened."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.http.get(gateway.url + path, headers=names) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        opened = Stream(response)
        assert await opened.block() == "retry: 2000"
        yield opened


async def watcher(gateway: Gateway) -> ConnectionId:
    """The connection that the machine has been told of last."""
    return (await gateway.machine.until(ClientConnected)).connection


def test_what_is_watched_comes_as_events_and_the_id_behind_them(play: Play) -> None:
    """Each message as one event; the machine hears of a watcher, and of what it wants."""

    async def story() -> None:
        async with (
            Gateway() as gateway,
            stream(gateway, "/v1/events?topics=lobby,room:design&users=bob") as events,
        ):
            connection = await watcher(gateway)
            assert gateway.machine.told(ClientConnected)[0].watches_only
            wanted = Sub(topics=["room:lobby", "room:design"], users=["bob"])
            assert gateway.machine.told(ClientSent) == [ClientSent(connection, wanted)]
            bob = StatusFrame(user=UserId("bob"), status=UserStatus.ONLINE)
            gateway.perform(
                Deliver([connection], Snap(topic="room:lobby", state=[])),
                Deliver([connection], bob),
                Mark(connection, "gQA"),
            )
            assert await events.event() == (
                "snap",
                {"type": "snap", "topic": "room:lobby", "state": []},
            )
            assert (await events.event())[0] == "status"
            assert await events.block() == "id: gQA\nevent: mark\ndata: {}"

    play(story)


@pytest.mark.parametrize(
    ("query", "header", "cursor"),
    [
        pytest.param("", "gQA", "gQA", id="the header that readers send"),
        pytest.param("&cursor=gQB", "", "gQB", id="a parameter for the first time"),
        pytest.param("&cursor=gQB", "gQA", "gQA", id="the header is the newer one"),
    ],
)
def test_a_reader_goes_on_where_it_was(play: Play, query: str, header: str, cursor: str) -> None:
    """At any gateway: the cursor is all that it needs."""

    async def story() -> None:
        headers = {"Last_Event_ID": header} if header else {}
        async with (
            Gateway() as gateway,
            stream(gateway, f"/v1/events?topics=lobby{query}", **headers),
        ):
            said = await gateway.machine.until(ClientSent)
            assert said.message == Sub(topics=["room:lobby"], cursor=cursor)

    play(story)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param("", "bad_frame", id="nothing to watch"),
        pytest.param("?topics=", "bad_frame", id="an empty name"),
        pytest.param("?topic=lobby", "bad_frame", id="an unknown parameter"),
        pytest.param("?topics=a&cursor=x&cursor=y", "bad_frame", id="a parameter twice"),
        pytest.param("?users=" + "x" * 129, "too_long", id="an over-long name"),
        pytest.param(
            # Short names: all of them have to fit into one line of a request.
            "?users=" + ",".join(np.base_repr(n, 36) for n in range(1 + MOST)),
            "too_many",
            id="too many",
        ),
    ],
)
def test_a_stream_that_cannot_be_is_refused_with_a_sentence(
    play: Play, query: str, code: str
) -> None:
    """Before it is one: a reader that gets no 200 does not come again by itself."""

    async def story() -> None:
        async with Gateway() as gateway:
            status, body, _ = await gateway.get(f"/v1/events{query}")
            assert (status, body["code"]) == (400, code)
            assert body["message"]
            assert gateway.machine.told(ClientConnected) == []

    play(story)


def test_a_stream_wants_a_token_where_there_is_a_key(play: Play) -> None:
    """And ends with it: the machine knows when."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            status, body, _ = await gateway.get("/v1/events?topics=lobby")
            assert (status, body["code"]) == (401, "unauthorized")
            token = f"Bearer {mint('app', key=KEY, namespace='shop')}"
            async with stream(gateway, "/v1/events?topics=lobby", Authorization=token):
                identity = (await gateway.machine.until(ClientConnected)).identity
                assert (identity.namespace, identity.user) == ("shop", "app")
                assert identity.expires is not None

    play(story)


def test_a_full_gateway_opens_no_stream(play: Play) -> None:
    """It counts as a connection."""

    async def story() -> None:
        async with (
            Gateway(limits=EdgeLimits(connections_max=1)) as gateway,
            stream(gateway, "/v1/events?topics=lobby"),
        ):
            status, body, headers = await gateway.get("/v1/events?topics=lobby")
            assert (status, body["code"], headers["Retry-After"]) == (503, "unavailable", "5")

    play(story)


def test_a_stream_that_the_gateway_ends_says_why(play: Play) -> None:
    """With the code of the WebSocket; then it is over in good order."""

    async def story() -> None:
        async with Gateway() as gateway, stream(gateway, "/v1/events?topics=lobby") as events:
            connection = await watcher(gateway)
            gateway.perform(CloseClient(connection, 4401, "token expired"))
            assert await events.event() == ("close", {"code": 4401, "reason": "token expired"})
            assert await events.response.content.read() == b""

    play(story)


def test_a_gateway_that_stops_sends_its_readers_elsewhere(play: Play) -> None:
    """The stream says so, and ends; nothing holds up the gateway."""

    async def story() -> None:
        async with Gateway() as gateway, stream(gateway, "/v1/events?topics=lobby") as events:
            await watcher(gateway)
            stopping = asyncio.ensure_future(gateway.server.stop("restart"))
            assert (await events.event())[0] == "goaway"
            assert await events.event() == ("close", {"code": 1012, "reason": "restart"})
            assert await events.response.content.read() == b""
            await stopping

    play(story)


def test_the_machine_hears_that_a_reader_is_gone(play: Play) -> None:
    """It watches no more."""

    async def story() -> None:
        async with Gateway() as gateway:
            async with stream(gateway, "/v1/events?topics=lobby"):
                connection = await watcher(gateway)
            assert (await gateway.machine.until(ClientDisconnected)).connection == connection

    play(story)


def test_a_line_that_carries_nothing_carries_a_comment(play: Play) -> None:
    """So proxies keep it, and a reader sees that it lives."""

    async def story() -> None:
        async with (
            Gateway(ping_ms=1_000) as gateway,
            stream(gateway, "/v1/events?topics=lobby") as events,
        ):
            assert await events.block() == ": beat"

    play(story)


def test_a_reader_that_does_not_read_is_cut_off_and_nobody_waits_for_it(play: Play) -> None:
    """As a socket that is too slow: what waits for it is bounded."""

    async def story() -> None:
        limits = EdgeLimits(unsent_bytes_max=64 * 1024, close_ms=100)
        async with Gateway(limits=limits) as gateway:
            reader = socket.create_connection(("127.0.0.1", gateway.port))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.sendall(b"GET /v1/events?topics=lobby HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection = await watcher(gateway)
            goes_on = Snap(topic="room:" + "x" * 100_000, state=[])
            for _ in range(100):
                gateway.perform(Deliver([connection], goes_on))
                await asyncio.sleep(0)
            gone = await gateway.machine.until(ClientDisconnected)
            assert gone.connection == connection
            assert gateway.driver.counts["too_slow"] == 1
            assert (await gateway.get("/healthz"))[0] == 200
            reader.close()

    play(story)


def test_an_old_reader_gets_its_events_without_chunks(play: Play) -> None:
    """HTTP/1.0 knows none: what comes is the stream as it is."""

    async def story() -> None:
        async with Gateway() as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"GET /v1/events?topics=lobby HTTP/1.0\r\nHost: localhost\r\n\r\n")
            connection = await watcher(gateway)
            gateway.perform(CloseClient(connection, 1012, "restart"))
            async with asyncio.timeout(STEP_SECONDS):
                _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            end = b'event: close\ndata: {"code":1012,"reason":"restart"}\n\n'
            assert body == b"retry: 2000\n\n" + end
            writer.close()

    play(story)
