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
        "_key_at",
        "_keys",
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
    _over_at: memoryview
    _key_at: memoryview

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
        self._key_at = keys.reshape(-1).data

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
            rows = np.array([self.find_one(*key) for key in query.tolist()], dtype=np.int64)
            self._read_rest(rest, rows, np.arange(count))
            return rows
        rows = np.empty(count, dtype=np.int64)
        absent: list[NDArray[np.intp]] = []
        going_on: list[NDArray[np.intp]] = []
        for part in passes(count):
            asked = query[part]
            last = np.ascontiguousarray(asked[:, -1])
            buckets = (last & self._mask).view(np.int64)
            rows[part], held, missed, further = self._probe(asked, buckets, _tags(last))
            if rest is not None:
                rest[:, part] = held[:, self._words :].T
            absent.append(missed + part.start)
            going_on.append(further + part.start)
        further = np.concatenate(going_on)
        if len(further):
            rows[further] = self._find_further(query.take(further, axis=0))
        self._read_rest(rest, rows, np.concatenate(absent))
        return rows

    def _find_further(self, query: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The rows of keys that are not in the buckets where they belong."""
        rows = np.zeros(len(query), dtype=np.int64)
        last = np.ascontiguousarray(query[:, -1])
        tags, buckets = _tags(last), self._next((last & self._mask).view(np.int64))
        at = np.arange(len(query))
        while len(at) >= _ONE_BY_ONE:
            rows[at], _, _, further = self._probe(query, buckets, tags)
            at, query, tags = at.take(further), query.take(further, axis=0), tags.take(further)
            buckets = self._next(buckets.take(further))
        rows[at] = [self.find_one(*key) for key in query.tolist()]
        return rows

    def _read_rest(
        self, rest: NDArray[np.uint64] | None, rows: NDArray[np.int64], places: NDArray[np.int64]
    ) -> None:
        """What the records have behind their keys, for these places of a query; zeros of none."""
        if rest is None or not len(places):
            return
        found = rows.take(places)
        held = self._keys.take(found, axis=0)
        for at, column in enumerate(rest, self._words):
            column[places] = held[:, at]

    def insert(self, query: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Note the rows of keys that differ from each other and are not there yet.

        The key column holds them already.
        """
        self.reserve(self._count + len(rows))
        self._count += len(rows)
        last = np.ascontiguousarray(query[:, -1])
        for start in range(0, len(rows), _PASS):
            self._place(last[start : start + _PASS], rows[start : start + _PASS])

    def delete(self, query: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Forget keys that are there, each with its row."""
        self._count -= len(rows)
        last = np.ascontiguousarray(query[:, -1])
        wanted = _tags(last) | rows.view(np.uint64)
        buckets = (last & self._mask).view(np.int64)
        while len(wanted):
            same = self._buckets.take(buckets, axis=0) == wanted[:, None]
            here, column = _first(same)
            self._slots[buckets[here] * _SLOTS + column[here]] = 0
            elsewhere = np.flatnonzero(~here)
            wanted, buckets = wanted.take(elsewhere), buckets.take(elsewhere)
            np.subtract.at(self._over, buckets, np.uint32(1))
            buckets = self._next(buckets)

    # One key: its words one by one.

    def find_one(self, *words: int) -> int:
        """The row of a key; 0 if there is none."""
        last = words[-1]
        tag = (last | _TAG_BIT) & _TAG_MASK
        slot_at, key_at, width = self._slot_at, self._key_at, self._width
        end = self._words - 1
        mask = self._mask_one
        bucket = last & mask
        while True:
            for slot in slot_at[bucket * 4 : bucket * 4 + 4]:
                row = slot ^ tag
                # The words at both ends are all there are.
                if (
                    row <= _ROW_MASK
                    and key_at[row * width + end] == last
                    and key_at[row * width] == words[0]
                ):
                    return row
            if not self._over_at[bucket]:
                return 0
            bucket = (bucket + 1) & mask

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
        self, query: NDArray[np.uint64], buckets: NDArray[np.int64], tags: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.intp], NDArray[np.intp]]:
        """Look into one bucket for each key.

        Returns:
            The rows; the records there; the keys of which this record is not theirs; and those of
            them that may be further on.
        """
        slots = self._buckets.take(buckets, axis=0, mode="clip")
        # Slot by slot: over the four of each bucket numpy would start 10,000 loops of four.
        low, other = slots[:, 0] ^ tags, slots[:, 1] ^ tags
        np.minimum(low, other, out=low)
        for slot in (2, 3):
            np.bitwise_xor(slots[:, slot], tags, out=other)
            np.minimum(low, other, out=low)
        tagged = low <= _ROW_MASK
        rows = low.view(np.int64)
        # What has no tag is no row: clipped to some row, and not found.
        held = self._keys.take(rows, axis=0, mode="clip")
        found = held[:, 0] == query[:, 0]
        if self._words > 1:
            found &= held[:, 1] == query[:, 1]
        found &= tagged
        missed = np.flatnonzero(~found)
        if not len(missed):
            return rows, held, missed, missed
        rows[missed] = 0
        hidden = tagged.take(missed)
        further = missed
        if hidden.any():
            # Another key with the same tag hides what may be in the same bucket.
            clashes, further = missed[hidden], missed[~hidden]
            rows[clashes] = [self.find_one(*key) for key in query.take(clashes, axis=0).tolist()]
        return rows, held, missed, further[self._over.take(buckets.take(further)) > 0]

    def _next(self, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        return (buckets + 1) & self._mask_one

    def _place(self, last: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        buckets = (last & self._mask).view(np.int64)
        wanted = _tags(last) | rows.view(np.uint64)
        while len(wanted) >= _ONE_BY_ONE:
            here, column = _first(self._buckets.take(buckets, axis=0) == 0)
            places = buckets * _SLOTS + column
            self._slots[places[here]] = wanted[here]
            # Of several that want one slot somebody wins; the others try again.
            left = np.flatnonzero(self._slots.take(places) != wanted)
            full = ~here.take(left)
            wanted, buckets = wanted.take(left), buckets.take(left)
            np.add.at(self._over, buckets[full], np.uint32(1))
            buckets[full] = self._next(buckets[full])
        for bucket, slot in zip(buckets.tolist(), wanted.tolist(), strict=True):
            self._place_one(bucket, slot)

    def _place_one(self, bucket: int, slot: int) -> None:
        while True:
            for place in range(bucket * _SLOTS, bucket * _SLOTS + _SLOTS):
                if not self._slot_at[place]:
                    self._slot_at[place] = slot
                    return
            self._over_at[bucket] += 1
            bucket = (bucket + 1) & self._mask_one

    def _allocate(self, buckets: int) -> None:
        self._buckets = records_of(buckets, _SLOTS)
        self._slots = self._buckets.reshape(-1)
        self._over: NDArray[np.uint32] = np.zeros(buckets, dtype=np.uint32)
        self._mask = np.uint64(buckets - 1)
        self._mask_one = buckets - 1
        self._slot_at = self._slots.data
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


def _first(
    marked: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Of bool[n, 4]: whether anything in a line is true, and the first column that is."""
    lines = marked.view("<u4").reshape(-1)
    lowest = lines & (~lines + np.uint32(1))
    column = (lowest > 1).astype(np.int64)
    column += lowest > (1 << 8)
    column += lowest > (1 << 16)
    return lines != 0, column


def _buckets_for(count: int) -> int:
    buckets = _BUCKETS_MIN
    while _capacity_of(buckets) < count:
        buckets *= 2
    return buckets


def _capacity_of(buckets: int) -> int:
    """How many keys so many buckets may hold: beyond, too many go on from full ones."""
    return buckets * 9 // 4
