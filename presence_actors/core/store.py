"""What a replica knows: the two maps of a shard, one clock that stamps both, and who was heard.

Local writes and deltas from peers take the same road, `LWWMap.apply`; only its changes count.

What may be forgotten is decided here, by the rules of `crdt.horizon`, and of the presence map only:
intents and last-seen records have no tombstones and are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np

from crdt import (
    BaseNotSeen,
    Changes,
    CrdtError,
    Delta,
    HybridClock,
    KeyHasher,
    KeysUnknown,
    LWWMap,
    Origin,
    PackedDelta,
    Row,
    Rows,
    Stamp,
    VersionVector,
)
from crdt.hlc import stamp_wall
from crdt.horizon import HeardOrigins, Horizon
from presence_actors.config import Knobs
from presence_actors.core.cursors import is_stale, lives_on
from presence_actors.core.ids import NodeId, NodeName, ZoneId, name_of, zone_of
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.limits import DROPPED_ROWS_MAX
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.news import MergedBatch
from presence_actors.core.renewal import NOTHING_REPLACED, Renewal, Replacing
from presence_actors.errors import InvariantBroken

__all__ = ["ShardStore", "horizon_of"]

_NOBODY: Final = VersionVector()
_NO_PLACES: Final = np.empty(0, dtype=np.int64)
#: Deltas of more rows are merged in columns: below, what a call on arrays costs is more than what
#: plain rows cost.
PLAIN_ROWS_MAX: Final = 12


def horizon_of(knobs: Knobs) -> Horizon:
    """The spans that decide what may be forgotten."""
    return Horizon(
        horizon_ms=knobs.horizon_ms,
        client_lease_ms=knobs.client_lease_ms,
        gateway_lease_ms=knobs.gateway_lease_ms,
        graces_ms=knobs.graces_ms,
        unreachable_ms_max=knobs.unreachable_ms_max,
        drift_ms_max=knobs.drift_ms_max,
        margin_ms=knobs.margin_ms,
    )


class ShardStore:
    """The presence map and the durable map of one shard."""

    def __init__(self, node: NodeId, *, horizon: Horizon, hasher: KeyHasher) -> None:
        self._origin = Origin(node)
        self._horizon = horizon
        self._drift_ms_max = drift_ms_max = horizon.drift_ms_max
        self.clock = HybridClock(drift_ms_max=drift_ms_max)
        self.maps = (
            LWWMap(drift_ms_max=drift_ms_max, hasher=hasher),
            LWWMap(drift_ms_max=drift_ms_max, hasher=hasher),
        )
        self._heard = HeardOrigins(horizon)
        #: {origin: count of its live presence rows}.
        self._live_by_origin: Counter[str] = Counter()
        #: {origin with live rows and no component: when who sent the first of them had heard it}.
        self._bare: dict[Origin, Instant] = {}
        #: Deltas that were refused for what a repeat cannot mend, and why the last one was: a clock
        #: too far ahead of ours, keys hashed under another secret, two keys with one hash.
        self.deltas_refused = 0
        self.refusal: CrdtError | None = None

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
        return self._heard.is_silent(origin, instant_ms=now.instant, after_ms=after_ms)

    # The horizon.

    def beyond(self, which: int, now: Now) -> list[Origin]:
        """Origins of the presence map that were not heard within the horizon, but for our own.

        Those of which only rows are held, too: they came in the first parts of what broke off, or
        from a gateway. No component says when they were heard, so it is known from whoever sent
        the first of them.
        """
        if which != PRESENCE:
            return []
        beyond = self._heard.beyond(self.presence.vector, instant_ms=now.instant)
        if self._bare:
            limit = now.instant - self._horizon.horizon_ms
            bare = [o for o in self.bare_origins() if self._bare[o] <= limit]
            beyond = sorted([*beyond, *bare])
        return [origin for origin in beyond if origin != self._origin] if beyond else beyond

    def bare_origins(self) -> list[Origin]:
        """Origins of which live entries are held and nothing else has been seen."""
        vector = self.presence.vector
        return [o for o in self._bare if o not in vector and o in self._live_by_origin]

    def _note_bare(self, which: int, told: VersionVector, now: Now) -> None:
        """Whose rows came without their component, and when the sender had heard of them.

        If he had not, they count as heard when they were stamped.
        """
        if which != PRESENCE:
            return
        vector = self.presence.vector
        bare: dict[Origin, Instant] = {}
        for name in self._live_by_origin:
            origin = Origin(name)
            if origin in vector:
                continue
            heard = self._bare.get(origin)
            if heard is None:
                word = told[origin] or min(r.stamp for r in self.presence.origin_rows(origin))
                heard = Instant(now.instant - max(0, now.wall - stamp_wall(word)))
            bare[origin] = heard
        self._bare = bare

    def believed(self, which: int, now: Now) -> VersionVector:
        """What counts of the vector towards peers: of the others we neither have nor tell all."""
        vector = self.maps[which].vector
        beyond = self.beyond(which, now)
        return vector.without(beyond) if beyond else vector

    def is_stale(self, cursor: VersionVector, now: Now) -> bool:
        """Whether the difference to this cursor cannot be told: ends of it may be forgotten."""
        return is_stale(
            cursor, self.presence.vector, wall=now.wall, horizon_ms=self._horizon.horizon_ms
        )

    def is_too_old_to_witness(self, row: Row, now: Now) -> bool:
        """Whether the end of a row that somebody shows us may have been forgotten here."""
        return stamp_wall(row.stamp) <= now.wall - self._horizon.horizon_ms

    def ends_kept_since(self, now: Now) -> Stamp:
        """Tombstones stamped before this may be gone."""
        return self._horizon.drop_before(now.wall)

    def forget(
        self, now: Now, *, peers: Collection[NodeId], retired: Collection[ZoneId]
    ) -> tuple[Rows, bool]:
        """Drops what the horizon allows, some of it; live rows that went, and whether more may go.

        Dead is an origin not heard within the horizon while another life of its worker was, or
        whose zone was given up. Its component goes with the last of its rows.
        """
        dropped = self.presence.columns.drop_tombstones(
            self.ends_kept_since(now), limit=DROPPED_ROWS_MAX
        )
        beyond = self.beyond(PRESENCE, now)
        vector = self.presence.vector.without(beyond) if beyond else self.presence.vector
        gone = Rows.empty()
        for origin in beyond:
            if not (lives_on(origin, vector) or zone_of(origin) in retired):
                continue
            rows = self.presence.drop_origin(origin, limit=DROPPED_ROWS_MAX - dropped or 1)
            dropped += len(rows)
            gone = Rows.of([*gone, *(row for row in rows if row.live)])
            for row in rows:
                self._count_off(row)
            self.presence.columns.forget_origins([origin])
            if dropped >= DROPPED_ROWS_MAX:
                break
        held = self.presence.vector
        durable = self.durable.vector
        self.durable.columns.forget_origins(
            [
                origin
                for origin in durable.origins()
                if origin not in held and (lives_on(origin, held) or zone_of(origin) in retired)
            ]
        )
        self._heard.keep_only(dict.fromkeys([*held.origins(), *(Origin(node) for node in peers)]))
        return gone, dropped >= DROPPED_ROWS_MAX

    def _forgotten(self, which: int, new: VersionVector, now: Now) -> list[Origin]:
        """Those of these origins that are dead and were forgotten here.

        A peer that forgets a moment later would teach us again what we have just forgotten.
        """
        vector = self.maps[which].vector
        if new.origins() <= vector.origins():
            return []
        limit = now.wall - self._horizon.horizon_ms
        return [
            origin
            for origin, stamp in new.pairs()
            if origin not in vector and stamp_wall(stamp) <= limit and lives_on(origin, vector)
        ]

    def _without_forgotten(
        self, which: int, delta: PackedDelta, forgotten: list[Origin]
    ) -> PackedDelta:
        """The delta without what it says of these."""
        rows = delta.rows
        is_theirs = np.array([Origin(name) in forgotten for name in rows.origins], dtype=np.bool_)
        theirs = is_theirs.take(rows.origin_of)
        if which == PRESENCE:
            rows = rows.take(np.flatnonzero(~theirs))
        else:
            # Its records are kept for ever; only a component without any is forgotten.
            told = {rows.origins[number] for number in np.unique(rows.origin_of[theirs]).tolist()}
            forgotten = [origin for origin in forgotten if origin not in told]
        return PackedDelta(delta.base, delta.new.without(forgotten), rows, delta.clock)

    # Silence.

    def silent_origins(
        self, peers: Collection[NodeId], now: Now, *, after_ms: int
    ) -> dict[NodeId, WallMs]:
        """Who was not heard for so long, each with its last word: origins of live entries, peers.

        A silent peer counts even if it has no entry here: it may have taken some in since.
        """
        for node in peers:
            self._heard.meet(Origin(node), instant_ms=now.instant)
        everybody = [*self._live_by_origin, *peers]
        if not any(self.is_silent(Origin(one), now, after_ms=after_ms) for one in everybody):
            return {}
        vector = self.presence.vector
        heard = {
            name_of(origin)
            for origin in vector.origins()
            if not self.is_silent(origin, now, after_ms=after_ms)
        }
        # Of a peer whose new life is heard by way of others, the old one need not be waited for.
        expected = [Origin(node) for node in peers if name_of(node) not in heard]
        return {
            NodeId(origin): self._last_word(origin, now)
            for origin in sorted({*self.origins(), *expected})
            if origin != self._origin and self.is_silent(origin, now, after_ms=after_ms)
        }

    def _last_word(self, origin: Origin, now: Now) -> WallMs:
        heard = self._bare.get(origin)
        if origin in self.presence.vector or heard is None:
            return WallMs(stamp_wall(self.presence.vector[origin]))
        return WallMs(now.wall - (now.instant - heard))

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
            if all(self.is_silent(origin, now, after_ms=after_ms) for origin, _ in origins):
                last = max((stamp_wall(stamp) for _, stamp in origins), default=since)
                silent[zone] = WallMs(last)
        return silent

    def word_age_ms(self, name: NodeName, now: Now) -> int | None:
        """How old what we know of a replica's writes may be; None if it was never heard.

        Its latest life counts; the word may have come by way of others.
        """
        stamps = {o: stamp for o, stamp in self.presence.vector.pairs() if name_of(o) == name}
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

    def witness(self, which: int, rows: Rows, now: Now) -> Changes | None:
        """Takes in rows alone, without what else their home wrote; None if they were refused."""
        bare = Delta.nothing(Stamp(0))
        try:
            changes = self._apply(which, Delta(bare.base, bare.new, rows, bare.clock), now)
            self._note_bare(which, _NOBODY, now)
        except CrdtError as error:
            self._refuse(error)
            return None
        return changes

    def merge(
        self,
        which: int,
        delta: PackedDelta,
        now: Now,
        *,
        told: VersionVector = _NOBODY,
        stretch: tuple[int, int] = (0, 0),
        renewal: Renewal | None = None,
    ) -> Changes | MergedBatch | None:
        """Takes in what a peer sent; None if it was refused: nothing has changed then.

        What only a repeat from another base can mend (a base that is not seen here, an entry that
        is not known here and came without its full key) is refused without a count.

        Args:
            which: The map.
            delta: What was sent.
            now: The time.
            told: What the sender speaks for: of origins beyond our horizon it replaces what we
                hold, unless it has seen less of them.
            stretch: From where to where in the sender's log the rows are.
            renewal: What came of such origins before.
        """
        beyond = self.beyond(which, now)
        vector = self.maps[which].vector
        anew: list[Origin] = []
        if beyond:
            if any(origin in delta.base for origin in beyond):
                return None  # It builds on what does not count any more.
            anew = [one for one in beyond if one in told and told[one] >= vector[one]]
        horizon_ms = self._horizon.horizon_ms
        if renewal is not None and not renewal.continues(
            stretch[0], anew, now.instant, expires_ms=horizon_ms
        ):
            return None
        forgotten = self._forgotten(which, delta.new, now)
        try:
            self.clock.observe(delta.clock, now.wall)
            if forgotten:
                delta = self._without_forgotten(which, delta, forgotten)
            if not len(delta.rows) and not anew:
                return self._take_promise(which, delta, now, renewal, stretch)
            new = delta.new
            whole = [origin for origin in anew if origin in new and new[origin] >= vector[origin]]
            kept = None if renewal is None else renewal.kept(stretch[0], whole)
            replacing = Replacing(VersionVector({o: told[o] for o in anew}), whole, kept)
            lost = _NO_PLACES
            changes: Changes | MergedBatch
            if len(delta.rows) > PLAIN_ROWS_MAX:
                changes = self._apply_batch(which, delta, now, replacing)
                lost = changes.merged.lost
            else:
                plain = self.maps[which].unpack(delta, uncounted=anew)
                changes = self._apply(which, plain, now, replacing)
                if anew and len(changes.lost):
                    lost = delta.rows.places_of(self.maps[which].columns.hasher, changes.lost.keys)
            if len(delta.rows):
                self._note_bare(which, told, now)
            if renewal is not None:
                renewal.note(*stretch, anew, delta.rows, lost, now.instant)
        except (BaseNotSeen, KeysUnknown):
            return None
        except CrdtError as error:
            self._refuse(error)
            return None
        return changes

    def _refuse(self, error: CrdtError) -> None:
        self.deltas_refused += 1
        self.refusal = error

    def promise(self, now: Now) -> None:
        """We shall never write at or below this: it makes our silence tell."""
        if not self.is_clock_usable(now):
            return
        stamp = self.clock.promise(now.wall)
        own = VersionVector.at(self._origin, stamp)
        for which, source in enumerate(self.maps):
            before = source.vector
            source.columns.take_promise(_NOBODY, own, stamp, now.wall)
            self._note_heard(which, before, own, now)

    def _note_heard(self, which: int, before: VersionVector, new: VersionVector, now: Now) -> None:
        """Who has spoken; an origin that promises does so for both maps, so one tells."""
        if which == PRESENCE:
            self._heard.note(before, new, instant_ms=now.instant, wall_ms=now.wall)

    def _apply(
        self, which: int, delta: Delta, now: Now, replacing: Replacing = NOTHING_REPLACED
    ) -> Changes:
        source = self.maps[which]
        before = source.vector
        anew, whole, kept = replacing
        changes = source.apply(delta, wall_ms=now.wall, whole=whole, anew=anew, kept=kept)
        self._note_heard(which, before, delta.new, now)
        if which == PRESENCE:
            if len(changes.dropped):
                for row in changes.dropped:
                    self._count_off(row)
            if changes.previous:
                for row, previous in zip(changes.rows, changes.previous, strict=True):
                    self._count(row, previous)
        return changes

    def _take_promise(
        self,
        which: int,
        delta: PackedDelta,
        now: Now,
        renewal: Renewal | None,
        stretch: tuple[int, int],
    ) -> Changes:
        """`_apply` of no rows, as most deltas have."""
        source = self.maps[which]
        before = source.vector
        changes = source.take_promise(delta, wall_ms=now.wall)
        self._note_heard(which, before, delta.new, now)
        if renewal is not None:
            renewal.note(*stretch, [], delta.rows, _NO_PLACES, now.instant)
        return changes

    def _apply_batch(
        self, which: int, delta: PackedDelta, now: Now, replacing: Replacing
    ) -> MergedBatch:
        """`_apply` of many rows, none of which costs a Python object unless somebody waits."""
        source = self.maps[which]
        before = source.vector
        anew, whole, kept = replacing
        merged = source.columns.apply(
            delta, wall_ms=now.wall, whole=whole, anew=anew, kept=kept, tell_replaced=True
        )
        batch = MergedBatch(source, delta.rows, merged)
        self._note_heard(which, before, delta.new, now)
        if which == PRESENCE:
            for origin, count in batch.live_counts().items():
                self._live_by_origin[origin] += count
                if not self._live_by_origin[origin]:
                    del self._live_by_origin[origin]
            for row in merged.dropped or ():
                self._count_off(row)
        return batch

    def _count(self, row: Row, previous: Row | None) -> None:
        if previous is not None:
            self._count_off(previous)
        if row.live:
            self._live_by_origin[row.origin] += 1

    def _count_off(self, row: Row) -> None:
        if row.live:
            self._live_by_origin[row.origin] -= 1
            if not self._live_by_origin[row.origin]:
                del self._live_by_origin[row.origin]

    def check(self) -> None:
        """Raises `InvariantBroken` if the parts contradict each other."""
        entries = self.presence.columns.entries
        numbers = entries.table.origins.take(entries.table.live_rows()).tolist()
        live = {entries.origins[number]: count for number, count in Counter(numbers).items()}
        if live != self._live_by_origin:
            raise InvariantBroken(f"{self._origin}: {live} live rows by origin counted")
        if self.clock.last < self.presence.vector[self._origin]:
            raise InvariantBroken(f"{self._origin}: the clock is behind its own stamps")
