"""A topic as one gateway sees it: net diffs, snapshots, continuations, judgement."""

from __future__ import annotations

import pytest

from crdt import Origin, Row, VersionVector
from presence_actors.core import topic_view as module
from presence_actors.core.ids import ConnectionId, Topic
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.limits import ENTRIES_PER_PART_MAX
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.topic_view import TopicView, Waiting, entry_ref
from presence_actors.core.values import EndValue, EntryStatus, encode_value
from presence_actors.core.vocabulary import Diff, Entry, Leave, Quality
from tests.unit.core.building import (
    LOBBY,
    NOTHING,
    SHARD,
    W1,
    WALL,
    end,
    entry,
    intent,
    stamp,
    user,
)

CLIENT = ConnectionId(1)


def view(*rows: Row) -> TopicView:
    """The lobby, loaded, with these rows told."""
    found = TopicView(LOBBY, SHARD)
    found.loaded = True
    for row in rows:
        found.merge(PRESENCE, row)
    found.take_diff()
    return found


def shown(row: Row, **parts: object) -> Entry:
    """The row as subscribers see it."""
    fields = {"status": "online", "device": "desktop", "since": WALL, "meta": {}, **parts}
    return Entry(ref=entry_ref(row.key), key=user(row.key[1]), **fields)  # type: ignore[arg-type]


def left(row: Row, reason: str = "left") -> Leave:
    """The end of the row as subscribers see it."""
    return Leave(ref=entry_ref(row.key), key=user(row.key[1]), reason=reason)


# Names.


def test_a_ref_is_the_same_everywhere_and_tells_nothing_of_the_session() -> None:
    """Different entries have different refs, also if their parts run together."""
    assert entry_ref((LOBBY, "alice", "s1")) == entry_ref((LOBBY, "alice", "s1"))
    assert "s1" not in entry_ref((LOBBY, "alice", "s1"))
    assert entry_ref(("t", "ab", "c")) != entry_ref(("t", "a", "bc"))


def test_a_users_topic_knows_its_user() -> None:
    """A room has none."""
    assert TopicView(Topic("default/user:alice"), SHARD).user == "alice"
    assert view().user is None
    assert view().name == "room:lobby"


def test_a_topic_is_wanted_by_subscribers_by_who_waits_and_by_sessions() -> None:
    """Until all are gone."""
    found = view()
    wanted = [found.is_wanted]
    found.pins = 1
    wanted.append(found.is_wanted)
    found.pins = 0
    found.waiting[CLIENT] = Waiting(None, Instant(5))
    wanted.append(found.is_wanted)
    found.subscribers[CLIENT] = None
    found.drop(CLIENT)
    wanted.append(found.is_wanted)
    assert wanted == [False, True, True, False]


# Diffs.


def test_a_diff_tells_joins_updates_and_leaves() -> None:
    """Each once, and then nothing more."""
    alice, bob = entry("alice"), entry("bob")
    found = view(alice, bob)
    found.merge(PRESENCE, entry("alice", written=2, status=EntryStatus.DND))
    found.merge(PRESENCE, end(bob, written=2, reason="timeout"))
    carol = entry("carol", written=2, meta={"a": 1})
    found.merge(PRESENCE, carol)
    assert found.take_diff() == Diff(
        topic="room:lobby",
        joins=[shown(carol, meta={"a": 1})],
        updates=[shown(alice, status="dnd")],
        leaves=[left(bob, "timeout")],
    )
    assert found.take_diff() is None


def test_what_comes_and_goes_between_two_ticks_is_not_told() -> None:
    """The diff is net."""
    found = view()
    alice = entry("alice")
    found.merge(PRESENCE, alice)
    found.merge(PRESENCE, end(alice, written=2))
    assert found.take_diff() is None


def test_a_row_that_looks_the_same_is_no_update() -> None:
    """Another stamp, holder or epoch is nothing that people see."""
    found = view(entry("alice"))
    found.merge(PRESENCE, entry("alice", written=9, resume=1))
    assert found.take_diff() is None


