"""A gateway's side of its attachment to one shard.

One replica at a time. What the gateway asks (rows, intents, topics) gathers here, the newest of
each, and goes out in numbered segments. When the attachment breaks, what was not acknowledged comes
back into the gathering, and the next `Attach` carries everything the gateway holds, so nothing is
lost and nothing depends on the old replica.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crdt import Row, Rows, VersionVector, epoch_resume
from presence_actors.core.cursors import without_dead
from presence_actors.core.epochs import entry_epoch
from presence_actors.core.ids import (
    NodeId,
    NodeName,
    RequestId,
    ShardId,
    Topic,
    name_of,
    zone_of,
)
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attach,
    Changed,
    Operations,
    Reach,
    Segment,
)
from presence_actors.core.stream import ReceiveStream, SendStream

__all__ = ["ShardLink"]

Key = tuple[str, str, str]
#: Entries given up that are remembered, for each shard. Who forgets one may end, at a replica that
#: has not heard of it, what goes on elsewhere; it comes back when that replica is told.
_BEATEN_MAX: Final = 4_096
_NOT_READY = Reach(ready=False, origins={}, holders={}, zones={})


class ShardLink:
    """The state of one attachment, and what waits for it."""

    __slots__ = (
        "_announcement",
        "_ask_seen",
        "_beaten",
        "_behind",
        "_dismissals",
        "_due",
        "_durable",
        "_incoming",
        "_is_new",
        "_outgoing",
        "_partial",
        "_repeat_attach_at",
        "_rows",
        "_sent",
        "_unwatch",
        "_watch",
        "_witnessed",
        "attached",
        "attached_at",
        "candidates",
        "cut_off",
        "heard_wall",
        "lost_at",
        "node",
        "number",
        "reach",
        "shard",
        "vectors",
        "waiting_requests",
        "worker",
    )

    def __init__(self, shard: ShardId, now: Now) -> None:
        self.shard = shard
        #: Workers with a replica, in the order of our liking.
        self.candidates: list[NodeName] = []
        self.worker: NodeName | None = None
        self.node: NodeId | None = None
        #: Grows with every attempt to attach; part of the epoch of what is written under it.
        self.number = 0
        self.attached = False
        #: When the present replica took the announcement.
        self.attached_at: Instant | None = None
        #: What we have seen of the shard: a join over all replicas we were attached to.
        self.vectors: tuple[VersionVector, VersionVector] = (VersionVector(), VersionVector())
        #: Whether the present replica had not seen all of that when it spoke last.
        self._behind = False
        #: {topic that came whole from a replica that was behind: under which number}. What others
        #: showed us to have seen, and it had not, we may lack there.
        self._partial: dict[Topic, int] = {}
        self.reach = _NOT_READY
        #: Since when no replica has told what it can hear of others, and when one was last heard.
        self.lost_at: Instant | None = now.instant
        self.heard_wall: WallMs = now.wall
        #: Whether it has been lost for so long that its rows are in doubt.
        self.cut_off = False
        self._rows: dict[Key, Row] = {}
        self._durable: dict[Key, Row] = {}
        self._dismissals: dict[Key, Row] = {}
        #: What beat entries that we gave up: the next replica may not have heard of it.
        self._beaten: dict[Key, Row] = {}
        #: Rows stamped elsewhere that the present replica lacks, and whether we have looked yet.
        self._witnessed: tuple[dict[Key, Row], dict[Key, Row]] = ({}, {})
        self._is_new = False
        self._ask_seen = False
        self._watch: dict[Topic, None] = {}
        self._unwatch: dict[Topic, None] = {}
        self._due: Instant | None = None
        self._incoming = ReceiveStream()
        self._outgoing: SendStream[Operations | Changed] = SendStream()
        #: What the unacknowledged segments carry: [(sequence, operations)].
        self._sent: list[tuple[int, Operations]] = []
        self._announcement: Attach | None = None
        self._repeat_attach_at: Instant | None = None
        #: Answers that wait for what was written to be acknowledged: [(sequence or 0, request)].
        self.waiting_requests: list[tuple[int, RequestId]] = []

    @property
    def silent_since(self) -> WallMs | None:
        """Since when the first of those cannot be heard who may know better; None if all can."""
        if self.cut_off:
            return self.heard_wall
        return min((*self.reach.zones.values(), *self.reach.origins.values()), default=None)

    def silent(self) -> list[str]:
        """Zones, and replicas of other ones, that cannot be heard."""
        zones = self.reach.zones
        silent = [*zones, *(name_of(o) for o in self.reach.origins if zone_of(o) not in zones)]
        if self.cut_off:
            return sorted(dict.fromkeys([*silent, *self.candidates]))
        return list(dict.fromkeys(silent))

    def doubt(self, row: Row) -> WallMs | None:
        """The time of the last sign of a row whose home or holder cannot be heard."""
        if self.cut_off:
            return self.heard_wall
        reach = self.reach
        return reach.origins.get(NodeId(row.origin)) or reach.holders.get(NodeId(row.holder))

    # Gathering.

    def write(self, row: Row, due: Instant) -> None:
        """An entry changed."""
        self._rows.pop(row.key, None)
        self._rows[row.key] = row
        self._beaten.pop(row.key, None)
        self._want(due)

    def write_durable(self, row: Row, request: RequestId | None, due: Instant) -> None:
        """A user chose; `request` is answered when a replica has it."""
        self._durable[row.key] = row
        if request is not None:
            self.confirm(request, due)
        self._want(due)

    def dismiss(self, row: Row, request: RequestId, due: Instant) -> None:
        """Sessions are to end, wherever they are held."""
        self._dismissals[row.key] = row
        self.confirm(request, due)

    def confirm(self, request: RequestId, due: Instant) -> None:
        """`request` is answered when a replica has all that was written so far."""
        self.waiting_requests.append((0, request))
        self._want(due)

    def witness(self, which: int, rows: Iterable[Row], due: Instant) -> None:
        """The replica has not seen these stamped rows, which we have from another one."""
        self._witnessed[which].update((row.key, row) for row in rows)
        if self._witnessed[which]:
            self._want(due)

    def note_beaten(self, row: Row) -> None:
        """A row that beat one of ours, as its home stamped it."""
        self._beaten.pop(row.key, None)
        self._beaten[row.key] = row
        if len(self._beaten) > _BEATEN_MAX:
            del self._beaten[next(iter(self._beaten))]

    def take_news_of_vector(self) -> bool:
        """Whether this is the first that we hear of what the present replica has seen."""
        first, self._is_new = self._is_new, False
        return first

    def unacknowledged(self, key: Key) -> Row | None:
        """The newest version of a durable record that no replica has confirmed, if there is one."""
        if key in self._durable:
            return self._durable[key]
        for _, operations in reversed(self._sent):
            for row in operations.durable:
                if row.key == key:
                    return row
        return None

    def watch(self, topic: Topic, due: Instant) -> None:
        """A topic is wanted."""
        self._unwatch.pop(topic, None)
        self._watch[topic] = None
        self._want(due)

    def unwatch(self, topic: Topic, due: Instant) -> None:
        """A topic is no longer wanted."""
        self._watch.pop(topic, None)
        self._unwatch[topic] = None
        self._want(due)

    def ask_seen(self, due: Instant) -> None:
        """The replica shall say what it has seen, even if nothing that is watched has changed."""
        self._ask_seen = True
        self._want(due)

    def want_acknowledgement(self, due: Instant) -> None:
        """Something came in: answer by `due`."""
        self._want(due)

    def _want(self, due: Instant) -> None:
        if self._due is None:
            self._due = due

    # Attaching.

    def detach(self, now: Now) -> None:
        """The replica is lost: gather again what it has not acknowledged."""
        if self.lost_at is None:
            self.lost_at = now.instant
        self.worker = self.node = self._repeat_attach_at = self.attached_at = None
        self.attached = False
        for _, operations in reversed(self._sent):
            for row in operations.rows:
                self._rows.setdefault(row.key, row)
            for row in operations.durable:
                self._durable.setdefault(row.key, row)
            for row in operations.dismissals:
                self._dismissals.setdefault(row.key, row)
        self._sent = []
        if self._announcement is not None:
            # It was not answered: the ends in it may not have been heard of.
            for row in self._announcement.rows:
                if not row.live:
                    self._rows.setdefault(row.key, row)
            self._announcement = None
        self.waiting_requests = [(0, request) for _, request in self.waiting_requests]
        self._want(now.instant)

    def choose(self, worker: NodeName, node: NodeId) -> None:
        """Begins an attempt at this replica, under a new number."""
        self.worker, self.node = worker, node
        self.number += 1
        self.attached = False
        self._incoming, self._outgoing = ReceiveStream(), SendStream()
        self._witnessed = ({}, {})
        self._is_new = True

    def attach(
        self,
        gateway: NodeId,
        held: Iterable[Row],
        topics: list[Topic],
        unloaded: list[Topic],
        repeat_at: Instant,
    ) -> Attach:
        """The announcement: all that is held, and ends that may not have been heard of.

        Ends move on with what is held. The replica that was lost may have stamped the entry with a
        clock that is ahead of this one's, and would beat an end of the same epoch when it is heard
        again.

        With what beat entries that we gave up: to a replica that has not heard of it, they would
        look like left.
        """
        rows = {row.key: row for row in held}
        for key, row in self._rows.items():
            if not row.live:
                resume = epoch_resume(row.epoch)
                moved = entry_epoch(resume=resume, attachment=self.number)
                rows.setdefault(key, row._replace(epoch=max(row.epoch, moved)))
        self._rows = {}
        self._watch = dict.fromkeys(unloaded)
        self._unwatch = {}
        self._repeat_attach_at = repeat_at
        self._announcement = Attach(
            shard=self.shard,
            gateway=gateway,
            number=self.number,
            rows=Rows.of(rows.values()),
            topics=topics,
            cursors=self.vectors,
            beaten=Rows.of(row for key, row in self._beaten.items() if key not in rows),
        )
        return self._announcement

    def take_repeated_attach(self, now: Instant, *, repeat_at: Instant) -> Attach | None:
        """The same announcement again, if it was not answered in time.

        The same one: the replica may have taken the first, and then ignores the second. What came
        up since goes its own way behind it.
        """
        due = self._repeat_attach_at
        if self.attached or due is None or now < due:
            return None
        self._repeat_attach_at = repeat_at
        return self._announcement

    def note_attached(self, now: Now) -> None:
        """The replica answered the announcement."""
        self.attached, self.attached_at = True, now.instant
        self._announcement = self._repeat_attach_at = None
        self._want(now.instant)

    def hear(self, reach: Reach) -> None:
        """The replica says what it can hear of others, and whether it may vouch for absence.

        Only this ends the time without a replica. What another one said before it does not hold
        for this one, which may have started anew and know nothing.
        """
        self.reach = reach
        self.lost_at = None

    # The stream.

    def deadline(self) -> Instant | None:
        """When something is due."""
        if not self.attached:
            return self._repeat_attach_at
        due, repeat = self._due, self._outgoing.deadline()
        if due is None or self._outgoing.is_full:
            return repeat
        return due if repeat is None or due < repeat else repeat

    def receive(
        self, segment: Segment, repeat_at: Instant
    ) -> tuple[Changed | None, list[RequestId]]:
        """What a segment brings: changes in their order and once, and requests that are done."""
        done: list[RequestId] = []
        if self._outgoing.acknowledge(segment.ack, repeat_at=repeat_at):
            self._sent = [(number, body) for number, body in self._sent if number > segment.ack]
            done = [
                request for number, request in self.waiting_requests if 0 < number <= segment.ack
            ]
            self.waiting_requests = [
                (number, request)
                for number, request in self.waiting_requests
                if not 0 < number <= segment.ack
            ]
        body = segment.body
        if not isinstance(body, Changed) or not self._incoming.accept(segment.sequence):
            return None, done
        presence, durable = body.vectors
        ours = (without_dead(self.vectors[0], presence), without_dead(self.vectors[1], durable))
        self._behind = not (presence.dominates(ours[0]) and durable.dominates(ours[1]))
        if not self._behind and self._partial:
            # It has told all that it has seen of what it was asked for.
            self._partial = {t: at for t, at in self._partial.items() if at != self.number}
        self.vectors = (ours[0].merge(presence), ours[1].merge(durable))
        return body, done

    def note_loaded(self, topic: Topic, *, known: bool) -> None:
        """A topic came: of a `known` one the difference, but for those that may lack something."""
        if known and topic not in self._partial:
            return
        if self._behind:
            self._partial[topic] = self.number
        else:
            self._partial.pop(topic, None)

    def is_partial(self, topic: Topic) -> bool:
        """Whether a topic that was loaded may lack what our vectors cover: ask for all of it."""
        return topic in self._partial

    def take_segments(self, sender: NodeId, now: Instant, *, repeat_ms: int) -> list[Segment]:
        """What to send now."""
        if not self.attached:
            return []
        repeat_at = Instant(now + repeat_ms)
        segments = [
            self._segment(sender, sequence, body)
            for sequence, body in self._outgoing.take_due(now, repeat_at=repeat_at)
        ]
        if self._due is None or now < self._due:
            return segments
        gathered = (self._rows, self._durable, self._watch, self._unwatch, *self._witnessed)
        # What waits for an answer may be in the announcement, and that is acknowledged by this.
        asked = any(number == 0 for number, _ in self.waiting_requests)
        news = any(gathered) or bool(self._dismissals) or self._ask_seen or asked
        if self._outgoing.is_full or not news:
            if self._incoming.owes_acknowledgement:
                segments.append(self._segment(sender, self._outgoing.last, None))
            if not news:
                self._due = None
            return segments
        body = Operations(
            rows=Rows.of(self._rows.values()),
            durable=Rows.of(self._durable.values()),
            watch=list(self._watch),
            unwatch=list(self._unwatch),
            witnessed=Rows.of(self._witnessed[PRESENCE].values()),
            witnessed_durable=Rows.of(self._witnessed[DURABLE].values()),
            dismissals=Rows.of(self._dismissals.values()),
            ask_seen=self._ask_seen,
        )
        self._dismissals = {}
        self._witnessed, self._ask_seen = ({}, {}), False
        self._rows, self._durable, self._watch, self._unwatch = {}, {}, {}, {}
        self._due = None
        sequence = self._outgoing.push(body, repeat_at=repeat_at)
        self._sent.append((sequence, body))
        self.waiting_requests = [
            (number or sequence, request) for number, request in self.waiting_requests
        ]
        segments.append(self._segment(sender, sequence, body))
        return segments

    def _segment(self, sender: NodeId, sequence: int, body: Operations | Changed | None) -> Segment:
        ack = self._incoming.take_acknowledgement()
        receiver = self.node or NodeId("")
        return Segment(self.shard, sender, receiver, self.number, sequence, ack, body)
