"""The map: for each key the greatest version that reached it, and a vector of what it has seen.

`LWWMap.put` *makes* a delta and changes nothing.  `LWWMap.apply` is the only way to change a row,
for local and remote deltas alike; it returns what really changed, and only that feeds fan-out.

Rules of `apply`, each with what goes wrong without it:

1. A stamp further ahead than the drift bound: the whole delta is refused.  (One clock far ahead
   would drag all others along, and win every race until they caught up.)
2. A base that has not been seen: the whole delta is refused.  (A lost delta would count as seen,
   and never be sent again.)
3. Rows that the vector covers are skipped before anything else.  (A late message would bring back
   what was removed and pruned.)
4. The greater (epoch, stamp, origin) wins.  A maximum over a total order is commutative,
   associative and idempotent by construction.  Origins compare by name, never by a local number.
5. The vector moves at the end, by all of ``delta.new`` at once.  (A receiver of half a delta would
   claim writes that it does not have.)
6. A row above the vector that comes to be covered takes a new place in the change log.  (A peer
   that got to an earlier vector of this map by another way would never be sent it.)

Invariant, kept by these rules: if the vector covers a write, then the map holds that write or a
greater one of the same key, or it was a tombstone past its keeping and has been pruned.  So two
maps with equal vectors hold equal rows wherever the vectors cover them.

7. All rows of an origin that was not heard within the horizon are replaced at once: those of the
   sender, and no others up to the sender's component.  (What ended meanwhile may have ended with a
   tombstone that is no longer kept, and would stay for ever.)  See `crdt.horizon`.

The rows lie in columns (`crdt.entries`).  There are two ways in and out with one meaning: by `Rows`
and full keys, for a few at a time; by `PackedRows` and hashed keys, where no row costs a Python
object, for thousands.  All that comes out of the first in no natural order comes out sorted.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgpack
import numpy as np

from crdt.changes import NO_CHANGES, Changes
from crdt.columnar_map import ColumnarMap
from crdt.delta import Delta
from crdt.errors import CrdtError, KeyCollision
from crdt.hlc import Origin, Stamp
from crdt.key_hash import KeyHasher, Words
from crdt.merging import require_origins
from crdt.packed_rows import PackedDelta, PackedRows
from crdt.rows import REMOVED, Key, Row, Rows, require_unicode
from crdt.unpacking import unpack
from crdt.version_vector import VersionVector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_DIGEST_SIZE: Final = 16
_EMPTY: Final = Rows.empty()
_NOTHING_SEEN: Final = VersionVector()


class LWWMap:
    """Last-writer-wins map of entries, with tombstones, a version vector and a change log.

    >>> presences = LWWMap(drift_ms_max=500)
    >>> delta = presences.put(
    ...     keys=[("room:lobby", "alice", "s1")],
    ...     epochs=[0],
    ...     statuses=[1],
    ...     holders=["gateway-1"],
    ...     values=[b"{}"],
    ...     origin=Origin("eu/w1/1"),
    ...     stamps=[Stamp(65536)],
    ... )
    >>> len(presences), len(presences.apply(delta, wall_ms=1)), len(presences)
    (0, 1, 1)
    >>> len(presences.apply(delta, wall_ms=1)), presences.vector
    (0, VersionVector({'eu/w1/1': 65536}))
    """

    __slots__ = ("_entries", "columns")

    def __init__(
        self,
        *,
        drift_ms_max: int,
        hasher: KeyHasher | None = None,
        capacity: int = 0,
        ids_kept: bool = True,
    ) -> None:
        """An empty map.

        Args:
            drift_ms_max: The greatest difference between any two clocks.
            hasher: The hash of keys, the same in all maps that exchange packed rows.
            capacity: How many rows to make room for in advance, tombstones among them; to grow at
                some million rows is a pause of tens of milliseconds.
            ids_kept: Without, full keys are not asked for, and hashed ones name the entries.
        """
        if drift_ms_max < 0:
            raise CrdtError(
                "LWWMap", f"drift_ms_max is {drift_ms_max}", "give milliseconds, 0 or more"
            )
        if capacity < 0:
            raise CrdtError("LWWMap", f"capacity is {capacity}", "give a count of rows, 0 or more")
        #: The same map for whole batches.
        self.columns = ColumnarMap(
            hasher or KeyHasher(), drift_ms_max=drift_ms_max, capacity=capacity, ids_kept=ids_kept
        )
        self._entries = self.columns.entries

    # What is known.

    @property
    def vector(self) -> VersionVector:
        """What this map has seen."""
        return self.columns.vector

    @property
    def rows_total(self) -> int:
        """The count of rows with the tombstones."""
        return len(self._entries)

    @property
    def log_position(self) -> int:
        """Where the change log stands; it grows with every changed row.

        It also grows when a row above the vector comes to be covered.
        """
        return self._entries.log.position

    @property
    def nbytes(self) -> int:
        """The size of all columns and indexes, without full keys and values."""
        return self._entries.nbytes

    def __len__(self) -> int:
        return self._entries.live_count

    def get(self, key: Key) -> Row | None:
        """The row of a key, be it live or a tombstone; None where nothing is known."""
        row = self._entries.find_key(key)
        return self._entries.row(row) if row else None

    def __contains__(self, key: Key) -> bool:
        """Is anything known of a key, be it live or a tombstone?"""
        return self._entries.find_key(key) > 0

    def keys(self) -> frozenset[Key]:
        """The full keys of all rows with the tombstones, to ask for many at once."""
        table = self._entries.table
        return frozenset() if table.ids is None else frozenset(table.ids.take(table.rows()))

    # Makers of deltas: they change nothing.

    def put(
        self,
        *,
        keys: Sequence[Key],
        epochs: Sequence[int],
        statuses: Sequence[int],
        holders: Sequence[str],
        values: Sequence[bytes],
        origin: Origin,
        stamps: Sequence[Stamp],
    ) -> Delta:
        """The delta that writes these rows as ``origin``; apply it before making the next one.

        Raises:
            CrdtError: Columns differ in length, a number does not fit, a string is not valid
                Unicode, or the stamps do not ascend from what was seen of ``origin``.
        """
        seen = self.vector[origin]
        last = seen
        for stamp in stamps:
            if stamp <= last:
                raise CrdtError(
                    "LWWMap.put",
                    f"stamp {stamp} does not exceed {last}, the last one of {origin}",
                    "take every stamp from the one clock of that origin, in order",
                )
            last = stamp
        rows = Rows(
            keys=keys,
            stamps=stamps,
            origins=[origin] * len(keys),
            epochs=epochs,
            statuses=statuses,
            holders=holders,
            values=values,
        )
        require_unicode(rows)
        return Delta(
            base=VersionVector.at(origin, seen),
            new=VersionVector.at(origin, last),
            rows=rows,
            clock=last,
        )

    def promise(self, origin: Origin, stamp: Stamp) -> Delta:
        """The delta that says: ``origin`` will never write at or below ``stamp`` again.

        All that it did write up to there must have been applied here.
        """
        seen = self.vector[origin]
        if stamp < seen:
            raise CrdtError(
                "LWWMap.promise",
                f"stamp {stamp} is below {seen}, which has been seen of {origin}",
                "take the promise from the clock of that origin",
            )
        return Delta(
            base=VersionVector.at(origin, seen),
            new=VersionVector.at(origin, stamp),
            rows=_EMPTY,
            clock=stamp,
        )

    def state(self) -> Delta:
        """All that this map knows, for somebody who knows nothing.

        Its clock is the greatest stamp in it; a sender puts its own there (`Delta.with_clock`).
        """
        rows = self.all_rows()
        components = (stamp for _, stamp in self.vector.items())
        clock = max((int(rows.stamps.max(initial=0)), *components))
        return Delta(base=VersionVector(), new=self.vector, rows=rows, clock=Stamp(clock))

    # The only mutators.

    def apply(
        self,
        delta: Delta,
        *,
        wall_ms: int,
        whole: Iterable[Origin] = (),
        anew: VersionVector = _NOTHING_SEEN,
        kept: NDArray[np.uint64] | None = None,
    ) -> Changes:
        """Merge a delta; a second time it changes nothing.

        Args:
            delta: The delta.
            wall_ms: The local wall clock.
            whole: Origins of which the delta has all rows: they replace what is held of them.
            anew: What the sender has seen of origins whose rows count though the vector covers
                them: those of a part of what will be whole with the last part.  A row of theirs
                that he has seen goes at once if a lower one comes in its place.
            kept: uint64[n, 2], the hashed keys of rows of whole origins that came in earlier
                parts, and did not lose.

        Raises:
            StampTooFar: A stamp in it is ahead of ``wall_ms`` by more than the drift bound.
            BaseNotSeen: It builds on writes that this map has not seen.
            KeyCollision: Two keys have one hash.
        """
        if not len(delta.rows) and not whole:
            self.columns.take_promise(delta.base, delta.new, delta.clock, wall_ms)
            return NO_CHANGES
        columns, entries = self.columns, self._entries
        greatest = max(delta.clock, max(delta.rows.stamps.tolist(), default=0))
        columns.require_acceptable(delta.base, delta.new, greatest, wall_ms)
        start = entries.log.position
        origins = columns.require_whole(delta.new, whole)
        uncounted = (*origins, *anew.origins())
        seen = self.vector.without(uncounted) if uncounted else self.vector
        candidates = self._candidates(delta.rows, seen)
        dropped = _EMPTY
        if uncounted:
            leftovers = self._leftovers(candidates, delta.new, origins, anew, kept)
            dropped = entries.sorted_rows(leftovers.tolist())
            entries.drop(leftovers)
        changed: list[Row] = []
        numbers: list[int] = []
        previous: list[Row | None] = []
        lost: list[Row] = []
        winners: list[Row] = []
        for words, row in candidates.items():
            number = entries.find_words(words)
            standing = self._standing(number, row)
            if standing > 0:
                previous.append(entries.row(number) if number else None)
                origin = entries.origins.number(row.origin)
                numbers.append(entries.put_one(number, words, row, origin))
                changed.append(row)
            elif standing < 0:
                lost.append(row)
                winners.append(entries.row(number))
        columns.advance(delta.new, np.array(numbers, dtype=np.int64), start)
        return Changes(
            rows=_batch(changed, delta.rows),
            previous=previous,
            lost=Rows.of(lost) if lost else _EMPTY,
            winners=Rows.of(winners) if winners else _EMPTY,
            dropped=dropped,
        )

    def take_promise(self, delta: PackedDelta, *, wall_ms: int) -> Changes:
        """`apply` of a delta without rows, as most are.

        Raises:
            StampTooFar, BaseNotSeen: As `apply`.
        """
        self.columns.take_promise(delta.base, delta.new, delta.clock, wall_ms)
        return NO_CHANGES

    def prune(self, keys: Sequence[Key]) -> int:
        """Forget these tombstones, here alone; keys that are not known do not count.

        Raises:
            CrdtError: One of the rows is live.  Nothing is forgotten then.
        """
        found = {key: self._entries.find_key(key) for key in keys}
        for key, row in found.items():
            if row and self._entries.table.statuses_at[row] != REMOVED:
                raise CrdtError("LWWMap.prune", f"{key} is live", "prune tombstones only")
        rows = np.array([row for row in found.values() if row], dtype=np.int64)
        self._entries.drop(rows)
        return len(rows)

    def drop_origin(self, origin: Origin, *, limit: int | None = None) -> Rows:
        """Forget rows of an origin that will not be heard again, here alone; the rows."""
        numbers = self.columns.origin_rows((origin,))[:limit]
        rows = self._entries.sorted_rows(numbers.tolist())
        self._entries.drop(numbers)
        return rows

    # Batches of rows.

    def topic_rows(self, topic: str, *, beyond: VersionVector | None = None) -> Rows:
        """The rows of a topic, sorted by key.

        Without ``beyond`` the live ones: a snapshot.  With it the rows that it does not cover,
        tombstones among them: what somebody who has seen ``beyond`` lacks.
        """
        rows = self._entries.topic_rows(topic)
        if beyond is None:
            return self._sorted(self._entries.live_of(rows))
        found = self._sorted(rows)
        places = [
            place
            for place, (origin, stamp) in enumerate(
                zip(found.origins, found.stamps.tolist(), strict=True)
            )
            if not beyond.covers(origin, stamp)
        ]
        return found if len(places) == len(found) else found.take(places)

    def holder_rows(self, holder: str) -> Rows:
        """The live rows that somebody holds, sorted by key."""
        return self._sorted(self._entries.holder_rows(holder))

    def origin_rows(self, origin: Origin) -> Rows:
        """The live rows that an origin stamped, sorted by key.  Looks at every row."""
        rows = self.columns.origin_rows((origin,))
        return self._sorted(self._entries.live_of(rows.tolist()))

    def live_rows(self) -> Rows:
        """All live rows, sorted by key."""
        return self._sorted(self._entries.table.live_rows().tolist())

    def rows_at(self, rows: NDArray[np.int64]) -> Rows:
        """The rows with these numbers, in their order."""
        return self._entries.rows(rows)

    def all_rows(self) -> Rows:
        """All rows with the tombstones, sorted by key."""
        return self._sorted(self._entries.table.rows().tolist())

    def missing(
        self, seen: VersionVector, *, after: int = 0, limit: int | None = None
    ) -> tuple[Rows, int, bool]:
        """What somebody lacks who has seen ``seen``.

        Looks only at what changed since ``after``.  That is enough for whoever has either got all
        rows of the log up to there, or dominates the vector that this map had at that position.

        Args:
            seen: The rows that it covers are left out.
            after: An earlier `log_position`, or one that this method returned; 0 for all.
            limit: The greatest count of rows.

        Returns:
            The rows in the order of the log; the position reached, to go on from; and whether
            that is the end of the log.
        """
        rows, reached, complete = self.columns.missing_rows(seen, after=after, limit=limit)
        return self._entries.rows(rows), reached, complete

    def pack(self, delta: Delta) -> PackedDelta:
        """A delta with its keys hashed as in this map."""
        rows = PackedRows.of(delta.rows, self.columns.hasher)
        return PackedDelta(delta.base, delta.new, rows, delta.clock)

    def unpack(self, delta: PackedDelta, *, uncounted: Iterable[Origin] = ()) -> Delta:
        """A packed delta as plain rows, for `apply`, without what has been seen here.

        Args:
            delta: The delta; `ColumnarMap.apply` is cheaper from some ten rows on.
            uncounted: Origins of which nothing counts as seen.

        Raises:
            SecretDiffers, KeysUnknown, DecodeError: As `ColumnarMap.apply`.
        """
        seen = self.vector.without(uncounted) if uncounted else self.vector
        return unpack(delta, self._entries, self.columns.hasher, seen)

    # Comparison of whole states.

    def canonical_bytes(self, *, ends_since: Stamp | None = None) -> bytes:
        """The rows as bytes, the vector left out: equal states have equal bytes.

        Each replica drops its tombstones alone, so two that know the same may still differ in old
        ones.  With ``ends_since``, tombstones stamped before it are left out.
        """
        rows = self.all_rows()
        if ends_since is not None:
            stands = (rows.statuses != REMOVED) | (rows.stamps >= np.uint64(ends_since))
            if not stands.all():
                rows = rows.take(np.flatnonzero(stands).tolist())
        packed: bytes = msgpack.packb(rows.to_wire(), use_bin_type=True)
        return packed

    def digest(self) -> bytes:
        """16 bytes that are equal for equal rows, and for no others that anybody will meet."""
        return hashlib.blake2b(self.canonical_bytes(), digest_size=_DIGEST_SIZE).digest()

    def digest_of_live(self) -> bytes:
        """The same of live rows only: tombstones are dropped by each replica alone."""
        packed: bytes = msgpack.packb(self.live_rows().to_wire(), use_bin_type=True)
        return hashlib.blake2b(packed, digest_size=_DIGEST_SIZE).digest()

    # Inside.

    def _candidates(self, rows: Rows, seen: VersionVector) -> dict[Words, Row]:
        """The rows that ``seen`` does not cover; of one key the greatest."""
        greatest: dict[Words, Row] = {}
        words_of, covers = self.columns.hasher.words_of, seen.covers
        for row in rows:
            if covers(row.origin, row.stamp):
                continue
            words = words_of(row.key)
            rival = greatest.get(words)
            if rival is None:
                self._entries.require_same(self._entries.find_words(words), row.key)
                greatest[words] = row
            elif rival.key != row.key:
                raise KeyCollision(rival.key, row.key)
            elif rival.order < row.order:
                # At its own place among the others, as in a batch of columns.
                del greatest[words]
                greatest[words] = row
        if len(rows):
            require_origins(self._entries, tuple(dict.fromkeys(rows.origins)))
        return greatest

    def _standing(self, number: int, row: Row) -> int:
        """Is a row greater than the held one (1), the same (0), or lower (-1)?"""
        if not number:
            return 1
        table = self._entries.table
        epoch, stamp = table.epochs_at[number], table.stamps_at[number]
        if row.epoch != epoch:
            return 1 if row.epoch > epoch else -1
        if row.stamp != stamp:
            return 1 if row.stamp > stamp else -1
        origin = self._entries.origins[table.origins_at[number]]
        return (row.origin > origin) - (row.origin < origin)

    def _leftovers(
        self,
        candidates: dict[Words, Row],
        new: VersionVector,
        origins: Sequence[Origin],
        anew: VersionVector,
        kept: NDArray[np.uint64] | None,
    ) -> NDArray[np.int64]:
        """Rows held of origins to replace that are not among those that came."""
        came: list[int] = []
        outlived: list[int] = []
        for words, row in candidates.items():
            number = self._entries.find_words(words)
            if number and self._standing(number, row) >= 0:
                came.append(number)
            elif number and self._is_covered(number, anew):
                outlived.append(number)
        held = self.columns.origin_rows(origins, up_to=new)
        if kept is not None:
            came += self._entries.find(kept).tolist()
        left = np.setdiff1d(held, np.array(came, dtype=np.int64))
        return np.union1d(left, np.array(outlived, dtype=np.int64))

    def _is_covered(self, number: int, vector: VersionVector) -> bool:
        table = self._entries.table
        origin = self._entries.origins[table.origins_at[number]]
        return vector.covers(origin, Stamp(table.stamps_at[number]))

    def _sorted(self, rows: list[int]) -> Rows:
        return self._entries.sorted_rows(rows) if rows else _EMPTY


def _batch(changed: list[Row], of: Rows) -> Rows:
    """These rows of a batch; the batch itself if they are all of it."""
    if not changed:
        return _EMPTY
    # Where a key came twice, one row less has changed.
    return of if len(changed) == len(of) else Rows.of(changed)