def test_an_older_row_changes_nothing() -> None:
    """Whatever replica it comes from, and however often."""
    found = view(entry("alice", written=5))
    assert not found.merge(PRESENCE, entry("alice", written=4, status=EntryStatus.DND))
    assert not found.merge(PRESENCE, entry("alice", written=5))
    assert found.take_diff() is None


def test_a_greater_epoch_wins_over_a_later_stamp() -> None:
    """As in the map."""
    found = view(entry("alice", written=1, resume=1))
    assert not found.merge(PRESENCE, end(entry("alice"), written=9))


def test_who_becomes_invisible_has_left_and_comes_back_as_a_join() -> None:
    """Nobody can tell it from leaving."""
    alice = entry("alice")
    found = view(alice)
    found.merge(PRESENCE, entry("alice", written=2, hidden=True))
    assert found.take_diff() == Diff(topic="room:lobby", leaves=[left(alice)])
    found.merge(PRESENCE, end(alice, written=3, reason="timeout"))
    assert found.take_diff() is None
    found.merge(PRESENCE, entry("alice", written=4))
    assert found.take_diff() == Diff(topic="room:lobby", joins=[shown(alice)])


# Snapshots.


def test_an_empty_snapshot_is_one_part_and_the_last() -> None:
    """With the cursor."""
    (part,) = view().snapshot("c")
    assert (part.state, part.part, part.last, part.cursor) == ([], 0, True, "c")


def test_a_large_snapshot_goes_in_parts_and_only_the_last_has_the_cursor() -> None:
    """All entries once."""
    people = [entry(f"user{number}") for number in range(ENTRIES_PER_PART_MAX + 1)]
    parts = view(*people).snapshot("c")
    assert [(len(part.state), part.part, part.last, part.cursor) for part in parts] == [
        (ENTRIES_PER_PART_MAX, 0, False, None),
        (1, 1, True, "c"),
    ]


# Continuations.


def test_a_cursor_is_continued_with_what_it_does_not_cover() -> None:
    """Changed entries whole, ends by name; what is covered is not sent again."""
    alice, bob, carol = (
        entry("alice", written=1),
        entry("bob", written=2),
        entry("carol", written=3),
    )
    found = view(alice, bob, carol)
    found.merge(PRESENCE, end(bob, written=9, reason="timeout"))
    found.take_diff()
    seen = VersionVector({alice.origin: stamp(2)})
    assert found.resumption(seen, "c", ours=NOTHING) == Diff(
        topic="room:lobby",
        updates=[shown(carol)],
        leaves=[left(bob, "timeout")],
        resumed=True,
        cursor="c",
    )


def test_an_empty_cursor_or_a_topic_that_is_not_loaded_gets_no_continuation() -> None:
    """A snapshot must tell."""
    assert view(entry()).resumption(NOTHING, "c", ours=NOTHING) is None
    found = view(entry())
    found.loaded = False
    assert found.resumption(VersionVector({entry().origin: stamp(9)}), "c", ours=NOTHING) is None


def test_forgotten_ends_force_a_snapshot_on_older_cursors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that covers what was forgotten is continued."""
    monkeypatch.setattr(module, "TOMBSTONES_PER_TOPIC_VIEW_MAX", 2)
    found = view()
    gone = [entry(f"user{number}", written=number + 1) for number in range(4)]
    for number, row in enumerate(gone):
        found.merge(PRESENCE, end(row, written=10 + number))
    assert len(found.rows[PRESENCE]) == 2
    origin = gone[0].origin
    assert found.resumption(VersionVector({origin: stamp(10)}), "c", ours=NOTHING) is None
    later = found.resumption(VersionVector({origin: stamp(11)}), "c", ours=NOTHING)
    assert later is not None
    assert [leave.key for leave in later.leaves] == ["user2", "user3"]


def test_an_end_is_not_forgotten_before_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a subscriber would keep a ghost."""
    monkeypatch.setattr(module, "TOMBSTONES_PER_TOPIC_VIEW_MAX", 0)
    alice = entry("alice")
    found = view(alice)
    found.merge(PRESENCE, end(alice, written=2))
    assert found.take_diff() == Diff(topic="room:lobby", leaves=[left(alice)])


