"""The map in columns: the rules of `crdt.lww_map` for thousands of rows at a time.

A call costs some 20 to 40 us whatever it is given, so give much: what gathers in 5 to 20 ms.
Rows are row numbers here, int64, good until the row is dropped; `Handles` stay safe after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from crdt import leases
from crdt.changes import Merged
from crdt.entries import Entries
from crdt.errors import BaseNotSeen, CrdtError, SecretDiffers, StampTooFar
from crdt.hlc import STAMP_MAX, Origin, Stamp, stamp_wall
from crdt.merging import Plan, carry_out, plan, require_origins, seen_of
from crdt.packed_rows import PackedDelta, PackedRows
from crdt.rows import REMOVED
from crdt.version_vector import VersionVector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from crdt.key_hash import KeyHasher

_NO_ROWS: Final = np.empty(0, dtype=np.int64)
_NOTHING_SEEN: Final = VersionVector()
_PENDING_MIN: Final = 1024
#: More changes than this are not read before it is known who lacks them.
_MANY: Final = 1 << 14
#: As few rows as this are looked at one by one: a call of numpy costs what they do.
_FEW: Final = 16


class ColumnarMap:
    """Entries, a version vector, and what keeps them together.

    Attributes:
        entries: The rows, to be read; only methods of this class and of `LWWMap` change them.
        hasher: The hash of keys.
        vector: What this map has seen.
    """

    __slots__ = (
        "_awaited",
        "_drift_ms_max",
        "_ids_kept",
        "_oldest_end",
        "_pending",
        "_pending_count",
        "entries",
        "hasher",
        "vector",
    )

    def __init__(
        self, hasher: KeyHasher, *, drift_ms_max: int, capacity: int = 0, ids_kept: bool = True
    ) -> None:
        self.hasher = hasher
        self.entries = Entries(hasher, capacity=capacity)
        self.vector = VersionVector()
        self._drift_ms_max = drift_ms_max
        self._ids_kept = ids_kept
        #: Rows that were above the vector when they came, in pieces.
        self._pending: list[NDArray[np.int64]] = []
        self._pending_count = 0
        #: Whose they are: nothing becomes of them while nobody of these is heard.
        self._awaited: frozenset[str] = frozenset()
        #: Where the log stood when tombstones were looked for last, and the oldest stamp of one.
        self._oldest_end = (0, 0)

    # What is known.

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each hashed key of uint64[n, 2]; 0 where there is none."""
        return self.entries.find(keys)

    def uncovered_count(self) -> int:
        """How many rows are above the vector: what came in parts so far."""
        return len(self._waiting())

    def missing(
        self,
        seen: VersionVector,
        *,
        after: int = 0,
        limit: int | None = None,
        known: int | None = None,
    ) -> tuple[PackedRows, int, bool]:
        """As `LWWMap.missing`, without the full keys of entries that came up to ``known``.

        That is ``after`` if it is not given.  In a transfer by parts it must be where the transfer
        began: an entry that came before the end of a part, and changed after it, is in no part yet.
        """
        entries = self.entries
        if after >= entries.log.position:
            return PackedRows.empty(), entries.log.position, True
        known = after if known is None else known
        if _FEW < entries.log.position - after <= (_MANY if limit is None else limit):
            # All of it fits, so what is to be sent is read first and then judged.
            rows = np.concatenate(list(entries.log.beyond(after)))
            packed = entries.packed(rows, known=known)
            lacking = packed.stamps > seen_of(seen, packed.origins).take(packed.origin_of)
            if not lacking.all():
                packed = entries.packed(rows[lacking], known=known)
            return packed, entries.log.position, True
        rows, reached, complete = self.missing_rows(seen, after=after, limit=limit)
        return entries.packed(rows, known=known), reached, complete

    def missing_rows(
        self, seen: VersionVector, *, after: int = 0, limit: int | None = None
    ) -> tuple[NDArray[np.int64], int, bool]:
        """As `LWWMap.missing`, as row numbers."""
        if limit is not None and limit < 1:
            raise CrdtError("LWWMap.missing", f"limit is {limit}", "give 1 or more, or None")
        entries, table = self.entries, self.entries.table
        if after >= entries.log.position:
            return _NO_ROWS, entries.log.position, True
        few = entries.log.few_beyond(after, most=_FEW)
        if few is not None and (limit is None or len(few) <= limit):
            return self._few_above(few, seen), entries.log.position, True
        components = seen_of(seen, entries.origins.names)
        taken: list[NDArray[np.int64]] = []
        count = 0
        reached = after
        for rows in entries.log.beyond(after):
            lacking = table.stamps.take(rows) > components.take(table.origins.take(rows))
            if limit is not None and int(np.count_nonzero(lacking)) > limit - count:
                places = np.flatnonzero(lacking)
                first_left = int(places[limit - count])
                if first_left:
                    reached = entries.log.position_of(int(rows[first_left - 1]))
                taken.append(rows.take(places[: limit - count]))
                return np.concatenate(taken), reached, False
            lacking_rows = rows if lacking.all() else rows[lacking]
            taken.append(lacking_rows)
            count += len(lacking_rows)
            if len(rows):
                reached = entries.log.position_of(int(rows[-1]))
        if len(taken) == 1:
            return taken[0], entries.log.position, True
        whole = np.concatenate(taken) if taken else _NO_ROWS
        return whole, entries.log.position, True

    # Merging.

    def apply(
        self,
        delta: PackedDelta,
        *,
        wall_ms: int,
        whole: Iterable[Origin] = (),
        anew: VersionVector = _NOTHING_SEEN,
        kept: NDArray[np.uint64] | None = None,
        tell_replaced: bool = False,
    ) -> Merged:
        """Merge a delta; a second time it changes nothing.

        Args:
            delta: The delta.
            wall_ms: The local wall clock.
            whole: Origins of which the delta has all rows: they replace what is held of them.
            anew: As in `LWWMap.apply`.
            kept: As in `LWWMap.apply`.
            tell_replaced: Whether to say of each changed row what it replaced, and what was
                dropped.

        Raises:
            StampTooFar: A stamp in it is ahead of ``wall_ms`` by more than the drift bound.
            BaseNotSeen: It builds on writes that this map has not seen.
            SecretDiffers: Its keys were hashed under another secret.
            KeyCollision: Two keys have one hash.
            KeysUnknown: There is an entry that is not known here, without its full key.
            DecodeError: A full key came with the hash of another one.
        """
        rows = delta.rows
        greatest = int(rows.stamps.max(initial=0))
        self.require_acceptable(delta.base, delta.new, max(greatest, delta.clock), wall_ms)
        if len(rows) and rows.fingerprint != self.hasher.fingerprint:
            raise SecretDiffers(rows.fingerprint.hex(), self.hasher.fingerprint.hex())
        require_origins(self.entries, rows.origins)
        start = self.entries.log.position
        origins = self.require_whole(delta.new, whole)
        uncounted = (*origins, *anew.origins())
        seen = self.vector.without(uncounted) if uncounted else self.vector
        planned = plan(self.entries, rows, seen, ids_kept=self._ids_kept, once=bool(uncounted))
        leftovers = self._leftovers(planned, delta.new, origins, kept)
        if anew and len(planned.lost):
            leftovers = np.union1d(leftovers, self._outlived(planned, anew))
        dropped = None
        if len(leftovers):
            dropped = self.entries.sorted_rows(leftovers.tolist()) if tell_replaced else None
            rows = self._with_keys_of(leftovers, planned, rows)
            self.entries.drop(leftovers)
            planned = plan(self.entries, rows, seen, ids_kept=self._ids_kept, once=True)
        changed, planned, new_count, replaced = carry_out(
            self.entries, planned, tell_replaced=tell_replaced
        )
        batch = planned.batch
        covering = seen_of(self.vector.merge(delta.new), batch.origins)
        # Most stamps are below every component, so those that are not are few.
        high = np.flatnonzero(batch.stamps > covering.min(initial=STAMP_MAX))
        above = batch.stamps.take(high) > covering.take(batch.origin_of.take(high))
        self.advance(delta.new, changed if above.any() else _NO_ROWS, start)
        places, win, lost = planned.places, planned.win, planned.lost
        return Merged(
            rows=changed,
            places=win if places is None else places.take(win),
            new_count=new_count,
            lost=lost if places is None else places.take(lost),
            winners=planned.rows.take(lost),
            dropped_count=len(leftovers),
            replaced=replaced,
            dropped=dropped,
        )

    def apply_encoded(self, data: bytes, *, wall_ms: int, whole: Iterable[Origin] = ()) -> Merged:
        """`apply` of what `PackedDelta.encode` made; `DecodeError` of anything else."""
        return self.apply(PackedDelta.decode(data), wall_ms=wall_ms, whole=whole)

    def require_acceptable(
        self, base: VersionVector, new: VersionVector, greatest: int, wall_ms: int
    ) -> None:
        """Raise `StampTooFar` or `BaseNotSeen` of a delta whose greatest stamp is this."""
        greatest = max(greatest, max(new.stamps(), default=0))
        if stamp_wall(Stamp(greatest)) > wall_ms + self._drift_ms_max:
            raise StampTooFar(Stamp(greatest), wall_ms, self._drift_ms_max)
        if not self.vector.dominates(base):
            raise BaseNotSeen(base, self.vector)

    def take_promise(
        self, base: VersionVector, new: VersionVector, clock: Stamp, wall_ms: int
    ) -> None:
        """Merge a delta without rows, as most are: only the vector may move.

        Raises:
            StampTooFar, BaseNotSeen: As `apply`.
        """
        self.require_acceptable(base, new, clock, wall_ms)
        if self._awaited and not self._awaited.isdisjoint(new.beyond(self.vector)):
            self.advance(new, _NO_ROWS, self.entries.log.position)
        else:
            self.vector = self.vector.merge(new)

    def require_whole(self, new: VersionVector, whole: Iterable[Origin]) -> tuple[Origin, ...]:
        """The origins to replace; raise if what came is older than what is here."""
        origins = tuple(whole)
        for origin in origins:
            if new[origin] < self.vector[origin]:
                raise CrdtError(
                    "LWWMap.apply",
                    f"the rows of {origin} are whole up to {new[origin]}, "
                    f"but it has been seen here up to {self.vector[origin]}",
                    "let a peer replace an origin only if it has seen as much of it",
                )
        return origins

    def advance(self, new: VersionVector, changed: NDArray[np.int64], start: int) -> None:
        """Move the vector, and keep the rule of the log.

        A row that lay above the vector and is covered now takes a new position.  Else somebody who
        dominates the vector that this map had at some position, but never got what the log held
        then, would be told that it has seen the row, and never get it.

        Args:
            new: What has been seen, with what was seen before.
            changed: The rows that changed with it, or at least those of them that it does not
                cover.
            start: The position of the log before they did.
        """
        before = self.vector
        moves = not before.dominates(new)
        if moves:
            self.vector = before.merge(new)
        above = self._above(changed, self.vector)
        if len(above):
            self._pending.append(above)
            self._pending_count += len(above)
            self._awaited |= self._origins_of(above)
        if not self._pending or not (
            moves or self._pending_count > 2 * len(self.entries) + _PENDING_MIN
        ):
            return
        log = self.entries.log
        waiting = self._waiting(before)
        above = self._above(waiting, self.vector)
        self._pending = [above] if len(above) else []
        self._pending_count = len(above)
        self._awaited = self._origins_of(above)
        covered = np.setdiff1d(waiting, above, assume_unique=True)
        positions = log.positions_of(covered)
        # What changed in this very call has a position that nobody has seen yet.
        old = positions <= start
        covered = covered[old][np.argsort(positions[old])]
        if len(covered):
            self.entries.note_birth(covered, len(covered))
            log.append(covered, new_count=0)

    def _origins_of(self, rows: NDArray[np.int64]) -> frozenset[str]:
        """Whose rows these are."""
        names = self.entries.origins.names
        return frozenset(
            names[number] for number in set(self.entries.table.origins.take(rows).tolist())
        )

    def _waiting(self, vector: VersionVector | None = None) -> NDArray[np.int64]:
        """The rows that a vector (that of the map, if none is given) does not cover, ascending."""
        if not self._pending:
            return _NO_ROWS
        waiting = np.unique(np.concatenate(self._pending))
        # A row that was above the vector may have been dropped since, or beaten by one below it.
        in_use = self.entries.table.origins.take(waiting) > 0
        return self._above(waiting[in_use], self.vector if vector is None else vector)

    def _above(self, rows: NDArray[np.int64], vector: VersionVector) -> NDArray[np.int64]:
        """Those of these rows that a vector does not cover."""
        if len(rows) <= _FEW:
            return self._few_above(rows.tolist(), vector)
        table, names = self.entries.table, self.entries.origins
        numbers = table.origins.take(rows)
        components = np.zeros(len(names), dtype=np.uint64)
        used = np.flatnonzero(np.bincount(numbers))
        components[used] = seen_of(vector, [names[number] for number in used.tolist()])
        return rows[table.stamps.take(rows) > components.take(numbers)]

    def _few_above(self, rows: list[int], vector: VersionVector) -> NDArray[np.int64]:
        """The same of a few rows."""
        stamps, origins = self.entries.table.stamps_at, self.entries.table.origins_at
        names = self.entries.origins.names
        above = [row for row in rows if stamps[row] > vector[names[origins[row]]]]
        return np.array(above, dtype=np.int64) if above else _NO_ROWS

    def _leftovers(
        self,
        planned: Plan,
        new: VersionVector,
        origins: Sequence[Origin],
        kept: NDArray[np.uint64] | None,
    ) -> NDArray[np.int64]:
        """Rows held of origins to replace that are not among those that came."""
        held = self.origin_rows(origins, up_to=new)
        if not len(held):
            return held
        # A row that came and is lower than the one held: the sender knows no more of the latter.
        came = np.delete(planned.rows, planned.lost)
        if kept is not None:
            came = np.concatenate([came, self.entries.find(kept)])
        return np.setdiff1d(held, came)

    def _outlived(self, planned: Plan, anew: VersionVector) -> NDArray[np.int64]:
        """Rows that beat one that came, though the sender has seen them and tells the other."""
        winners = np.unique(planned.rows.take(planned.lost))
        return np.setdiff1d(winners, self._above(winners, anew), assume_unique=True)

    def _with_keys_of(
        self, dropped: NDArray[np.int64], planned: Plan, batch: PackedRows
    ) -> PackedRows:
        """The batch, with the full keys of entries that are dropped now and come in it.

        The sender may know that they were known here.
        """
        ids = self.entries.table.ids
        losers = planned.rows.take(planned.lost)
        losing = np.isin(losers, dropped)
        if ids is None or not losing.any():
            return batch
        places = planned.lost[losing]
        if planned.places is not None:
            places = planned.places.take(places)
        return batch.with_ids(places, ids.take(losers[losing]))

    # Local writes.

    def write(
        self,
        rows: NDArray[np.int64],
        statuses: NDArray[np.uint8],
        *,
        origin: Origin,
        first_stamp: Stamp,
    ) -> NDArray[np.int64]:
        """Give rows new statuses, as ``origin``, with consecutive stamps; all else stays.

        Row 0 is left out, and so is a row that is held with a greater stamp.  Of a row that comes
        twice the last one counts.

        Returns:
            The rows that changed.

        Raises:
            CrdtError: The stamps do not ascend from what was seen of ``origin``.
        """
        if first_stamp <= self.vector[origin]:
            raise CrdtError(
                "ColumnarMap.write",
                f"stamp {first_stamp} does not exceed {self.vector[origin]}, seen of {origin}",
                "take every stamp from the one clock of that origin, in order",
            )
        count = len(rows)
        if not count:
            return _NO_ROWS
        require_origins(self.entries, (origin,))
        entries, table = self.entries, self.entries.table
        stamps = np.arange(first_stamp, first_stamp + count, dtype=np.uint64)
        start = entries.log.position
        writable = (table.stamps.take(rows) < stamps) & (rows > 0)
        if not writable.all():
            kept = np.flatnonzero(writable)
            rows, statuses, stamps = rows.take(kept), statuses.take(kept), stamps.take(kept)
        if not entries.log.append(rows, new_count=0):
            last = {row: place for place, row in enumerate(rows.tolist())}
            kept = np.array(sorted(last.values()), dtype=np.int64)
            rows, statuses, stamps = rows.take(kept), statuses.take(kept), stamps.take(kept)
            entries.log.append(rows, new_count=0)
        entries.put_statuses(rows, stamps, entries.origins.number(origin), statuses)
        self.advance(VersionVector({origin: Stamp(first_stamp + count - 1)}), _NO_ROWS, start)
        return rows

    def end_holder(
        self, holder: str, *, origin: Origin, first_stamp: Stamp, value: bytes = b""
    ) -> NDArray[np.int64]:
        """Tombstones for all live rows of a holder, which then have none; the rows."""
        rows = np.sort(np.array(self.entries.holder_rows(holder), dtype=np.int64))
        removed = np.full(len(rows), REMOVED, dtype=np.uint8)
        rows = self.write(rows, removed, origin=origin, first_stamp=first_stamp)
        self.entries.put_holders(rows, np.zeros(len(rows), dtype=np.int64))
        values = np.full(len(rows), value, dtype=np.object_) if value else None
        self.entries.table.set_values(rows, values)
        return rows

    # Leases.

    def handles(self, rows: NDArray[np.int64]) -> leases.Handles:
        """Handles of rows in use, to renew their leases by."""
        return leases.handles_of(self.entries.table, rows)

    def renew(self, handles: leases.Handles, until_ms: int) -> NDArray[np.int64]:
        """Let these rows live until an instant; the places of handles that are void."""
        return leases.renew(self.entries.table, handles, until_ms)

    def run_out(self, instant_ms: int) -> NDArray[np.int64]:
        """The live rows whose lease ended at or before an instant, ascending."""
        return leases.run_out(self.entries.table, instant_ms)

    # Forgetting.

    def origin_rows(
        self, origins: Iterable[Origin], *, up_to: VersionVector | None = None
    ) -> NDArray[np.int64]:
        """The rows of origins with the tombstones, ascending; ``up_to`` some stamp of each."""
        table = self.entries.table
        found: list[NDArray[np.int64]] = [_NO_ROWS]
        for origin in origins:
            number = self.entries.origins.find(origin)
            if number:
                rows = np.flatnonzero(table.origins[: table.end] == number)
                if up_to is not None:
                    rows = rows[table.stamps.take(rows) <= np.uint64(up_to[origin])]
                found.append(rows)
        return np.sort(np.concatenate(found))

    def drop_tombstones(self, before: Stamp, *, limit: int | None = None) -> int:
        """Forget tombstones stamped before this, here alone; how many.

        See `crdt.horizon` for when that is safe.  ``limit`` bounds the pause.
        """
        table, position = self.entries.table, self.entries.log.position
        known_at, oldest = self._oldest_end
        few = self.entries.log.few_beyond(known_at, most=_FEW)
        if few is not None:
            oldest = min((oldest, *(table.stamps_at[row] for row in few)))
            self._oldest_end = (position, oldest)
            if before <= oldest:
                return 0
        ended = table.ended_rows()
        stamps = table.stamps.take(ended)
        old = stamps < np.uint64(before)
        if not old.any():
            self._oldest_end = (position, int(stamps.min(initial=STAMP_MAX)))
            return 0
        rows = ended[old][:limit]
        self.entries.drop(rows)
        return len(rows)

    def drop_origin(self, origin: Origin, *, limit: int | None = None) -> int:
        """Forget all rows of an origin that will never be heard again, here alone; how many."""
        rows = self.origin_rows((origin,))[:limit]
        self.entries.drop(rows)
        return len(rows)

    def forget_origins(self, origins: Iterable[Origin]) -> list[Origin]:
        """Take out of the vector those of these origins of which no row is left; which.

        Forgetting one too early costs only that its rows may be sent again.
        """
        origins = list(origins)
        if not origins:
            return origins
        table, names = self.entries.table, self.entries.origins
        counts = np.bincount(table.origins[: table.end], minlength=len(names))
        # Number 0 stands for origins that never had a row, and for free rows.
        counts[0] = 0
        gone = [origin for origin in origins if not counts[names.find(origin)]]
        for origin in gone:
            number = names.find(origin)
            if number:
                names.forget(number)
        self.vector = self.vector.without(gone)
        return gone
