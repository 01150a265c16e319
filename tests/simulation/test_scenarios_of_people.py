"""Hand-steered scenarios about people: what they chose, how they left, where they went.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

import pytest

from presence_actors.config import ClusterConfig
from presence_actors.core.effects import InterruptionHappened
from presence_actors.core.ids import Topic, user_topic
from presence_actors.core.messages import DURABLE
from presence_actors.core.placement import shard_of
from presence_actors.core.values import INTENT_KEY, decode_intent
from presence_actors.core.vocabulary import Bye, Intent, Ok, Quality, Set, Unset, UserStatus
from presence_actors.sim.world import World
from tests.simulation.short_knobs import ALL_OVER_MS, KNOBS
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
    status_frames,
    statuses,
    watch,
)

pytestmark = pytest.mark.simulation


# -------------------------------------------------------------------------------- what people chose


def _intents(world: World, worker: int) -> list[str]:
    return [
        decode_intent(row.value).status
        for row in replicas(world)[worker].maps()[DURABLE].live_rows()
        if row.key[2] == INTENT_KEY
    ]


def test_of_two_choices_on_both_sides_of_a_cut_the_private_one_wins() -> None:
    """`invisible` takes the epoch it saw + 1, so a later `dnd` that did not see it loses.

    ```
    w0  --invisible-->      (heal)  invisible
    w1       --dnd (later)-->       invisible
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice"])
    desktop = arrive(world, "alice", [0])
    mobile = arrive(world, "alice", [1], device="mobile")
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(500)
    assert isinstance(asks(world, desktop, Intent(id=1, status="invisible")), Ok)
    assert isinstance(asks(world, mobile, Intent(id=1, status="dnd")), Ok)
    world.heal()
    world.run(1_000)
    assert _intents(world, 0) == _intents(world, 1) == ["invisible"]
    assert in_room(watcher) == []
    assert statuses(watcher, "alice")[-1] == UserStatus.OFFLINE
    # One that saw it may take it back.
    asks(world, mobile, Intent(id=2, status="dnd"))
    world.run(500)
    assert statuses(watcher, "alice")[-1] == UserStatus.DND
    assert in_room(watcher) == ["alice", "alice"]


def test_a_choice_that_ends_by_itself_ends_in_rooms_too() -> None:
    """Who is invisible until a time is seen again after it, without a word from anybody."""
    world = small_world()
    watcher = watch(world, [0], users=["alice"])
    alice = arrive(world, "alice", [1])
    asks(world, alice, Intent(id=1, status="invisible", until=world.now.wall + 1_500))
    assert in_room(watcher) == []
    world.run(2_000)
    assert in_room(watcher) == ["alice"]
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE


def test_the_invisible_are_seen_nowhere_whatever_breaks() -> None:
    """Neither at a reconnect at another gateway, nor with a second device, nor after a death.

    ```
    alice  --invisible--  g0 dies -- comes back at g1 -- w0 dies -- joins with a telephone
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watchers = [watch(world, [index], users=["alice"], name=f"watcher{index}") for index in (0, 1)]
    alice = world.client("alice", gateways=[0, 1])
    asks(world, alice, Intent(id=1, status="invisible"))
    told = [len(watcher.told) for watcher in watchers]
    alice.ask(Set(topic=ROOM))
    world.run(200)
    world.drop(alice)
    world.cut([G[0]], [W[0], W[1]])
    world.run(1_000)
    world.heal()
    world.kill(W[0], restart_after_ms=100)
    world.run(500)
    arrive(world, "alice", [0], device="mobile")
    world.run(2_000)
    for watcher, count in zip(watchers, told, strict=True):
        assert joins(watcher) == []
        assert [
            frame.status
            for frame in status_frames(watcher, "alice", after=count)
            if frame.status not in (UserStatus.OFFLINE, UserStatus.UNKNOWN)
        ] == []