def test_a_row_that_lives_again_is_no_forgotten_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ends are counted."""
    monkeypatch.setattr(module, "TOMBSTONES_PER_TOPIC_VIEW_MAX", 1)
    alice, bob = entry("alice"), entry("bob")
    found = view()
    found.merge(PRESENCE, end(alice, written=2))
    found.merge(PRESENCE, entry("alice", written=3))
    found.merge(PRESENCE, end(bob, written=4))
    assert set(found.rows[PRESENCE]) == {alice.key, bob.key}


def test_a_continuation_names_nobody_who_could_not_be_seen() -> None:
    """Neither who is invisible, nor who ended so."""
    hidden, ended = entry("alice", written=5, hidden=True), entry("bob", written=6, hidden=True)
    over = end(ended, written=7)._replace(value=encode_value(EndValue("left", hidden=True)))
    found = view(hidden, over)
    seen = VersionVector({hidden.origin: stamp(1)})
    assert found.resumption(seen, "c", ours=NOTHING) == Diff(
        topic="room:lobby", resumed=True, cursor="c"
    )
    found.note_resumed(CLIENT, seen, WallMs(WALL + 100))
    later = entry("carol", written=8, hidden=True)
    found.merge(PRESENCE, later)
    assert found.take_diff() is None
    assert found.take_unknown_leaves(NOTHING) is None


def test_who_is_no_longer_ahead_gets_the_check_of_all_who_are_here_once() -> None:
    """It depends on what everybody may see, and on nothing else."""
    alice, bob = entry("alice"), entry("bob")
    found = view(alice, bob, entry("eve", hidden=True))
    found.note_resumed(CLIENT, NOTHING, WallMs(WALL + 1))
    found.take_unknown_leaves(NOTHING)
    assert found.take_settled() == []
    found.take_unknown_leaves(VersionVector({alice.origin: stamp(1)}))
    both = int(entry_ref(alice.key), 16) ^ int(entry_ref(bob.key), 16)
    assert found.take_settled() == [CLIENT]
    assert module.check_of(entry.ref for entry in found.shown.values()) == f"{both:x}"
    assert found.take_settled() == []
    assert not found.is_ahead


def test_subscribers_are_told_apart_by_what_they_had_seen_elsewhere() -> None:
    """Whoever had seen the same shares a frame."""
    found = view()
    seen = VersionVector({entry().origin: stamp(5)})
    other = ConnectionId(CLIENT + 1)
    found.note_resumed(CLIENT, seen, WallMs(WALL + 100))
    found.note_resumed(other, seen, WallMs(WALL + 200))
    third = ConnectionId(CLIENT + 2)
    assert list(found.by_seen([CLIENT, third, other])) == [
        ([CLIENT, other], seen),
        ([third], None),
    ]


# Subscribers that know more than we do.


def test_who_resumed_hears_the_end_of_what_we_never_showed() -> None:
    """It may have seen the entry at another gateway; others are not told."""
    found = view()
    found.note_resumed(CLIENT, VersionVector({entry().origin: stamp(50)}), WallMs(WALL + 100))
    alice = entry("alice")
    found.merge(PRESENCE, end(alice, written=60))
    assert found.take_diff() is None
    assert found.take_unknown_leaves(NOTHING) == (
        [CLIENT],
        Diff(topic="room:lobby", leaves=[left(alice)]),
    )
    assert found.take_unknown_leaves(NOTHING) is None


def test_nobody_is_ahead_once_we_have_seen_all_there_was_then() -> None:
    """The cursor is covered, and each place was heard later than the subscriber came."""
    found = view()
    origin = entry().origin
    found.note_resumed(CLIENT, VersionVector({origin: stamp(50)}), WallMs(WALL + 100))
    covered = VersionVector({origin: stamp(100), entry(origin=W1).origin: stamp(99)})
    found.take_unknown_leaves(covered)
    found.merge(PRESENCE, end(entry("alice"), written=60))
    found.take_diff()
    assert found.take_unknown_leaves(covered) is not None
    whole = covered.with_component(entry(origin=W1).origin, stamp(100))
    found.take_unknown_leaves(whole)
    found.merge(PRESENCE, end(entry("bob"), written=60))
    found.take_diff()
    assert found.take_unknown_leaves(whole) is None


def test_a_subscriber_that_is_gone_is_not_ahead() -> None:
    """Nobody is left to be told."""
    found = view()
    found.note_resumed(CLIENT, NOTHING, WallMs(WALL + 100))
    found.drop(CLIENT)
    found.merge(PRESENCE, end(entry("alice"), written=60))
    found.take_diff()
    assert found.take_unknown_leaves(NOTHING) is None


# Judgement.


def test_a_view_is_complete_only_if_loaded_vouched_for_and_without_doubt() -> None:
    """The worst of the three decides."""
    found = view(entry("alice"))

    def quality(*, may_vouch: bool = True, silent: list[str] | None = None) -> Quality:
        return found.judge(lambda _: None, silent or [], may_vouch=may_vouch).quality

    assert quality() == Quality.COMPLETE
    assert quality(silent=["a/w1"]) == Quality.PARTIAL
    assert quality(may_vouch=False, silent=["a/w1"]) == Quality.STARTING
    found.loaded = False
    assert quality() == Quality.STARTING


def test_entries_in_doubt_are_named_with_the_oldest_last_sign() -> None:
    """Those shown only."""
    alice, bob = entry("alice", origin=W1), entry("bob")
    found = view(alice, bob, entry("carol", origin=W1, hidden=True))
    frame = found.judge(
        lambda row: WallMs(7) if row.origin == Origin(W1) else None, [], may_vouch=True
    )
    assert (frame.quality, frame.unreachable, frame.as_of) == (
        Quality.PARTIAL,
        [entry_ref(alice.key)],
        7,
    )


def test_a_room_without_anybody_in_doubt_says_since_when_a_zone_is_silent() -> None:
    """Who came there meanwhile cannot be known."""
    found = view(entry("alice"))
    frame = found.judge(lambda _: None, ["b"], may_vouch=True, silent_since=WallMs(7))
    assert (frame.quality, frame.unreachable, frame.as_of) == (Quality.PARTIAL, [], 7)


def test_a_users_topic_gives_entries_and_records() -> None:
    """Both maps, removed rows among them."""
    found = TopicView(Topic("default/user:alice"), SHARD)
    alice = end(entry(topic="default/user:alice"), written=2)
    found.merge(PRESENCE, alice)
    found.merge(DURABLE, intent(status="dnd"))
    assert found.user_rows() == ([alice], [intent(status="dnd")])


def test_a_row_that_was_forgotten_without_an_end_leaves() -> None:
    """A newer version of it is another row, and stays."""
    found = view(entry())
    found.take_diff()
    assert not found.forget(entry()._replace(stamp=stamp(0, 0), epoch=0))
    assert found.forget(entry())
    assert not found.forget(entry())
    diff = found.take_diff()
    assert diff is not None
    assert [leave.key for leave in diff.leaves] == ["alice"]


def test_a_view_that_begins_anew_keeps_what_came_and_what_the_replica_has_not_seen() -> None:
    """All else has ended, though nobody remembers how."""
    stays, new, ended = entry("alice"), entry("bob", written=50), entry("carol")
    found = view(stays, new, ended)
    found.take_diff()
    found.begin_anew({stays.key}, VersionVector({ended.origin: stamp(40)}))
    diff = found.take_diff()
    assert diff is not None
    assert [leave.key for leave in diff.leaves] == ["carol"]
    assert set(found.rows[PRESENCE]) == {stays.key, new.key}
