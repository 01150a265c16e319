"""The picture of what is watched: only net changes come out, and they add up."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.effects import (
    JoinHappened,
    LeaveHappened,
    Presence,
    SnapshotCame,
    StatusHappened,
    UpdateHappened,
    ViewHappened,
)
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import (
    Diff,
    Entry,
    Leave,
    Quality,
    Snap,
    StatusFrame,
    UserStatus,
    ViewFrame,
)
from presence_actors.core.watched import Watched

ROOM = "room:lobby"


def entry(ref: str, version: int = 0) -> Entry:
    """One device; a user has two of them."""
    return Entry(
        ref=ref,
        key=UserId(f"user {int(ref) // 2}"),
        status="online",
        device="web",
        since=WallMs(int(ref)),
        meta={"version": version},
    )


def watched() -> Watched:
    """One room and one user are watched."""
    found = Watched()
    found.add([ROOM], ["bob"])
    return found


def added_up(told: dict[str, Entry], events: list[Presence]) -> dict[str, Entry]:
    """What an application holds that does as the events say; they must fit what it held."""
    for event in events:
        match event:
            case JoinHappened(entry=came):
                assert came.ref not in told
                told[came.ref] = came
            case UpdateHappened(entry=now, previous=before):
                assert told[now.ref] == before != now
                told[now.ref] = now
            case LeaveHappened(entry=gone):
                assert told.pop(gone.ref) == gone
            case _:
                pass
    return told


STATE = st.dictionaries(st.sampled_from("012345"), st.integers(0, 2), max_size=6)


@given(st.lists(st.tuples(STATE, st.sampled_from(["diff", "snap", "lapse", "resume"]))))
def test_whatever_way_the_truth_comes_the_events_add_up_to_it(
    history: list[tuple[dict[str, int], str]],
) -> None:
    """Diffs, snapshots in parts, lost connections and continuations in any order.

    The picture equals the truth whenever it is synced; the events told so far always add up to the
    picture; and between two pictures that differ in n entries there are exactly n events.
    """
    picture = watched()
    told: dict[str, Entry] = {}
    known: dict[str, Entry] = {}
    for state, way in history:
        truth = {ref: entry(ref, version) for ref, version in sorted(state.items())}
        held = picture.entries(ROOM)
        events: list[Presence] = []
        if way == "lapse":
            picture.lapse()
        elif way == "snap" or (way == "diff" and not picture.is_synced(ROOM)):
            parts = [list(truth.values())[start : start + 2] for start in range(0, 6, 2)]
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                snap = Snap(topic=ROOM, state=part, part=number, last=last, cursor="c")
                assert not picture.is_torn(snap)
                events.extend(picture.take_snap(snap))
        else:
            # A continuation may tell again what is known, and end what was never seen.
            base = known if way == "diff" else {}
            diff = Diff(
                topic=ROOM,
                joins=[now for ref, now in truth.items() if ref not in base],
                updates=[now for ref, now in truth.items() if base.get(ref, now) != now],
                leaves=[
                    Leave(ref=ref, key=entry(ref).key, reason="left")
                    for ref in "012345"
                    if ref not in truth
                ],
                resumed=way == "resume",
            )
            events.extend(picture.take_diff(diff))
            assert not [event for event in picture.take_diff(diff) if _is_change(event)]
        if way != "lapse":
            assert picture.entries(ROOM) == truth
            known = truth
            changes = [event for event in events if _is_change(event)]
            assert len(changes) == sum(
                held.get(ref) != truth.get(ref) for ref in held.keys() | truth.keys()
            )
        assert added_up(told, events) == picture.entries(ROOM)


def _is_change(event: Presence) -> bool:
    return isinstance(event, JoinHappened | UpdateHappened | LeaveHappened)


def test_who_groups_the_devices_of_each_user() -> None:
    """Users by name, their devices by when they came."""
    picture = watched()
    picture.take_snap(Snap(topic=ROOM, state=[entry("3"), entry("0"), entry("2")]))
    assert picture.who(ROOM) == {"user 0": [entry("0")], "user 1": [entry("2"), entry("3")]}
    assert picture.entries_count() == 3


def test_nothing_is_told_before_the_last_part_of_a_snapshot() -> None:
    """Half a snapshot would show everybody else as gone."""
    picture = watched()
    picture.take_snap(Snap(topic=ROOM, state=[entry("0"), entry("1")]))
    assert picture.take_snap(Snap(topic=ROOM, state=[entry("0")], part=0, last=False)) == []
    assert sorted(picture.entries(ROOM)) == ["0", "1"]
    last = picture.take_snap(Snap(topic=ROOM, state=[entry("1")], part=1, last=True))
    assert last == [SnapshotCame(ROOM)]


def test_a_diff_without_a_state_to_continue_from_is_ignored() -> None:
    """Before the first snapshot of a connection nothing can be said."""
    picture = watched()
    assert picture.take_diff(Diff(topic=ROOM, joins=[entry("0")])) == []
    assert picture.take_diff(Diff(topic="room:other", joins=[entry("0")])) == []
    assert picture.entries(ROOM) == {}


def test_a_picture_is_wrong_if_its_check_is_not_the_gateways() -> None:
    """Before the first snapshot nothing is wrong, and refs that are no numbers are."""
    picture = watched()
    check = Diff(topic=ROOM, check="11")
    assert not picture.is_wrong(check)
    picture.take_snap(Snap(topic=ROOM, state=[entry("17"), entry("6")]))
    assert not picture.is_wrong(check)
    assert not picture.is_wrong(Diff(topic=ROOM))
    assert not picture.is_wrong(Diff(topic="room:other", check="1"))
    assert picture.is_wrong(Diff(topic=ROOM, check="17"))
    strange = msgspec.structs.replace(entry("0"), ref="no number")
    picture.take_snap(Snap(topic=ROOM, state=[strange]))
    assert picture.is_wrong(check)


def test_who_is_missing_in_a_snapshot_left_for_an_unknown_reason() -> None:
    """A diff carries the reason; a snapshot shows only the absence."""
    picture = watched()
    picture.take_snap(Snap(topic=ROOM, state=[entry("0"), entry("1")]))
    leave = Leave(ref="0", key=entry("0").key, reason="timeout")
    assert picture.take_diff(Diff(topic=ROOM, leaves=[leave])) == [
        LeaveHappened(ROOM, entry("0"), "timeout")
    ]
    assert picture.take_snap(Snap(topic=ROOM, state=[])) == [
        LeaveHappened(ROOM, entry("1"), ""),
        SnapshotCame(ROOM),
    ]


def test_a_status_is_told_only_when_people_would_see_a_difference() -> None:
    """Another `as_of` or reason is kept, and told by nobody."""
    picture = watched()
    online = StatusFrame(user=UserId("bob"), status=UserStatus.ONLINE, devices=["web"])
    assert picture.take_status(online) == [StatusHappened(online, None)]
    later = StatusFrame(
        user=UserId("bob"), status=UserStatus.ONLINE, devices=["web"], as_of=WallMs(5)
    )
    assert picture.take_status(later) == []
    assert picture.statuses == {"bob": later}
    away = StatusFrame(user=UserId("bob"), status=UserStatus.AWAY, devices=["web"])
    assert picture.take_status(away) == [StatusHappened(away, UserStatus.ONLINE)]
    assert picture.take_status(StatusFrame(user=UserId("eve"), status=UserStatus.AWAY)) == []


def test_a_view_is_told_when_it_changes_and_complete_is_where_it_begins() -> None:
    """A complete view is no news; a partial one is, once."""
    picture = watched()
    complete = ViewFrame(scope=ROOM, quality=Quality.COMPLETE)
    assert picture.take_view(complete) == []
    partial = ViewFrame(scope=ROOM, quality=Quality.PARTIAL, silent=["b"], unreachable=["1"])
    assert picture.take_view(partial) == [ViewHappened(ROOM, Quality.PARTIAL, ["b"], None, ["1"])]
    assert picture.take_view(partial) == []
    assert picture.view(ROOM) == partial


def test_what_an_earlier_gateway_could_not_see_does_not_outlive_it() -> None:
    """A snapshot of the next gateway, which said nothing of silence: the view is complete."""
    picture = watched()
    picture.take_view(ViewFrame(scope=ROOM, quality=Quality.PARTIAL, silent=["b"]))
    picture.lapse()
    assert picture.take_snap(Snap(topic=ROOM, state=[])) == [
        SnapshotCame(ROOM),
        ViewHappened(ROOM, Quality.COMPLETE, [], None, []),
    ]


def test_what_is_watched_no_more_is_forgotten() -> None:
    """No picture, no status, and its frames are ignored."""
    picture = watched()
    picture.take_snap(Snap(topic=ROOM, state=[entry("0")]))
    picture.drop([ROOM], ["bob"])
    assert (picture.topics, picture.users, picture.entries(ROOM)) == ([], [], {})
    assert picture.take_snap(Snap(topic=ROOM, state=[entry("0")])) == []


def test_more_than_a_connection_may_watch_is_refused() -> None:
    """The limit counts rooms and users together, each once."""
    picture = watched()
    assert picture.has_space([ROOM], [f"user {number}" for number in range(1_998)])
    assert not picture.has_space([ROOM], [f"user {number}" for number in range(1_999)])
