"""When, with whom, how much: one map of one shard towards one peer, and what came back.

A *transfer* is stop-and-wait: a delta with rows goes out, and the next one only after its answer.
What changes meanwhile gathers in the change log, the newest version of each row. A delta that is
too large goes in parts: all but the last leave the vector where it is (new = base), and the last
carries everything up to the end of the log, so that its vector may be claimed. (Lowering the vector
of a truncated delta cannot be made right: a superseded stamp would be claimed and never sent.)

A delta names the life of the receiver that it was made for. A late last part must not count at a
receiver that has started anew and lacks the parts before it.

Rows name entries by their hashes. The full key goes along where the peer may lack it: of entries
that came here after the last transfer which the peer got to its end. (Not after the last part: an
old entry that changed late in the log comes with a later part, and may be news.) A peer that has
forgotten an entry refuses what it gets of it without the key, and then gets all keys again.

A promise, an empty delta towards our own newest vector, goes out when idle and is not answered.
Where both maps have no more to say than that, one message says it for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from crdt import CrdtError, LWWMap, Origin, PackedDelta, Stamp, VersionVector
from crdt.hlc import STAMP_MAX
from presence_actors.config import Knobs
from presence_actors.core.ids import NodeId, NodeName, ShardId, ZoneId, is_newer, name_of, zone_of
from presence_actors.core.instants import Instant, Now
from presence_actors.core.limits import GOSSIP_ROWS_MAX
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    GossipAck,
    GossipDelta,
    GossipPromise,
    HolderReport,
)
from presence_actors.core.renewal import Renewal

__all__ = ["Flow", "Gossip", "Peer"]

#: Transfers whose late answer still counts.
_UNANSWERED_MAX: Final = 16


def believed_of(source: LWWMap, withheld: frozenset[Origin]) -> VersionVector:
    """What we may claim to have seen of a map."""
    return source.vector.without(sorted(withheld)) if withheld else source.vector


class Flow:
    """What one life of a peer has of one of our maps."""

    __slots__ = (
        "_after",
        "_awaits",
        "_known",
        "_reached",
        "_repeat_at",
        "_withheld",
        "acked",
        "refused",
        "renewal",
        "synchronised",
        "transfer",
    )

    def __init__(self) -> None:
        #: What the peer says it has seen; None before it said anything.
        self.acked: VersionVector | None = None
        #: Whether we once had all that this peer had when it was ready.
        self.synchronised = False
        #: The number of the newest delta that wants an answer.
        self.transfer = 0
        #: The peer has every row of our log up to here.
        self._after = 0
        #: The peer knows every entry that was in our log up to here, whatever became of it since.
        self._known = 0
        #: Whether the answer to the newest delta is due.
        self._awaits = False
        #: {unanswered transfer: where in our log it ends, and whether that was all of the log}. A
        #: slow answer to an earlier one counts, or a link whose way back takes longer than we wait
        #: would never get beyond the first part.
        self._reached: dict[int, tuple[int, bool]] = {}
        self._repeat_at = Instant(0)
        #: Origins of which we told the peer nothing, since we have not heard them for too long.
        self._withheld: frozenset[Origin] = frozenset()
        #: For what the last delta of the peer was refused, if it was.
        self.refused: type[CrdtError] | None = None
        #: What came of origins that are replaced as a whole.
        self.renewal = Renewal()

    def note_seen(self, seen: VersionVector) -> None:
        """The peer told what it has seen.

        That shrinks in one life only by what the peer no longer counts or has forgotten: of that
        it may lack any row that we have, so all of our log is looked through again.
        """
        if self.acked is None:
            self.acked = seen
            return
        if not self.acked.origins() <= seen.origins():
            self._after = self._known = 0
            self.acked = self.acked.without(self.acked.origins() - seen.origins())
        self.acked = self.acked.merge(seen)

    def begin_again(self) -> None:
        """The peer refused: what it is thought to have, it may lack."""
        self._after, self._known, self._reached, self._awaits = 0, 0, {}, False

    def note_answer(self, transfer: int, *, accepted: bool) -> bool:
        """The peer answered a delta; whether it was an unanswered one."""
        reached = self._reached.get(transfer)
        if reached is None:
            return False
        position, complete = reached
        self._awaits = False
        self._reached = {later: at for later, at in self._reached.items() if later > transfer}
        if accepted:
            self._after = max(self._after, position)
            if complete:
                self._known = max(self._known, position)
        return True

    def break_off(self) -> None:
        """The peer fell silent: do not wait for its answer, begin again when it is heard."""
        self._awaits = False

    def lags(self, source: LWWMap) -> bool:
        """Whether there may be rows that the peer lacks."""
        return self._after < source.log_position

    def next_delta(
        self,
        source: LWWMap,
        withheld: frozenset[Origin],
        *,
        clock: Stamp,
        now: Instant,
        repeat_at: Instant,
        greet: bool,
    ) -> tuple[PackedDelta, int, tuple[int, int]] | None:
        """What to send now, its transfer number, and where in our log its rows are.

        Number 0 is a promise that wants no answer. None while an answer is awaited. With `greet`,
        or while we know nothing of the peer, it is an empty delta that only shows that we live.
        Nothing is said of origins that are `withheld`.
        """
        if self.acked is None or greet:
            return PackedDelta.nothing(clock), 0, (0, 0)
        if self._awaits and now < self._repeat_at:
            return None
        seen = self.acked
        if self._withheld - withheld:
            # Of an origin that is heard again the peer has been told nothing.
            self._after = self._known = 0
        self._withheld = withheld
        if withheld:
            seen = seen.merge(VersionVector(dict.fromkeys(sorted(withheld), Stamp(STAMP_MAX))))
        after = self._after
        rows, reached, complete = source.columns.missing(
            seen, after=after, limit=GOSSIP_ROWS_MAX, known=self._known
        )
        new = believed_of(source, withheld) if complete else self.acked
        delta = PackedDelta(self.acked, new, rows, clock)
        if len(rows) == 0 and complete:
            self._awaits, self._reached = False, {}
            self._after = self._known = reached
            return delta, 0, (after, reached)
        self.transfer += 1
        self._awaits, self._repeat_at = True, repeat_at
        self._reached[self.transfer] = reached, complete
        if len(self._reached) > _UNANSWERED_MAX:
            del self._reached[min(self._reached)]
        return delta, self.transfer, (after, reached)


class Peer:
    """Another replica of the same shard."""

    __slots__ = ("flows", "heard", "is_eager", "node", "ready")

    def __init__(self) -> None:
        #: Its present life; None before it was heard.
        self.node: NodeId | None = None
        self.heard: Instant | None = None
        self.ready = False
        #: Whether it has just answered a delta, and may lack more.
        self.is_eager = False
        self.flows = (Flow(), Flow())

    def note(self, node: NodeId, now: Instant, *, ready: bool) -> None:
        """It was heard; a new life knows nothing of what the old one was told."""
        if node != self.node:
            self.node = node
            self.flows = (Flow(), Flow())
        self.heard = now
        self.ready = ready

    def is_silent(self, now: Instant, after_ms: int) -> bool:
        """Whether nothing was heard of it for `after_ms`, or ever."""
        return self.heard is None or now - self.heard >= after_ms


class Gossip:
    """All peers of one replica, and when they are due.

    A round is due `gossip_interval_ms` after a change, and `gossip_idle_ms` after the last promise
    at the latest. Peers that are silent get greetings only. Between two zones only the bridges
    speak: the replicas with the smallest name of those that live; the others hear it from them.
    """

    def __init__(self, node: NodeId, shard: ShardId, knobs: Knobs, now: Now) -> None:
        self._node = node
        self._shard = shard
        self._knobs = knobs
        #: The other replicas of the shard, in all zones.
        self._peers: dict[NodeName, Peer] = {}
        self._zone = zone_of(node)
        #: Those of our own zone, and those of each other one; each in the order of names.
        self._near: list[tuple[NodeName, Peer]] = []
        self._far: dict[ZoneId, list[tuple[NodeName, Peer]]] = {}
        self.next_round = now.instant
        self._next_promise = now.instant

    def __iter__(self) -> Iterator[tuple[NodeName, Peer]]:
        return iter(self._peers.items())

    def note_peers(self, names: Iterable[NodeName], now: Now) -> None:
        """The other replicas of the shard are these now."""
        self._peers = {name: self._peers.get(name) or Peer() for name in sorted(names)}
        self._near, self._far = [], {}
        for name, peer in self._peers.items():
            zone = zone_of(name)
            here = self._near if zone == self._zone else self._far.setdefault(zone, [])
            here.append((name, peer))
        self.next_round = now.instant

    def want_round(self, now: Now) -> None:
        """Something changed that peers lack."""
        soon = Instant(now.instant + self._knobs.gossip_interval_ms)
        self.next_round = min(self.next_round, soon)

    def is_idle_round(self, now: Now) -> bool:
        """Whether it is time for promises to all; if so, the next time is set."""
        idle = now.instant >= self._next_promise
        if idle:
            self._next_promise = Instant(now.instant + self._knobs.gossip_idle_ms)
        self.next_round = self._next_promise
        return idle

    def heed(self, node: NodeId, now: Now, *, ready: bool) -> Peer | None:
        """The peer that speaks, unless it is a stranger or an old life of one."""
        peer = self._peers.get(name_of(node))
        if peer is None:
            return None
        late = peer.node is not None and is_newer(peer.node, node)
        # One that speaks while the other is silent is no late word of an old life: the clock of
        # the new life's machine is behind.
        if late and not peer.is_silent(now.instant, self._knobs.peer_silence_ms):
            return None
        if peer.node != node:
            self.want_round(now)
        peer.note(node, now.instant, ready=ready)
        return peer

    def note_ack(self, message: GossipAck, now: Now) -> None:
        """A peer answered a delta."""
        peer = self._peers.get(name_of(message.sender))
        if peer is None or message.sender != peer.node or message.receiver != self._node:
            return
        peer.heard = now.instant
        flow = peer.flows[message.map]
        flow.note_seen(message.seen)
        if not message.accepted:
            flow.begin_again()
        if flow.note_answer(message.transfer, accepted=message.accepted) and message.accepted:
            peer.is_eager = True
            self.want_round(now)

    def is_bridge(self, now: Now) -> bool:
        """Whether we speak for our zone to others: the smallest name of those that live does."""
        return not any(
            name < name_of(self._node) and not peer.is_silent(now.instant, self._silence_ms)
            for name, peer in self._near
        )

    def _spoken_to(self, now: Now) -> list[tuple[NodeName, Peer]]:
        """Peers of our zone; and, if we are the bridge, the bridge of each other one.

        While nobody of another zone is heard, all there are spoken to.
        """
        if not self._far or not self.is_bridge(now):
            return self._near
        spoken = list(self._near)
        for peers in self._far.values():
            heard = [
                (name, peer)
                for name, peer in peers
                if not peer.is_silent(now.instant, self._silence_ms)
            ]
            spoken.extend(heard[:1] or peers)
        return spoken

    @property
    def _silence_ms(self) -> int:
        return self._knobs.peer_silence_ms

    def silent_peers(self, now: Now) -> list[NodeName]:
        """Peers of whom nothing was heard for `peer_silence_ms`, or ever."""
        return [
            name
            for name, peer in self._peers.items()
            if peer.is_silent(now.instant, self._silence_ms)
        ]

    def all_started_anew(self) -> bool:
        """Whether every peer of our zone was heard and none may vouch for absence, or none is."""
        return all(peer.heard is not None and not peer.ready for _, peer in self._near)

    def round(
        self,
        maps: tuple[LWWMap, LWWMap],
        withheld: tuple[Iterable[Origin], Iterable[Origin]],
        clock: Stamp,
        holders: list[HolderReport],
        book: HolderBook,
        now: Now,
        *,
        idle: bool,
        ready: bool,
    ) -> list[tuple[NodeName, GossipDelta | GossipPromise]]:
        """To each peer what it lacks of either map, or a promise if it is time for one.

        Nobody is told of origins that are `withheld`: we may not speak for them. Of gateways we say
        in our zone what we hear ourselves (`holders`), as everybody there does. Another zone hears
        us alone, so there we say what all of our zone hear (`book`).
        """
        abroad = holders
        if self._far:
            abroad = book.summary([name_of(self._node), *(name for name, _ in self._near)])
        silenced = (frozenset(withheld[0]), frozenset(withheld[1]))
        believed = (believed_of(maps[0], silenced[0]), believed_of(maps[1], silenced[1]))
        repeat_at = Instant(now.instant + self._knobs.resend_ms)
        messages: list[tuple[NodeName, GossipDelta | GossipPromise]] = []
        for name, peer in self._spoken_to(now):
            quiet = peer.is_silent(now.instant, self._silence_ms)
            # Zones hear of each other at the idle pace, but a transfer goes on at once.
            urgent = zone_of(name) == self._zone or peer.is_eager
            peer.is_eager = False
            deltas: list[GossipDelta] = []
            for which, (flow, source) in enumerate(zip(peer.flows, maps, strict=True)):
                if not idle and (quiet or not urgent or not flow.lags(source)):
                    continue
                if quiet:
                    flow.break_off()
                step = flow.next_delta(
                    source,
                    silenced[which],
                    clock=clock,
                    now=now.instant,
                    repeat_at=repeat_at,
                    greet=quiet,
                )
                if step is None:
                    continue
                delta, transfer, stretch = step
                message = GossipDelta(
                    shard=self._shard,
                    sender=self._node,
                    receiver=None if quiet or flow.acked is None else peer.node,
                    map=which,
                    delta=delta,
                    transfer=transfer,
                    seen=believed[which],
                    ready=ready,
                    holders=holders if zone_of(name) == self._zone else abroad,
                    stretch=stretch,
                )
                deltas.append(message)
            messages.extend((name, message) for message in _in_one(deltas))
        return messages


def _in_one(deltas: list[GossipDelta]) -> Sequence[GossipDelta | GossipPromise]:
    """The deltas that go to a peer in one round; in one message if they only promise."""
    if len(deltas) < len((PRESENCE, DURABLE)):
        return deltas
    first, second = deltas
    # A number is given to what has rows, and to each part of it.
    if first.transfer or second.transfer or first.receiver != second.receiver:
        return deltas
    promise = GossipPromise(
        shard=first.shard,
        sender=first.sender,
        receiver=first.receiver,
        clock=first.delta.clock,
        bases=(first.delta.base, second.delta.base),
        seen=(first.seen, second.seen),
        stretches=(first.stretch, second.stretch),
        ready=first.ready,
        holders=first.holders,
    )
    return [promise]
