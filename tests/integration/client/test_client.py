"""The client against gateways on loopback: what an application sees, and what the wire carries."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import aiohttp
import pytest

from presence_actors import (
    Connected,
    Ended,
    Interrupted,
    Join,
    Knobs,
    Leave,
    PresenceClient,
    SessionLost,
    Status,
    Unavailable,
    Update,
    UsageError,
    UserStatus,
    connect,
)
from presence_actors.client.stream import EVENTS_MAX, EventStream
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import Entry, ErrorCode, Hello, Patch, Ping, Set, Sub, Unset

pytestmark = pytest.mark.sockets

Cluster = Callable[[int], AbstractAsyncContextManager[list[Any]]]
T = TypeVar("T")

SINCE = WallMs(1_700_000_000_000)


def client_of(gateways: list[Any], user: str = "alice", **options: Any) -> PresenceClient:
    """A client with short waits."""
    knobs = Knobs(reconnect_jitter_ms=100, reconnect_ms_max=200)
    return connect(
        [gateway.url for gateway in gateways],
        f"dev:{user}",
        knobs=knobs,
        timeout_s=10,
        request_timeout_s=10,
        **options,
    )


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a scenario, bounded."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(bounded())


async def next_of(stream: EventStream[Any], kind: type[T]) -> T:
    """The next event of a kind."""
    async for event in stream:
        if isinstance(event, kind):
            return event
    pytest.fail(f"the stream ended before a {kind.__name__}")


def test_two_clients_see_each_other_come_change_and_go(cluster: Cluster) -> None:
    """A join, an update and a leave of bob reach alice, each once, with what changed."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            room = await alice.join("lobby", meta={"mood": "curious"})
            assert list(room.who()) == ["alice"]
            async with client_of(gateways, "bob", device="mobile") as bob:
                bobs = await bob.join("lobby", meta={"mood": "glad", "color": "red"})
                assert list(bobs.who()) == ["alice", "bob"]
                await bobs.update(mood="busy", color=None)
                assert bobs.meta == {"mood": "busy"}
                await bob.set_status("away")
            events = [await anext(room.stream) for _ in range(4)]
        joined, updated, away, left = events
        assert isinstance(joined, Join)
        assert (joined.user, joined.entry.device) == ("bob", "mobile")
        assert isinstance(updated, Update)
        assert updated.entry.meta == {"mood": "busy"}
        assert updated.previous.meta == {"mood": "glad", "color": "red"}
        assert isinstance(away, Update)
        assert away.entry.status == "away"
        assert isinstance(left, Leave)
        assert left.reason == "left"
        assert [event async for event in room] == []

    run(scenario)


def test_a_watch_tells_what_users_show_wherever_they_are(cluster: Cluster) -> None:
    """The statuses at first, then each change; offline users are known as such."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            watch = await alice.watch(["bob", "user:carol"])
            assert {user: status.status for user, status in watch.statuses.items()} == {
                "bob": UserStatus.OFFLINE,
                "carol": UserStatus.OFFLINE,
            }
            async with client_of(gateways, "bob") as bob:
                await bob.set_intent("dnd", text="in a meeting")
                first, second = [await anext(watch.stream) for _ in range(2)]
            assert isinstance(first, Status)
            assert (first.user, first.status) == ("bob", "online")
            assert first.previous == UserStatus.OFFLINE
            assert (second.status, second.text) == ("dnd", "in a meeting")
            await watch.close()
            assert watch.statuses == {}
            assert gateways[0].connections[0].users == set()

    run(scenario)


def test_a_lost_gateway_is_an_interruption_and_no_event_of_a_room(cluster: Cluster) -> None:
    """The next gateway continues the session: room and status said again, nobody came or went."""

    async def scenario() -> None:
        async with cluster(2) as gateways, client_of(gateways) as alice:
            events = alice.events()
            room = await alice.join("lobby", meta={"mood": "curious"})
            await alice.join("design")
            session = alice.session
            await gateways[0].stop()
            assert (await next_of(events, Interrupted)).retry_ms < 1_000
            assert (await next_of(events, Connected)).resumed
            await room.update(mood="glad")
            hello = gateways[1].heard[0]
            assert isinstance(hello, Hello)
            assert (hello.session, hello.resume) == (session, 1)
            said = [type(message) for message in gateways[1].heard]
            assert said == [Hello, Set, Set, Sub, Sub, Patch]
            changed = await anext(room.stream)
            while not isinstance(changed, Update):
                assert not isinstance(changed, Join | Leave)
                changed = await anext(room.stream)
            assert changed.entry.meta == {"mood": "glad"}

    run(scenario)


def test_what_happened_during_an_interruption_comes_as_its_net(cluster: Cluster) -> None:
    """Bob left and carol came while alice was away: one leave and one join, and no more."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            world = gateways[0].world
            bob, carol = [
                Entry(ref=user, key=user, status="online", device="web", since=SINCE, meta={})
                for user in (UserId("bob"), UserId("carol"))
            ]
            world.put("room:lobby", bob)
            room = await alice.join("lobby")
            port = int(gateways[0].url.rpartition(":")[2])
            await gateways[0].stop()
            world.remove("room:lobby", "bob", "left")
            world.put("room:lobby", carol)
            await gateways[0].start(port)
            left = await anext(room.stream)
            joined = await anext(room.stream)
            assert isinstance(left, Leave)
            assert (left.user, left.reason) == ("bob", "")
            assert isinstance(joined, Join)
            assert joined.user == "carol"
            assert list(room.who()) == ["alice", "carol"]

    run(scenario)