def test_a_second_device_is_as_invisible_as_a_choice_that_is_still_on_its_way() -> None:
    """The choice waits, since the user's shard cannot be reached; rooms elsewhere obey it at once.

    ```
    g0  --X-- the shard of alice      alice (desktop) --invisible-->  (waits)
    g0  ----- the shard of the room   alice (telephone) --joins-->     not seen
    ```
    """
    config = ClusterConfig(workers=2, gateways=2, shards=2, replicas=1, knobs=KNOBS)
    world = World(config, seed=1)
    world.run(600)
    shard = shard_of(user_topic("default", "alice"), shards=2)
    room = next(
        name
        for name in ("room:a", "room:b", "room:c", "room:d")
        if shard_of(Topic(f"default/{name}"), shards=2) != shard
    )
    watcher = watch(world, [1], topics=[room])
    alice = arrive(world, "alice", [0], "room:unwatched")
    attachment = world.gateway(0).inspect().attachments[shard]
    assert attachment.worker is not None
    world.cut([G[0]], [attachment.worker])
    world.run(KNOBS.peer_silence_ms + 200)
    alice.ask(Intent(id=1, status="invisible"))
    world.run(100)
    arrive(world, "alice", [0], room, device="mobile")
    world.run(300)
    world.heal()
    world.run(1_500)
    assert joins(watcher) == []


# ----------------------------------------------------------------------------- who was last seen


def test_the_last_of_two_devices_that_leave_on_both_sides_of_a_cut_was_seen_last() -> None:
    """Neither replica can know that its device is the last one; together they still say when.

    ```
    w0  desktop leaves --X    (heal)   offline, last seen at the later of both
    w1      telephone leaves --X
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    desktop = arrive(world, "alice", [0])
    mobile = arrive(world, "alice", [1], device="mobile")
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(100)
    desktop.ask(Bye())
    world.run(700)
    mobile.ask(Bye())
    world.run(50)
    late = world.now.wall
    world.heal()
    world.run(1_500)
    answer = world.query(0, topics=[], users=["alice"])
    assert answer is not None
    (status,) = answer.users
    assert status.status == UserStatus.OFFLINE
    assert status.last_seen is not None
    assert late - 60 <= status.last_seen <= late


def test_the_time_of_an_invisible_end_stays_hidden() -> None:
    """Who left while invisible was last seen when last visible, also when the choice has ended."""
    world = small_world()
    alice = arrive(world, "alice", [0])
    alice.ask(Bye())
    world.run(300)
    seen = world.now.wall
    alice = arrive(world, "alice", [0])
    asks(world, alice, Intent(id=1, status="invisible", until=world.now.wall + 3_000))
    world.run(1_000)
    alice.ask(Bye())
    world.run(4_000)
    answer = world.query(1, topics=[], users=["alice"])
    assert answer is not None
    (status,) = answer.users
    assert status.status == UserStatus.OFFLINE
    assert status.last_seen is None or status.last_seen <= seen


# --------------------------------------------------------------------------------- leave reasons


def test_the_reason_of_an_end_survives_two_attempts_to_tell_it() -> None:
    """An end that was in an unanswered announcement goes into the next one, reason and all.

    ```
    g0  (no replica)  alice times out   --attach w0--X   --attach w1--> `timeout`
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0])
    world.cut([G[0]], [W[0], W[1]])
    world.run(400)
    alice.vanish()
    world.run(KNOBS.grace_connection_ms + 200)
    before = world.gateway(0).inspect().attachments[0].number
    world.heal_between([W[0]], [G[0]])
    while world.gateway(0).inspect().attachments[0].number == before:
        world.run(1)
    world.kill(W[0], restart_after_ms=None)
    world.heal()
    world.run(2_000)
    assert home(world, 0) == W[1]
    assert leaves(watcher) == [("alice", "timeout")]


# --------------------------------------------------------------------------------- where they went


def test_a_room_that_was_left_elsewhere_does_not_come_back_with_its_session() -> None:
    """The old gateway still has the room when the client returns to it without a word of it.

    ```
    g0  alice in the lobby  X                          hello resume=3 --> not in the lobby
    g1                        hello resume=2, unset  X
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0, 1], ROOM, "room:kept")
    world.cut([G[0], W[0]], [G[1], W[1]])
    world.drop(alice)
    world.run(250)
    assert alice.link is not None
    assert alice.link[0] == G[1]
    alice.ask(Unset(topic=ROOM))
    world.run(100)
    world.drop(alice)
    world.run(500)
    assert alice.link is not None
    assert alice.link[0] == G[0]
    world.heal()
    world.run(ALL_OVER_MS)
    assert in_room(watcher) == []
    assert live_rows(world, 0, ROOM) == []
    assert [row.key[1] for row in live_rows(world, 1, "room:kept")] == ["alice"]
    assert alice.machine.inspect().rooms == ["room:kept"]


