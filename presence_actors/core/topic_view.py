"""A topic as one gateway sees it: the rows, what subscribers have been told, and what is due.

Rows merge by the same order as in the map, so it does not matter which replica they came from or
how often. On each tick the difference between the rows and what was told is the frame: net by
construction, whatever happened in between. New subscribers get their snapshot on the tick, too,
behind the diff for the old ones, so both continue from the same state.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator

from crdt import Row, VersionVector
from crdt.hlc import stamp_wall
from presence_actors.core.cursors import without_dead
from presence_actors.core.ids import ConnectionId, ShardId, Topic, UserId, name_of
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.limits import ENTRIES_PER_PART_MAX, TOMBSTONES_PER_TOPIC_VIEW_MAX
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.values import (
    LeaveReason,
    decode_end,
    decode_entry,
    entry_status,
    is_hidden,
)
from presence_actors.core.vocabulary import (
    Count,
    Diff,
    Entry,
    KeyRange,
    Leave,
    Quality,
    Snap,
    StatusFrame,
    ViewFrame,
)

__all__ = ["TopicView", "Waiting", "check_of", "entry_ref"]

Key = tuple[str, str, str]
Doubt = Callable[[Row], WallMs | None]


def entry_ref(key: Key) -> str:
    """The public name of an entry.

    Derived from its key, so the same at every gateway, and telling nothing of the session id.
    """
    return hashlib.blake2b("\x00".join(key).encode(), digest_size=8).hexdigest()


def check_of(refs: Iterable[str]) -> str:
    """What two equal pictures of a room have in common: the exclusive or of the refs.

    >>> check_of(["00000000000000a1", "00000000000000b0"])
    '11'
    """
    found = 0
    for ref in refs:
        found ^= int(ref, 16)
    return f"{found:x}"


class Waiting:
    """A subscriber that has not had its first frame."""

    __slots__ = ("counts", "cursor", "once", "until", "warned")

    def __init__(
        self,
        cursor: VersionVector | None,
        until: Instant,
        *,
        counts: bool = False,
        once: bool = False,
    ) -> None:
        self.cursor = cursor
        #: Whether it wants no more than counts.
        self.counts = counts
        #: Whether it is told nothing after that, until it is shown the topic again.
        self.once = once
        #: When it is told that it has to wait; None once it was.
        self.until: Instant | None = until
        #: Whether it was told that the view is starting, and must hear when it no longer is.
        self.warned = False


class TopicView:
    """One topic: `namespace/room:lobby` as topic, `room:lobby` as name."""

    __slots__ = (
        "_ahead",
        "_ahead_of_us",
        "_dirty",
        "_dropped",
        "_removed",
        "_settled",
        "_unknown_leaves",
        "changes",
        "counted",
        "doubtful",
        "held",
        "listeners",
        "loaded",
        "name",
        "parts",
        "pins",
        "rows",
        "shard",
        "shown",
        "shown_count",
        "shown_status",
        "shown_view",
        "subscribers",
        "topic",
        "waiting",
    )

    def __init__(self, topic: Topic, shard: ShardId) -> None:
        self.topic = topic
        self.name = topic.partition("/")[2]
        self.shard = shard
        #: Per map {key: newest version}, removed ones among them.
        self.rows: tuple[dict[Key, Row], dict[Key, Row]] = ({}, {})
        #: Removed rows in the order of their coming.
        self._removed: dict[Key, None] = {}
        #: Per origin, the newest removed row that was forgotten: a cursor must cover it.
        self._dropped = VersionVector()
        self.loaded = False
        self.subscribers: dict[ConnectionId, None] = {}
        #: Of which users those subscribers hear, and wait to hear, that want a part of the room.
        self.parts: dict[ConnectionId, KeyRange] = {}
        #: Subscribers that get counts only.
        self.counted: dict[ConnectionId, None] = {}
        #: Those that are told nothing for now: `changes` when they were shown all, None if never.
        self.held: dict[ConnectionId, int | None] = {}
        #: How many differences there were.
        self.changes = 0
        self.shown_count: Count | None = None
        #: Those that hear what others say in the room; each may be a subscriber, too.
        self.listeners: dict[ConnectionId, None] = {}
        #: Subscribers that may have seen more elsewhere than we have, each with the time until
        #: which it can have done so, and all that their cursors cover. They may know entries that
        #: we never did, and must hear of their ends, too.
        self._ahead: dict[ConnectionId, tuple[WallMs, VersionVector]] = {}
        self._ahead_of_us = VersionVector()
        self._unknown_leaves: list[Leave] = []
        #: Subscribers that have just ceased to be ahead.
        self._settled: list[ConnectionId] = []
        self.waiting: dict[ConnectionId, Waiting] = {}
        #: Sessions of this gateway that need the topic themselves.
        self.pins = 0
        self._dirty: dict[Key, None] = {}
        #: Whether the reach of its rows has to be judged again.
        self.doubtful = False
        #: What subscribers have been told.
        self.shown: dict[Key, Entry] = {}
        self.shown_view: ViewFrame | None = None
        self.shown_status: StatusFrame | None = None

    @property
    def user(self) -> UserId | None:
        """Whom the topic is about, if it is a user's."""
        kind, _, rest = self.name.partition(":")
        return UserId(rest) if kind == "user" else None

    @property
    def audience(self) -> int:
        """How many clients watch it, or will when it is there, or are held."""
        return len(self.subscribers) + len(self.waiting) + len(self.counted) + len(self.held)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody at this gateway needs the topic."""
        return bool(
            self.subscribers
            or self.waiting
            or self.pins
            or self.counted
            or self.held
            or self.listeners
        )

    def enter(self, shown: dict[ConnectionId, Waiting]) -> None:
        """These have had their first frame: from now on they hear of changes, or are held."""
        for connection, waiting in shown.items():
            if waiting.once:
                self.held[connection] = self.changes
            else:
                self.subscribers[connection] = None

    def drop(self, connection: ConnectionId) -> None:
        """The client hears no more of the topic."""
        self.subscribers.pop(connection, None)
        self.counted.pop(connection, None)
        self.held.pop(connection, None)
        self.waiting.pop(connection, None)
        self.parts.pop(connection, None)
        self._ahead.pop(connection, None)
        if connection in self._settled:
            self._settled.remove(connection)

    def note_resumed(self, connection: ConnectionId, seen: VersionVector, until: WallMs) -> None:
        """A subscriber continues from a cursor.

        What it knows may be newer than the cursor, since not every frame has one, and all of it
        may be news to us. But it is not newer than `until`.
        """
        self._ahead[connection] = (until, seen)
        self._ahead_of_us = self._ahead_of_us.merge(seen)

    def merge(self, which: int, row: Row) -> bool:
        """Takes a row in; whether it was news."""
        rows = self.rows[which]
        held = rows.get(row.key)
        if held is not None and held.order >= row.order:
            return False
        rows[row.key] = row
        self._dirty[row.key] = None
        if which == PRESENCE:
            self._removed.pop(row.key, None)
            if not row.live:
                self._removed[row.key] = None
                self._drop_oldest()
        return True

    def forget(self, row: Row) -> bool:
        """A row is gone without an end; whether we had that or an older one."""
        held = self.rows[PRESENCE].get(row.key)
        if held is None or held.order > row.order:
            return False
        self._forget(row.key)
        return True

    def begin_anew(self, came: set[Key], seen: VersionVector) -> None:
        """Only these rows count, and those that whoever has seen this has not seen."""
        for key, row in list(self.rows[PRESENCE].items()):
            if key not in came and seen.covers(row.origin, row.stamp):
                self._forget(key)

    def _forget(self, key: Key) -> None:
        del self.rows[PRESENCE][key]
        self._removed.pop(key, None)
        self._dirty[key] = None

    def _drop_oldest(self) -> None:
        while len(self._removed) > TOMBSTONES_PER_TOPIC_VIEW_MAX:
            key = next(iter(self._removed))
            if key in self.shown:
                return  # Its leave is not told yet.
            del self._removed[key]
            row = self.rows[PRESENCE].pop(key)
            self._dirty.pop(key, None)
            self._dropped = self._dropped.with_component(row.origin, row.stamp)

    def by_seen(
        self, connections: Iterable[ConnectionId]
    ) -> Iterator[tuple[list[ConnectionId], VersionVector | None]]:
        """These subscribers, apart from each other where they had seen different things elsewhere.

        Their cursors must not fall behind that, or what they saw could be told to them again.
        """
        groups: dict[VersionVector | None, list[ConnectionId]] = {}
        for connection in connections:
            ahead = self._ahead.get(connection)
            groups.setdefault(None if ahead is None else ahead[1], []).append(connection)
        for seen, group in groups.items():
            yield group, seen

    def by_part(
        self, connections: Iterable[ConnectionId]
    ) -> list[tuple[list[ConnectionId], KeyRange | None]]:
        """These subscribers, apart from each other where they want other parts of the room."""
        if not self.parts:
            everybody = list(connections)
            return [(everybody, None)] if everybody else []
        groups: dict[KeyRange | None, list[ConnectionId]] = {}
        for connection in connections:
            groups.setdefault(self.parts.get(connection), []).append(connection)
        return [(group, keys) for keys, group in groups.items()]

    # What is told.

    def take_diff(self) -> Diff | None:
        """The net change since it was last asked for, and it counts as told."""
        joins: list[Entry] = []
        updates: list[Entry] = []
        leaves: list[Leave] = []
        rows = self.rows[PRESENCE]
        for key in self._dirty:
            row = rows.get(key)
            old = self.shown.get(key)
            new = None if row is None else _visible(row)
            if new == old:
                if row is not None and _is_public_end(row) and self._ahead:
                    self._unknown_leaves.append(_leave(key, row))
                continue
            if new is None:
                del self.shown[key]
                leaves.append(_leave(key, row))
            else:
                self.shown[key] = new
                (joins if old is None else updates).append(new)
        self._dirty = {}
        if not (joins or updates or leaves):
            return None
        self.changes += 1
        return Diff(topic=self.name, joins=joins, updates=updates, leaves=leaves)

    def take_unknown_leaves(self, ours: VersionVector) -> tuple[list[ConnectionId], Diff] | None:
        """Ends of entries that we never showed, for subscribers that may have seen them elsewhere.

        Nobody is ahead any more once we have seen all that they can have seen.
        """
        if not self._ahead:
            return None
        hearers, leaves = list(self._ahead), self._unknown_leaves
        self._unknown_leaves = []
        if ours.dominates(without_dead(self._ahead_of_us, ours)):
            whole = _whole_until(ours)
            self._settled = [who for who, (until, _) in self._ahead.items() if until <= whole]
            for who in self._settled:
                del self._ahead[who]
        if not self._ahead:
            self._ahead_of_us = VersionVector()
        if not (hearers and leaves):
            return None
        return hearers, Diff(topic=self.name, leaves=leaves)

    def take_settled(self) -> list[ConnectionId]:
        """Those who are no longer ahead, to be told what their picture must be equal to.

        Somebody may have become invisible, or ended so, after they saw it and before we knew of it.
        To name that entry to them would tell those who never saw it that it had been there. The
        check is made of what everybody may see, and says nothing of anybody else.
        """
        settled, self._settled = self._settled, []
        return settled

    @property
    def is_ahead(self) -> bool:
        """Whether a subscriber may have seen more elsewhere than we have."""
        return bool(self._ahead)

    def snapshot(self, cursor: str | None, keys: KeyRange | None = None) -> list[Snap]:
        """What is shown, in parts; of a range of users by their names."""
        entries = list(self.shown.values())
        if keys is not None:
            some = (entry for entry in entries if entry.key in keys)
            entries = sorted(some, key=lambda entry: (entry.key, entry.ref))
        parts = [
            entries[start : start + ENTRIES_PER_PART_MAX]
            for start in range(0, max(1, len(entries)), ENTRIES_PER_PART_MAX)
        ]
        return [
            Snap(
                topic=self.name,
                state=part,
                part=index,
                last=index == len(parts) - 1,
                cursor=cursor if index == len(parts) - 1 else None,
            )
            for index, part in enumerate(parts)
        ]

    def page(self, limit: int, *, after: str) -> list[Entry]:
        """So many entries behind this ref, in the order of their refs: the same at any gateway."""
        behind = (entry for entry in self.shown.values() if entry.ref > after)
        return heapq.nsmallest(limit, behind, key=lambda entry: entry.ref)

    def resumption(
        self, seen: VersionVector, cursor: str | None, *, ours: VersionVector
    ) -> Diff | None:
        """What somebody with this cursor lacks; None if only a snapshot can tell.

        Ends that nobody could see are left out: see `take_settled`. `ours` is what we have seen of
        the shard.
        """
        if not self.loaded or not seen.dominates(without_dead(self._dropped, ours)):
            return None
        if not seen and self.rows[PRESENCE]:
            return None  # All of it: a snapshot says so shorter.
        updates: list[Entry] = []
        leaves: list[Leave] = []
        for key, row in self.rows[PRESENCE].items():
            if seen.covers(row.origin, row.stamp):
                continue
            entry = self.shown.get(key)
            if entry is not None:
                updates.append(entry)
            elif _is_public_end(row):
                leaves.append(_leave(key, row))
        return Diff(topic=self.name, updates=updates, leaves=leaves, resumed=True, cursor=cursor)

    def count(self) -> Count:
        """How many are shown."""
        users = len({entry.key for entry in self.shown.values()})
        return Count(topic=self.name, users=users, devices=len(self.shown))

    def judge(
        self,
        doubt: Doubt,
        silent: list[str],
        *,
        may_vouch: bool,
        silent_since: WallMs | None = None,
    ) -> ViewFrame:
        """How much of the truth this view holds; `silent_since`: also of who is not in it."""
        unreachable: list[str] = []
        as_of: list[WallMs] = [] if silent_since is None else [silent_since]
        for key, entry in self.shown.items():
            row = self.rows[PRESENCE].get(key)
            since = None if row is None else doubt(row)
            if since is not None:
                unreachable.append(entry.ref)
                as_of.append(since)
        if not (self.loaded and may_vouch):
            quality = Quality.STARTING
        else:
            quality = Quality.PARTIAL if silent or unreachable else Quality.COMPLETE
        return ViewFrame(
            scope=self.name,
            quality=quality,
            silent=silent,
            as_of=min(as_of, default=None),
            unreachable=sorted(unreachable),
        )

    def user_rows(self) -> tuple[list[Row], list[Row]]:
        """Entries and durable records of a user's topic."""
        self._dirty = {}
        return list(self.rows[PRESENCE].values()), list(self.rows[DURABLE].values())


def _whole_until(vector: VersionVector) -> WallMs:
    """Up to when a vector lacks nothing of any place: the oldest of their newest words."""
    newest = {name_of(origin): stamp for origin, stamp in vector.items()}
    return WallMs(min((stamp_wall(stamp) for stamp in newest.values()), default=0))


def _visible(row: Row) -> Entry | None:
    if not row.live or is_hidden(row.status):
        return None
    value = decode_entry(row.value)
    return Entry(
        ref=entry_ref(row.key),
        key=UserId(row.key[1]),
        status=entry_status(row.status).word,
        device=value.device,
        since=value.since,
        meta=value.meta,
    )


def _is_public_end(row: Row) -> bool:
    return not row.live and not decode_end(row.value).hidden


def _leave(key: Key, row: Row | None) -> Leave:
    # Who became invisible has left, as far as anybody can tell.
    reason = LeaveReason.LEFT if row is None or row.live else decode_end(row.value).reason
    return Leave(ref=entry_ref(key), key=UserId(key[1]), reason=reason)
