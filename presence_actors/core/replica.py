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

from collections.abc import Sequence

from crdt import NO_CHANGES, REMOVED, Changes, KeyHasher, LWWMap, Row, Rows, VersionVector
from presence_actors.config import Knobs
from presence_actors.core.amnesty import Amnesty
from presence_actors.core.durable import choices, records_of_last_seen
from presence_actors.core.effects import ReplicaEffect, Report, Send
from presence_actors.core.epochs import attachment_of
from presence_actors.core.events import (
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    NoticeAnswered,
    ReplicaEvent,
)
from presence_actors.core.fanout import Attached, Attachment
from presence_actors.core.gossip import Flow, Gossip, Peer
from presence_actors.core.ids import NodeId, NodeName, ShardId, ZoneId, name_of
from presence_actors.core.instants import Instant, Now
from presence_actors.core.leftovers import Leftovers
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attach,
    Beat,
    Broadcasts,
    Detached,
    GossipAck,
    GossipDelta,
    GossipPromise,
    Operations,
    PeerMessage,
    Reach,
    Segment,
)
from presence_actors.core.messages import Attached as AttachedMessage
from presence_actors.core.news import MergedBatch, all_rows, news_of
from presence_actors.core.notices import Notices
from presence_actors.core.placement import replicas_of
from presence_actors.core.store import ShardStore, horizon_of
from presence_actors.core.values import (
    EndValue,
    LeaveReason,
    decode_end,
    encode_value,
    is_hidden,
    settle_status,
)
from presence_actors.core.views import PeerLag, ReplicaView
from presence_actors.errors import InvariantBroken

__all__ = ["ReplicaMachine"]

_GATEWAY_LOST = encode_value(EndValue(LeaveReason.GATEWAY_LOST))
_RETIRED = encode_value(EndValue(LeaveReason.RETIRED))
_LEFT = encode_value(EndValue(LeaveReason.LEFT))


