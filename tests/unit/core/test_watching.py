"""What clients watch: first frames, ticks, and how much of the truth is said to be seen."""

from __future__ import annotations

import pytest

from crdt import Origin, Row, VersionVector
from presence_actors.core.cursors import read_cursor, write_cursor
from presence_actors.core.effects import Deliver, GatewayEffect
from presence_actors.core.events import ClientCaughtUp, ClientLagging
from presence_actors.core.ids import ConnectionId, NodeId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import ENTRIES_PER_PART_MAX, LAG_BRIEF_MS, LAG_STATE_MS
from presence_actors.core.messages import Reach
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import EntryStatus
from presence_actors.core.vocabulary import (
    Bye,
    Diff,
    Leave,
    Ok,
    Ping,
    Quality,
    Set,
    Snap,
    StatusFrame,
    Sub,
    Unsub,
    UserStatus,
    ViewFrame,
)
from tests.unit.core.building import (
    G0,
    G1,
    LOBBY,
    SHARD,
    W0,
    W1,
    WALL,
    at,
    end,
    entry,
    intent,
    life,
    name,
    stamp,
)
from tests.unit.core.gateway_stage import ALL_HEARD, KNOBS, NOT_READY, Stage, only, told

OWN = "default/user:alice"
ROOM = Sub(topics=["room:lobby"])
SILENT = WallMs(WALL + 7)


def written(stage: Stage, row: Row) -> list[GatewayEffect]:
    """Somebody at another gateway writes a row; what follows at once."""
    return stage.hears(stage.replica.says(stage.replica.stamped(row._replace(holder=G1))))


def came(stage: Stage, user: str, **meta: object) -> Row:
    """Somebody at another gateway enters the lobby, and it was told."""
    written(stage, entry(user, meta=meta))
    stage.ticks()
    return stage.replica.rows[LOBBY, user, "s1"]


def watcher(stage: Stage, message: Sub = ROOM) -> ConnectionId:
    """Somebody who watches, after the first frames."""
    carol = stage.enters("carol", session=f"c{stage.connections}")
    stage.says(carol, message)
    stage.ticks()
    return carol


def ref(user: str) -> str:
    """The public name of an entry in the lobby."""
    return entry_ref((LOBBY, user, "s1"))


def keys(message: object) -> tuple[list[str], list[str], list[str]]:
    """Who joined, changed and left in a diff."""
    assert isinstance(message, Diff)
    return (
        [one.key for one in message.joins],
        [one.key for one in message.updates],
        [one.key for one in message.leaves],
    )


def view(quality: Quality, **fields: object) -> ViewFrame:
    """A judgement of the lobby."""
    return ViewFrame(scope="room:lobby", quality=quality, **fields)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- rooms


def test_a_new_subscriber_gets_a_snapshot_and_then_net_changes() -> None:
    """On ticks; between two of them nothing is said."""
    stage = Stage()
    carol = stage.enters("carol")
    assert stage.says(carol, Sub(id=1, topics=["room:lobby"])) == [Deliver([carol], Ok(id=1))]
    cursor = write_cursor({SHARD: stage.replica.vector})
    assert stage.ticks() == [Deliver([carol], Snap(topic="room:lobby", state=[], cursor=cursor))]
    assert written(stage, entry("bob")) == []
    assert written(stage, entry("bob", status=EntryStatus.AWAY, written=5)) == []
    written(stage, entry("alice"))
    written(stage, end(entry("alice"), written=9))
    assert keys(only(stage.ticks(), carol)) == (["bob"], [], [])
    written(stage, end(entry("bob"), written=9, reason="timeout"))
    gone = only(stage.ticks(), carol)
    assert isinstance(gone, Diff)
    assert gone.leaves == [Leave(ref=ref("bob"), key=UserId("bob"), reason="timeout")]


def test_all_subscribers_share_one_frame_and_a_new_one_continues_from_the_same_state() -> None:
    """The diff of the tick goes to the old ones, the snapshot behind it to the new one."""
    stage = Stage()
    first, second = watcher(stage), watcher(stage)
    third = stage.enters("dave")
    written(stage, entry("bob"))
    stage.says(third, ROOM)
    diff, snap = stage.ticks()
    assert isinstance(diff, Deliver)
    assert isinstance(snap, Deliver)
    assert (diff.connections, keys(diff.message)) == ([first, second], (["bob"], [], []))
    assert snap.connections == [third]
    assert isinstance(snap.message, Snap)
    assert [one.key for one in snap.message.state] == ["bob"]