def test_a_session_that_hops_during_a_cut_is_at_one_place_after_it() -> None:
    """The old gateway cannot know; after the heal the client's last hello decides, without a leave.

    ```
    g0/w0  alice  X drop                     (heal) gives her up
    g1/w1             --hello resume=1-->           keeps her
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watchers = [watch(world, [index], users=["alice"], name=f"watcher{index}") for index in (0, 1)]
    alice = arrive(world, "alice", [0, 1])
    world.cut([G[0], W[0]], [G[1], W[1]])
    world.drop(alice)
    world.run(600)
    world.heal()
    world.run(ALL_OVER_MS)
    assert alice.link is not None
    assert alice.link[0] == G[1]
    assert world.gateway(0).inspect().sessions == 1  # The watcher's.
    for watcher in watchers:
        assert leaves(watcher) == []
        assert in_room(watcher) == ["alice"]
        assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    assert agree(world)


def test_an_old_holder_does_not_refute_the_end_of_a_session_that_was_resumed_elsewhere() -> None:
    """A greater resumption, live or ended, means that the holder has been replaced.

    ```
    g0 (cut off)  alice (lingers) ---------------------------- (heal) writes nothing
    g1                 --hello resume=1-- alice says bye -->   stays gone
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice"])
    alice = arrive(world, "alice", [0, 1])
    world.cut([G[0]], [W[0], W[1]])
    world.drop(alice)
    world.run(400)
    assert alice.link is not None
    assert alice.link[0] == G[1]
    alice.ask(Bye())
    world.run(300)
    world.heal()
    world.run(ALL_OVER_MS)
    assert in_room(watcher) == []
    assert statuses(watcher, "alice")[-1] == UserStatus.OFFLINE
    assert joins(watcher) == ["alice"]
    assert leaves(watcher) == [("alice", "left")]


def test_a_gateway_cut_off_for_long_is_unreachable_then_lost_and_comes_back_as_it_was() -> None:
    """A holder that lives refutes what was ended in its place.

    ```
    g0  alice ----X (cut off)                                (heal) --attach--> alice again
    w0         silent -- unreachable -- ended: gateway_lost
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice"])
    alice = arrive(world, "alice", [0])
    world.cut([G[0]], [W[0], W[1]])
    world.run(KNOBS.gateway_lease_ms + KNOBS.grace_gateway_ms + 600)
    assert statuses(watcher, "alice")[-1] == UserStatus.UNREACHABLE
    assert leaves(watcher) == []
    world.run(KNOBS.unreachable_ms_max)
    assert leaves(watcher) == [("alice", "gateway_lost")]
    assert not [event for _, event in alice.told if isinstance(event, InterruptionHappened)]
    world.heal()
    world.run(1_000)
    assert in_room(watcher) == ["alice"]
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    assert agree(world)


def test_clients_of_a_cut_off_gateway_see_everybody_else_unreachable_and_nobody_leave() -> None:
    """Their own neighbours at the same gateway they still see."""
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [0], users=["alice", "bob"])
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    world.cut([G[0]], [W[0], W[1]])
    world.run(3_000)
    assert statuses(watcher, "bob")[-1] == UserStatus.UNREACHABLE
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    assert watcher.machine.view(ROOM).quality == Quality.PARTIAL
    assert leaves(watcher) == []
    world.heal()
    world.run(1_000)
    assert statuses(watcher, "bob")[-1] == UserStatus.ONLINE
    assert watcher.machine.view(ROOM).quality == Quality.COMPLETE