class ReplicaMachine:
    """Decides for one replica of one shard; never acts."""

    def __init__(
        self,
        node: NodeId,
        shard: ShardId,
        *,
        replicas: int,
        knobs: Knobs,
        hasher: KeyHasher,
        first: bool,
        now: Now,
        speaks: bool = False,
    ) -> None:
        self._node = node
        self._shard = shard
        self._replicas = replicas
        self._knobs = knobs
        self._hasher = hasher
        self._store = ShardStore(node, horizon=horizon_of(knobs), hasher=hasher)
        #: What app servers are told; None if they are told nothing.
        self._notices = Notices(shard, self._store, knobs) if speaks else None
        self._gossip = Gossip(node, shard, knobs, now)
        self._attached = Attached(knobs)
        self._holders = HolderBook()
        self._leftovers = Leftovers(
            node,
            self._store,
            attached=self._attached,
            holders=self._holders,
            knobs=knobs,
            started=now.wall,
        )
        self._reach = Reach(ready=first, origins={}, holders={}, zones={})
        #: The other zones, and those that an operator has given up.
        self._zones: list[ZoneId] = []
        self._retired: list[ZoneId] = []
        self._amnesty = Amnesty(now.instant, stall_ms=knobs.stall_ms, span_ms=knobs.gateway_beat_ms)
        self._started = now.instant
        #: {key: value of its end}: entries that no gateway knows, while our clock may not stamp.
        self._owed: dict[tuple[str, str, str], bytes] = {}
        self._ready_at: Instant | None = now.instant if first else None
        #: When to look for what may be forgotten.
        self._next_forgetting = self._due = now.instant
        self._now = now
        self._out: list[ReplicaEffect] = []

    # The contract.

    def handle(self, event: ReplicaEvent, now: Now) -> list[ReplicaEffect]:
        """Takes in one event; what is to be done about it."""
        self._now = now
        self._amnesty.note(due=self._gossip.next_round, now=now.instant)
        match event:
            case MessagesReceived(sender=sender, messages=messages):
                for message in messages:
                    self._on_message(sender, message)
            case ClusterChanged():
                self._on_cluster(event)
            case NoticeAnswered():
                if self._notices is not None:
                    self._notices.note_answer(event, self._now)
            case DeadlineReached():
                pass
        self._due = self._run_due()
        out, self._out = self._out, []
        return out

    def deadline(self) -> Instant:
        """The next gossip round or flush, or when to forget."""
        return self._due

    def check(self) -> None:
        """Raises `InvariantBroken` if the parts contradict each other."""
        self._store.check()
        known = self._store.presence.keys()
        for attachment in self._attached:
            for key in attachment.keys:
                if key not in known:
                    raise InvariantBroken(f"shard {self._shard}: announced {key} is not in the map")

    def inspect(self) -> ReplicaView:
        """A picture for people and metrics."""
        presence = self._store.presence
        return ReplicaView(
            shard=self._shard,
            ready=self.is_ready,
            entries=len(presence),
            rows=presence.rows_total,
            durable=len(self._store.durable),
            topics_watched=self._attached.topics_watched,
            gateways=self._attached.reports(),
            peers=self.peers(self._now),
            digest=presence.digest_of_live().hex(),
            origins=len(presence.vector),
            deltas_refused=self._store.deltas_refused,
            notices=None if self._notices is None else self._notices.inspect(),
        )

    def peers(self, now: Now) -> list[PeerLag]:
        """What is known of the other replicas of the shard."""
        return [
            PeerLag(
                name=name,
                node=peer.node,
                ready=peer.ready,
                lag_ms=self._store.word_age_ms(name, now),
            )
            for name, peer in self._gossip
        ]

    @property
    def shard(self) -> ShardId:
        """The shard that this is a replica of."""
        return self._shard

    @property
    def node(self) -> NodeId:
        """The process that it lives in."""
        return self._node

    @property
    def is_ready(self) -> bool:
        """Whether this replica may vouch for absence."""
        return self._ready_at is not None

    def may_serve(self, now: Now) -> bool:
        """Whether gateways should prefer this replica: it may vouch for absence, and may stamp."""
        return self.is_ready and self._store.is_clock_usable(now)

    def maps(self) -> tuple[LWWMap, LWWMap]:
        """The two maps, to be read by checkers and tests."""
        return self._store.maps

    # Events.

    def _on_cluster(self, event: ClusterChanged) -> None:
        mine = name_of(self._node)
        names = [
            name
            for workers in (event.workers, *event.zones.values())
            for name in replicas_of(self._shard, workers, replicas=self._replicas)
        ]
        self._gossip.note_peers((name for name in names if name != mine), self._now)
        self._zones = sorted(event.zones)
        self._retired = event.retired
        self._holders.keep_only(names)

    def _on_message(self, sender: NodeId, message: PeerMessage) -> None:
        match message:
            case GossipDelta() | GossipPromise():
                self._on_gossip(message)
            case GossipAck():
                self._gossip.note_ack(message, self._now)
            case Beat():
                self._on_beat(message)
            case Attach():
                self._on_attach(message)
            case Segment():
                self._on_segment(sender, message)
            case Broadcasts():
                self._on_broadcasts(sender, message)
            case _:
                pass  # For a gateway; a peer of another mind does no harm.

    # Gossip.

    def _on_gossip(self, message: GossipDelta | GossipPromise) -> None:
        peer = self._gossip.heed(message.sender, self._now, ready=message.ready)
        if peer is None or message.receiver not in (None, self._node):
            return
        if self._holders.note(name_of(message.sender), message.holders):
            for report in message.holders:
                self._attached.note_life(report.gateway)
        if isinstance(message, GossipDelta):
            self._take_delta(peer, message)
        else:
            for which in (PRESENCE, DURABLE):
                self._take_delta(peer, message.of(which))

    def _take_delta(self, peer: Peer, message: GossipDelta) -> None:
        flow = peer.flows[message.map]
        flow.note_seen(message.seen)
        refused_before = self._store.deltas_refused
        changes = self._store.merge(
            message.map,
            message.delta,
            self._now,
            told=message.seen,
            stretch=message.stretch,
            renewal=flow.renewal if message.receiver is not None else None,
        )
        if self._store.deltas_refused > refused_before:
            self._report_refusal(flow, message.sender)
        elif changes is not None:
            flow.refused = None
        if changes is not None:
            self._tell(message.map, changes)
        accepted = changes is not None
        if message.transfer or not accepted:
            answer = GossipAck(
                shard=self._shard,
                sender=self._node,
                receiver=message.sender,
                map=message.map,
                transfer=message.transfer,
                accepted=accepted,
                seen=self._store.believed(message.map, self._now),
            )
            self._send(name_of(message.sender), answer)
        if message.ready and accepted and message.receiver is not None:
            self._note_synchronised(peer, message)

    def _report_refusal(self, flow: Flow, sender: NodeId) -> None:
        """Tell of it when it begins; the peer repeats what we refuse."""
        error = self._store.refusal
        if error is None or flow.refused is type(error):
            return
        flow.refused = type(error)
        self._out.append(Report("DeltaRefused", sender, str(error)))

    def _note_synchronised(self, peer: Peer, message: GossipDelta) -> None:
        """Ready is who has all that a ready peer has had, in both maps."""
        if self.is_ready:
            return
        if not self._store.maps[message.map].vector.dominates(message.seen):
            return
        peer.flows[message.map].synchronised = True
        if all(flow.synchronised for flow in peer.flows):
            self._become_ready()

    def _become_ready(self) -> None:
        self._ready_at = self._now.instant
        if self._notices is not None:
            self._notices.note_all(self._now)
        self._gossip.want_round(self._now)

    # Gateways.

    def _on_beat(self, message: Beat) -> None:
        self._attached.note_life(message.gateway)
        number = message.attachments.get(self._shard)
        attachment = self._attached.get(message.gateway)
        if number is None or self._is_stale(attachment, number):
            return
        if attachment is None or attachment.number != number or message.worker != self._node:
            self._send(
                name_of(message.gateway), Detached(self._shard, self._node, message.gateway, number)
            )
        else:
            attachment.renew(self._now)

    def _is_stale(self, attachment: Attachment | None, number: int) -> bool:
        """Whether a message speaks of an attachment that a later one has replaced."""
        return attachment is not None and attachment.number > number

    def _on_attach(self, message: Attach) -> None:
        gateway = message.gateway
        self._attached.note_life(gateway)
        held = self._attached.get(gateway)
        if self._is_stale(held, message.number) or not self._store.is_clock_usable(self._now):
            return
        if held is None or held.number < message.number:
            if self._has_moved_on(message):
                self._send(
                    name_of(gateway), Detached(self._shard, self._node, gateway, message.number)
                )
                return
            self._take_announcement(message)
        else:
            held.renew(self._now)
        self._send(
            name_of(gateway), AttachedMessage(self._shard, self._node, gateway, message.number)
        )

    def _has_moved_on(self, message: Attach) -> bool:
        """Whether the announcement is so late that the gateway has attached elsewhere since.

        Its set is old then, and what is missing from it must not end.
        """
        rows = self._store.presence.holder_rows(message.gateway)
        return any(attachment_of(row.epoch) > message.number for row in rows)

    def _take_announcement(self, message: Attach) -> None:
        """The gateway's complete set: what it holds is written, what it does not know ends."""
        attachment = self._attached.add(message.gateway, message.number, self._now)
        for row in message.rows:
            if row.live:
                attachment.keys[row.key] = None
        for topic in message.topics:
            self._attached.watch(attachment, topic)
        self._write_entries(attachment, message.rows)
        if len(message.beaten):
            self._take_witnessed(PRESENCE, message.beaten)
        held = self._store.presence.holder_rows(message.gateway)
        self._end([row for row in held if row.key not in attachment.keys], _LEFT)
        due = self._flush_due()
        seen, choices_seen = message.cursors
        stale = self._store.is_stale(seen, self._now)
        cursors = (VersionVector() if stale else seen, choices_seen)
        for topic in message.topics:
            attachment.gather_topic(topic, self._store.maps, cursors, due, anew=stale)
        attachment.gather_reach(self._reach, due)

    def _on_segment(self, sender: NodeId, message: Segment) -> None:
        attachment = self._attached.get(sender)
        if self._is_stale(attachment, message.number):
            return
        if attachment is None or attachment.number != message.number:
            self._send(name_of(sender), Detached(self._shard, self._node, sender, message.number))
            return
        attachment.renew(self._now)
        attachment.outgoing.acknowledge(
            message.ack, repeat_at=Instant(self._now.instant + self._knobs.resend_ms)
        )
        body = message.body
        if not isinstance(body, Operations) or not self._store.is_clock_usable(self._now):
            return
        if attachment.incoming.accept(message.sequence):
            self._operate(attachment, body)
        attachment.want_acknowledgement(self._flush_due())

    def _operate(self, attachment: Attachment, body: Operations) -> None:
        if len(body.witnessed):
            self._take_witnessed(PRESENCE, body.witnessed)
        if len(body.witnessed_durable):
            self._take_witnessed(DURABLE, body.witnessed_durable)
        self._write_entries(attachment, body.rows)
        self._write(DURABLE, choices(self._store.durable, body.durable))
        self._write(PRESENCE, list(body.dismissals))
        due = self._flush_due()
        nothing = (VersionVector(), VersionVector())
        for topic in body.watch:
            self._attached.watch(attachment, topic)
            attachment.gather_topic(topic, self._store.maps, nothing, due)
        for topic in body.unwatch:
            self._attached.unwatch(attachment, topic)
        if body.ask_seen:
            attachment.gather_seen(due)

    def _take_witnessed(self, which: int, rows: Rows) -> None:
        """Rows alone: what else their home wrote, the gateway cannot know."""
        if which == PRESENCE:
            recent = [row for row in rows if not self._store.is_too_old_to_witness(row, self._now)]
            rows = Rows.of(recent)
        changes = self._store.witness(which, rows, self._now)
        if changes is not None:
            self._tell(which, changes)

    def _on_broadcasts(self, sender: NodeId, message: Broadcasts) -> None:
        """What clients say goes on to all gateways that watch the room, and leaves no trace.

        A gateway is attached to one replica, so it hears each once: from us if it is ours, or from
        the replica that we tell. Whatever its zone, since between workers each has its link.
        """
        names = [name for name, _ in self._gossip]
        if self._attached.get(sender) is not None:
            for name in names:
                self._send(name, message)
        elif name_of(sender) not in names:
            return
        for gateway, said in self._attached.hearers_of(message.said, besides=sender).items():
            self._send(name_of(gateway), Broadcasts(self._shard, said))

    # Writing.

    def _write_entries(self, attachment: Attachment, rows: Rows) -> None:
        """Stamps what the holder wrote; refuses what came too late, and says what beat it."""
        presence = self._store.presence
        accepted: list[Row] = []
        for row in rows:
            held = presence.get(row.key)
            if row.live:
                attachment.keys[row.key] = None
            else:
                attachment.keys.pop(row.key, None)
                if held is not None and not held.live:
                    continue
            if held is not None and (
                row.epoch < held.epoch or (row.epoch == held.epoch and not held.live)
            ):
                attachment.keys.pop(row.key, None)
                if row.live:
                    attachment.gather_defeat(held, self._flush_due())
                continue
            flags = None if held is None or not held.live else held.status
            accepted.append(row._replace(status=settle_status(row.status, flags)))
        self._write(PRESENCE, accepted)
        self._note_last_seen([row for row in accepted if not row.live])

    def _note_last_seen(self, ended: Sequence[Row]) -> None:
        """Devices of users went: remember when."""
        self._write(DURABLE, records_of_last_seen(self._store.durable, ended, self._now.wall))

    def _end(self, rows: Sequence[Row], value: bytes) -> None:
        """Ends entries in their holders' place: same epoch, no holder. All of a gateway at once."""
        if not rows:
            return
        if not self._store.is_clock_usable(self._now):
            self._owed.update((row.key, value) for row in rows)
            return
        hidden = encode_value(EndValue(decode_end(value).reason, hidden=True))
        ends = [
            row._replace(
                status=REMOVED, holder="", value=hidden if is_hidden(row.status) else value
            )
            for row in rows
        ]
        self._write(PRESENCE, ends)
        self._note_last_seen(rows)

    def _pay_owed(self) -> None:
        """Ends what had to wait until our clock could stamp, unless its holder knows it by now."""
        owed, self._owed = self._owed, {}
        for key, value in owed.items():
            row = self._store.presence.get(key)
            holder = None if row is None else self._attached.get(row.holder)
            if row is not None and row.live and holder is not None and key not in holder.keys:
                self._end([row], value)

    def _write(self, which: int, rows: Sequence[Row]) -> None:
        changes = self._store.write(which, rows, self._now) if rows else None
        if changes is not None:
            self._tell(which, changes)

    def _tell(self, which: int, changes: Changes | MergedBatch) -> None:
        """What really changed feeds fan-out, the notices of defeat, and the next round."""
        if changes is NO_CHANGES:
            return  # A promise, as most deltas are.
        batched = isinstance(changes, MergedBatch)
        news = news_of(changes, self._attached.audience(self._hasher) if batched else None)
        if news.gone:
            self._tell_gone(news.gone)
        if news.count == 0:
            return
        if self._notices is not None:
            self._notices.note(which, all_rows(changes), self._now)
        due = self._flush_due()
        orphans: list[Row] = []
        for row, previous_holder in zip(news.rows, news.losers, strict=True):
            for watcher in self._attached.watchers_of(row.key[0]):
                watcher.gather(which, row, due)
            if which == DURABLE:
                continue
            if previous_holder and previous_holder != row.holder:
                loser = self._attached.get(previous_holder)
                if loser is not None and row.key in loser.keys:
                    del loser.keys[row.key]
                    loser.gather_defeat(row, due)
            holder = self._attached.get(row.holder) if row.live else None
            if holder is None or row.key in holder.keys:
                continue
            if attachment_of(row.epoch) > holder.number:
                # The gateway has attached elsewhere since: what it holds we no longer know.
                self._attached.remove(holder.gateway)
            else:
                orphans.append(row)
        self._end(orphans, _LEFT)
        self._gossip.want_round(self._now)

    def _tell_gone(self, rows: Sequence[Row]) -> None:
        """Live rows that are no longer here, without an end that could be told."""
        due = self._flush_due()
        for row in rows:
            for watcher in self._attached.watchers_of(row.key[0]):
                watcher.gather_gone(row, due)

    # What falls due.

    def _run_due(self) -> Instant:
        """Does what is due; when something is due next."""
        now = self._now
        if now.instant >= self._next_forgetting:
            self._forget()
        if now.instant >= self._gossip.next_round:
            self._round()
        looks: Instant | None = None
        if self._notices is not None:
            self._out += self._notices.run_due(
                now,
                reach=self._reach,
                may_vouch=self.is_ready,
                speaks=self._gossip.is_bridge(now),
            )
            self._write(DURABLE, self._notices.take_told())
            looks = self._notices.deadline()
        earliest = min(self._gossip.next_round, self._next_forgetting)
        if looks is not None and looks < earliest:
            earliest = looks
        for attachment in self._attached:
            instant = attachment.deadline()
            if instant is None:
                continue
            if now.instant < instant:
                earliest = min(earliest, instant)
                continue
            segments = attachment.take_segments(
                self._shard,
                self._node,
                self._store.vectors,
                now.instant,
                repeat_ms=self._knobs.resend_ms,
            )
            if segments:
                self._out.append(Send(name_of(attachment.gateway), list(segments)))
            instant = attachment.deadline()
            if instant is not None and instant < earliest:
                earliest = instant
        return earliest

    def _forget(self) -> None:
        """A step of what the horizon allows to forget; at once the next if there is more."""
        peers = [peer.node for _, peer in self._gossip if peer.node is not None]
        gone, more = self._store.forget(self._now, peers=peers, retired=self._retired)
        self._tell_gone(list(gone))
        span = self._knobs.gossip_interval_ms if more else self._knobs.forget_interval_ms
        self._next_forgetting = Instant(self._now.instant + span)

    def _round(self) -> None:
        idle = self._gossip.is_idle_round(self._now)
        if idle:
            self._store.promise(self._now)
            if not self._amnesty.holds(self._now.instant):
                self._sweep()
        messages = self._gossip.round(
            self._store.maps,
            (self._store.beyond(PRESENCE, self._now), self._store.beyond(DURABLE, self._now)),
            self._store.clock.last,
            self._attached.reports(),
            self._holders,
            self._now,
            idle=idle,
            ready=self.is_ready,
        )
        for name, message in messages:
            self._send(name, message)

    def _sweep(self) -> None:
        """Leases of gateways, leftovers of our old lives, and who can be heard."""
        for name in self._gossip.silent_peers(self._now):
            self._holders.forget(name)
        may_stamp = self._store.is_clock_usable(self._now)
        if may_stamp:
            lives = self._leftovers.has_gone_on
            for gateway in self._attached.take_given_up(self._now, lives=lives):
                self._end(self._leftovers.of_gateway(gateway), _GATEWAY_LOST)
            self._pay_owed()
            self._end_leftovers()
        old_enough = self._now.instant - self._started >= self._knobs.startup_grace_ms
        if not self.is_ready and old_enough and self._gossip.all_started_anew():
            # All replicas have started together: the gateways' announcements are the truth.
            self._become_ready()
        self._holders.note(name_of(self._node), self._attached.reports())
        reach = self._leftovers.reach(
            self._now,
            ready=self.is_ready,
            peers=[peer.node for _, peer in self._gossip if peer.node is not None],
            zones=self._zones,
        )
        if reach != self._reach:
            self._reach = reach
            due = self._flush_due()
            for attachment in self._attached:
                attachment.gather_reach(reach, due)

    def _end_leftovers(self) -> None:
        """Entries of old lives of this worker; those of retired zones one replica sees to."""
        if self._ready_at is not None:
            ready_for_ms = self._now.instant - self._ready_at
            old = self._leftovers.of_old_lives(self._now, ready_for_ms=ready_for_ms)
            self._end(old, _GATEWAY_LOST)
        if self._retired and self._gossip.is_bridge(self._now):
            self._end(self._leftovers.of_zones(self._retired), _RETIRED)

    # Small things.

    def _send(self, to: NodeName, message: PeerMessage) -> None:
        self._out.append(Send(to, [message]))

    def _flush_due(self) -> Instant:
        return Instant(self._now.instant + self._knobs.flush_ms)