def test_a_large_room_comes_in_parts() -> None:
    """The last part has the cursor."""
    stage = Stage()
    for number in range(ENTRIES_PER_PART_MAX + 1):
        stage.replica.stamped(entry(f"u{number}", holder=G1))
    carol = stage.enters("carol")
    stage.says(carol, ROOM)
    parts = told(stage.ticks(), carol)
    assert [(part.part, part.last) for part in parts if isinstance(part, Snap)] == [
        (0, False),
        (1, True),
    ]


def test_each_diff_has_the_cursor_of_what_it_tells() -> None:
    """With an older one, a replica that is behind would tell it again, in an older state."""
    stage = Stage()
    carol = watcher(stage)
    for number in range(3):
        written(stage, entry(f"u{number}"))
        diff = only(stage.passes(300), carol)
        assert isinstance(diff, Diff)
        (seen,) = read_cursor(diff.cursor).values()
        newest = max(stage.replica.vector.items(), key=lambda component: component[1])
        assert seen.covers(*newest)


def test_the_cursor_of_who_resumed_does_not_fall_behind_what_it_had_seen() -> None:
    """Its gateway may be behind that; the next one must not tell it again."""
    stage = Stage()
    plain = watcher(stage)
    carol = stage.enters("carol")
    elsewhere = VersionVector({entry(origin=W1).origin: stamp(stage.at + 5)})
    shard = next(iter(read_cursor(cursor_of(0))))
    known = write_cursor({shard: elsewhere})
    stage.says(carol, Sub(topics=["room:lobby"], cursor=known))
    resumed = only(stage.ticks(), carol)
    assert isinstance(resumed, Diff)
    assert read_cursor(resumed.cursor)[shard].dominates(elsewhere)
    written(stage, entry("bob"))
    diffs = {
        effect.connections[0]: effect.message
        for effect in stage.ticks()
        if isinstance(effect, Deliver) and isinstance(effect.message, Diff)
    }
    cursors = {who: read_cursor(diff.cursor)[shard] for who, diff in diffs.items()}
    assert cursors[carol].dominates(elsewhere)
    assert not cursors[plain].dominates(elsewhere)


def test_who_resumed_is_told_a_check_once_we_have_seen_all_that_it_can_have() -> None:
    """The replica is asked how far it has come, since where nothing changes it does not say."""
    stage = Stage()
    written(stage, entry("bob"))
    carol = stage.enters("carol")
    stage.says(carol, Sub(topics=["room:lobby"], cursor=cursor_of(0)))
    stage.ticks()
    stage.replica.clock = stamp(stage.at + 2 * KNOBS.drift_ms_max)
    stage.passes(KNOBS.drift_ms_max + 2 * KNOBS.gossip_idle_ms + 2 * KNOBS.flush_ms)
    stage.hears(stage.replica.says())
    check = only(stage.ticks(), carol)
    assert check == Diff(topic="room:lobby", check=f"{int(ref('bob'), 16):x}")


def test_who_subscribes_again_gets_the_whole_again() -> None:
    """It counts as one subscription."""
    stage = Stage()
    carol = watcher(stage)
    written(stage, entry("bob"))
    stage.says(carol, ROOM)
    assert isinstance(only(stage.ticks(), carol), Snap)
    assert stage.machine.inspect().subscriptions == 1


def test_who_stops_watching_or_goes_hears_no_more() -> None:
    """Rooms and users; the topics are forgotten when nobody has wanted them for a while."""
    stage = Stage()
    bob, carol = stage.enters("bob"), stage.enters("carol")
    for one in (bob, carol):
        stage.says(one, Sub(topics=["room:lobby"], users=["alice"]))
    assert len(told(stage.ticks(), bob)) == 2
    off = Unsub(id=1, topics=["room:lobby", "room:never"], users=["alice"])
    assert only(stage.says(bob, off), bob) == Ok(id=1)
    stage.says(carol, Bye())
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    assert stage.ticks() == []
    assert stage.machine.inspect().subscriptions == 0
    stage.says(alice, Bye())
    stage.passes(KNOBS.interest_linger_ms + KNOBS.flush_ms)
    assert stage.machine.inspect().topics == 1
    assert list(stage.replica.topics) == ["default/user:bob"]


def test_a_topic_that_is_wanted_again_in_time_is_still_warm() -> None:
    """Its next subscriber gets the snapshot without the replica being asked."""
    stage = Stage()
    carol = watcher(stage)
    stage.says(carol, Unsub(topics=["room:lobby"]))
    stage.passes(KNOBS.interest_linger_ms - 1)
    stage.replica.loads = False
    stage.says(carol, ROOM)
    assert isinstance(only(stage.passes(KNOBS.interest_linger_ms), carol), Snap)


