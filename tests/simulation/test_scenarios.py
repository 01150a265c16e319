"""Hand-steered scenarios: one fault, one story, told by what people see.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

import pytest

from crdt import epoch_resume
from presence_actors.core import gossip
from presence_actors.core.messages import PRESENCE
from presence_actors.core.vocabulary import Bye, Quality, Set, UserStatus
from presence_actors.sim.network import Faults
from tests.simulation.short_knobs import ALL_OVER_MS, KNOBS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
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

# ---------------------------------------------------------------------------------------- gossip


def test_a_delta_in_parts_claims_nothing_before_its_last_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts of one delta move the vector together, also when the link breaks between them.

    ```
    w0  --p1--p2--X      (breaks)      --parts again--last-->
    w1  equal vectors always mean equal rows ----------------> equal
    ```
    """
    monkeypatch.setattr(gossip, "GOSSIP_ROWS_MAX", 3)
    world = small_world(seed=3)
    place(world, {0: 0, 1: 1})
    world.cut([W[0], G[0]], [W[1], G[1]])
    people = [arrive(world, f"user{number}", [0], ROOM, "room:side") for number in range(8)]
    for span in (25, 3, 40, 7, 61, 11):
        world.heal()
        world.run(span)
        people[0].ask(Set(topic=ROOM, meta={"after": span}))
        people[span % 8].ask(Set(topic="room:side", meta={"after": span}))
        world.run(3)
        world.cut([W[0], G[0]], [W[1], G[1]])
        first, second = (replica.maps()[PRESENCE] for replica in replicas(world))
        if first.vector == second.vector:
            assert first.canonical_bytes() == second.canonical_bytes()
        world.run(KNOBS.peer_silence_ms + 50)
    world.heal()
    world.run(1_500)
    assert agree(world)
    assert len(live_rows(world, 1, ROOM)) == 8


def test_a_restarted_replica_gets_back_even_what_it_wrote_itself() -> None:
    """What came from a peer is sent to its next life again, which knows nothing of it.

    ```
    w0  --put-->              X (dies)   w0' --empty-->  has all
    w1         --has it--                    --all of it-->
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    world.kill(W[0], restart_after_ms=100)
    world.run(1_000)
    assert agree(world)
    assert {row.key[1] for row in live_rows(world, 0, ROOM)} == {"alice", "bob"}


def test_a_clock_far_ahead_is_refused_and_moves_nothing() -> None:
    """What is stamped beyond the drift bound counts nowhere else, and all is well once it is right.

    ```
    w0  (clock ahead) --put alice-->        (clock right) ---------> alice everywhere
    w1                   refused, bob's writes go on unharmed
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    world.set_clock(W[0], ahead_ms=KNOBS.drift_ms_max + 700)
    before = replicas(world)[1].maps()[PRESENCE].vector
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    after = replicas(world)[1].maps()[PRESENCE].vector
    moved = [origin for origin, stamp in after.items() if stamp > before[origin]]
    assert [origin.startswith(W[1]) for origin in moved] == [True]
    assert in_room(watcher) == ["bob"]
    assert replicas(world)[1].inspect().deltas_refused > 0
    world.set_clock(W[0], ahead_ms=0)
    world.run(KNOBS.drift_ms_max + 2_000)
    assert in_room(watcher) == ["alice", "bob"]
    assert agree(world)


def test_a_clock_far_behind_does_not_keep_its_gateways_waiting() -> None:
    """A worker whose clock fell back must not stamp; its gateways are served by another one.

    ```
    w0  (clock falls back) refuses to stamp
    g0  --join alice-->X   --join alice--> w1 ---> seen by all
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    world.set_clock(W[0], ahead_ms=-60_000)
    world.run(200)
    arrive(world, "alice", [0])
    world.run(1_500)
    assert in_room(watcher) == ["alice"]


