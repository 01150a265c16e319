"""A topic as one gateway sees it: net differences, snapshots in parts, and who may be ahead."""

from __future__ import annotations

from itertools import count

import pytest

from crdt import Origin, Row, VersionVector
from presence_actors.core.ids import ConnectionId, Topic
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.limits import ENTRIES_PER_PART_MAX, TOMBSTONES_PER_TOPIC_VIEW_MAX
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.topic_view import TopicView, Waiting, entry_ref
from presence_actors.core.values import EntryStatus
from presence_actors.core.vocabulary import Diff, Entry, Leave, Quality, Snap, ViewFrame
from tests.unit.core.building import LOBBY, SHARD, W0, W1, WALL, end, entry, intent, life, stamp

ME, YOU = ConnectionId(1), ConnectionId(2)


def room(*rows: Row) -> TopicView:
    """The lobby with these rows, all of them told."""
    view = TopicView(LOBBY, SHARD)
    view.loaded = True
    for row in rows:
        view.merge(PRESENCE, row)
    view.take_diff()
    return view


def shown(user: str = "alice", *, status: str = "online", since: int = 0, **meta: object) -> Entry:
    """How a row of `building.entry` looks to subscribers."""
    return Entry(
        ref=entry_ref((LOBBY, user, "s1")),
        key=entry(user).key[1],  # type: ignore[arg-type]  # a key holds plain texts
        status=status,
        device="desktop",
        since=WallMs(WALL + since),
        meta=meta,
    )


def left(user: str = "alice", reason: str = "left") -> Leave:
    """The leave of such a row."""
    return Leave(ref=shown(user).ref, key=shown(user).key, reason=reason)


def seen(instant: int, origin: str = W0) -> VersionVector:
    """Everything of one origin up to a moment."""
    return VersionVector({Origin(origin): stamp(instant)})


# --------------------------------------------------------------------------------------- what it is


def test_a_topic_knows_its_name_without_the_tenant_and_whose_it_is() -> None:
    """A room is nobody's."""
    assert (room().name, room().user) == ("room:lobby", None)
    own = TopicView(Topic("default/user:bob:2"), SHARD)
    assert (own.name, own.user) == ("user:bob:2", "bob:2")


def test_the_ref_of_an_entry_is_the_same_for_equal_keys_and_hides_the_session() -> None:
    """Parts of a key cannot be shifted between each other to give the same ref."""
    assert entry_ref((LOBBY, "alice", "s1")) == entry_ref((LOBBY, "alice", "s1"))
    assert entry_ref((LOBBY, "alice", "s1")) != entry_ref((LOBBY, "alices", "1"))
    assert "s1" not in entry_ref((LOBBY, "alice", "s1"))


def test_a_topic_is_wanted_while_somebody_listens_waits_or_needs_it() -> None:
    """Subscribers, those who wait, and sessions of the user."""
    view = room()
    wanted = [view.is_wanted]
    view.subscribers[ME] = None
    wanted.append(view.is_wanted)
    view.drop(ME)
    view.waiting[ME] = Waiting(None, Instant(0))
    wanted.append(view.is_wanted)
    view.drop(ME)
    wanted.append(view.is_wanted)
    view.pins = 1
    assert [*wanted, view.is_wanted] == [False, True, True, False, True]


# -------------------------------------------------------------------------------------------- diffs


def test_what_came_changed_and_went_is_one_diff_and_then_nothing() -> None:
    """Joins, updates and leaves since the last one."""
    alice, bob, carol = entry("alice"), entry("bob"), entry("carol")
    view = room(alice, bob)
    view.merge(PRESENCE, end(alice, written=2, reason="timeout"))
    view.merge(PRESENCE, entry("bob", written=2, status=EntryStatus.AWAY, meta={"n": 1}))
    view.merge(PRESENCE, carol)
    assert view.take_diff() == Diff(
        topic="room:lobby",
        joins=[shown("carol")],
        updates=[shown("bob", status="away", n=1)],
        leaves=[left("alice", "timeout")],
    )
    assert view.take_diff() is None


def test_who_came_and_went_between_two_ticks_is_not_told() -> None:
    """Nor a change that was taken back."""
    alice, bob = entry("alice"), entry("bob")
    view = room(bob)
    view.merge(PRESENCE, alice)
    view.merge(PRESENCE, end(alice, written=2))
    view.merge(PRESENCE, entry("bob", written=2, status=EntryStatus.DND))
    view.merge(PRESENCE, entry("bob", written=3))
    assert view.take_diff() is None


def test_an_older_or_equal_version_of_a_row_is_no_news() -> None:
    """Whatever way and however often it comes."""
    view = room(entry(written=5))
    assert not view.merge(PRESENCE, entry(written=5))
    assert not view.merge(PRESENCE, entry(written=4, status=EntryStatus.DND))
    assert view.merge(PRESENCE, entry(written=3, attachment=2))
    assert view.take_diff() is None  # it looks the same


