"""From one change to the gateways that care.

Interest is registered per topic and gateway, never per subscriber. Each attachment gathers the rows
that changed in its topics, only the newest version of each, for `flush_ms`; a full window gathers
on. So a gateway that is slow or away costs at most the rows of its topics, and hears the net.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from crdt import KeyHasher, LWWMap, Row, Rows, VersionVector
from presence_actors.config import Knobs
from presence_actors.core.ids import NodeId, ShardId, Topic
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.membership import GatewayLives
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Changed,
    HolderReport,
    Operations,
    Reach,
    Said,
    Segment,
)
from presence_actors.core.news import Audience
from presence_actors.core.stream import ReceiveStream, SendStream

__all__ = ["Attached", "Attachment", "Interest"]

Key = tuple[str, str, str]


class Attachment:
    """One gateway attached to one replica: its lease, its set of entries, its stream."""

    __slots__ = (
        "_anew",
        "_asked",
        "_defeats",
        "_due",
        "_gone",
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
        self.silent_since: WallMs | None = None
        #: {key}: the complete set of live entries that the gateway holds here.
        self.keys: dict[Key, None] = {}
        self.topics: dict[Topic, None] = {}
        self.incoming = ReceiveStream()
        self.outgoing: SendStream[Operations | Changed] = SendStream()
        #: Per map: the newest version of each row that is to be told.
        self._pending: tuple[dict[Key, Row], dict[Key, Row]] = ({}, {})
        self._defeats: dict[Key, Row] = {}
        self._loaded: dict[Topic, None] = {}
        #: Loaded topics of which all that the gateway had before counts no more.
        self._anew: dict[Topic, None] = {}
        #: Live rows that were forgotten without an end.
        self._gone: dict[Key, Row] = {}
        self._reach: Reach | None = None
        self._asked = False
        self._due: Instant | None = None

    # Its lease.

    def renew(self, now: Now) -> None:
        """The gateway was heard."""
        self.heard = now.instant
        self.silent_at = self.silent_since = None

    def note_silence(self, now: Now, *, lease_ms: int) -> None:
        """The lease runs out if the gateway has been silent for too long."""
        silence = now.instant - self.heard
        if self.silent_at is None and silence >= lease_ms:
            self.silent_at = Instant(self.heard + lease_ms)
            self.silent_since = WallMs(now.wall - silence)

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

    def gather_gone(self, row: Row, due: Instant) -> None:
        """A row of a topic of this gateway was forgotten without an end."""
        self._pending[PRESENCE].pop(row.key, None)
        self._gone[row.key] = row
        self._want(due)

    def gather_topic(
        self,
        topic: Topic,
        maps: tuple[LWWMap, LWWMap],
        cursors: tuple[VersionVector, VersionVector],
        due: Instant,
        *,
        anew: bool = False,
    ) -> None:
        """What the gateway lacks of a topic, and that it is complete then.

        With `anew` all that it had before counts no more: it may have missed ends that nobody
        remembers.
        """
        if anew:
            self._anew[topic] = None
        for which in (PRESENCE, DURABLE):
            for row in maps[which].topic_rows(topic, beyond=cursors[which]):
                self.gather(which, row, due)
        self._loaded[topic] = None
        self._want(due)

    def gather_seen(self, due: Instant) -> None:
        """What the replica has seen, which goes with everything."""
        self._asked = True
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
        due = self._due
        repeat = None if self.silent_at is not None else self.outgoing.deadline()
        if due is None or self.outgoing.is_full:
            return repeat
        return due if repeat is None or due < repeat else repeat

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
            gone=Rows.of(self._gone.values()),
            anew=list(self._anew),
        )
        self._gone, self._anew = {}, {}
        self._pending, self._defeats, self._loaded = ({}, {}), {}, {}
        self._reach, self._due, self._asked = None, None, False
        sequence = self.outgoing.push(body, repeat_at=repeat_at)
        segments.append(self._segment(shard, sender, sequence, body))
        return segments

    def _has_news(self) -> bool:
        return bool(
            self._pending[PRESENCE]
            or self._pending[DURABLE]
            or self._defeats
            or self._loaded
            or self._gone
            or self._reach is not None
            or self._asked
        )

    def _segment(
        self, shard: ShardId, sender: NodeId, sequence: int, body: Operations | Changed | None
    ) -> Segment:
        ack = self.incoming.take_acknowledgement()
        return Segment(shard, sender, self.gateway, self.number, sequence, ack, body)


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

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._watchers)

    def of(self, topic: str) -> list[NodeId]:
        """Who wants to hear of it."""
        return list(self._watchers.get(Topic(topic), ()))


class Attached:
    """All gateways attached to one replica: who beats, who watches what, who has a newer life."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._attachments: dict[NodeId, Attachment] = {}
        self._interest = Interest()
        self._lives = GatewayLives()
        #: What `audience` said last, until somebody comes, goes, watches or forgets.
        self._audience: Audience | None = None

    def __iter__(self) -> Iterator[Attachment]:
        return iter(list(self._attachments.values()))

    def get(self, gateway: str) -> Attachment | None:
        """The attachment of this life of a gateway."""
        return self._attachments.get(NodeId(gateway))

    @property
    def topics_watched(self) -> int:
        """How many topics somebody watches."""
        return len(self._interest)

    def note_life(self, gateway: NodeId) -> None:
        """A life of a gateway was heard of."""
        self._lives.note(gateway)

    def is_dead(self, gateway: NodeId) -> bool:
        """Whether a newer life of the same gateway has been heard of."""
        return self._lives.is_dead(gateway)

    def add(self, gateway: NodeId, number: int, now: Now) -> Attachment:
        """A new attachment, in the place of an older one of the same life."""
        self.remove(gateway)
        attachment = Attachment(gateway, number, now.instant)
        self._audience = None
        self._attachments[gateway] = attachment
        return attachment

    def remove(self, gateway: NodeId) -> None:
        """The attachment is over."""
        attachment = self._attachments.pop(gateway, None)
        if attachment is not None:
            self._audience = None
            for topic in attachment.topics:
                self._interest.discard(topic, gateway)

    def watch(self, attachment: Attachment, topic: Topic) -> None:
        """The gateway wants to hear of the topic."""
        self._audience = None
        self._interest.add(topic, attachment.gateway)
        attachment.topics[topic] = None

    def unwatch(self, attachment: Attachment, topic: Topic) -> None:
        """It no longer does."""
        self._audience = None
        self._interest.discard(topic, attachment.gateway)
        attachment.topics.pop(topic, None)

    def watchers_of(self, topic: str) -> list[Attachment]:
        """Who wants to hear of the topic."""
        return [self._attachments[gateway] for gateway in self._interest.of(topic)]

    def audience(self, hasher: KeyHasher) -> Audience:
        """For whom rows are picked out of a batch."""
        if self._audience is None:
            topics = np.array([hasher.topic_word(topic) for topic in self._interest], np.uint64)
            topics.sort()
            self._audience = Audience(topics, frozenset(self._attachments))
        return self._audience

    def hearers_of(self, said: list[Said], *, besides: NodeId) -> dict[NodeId, list[Said]]:
        """To which gateways what is said in rooms goes, but for those that are silent."""
        heard: dict[NodeId, list[Said]] = {}
        for one in said:
            for watcher in self.watchers_of(one.topic):
                if watcher.gateway != besides and watcher.silent_at is None:
                    heard.setdefault(watcher.gateway, []).append(one)
        return heard

    def reports(self) -> list[HolderReport]:
        """What we know of our gateways, for the other replicas, sorted."""
        return [
            HolderReport(gateway, attachment.silent_since)
            for gateway, attachment in sorted(self._attachments.items())
        ]

    def take_given_up(self, now: Now, *, lives: Callable[[NodeId], bool]) -> list[NodeId]:
        """Leases run out here; the gateways whose entries end now are no longer attached.

        A silent gateway has `grace_gateway_ms` if a newer life of it was heard of, else
        `unreachable_ms_max`, from the end of its lease.

        Args:
            now: The time.
            lives: Whether a gateway has gone on at another replica, with entries that are still
                ours here: its time begins anew.
        """
        given_up: list[NodeId] = []
        for gateway, attachment in list(self._attachments.items()):
            attachment.note_silence(now, lease_ms=self._knobs.gateway_lease_ms)
            if attachment.silent_at is None:
                continue
            dead = self._lives.is_dead(gateway)
            span = self._knobs.grace_gateway_ms if dead else self._knobs.unreachable_ms_max
            if now.instant - attachment.silent_at < span:
                continue
            if not dead and lives(gateway):
                attachment.silent_at = now.instant
            else:
                self.remove(gateway)
                given_up.append(gateway)
        return given_up