def test_a_topic_that_is_not_watched_is_not_kept() -> None:
    """What a replica says of it on the way is passed over."""
    stage = Stage()
    segment = stage.replica.says(entry("bob"), loaded=["default/room:other"])
    assert stage.hears(segment) == []
    assert stage.machine.inspect().topics == 0


def test_who_is_shown_a_room_once_hears_of_no_change_until_it_is_shown_again() -> None:
    """And only if something has changed: held again, it has missed nothing that it knows of."""
    stage = Stage()
    guest = stage.seats("gus")
    stage.says(guest, ROOM)
    stage.ticks()
    for _ in range(2):
        stage.happens(ClientLagging(guest))
        stage.passes(LAG_BRIEF_MS)
        stage.happens(ClientCaughtUp(guest))
    assert isinstance(only(stage.ticks(), guest), Snap)
    came(stage, "bob")
    assert told(stage.ticks(), guest) == []
    shown = told(stage.passes(LAG_STATE_MS), guest)
    assert [[one.key for one in snap.state] for snap in shown if isinstance(snap, Snap)] == [
        ["bob"]
    ]
    assert told(stage.passes(LAG_STATE_MS), guest) == []
    assert stage.machine.inspect().subscriptions == 1


# ------------------------------------------------------------------------------------- continuation


def cursor_of(instant: int, origin: NodeId = W0) -> str:
    """A cursor that has seen one origin up to a moment."""
    return write_cursor({SHARD: VersionVector({Origin(origin): stamp(instant)})})


def test_a_cursor_is_continued_by_what_it_lacks() -> None:
    """And by a cursor to continue from next time."""
    stage = Stage()
    watcher(stage)
    came(stage, "alice")
    seen = write_cursor({SHARD: stage.replica.vector})
    came(stage, "bob")
    carol = stage.enters("carol")
    stage.says(carol, Sub(topics=["room:lobby"], cursor=seen))
    diff = only(stage.ticks(), carol)
    assert isinstance(diff, Diff)
    assert (diff.resumed, keys(diff)) == (True, ([], ["bob"], []))
    assert read_cursor(diff.cursor) == {SHARD: stage.replica.vector}


@pytest.mark.parametrize("cursor", ["nonsense", write_cursor({}), cursor_of(0)[:-1]])
def test_a_cursor_that_says_nothing_of_the_shard_gets_a_snapshot(cursor: str) -> None:
    """As does none."""
    stage = Stage()
    carol = stage.enters("carol")
    stage.says(carol, Sub(topics=["room:lobby"], cursor=cursor))
    assert isinstance(only(stage.ticks(), carol), Snap)


def test_who_knew_more_than_we_do_hears_of_ends_of_what_we_never_showed() -> None:
    """Until we have seen all that it can have seen, and others never."""
    stage = Stage()
    watcher(stage)
    carol = stage.enters("carol")
    stage.says(carol, Sub(topics=["room:lobby"], cursor=cursor_of(0)))
    diff = only(stage.ticks(), carol)
    assert keys(diff) == ([], [], [])
    written(stage, end(entry("bob"), written=1))
    (unknown,) = stage.ticks()
    assert unknown == Deliver(
        [carol],
        Diff(
            topic="room:lobby",
            leaves=[Leave(ref=ref("bob"), key=UserId("bob"), reason="left")],
        ),
    )
    stage.replica.clock = stamp(stage.at + KNOBS.drift_ms_max)
    came(stage, "dave")
    written(stage, end(entry("eve"), written=1))
    assert stage.ticks() == []


# --------------------------------------------------------------------------------- what can be seen


def test_a_room_that_does_not_come_is_starting_and_complete_when_it_has_come() -> None:
    """Its subscribers are told once that they wait, and once that they no longer do."""
    stage = Stage()
    stage.replica.loads = False
    carol = stage.enters("carol")
    stage.says(carol, ROOM)
    assert stage.passes(KNOBS.snapshot_wait_ms - 1) == []
    assert stage.passes(1) == [Deliver([carol], view(Quality.STARTING))]
    assert stage.passes(3 * KNOBS.snapshot_wait_ms) == []
    stage.hears(stage.replica.says(loaded=[LOBBY]))
    complete, snap = told(stage.ticks(), carol)
    assert complete == view(Quality.COMPLETE)
    assert isinstance(snap, Snap)


