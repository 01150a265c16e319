"""One replica of one shard: the map, its gossip, and the gateways attached to it.

The way of a change: a gateway's `Operations` are stamped here, go through `LWWMap.apply` like any
delta, and what really changed feeds the change log (gossip) and the attachments (fan-out). A delta
from a peer takes the same road behind its stamp.

Who may say what (numbers as in ARCHITECTURE.md, invariants):

* Only its holder ends an entry. What this replica ends in somebody's place (a gateway long silent,
  an entry that an attached gateway does not know, an old life of this worker) carries the epoch of
  the row it ends and no holder, so a holder that lives refutes it with a greater move.
* A gateway that falls silent is `silent_at` + `grace_gateway_ms` long nobody's business. Then its
  entries end if a newer life of it was seen, else they are unreachable until `unreachable_ms_max`.
* A replica that has not synchronised since its start is not `ready` and vouches for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from crdt import (
    REMOVED,
    BaseNotSeen,
    Changes,
    Delta,
    HybridClock,
    LWWMap,
    Origin,
    Row,
    Rows,
    Stamp,
    StampTooFar,
    VersionVector,
    epoch_resume,
    pack_epoch,
)
from crdt.hlc import stamp_wall
from presence_actors.config import Knobs
from presence_actors.core.effects import ReplicaEffect, Send
from presence_actors.core.epochs import attachment_of
from presence_actors.core.events import (
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    ReplicaEvent,
)
from presence_actors.core.fanout import Attachment, Interest
from presence_actors.core.gossip import Peer
from presence_actors.core.ids import NodeId, NodeName, ShardId, is_newer, name_of
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.membership import GatewayLives, HeardOrigins, HolderBook
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attach,
    Attached,
    Beat,
    Detached,
    GossipAck,
    GossipDelta,
    HolderReport,
    Operations,
    PeerMessage,
    Reach,
    Segment,
)
from presence_actors.core.placement import replicas_of
from presence_actors.core.values import (
    INTENT_KEY,
    LAST_SEEN_KEY,
    EndValue,
    IntentStatus,
    LastSeenValue,
    LeaveReason,
    decode_intent,
    encode_value,
)
from presence_actors.core.views import PeerLag, ReplicaView
from presence_actors.errors import InvariantBroken

__all__ = ["ReplicaMachine"]

_GATEWAY_LOST = encode_value(EndValue(LeaveReason.GATEWAY_LOST))
_LEFT = encode_value(EndValue(LeaveReason.LEFT))


class ReplicaMachine:
    """Decides for one replica of one shard; never acts."""

    def __init__(
        self, node: NodeId, shard: ShardId, *, replicas: int, knobs: Knobs, first: bool, now: Now
    ) -> None:
        self._node = node
        self._origin = Origin(node)
        self._shard = shard
        self._replicas = replicas
        self._knobs = knobs
        self._clock = HybridClock(drift_ms_max=knobs.drift_ms_max)
        self._maps = (
            LWWMap(drift_ms_max=knobs.drift_ms_max),
            LWWMap(drift_ms_max=knobs.drift_ms_max),
        )
        self._peers: dict[NodeName, Peer] = {}
        self._attachments: dict[NodeId, Attachment] = {}
        self._interest = Interest()
        self._heard = HeardOrigins(drift_ms_max=knobs.drift_ms_max)
        self._holders = HolderBook()
        self._lives = GatewayLives()
        #: {origin: count of its live presence rows}.
        self._live_by_origin: Counter[str] = Counter()
        self._reach = Reach(ready=first, origins={}, holders={})
        self._started = now.instant
        self._ready_at: Instant | None = now.instant if first else None
        self._now = now
        self._next_round = now.instant
        self._next_promise = now.instant
        self._deltas_refused = 0
        self._out: list[ReplicaEffect] = []

    # The contract.

    def handle(self, event: ReplicaEvent, now: Now) -> list[ReplicaEffect]:
        """Takes in one event; what is to be done about it."""
        self._now = now
        match event:
            case MessagesReceived(sender=sender, messages=messages):
                for message in messages:
                    self._on_message(sender, message)
            case ClusterChanged():
                self._on_cluster(event)
            case DeadlineReached():
                pass
        self._run_due()
        out, self._out = self._out, []
        return out

    def deadline(self) -> Instant | None:
        """The next gossip round or flush."""
        instants = [self._next_round]
        for attachment in self._attachments.values():
            instant = attachment.deadline()
            if instant is not None:
                instants.append(instant)
        return min(instants)

    def check(self) -> None:
        """Raises `InvariantBroken` if the parts contradict each other."""
        live = Counter(row.origin for row in self._maps[PRESENCE].live_rows())
        if live != +self._live_by_origin:
            raise InvariantBroken(f"shard {self._shard}: {live} live rows by origin counted")
        for attachment in self._attachments.values():
            for key in attachment.keys:
                if self._maps[PRESENCE].get(key) is None:
                    raise InvariantBroken(f"shard {self._shard}: announced {key} is not in the map")
        if self._clock.last < self._maps[PRESENCE].vector[self._origin]:
            raise InvariantBroken(f"{self._node}: the clock is behind its own stamps")

    def inspect(self) -> ReplicaView:
        """A picture for people and metrics."""
        presence = self._maps[PRESENCE]
        return ReplicaView(
            shard=self._shard,
            ready=self.is_ready,
            entries=len(presence),
            rows=presence.rows_total,
            durable=len(self._maps[DURABLE]),
            topics_watched=len(self._interest),
            gateways=[
                HolderReport(gateway, _wall(attachment.silent_since))
                for gateway, attachment in sorted(self._attachments.items())
            ],
            peers=[
                PeerLag(
                    name=name,
                    node=peer.node,
                    ready=peer.ready,
                    lag_ms=self._lag_ms(peer),
                )
                for name, peer in sorted(self._peers.items())
            ],
            digest=presence.digest().hex(),
            deltas_refused=self._deltas_refused,
        )

    @property
    def is_ready(self) -> bool:
        """Whether this replica may vouch for absence."""
        return self._ready_at is not None

    def maps(self) -> tuple[LWWMap, LWWMap]:
        """The two maps, to be read by checkers and tests."""
        return self._maps

    # Events.

    def _on_cluster(self, event: ClusterChanged) -> None:
        names = replicas_of(self._shard, event.workers, replicas=self._replicas)
        mine = name_of(self._node)
        self._peers = {
            name: self._peers.get(name) or Peer() for name in sorted(names) if name != mine
        }
        self._next_round = self._now.instant

    def _on_message(self, sender: NodeId, message: PeerMessage) -> None:
        match message:
            case GossipDelta():
                self._on_delta(message)
            case GossipAck():
                self._on_ack(message)
            case Beat():
                self._on_beat(message)
            case Attach():
                self._on_attach(message)
            case Segment():
                self._on_segment(sender, message)
            case _:
                pass  # For a gateway; a peer of another mind does no harm.

    # Gossip.

    def _on_delta(self, message: GossipDelta) -> None:
        peer = self._heed(message.sender, ready=message.ready)
        if peer is None or message.receiver not in (None, self._node):
            return
        self._holders.note(name_of(message.sender), message.holders)
        for report in message.holders:
            self._lives.note(report.gateway)
        peer.flows[message.map].note_seen(message.seen)
        accepted = self._merge(message.map, message.delta)
        if message.transfer or not accepted:
            self._send(
                name_of(message.sender),
                GossipAck(
                    shard=self._shard,
                    sender=self._node,
                    receiver=message.sender,
                    map=message.map,
                    transfer=message.transfer,
                    accepted=accepted,
                    seen=self._maps[message.map].vector,
                ),
            )
        if message.ready and accepted and message.receiver is not None:
            self._note_synchronised(peer, message)

    def _on_ack(self, message: GossipAck) -> None:
        peer = self._peers.get(name_of(message.sender))
        if peer is None or message.sender != peer.node or message.receiver != self._node:
            return
        peer.heard = self._now.instant
        flow = peer.flows[message.map]
        flow.note_seen(message.seen)
        if flow.note_answer(message.transfer, accepted=message.accepted) and message.accepted:
            self._want_round()

    def _heed(self, node: NodeId, *, ready: bool) -> Peer | None:
        """The peer that speaks, unless it is a stranger or an old life of one."""
        peer = self._peers.get(name_of(node))
        if peer is None or (peer.node is not None and is_newer(peer.node, node)):
            return None
        fresh = peer.node != node
        peer.note(node, self._now.instant, ready=ready)
        if fresh:
            self._want_round()
        return peer

    def _merge(self, which: int, delta: Delta) -> bool:
        source = self._maps[which]
        before = source.vector
        try:
            self._clock.observe(delta.clock, self._now.wall)
            changes = source.apply(delta, wall_ms=self._now.wall)
        except BaseNotSeen:
            return False
        except StampTooFar:
            self._deltas_refused += 1
            return False
        if which == PRESENCE:
            self._heard.note(before, source.vector, self._now)
        self._after_apply(which, changes)
        return True

    def _note_synchronised(self, peer: Peer, message: GossipDelta) -> None:
        """Ready is who has all that a ready peer has had, in both maps."""
        if self.is_ready:
            return
        if message.map == PRESENCE and not self._maps[PRESENCE].vector.dominates(message.seen):
            return
        peer.flows[message.map].synchronised = True
        if all(flow.synchronised for flow in peer.flows):
            self._become_ready()

    def _become_ready(self) -> None:
        self._ready_at = self._now.instant
        self._want_round()

    # Gateways.

    def _on_beat(self, message: Beat) -> None:
        self._lives.note(message.gateway)
        number = message.attachments.get(self._shard)
        attachment = self._attachments.get(message.gateway)
        if attachment is None or attachment.number != number or message.worker != self._node:
            if number is not None and (attachment is None or attachment.number <= number):
                self._send(name_of(message.gateway), Detached(self._shard, self._node, number))
            return
        self._renew(attachment)

    def _renew(self, attachment: Attachment) -> None:
        attachment.heard = self._now.instant
        if attachment.silent_at is not None:
            attachment.silent_at = attachment.silent_since = None

    def _on_attach(self, message: Attach) -> None:
        gateway = message.gateway
        self._lives.note(gateway)
        held = self._attachments.get(gateway)
        if (held is not None and held.number > message.number) or not self._clock_is_usable():
            return
        if held is None or held.number < message.number:
            if held is not None:
                self._forget(held)
            attachment = Attachment(gateway, message.number, self._now.instant)
            self._attachments[gateway] = attachment
            for key in message.rows.keys:
                attachment.keys[key] = None
            due = self._flush_due()
            for topic in message.topics:
                self._interest.add(topic, gateway)
            self._write_entries(attachment, message.rows)
            for row in self._maps[PRESENCE].holder_rows(gateway):
                if row.key not in attachment.keys:
                    self._end(row, _LEFT)
            for topic in message.topics:
                attachment.gather_topic(topic, self._maps, message.cursors, due)
            attachment.gather_reach(self._reach, due)
        else:
            self._renew(held)
        self._send(name_of(gateway), Attached(self._shard, self._node, message.number))

    def _on_segment(self, sender: NodeId, message: Segment) -> None:
        attachment = self._attachments.get(sender)
        if attachment is None or attachment.number != message.number:
            if attachment is None or attachment.number < message.number:
                self._send(name_of(sender), Detached(self._shard, self._node, message.number))
            return
        self._renew(attachment)
        attachment.outgoing.acknowledge(message.ack, repeat_at=self._repeat_at())
        body = message.body
        if body is None or not isinstance(body, Operations) or not self._clock_is_usable():
            return
        if attachment.incoming.accept(message.sequence):
            self._operate(attachment, body)
        attachment.want_acknowledgement(self._flush_due())

    def _operate(self, attachment: Attachment, body: Operations) -> None:
        self._write_entries(attachment, body.rows)
        self._write_intents(body.durable)
        due = self._flush_due()
        for topic in body.watch:
            self._interest.add(topic, attachment.gateway)
            attachment.gather_topic(topic, self._maps, (VersionVector(), VersionVector()), due)
        for topic in body.unwatch:
            self._interest.discard(topic, attachment.gateway)
            attachment.topics.pop(topic, None)

    def _forget(self, attachment: Attachment) -> None:
        for topic in attachment.topics:
            self._interest.discard(topic, attachment.gateway)
        del self._attachments[attachment.gateway]

    # Writing.

    def _clock_is_usable(self) -> bool:
        """Whether our wall clock is near enough to what we have seen for stamping."""
        return stamp_wall(self._clock.last) <= self._now.wall + self._knobs.drift_ms_max

    def _write_entries(self, attachment: Attachment, rows: Rows) -> None:
        """Stamps what the holder wrote; refuses what came too late, and says what beat it."""
        presence = self._maps[PRESENCE]
        accepted: list[Row] = []
        for row in rows:
            held = presence.get(row.key)
            if row.live:
                attachment.keys[row.key] = None
            else:
                attachment.keys.pop(row.key, None)
                if held is None or not held.live:
                    continue
            if held is not None and (
                row.epoch < held.epoch or (row.epoch == held.epoch and not held.live)
            ):
                attachment.keys.pop(row.key, None)
                if row.live:
                    attachment.gather_defeat(held, self._flush_due())
                continue
            accepted.append(row)
        self._write(PRESENCE, accepted)
        self._note_last_seen([row for row in accepted if not row.live])

    def _write_intents(self, rows: Rows) -> None:
        """Stamps what users chose.

        `invisible` takes the epoch it saw + 1, any other choice the epoch it saw, so of two
        concurrent choices the private one wins.
        """
        durable = self._maps[DURABLE]
        written: list[Row] = []
        for row in rows:
            held = durable.get(row.key)
            turn = 0 if held is None else epoch_resume(held.epoch)
            if row.key[2] == INTENT_KEY:
                private = decode_intent(row.value).status == IntentStatus.INVISIBLE
                turn += int(private)
            written.append(row._replace(epoch=pack_epoch(turn, 0)))
        self._write(DURABLE, written)

    def _note_last_seen(self, ended: Sequence[Row]) -> None:
        """The last device of a user went: remember when."""
        presence = self._maps[PRESENCE]
        topics = dict.fromkeys(
            row.key[:2] for row in ended if row.key[0].endswith(f"/user:{row.key[1]}")
        )
        value = encode_value(LastSeenValue(self._now.wall))
        self._write(
            DURABLE,
            [
                Row((topic, user, LAST_SEEN_KEY), Stamp(0), self._origin, 0, 1, "", value)
                for topic, user in topics
                if len(presence.topic_rows(topic)) == 0
            ],
        )

    def _end(self, row: Row, value: bytes) -> None:
        """Ends an entry in its holder's place: same epoch, no holder."""
        self._write(PRESENCE, [row._replace(status=REMOVED, holder="", value=value)])
        self._note_last_seen([row])

    def _write(self, which: int, rows: Sequence[Row]) -> None:
        if not rows:
            return
        source = self._maps[which]
        newest: dict[tuple[str, str, str], Row] = {}
        for row in rows:
            newest.pop(row.key, None)
            newest[row.key] = row
        batch = list(newest.values())
        before = source.vector
        delta = source.put(
            keys=[row.key for row in batch],
            epochs=[row.epoch for row in batch],
            statuses=[row.status for row in batch],
            holders=[row.holder for row in batch],
            values=[row.value for row in batch],
            origin=self._origin,
            stamps=self._clock.tick_many(self._now.wall, len(batch)),
        )
        changes = source.apply(delta, wall_ms=max(self._now.wall, stamp_wall(self._clock.last)))
        if which == PRESENCE:
            self._heard.note(before, source.vector, self._now)
        self._after_apply(which, changes)

    def _after_apply(self, which: int, changes: Changes) -> None:
        """What really changed feeds fan-out, the notices of defeat, and the next round."""
        if len(changes) == 0:
            return
        due = self._flush_due()
        orphans: list[Row] = []
        for row, previous in zip(changes.rows, changes.previous, strict=True):
            for gateway in self._interest.of(row.key[0]):
                self._attachments[gateway].gather(which, row, due)
            if which == DURABLE:
                continue
            self._count(row, previous)
            if previous is not None and previous.live and previous.holder != row.holder:
                loser = self._attachments.get(NodeId(previous.holder))
                if loser is not None and row.key in loser.keys:
                    del loser.keys[row.key]
                    loser.gather_defeat(row, due)
            holder = self._attachments.get(NodeId(row.holder)) if row.live else None
            if holder is None or row.key in holder.keys:
                continue
            if attachment_of(row.epoch) > holder.number:
                # The gateway has attached elsewhere since: what it holds we no longer know.
                self._forget(holder)
            else:
                orphans.append(row)
        for row in orphans:
            self._end(row, _LEFT)
        self._want_round()

    def _count(self, row: Row, previous: Row | None) -> None:
        if previous is not None and previous.live:
            self._live_by_origin[previous.origin] -= 1
            if not self._live_by_origin[previous.origin]:
                del self._live_by_origin[previous.origin]
        if row.live:
            self._live_by_origin[row.origin] += 1

    # What falls due.

    def _run_due(self) -> None:
        now = self._now.instant
        if now >= self._next_round:
            self._round()
        for attachment in self._attachments.values():
            instant = attachment.deadline()
            if instant is not None and now >= instant:
                vectors = (self._maps[PRESENCE].vector, self._maps[DURABLE].vector)
                segments = attachment.take_segments(
                    self._shard, self._node, vectors, now, repeat_ms=self._knobs.resend_ms
                )
                if segments:
                    self._out.append(Send(name_of(attachment.gateway), list(segments)))

    def _want_round(self) -> None:
        soon = Instant(self._now.instant + self._knobs.gossip_interval_ms)
        self._next_round = min(self._next_round, soon)

    def _round(self) -> None:
        """One gossip round: to each peer what it lacks, or a promise when it is time for one."""
        now = self._now
        idle = now.instant >= self._next_promise
        if idle:
            self._next_promise = Instant(now.instant + self._knobs.gossip_idle_ms)
            self._promise()
            self._sweep()
        self._next_round = self._next_promise
        holders = [
            HolderReport(gateway, _wall(attachment.silent_since))
            for gateway, attachment in sorted(self._attachments.items())
        ]
        for name, peer in self._peers.items():
            quiet = peer.is_silent(now.instant, after_ms=self._knobs.peer_silence_ms)
            for which in (PRESENCE, DURABLE):
                flow = peer.flows[which]
                source = self._maps[which]
                if not idle and (quiet or not flow.lags(source)):
                    continue
                if quiet:
                    flow.break_off()
                step = flow.next_delta(
                    source,
                    clock=self._clock.last,
                    now=now.instant,
                    repeat_at=self._repeat_at(),
                    greet=quiet,
                )
                if step is None:
                    continue
                delta, transfer = step
                self._send(
                    name,
                    GossipDelta(
                        shard=self._shard,
                        sender=self._node,
                        receiver=None if quiet or flow.acked is None else peer.node,
                        map=which,
                        delta=delta,
                        transfer=transfer,
                        seen=source.vector,
                        ready=self.is_ready,
                        holders=holders,
                    ),
                )

    def _promise(self) -> None:
        """We shall never write at or below this: it makes our silence tell."""
        if not self._clock_is_usable():
            return
        stamp = self._clock.promise(self._now.wall)
        for which in (PRESENCE, DURABLE):
            source = self._maps[which]
            before = source.vector
            source.apply(
                source.promise(self._origin, stamp),
                wall_ms=max(self._now.wall, stamp_wall(stamp)),
            )
            if which == PRESENCE:
                self._heard.note(before, source.vector, self._now)

    def _sweep(self) -> None:
        """Leases of gateways, leftovers of our old lives, and who can be heard."""
        for name, peer in self._peers.items():
            if peer.is_silent(self._now.instant, after_ms=self._knobs.peer_silence_ms):
                self._holders.forget(name)
        self._sweep_gateways()
        self._sweep_old_lives()
        self._sweep_start()
        self._holders.note(
            name_of(self._node),
            [
                HolderReport(gateway, _wall(attachment.silent_since))
                for gateway, attachment in self._attachments.items()
            ],
        )
        reach = self._reach_now()
        if reach != self._reach:
            self._reach = reach
            due = self._flush_due()
            for attachment in self._attachments.values():
                attachment.gather_reach(reach, due)

    def _sweep_gateways(self) -> None:
        knobs, now = self._knobs, self._now
        for attachment in list(self._attachments.values()):
            if attachment.silent_at is None:
                silence = now.instant - attachment.heard
                if silence >= knobs.gateway_lease_ms:
                    attachment.silent_at = Instant(attachment.heard + knobs.gateway_lease_ms)
                    attachment.silent_since = WallMs(now.wall - silence)
                else:
                    continue
            silence = now.instant - attachment.silent_at
            dead = self._lives.is_dead(attachment.gateway)
            if silence >= (knobs.grace_gateway_ms if dead else knobs.unreachable_ms_max):
                self._forget(attachment)
                for row in self._maps[PRESENCE].holder_rows(attachment.gateway):
                    if row.origin == self._origin:
                        self._end(row, _GATEWAY_LOST)

    def _sweep_old_lives(self) -> None:
        """Entries stamped by an old life of this worker that no gateway announced again."""
        if self._ready_at is None:
            return
        age = self._now.instant - self._ready_at
        if age < self._knobs.grace_gateway_ms:
            return
        for origin in sorted(self._live_by_origin):
            if not is_newer(self._node, origin):
                continue
            for row in self._maps[PRESENCE].origin_rows(Origin(origin)):
                holder = NodeId(row.holder)
                dead = self._lives.is_dead(holder)
                if dead or (
                    age >= self._knobs.unreachable_ms_max and not self._holders.is_beating(holder)
                ):
                    self._end(row, _GATEWAY_LOST)

    def _sweep_start(self) -> None:
        """All replicas may have started together: the gateways' announcements are the truth."""
        if self.is_ready or self._now.instant - self._started < self._knobs.startup_grace_ms:
            return
        if all(peer.heard is not None and not peer.ready for peer in self._peers.values()):
            self._become_ready()

    def _reach_now(self) -> Reach:
        vector = self._maps[PRESENCE].vector
        knobs = self._knobs
        origins = {
            NodeId(origin): WallMs(stamp_wall(vector[Origin(origin)]))
            for origin in sorted(self._live_by_origin)
            if origin != self._node
            and self._heard.is_silent(
                Origin(origin), self._now, after_ms=knobs.unreachable_after_ms
            )
        }
        holders = {
            gateway: since
            for gateway, since in self._holders.silent().items()
            if self._now.wall - since >= knobs.gateway_lease_ms + knobs.grace_gateway_ms
        }
        return Reach(ready=self.is_ready, origins=origins, holders=holders)

    # Small things.

    def _send(self, to: NodeName, message: PeerMessage) -> None:
        self._out.append(Send(to, [message]))

    def _flush_due(self) -> Instant:
        return Instant(self._now.instant + self._knobs.flush_ms)

    def _repeat_at(self) -> Instant:
        return Instant(self._now.instant + self._knobs.resend_ms)

    def _lag_ms(self, peer: Peer) -> int | None:
        """How old what we know of the peer's writes may be."""
        if peer.node is None:
            return None
        stamp = self._maps[PRESENCE].vector[Origin(peer.node)]
        return max(0, self._now.wall - stamp_wall(stamp)) if stamp else None


def _wall(since: int | None) -> WallMs | None:
    return None if since is None else WallMs(since)