@pytest.mark.parametrize("deaf", [0, 1])
def test_a_link_that_carries_one_way_only_makes_nobody_offline(deaf: int) -> None:
    """Each side says `unreachable` of what it cannot hear, and both agree after the heal.

    ```
    w0 --X--> w1    w0 <----- w1     (or the reverse)
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    watchers = [
        watch(world, [index], users=["alice", "bob"], name=f"watcher{index}") for index in (0, 1)
    ]
    world.cut([W[deaf]], [W[1 - deaf]], one_way=True)
    world.run(2_500)
    arrive(world, "carol", [deaf])
    world.run(500)
    world.heal()
    world.run(1_000)
    for watcher in watchers:
        assert leaves(watcher) == []
        assert UserStatus.OFFLINE not in statuses(watcher, "alice") + statuses(watcher, "bob")
        assert in_room(watcher) == ["alice", "bob", "carol"]
        assert watcher.machine.view(ROOM).quality == Quality.COMPLETE
    assert agree(world)


def test_news_come_by_a_third_replica_when_two_cannot_hear_each_other() -> None:
    """In a triangle with one cut edge both joins and leaves reach everybody (P2).

    ```
    w0 --X-- w2        w0 -- w1 -- w2
    ```
    """
    world = small_world(workers=3, gateways=3)
    place(world, {0: 0, 1: 1, 2: 2})
    watcher = watch(world, [0])
    world.cut([W[0]], [W[2]])
    alice = arrive(world, "alice", [2])
    world.run(300)
    assert in_room(watcher) == ["alice"]
    world.run(2_000)
    assert watcher.machine.view(ROOM).quality == Quality.COMPLETE
    alice.ask(Bye())
    world.run(400)
    assert leaves(watcher) == [("alice", "left")]


def test_silence_is_told_even_if_nobody_known_was_there() -> None:
    """A cut-off replica may have taken in people that we cannot see: the view is partial.

    ```
    w0  (no rows of w1) --X--  w1 <- bob joins
    g0  partial, not complete
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [0], users=["bob"])
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(2_000)
    arrive(world, "bob", [1])
    view = watcher.machine.view(ROOM)
    assert view.quality == Quality.PARTIAL
    assert view.silent == [W[1]]
    world.heal()
    world.run(1_000)
    assert watcher.machine.view(ROOM).quality == Quality.COMPLETE
    assert in_room(watcher) == ["bob"]


def test_any_loss_repetition_and_reordering_still_ends_in_agreement() -> None:
    """Machines repeat what was not acknowledged, and take everything once and in order."""
    world = small_world(workers=3)
    watcher = watch(world, [0])
    world.set_faults(Faults(loss=0.2, duplication=0.3, delay=0.3, delay_ms=80))
    people = [arrive(world, f"user{number}", [number % 2]) for number in range(6)]
    for client in people[::2]:
        client.ask(Bye())
    world.run(2_000)
    world.set_faults(Faults())
    world.run(3_000)
    assert in_room(watcher) == ["user1", "user3", "user5"]
    assert agree(world)


# ------------------------------------------------------------------------- what a watcher can see


def test_an_end_is_written_even_where_the_entry_is_not_known() -> None:
    """A worker dies with an entry untold to its peer; the end that comes later still reaches all.

    ```
    w0  --put alice--> X (dies, untold)   w0'
    g1     saw it                                 -- end --> leaves
    g0                       --end alice--> w0'
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 0})
    watcher = watch(world, [1])
    world.cut([W[0]], [W[1]])
    alice = arrive(world, "alice", [0])
    assert in_room(watcher) == ["alice"]
    world.cut([G[0]], [W[0], W[1]])
    alice.ask(Bye())
    world.run(20)
    world.kill(W[0], restart_after_ms=50)
    world.run(100)
    world.heal()
    world.run(2_000)
    assert leaves(watcher) == [("alice", "left")]
    assert agree(world)


