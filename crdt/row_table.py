"""The rows of a map as columns: where they lie, and which are free.

A *row* here is a number, the place of one entry in every column; it stays the same as long as the
entry is held.  Row 0 is nobody's: looking up what is not there gives it, and it is older than all.
A freed row is used again; its *generation* goes up when it is freed, so a handle (row, generation)
names one entry and never its successor.

Names of origins and holders are numbered, since they are few.  Keys of strings and values are
objects; their columns are made when the first of them comes, so who has none pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crdt.rows import Key

#: The lease of a row that has none.
NEVER: Final = (1 << 32) - 1
_CAPACITY_MIN: Final = 24
#: A table grows by half: memory that is asked for and not used costs its reader nothing, but what
#: is copied stops everybody.
_GROWTH: Final = 1.5
#: {column: (type, what a free row holds)}
_COLUMNS: Final[dict[str, tuple[str, int]]] = {
    "stamps": ("u8", 0),
    "epochs": ("u8", 0),
    "origins": ("u2", 0),
    "statuses": ("u1", 0),
    "holders": ("u4", 0),
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
        keys: uint64[capacity, 2], hashed.
        stamps: uint64[capacity]; 0 if the row is free.
        epochs: uint64[capacity].
        origins: uint16[capacity], numbers of origins; 0 if the row is free.
        statuses: uint8[capacity].
        holders: uint32[capacity], numbers of holders; 0 for nobody.
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
        "holders",
        "holders_at",
        "ids",
        "key_at",
        "keys",
        "leases",
        "origins",
        "origins_at",
        "stamps",
        "stamps_at",
        "statuses",
        "statuses_at",
        "topics",
        "values",
    )

    stamps: NDArray[np.uint64]
    epochs: NDArray[np.uint64]
    origins: NDArray[np.uint16]
    statuses: NDArray[np.uint8]
    holders: NDArray[np.uint32]
    topics: NDArray[np.uint32]
    generations: NDArray[np.uint32]
    leases: NDArray[np.uint32]
    births: NDArray[np.uint32]
    key_at: memoryview
    stamps_at: memoryview
    epochs_at: memoryview
    origins_at: memoryview
    statuses_at: memoryview
    holders_at: memoryview

    def __init__(self, *, capacity: int = 0) -> None:
        self.capacity = max(capacity + 1, _CAPACITY_MIN)
        self.keys: NDArray[np.uint64] = np.empty((self.capacity, 2), dtype=np.uint64)
        # No hash that anybody asks for is there.
        self.keys[0] = np.iinfo(np.uint64).max
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
        size: int = self.keys.nbytes + self._free.nbytes
        for name in _COLUMNS:
            column: NDArray[np.uint64] = getattr(self, name)
            size += column.nbytes
        return size + sum(column.nbytes for column in (self.ids, self.values) if column is not None)

    def rows(self) -> NDArray[np.int64]:
        """The rows in use, ascending."""
        return np.flatnonzero(self.origins[: self._used])

    def live_rows(self) -> NDArray[np.int64]:
        """The rows in use that are no tombstones, ascending."""
        return np.flatnonzero(self.statuses[: self._used])

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
        keys = np.empty((capacity, 2), dtype=np.uint64)
        keys[: self._used] = self.keys[: self._used]
        self.keys = keys
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
        self.key_at = self.keys.reshape(-1).data
        self.stamps_at = self.stamps.data
        self.epochs_at = self.epochs.data
        self.origins_at = self.origins.data
        self.statuses_at = self.statuses.data
        self.holders_at = self.holders.data


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
