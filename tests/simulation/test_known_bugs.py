"""Hand-steered scenarios for what went wrong in other presence systems.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import pytest

from crdt import Row
from crdt.hlc import stamp_wall
from presence_actors.config import ClusterConfig
from presence_actors.core import gossip
from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.messages import (
    PRESENCE,
    Attach,
    Beat,
    Detached,
    GossipAck,
    GossipDelta,
    GossipPromise,
    PeerMessage,
    Segment,
)
from presence_actors.core.vocabulary import (
    Bye,
    Intent,
    Ok,
    Patch,
    Quality,
    Set,
    Sub,
    Unset,
    UserStatus,
)
from presence_actors.sim.meter import Meter
from presence_actors.sim.nemesis import Nemesis
from presence_actors.sim.network import Clog
from presence_actors.sim.plan import Fault, FaultKind
from presence_actors.sim.world import World
from tests.simulation.short_knobs import ALL_OVER_MS, HORIZON_KNOBS, KNOBS, RETENTION_MS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
    asks,
    home,
    in_room,
    joins,
    leaves,
    live_rows,
    place,
    replicas,
    small_world,
    statuses,
    watch,
)

pytestmark = pytest.mark.simulation

PART: int = 6


@pytest.mark.parametrize("left", [PART - 1, PART, PART + 1])
@pytest.mark.parametrize("right", [PART - 1, PART, PART + 1])
def test_two_full_replicas_that_meet_first_end_with_all_of_both(
    left: int, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas have never met, and what each holds just fits into a part, or does not (P1).

    ```
    w0  --left people--   (first contact) --parts--> left + right
    w1  --right people--                  --parts--> left + right
    ```
    """
    monkeypatch.setattr(gossip, "GOSSIP_ROWS_MAX", PART)
    config = ClusterConfig(workers=2, gateways=2, shards=1, replicas=2, knobs=KNOBS)
    world = World(config, seed=1)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(KNOBS.peer_silence_ms + 600)
    for number in range(left):
        arrive(world, f"left{number}", [0])
    for number in range(right):
        arrive(world, f"right{number}", [1])
    world.run(1_000)
    counts = [len(live_rows(world, worker, ROOM)) for worker in (0, 1)]
    assert counts == [left, right]
    first, second = (replica.maps()[PRESENCE].vector for replica in replicas(world))
    assert not {origin for origin, _ in first.items()} & {origin for origin, _ in second.items()}
    world.heal()
    world.run(2_000)
    assert [len(live_rows(world, worker, ROOM)) for worker in (0, 1)] == [left + right] * 2
    assert agree(world)


def test_each_coming_and_going_passes_a_triangle_with_one_cut_edge() -> None:
    """Whoever comes and goes at one end is seen to do so at the other, step by step (P2).

    ```
    w0 --X-- w2        w0 -- w1 -- w2: + user0, + user1, - user0, + user2, - user1 ...
    ```
    """
    world = small_world(workers=3, gateways=3)
    place(world, {0: 0, 1: 1, 2: 2})
    watcher = watch(world, [0])
    world.cut([W[0]], [W[2]])
    world.run(KNOBS.unreachable_after_ms)
    last = arrive(world, "user0", [2])
    for number in range(1, 6):
        client = arrive(world, f"user{number}", [2])
        world.run(300)
        assert in_room(watcher) == [f"user{number - 1}", f"user{number}"]
        last.ask(Bye())
        world.run(300)
        assert in_room(watcher) == [f"user{number}"]
        last = client
    world.heal()
    world.run(1_000)
    assert leaves(watcher) == [(f"user{number}", "left") for number in range(5)]
    assert in_room(watcher) == ["user5"]
    assert agree(world)


