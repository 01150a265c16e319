"""Hand-steered scenarios: links and crowds that make trouble, told by what people see.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

import pytest

from presence_actors.core.effects import JoinHappened, LeaveHappened, StatusHappened, UpdateHappened
from presence_actors.core.messages import PRESENCE
from presence_actors.core.vocabulary import Bye, Ok, Patch, Set, UserStatus
from presence_actors.sim.nemesis import Injected, Nemesis
from presence_actors.sim.plan import Fault, FaultKind
from presence_actors.sim.world import World
from tests.simulation.short_knobs import ALL_OVER_MS, HORIZON_KNOBS, KNOBS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
    asks,
    in_room,
    joins,
    leaves,
    place,
    replicas,
    small_world,
    statuses,
    watch,
)

pytestmark = pytest.mark.simulation


def befall(world: World, fault: Fault) -> Injected:
    """Begins a fault now; it ends by itself."""
    nemesis = Nemesis(world, lambda _: None)
    nemesis.schedule([fault])
    world.run(1)
    (injected,) = nemesis.injected
    return injected


@pytest.mark.parametrize("period", [200, 800, 2_000])
def test_a_link_that_flaps_ends_nobody_and_tells_each_change_once(period: int) -> None:
    """Cut and joined for many times, faster and slower than leases and silences.

    ```
    w0, g0 --X--  --X--  --X-- w1, g1     alice changes n = 1, 2, 3 ...    at last: n, no leave
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice"])
    alice = arrive(world, "alice", [0])
    pairs = [(one, other) for one in (W[0], G[0]) for other in (W[1], G[1])]
    pairs += [(other, one) for one, other in pairs]
    injected = befall(
        world, Fault(kind=FaultKind.FLAP, at_ms=0, span_ms=8_000, pairs=pairs, amount=period)
    )
    for number in range(16):
        alice.ask(Patch(topic=ROOM, meta={"n": number}))
        world.run(500)
    world.run(2_000)
    assert injected.took_effect
    assert leaves(watcher) == []
    assert joins(watcher) == ["alice"]
    (entry,) = watcher.machine.entries(ROOM).values()
    assert entry.meta["n"] == 15
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    assert UserStatus.OFFLINE not in statuses(watcher, "alice")[1:]
    assert agree(world)


SLOW = [
    pytest.param(FaultKind.DELAY, 200, id="late"),
    pytest.param(FaultKind.DELAY, 1_500, id="later than silence"),
    pytest.param(FaultKind.RATE, 20_000, id="narrow"),
    pytest.param(FaultKind.CLOG, 0, id="clogged"),
    pytest.param(FaultKind.SWIZZLE, 0, id="clogged and released in another order"),
]


@pytest.mark.parametrize(("kind", "amount"), SLOW)
def test_what_is_slow_is_late_and_nothing_else(kind: FaultKind, amount: int) -> None:
    """A replica's links carry everything, and too late: nobody leaves, and at last all is there.

    ```
    w0 ---- (late, in any order) ---- all others      alice joins, changes; bob says goodbye
    ```
    """
    world = small_world(workers=3)
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice", "bob"])
    alice = arrive(world, "alice", [0])
    bob = arrive(world, "bob", [0])
    injected = befall(world, Fault(kind=kind, at_ms=0, span_ms=3_000, where=[W[0]], amount=amount))
    for number in range(5):
        alice.ask(Patch(topic=ROOM, meta={"n": number}))
        world.run(500)
    bob.ask(Bye())
    world.run(ALL_OVER_MS)
    assert injected.took_effect
    assert leaves(watcher) == [("bob", "left")]
    assert in_room(watcher) == ["alice"]
    (entry,) = watcher.machine.entries(ROOM).values()
    assert entry.meta["n"] == 4
    assert UserStatus.OFFLINE not in statuses(watcher, "alice")[1:]
    assert agree(world)


def test_a_storm_of_reconnects_is_no_event_for_anybody() -> None:
    """Everybody loses the connection at one moment, and comes back within the grace.

    ```
    g0, g1  40 people, X all at once --- back, at any gateway        0 leaves, 0 joins
    ```
    """
    world = small_world(workers=3)
    watcher = watch(world, [0, 1], users=["user0", "user39"])
    people = [arrive(world, f"user{number}", [number % 2, 1 - number % 2]) for number in range(40)]
    told = len(watcher.told)
    assert len(in_room(watcher)) == 40
    injected = befall(world, Fault(kind=FaultKind.STORM, at_ms=0, span_ms=10, where=[G[0], G[1]]))
    world.run(ALL_OVER_MS)
    assert injected.hits == 41
    changes = (JoinHappened, LeaveHappened, UpdateHappened, StatusHappened)
    assert [event for _, event in watcher.told[told:] if isinstance(event, changes)] == []
    assert all(client.machine.inspect().pending == 0 for client in people)
    assert len(in_room(watcher)) == 40
    assert agree(world)


def test_a_storm_at_the_very_moment_of_a_heal_is_no_event_either() -> None:
    """Clients that were cut off return with the links, while replicas are repairing.

    ```
    w0, g0 --X-- w1, g1       (heal, and X all clients)     everybody is there, nobody left
    ```
    """
    world = small_world(workers=2)
    place(world, {0: 0, 1: 1})
    watchers = [watch(world, [index], name=f"watcher{index}") for index in (0, 1)]
    world.cut([W[0], G[0]], [W[1], G[1]])
    for number in range(20):
        arrive(world, f"user{number}", [number % 2, 1 - number % 2])
    world.run(2_000)
    world.heal()
    befall(world, Fault(kind=FaultKind.STORM, at_ms=0, span_ms=10, where=[G[0], G[1]]))
    world.run(ALL_OVER_MS)
    for watcher in watchers:
        assert len(in_room(watcher)) == 20
        assert leaves(watcher) == []
        assert sorted(joins(watcher)) == sorted({f"user{number}" for number in range(20)})
    assert agree(world)


def test_all_leases_that_run_out_at_a_heal_end_once() -> None:
    """People vanish during a cut; their ends and the heal come together.

    ```
    w0, g0  ten people vanish --X-- w1, g1 (unreachable)   (lease and grace over, heal)  ten leaves
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    people = [arrive(world, f"user{number}", [0]) for number in range(10)]
    world.cut([W[0], G[0]], [W[1], G[1]])
    for client in people:
        client.vanish()
    world.run(KNOBS.grace_connection_ms - 20)
    assert leaves(watcher) == []
    world.heal()
    world.run(2_000)
    assert sorted(leaves(watcher)) == sorted((f"user{n}", "timeout") for n in range(10))
    assert in_room(watcher) == []
    assert agree(world)


