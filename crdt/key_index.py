"""From hashed keys to rows, for whole batches at once.

Open addressing in buckets of four slots: one gather of 32 bytes brings all that a look-up needs in
all but a few cases.  A slot is ``tag << 32 | row``; the tag is the upper half of the key's last
word and never zero, so an empty slot (0) matches nothing, and a slot XOR the tag sought is a row
exactly where the tags agree.  What matches is verified against the key column.

A key whose bucket is full goes on to the next one, and the bucket counts it in ``over``.  So a
look-up goes on only from buckets that somebody went on from, and to delete is to empty the slot and
count down.  Markers for deleted keys instead would fill every bucket after some turnovers, until a
miss walks the whole table; with the counter the table never needs a rebuild but to grow.

Row 0 is nobody's: it says "not found".  Not more than 9 of 16 slots are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from crdt.records import passes, records_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLOTS: Final = 4
_ROW_MASK: Final = (1 << 32) - 1
_TAG_MASK: Final = _ROW_MASK << 32
_TAG_BIT: Final = 1 << 32
#: Fewer keys than this are found one by one: a round over arrays costs more.
_ONE_BY_ONE: Final = 16
#: Keys of one pass when the table grows; what a pass touches then stays in the cache.
_PASS: Final = 1 << 15
_BUCKETS_MIN: Final = 4
_HALVES: Final = 2 * _SLOTS


class KeyIndex:
    """Which row holds which key.

    The keys stay in records of their owner, uint64[rows, width], of which they are the first words;
    the index reads them there, and is told with `use` when the records move.

    >>> keys = np.array([[0, 0], [7, 1 << 40], [7, 2 << 40]], dtype=np.uint64)
    >>> index = KeyIndex(keys, capacity=2)
    >>> index.insert(keys[1:], np.array([1, 2]))
    >>> index.find(keys[[2, 1, 0]]).tolist(), index.find_one(7, 2 << 40)
    ([2, 1, 0], 2)
    """

    __slots__ = (
        "_buckets",
        "_count",
        "_first_at",
        "_half_at",
        "_keys",
        "_last_at",
        "_mask",
        "_mask_one",
        "_over",
        "_over_at",
        "_slot_at",
        "_slots",
        "_width",
        "_words",
    )

    _slot_at: memoryview
    _half_at: memoryview
    _over_at: memoryview
    _first_at: memoryview
    _last_at: memoryview

    def __init__(
        self, keys: NDArray[np.uint64], *, words: int | None = None, capacity: int = 0
    ) -> None:
        self._width = keys.shape[1]
        self._words = words or self._width
        self._count = 0
        self.use(keys)
        self._allocate(_buckets_for(capacity))

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The size of the table."""
        return self._slots.nbytes + self._over.nbytes

    def use(self, keys: NDArray[np.uint64]) -> None:
        """Read the keys here from now on: the same ones at the same rows."""
        self._keys = keys
        self._first_at, self._last_at = keys[:, 0].data, keys[:, self._words - 1].data

    def reserve(self, count: int) -> None:
        """Make room for so many keys in all."""
        buckets = _buckets_for(count)
        if buckets > len(self._buckets):
            self._grow(buckets)

    # Batches.

    def find(self, query: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each key of uint64[n, words]; 0 where there is none."""
        return self._find(query, None)

    def find_records(
        self, query: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """As `find`, and uint64[width - words, n]: what each record has behind its key."""
        rest = np.empty((self._width - self._words, len(query)), dtype=np.uint64)
        return self._find(query, rest), rest

    def _find(
        self, query: NDArray[np.uint64], rest: NDArray[np.uint64] | None
    ) -> NDArray[np.int64]:
        count = len(query)
        if count < _ONE_BY_ONE:
            rows = np.array(self._find_each(query), dtype=np.int64)
            self._read_rest(rest, rows, np.arange(count))
            return rows
        rows = np.empty(count, dtype=np.int64)
        absent: list[NDArray[np.intp]] = []
        going_on: list[NDArray[np.intp]] = []
        for part in passes(count):
            asked = query[part]
            last = np.ascontiguousarray(asked[:, -1])
            buckets = (last & self._mask).view(np.int64)
            read = None if rest is None else rest[:, part]
            missed, further = self._probe(asked, buckets, _tags(last), rows[part], read)
            absent.append(missed + part.start)
            going_on.append(further + part.start)
        further = np.concatenate(going_on)
        if len(further):
            rows[further] = self._find_further(query.take(further, axis=0))
        if rest is not None:
            missed = np.concatenate(absent)
            self._read_rest(rest, rows, missed[rows.take(missed) > 0])
        return rows

    def _find_further(self, query: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rows of keys that are not in the buckets where they belong."""
        rows = np.zeros(len(query), dtype=np.int64)
        last = np.ascontiguousarray(query[:, -1])
        tags, buckets = _tags(last), self._next((last & self._mask).view(np.int64))
        at = np.arange(len(query))
        while len(at) >= _ONE_BY_ONE:
            found = np.empty(len(at), dtype=np.int64)
            _, further = self._probe(query, buckets, tags, found, None)
            rows[at] = found
            at, query, tags = at.take(further), query.take(further, axis=0), tags.take(further)
            buckets = self._next(buckets.take(further))
        rows[at] = self._find_each(query)
        return rows

    def _read_rest(
        self, rest: NDArray[np.uint64] | None, rows: NDArray[np.int64], places: NDArray[np.int64]
    ) -> None:
        """What the records have behind their keys, for these places of a query."""
        if rest is None or not len(places):
            return
        held = self._keys.take(rows.take(places), axis=0)
        for at, column in enumerate(rest, self._words):
            column[places] = held[:, at]

    def insert(self, query: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Note the rows of keys that differ from each other and are not there yet.

        The key column holds them already.
        """
        self.reserve(self._count + len(rows))
        self._count += len(rows)
        last = np.ascontiguousarray(query[:, -1])
        for part in passes(len(rows)):
            self._place(last[part], rows[part])

    def delete(self, query: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Forget keys that are there, each with its row."""
        self._count -= len(rows)
        last = np.ascontiguousarray(query[:, -1])
        wanted = _tags(last) | rows.view(np.uint64)
        buckets = (last & self._mask).view(np.int64)
        while len(wanted):
            column = _first_of(self._buckets.take(buckets, axis=0) == wanted[:, None])
            here = column >= 0
            self._slots[buckets[here] * _SLOTS + column[here]] = 0
            elsewhere = np.flatnonzero(~here)
            wanted, buckets = wanted.take(elsewhere), buckets.take(elsewhere)
            np.subtract.at(self._over, buckets, np.uint32(1))
            buckets = self._next(buckets)

    # One key: its words one by one.

    def find_one(self, first: int, last: int) -> int:
        """The row of a key, by the words at its ends, which are all there are; 0 if none."""
        # Halves of slots are small numbers to Python: the row, then the tag.
        tag = last >> 32 | 1
        half_at, mask = self._half_at, self._mask_one
        bucket = last & mask
        while True:
            start = bucket * _HALVES + 1
            for place in range(start, start + _HALVES, 2):
                if half_at[place] == tag:
                    row: int = half_at[place - 1]
                    if self._last_at[row] == last and self._first_at[row] == first:
                        return row
            if not self._over_at[bucket]:
                return 0
            bucket = (bucket + 1) & mask

    def _find_each(self, query: NDArray[np.uint64]) -> list[int]:
        return [self.find_one(key[0], key[-1]) for key in query.tolist()]

    def insert_one(self, last: int, row: int) -> None:
        """Note the row of a key that is not there yet, by the key's last word."""
        if self._count >= _capacity_of(len(self._buckets)):
            self._grow(2 * len(self._buckets))
        self._count += 1
        self._place_one(last & self._mask_one, (last | _TAG_BIT) & _TAG_MASK | row)

    def delete_one(self, last: int, row: int) -> None:
        """Forget a key that is there, by its last word and its row."""
        self._count -= 1
        wanted = (last | _TAG_BIT) & _TAG_MASK | row
        bucket = last & self._mask_one
        while True:
            for place in range(bucket * _SLOTS, bucket * _SLOTS + _SLOTS):
                if self._slot_at[place] == wanted:
                    self._slot_at[place] = 0
                    return
            self._over_at[bucket] -= 1
            bucket = (bucket + 1) & self._mask_one

    # Inside.

    def _probe(
        self,
        query: NDArray[np.uint64],
        buckets: NDArray[np.int64],
        tags: NDArray[np.uint64],
        rows: NDArray[np.int64],
        rest: NDArray[np.uint64] | None,
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Look into one bucket for each key.

        Fills in the rows, 0 where none is found, and what their records have behind the key.

        Returns:
            The keys whose record the first slot with their tag does not name; and those of them
            that may be further on.  All others of the former are found otherwise, or absent.
        """
        slots = self._buckets.take(buckets, axis=0, mode="clip")
        # Slot by slot: over the four of each bucket numpy would start 10,000 loops of four.
        low = rows.view(np.uint64)
        np.bitwise_xor(slots[:, 0], tags, out=low)
        other = np.empty_like(low)
        for slot in (1, 2, 3):
            np.bitwise_xor(slots[:, slot], tags, out=other)
            np.minimum(low, other, out=low)
        tagged = low <= _ROW_MASK
        hits = np.count_nonzero(tagged)
        if not hits:
            # A batch of new entries: there is nothing to verify.
            rows[:] = 0
            if rest is not None:
                rest[:] = 0
            return np.arange(len(rows)), np.flatnonzero(self._over.take(buckets))
        # What has no tag is no row: clipped to some row, and not found.
        held = self._keys.take(rows, axis=0, mode="clip")
        found = held[:, 0] == query[:, 0]
        if self._words > 1:
            found &= held[:, 1] == query[:, 1]
        found &= tagged
        if rest is not None:
            rest[:] = held[:, self._words :].T
        missed = np.flatnonzero(~found)
        if not len(missed):
            return missed, missed
        rows[missed] = 0
        if rest is not None:
            for column in rest:
                column[missed] = 0
        further = missed
        if hits + len(missed) > len(rows):
            # Another key with the same tag hides what may be in the same bucket.
            hidden = tagged.take(missed)
            clashes, further = missed[hidden], missed[~hidden]
            rows[clashes] = self._find_each(query.take(clashes, axis=0))
        return missed, further[self._over.take(buckets.take(further)) > 0]

    def _next(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        return (buckets + 1) & self._mask_one

    def _place(self, last: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        buckets = (last & self._mask).view(np.int64)
        wanted = _tags(last)
        wanted |= rows.view(np.uint64)
        while len(wanted) >= _ONE_BY_ONE:
            places = _first_of(self._buckets.take(buckets, axis=0, mode="clip") == 0)
            full = np.flatnonzero(places < 0)
            places += buckets * _SLOTS
            # Behind the last bucket there is a slot for what has none: they fight for it in vain.
            places[full] = len(self._slots) - 1
            self._slots[places] = wanted
            self._slots[-1] = 0
            # Of several that want one slot somebody wins; the others try again.
            left = np.flatnonzero(self._slots.take(places, mode="clip") != wanted)
            self._go_on(buckets, full)
            wanted, buckets = wanted.take(left), buckets.take(left)
        for bucket, slot in zip(buckets.tolist(), wanted.tolist(), strict=True):
            self._place_one(bucket, slot)

    def _go_on(self, buckets: NDArray[np.int64], places: NDArray[np.intp]) -> None:
        """The keys at these places leave their buckets for the next ones."""
        if len(places):
            left = buckets.take(places)
            np.add.at(self._over, left, np.uint32(1))
            buckets[places] = self._next(left)

    def _place_one(self, bucket: int, slot: int) -> None:
        while True:
            for place in range(bucket * _SLOTS, bucket * _SLOTS + _SLOTS):
                if not self._slot_at[place]:
                    self._slot_at[place] = slot
                    return
            self._over_at[bucket] += 1
            bucket = (bucket + 1) & self._mask_one

    def _allocate(self, buckets: int) -> None:
        room = records_of(buckets + 1, _SLOTS)
        self._buckets = room[:buckets]
        #: All slots, and one behind them that stays empty.
        self._slots = room.reshape(-1)[: buckets * _SLOTS + 1]
        self._over: NDArray[np.uint32] = np.zeros(buckets, dtype=np.uint32)
        self._mask = np.uint64(buckets - 1)
        self._mask_one = buckets - 1
        self._slot_at = self._slots.data
        self._half_at = self._slots.view("<u4").data
        self._over_at = self._over.data

    def _grow(self, buckets: int) -> None:
        used = self._slots[self._slots != 0]
        self._allocate(buckets)
        for start in range(0, len(used), _PASS):
            rows = (used[start : start + _PASS] & _ROW_MASK).view(np.int64)
            # Whole keys, though one word is wanted: to take from a column of a table copies it all.
            self._place(self._keys.take(rows, axis=0)[:, self._words - 1], rows)


def _tags(last: NDArray[np.uint64]) -> NDArray[np.uint64]:
    tags = last | np.uint64(_TAG_BIT)
    tags &= np.uint64(_TAG_MASK)
    return tags


def _first_of(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Of bool[n, 4] the first column of each line that is true; below 0 where none is."""
    lines = marked.view("<u4").reshape(-1)
    # The lowest bit, 1 << 8 * column, as a number with an exponent: 127 + 8 * column, or 0.
    lowest = (lines & (~lines + np.uint32(1))).astype(np.float32)
    column = (lowest.view(np.int32) >> 26).astype(np.int64)
    column -= 15
    return column


def _buckets_for(count: int) -> int:
    buckets = _BUCKETS_MIN
    while _capacity_of(buckets) < count:
        buckets *= 2
    return buckets


def _capacity_of(buckets: int) -> int:
    """How many keys so many buckets may hold: beyond, too many go on from full ones."""
    return buckets * 9 // 4