def test_who_was_at_servers_that_never_come_back_leaves_once() -> None:
    """A gateway and its worker end together; the next life of the worker is enough (P8).

    ```
    w0, g0, alice   X (both for ever)            w0' (empty)
    w1, g1  alice is there -- unreachable, no leave -----> alice leaves, once
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice"])
    alice = arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    assert in_room(watcher) == ["alice", "bob"]
    world.kill(G[0], restart_after_ms=None)
    world.kill(W[0], restart_after_ms=None)
    alice.vanish()
    world.run(2 * ALL_OVER_MS)
    assert leaves(watcher) == []
    assert statuses(watcher, "alice")[-1] == UserStatus.UNREACHABLE
    assert watcher.machine.view(ROOM).quality == Quality.PARTIAL
    world.start(W[0])
    world.run(2 * ALL_OVER_MS)
    assert [user for user, _ in leaves(watcher)] == ["alice"]
    assert in_room(watcher) == ["bob"]
    assert agree(world)


def test_an_expiry_on_one_side_loses_against_a_return_on_the_other() -> None:
    """The end is later by the clock than the return, and of an earlier attempt (I9).

    ```
    g0/w0  alice  X drop ----- grace is over: timeout ---- (heal)  is there again
    g1/w1            --hello resume=1--> is there ----------------- is there
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watchers = [watch(world, [index], users=["alice"], name=f"watcher{index}") for index in (0, 1)]
    alice = arrive(world, "alice", [0, 1])
    world.cut([G[0], W[0]], [G[1], W[1]])
    world.drop(alice)
    world.run(KNOBS.grace_connection_ms + 1_000)
    assert leaves(watchers[0]) == [("alice", "timeout")]
    assert leaves(watchers[1]) == []
    world.heal()
    world.run(ALL_OVER_MS)
    for watcher in watchers:
        assert in_room(watcher) == ["alice"]
        assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    assert leaves(watchers[1]) == []
    assert agree(world)


@pytest.mark.parametrize("goes", ["first", "after the row"])
def test_rows_in_flight_through_a_third_while_their_zone_is_given_up_do_not_stay(goes: str) -> None:
    """What a removed replica wrote last arrives late, by another one, and must end, too (P4).

    ```
    b  bob arrives --> b/w0 --X (cut from a/w0)   given up by an operator
       row --> a/w1 --(clog)----------------> a/w0     bob does not stay
    ```
    """
    config = ClusterConfig(workers=2, gateways=2, shards=1, replicas=2, knobs=KNOBS)
    world = World(config, seed=1, zones=("a", "b"))
    world.run(2_000)
    watcher = watch(world, [0], users=["bob"])
    bob = world.client("bob", gateways=[0, 1], zone="b")
    far = [name for name in world.processes if name.startswith("b/")]
    near = [name for name in world.processes if name.startswith("a/")]
    clog = Clog()
    world.network.impair(clog, [(one, other) for one in near[:2] for other in near[:2]])
    bob.ask(Set(topic=ROOM, meta={}))
    world.run(400)
    world.cut(far, near)
    assert sorted(len(live_rows(world, index, ROOM)) for index in (0, 1)) == [0, 1]
    if goes == "first":
        world.retire("b")
    world.network.repair(clog)
    for arrive_late in clog.held:
        world.at(Instant(world.instant + 50), arrive_late)
    world.run(100)
    if goes != "first":
        world.retire("b")
    world.run(2 * ALL_OVER_MS)
    assert in_room(watcher) == []
    assert statuses(watcher, "bob")[-1] == UserStatus.OFFLINE
    assert [len(live_rows(world, index, ROOM)) for index in (0, 1)] == [0, 0]
    # And who is expected again is there again, once.
    world.heal()
    world.restore("b")
    world.run(ALL_OVER_MS)
    assert in_room(watcher) == ["bob"]


def test_what_a_replica_that_is_behind_left_out_comes_from_the_next_one() -> None:
    """A gateway that has seen more than its replica lacks what it asks for there (seed 185).

    ```
    w1   + bob          (cut off from w0 and g0)                          g0 comes
    g0   has seen as much, but not the room    asks w0 for the room
    w0                  starts anew, empty                      dies
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    arrive(world, "bob", [1])
    watch(world, [0], topics=["room:side"], name="other")
    arrive(world, "carol", [0], "room:side")
    world.cut([W[0], G[0]], [W[1]])
    world.kill(W[0], restart_after_ms=100)
    world.run(KNOBS.unreachable_after_ms)
    watcher = watch(world, [0])
    world.run(KNOBS.unreachable_after_ms)
    assert (home(world, 0), in_room(watcher)) == (W[0], [])
    world.kill(W[0], restart_after_ms=None)
    world.heal()
    world.run(KNOBS.unreachable_after_ms)
    assert (home(world, 0), in_room(watcher)) == (W[1], ["bob"])


_DOUBLED: Final = (Attach, Beat, Segment, GossipDelta, GossipPromise, GossipAck, Detached)


