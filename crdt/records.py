"""Records of words: what is read of a row together lies in one line of the cache.

A column for each thing costs a row a line of memory in each of them, and a batch of scattered rows
waits for nothing else.  So what a merge compares is one record of 32 bytes, and never lies across
two lines.  A `Field` shows one thing of all records as if it were a column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Part: TypeAlias = slice[int | None, int | None, None]

Number = TypeVar("Number", np.uint64, np.uint32, np.uint16, np.uint8)

#: A line of the cache, in words.
_LINE: Final = 8
#: Rows of one pass: what a pass touches stays in the cache of a core until it is written.
_PASS: Final = 5 << 10


def records_of(count: int, words: int) -> NDArray[np.uint64]:
    """uint64[count, words] of zeros, from the start of a line on.

    >>> records_of(3, 4).shape
    (3, 4)
    """
    # Zeros come from the system as they are used; to write them would cost a pause.
    room: NDArray[np.uint64] = np.zeros(count * words + _LINE - 1, dtype=np.uint64)
    address: int = room.__array_interface__["data"][0]
    start = -(address // room.itemsize) % _LINE
    return room[start : start + count * words].reshape(count, words)


def passes(count: int) -> Iterator[slice[int, int, None]]:
    """Slices of about the same length, in order, that are all of ``count``.

    >>> [part.stop for part in passes(10_000)], list(passes(0))
    ([5000, 10000], [])
    """
    if count:
        size = -(-count // -(-count // _PASS))
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))


def run_of(rows: NDArray[np.int64]) -> slice[int, int, None] | None:
    """Rows that lie one behind the other, as a slice: to write there costs a third.

    >>> run_of(np.array([4, 5, 6])), run_of(np.array([4, 6, 5, 7]))
    (slice(4, 7, None), None)
    """
    if not len(rows):
        return None
    first, last = int(rows[0]), int(rows[-1])
    if last - first != len(rows) - 1 or not (rows[1:] - rows[:-1] == 1).all():
        return None
    return slice(first, last + 1)


class Field(Generic[Number]):
    """One thing of all records, to be read and written by row numbers.

    >>> table = records_of(3, 4)
    >>> stamps = Field(table.reshape(-1), 4, 2)
    >>> stamps[np.array([0, 2])] = 7
    >>> stamps.take(np.array([1, 2])).tolist(), stamps[:].tolist(), int(table[2, 2])
    ([0, 7], [7, 0, 7], 7)

    Attributes:
        column: The same as a column with gaps, for passes over all of it.  Never `take` from it:
            that copies it first.
    """

    __slots__ = ("_at", "_flat", "_step", "column")

    def __init__(self, flat: NDArray[Number], step: int, at: int) -> None:
        self._flat: NDArray[Number] = flat
        self._step = step
        self._at = at
        self.column: NDArray[Number] = flat[at::step]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Number]:
        """What these rows have."""
        places = rows * self._step
        places += self._at
        # Rows are in bounds; to check each of them takes a third longer.
        taken: NDArray[Number] = self._flat.take(places, mode="clip")
        return taken

    @overload
    def __getitem__(self, where: int) -> int: ...

    @overload
    def __getitem__(self, where: Part) -> NDArray[Number]: ...

    def __getitem__(self, where: int | Part) -> int | NDArray[Number]:
        return self.column[where] if isinstance(where, slice) else int(self.column[where])

    def __setitem__(self, where: int | Part | NDArray[np.int64], value: ArrayLike) -> None:
        if isinstance(where, np.ndarray):
            self._flat[where * self._step + self._at] = value
        else:
            self.column[where] = value
