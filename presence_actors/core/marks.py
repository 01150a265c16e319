"""Marks: from where a client that only watches may go on.

Such a client watches many topics over one stream, and remembers one word of it. So after the frames
of a tick, and not between them, it is told a cursor for all its topics together.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdt import VersionVector
from presence_actors.core.attaching import Attachments
from presence_actors.core.cursors import write_cursor
from presence_actors.core.effects import Deliver, Mark
from presence_actors.core.ids import ConnectionId, ShardId, Topic
from presence_actors.core.instants import Instant, Now
from presence_actors.core.limits import EVENT_ID_CHARACTERS_MAX
from presence_actors.core.messages import PRESENCE
from presence_actors.core.watching import Watching

__all__ = ["Marks", "cursor_of", "mark_for"]

#: Least distance of two marks to one client: whoever resumes from an older one hears more twice.
INTERVAL_MS = 1_000


def cursor_of(
    topics: Iterable[Topic],
    connection: ConnectionId,
    *,
    watching: Watching,
    attachments: Attachments,
) -> str:
    """What a subscriber of these topics has been told, once this tick's frames have come.

    Nothing of a shard of which it still waits for a topic.
    """
    known: dict[ShardId, VersionVector] = {}
    waits: dict[ShardId, None] = {}
    for topic in topics:
        link, view = attachments.of(topic), watching.get(topic)
        if view is None or connection not in view.subscribers:
            waits[link.shard] = None
            continue
        ((_, elsewhere),) = view.by_seen([connection])
        seen = known.get(link.shard, link.vectors[PRESENCE])
        known[link.shard] = seen if elsewhere is None else seen.merge(elsewhere)
    return write_cursor({shard: seen for shard, seen in known.items() if shard not in waits})


def mark_for(connection: ConnectionId, cursor: str) -> Mark | None:
    """The mark, if a client can bring it back."""
    return Mark(connection, cursor) if len(cursor) <= EVENT_ID_CHARACTERS_MAX else None


class Marks:
    """Who only watches, and when each was told a mark."""

    def __init__(self) -> None:
        self._told_at: dict[ConnectionId, Instant | None] = {}

    def note_watcher(self, connection: ConnectionId) -> None:
        """A client that only watches has come."""
        self._told_at[connection] = None

    def forget(self, connection: ConnectionId) -> None:
        """A client is gone, whether it only watched or not."""
        self._told_at.pop(connection, None)

    def take_due(self, told: Iterable[Deliver], now: Now) -> list[ConnectionId]:
        """Whom to tell a mark behind these frames; it counts as told."""
        if not self._told_at:
            return []
        due: dict[ConnectionId, None] = {}
        for frame in told:
            for connection in frame.connections:
                if connection not in self._told_at:
                    continue
                at = self._told_at[connection]
                if at is None or now.instant - at >= INTERVAL_MS:
                    due[connection] = None
        self._told_at.update(dict.fromkeys(due, now.instant))
        return list(due)
