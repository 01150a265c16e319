"""A subscriber that stops reading, and what it gets when it reads again."""

from __future__ import annotations

import pytest

from presence_actors.core.effects import (
    CountHappened,
    JoinHappened,
    LagHappened,
    LeaveHappened,
    UpdateHappened,
    WelcomeHappened,
)
from presence_actors.core.events import ClientCaughtUp, ClientLagging, ClientSent
from presence_actors.core.limits import LAG_BRIEF_MS, LAG_MEMORY_MS, LAG_MS_MAX, LAG_STATE_MS
from presence_actors.core.vocabulary import CloseCode, Patch, Ping, Sub
from presence_actors.sim.client import Client
from presence_actors.sim.world import World
from tests.simulation.guests import Guest, GuestWorld
from tests.simulation.steering import ROOM, arrive, in_room, small_world, watch

pytestmark = pytest.mark.simulation


def _stall(world: World, client: Client) -> None:
    """The client reads nothing, and its gateway's driver says so."""
    client.freeze()
    _say(world, client, ClientLagging)


def _read(world: World, client: Client) -> None:
    """It has read all that was sent."""
    client.thaw()
    _say(world, client, ClientCaughtUp)


def _say(world: World, client: Client, kind: type[ClientLagging | ClientCaughtUp]) -> None:
    assert client.link is not None
    name, connection = client.link
    world._post(world.processes[name], kind(connection))


def _stall_guest(world: GuestWorld, guest: Guest) -> None:
    guest.freeze()
    assert guest.gateway is not None
    world._post(world.processes[guest.gateway], ClientLagging(guest.connection))


def _read_guest(world: GuestWorld, guest: Guest) -> None:
    guest.thaw()
    assert guest.gateway is not None
    world._post(world.processes[guest.gateway], ClientCaughtUp(guest.connection))


def _beat(world: World, client: Client | Guest) -> None:
    """It says what a client says when it has nothing to say, whether it reads or not."""
    if isinstance(client, Guest):
        assert client.gateway is not None
        name, connection = client.gateway, client.connection
    else:
        assert client.link is not None
        name, connection = client.link
    world._post(world.processes[name], ClientSent(connection, Ping()))


def _beats(world: GuestWorld, guest: Guest, span_ms: int) -> None:
    """So much time passes meanwhile."""
    for _ in range(0, span_ms, LAG_STATE_MS):
        _beat(world, guest)
        world.run(LAG_STATE_MS)


def _shown(guest: Guest, user: str) -> list[object]:
    """The number that a stock client shows on each device of somebody."""
    return [meta["n"] for meta in guest.state[ROOM][user]]


def _frames(guest: Guest, since: int) -> list[str]:
    """What was told of the room since then: each sync is one frame."""
    return [kind for _, kind, _, _ in guest.heard[since:] if kind == "sync"]


def _steps(client: Client) -> list[str]:
    return [event.step for _, event in client.told if isinstance(event, LagHappened)]


def test_a_slow_reader_gets_a_snapshot_then_counts_and_is_then_closed_and_resumes() -> None:
    """Its backlog is never more than what had been sent when it stopped reading.

    ```
    alice   0 1 2 ... 9              10 ... 19            20 ... 29
    slow      X          (9)         X     --counts-->    X closed 4513 --resumes--> 29
    quick   0 1 2 ... 9              10 ... 19            20 ... 29
    ```
    """
    world = small_world(seed=3)
    alice = arrive(world, "alice", [0])
    slow = watch(world, [0], name="slow")
    quick = watch(world, [0], name="quick")

    def storm(first: int) -> None:
        for number in range(first, first + 10):
            alice.ask(Patch(topic=ROOM, meta={"n": number}))
            _beat(world, slow)
            world.run(100)

    _stall(world, slow)
    heard = len(slow._asleep)
    storm(0)
    # The answers to its beats and the like; no difference was queued.
    assert len(slow._asleep) - heard <= 12
    before = len(slow.told)
    _read(world, slow)
    world.run(100)
    news = [event for _, event in slow.told[before:] if isinstance(event, UpdateHappened)]
    assert [event.entry.meta["n"] for event in news] == [9]
    assert _steps(slow) == ["snapshot"]

    _stall(world, slow)
    storm(10)
    _read(world, slow)
    world.run(100)
    before = len(slow.told)
    bob = arrive(world, "bob", [1])
    storm(20)
    world.run(1_200)
    told = [event for _, event in slow.told[before:]]
    assert _steps(slow) == ["snapshot", "counts"]
    counts = [event for event in told if isinstance(event, CountHappened)]
    assert counts[-1] == CountHappened(ROOM, 2, 2)
    assert not [event for event in told if isinstance(event, UpdateHappened | JoinHappened)]

    _stall(world, slow)
    assert world.gateway(0).inspect().lags == {
        "closed": 1,
        "counts": 1,
        "held": 2,
        "snapshot": 1,
    }
    slow.thaw()
    assert world.run_until(lambda: in_room(slow) == ["alice", "bob"], 3_000)
    welcomes = [event for _, event in slow.told if isinstance(event, WelcomeHappened)]
    assert welcomes[-1].resumed
    assert latest_of(slow, "alice") == latest_of(quick, "alice") == 29
    assert not bob.closed
    left = [event for client in (slow, quick) for _, event in client.told]
    assert not [event for event in left if isinstance(event, LeaveHappened)]


