"""Parts of rooms: frames that are cut to what a subscriber wants to see."""

from __future__ import annotations

from crdt import VersionVector
from presence_actors.core.effects import Deliver
from presence_actors.core.ids import ConnectionId, ShardId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.ranges import cut_diff, cut_view, tell_checks, tell_parts
from presence_actors.core.topic_view import TopicView
from presence_actors.core.vocabulary import Diff, Entry, KeyRange, Leave, Quality, ViewFrame

B_TO_D = KeyRange(start="b", end="d")


def entry(ref: str, name: str) -> Entry:
    """Somebody in a room."""
    return Entry(ref=ref, key=UserId(name), status="online", device="web", since=WallMs(1), meta={})


def leave(ref: str, name: str) -> Leave:
    """Somebody who left it."""
    return Leave(ref=ref, key=UserId(name), reason="left")


def test_a_range_has_its_start_and_not_its_end() -> None:
    """So ranges that touch have nobody twice and leave nobody out; open ends leave out nobody."""
    names = ("", "a", "az", "b", "bob", "czz", "d", "\U0001f600")
    assert [name for name in names if name in B_TO_D] == ["b", "bob", "czz"]
    assert [name for name in names if name in KeyRange(end="b")] == ["", "a", "az"]
    assert [name for name in names if name in KeyRange(start="d")] == ["d", "\U0001f600"]
    assert all(name in KeyRange() for name in names)


def test_a_difference_is_cut_to_who_is_in_the_range() -> None:
    """And keeps everything else that it says; without a range it is left as it is."""
    diff = Diff(
        topic="room:hall",
        joins=[entry("1", "alice"), entry("2", "bob")],
        updates=[entry("3", "carol"), entry("4", "dave")],
        leaves=[leave("5", "caro"), leave("6", "zoe")],
        resumed=True,
        cursor="c",
    )
    assert cut_diff(diff, None) is diff
    assert cut_diff(diff, B_TO_D) == Diff(
        topic="room:hall",
        joins=[entry("2", "bob")],
        updates=[entry("3", "carol")],
        leaves=[leave("5", "caro")],
        resumed=True,
        cursor="c",
    )
    view = TopicView(Topic("default/room:hall"), ShardId(0))
    whole, some, none = (ConnectionId(number) for number in (1, 2, 3))
    view.parts = {some: B_TO_D, none: KeyRange(start="e", end="f")}
    told = list(tell_parts(view, [whole, some, none], diff))
    assert told == [Deliver([whole], diff), Deliver([some], cut_diff(diff, B_TO_D))]


def test_a_judgement_names_the_doubtful_of_the_range_only() -> None:
    """Who sees none of them still hears that the view is partial."""
    shown = [entry("1", "alice"), entry("2", "bob")]
    frame = ViewFrame(scope="room:hall", quality=Quality.PARTIAL, unreachable=["1", "2"])
    assert cut_view(frame, None, shown) is frame
    cut = cut_view(frame, B_TO_D, shown)
    assert cut is not None
    assert (cut.quality, cut.unreachable) == (Quality.PARTIAL, ["2"])
    assert cut_view(None, B_TO_D, shown) is None


def test_a_check_is_of_the_picture_of_the_range() -> None:
    """Or whoever sees a part would look again for ever."""
    view = TopicView(Topic("default/room:hall"), ShardId(0))
    for number, name in ((0xA1, "alice"), (0xB0, "bob"), (0xB1, "caro")):
        view.shown["default/room:hall", name, "s"] = entry(f"{number:x}", name)
    whole, some = ConnectionId(1), ConnectionId(2)
    view.parts = {some: B_TO_D}
    for connection in (whole, some):
        view.note_resumed(connection, VersionVector(), WallMs(0))
    view.take_unknown_leaves(VersionVector())
    assert list(tell_checks(view)) == [
        Deliver([whole], Diff(topic="room:hall", check="a0")),
        Deliver([some], Diff(topic="room:hall", check="1")),
    ]
    assert list(tell_checks(view)) == []
