"""A worker: the replicas of several shards in one process, behind one door.

It decides nothing of its own but which shards are here: it hands each message to the replica that
it is for, answers gateways' beats, and puts what its replicas send to one node in the same turn
into one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from crdt import KeyHasher
from presence_actors.config import Knobs
from presence_actors.core.allowance import Allowance, size_of
from presence_actors.core.effects import (
    Dial,
    Notify,
    ReplicaEffect,
    Report,
    Send,
    WorkerEffect,
)
from presence_actors.core.events import (
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    NoticeAnswered,
    PeerLinked,
    ReplicaEvent,
    WorkerEvent,
)
from presence_actors.core.ids import NodeId, NodeName, ShardId, ZoneId, name_of, zone_of
from presence_actors.core.instants import Instant, Now
from presence_actors.core.limits import PASSED_ON_BYTES_PER_SECOND_MAX
from presence_actors.core.messages import (
    Attach,
    Beat,
    BeatAck,
    Broadcasts,
    Detached,
    GossipAck,
    GossipDelta,
    GossipPromise,
    PeerMessage,
    Segment,
    ZoneReport,
)
from presence_actors.core.placement import replicas_of
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.views import WorkerView, zone_lags
from presence_actors.core.zones import ZoneBook

__all__ = ["WorkerMachine"]


class WorkerMachine:
    """All replicas of one worker."""

    def __init__(
        self,
        node: NodeId,
        *,
        shards: int,
        replicas: int,
        knobs: Knobs,
        hasher: KeyHasher,
        first: bool,
        now: Now,
        speaks: bool = False,
    ) -> None:
        self._node = node
        #: That of the whole cluster: replicas tell each other keys by their hashes.
        self._hasher = hasher
        self._shards = shards
        self._replication = replicas
        #: Whether app servers are to be told of users.
        self._speaks = speaks
        self._knobs = knobs
        self._first = first
        self._replicas: dict[ShardId, ReplicaMachine] = {}
        #: {shard: deadline of its replica}: one that nothing happened to need not be asked again.
        self._deadlines: dict[ShardId, Instant] = {}
        self._now = now
        self._cluster = ClusterChanged([])
        self._zones = ZoneBook(node)
        self._dialled: dict[NodeName, tuple[str, int]] = {}
        #: What clients say may take no more than this of the link to each node.
        self._room_for: dict[NodeName, Allowance] = {}

    def handle(self, event: WorkerEvent, now: Now) -> list[WorkerEffect]:
        """Takes in one event; one `Send` per node that is to hear something."""
        self._now = now
        batch = _Batch()
        match event:
            case MessagesReceived():
                self._on_messages(event, batch)
            case ClusterChanged():
                self._cluster = event
                if self._zones.note_cluster(event):
                    self._spread(self._zones.reports(), self._node, batch)
                self._on_cluster(now, batch)
            case PeerLinked(node=node):
                # Two strangers tell each other everything they know of zones.
                batch.take([Send(name_of(node), list(self._zones.reports()))])
            case NoticeAnswered(shard=shard) if shard in self._replicas:
                self._hand(shard, event, batch)
            case NoticeAnswered():
                pass
            case DeadlineReached():
                for shard, due in list(self._deadlines.items()):
                    if due <= now.instant:
                        self._hand(shard, event, batch)
        effects = batch.effects(self._has_room)
        targets = self._zones.targets
        if targets == self._dialled:
            return effects
        self._dialled = targets
        return [*effects, Dial(targets)]

    def deadline(self) -> Instant | None:
        """The earliest deadline of the replicas."""
        return min(self._deadlines.values(), default=None)

    def check(self) -> None:
        """Raises `InvariantBroken` if one of the replicas finds itself wrong."""
        for replica in self._replicas.values():
            replica.check()

    def inspect(self) -> WorkerView:
        """A picture for people and metrics."""
        return WorkerView(
            node=self._node,
            ready=all(replica.is_ready for replica in self._replicas.values()),
            replicas=[replica.inspect() for _, replica in sorted(self._replicas.items())],
        )

    @property
    def node(self) -> NodeId:
        """This life of the worker."""
        return self._node

    def replica(self, shard: ShardId) -> ReplicaMachine | None:
        """The replica of a shard, to be read by checkers and tests."""
        return self._replicas.get(shard)

    def _has_room(self, to: NodeName, message: PeerMessage) -> bool:
        """Whether a message goes out; presence always does."""
        if not isinstance(message, Broadcasts):
            return True
        allowance = self._room_for.get(to)
        if allowance is None:
            allowance = self._room_for[to] = Allowance(PASSED_ON_BYTES_PER_SECOND_MAX)
        return allowance.take(size_of(message.said), self._now.instant)

    def _spread(self, reports: list[ZoneReport], bearer: NodeId, batch: _Batch) -> None:
        """What was news to us is told to everybody but whom we have it from."""
        for name in self._zones.neighbours(bearer):
            batch.take([Send(name, list(reports))])

    def _on_cluster(self, now: Now, batch: _Batch) -> None:
        event = msgspec.structs.replace(self._cluster, zones=dict(self._zones.others()))
        mine = name_of(self._node)
        for index in range(self._shards):
            shard = ShardId(index)
            if mine not in replicas_of(shard, event.workers, replicas=self._replication):
                continue
            if shard not in self._replicas:
                self._replicas[shard] = ReplicaMachine(
                    self._node,
                    shard,
                    replicas=self._replication,
                    knobs=self._knobs,
                    hasher=self._hasher,
                    first=self._first,
                    now=now,
                    speaks=self._speaks,
                )
        # What comes later (a shard that moved here) has to synchronise like any newcomer.
        self._first = False
        for shard in self._replicas:
            self._hand(shard, event, batch)

    def _hand(self, shard: ShardId, event: ReplicaEvent, batch: _Batch) -> None:
        """One replica handles an event."""
        replica = self._replicas[shard]
        batch.take(replica.handle(event, self._now))
        self._deadlines[shard] = replica.deadline()

    def _on_messages(self, event: MessagesReceived, batch: _Batch) -> None:
        by_shard: dict[ShardId, list[PeerMessage]] = {}
        news: list[ZoneReport] = []
        for message in event.messages:
            match message:
                case ZoneReport():
                    if self._zones.note_report(message):
                        news.append(message)
                case Beat():
                    self._on_beat(event.sender, message, by_shard, batch)
                case (
                    GossipDelta()
                    | GossipPromise()
                    | GossipAck()
                    | Attach()
                    | Segment()
                    | Broadcasts()
                ):
                    if message.shard in self._replicas:
                        by_shard.setdefault(message.shard, []).append(message)
                    elif isinstance(message, Attach | Segment):
                        detached = Detached(message.shard, self._node, event.sender, message.number)
                        batch.take([Send(name_of(event.sender), [detached])])
                case _:
                    pass  # Meant for a gateway.
        if news:
            self._spread(news, event.sender, batch)
            self._on_cluster(self._now, batch)
        for shard, messages in by_shard.items():
            self._hand(shard, MessagesReceived(event.sender, messages), batch)

    def _on_beat(
        self,
        sender: NodeId,
        beat: Beat,
        by_shard: dict[ShardId, list[PeerMessage]],
        batch: _Batch,
    ) -> None:
        for shard in beat.attachments:
            if shard in self._replicas:
                by_shard.setdefault(shard, []).append(beat)
        ready = [shard for shard, replica in self._replicas.items() if replica.may_serve(self._now)]
        lags: dict[ZoneId, int | None] = {}
        if self._zones.has_others:
            peers = (replica.peers(self._now) for replica in self._replicas.values())
            lags = zone_lags(zone_of(self._node), peers)
        batch.take([Send(name_of(sender), [BeatAck(self._node, ready, lags)])])


class _Batch:
    """Messages of one turn by destination, in order, and what is to be told to others."""

    __slots__ = ("_messages", "_reports")

    def __init__(self) -> None:
        self._messages: dict[NodeName, list[PeerMessage]] = {}
        self._reports: list[Report | Notify] = []

    def take(self, effects: Iterable[ReplicaEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._messages.setdefault(effect.to, []).extend(effect.messages)
            else:
                self._reports.append(effect)

    def effects(self, has_room: Callable[[NodeName, PeerMessage], bool]) -> list[WorkerEffect]:
        going = {
            to: [message for message in messages if has_room(to, message)]
            for to, messages in self._messages.items()
        }
        sends = [Send(to, messages) for to, messages in going.items() if messages]
        return [*sends, *self._reports]