@pytest.mark.parametrize(
    "kind", [*_DOUBLED, None], ids=lambda kind: getattr(kind, "__name__", "all")
)
def test_each_message_twice_does_what_it_does_once(kind: type[PeerMessage] | None) -> None:
    """Whatever comes again, at once or late, ends nobody twice and breaks no process (P6).

    ```
    alice joins, changes, leaves a room, says goodbye; bob vanishes; g0 moves; w1 starts anew
    each message of one kind arrives twice: at once, and again 200 ms later
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})

    class Twice(Meter):
        def note(
            self, now: Instant, sender: NodeName, to: NodeName, messages: list[PeerMessage]
        ) -> None:
            again = [one for one in messages if kind is None or isinstance(one, kind)]
            if again:
                for span in (2, 200):
                    world.at(Instant(now + span), partial(world.inject, sender, to, again))

    world.network.meter = Twice(frozenset())
    watcher = watch(world, [1], users=["alice", "bob"])
    alice = arrive(world, "alice", [0], ROOM, "room:side")
    bob = arrive(world, "bob", [0])
    asks(world, alice, Patch(id=1, topic=ROOM, meta={"n": 1}))
    asks(world, alice, Unset(id=2, topic="room:side"))
    asks(world, alice, Intent(id=3, status="dnd"))
    assert in_room(watcher) == ["alice", "bob"]
    world.cut([G[0]], [W[0]])
    world.run(KNOBS.unreachable_after_ms)
    world.heal()
    world.kill(W[1], restart_after_ms=100)
    world.run(2_000)
    assert in_room(watcher) == ["alice", "bob"]
    alice.ask(Bye())
    bob.vanish()
    world.run(ALL_OVER_MS)
    assert sorted(leaves(watcher)) == [("alice", "left"), ("bob", "timeout")]
    assert joins(watcher) == ["alice", "bob"]
    assert in_room(watcher) == []
    assert agree(world)
    world.check()


@pytest.mark.parametrize("forgotten", [False, True], ids=["kept", "forgotten"])
def test_a_removal_that_comes_late_does_not_hit_what_was_made_anew(*, forgotten: bool) -> None:
    """The end is forgotten or not, somebody comes again, and then the end comes late (P9).

    ```
    w0   - alice --(clog: to w1)--     (retention)   + alice        - alice arrives at w1
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0])
    held: list[PeerMessage] = []

    class Copies(Meter):
        def note(
            self, now: Instant, sender: NodeName, to: NodeName, messages: list[PeerMessage]
        ) -> None:
            del now
            if (sender, to) == (W[0], W[1]):
                held.extend(one for one in messages if isinstance(one, GossipDelta))

    world.network.meter = Copies(frozenset())
    asks(world, alice, Unset(id=1, topic=ROOM))
    world.network.meter = None
    assert any(isinstance(one, GossipDelta) and len(one.delta.rows) for one in held)
    world.run(RETENTION_MS + 3_000 if forgotten else 200)
    asks(world, alice, Set(id=2, topic=ROOM, meta={"anew": True}))
    assert in_room(watcher) == ["alice"]
    for message in held:
        world.inject(W[0], W[1], [message])
    world.run(2_000)
    assert in_room(watcher) == ["alice"]
    assert leaves(watcher) == [("alice", "left")]
    assert agree(world)


def test_two_lives_that_write_at_once_never_write_under_one_name() -> None:
    """An old life runs on beside the new one, both write, and no dot names two writes (P9).

    ```
    w0   (old) --- carol ---X          w0' (new) --- dave ---
    ```
    """
    world = small_world(workers=3, gateways=3)
    world.split_life(W[0])
    people = [arrive(world, f"user{index}", [index % 3]) for index in range(9)]
    world.run(2_000)
    for client in people:
        client.ask(Patch(topic=ROOM, meta={"n": 2}))
    world.run(1_000)
    world.end_zombie(W[0])
    world.run(2 * ALL_OVER_MS)
    dots: dict[tuple[str, int], Row] = {}
    for replica in replicas(world):
        for row in replica.maps()[PRESENCE].all_rows():
            assert dots.setdefault((row.origin, row.stamp), row) == row
    watcher = watch(world, [1])
    assert in_room(watcher) == sorted(f"user{index}" for index in range(9))
    assert agree(world)


@pytest.mark.parametrize("ahead_ms", [KNOBS.drift_ms_max + 50, 3_600_000, 315_360_000_000, -1])
def test_a_stamp_from_the_future_wins_nothing_and_leaves_nothing(ahead_ms: int) -> None:
    """A peer sends an entry from the future, whose epoch would beat all: nobody takes it in (P10).

    ```
    w0 --{poison, from the future}--> w1: refused whole; alice's next change is seen at once
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0], "room:a")
    nemesis = Nemesis(world, lambda _: None)
    poison = Fault(kind=FaultKind.POISON, at_ms=0, span_ms=1, pairs=[(W[0], W[1])], amount=ahead_ms)
    before = world.worker(1).inspect().replicas[0].deltas_refused
    nemesis.schedule([poison])
    world.run(300)
    assert nemesis.injected[0].took_effect
    assert world.worker(1).inspect().replicas[0].deltas_refused > before
    for index, replica in enumerate(replicas(world)):
        assert [row.key[1] for row in live_rows(world, index, "room:a")] == ["alice"]
        newest = max(stamp for _, stamp in replica.maps()[PRESENCE].vector.items())
        assert stamp_wall(newest) <= world.now.wall + KNOBS.drift_ms_max
    watcher.ask(Sub(topics=["room:a"]))
    assert isinstance(asks(world, alice, Patch(id=1, topic="room:a", meta={"n": 2})), Ok)
    (entry,) = watcher.machine.entries("room:a").values()
    assert entry.meta["n"] == 2
    assert agree(world)
