"""Parts of large rooms: what of a frame is about the users that a subscriber wants to see.

Who looks at a long list sees a screen of it, and wants to hear of no more. A user's name does not
change, so an entry is in a range for as long as it is there, and every frame can be cut by itself:
what is cut out of two frames that add up adds up, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from presence_actors.core.effects import Deliver
from presence_actors.core.ids import ConnectionId
from presence_actors.core.topic_view import TopicView, check_of
from presence_actors.core.vocabulary import Diff, Entry, KeyRange, ViewFrame

__all__ = ["cut_diff", "cut_view", "tell_checks", "tell_parts", "tell_view"]


def cut_diff(diff: Diff, keys: KeyRange | None) -> Diff:
    """The part of a difference; all of it without a range."""
    if keys is None:
        return diff
    return msgspec.structs.replace(
        diff,
        joins=[entry for entry in diff.joins if entry.key in keys],
        updates=[entry for entry in diff.updates if entry.key in keys],
        leaves=[leave for leave in diff.leaves if leave.key in keys],
    )


def cut_view(
    frame: ViewFrame | None, keys: KeyRange | None, shown: Iterable[Entry]
) -> ViewFrame | None:
    """The part of a judgement: of entries in doubt those that the subscriber sees."""
    if frame is None or keys is None or not frame.unreachable:
        return frame
    seen = {entry.ref for entry in shown if entry.key in keys}
    unreachable = [ref for ref in frame.unreachable if ref in seen]
    return msgspec.structs.replace(frame, unreachable=unreachable)


def tell_parts(view: TopicView, told: list[ConnectionId], diff: Diff) -> Iterator[Deliver]:
    """To each what of the difference it wants to see, if anything."""
    for group, keys in view.by_part(told):
        part = cut_diff(diff, keys)
        if part.joins or part.updates or part.leaves:
            yield Deliver(group, part)


def tell_view(
    view: TopicView,
    told: list[ConnectionId],
    frame: ViewFrame,
    *,
    before: ViewFrame | None = None,
) -> Iterator[Deliver]:
    """To each the judgement, unless it is for what it sees the one of before."""
    for group, keys in view.by_part(told):
        part = cut_view(frame, keys, view.shown.values())
        if part is not None and part != cut_view(before, keys, view.shown.values()):
            yield Deliver(group, part)


def tell_checks(view: TopicView) -> Iterator[Deliver]:
    """To those who are no longer ahead what their pictures must be equal to."""
    for group, keys in view.by_part(view.take_settled()):
        shown = view.shown.values()
        refs = (entry.ref for entry in shown if keys is None or entry.key in keys)
        yield Deliver(group, Diff(topic=view.name, check=check_of(refs)))
