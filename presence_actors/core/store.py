"""What a replica knows: the two maps of a shard, one clock that stamps both, and who was heard.

Local writes and deltas from peers take the same road, `LWWMap.apply`; only its changes count.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from crdt import (
    BaseNotSeen,
    Changes,
    Delta,
    HybridClock,
    KeyHasher,
    LWWMap,
    Origin,
    Row,
    StampTooFar,
    VersionVector,
)
from crdt.hlc import stamp_wall
from presence_actors.core.ids import NodeId, NodeName, ZoneId, name_of, zone_of
from presence_actors.core.instants import Now, WallMs
from presence_actors.core.membership import HeardOrigins
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.errors import InvariantBroken

__all__ = ["ShardStore"]


class ShardStore:
    """The presence map and the durable map of one shard."""

    def __init__(self, node: NodeId, *, drift_ms_max: int) -> None:
        self._origin = Origin(node)
        self._drift_ms_max = drift_ms_max
        self.clock = HybridClock(drift_ms_max=drift_ms_max)
        # Clients choose keys: without a secret they could choose two with one hash. The hashes stay
        # in this process, since gossip carries full keys, so what is random in its id will do.
        hasher = KeyHasher(hashlib.blake2b(node.encode(), digest_size=32).digest())
        self.maps = (
            LWWMap(drift_ms_max=drift_ms_max, hasher=hasher),
            LWWMap(drift_ms_max=drift_ms_max, hasher=hasher),
        )
        self._heard = HeardOrigins(drift_ms_max=drift_ms_max)
        #: {origin: count of its live presence rows}.
        self._live_by_origin: Counter[str] = Counter()
        #: Deltas that were refused because their clock is too far ahead of ours.
        self.deltas_refused = 0

    @property
    def presence(self) -> LWWMap:
        """Entries."""
        return self.maps[PRESENCE]

    @property
    def durable(self) -> LWWMap:
        """Intents and last-seen records."""
        return self.maps[DURABLE]

    @property
    def vectors(self) -> tuple[VersionVector, VersionVector]:
        """What has been seen of both maps."""
        return (self.presence.vector, self.durable.vector)

    def origins(self) -> list[Origin]:
        """Origins with live entries, sorted."""
        return [Origin(origin) for origin in sorted(self._live_by_origin)]

    def is_clock_usable(self, now: Now) -> bool:
        """Whether our wall clock is near enough to what we have seen for stamping.

        By a millisecond more than the bound: what is stamped now must stay within it, and may
        carry into the next millisecond.
        """
        return stamp_wall(self.clock.last) < now.wall + self._drift_ms_max

    def is_silent(self, origin: Origin, now: Now, *, after_ms: int) -> bool:
        """Whether nothing was heard of an origin for so long."""
        return self._heard.is_silent(origin, now, after_ms=after_ms)

    def silent_origins(
        self, peers: Collection[NodeId], now: Now, *, after_ms: int
    ) -> dict[NodeId, WallMs]:
        """Who was not heard for so long, each with its last word: origins of live entries, peers.

        A silent peer counts even if it has no entry here: it may have taken some in since.
        """
        vector = self.presence.vector
        for node in peers:
            self._heard.meet(Origin(node), now)
        heard = {
            name_of(origin)
            for origin, _ in vector.items()
            if not self._heard.is_silent(origin, now, after_ms=after_ms)
        }
        # Of a peer whose new life is heard by way of others, the old one need not be waited for.
        expected = [Origin(node) for node in peers if name_of(node) not in heard]
        return {
            NodeId(origin): WallMs(stamp_wall(vector[origin]))
            for origin in sorted({*self.origins(), *expected})
            if origin != self._origin and self._heard.is_silent(origin, now, after_ms=after_ms)
        }

    def silent_zones(
        self, zones: Iterable[ZoneId], now: Now, *, after_ms: int, since: WallMs
    ) -> dict[ZoneId, WallMs]:
        """Zones of which no origin was heard for so long, with their last word; `since` if none."""
        vector = self.presence.vector
        silent: dict[ZoneId, WallMs] = {}
        for zone in zones:
            origins = [
                (origin, stamp) for origin, stamp in vector.items() if zone_of(origin) == zone
            ]
            if all(self._heard.is_silent(origin, now, after_ms=after_ms) for origin, _ in origins):
                last = max((stamp_wall(stamp) for _, stamp in origins), default=since)
                silent[zone] = WallMs(last)
        return silent

    def word_age_ms(self, name: NodeName, now: Now) -> int | None:
        """How old what we know of a replica's writes may be; None if it was never heard.

        Its latest life counts; the word may have come by way of others.
        """
        stamps = {o: stamp for o, stamp in self.presence.vector.items() if name_of(o) == name}
        if not stamps:
            return None
        return max(0, now.wall - stamp_wall(stamps[max(stamps)]))

    # Changing it.

    def write(self, which: int, rows: Sequence[Row], now: Now) -> Changes | None:
        """Stamps rows as ours, of each key the last one.

        None if there are none, or if our clock is so far behind that it must not stamp.
        """
        newest: dict[tuple[str, str, str], Row] = {}
        for row in rows:
            newest.pop(row.key, None)
            newest[row.key] = row
        batch = list(newest.values())
        if not batch or not self.is_clock_usable(now):
            return None
        delta = self.maps[which].put(
            keys=[row.key for row in batch],
            epochs=[row.epoch for row in batch],
            statuses=[row.status for row in batch],
            holders=[row.holder for row in batch],
            values=[row.value for row in batch],
            origin=self._origin,
            stamps=self.clock.tick_many(now.wall, len(batch)),
        )
        return self._apply(which, delta, now)

    def merge(self, which: int, delta: Delta, now: Now) -> Changes | None:
        """Takes in what a peer sent; None if it was refused: nothing has changed then."""
        try:
            self.clock.observe(delta.clock, now.wall)
            return self._apply(which, delta, now)
        except BaseNotSeen:
            return None
        except StampTooFar:
            self.deltas_refused += 1
            return None

    def promise(self, now: Now) -> None:
        """We shall never write at or below this: it makes our silence tell."""
        if not self.is_clock_usable(now):
            return
        stamp = self.clock.promise(now.wall)
        for which, source in enumerate(self.maps):
            self._apply(which, source.promise(self._origin, stamp), now)

    def _apply(self, which: int, delta: Delta, now: Now) -> Changes:
        source = self.maps[which]
        before = source.vector
        changes = source.apply(delta, wall_ms=now.wall)
        if which == PRESENCE:
            self._heard.note(before, delta.new, now)
            if changes.previous:
                for row, previous in zip(changes.rows, changes.previous, strict=True):
                    self._count(row, previous)
        return changes

    def _count(self, row: Row, previous: Row | None) -> None:
        if previous is not None and previous.live:
            self._live_by_origin[previous.origin] -= 1
            if not self._live_by_origin[previous.origin]:
                del self._live_by_origin[previous.origin]
        if row.live:
            self._live_by_origin[row.origin] += 1

    def check(self) -> None:
        """Raises `InvariantBroken` if the parts contradict each other."""
        live = Counter(self.presence.live_rows().origins)
        if live != self._live_by_origin:
            raise InvariantBroken(f"{self._origin}: {live} live rows by origin counted")
        if self.clock.last < self.presence.vector[self._origin]:
            raise InvariantBroken(f"{self._origin}: the clock is behind its own stamps")
