"""What a client watches: its picture of rooms and users, and the net changes of that picture.

A picture outlives connections. After a reconnect the gateway sends either what changed since the
cursor or the whole, and in both cases only the net difference to what is held comes out: a room
that looks the same before and after an interruption causes no event at all.

All that comes out for one topic adds up: joins minus leaves is what `entries` holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from presence_actors.core.effects import (
    CountHappened,
    JoinHappened,
    LeaveHappened,
    Presence,
    SnapshotCame,
    StatusHappened,
    UpdateHappened,
    ViewHappened,
)
from presence_actors.core.ids import UserId
from presence_actors.core.limits import SUBSCRIPTIONS_PER_CONNECTION_MAX
from presence_actors.core.vocabulary import (
    Count,
    Diff,
    Entry,
    KeyRange,
    Quality,
    Snap,
    StatusFrame,
    ViewFrame,
)

__all__ = ["REASON_UNKNOWN", "Watched"]

#: The reason of a leave that a snapshot shows by leaving an entry out: it went while this client
#: was not connected, and nobody says why.
REASON_UNKNOWN: Final = ""


@dataclass(slots=True)
class _Picture:
    """One room as this client knows it."""

    entries: dict[str, Entry] = field(default_factory=dict)
    #: How the gateway can continue from here; opaque.
    cursor: str | None = None
    #: The parts of a snapshot that is still coming, and how many have come.
    gathered: dict[str, Entry] = field(default_factory=dict)
    parts: int = 0
    #: Whether no more than counts are wanted, and of which users alone.
    counts: bool = False
    keys: KeyRange | None = None
    #: Whether a snapshot or a continuation came on the present connection. Until then a diff has
    #: nothing that it could continue.
    is_synced: bool = False


class Watched:
    """The rooms and users that are watched, and what is known of them."""

    def __init__(self) -> None:
        self._pictures: dict[str, _Picture] = {}
        self._statuses: dict[str, StatusFrame | None] = {}
        self._views: dict[str, ViewFrame] = {}
        #: Scopes whose view was told on the present connection.
        self._views_heard: set[str] = set()

    @property
    def topics(self) -> list[str]:
        """The rooms, in the order in which they were asked for."""
        return list(self._pictures)

    @property
    def users(self) -> list[str]:
        """The users, in the order in which they were asked for."""
        return list(self._statuses)

    @property
    def statuses(self) -> dict[str, StatusFrame]:
        """What each watched user shows, as far as it is known."""
        return {user: frame for user, frame in self._statuses.items() if frame is not None}

    def cursor(self, topic: str) -> str | None:
        """How the gateway can continue with this room."""
        return self._pictures[topic].cursor

    def is_synced(self, topic: str) -> bool:
        """Whether the room's picture was confirmed on the present connection."""
        picture = self._pictures.get(topic)
        return picture is not None and picture.is_synced

    def entries(self, topic: str) -> dict[str, Entry]:
        """The entries of a room by their refs; empty if it is not watched."""
        picture = self._pictures.get(topic)
        return {} if picture is None else dict(picture.entries)

    def entries_count(self) -> int:
        """How many entries all rooms hold together."""
        return sum(len(picture.entries) for picture in self._pictures.values())

    def who(self, topic: str) -> dict[UserId, list[Entry]]:
        """The users in a room, by name, each with their devices, the first that came first."""
        found: dict[UserId, list[Entry]] = {}
        for entry in sorted(
            self.entries(topic).values(), key=lambda entry: (entry.key, entry.since, entry.ref)
        ):
            found.setdefault(entry.key, []).append(entry)
        return found

    def view(self, topic: str) -> ViewFrame:
        """How much of a room's truth can be seen; complete unless the gateway said otherwise."""
        return self._views.get(topic) or ViewFrame(scope=topic, quality=Quality.COMPLETE)

    def has_space(self, topics: list[str], users: list[str]) -> bool:
        """Whether these can be watched, too, within the limit of a connection."""
        count = len(self._pictures.keys() | topics) + len(self._statuses.keys() | users)
        return count <= SUBSCRIPTIONS_PER_CONNECTION_MAX

    def add(self, topics: list[str], users: list[str]) -> tuple[list[str], list[str]]:
        """Watch these; which of them are new."""
        new_topics = [topic for topic in dict.fromkeys(topics) if topic not in self._pictures]
        new_users = [user for user in dict.fromkeys(users) if user not in self._statuses]
        self._pictures.update({topic: _Picture() for topic in new_topics})
        self._statuses.update(dict.fromkeys(new_users))
        return new_topics, new_users

    def want(self, topics: list[str], *, counts: bool, keys: KeyRange | None = None) -> None:
        """Of these rooms only counts are wanted, or only these users, or everything."""
        for topic in topics:
            picture = self._pictures[topic]
            picture.counts = counts
            if picture.keys != keys:
                # Nothing continues what was known of others; a snapshot shows who is one of these.
                picture.keys, picture.cursor, picture.is_synced = keys, None, False

    def wants_counts(self, topic: str) -> bool:
        """Whether of this room no more than counts are wanted."""
        return self._pictures[topic].counts

    def keys(self, topic: str) -> KeyRange | None:
        """Of which users of this room alone something is wanted."""
        return self._pictures[topic].keys

    def drop(self, topics: list[str], users: list[str]) -> None:
        """Watch these no more, and forget what was known of them."""
        for topic in topics:
            self._pictures.pop(topic, None)
            self._views.pop(topic, None)
        for user in users:
            self._statuses.pop(user, None)

    def lapse(self) -> None:
        """The connection is gone; the pictures stay as they are until the next one."""
        for picture in self._pictures.values():
            picture.is_synced = False
            picture.gathered = {}
            picture.parts = 0
        self._views_heard.clear()

    def is_torn(self, snap: Snap) -> bool:
        """Whether parts of this snapshot are missing, so that it cannot be put together."""
        picture = self._pictures.get(snap.topic)
        return picture is not None and snap.part not in (0, picture.parts)

    def take_snap(self, snap: Snap) -> list[Presence]:
        """The net changes that the snapshot shows, once its last part is here."""
        picture = self._pictures.get(snap.topic)
        if picture is None:
            return []
        if snap.part == 0:
            picture.gathered = {}
        picture.gathered.update({entry.ref: entry for entry in snap.state})
        picture.parts = snap.part + 1
        if not snap.last:
            return []
        whole, picture.gathered, picture.parts = picture.gathered, {}, 0
        events: list[Presence] = []
        for ref in [ref for ref in picture.entries if ref not in whole]:
            events.extend(_removed(snap.topic, picture, ref, REASON_UNKNOWN))
        for entry in whole.values():
            events.extend(_upserted(snap.topic, picture, entry))
        picture.cursor = snap.cursor
        return [*events, *self._synced(snap.topic, picture)]

    def take_diff(self, diff: Diff) -> list[Presence]:
        """The net changes of a diff; taking one twice changes nothing the second time."""
        picture = self._pictures.get(diff.topic)
        if picture is None or not (picture.is_synced or diff.resumed):
            return []
        events: list[Presence] = []
        for leave in diff.leaves:
            events.extend(_removed(diff.topic, picture, leave.ref, leave.reason))
        for entry in (*diff.joins, *diff.updates):
            events.extend(_upserted(diff.topic, picture, entry))
        if diff.cursor is not None:
            picture.cursor = diff.cursor
        if diff.resumed:
            events.extend(self._synced(diff.topic, picture))
        return events

    def take_count(self, count: Count) -> list[Presence]:
        """How many are in a room; who they are is no longer certain."""
        picture = self._pictures.get(count.topic)
        if picture is None:
            return []
        picture.is_synced = False
        return [CountHappened(count.topic, count.users, count.devices)]

    def is_wrong(self, diff: Diff) -> bool:
        """Whether the picture, with this taken in, is not what the gateway says that it must be."""
        picture = self._pictures.get(diff.topic)
        if picture is None or diff.check is None or not picture.is_synced:
            return False
        found = 0
        try:
            for ref in picture.entries:
                found ^= int(ref, 16)
        except ValueError:
            return True
        return f"{found:x}" != diff.check

    def take_status(self, frame: StatusFrame) -> list[Presence]:
        """A change, if the user now shows something else than before."""
        if frame.user not in self._statuses:
            return []
        before = self._statuses[frame.user]
        self._statuses[frame.user] = frame
        if before is not None and _shown(before) == _shown(frame):
            return []
        return [StatusHappened(status=frame, previous=None if before is None else before.status)]

    def take_view(self, frame: ViewFrame) -> list[Presence]:
        """A change, if more or less can be seen than before."""
        if frame.scope not in self._views and len(self._views) > SUBSCRIPTIONS_PER_CONNECTION_MAX:
            return []
        self._views_heard.add(frame.scope)
        before = self.view(frame.scope)
        self._views[frame.scope] = frame
        return [] if _seen(before) == _seen(frame) else [_view_event(frame)]

    def _synced(self, topic: str, picture: _Picture) -> list[Presence]:
        picture.is_synced = True
        events: list[Presence] = [SnapshotCame(topic=topic)]
        if topic in self._views and topic not in self._views_heard:
            # What an earlier gateway could not see says nothing about this one, and this one would
            # have said so before it sent a picture with holes.
            events.extend(self.take_view(ViewFrame(scope=topic, quality=Quality.COMPLETE)))
        return events