def test_each_subscriber_of_a_starting_room_is_warned_after_its_own_wait() -> None:
    """The second came later."""
    stage = Stage()
    stage.replica.loads = False
    carol, dave = stage.enters("carol"), stage.enters("dave")
    stage.says(carol, ROOM)
    stage.passes(400)
    stage.says(dave, ROOM)
    assert stage.passes(KNOBS.snapshot_wait_ms - 400) == [Deliver([carol], view(Quality.STARTING))]
    assert stage.passes(400) == [Deliver([dave], view(Quality.STARTING))]


def test_no_snapshot_comes_from_a_replica_that_may_not_vouch_for_absence() -> None:
    """Who resumes would take what is missing for gone."""
    stage = Stage(ready=False)
    carol = stage.enters("carol")
    stage.says(carol, ROOM)
    assert stage.passes(KNOBS.snapshot_wait_ms) == [Deliver([carol], view(Quality.STARTING))]
    stage.hears(stage.replica.says(reach=ALL_HEARD))
    assert [type(message) for message in told(stage.ticks(), carol)] == [ViewFrame, Snap]


def test_subscribers_hear_that_a_view_becomes_starting_again() -> None:
    """The gateway came to a replica that has just been started."""
    stage = Stage()
    carol = watcher(stage)
    stage.hears(stage.replica.says(reach=NOT_READY))
    assert stage.ticks() == [Deliver([carol], view(Quality.STARTING))]


def test_a_silent_home_makes_a_view_partial_until_it_is_heard_again() -> None:
    """Its entries are named as unreachable, since the last sign of it."""
    stage = Stage()
    carol = watcher(stage)
    bob = entry("bob", origin=W1, holder=G1, written=3)
    stage.hears(stage.replica.says(bob))
    came(stage, "alice")
    stage.hears(
        stage.replica.says(reach=Reach(ready=True, origins={W1: SILENT}, holders={}, zones={}))
    )
    doubted = view(Quality.PARTIAL, silent=[name(W1)], as_of=SILENT, unreachable=[ref("bob")])
    assert stage.ticks() == [Deliver([carol], doubted)]
    dave = stage.enters("dave")
    stage.says(dave, ROOM)
    first, second = told(stage.ticks(), dave)
    assert first == doubted
    assert isinstance(second, Snap)
    stage.hears(stage.replica.says(reach=ALL_HEARD))
    assert stage.ticks() == [Deliver([carol, dave], view(Quality.COMPLETE))]


def test_two_lives_of_a_silent_place_are_named_once() -> None:
    """People know places."""
    stage = Stage()
    carol = watcher(stage)
    silent = {W1: SILENT, life("a/w1", 2): SILENT}
    stage.hears(stage.replica.says(reach=Reach(ready=True, origins=silent, holders={}, zones={})))
    assert only(stage.ticks(), carol) == view(Quality.PARTIAL, silent=[name(W1)])


def test_entries_of_a_silent_gateway_are_in_doubt_but_never_our_own() -> None:
    """Whatever the replica believes of us: we are here."""
    stage = Stage()
    carol = watcher(stage)
    stage.says(carol, Set(topic="room:lobby"))
    came(stage, "bob")
    silent = {G0: SILENT, G1: SILENT}
    stage.hears(stage.replica.says(reach=Reach(ready=True, origins={}, holders=silent, zones={})))
    assert only(stage.ticks(), carol) == view(
        Quality.PARTIAL, as_of=SILENT, unreachable=[ref("bob")]
    )


def test_a_view_is_as_old_as_the_oldest_sign_of_what_is_in_doubt() -> None:
    """A silent home and a silent gateway, heard last at different times."""
    stage = Stage()
    carol = watcher(stage)
    stage.hears(stage.replica.says(entry("bob", origin=W1, holder=G1, written=3)))
    came(stage, "dave")
    silent = Reach(ready=True, origins={W1: WallMs(SILENT + 5)}, holders={G1: SILENT}, zones={})
    stage.hears(stage.replica.says(reach=silent))
    shown = only(stage.ticks(), carol)
    assert isinstance(shown, ViewFrame)
    assert shown.unreachable == sorted([ref("bob"), ref("dave")])
    assert shown.as_of == SILENT


def test_the_same_reach_again_is_told_to_nobody() -> None:
    """Nor is another one that makes no difference to the room."""
    stage = Stage()
    watcher(stage)
    stage.hears(stage.replica.says(reach=ALL_HEARD))
    elsewhere = Reach(ready=True, origins={}, holders={G1: SILENT}, zones={})
    stage.hears(stage.replica.says(reach=elsewhere))
    assert stage.ticks() == []