def test_who_hops_across_a_cut_hears_the_end_of_what_was_seen_on_the_other_side() -> None:
    """A cursor may be ahead of the gateway it comes to; what it knew ends for it, too.

    ```
    g1/w1   alice joins  -- watcher sees her         alice leaves --X
    g0/w0                     watcher hops here --->  (heal) ----------> leave
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1, 0])
    world.cut([W[0], G[0]], [W[1], G[1]])
    alice = arrive(world, "alice", [1])
    world.run(1_200)
    bob = arrive(world, "bob", [1])  # A diff with a fresh cursor.
    carol = arrive(world, "carol", [1])  # One without: the cursor comes once in a second.
    assert in_room(watcher) == ["alice", "bob", "carol"]
    world.kill(G[1], restart_after_ms=None)
    alice.vanish()
    bob.vanish()
    carol.vanish()
    world.run(ALL_OVER_MS)
    world.heal()
    world.run(ALL_OVER_MS)
    assert in_room(watcher) == []
    assert agree(world)


def test_a_view_that_was_starting_is_told_when_it_is_complete() -> None:
    """Who came to a cut-off gateway hears first that the view is starting, then that it is not.

    ```
    g0 --X-- w0, w1        watcher -- starting -- (heal) -- snapshot, complete
    ```
    """
    world = small_world()
    world.kill(G[0], restart_after_ms=50)
    world.cut([G[0]], [W[0], W[1]])
    world.run(200)
    watcher = watch(world, [0])
    world.run(1_500)
    assert watcher.machine.view(ROOM).quality == Quality.STARTING
    world.heal()
    world.run(1_000)
    assert watcher.machine.view(ROOM).quality == Quality.COMPLETE


# ---------------------------------------------------------------------------------------- epochs


def test_a_cut_off_holder_that_moved_often_loses_against_the_client_that_resumed() -> None:
    """`resume` counts before `move`: however often the old holder attached, it has been left.

    ```
    g0  --attaches 1, 2, 3, 4 ...-- (client gone, does not know)
    g1           --hello resume=1-->  wins everywhere
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0, 1])
    for _ in range(3):
        world.cut([G[0]], [W[0]])
        world.run(500)
        world.heal()
        world.cut([G[0]], [W[1]])
        world.run(500)
        world.heal()
    assert world.gateway(0).inspect().attachments[0].number > 4
    world.cut([G[0]], [W[0], W[1]])
    world.drop(alice)
    world.run(1_000)
    assert alice.link is not None
    assert alice.link[0] == G[1]
    world.heal()
    world.run(1_000)
    (row,) = live_rows(world, 0, ROOM)
    assert epoch_resume(row.epoch) == 1
    assert leaves(watcher) == []
    assert joins(watcher) == ["alice"]


def test_a_late_announcement_ends_nothing_that_was_written_elsewhere_since() -> None:
    """An announcement is on its way for so long that the gateway has moved on when it arrives.

    ```
    g0  --attach n-------- (slow) ----------------------> w0: too late, nobody leaves
    g0        --attach n+1--> w1 --gossip--> w0
    ```
    """
    world = small_world(seed=5)
    place(world, {0: 1, 1: 0})
    watcher = watch(world, [1], users=["alice"])
    arrive(world, "alice", [0])
    world.cut([G[0]], [W[1]])
    before = world.gateway(0).inspect().attachments[0].number
    while world.gateway(0).inspect().attachments[0].number == before:
        world.set_faults(Faults(delay=1.0, delay_ms=6_000))
        world.run(1)
        if world.gateway(0).inspect().attachments[0].number == before:
            world.set_faults(Faults())
    world.set_faults(Faults())
    world.heal()
    # It hears nothing of w0 any more, and goes back.
    world.cut([G[0]], [W[0]], one_way=True)
    world.run(1_000)
    assert home(world, 0) == W[1]
    arrive(world, "bob", [0])
    world.heal()
    world.run(6_000)
    assert leaves(watcher) == []
    assert UserStatus.OFFLINE not in statuses(watcher, "alice")[1:]
    assert agree(world)


# ------------------------------------------------------------------------------------------ pauses


def test_a_gateway_that_wakes_up_reads_before_it_judges() -> None:
    """The grace ran out while the gateway slept, but the client had called again before.

    ```
    g0     --|  asleep: beats, hello wait  |-- reads all of it, then looks at leases and graces
    alice  X drop  --hello-->
    bob    beat beat beat beat beat beat
    ```
    """
    world = small_world(gateways=1)
    watcher = watch(world, [0])
    alice = arrive(world, "alice", [0])
    arrive(world, "bob", [0])
    world.drop(alice)
    world.pause(G[0])
    world.run(KNOBS.grace_connection_ms + 200)
    world.resume(G[0])
    world.run(3_000)
    assert in_room(watcher) == ["alice", "bob"]
    assert leaves(watcher) == []


def test_a_worker_that_wakes_up_reads_before_it_says_who_is_silent() -> None:
    """What the other replica said meanwhile waits unread; nobody becomes unreachable by that."""
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [0], users=["bob"])
    arrive(world, "bob", [1])
    count = len(watcher.told)
    world.cut([G[0]], [W[1]])
    world.pause(W[0])
    world.run(KNOBS.unreachable_after_ms + 100)
    world.resume(W[0])
    world.run(1_000)
    assert home(world, 0) == W[0]
    assert [event for _, event in watcher.told[count:]] == []


@pytest.mark.parametrize("beats", range(8))
def test_a_machine_that_stood_still_for_a_moment_costs_nobody_anything(beats: int) -> None:
    """All of it, as when its host does not let it run; each judges others by what waits unread.

    The last word of everybody is up to a beat old when it begins.
    """
    world = small_world(seed=beats)
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [0], users=["bob"])
    arrive(world, "bob", [1])
    lives = [world.gateway(index).inspect().attachments for index in (0, 1)]
    count = len(watcher.told)
    for span in range(KNOBS.gateway_beat_ms // 2, KNOBS.client_lease_ms - KNOBS.heartbeat_ms, 60):
        world.run(1_000 + 13 * beats)
        world.stall(span)
        world.run(1_000)
        assert [world.gateway(index).inspect().attachments for index in (0, 1)] == lives, span
    assert [event for _, event in watcher.told[count:]] == []


def test_a_new_life_whose_clock_is_behind_is_still_the_new_one() -> None:
    """A worker comes back at once, on a machine whose clock is a little behind: it is heard.

    ```
    w0 (clock +400) X      w0' (clock -0, so its name sorts before the old one)
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    world.set_clock(W[0], ahead_ms=KNOBS.drift_ms_max - 50)
    world.kill(W[0], restart_after_ms=50)
    world.run(250)
    before = world.worker(0).node
    bob = arrive(world, "bob", [0])
    world.set_clock(W[0], ahead_ms=0)
    world.cut([G[0]], [W[0], W[1]])
    bob.vanish()
    world.kill(G[0], restart_after_ms=None)
    world.kill(W[0], restart_after_ms=50)
    arrive(world, "alice", [1])
    world.run(ALL_OVER_MS)
    assert world.worker(0).node < before
    assert [row.key[1] for row in live_rows(world, 0, ROOM)] == ["alice"]
    assert world.worker(0).inspect().ready
    assert agree(world)