def _upserted(topic: str, picture: _Picture, entry: Entry) -> list[Presence]:
    before = picture.entries.get(entry.ref)
    picture.entries[entry.ref] = entry
    if before is None:
        return [JoinHappened(topic=topic, entry=entry)]
    if before == entry:
        return []
    return [UpdateHappened(topic=topic, entry=entry, previous=before)]


def _removed(topic: str, picture: _Picture, ref: str, reason: str) -> list[Presence]:
    entry = picture.entries.pop(ref, None)
    return [] if entry is None else [LeaveHappened(topic=topic, entry=entry, reason=reason)]


def _shown(frame: StatusFrame) -> tuple[object, ...]:
    # `as_of` moves while nothing changes for people, and the reason of an absence is not known to
    # a gateway that saw only its result.
    return (
        frame.status,
        frame.devices,
        frame.text,
        frame.emoji,
        frame.since,
        frame.last_seen,
    )


def _seen(frame: ViewFrame) -> tuple[object, ...]:
    return (frame.quality, frame.silent, frame.unreachable)


def _view_event(frame: ViewFrame) -> ViewHappened:
    return ViewHappened(
        topic=frame.scope,
        quality=frame.quality,
        silent=frame.silent,
        as_of=frame.as_of,
        unreachable=frame.unreachable,
    )