def test_a_hidden_entry_is_not_shown_and_hiding_looks_like_leaving() -> None:
    """Who becomes invisible has left as far as anybody can tell, and joins on coming back."""
    view = room(entry("bob", hidden=True))
    assert view.shown == {}
    view.merge(PRESENCE, entry("bob", written=2))
    assert view.take_diff() == Diff(topic="room:lobby", joins=[shown("bob")])
    view.merge(PRESENCE, entry("bob", written=3, hidden=True))
    assert view.take_diff() == Diff(topic="room:lobby", leaves=[left("bob")])


# ---------------------------------------------------------------------------------------- snapshots


def test_an_empty_room_is_one_empty_part() -> None:
    """So that its subscriber knows that nobody is there."""
    assert room().snapshot("c") == [Snap(topic="room:lobby", state=[], cursor="c")]


@pytest.mark.parametrize(
    ("entries", "parts"),
    [(1, 1), (ENTRIES_PER_PART_MAX, 1), (ENTRIES_PER_PART_MAX + 1, 2)],
)
def test_a_snapshot_goes_in_parts_and_only_the_last_has_the_cursor(
    entries: int, parts: int
) -> None:
    """Whoever loses the connection between two of them must not continue from the middle."""
    view = room(*(entry(f"u{number}") for number in range(entries)))
    snaps = view.snapshot("c")
    assert [snap.part for snap in snaps] == list(range(parts))
    assert [snap.last for snap in snaps] == [False] * (parts - 1) + [True]
    assert [snap.cursor for snap in snaps] == [None] * (parts - 1) + ["c"]
    assert [one for snap in snaps for one in snap.state] == list(view.shown.values())


# --------------------------------------------------------------------------------------- resumption


def test_a_cursor_is_continued_with_what_it_does_not_cover() -> None:
    """Entries that are there come as updates, ends as leaves, what was seen not at all."""
    alice, bob = entry("alice", written=1), entry("bob", written=2)
    view = room(alice, bob, entry("carol", written=5), end(bob, written=6, reason="left"))
    assert view.resumption(seen(4), "c") == Diff(
        topic="room:lobby",
        updates=[shown("carol")],
        leaves=[left("bob")],
        resumed=True,
        cursor="c",
    )


def test_an_entry_that_was_hidden_since_the_cursor_is_a_leave() -> None:
    """Its subscriber may have seen it before."""
    view = room(entry("bob", written=5, hidden=True))
    found = view.resumption(seen(4), None)
    assert found is not None
    assert found.leaves == [left("bob")]


def test_no_cursor_or_an_unfinished_view_asks_for_a_snapshot() -> None:
    """Only what is complete can be continued."""
    view = room(entry())
    assert view.resumption(VersionVector(), "c") is None
    view.loaded = False
    assert view.resumption(seen(4), "c") is None


def test_a_cursor_from_before_a_forgotten_end_asks_for_a_snapshot() -> None:
    """The gateway keeps a bounded number of ends; one that covers the forgotten ones goes on."""
    view = room()
    ends = TOMBSTONES_PER_TOPIC_VIEW_MAX + 1
    for number in range(ends):
        view.merge(PRESENCE, end(entry(f"u{number}"), written=10 + number))
    assert len(view.rows[PRESENCE]) == TOMBSTONES_PER_TOPIC_VIEW_MAX
    assert view.take_diff() is None
    assert view.resumption(seen(9), "c") is None
    found = view.resumption(seen(10), "c")
    assert found is not None
    assert len(found.leaves) == TOMBSTONES_PER_TOPIC_VIEW_MAX


def test_an_end_that_was_not_told_yet_is_not_forgotten() -> None:
    """Else its subscribers would show the entry for ever."""
    users = [entry(f"u{number}") for number in range(TOMBSTONES_PER_TOPIC_VIEW_MAX + 2)]
    view = room(*users)
    for user in users:
        view.merge(PRESENCE, end(user, written=2))
    diff = view.take_diff()
    assert diff is not None
    assert len(diff.leaves) == len(users)
    view.merge(PRESENCE, end(entry("more"), written=3))
    assert len(view.rows[PRESENCE]) == TOMBSTONES_PER_TOPIC_VIEW_MAX


def test_an_entry_that_comes_back_is_no_end_to_be_forgotten() -> None:
    """Its key leaves the list of ends."""
    view = room(end(entry("back"), written=1))
    view.merge(PRESENCE, entry("back", written=2, resume=1))
    for number in range(TOMBSTONES_PER_TOPIC_VIEW_MAX):
        view.merge(PRESENCE, end(entry(f"u{number}"), written=3))
    assert view.rows[PRESENCE][entry("back").key].live