def test_closing_one_device_never_turns_a_user_off() -> None:
    """Online while any is there; the room hears of each device."""
    world = small_world()
    watcher = watch(world, [0], users=["alice"])
    devices = [
        arrive(world, "alice", [index], device=device)
        for index, device in ((0, "desktop"), (1, "mobile"), (0, "web"))
    ]
    for device in devices[:2]:
        device.ask(Bye())
        world.run(ALL_OVER_MS)
    assert UserStatus.OFFLINE not in statuses(watcher, "alice")[1:]
    assert leaves(watcher) == [("alice", "left")] * 2
    devices[2].vanish()
    world.run(ALL_OVER_MS)
    assert statuses(watcher, "alice")[-1] == UserStatus.OFFLINE
    assert leaves(watcher)[-1] == ("alice", "timeout")


def test_after_all_workers_died_together_nobody_was_ever_offline() -> None:
    """Unknown until the gateways have announced; then everybody is where they were.

    ```
    w0, w1  X X      w0' w1' (empty) --starting-- grace -- ready
    g0, g1              --attach, attach-->
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [0], users=["alice", "bob"])
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    count = len(watcher.told)
    for worker in W[:2]:
        world.kill(worker, restart_after_ms=300)
    world.run(700)
    answer = world.query(1, topics=[], users=["carol"])
    assert answer is not None
    assert answer.users[0].status == UserStatus.UNKNOWN
    world.run(4_000)
    assert leaves(watcher) == []
    for name in ("alice", "bob"):
        told = [frame.status for frame in status_frames(watcher, name, after=count)]
        assert UserStatus.OFFLINE not in told
        assert statuses(watcher, name)[-1] == UserStatus.ONLINE
    answer = world.query(1, topics=[], users=["carol"])
    assert answer is not None
    assert answer.users[0].status == UserStatus.OFFLINE
    assert agree(world)


def test_reasons_reach_watchers() -> None:
    """Who says bye has left, who vanishes has timed out, who unsets has left the room."""
    world = small_world()
    watcher = watch(world, [0])
    people = {name: arrive(world, name, [1]) for name in ("alice", "bob", "carol")}
    people["alice"].ask(Bye())
    people["bob"].vanish()
    people["carol"].ask(Unset(topic=ROOM))
    world.run(ALL_OVER_MS)
    assert sorted(leaves(watcher)) == [("alice", "left"), ("bob", "timeout"), ("carol", "left")]


def test_what_only_a_watcher_saw_ends_when_its_worker_and_its_holder_died() -> None:
    """The watcher's gateway is the only witness: it tells its next replica what it was shown.

    ```
    g1  alice --> w0 --> g0 (watcher sees her)      X g1, X w0, both before w0 told w1
    w1     never heard of her
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 0})
    watcher = watch(world, [0])
    world.cut([W[0]], [W[1]])
    alice = arrive(world, "alice", [1])
    assert in_room(watcher) == ["alice"]
    alice.vanish()
    world.kill(G[1], restart_after_ms=50)
    world.kill(W[0], restart_after_ms=50)
    world.run(100)
    world.heal()
    world.run(3 * ALL_OVER_MS)
    assert in_room(watcher) == []


def test_a_choice_outlives_the_one_replica_that_had_it_where_a_gateway_saw_it() -> None:
    """What was shown to a gateway is handed to its next replica, as entries are.

    Else that gateway alone would obey it, for good. Found by seed 1009 of `presence sim`,
    2026-11-24.

    ```
    alice --invisible--> g0 --> w0 --X (cut)  X (w0 dies)
                         g0 ----------------------> w1   bob sees alice offline
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    alice = arrive(world, "alice", [0])
    bob = watch(world, [1], users=["alice"], name="bob")
    assert statuses(bob, "alice")[-1] == "online"
    world.cut([W[0]], [W[1]])
    assert isinstance(asks(world, alice, Intent(status="invisible")), Ok)
    world.kill(W[0], restart_after_ms=None)
    world.heal()
    world.run(KNOBS.unreachable_after_ms + 1_000)
    assert statuses(bob, "alice")[-1] == "offline"
    durable = replicas(world)[1].maps()[DURABLE]
    row = durable.get(("default/user:alice", "alice", INTENT_KEY))
    assert row is not None
    assert decode_intent(row.value).status == "invisible"
