"""From one change to the gateways that care.

Interest is registered per topic and gateway, never per subscriber. Each attachment gathers the rows
that changed in its topics, only the newest version of each, for `flush_ms`; a full window gathers
on. So a gateway that is slow or away costs at most the rows of its topics, and hears the net.
"""

from __future__ import annotations

from crdt import LWWMap, Row, Rows, VersionVector
from presence_actors.core.ids import NodeId, ShardId, Topic
from presence_actors.core.instants import Instant
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Changed,
    Operations,
    Reach,
    Segment,
)
from presence_actors.core.stream import ReceiveStream, SendStream

__all__ = ["Attachment", "Interest"]

Key = tuple[str, str, str]


class Attachment:
    """One gateway attached to one replica: its lease, its set of entries, its stream."""

    __slots__ = (
        "_defeats",
        "_due",
        "_loaded",
        "_pending",
        "_reach",
        "gateway",
        "heard",
        "incoming",
        "keys",
        "number",
        "outgoing",
        "silent_at",
        "silent_since",
        "topics",
    )

    def __init__(self, gateway: NodeId, number: int, heard: Instant) -> None:
        self.gateway = gateway
        self.number = number
        self.heard = heard
        #: When its lease ran out and the wall time it was last heard; None while it beats.
        self.silent_at: Instant | None = None
        self.silent_since: int | None = None
        #: {key}: the complete set of live entries that the gateway holds here.
        self.keys: dict[Key, None] = {}
        self.topics: dict[Topic, None] = {}
        self.incoming = ReceiveStream()
        self.outgoing: SendStream[Operations | Changed] = SendStream()
        #: Per map: the newest version of each row that is to be told.
        self._pending: tuple[dict[Key, Row], dict[Key, Row]] = ({}, {})
        self._defeats: dict[Key, Row] = {}
        self._loaded: dict[Topic, None] = {}
        self._reach: Reach | None = None
        self._due: Instant | None = None

    # What is to be told.

    def gather(self, which: int, row: Row, due: Instant) -> None:
        """A row changed in a topic of this gateway."""
        pending = self._pending[which]
        pending.pop(row.key, None)
        pending[row.key] = row
        self._want(due)

    def gather_defeat(self, row: Row, due: Instant) -> None:
        """This row beat one that the gateway holds."""
        self._defeats[row.key] = row
        self._want(due)

    def gather_topic(
        self,
        topic: Topic,
        maps: tuple[LWWMap, LWWMap],
        cursors: tuple[VersionVector, VersionVector],
        due: Instant,
    ) -> None:
        """The gateway watches a topic: what it lacks of it, and that it is complete then."""
        self.topics[topic] = None
        for which in (PRESENCE, DURABLE):
            for row in maps[which].topic_rows(topic, beyond=cursors[which]):
                self.gather(which, row, due)
        self._loaded[topic] = None
        self._want(due)

    def gather_reach(self, reach: Reach, due: Instant) -> None:
        """Other origins or holders can be heard than before."""
        self._reach = reach
        self._want(due)

    def _want(self, due: Instant) -> None:
        if self._due is None:
            self._due = due

    # Telling it.

    def deadline(self) -> Instant | None:
        """When something is due: a flush, or a repetition."""
        due = None if self.outgoing.is_full else self._due
        repeat = None if self.silent_at is not None else self.outgoing.deadline()
        candidates = [instant for instant in (due, repeat) if instant is not None]
        return min(candidates, default=None)

    def want_acknowledgement(self, due: Instant) -> None:
        """Something came in: answer by `due`, with or without news."""
        self._want(due)

    def take_segments(
        self,
        shard: ShardId,
        sender: NodeId,
        vectors: tuple[VersionVector, VersionVector],
        now: Instant,
        *,
        repeat_ms: int,
    ) -> list[Segment]:
        """What to send now."""
        repeat_at = Instant(now + repeat_ms)
        segments: list[Segment] = []
        if self.silent_at is None:
            segments = [
                self._segment(shard, sender, sequence, body)
                for sequence, body in self.outgoing.take_due(now, repeat_at=repeat_at)
            ]
        if self._due is None or now < self._due:
            return segments
        if self.outgoing.is_full or not self._has_news():
            if self.incoming.owes_acknowledgement:
                segments.append(self._segment(shard, sender, self.outgoing.last, None))
            if not self._has_news():
                self._due = None
            return segments
        body = Changed(
            rows=Rows.of(self._pending[PRESENCE].values()),
            durable=Rows.of(self._pending[DURABLE].values()),
            vectors=vectors,
            loaded=list(self._loaded),
            defeats=Rows.of(self._defeats.values()),
            reach=self._reach,
        )
        self._pending, self._defeats, self._loaded = ({}, {}), {}, {}
        self._reach, self._due = None, None
        sequence = self.outgoing.push(body, repeat_at=repeat_at)
        segments.append(self._segment(shard, sender, sequence, body))
        return segments

    def _has_news(self) -> bool:
        return bool(
            self._pending[PRESENCE]
            or self._pending[DURABLE]
            or self._defeats
            or self._loaded
            or self._reach is not None
        )

    def _segment(
        self, shard: ShardId, sender: NodeId, sequence: int, body: Operations | Changed | None
    ) -> Segment:
        ack = self.incoming.take_acknowledgement()
        return Segment(shard, sender, self.number, sequence, ack, body)


class Interest:
    """{topic: gateways that watch it}, in the order in which they came."""

    __slots__ = ("_watchers",)

    def __init__(self) -> None:
        self._watchers: dict[Topic, dict[NodeId, None]] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, topic: Topic, gateway: NodeId) -> None:
        """The gateway wants to hear of the topic."""
        self._watchers.setdefault(topic, {})[gateway] = None

    def discard(self, topic: Topic, gateway: NodeId) -> None:
        """It no longer does."""
        watchers = self._watchers.get(topic)
        if watchers is not None:
            watchers.pop(gateway, None)
            if not watchers:
                del self._watchers[topic]

    def of(self, topic: str) -> list[NodeId]:
        """Who wants to hear of it."""
        return list(self._watchers.get(Topic(topic), ()))