def test_one_user_whom_very_many_watch_costs_one_message_for_each_gateway() -> None:
    """A hot key: what goes between processes does not grow with who watches.

    ```
    celebrity changes --> one Changed for g0, one for g1 --> 60 watchers
    ```
    """

    def carried(watchers: int) -> tuple[int, int]:
        world = small_world()
        star = arrive(world, "celebrity", [0])
        fans = [
            watch(world, [number % 2], users=["celebrity"], topics=[], name=f"fan{number}")
            for number in range(watchers)
        ]
        world.run(2_000)
        frames = world.frames_carried
        for number in range(10):
            assert isinstance(asks(world, star, Set(id=number, status="away")), Ok)
            assert isinstance(asks(world, star, Set(id=number, status="online")), Ok)
        heard = {len(list(statuses(fan, "celebrity"))) for fan in fans}
        return world.frames_carried - frames, min(heard)

    few, many = carried(2), carried(60)
    assert min(few[1], many[1]) >= 20
    assert many[0] < few[0] * 1.1


def test_a_room_of_many_through_a_cut_and_a_heal_is_told_net() -> None:
    """A huge topic: half of it is on the other side of a cut, and nobody leaves.

    ```
    w0, g0  100 people --X-- w1, g1  100 people       (heal)  200 on both sides, 0 leaves
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watchers = [watch(world, [index], name=f"watcher{index}") for index in (0, 1)]
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(KNOBS.unreachable_after_ms)
    for number in range(200):
        client = world.client(f"user{number}", gateways=[number % 2])
        client.ask(Set(topic=ROOM, meta={"n": number}))
    world.run(1_000)
    assert [len(in_room(watcher)) for watcher in watchers] == [100, 100]
    world.heal()
    world.run(2_000)
    for watcher in watchers:
        assert len(in_room(watcher)) == 200
        assert len(joins(watcher)) == 200
        assert leaves(watcher) == []
    assert agree(world)


@pytest.mark.parametrize("times", [0.9, 1.1, 10])
def test_apart_for_so_many_horizons_and_then_one_again(times: float) -> None:
    """Who stays is there after it, who left is not, and what lapsed comes once more.

    ```
    w0, g0  alice, bob (leaves) --X (times x horizon)-- w1, g1  carol, dave (leaves)   (heal)
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    watchers = [watch(world, [index], name=f"watcher{index}") for index in (0, 1)]
    people = {
        name: arrive(world, name, [gateway])
        for name, gateway in (("alice", 0), ("bob", 0), ("carol", 1), ("dave", 1))
    }
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(500)
    people["bob"].ask(Bye())
    people["dave"].ask(Bye())
    world.run(int(times * HORIZON_KNOBS.horizon_ms))
    assert in_room(watchers[0]) == ["alice", "carol", "dave"]
    assert in_room(watchers[1]) == ["alice", "bob", "carol"]
    world.heal()
    world.run(3_000)
    for watcher in watchers:
        assert in_room(watcher) == ["alice", "carol"]
    assert [user for user, _ in leaves(watchers[0])] == ["bob", "dave"]
    assert [user for user, _ in leaves(watchers[1])] == ["dave", "bob"]
    assert agree(world)
    live = [
        sorted(row.key[1] for row in one.maps()[PRESENCE].live_rows()) for one in replicas(world)
    ]
    assert live[0] == live[1]
