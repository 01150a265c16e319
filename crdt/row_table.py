"""The rows of a map as columns: where they lie, and which are free.

A *row* here is a number, the place of one entry in every column; it stays the same as long as the
entry is held.  Row 0 is nobody's: looking up what is not there gives it, and it is older than all.
A freed row is used again; its *generation* goes up when it is freed, so a handle (row, generation)
names one entry and never its successor.

What a merge compares lies in records (`crdt.records`), the *heads* of rows: the hash of the key in
two words, the stamp and the epoch.  What it replaces beside them is one word, the *mark*: numbers
of holder and origin, and the status.

Names of origins and holders are numbered, since they are few.  Keys of strings and values are
objects; their columns are made when the first of them comes, so who has none pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from crdt.records import Field, records_of, run_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crdt.rows import Key

#: The lease of a row that has none.
NEVER: Final = (1 << 32) - 1
_CAPACITY_MIN: Final = 24
#: A table grows by half: memory that is asked for and not used costs its reader nothing, but what
#: is copied stops everybody.
_GROWTH: Final = 1.5
#: Words of a head, and where the stamp is.
HEAD_WORDS: Final = 4
STAMP_WORD: Final = 2
#: A mark is ``holder << 32 | origin << 16 | status``.
HOLDER_SHIFT: Final = 32
ORIGIN_SHIFT: Final = 16
#: {column: (type, what a free row holds)}
_COLUMNS: Final[dict[str, tuple[str, int]]] = {
    "topics": ("u4", 0),
    "generations": ("u4", 0),
    "leases": ("u4", NEVER),
    "births": ("u4", 0),
}


class RowTable:
    """Columns of one capacity, and the rows in use.

    >>> table = RowTable(capacity=8)
    >>> rows = table.take(2)
    >>> table.free(rows[:1])
    >>> rows.tolist(), table.take_one(), int(table.generations[1]), len(table)
    ([1, 2], 1, 1, 2)

    Attributes:
        heads: uint64[capacity, 4]: two words of hashed key, stamp, epoch.
        marks: uint64[capacity]: numbers of holder and origin, and the status.
        stamps: uint64 of the heads; 0 if the row is free.
        epochs: uint64 of the heads.
        origins: uint16 of the marks, numbers of origins; 0 if the row is free.
        statuses: uint8 of the marks.
        holders: uint32 of the marks, numbers of holders; 0 for nobody.
        topics: uint32[capacity], numbers of topics.
        generations: uint32[capacity].
        leases: uint32[capacity], in ticks; `NEVER` for none.
        births: uint32[capacity]: when the entry came, in the change log's positions >> 10, up.
        ids: The full keys, None where not known; the column is None if none is.
        values: The values, None where empty; the column is None if all are.
        at: Views of the columns for one item at a time, by the name of the column.
    """

    __slots__ = (
        "_free",
        "_free_count",
        "_used",
        "births",
        "capacity",
        "epochs",
        "epochs_at",
        "generations",
        "head_at",
        "heads",
        "holders",
        "holders_at",
        "ids",
        "leases",
        "marks",
        "origins",
        "origins_at",
        "stamps",
        "stamps_at",
        "statuses",
        "statuses_at",
        "topics",
        "values",
    )

    stamps: Field[np.uint64]
    epochs: Field[np.uint64]
    origins: Field[np.uint16]
    statuses: Field[np.uint8]
    holders: Field[np.uint32]
    topics: NDArray[np.uint32]
    generations: NDArray[np.uint32]
    leases: NDArray[np.uint32]
    births: NDArray[np.uint32]
    head_at: memoryview
    stamps_at: memoryview
    epochs_at: memoryview
    origins_at: memoryview
    statuses_at: memoryview
    holders_at: memoryview

    def __init__(self, *, capacity: int = 0) -> None:
        self.capacity = max(capacity + 1, _CAPACITY_MIN)
        self.heads = records_of(self.capacity, HEAD_WORDS)
        # No hash that anybody asks for is there.
        self.heads[0, :STAMP_WORD] = np.iinfo(np.uint64).max
        self.marks: NDArray[np.uint64] = np.zeros(self.capacity, dtype="<u8")
        for name, (kind, free) in _COLUMNS.items():
            setattr(self, name, _column(self.capacity, kind, free))
        self.ids: NDArray[np.object_] | None = None
        self.values: NDArray[np.object_] | None = None
        #: Rows below this have been used; 0 is nobody's.
        self._used = 1
        #: A stack of freed rows; of it the first `_free_count` count.
        self._free: NDArray[np.uint32] = np.empty(16, dtype=np.uint32)
        self._free_count = 0
        self._view()

    def __len__(self) -> int:
        return self._used - 1 - self._free_count

    @property
    def end(self) -> int:
        """All rows in use are below this."""
        return self._used

    @property
    def nbytes(self) -> int:
        """The size of the columns, without what objects refer to."""
        size: int = self.heads.nbytes + self.marks.nbytes + self._free.nbytes
        for name in _COLUMNS:
            column: NDArray[np.uint64] = getattr(self, name)
            size += column.nbytes
        return size + sum(column.nbytes for column in (self.ids, self.values) if column is not None)

    def rows(self) -> NDArray[np.int64]:
        """The rows in use, ascending."""
        return np.flatnonzero(self.marks[: self._used])

    def live_rows(self) -> NDArray[np.int64]:
        """The rows in use that are no tombstones, ascending."""
        return np.flatnonzero(self.statuses[: self._used])

    def ended_rows(self) -> NDArray[np.int64]:
        """The rows in use that are tombstones, ascending."""
        ended = self.statuses[: self._used] == 0
        ended &= self.marks[: self._used] > 0
        return np.flatnonzero(ended)

    def reserve(self, count: int) -> bool:
        """Make room for ``count`` more rows; whether the columns moved."""
        needed = self._used + count - self._free_count
        if needed <= self.capacity:
            return False
        self._grow(max(needed, int(self.capacity * _GROWTH)))
        return True

    def take(self, count: int) -> NDArray[np.int64]:
        """Rows to use; there must be room."""
        again = min(count, self._free_count)
        self._free_count -= again
        rows = np.empty(count, dtype=np.int64)
        rows[:again] = self._free[self._free_count : self._free_count + again]
        rows[again:] = np.arange(self._used, self._used + count - again)
        self._used += count - again
        return rows

    def take_one(self) -> int:
        """A row to use; there must be room."""
        if self._free_count:
            self._free_count -= 1
            return int(self._free[self._free_count])
        self._used += 1
        return self._used - 1

    def free(self, rows: NDArray[np.int64]) -> None:
        """Give rows back; their handles are void from now on."""
        self.generations[rows] += np.uint32(1)
        for name, (_, free) in _COLUMNS.items():
            if name != "generations":
                column: NDArray[np.uint64] = getattr(self, name)
                column[rows] = free
        self.stamps[rows] = self.epochs[rows] = self.marks[rows] = 0
        for objects in (self.ids, self.values):
            if objects is not None:
                objects[rows] = None
        count = self._free_count + len(rows)
        if count > len(self._free):
            longer = np.empty(2 * count, dtype=np.uint32)
            longer[: self._free_count] = self._free[: self._free_count]
            self._free = longer
        # The lowest on top.
        self._free[self._free_count : count] = rows[::-1]
        self._free_count = count

    def keys_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """uint64[n, 2]: the hashed keys of rows."""
        return self.heads.take(rows, axis=0, mode="clip")[:, :STAMP_WORD].copy()

    def put_keys(self, rows: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Note the hashed keys of rows, uint64[n, 2]."""
        # Two words as one number, which numpy moves at once.
        pairs = self.heads.view(np.complex128).reshape(-1)
        run = run_of(rows)
        where = rows * 2 if run is None else slice(2 * run.start, 2 * run.stop, 2)
        pairs[where] = keys.view(np.complex128).reshape(-1)

    def put_versions(
        self, rows: NDArray[np.int64], stamps: NDArray[np.uint64], epochs: NDArray[np.uint64] | None
    ) -> None:
        """Note stamps and epochs of rows; without epochs they stay."""
        run = run_of(rows)
        if run is not None:
            self.heads[run, STAMP_WORD] = stamps
            if epochs is not None:
                self.heads[run, STAMP_WORD + 1] = epochs
            return
        words = self.heads.reshape(-1)
        places = rows * HEAD_WORDS
        places += STAMP_WORD
        words[places] = stamps
        if epochs is not None:
            places += 1
            words[places] = epochs

    def end_leases(self, rows: NDArray[np.int64]) -> None:
        """Tombstones have no lease."""
        self.leases[rows] = NEVER

    # Objects.

    def set_id(self, row: int, key: Key) -> None:
        """Note the full key of a row."""
        if self.ids is None:
            self.ids = _no_objects(self.capacity)
        self.ids[row] = key

    def set_value(self, row: int, value: bytes) -> None:
        """Note the value of a row."""
        if self.values is not None:
            self.values[row] = value or None
        elif value:
            self.values = _no_objects(self.capacity)
            self.values[row] = value

    def set_ids(self, rows: NDArray[np.int64], keys: NDArray[np.object_]) -> None:
        """Note the full keys of rows."""
        if self.ids is None:
            self.ids = _no_objects(self.capacity)
        self.ids[rows] = keys

    def set_values(self, rows: NDArray[np.int64], values: NDArray[np.object_] | None) -> None:
        """Note the values of rows; None says that all are empty."""
        if values is None and self.values is None:
            return
        if self.values is None:
            self.values = _no_objects(self.capacity)
        self.values[rows] = values

    def value_of(self, row: int) -> bytes:
        """The value of a row."""
        value: bytes | None = None if self.values is None else self.values[row]
        return value or b""

    def values_of(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The values of rows."""
        if self.values is None:
            return [b""] * len(rows)
        return [value or b"" for value in self.values.take(rows).tolist()]

    # Inside.

    def _grow(self, capacity: int) -> None:
        heads = records_of(capacity, HEAD_WORDS)
        heads[: self._used] = self.heads[: self._used]
        self.heads = heads
        marks: NDArray[np.uint64] = np.zeros(capacity, dtype=self.marks.dtype)
        marks[: self._used] = self.marks[: self._used]
        self.marks = marks
        for name, (kind, free) in _COLUMNS.items():
            column: NDArray[np.uint64] = getattr(self, name)
            longer = _column(capacity, kind, free)
            longer[: self._used] = column[: self._used]
            setattr(self, name, longer)
        self.ids = _longer(self.ids, capacity)
        self.values = _longer(self.values, capacity)
        self.capacity = capacity
        self._view()

    def _view(self) -> None:
        words = self.heads.reshape(-1)
        self.head_at = words.data
        self.stamps = Field(words, HEAD_WORDS, STAMP_WORD)
        self.epochs = Field(words, HEAD_WORDS, STAMP_WORD + 1)
        self.statuses = Field(self.marks.view("u1"), 8, 0)
        self.origins = Field(self.marks.view("<u2"), 4, ORIGIN_SHIFT // 16)
        self.holders = Field(self.marks.view("<u4"), 2, HOLDER_SHIFT // 32)
        self.stamps_at = self.stamps.column.data
        self.epochs_at = self.epochs.column.data
        self.origins_at = self.origins.column.data
        self.statuses_at = self.statuses.column.data
        self.holders_at = self.holders.column.data


def _no_objects(count: int) -> NDArray[np.object_]:
    return np.full(count, None, dtype=np.object_)


def _longer(column: NDArray[np.object_] | None, capacity: int) -> NDArray[np.object_] | None:
    if column is None:
        return None
    longer = _no_objects(capacity)
    longer[: len(column)] = column
    return longer


def _column(capacity: int, kind: str, free: int) -> NDArray[np.uint64]:
    """A column of any of the kinds, filled with what a free row holds."""
    # Zeros come from the system as they are used; to write them would cost a pause.
    return np.full(capacity, free, kind) if free else np.zeros(capacity, kind)


def absent(column: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Where a column of objects has None."""
    return np.fromiter((item is None for item in column.tolist()), np.bool_, len(column))