# ------------------------------------------------------------------------------------- who is ahead


def resumed(view: TopicView, *, until: int, cursor: VersionVector | None = None) -> None:
    """A subscriber continues from a cursor, and may know what happened until a moment."""
    view.note_resumed(ME, seen(4) if cursor is None else cursor, WallMs(WALL + until))
    view.subscribers[ME] = None


def test_who_was_ahead_hears_of_the_end_of_an_entry_that_we_never_showed() -> None:
    """It may have seen the entry at another gateway; those who are not ahead hear nothing."""
    view = room()
    view.subscribers[YOU] = None
    resumed(view, until=100)
    view.merge(PRESENCE, end(entry("bob"), written=5))
    assert view.take_diff() is None
    assert view.take_unknown_leaves(seen(5)) == (
        [ME],
        Diff(topic="room:lobby", leaves=[left("bob")]),
    )
    assert view.take_unknown_leaves(seen(5)) is None


def test_an_end_that_is_told_to_all_is_not_told_twice_to_who_is_ahead() -> None:
    """The diff for everybody has it."""
    bob = entry("bob")
    view = room(bob)
    resumed(view, until=100)
    view.merge(PRESENCE, end(bob, written=5))
    assert view.take_diff() == Diff(topic="room:lobby", leaves=[left("bob")])
    assert view.take_unknown_leaves(seen(5)) is None


@pytest.mark.parametrize(
    ("ours", "hears"),
    [
        (seen(101), False),
        (seen(100), False),
        (seen(99), True),
        (VersionVector(), True),
        (seen(101).merge(seen(50, W1)), True),
        (seen(101).merge(seen(50, life("a/w0", 0))), False),
    ],
)
def test_nobody_is_ahead_once_we_have_seen_all_it_can_have_seen(
    ours: VersionVector, hears: bool
) -> None:
    """The oldest word of any place counts, each by its newest life."""
    view = room()
    resumed(view, until=100)
    assert view.take_unknown_leaves(ours) is None
    view.merge(PRESENCE, end(entry("bob"), written=5))
    view.take_diff()
    assert (view.take_unknown_leaves(ours) is not None) == hears


def test_who_saw_an_origin_that_we_have_not_heard_of_stays_ahead() -> None:
    """However late it is."""
    view = room()
    resumed(view, until=100, cursor=seen(4, W1))
    assert view.take_unknown_leaves(seen(900)) is None
    view.merge(PRESENCE, end(entry("bob"), written=5))
    view.take_diff()
    assert view.take_unknown_leaves(seen(900)) is not None


def test_who_stops_listening_is_no_longer_ahead() -> None:
    """Nothing is gathered for it."""
    view = room()
    resumed(view, until=100)
    view.drop(ME)
    view.merge(PRESENCE, end(entry("bob"), written=5))
    view.take_diff()
    assert view.take_unknown_leaves(seen(5)) is None


# ---------------------------------------------------------------------------------------- judgement


def test_a_view_is_starting_until_it_is_loaded_where_absence_can_be_vouched_for() -> None:
    """One of the two is not enough."""
    view = room()
    assert view.judge(lambda _: None, [], may_vouch=False).quality == Quality.STARTING
    assert view.judge(lambda _: None, [], may_vouch=True).quality == Quality.COMPLETE
    view.loaded = False
    assert view.judge(lambda _: None, [], may_vouch=True).quality == Quality.STARTING


def test_a_view_is_partial_while_somebody_is_silent_or_an_entry_is_in_doubt() -> None:
    """With the oldest sign of what is in doubt, and the refs in order."""
    view = room(*(entry(user) for user in ("alice", "bob", "carol")))
    assert view.judge(lambda _: None, ["a/w1"], may_vouch=True) == ViewFrame(
        scope="room:lobby", quality=Quality.PARTIAL, silent=["a/w1"]
    )
    signs = count(50, -10)
    doubted = view.judge(
        lambda row: None if row.key[1] == "bob" else WallMs(next(signs)), [], may_vouch=True
    )
    assert doubted == ViewFrame(
        scope="room:lobby",
        quality=Quality.PARTIAL,
        as_of=WallMs(40),
        unreachable=sorted([shown("alice").ref, shown("carol").ref]),
    )


def test_the_rows_of_a_user_are_entries_and_records_and_count_as_looked_at() -> None:
    """Both maps of the shard, removed ones among them."""
    view = TopicView(Topic("default/user:alice"), SHARD)
    own = entry("alice", topic=view.topic)
    view.merge(PRESENCE, own)
    view.merge(DURABLE, intent("alice", status="dnd"))
    assert view.user_rows() == ([own], [intent("alice", status="dnd")])
    assert view.take_diff() is None