def test_a_wire_that_is_lost_while_a_ping_is_answered_is_repaired(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aiohttp answers pings from within `receive`, and raises there: the session comes back."""
    pong = aiohttp.ClientWebSocketResponse.pong
    lost: list[bytes] = []

    async def lose(socket: aiohttp.ClientWebSocketResponse, message: bytes = b"") -> None:
        if not lost:
            lost.append(message)
            connection = socket._response.connection  # no other way to it
            assert connection is not None
            assert connection.transport is not None
            connection.transport.abort()
        await pong(socket, message)

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "pong", lose)

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            events = alice.events()
            await gateways[0].connections[-1].socket.ping(b"are you there?")
            assert isinstance(await next_of(events, Interrupted), Interrupted)
            assert isinstance(await next_of(events, Connected), Connected)
            assert lost == [b"are you there?"]

    run(scenario)


def test_a_cut_wire_is_repaired_without_being_asked(cluster: Cluster) -> None:
    """After `drop` the same session is back, with a greater number."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            events = alice.events()
            session = alice.session
            await alice.drop()
            await next_of(events, Interrupted)
            assert not alice.connected
            await next_of(events, Connected)
            assert alice.session == session
            assert [hello.resume for hello in gateways[0].heard_of(Hello)] == [0, 1]

    run(scenario)


def test_a_request_outlives_the_connection_it_was_made_on(cluster: Cluster) -> None:
    """Asked of a gateway that does not answer any more, answered by the next one."""

    async def scenario() -> None:
        async with cluster(2) as gateways, client_of(gateways) as alice:
            room = await alice.join("lobby", meta={"a": 1})
            gateways[0].is_silent = True
            asked = asyncio.create_task(room.update(b=2))
            await gateways[0].until(lambda: len(gateways[0].heard_of(Patch)) == 1)
            await gateways[0].close_all(1011, "broke")
            await asked
            assert gateways[1].heard[1] == Set(
                id=gateways[1].heard[1].id,
                topic="room:lobby",
                meta={"a": 1, "b": 2},
                since=SINCE,
            )

    run(scenario)


def test_a_gateway_that_says_nothing_is_left_when_its_lease_is_over(cluster: Cluster) -> None:
    """Pings without an answer: the client goes to the next gateway."""

    async def scenario() -> None:
        async with cluster(2) as gateways:
            gateways[0].heartbeat_ms = 50
            async with client_of(gateways) as alice:
                events = alice.events()
                gateways[0].is_silent = True
                interrupted = await next_of(events, Interrupted)
                assert "said nothing for 150 ms" in interrupted.reason
                assert (await next_of(events, Connected)).gateway == "a/g1"
                assert gateways[0].heard_of(Ping)

    run(scenario)


def test_a_gateway_that_is_given_and_told_of_is_one_gateway(cluster: Cluster) -> None:
    """Given without the path, told with it: it is not tried twice."""

    async def scenario() -> None:
        async with cluster(2) as gateways:
            gateways[0].others = [f"{gateway.url}/ws" for gateway in gateways]
            async with client_of(gateways[:1]) as alice:
                assert alice.inspect().urls == gateways[0].others

    run(scenario)


def test_a_client_that_vanishes_says_nothing(cluster: Cluster) -> None:
    """`abandon` is a killed process: no goodbye, so that others see the grace."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            alice = client_of(gateways)
            await alice.open()
            await alice.join("lobby")
            await alice.abandon()
            await gateways[0].until(lambda: not gateways[0].connections)
            assert list(gateways[0].world.rooms["room:lobby"]) == ["s1/room:lobby"]
            with pytest.raises(UsageError, match="is closed"):
                await alice.set_status("away")

    run(scenario)


def test_leaving_the_context_says_goodbye(cluster: Cluster) -> None:
    """Others see the device leave at once."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            async with client_of(gateways) as alice:
                await alice.join("lobby")
            assert gateways[0].world.rooms["room:lobby"] == {}

    run(scenario)


def test_a_room_that_was_left_is_watched_no_more(cluster: Cluster) -> None:
    """`leave` takes the entry and the subscription back, and its stream ends."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            room = await alice.join("lobby")
            await room.leave()
            assert len(gateways[0].heard_of(Unset)) == 1
            assert gateways[0].connections[0].topics == set()
            assert [type(event) async for event in room] == [Leave]
            with pytest.raises(UsageError, match="room:lobby is not joined"):
                await room.update(mood="gone")

    run(scenario)


def test_a_room_can_be_observed_without_being_in_it(cluster: Cluster) -> None:
    """Observing shows who is there, and shows nobody the observer."""

    async def scenario() -> None:
        async with (
            cluster(1) as gateways,
            client_of(gateways) as alice,
            client_of(gateways, "bob") as bob,
        ):
            await alice.join("lobby")
            room = await bob.observe("room:lobby")
            assert list(room.who()) == ["alice"]
            with pytest.raises(UsageError, match="not joined"):
                await room.update(mood="sly")

    run(scenario)


@pytest.mark.parametrize(
    ("code", "message"),
    [(ErrorCode.FORBIDDEN, "refused: forbidden"), (ErrorCode.TOO_MANY, "refused: too_many")],
)
def test_a_refusal_is_an_error_with_the_gateways_words(
    cluster: Cluster, code: ErrorCode, message: str
) -> None:
    """What the gateway refuses has not happened, and does not come back after a reconnect."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            gateways[0].refusals[Set] = code
            with pytest.raises(UsageError, match=message) as caught:
                await alice.join("lobby")
            assert caught.value.definite
            assert alice.inspect().rooms == []

    run(scenario)


def test_a_refused_token_ends_the_attempt_at_once(cluster: Cluster) -> None:
    """It will not be tried again: the error says what to do."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            client = connect(gateways[0].url, "forged")
            with pytest.raises(UsageError, match=r"refused the token.*presence token"):
                await client.open()

    run(scenario)


def test_a_session_that_the_gateway_ends_raises_at_every_reader(cluster: Cluster) -> None:
    """A close with 44xx is final: readers get SessionLost, and so does who asks later."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            room = await alice.join("lobby")
            events = alice.events()
            await gateways[0].close_all(4409, "another connection took the session")
            assert (await next_of(events, Ended)).code == 4409
            with pytest.raises(SessionLost, match="another connection took the session"):
                async for _ in room:
                    pass
            with pytest.raises(SessionLost):
                await alice.set_status("away")

    run(scenario)


def test_no_gateway_is_one_error_that_names_the_address() -> None:
    """Nobody listens: Unavailable, within the time-out, with the address."""

    async def scenario() -> None:
        client = connect("ws://127.0.0.1:1", "dev:alice", timeout_s=0.2)
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await client.open()

    run(scenario)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda client: client.set_status("busy"), "status is 'busy'; give one of"),
        (lambda client: client.join("x" * 200), "200 characters; at most 128"),
        (lambda client: client.join("user:bob"), "which only the gateway writes"),
        (lambda client: client.join("lobby", {"x": "y" * 5000}), "at most 4096"),
        (lambda client: client.join("lobby", {"x": object()}), "cannot be written as JSON"),
        (lambda client: client.watch(["bob", ""]), "user is empty"),
        (lambda client: client.set_intent("sleepy"), "status is 'sleepy'"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_sent(
    cluster: Cluster, call: Callable[[PresenceClient], Awaitable[object]], words: str
) -> None:
    """The error says what is wrong and what is allowed; the gateway hears nothing of it."""

    async def scenario() -> None:
        async with cluster(1) as gateways, client_of(gateways) as alice:
            with pytest.raises(UsageError, match=words):
                await call(alice)
            assert [type(message) for message in gateways[0].heard] == [Hello]

    run(scenario)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("localhost:4000", "dev:alice"), "is not the address of a gateway"),
        (([], "dev:alice"), "no gateway is given"),
        (("ws://127.0.0.1:4000", ""), "the token is empty"),
    ],
)
def test_a_client_that_could_never_connect_is_refused(
    arguments: tuple[Any, str], words: str
) -> None:
    """What is wrong with the arguments shows at once, not after a time-out."""
    with pytest.raises(UsageError, match=words):
        connect(*arguments)


def test_an_encoding_that_nobody_speaks_is_refused() -> None:
    """And those that are spoken are named."""
    with pytest.raises(UsageError, match=r"encoding is 'xml'.* json, msgpack"):
        connect("ws://127.0.0.1:4000", "dev:alice", encoding="xml")


def test_a_reader_that_falls_far_behind_is_told() -> None:
    """Beyond the bound the events go, the reader gets an error once, and can go on."""

    async def scenario() -> None:
        stream: EventStream[int] = EventStream("all events")
        for number in range(EVENTS_MAX + 5):
            stream.put(number)
        with pytest.raises(UsageError, match="10005 events were dropped"):
            await anext(stream)
        stream.put(7)
        assert await anext(stream) == 7

    run(scenario)


def test_importing_the_package_does_not_load_ray() -> None:
    """An application that only connects pays for nothing else."""
    code = "import presence_actors, sys; presence_actors.connect; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