def test_a_gateway_that_is_cut_off_doubts_all_that_is_not_its_own() -> None:
    """All its replicas are silent; when one is back, the view is complete again."""
    stage = Stage()
    carol = watcher(stage, Sub(topics=["room:lobby"], users=["bob"]))
    came(stage, "bob")
    for replica in stage.replicas.values():
        replica.is_there = False
    effects = stage.passes(KNOBS.peer_silence_ms + KNOBS.unreachable_after_ms + 1_000)
    messages = told(effects, carol)
    partial = messages[0]
    assert isinstance(partial, ViewFrame)
    assert (partial.quality, partial.silent) == (Quality.PARTIAL, [name(W0), name(W1)])
    assert partial.unreachable == [ref("bob")]
    assert partial.as_of is not None
    assert partial.as_of <= WALL + stage.at - KNOBS.unreachable_after_ms
    assert [type(message) for message in messages] == [ViewFrame, StatusFrame]
    for replica in stage.replicas.values():
        replica.is_there = True
    back = told(stage.passes(2 * KNOBS.gateway_beat_ms), carol)
    assert view(Quality.COMPLETE) in back


# -------------------------------------------------------------------------------------------- users


def user_row(user: str = "bob", **fields: object) -> Row:
    """An entry of a user's own topic."""
    return entry(user, topic=f"default/user:{user}", **fields)  # type: ignore[arg-type]


def test_a_watched_user_is_told_at_first_and_then_when_something_else_is_shown() -> None:
    """A change that does not show is not told."""
    stage = Stage()
    carol = stage.enters("carol")
    stage.says(carol, Sub(users=["bob"]))
    offline = StatusFrame(user=UserId("bob"), status=UserStatus.OFFLINE)
    assert stage.ticks() == [Deliver([carol], offline)]
    written(stage, user_row())
    online = only(stage.ticks(), carol)
    assert isinstance(online, StatusFrame)
    assert online.status == UserStatus.ONLINE
    written(stage, user_row(meta={"not": "shown"}, written=9))
    assert stage.ticks() == []
    dave = stage.enters("dave")
    stage.says(dave, Sub(users=["bob"]))
    assert stage.ticks() == [Deliver([dave], online)]


def test_a_user_whose_topic_does_not_come_is_unknown_at_first() -> None:
    """Nobody waits longer than that for a status; the truth follows as a change."""
    stage = Stage()
    stage.replica.loads = False
    carol = stage.enters("carol")
    stage.says(carol, Sub(users=["bob"]))
    unknown = StatusFrame(user=UserId("bob"), status=UserStatus.UNKNOWN)
    assert stage.passes(KNOBS.snapshot_wait_ms - 1) == []
    assert stage.passes(1) == [Deliver([carol], unknown)]
    stage.hears(stage.replica.says(loaded=["default/user:bob"]))
    offline = StatusFrame(user=UserId("bob"), status=UserStatus.OFFLINE)
    assert stage.ticks() == [Deliver([carol], offline)]


def test_a_choice_that_ends_by_itself_is_seen_to_end() -> None:
    """At its time, although nobody says anything then."""
    stage = Stage()
    stage.replica.stamped(user_row(), durable=False)
    until = stage.at + 5_000
    stage.replica.stamped(intent("bob", status="dnd", until=until), durable=True)
    carol = stage.enters("carol")
    stage.says(carol, Sub(users=["bob"]))
    shown = only(stage.ticks(), carol)
    assert isinstance(shown, StatusFrame)
    assert shown.status == UserStatus.DND
    assert stage.passes(until - 1 - stage.at) == []
    after = only(stage.ticks(), carol)
    assert isinstance(after, StatusFrame)
    assert after.status == UserStatus.ONLINE


def test_a_choice_of_a_user_that_nobody_watches_any_more_ends_unseen() -> None:
    """The topic was forgotten with its lease."""
    stage = Stage()
    until = stage.at + KNOBS.interest_linger_ms + 1_000
    stage.replica.stamped(intent("bob", status="dnd", until=until), durable=True)
    carol = watcher(stage, Sub(users=["bob"]))
    stage.says(carol, Unsub(users=["bob"]))
    stage.passes(KNOBS.interest_linger_ms)
    stage.says(carol, Ping())
    assert stage.passes(5_000) == []


def test_a_status_is_asked_of_users_only() -> None:
    """A room has none."""
    stage = Stage()
    watcher(stage)
    room = stage.machine._watching.get(LOBBY)
    assert room is not None
    with pytest.raises(TypeError, match="is no user's topic"):
        stage.machine._watching.status(room, at(stage.at))