def latest_of(client: Client, user: str) -> object:
    """The number that a client sees on somebody."""
    (entry,) = client.machine.who(ROOM)[user]  # type: ignore[index]
    return entry.meta["n"]


def test_who_keeps_up_with_the_counts_gets_everything_again() -> None:
    """After the time that a lag is remembered, with one snapshot."""
    world = small_world(seed=4)
    arrive(world, "alice", [0])
    slow = watch(world, [0], name="slow")
    for _ in range(2):
        _stall(world, slow)
        for _ in range(0, LAG_BRIEF_MS, 100):
            _beat(world, slow)
            world.run(100)
        _read(world, slow)
        world.run(50)
    assert _steps(slow) == ["snapshot", "counts"]
    arrive(world, "bob", [0])
    assert in_room(slow) == ["alice"]
    world.run(LAG_MEMORY_MS)
    assert _steps(slow) == ["snapshot", "counts", "whole"]
    assert in_room(slow) == ["alice", "bob"]


def test_who_asks_for_counts_gets_them_at_most_once_a_second() -> None:
    """At once, and then when they change."""
    world = small_world(seed=5)
    counter = world.client("counter", gateways=[0])
    counter.ask(Sub(topics=[ROOM], counts=True))
    world.run(300)
    for number in range(10):
        arrive(world, f"user{number}", [0])
    world.run(1_500)
    counts = [(at, event) for at, event in counter.told if isinstance(event, CountHappened)]
    assert [event.users for _, event in counts][0 :: len(counts) - 1] == [0, 10]
    assert len(counts) <= 5
    assert in_room(counter) == []


def test_a_stock_client_gets_states_in_place_of_what_it_cannot_read() -> None:
    """It knows no counts and no words for a lag; its own difference is all that it tells.

    ```
    alice   0 ... 9           10 ... 19                20 ...                  30 ...
    slow      X    state 9    X     state 19   10 s     state      60 s         every difference
    quick   every difference
    ```
    """
    world = GuestWorld(seed=6)
    alice = arrive(world, "alice", [0])
    slow, quick = Guest(world, "slow", [0], meta={"n": 0}), Guest(world, "quick", [0])
    world.run(300)

    def storm(first: int) -> None:
        for number in range(first, first + 10):
            alice.ask(Patch(topic=ROOM, meta={"n": number}))
            world.run(100)

    _stall_guest(world, slow)
    storm(0)
    assert slow.asleep == []
    since = len(slow.heard)
    _read_guest(world, slow)
    world.run(100)
    assert _shown(slow, "alice") == [9]
    assert len(_frames(slow, since)) == 1

    _stall_guest(world, slow)
    storm(10)
    _read_guest(world, slow)
    world.run(100)
    assert _shown(slow, "alice") == [19]
    since = len(slow.heard)
    storm(20)
    assert _frames(slow, since) == []
    world.run(LAG_STATE_MS)
    assert _shown(slow, "alice") == [29]
    # Nothing changes, and so nothing is said.
    _beats(world, slow, 3 * LAG_STATE_MS)
    assert len(_frames(slow, since)) == 1

    _beats(world, slow, LAG_MEMORY_MS)
    since = len(slow.heard)
    storm(30)
    assert len(_frames(slow, since)) == 10
    assert _shown(slow, "alice") == _shown(quick, "alice") == [39]
    assert world.gateway(0).inspect().lags == {"held": 2, "snapshot": 1, "sparse": 1, "whole": 1}
    assert not slow.closed
    assert [kind for kind, key, _ in slow.news() if key in ("slow", "quick")] == ["join", "join"]


def test_a_room_that_a_stock_client_joins_meanwhile_is_shown_at_once_and_then_as_the_others() -> (
    None
):
    """Also while it reads nothing: then as soon as it has read all."""
    world = GuestWorld(seed=7)
    slow = Guest(world, "slow", [0])
    world.run(300)
    for _ in range(2):
        _stall_guest(world, slow)
        world.run(LAG_BRIEF_MS)
        _read_guest(world, slow)
        world.run(50)
    Guest(world, "ann", [0], rooms=("room:b", "room:c"))
    slow.channels += ["room:b", "room:c"]
    slow.say("room:b", "phx_join", {"meta": {}})
    world.run(300)
    assert slow.there("room:b") == {"ann": 1, "slow": 1}

    _stall_guest(world, slow)
    slow.say("room:c", "phx_join", {"meta": {}})
    world.run(LAG_STATE_MS)
    assert slow.there("room:c") == {}
    _read_guest(world, slow)
    world.run(300)
    assert slow.there("room:c") == {"ann": 1, "slow": 1}


def test_a_stock_client_that_reads_nothing_for_too_long_is_closed_and_comes_back() -> None:
    """With a code after which it reconnects by itself; nobody hears of it."""
    world = GuestWorld(seed=8)
    quick = Guest(world, "quick", [1])
    slow = Guest(world, "slow", [0])
    world.run(300)
    since = len(quick.heard)
    _stall_guest(world, slow)
    ann = Guest(world, "ann", [1])
    world.run(LAG_MS_MAX - 100)
    assert slow.asleep == []
    world.run(500)
    assert slow.closed == [CloseCode.TOO_SLOW]
    assert slow.there() == {"ann": 1, "quick": 1, "slow": 1}
    assert quick.news(since) == [("join", "ann", "ann")]
    assert not ann.closed
    assert world.gateway(0).inspect().lags == {"closed": 1, "held": 1}
