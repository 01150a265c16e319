"""The change log: rows in the order in which they changed last.

Every change takes the next *position*; a row that changes again leaves its old one.  What changed
since a position is then what stands behind it, whatever the size of the map.  Positions are local:
each map has its own, and they never go back.

In columns: for each row its only position, and the rows in the order of positions.  Where a row has
left, its number stays behind as a gap: its position says that it is elsewhere.  When gaps are more
than half, they are closed.  Behind the *closed* part, a row's position follows from its place; in
it, a few of the positions are kept as marks to search by.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import numpy as np

from crdt.records import run_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Fewer gaps than this are not worth closing.
_GAPS_MIN: Final = 64
_MARK_EVERY: Final = 256
#: The position of a row that is not in the log.
_NOWHERE: Final = (1 << 64) - 1
#: Rows looked at in one pass.
_PASS: Final = 1 << 16


class ChangeLog:
    """Row numbers by position.

    >>> log = ChangeLog(rows=4)
    >>> noted = log.append(np.array([1, 2]))
    >>> log.append_one(1)
    >>> log.position, [rows.tolist() for rows in log.beyond(0)]
    (3, [[2, 1]])
    """

    __slots__ = (
        "_closed",
        "_closed_position",
        "_count",
        "_length",
        "_marks",
        "_position",
        "_position_at",
        "_positions",
        "_row_at",
        "_rows",
    )

    _position_at: memoryview
    _row_at: memoryview

    def __init__(self, *, rows: int) -> None:
        #: The position of the last change; 0 before the first.
        self._position = 0
        #: uint64[rows]: the only position of each row.
        self._positions: NDArray[np.uint64] = np.full(rows, _NOWHERE, dtype=np.uint64)
        self._position_at = self._positions.data
        #: Rows in the order of positions, with gaps; of it the first `_length` count.
        self._rows: NDArray[np.uint32] = np.empty(2 * rows + _GAPS_MIN, dtype=np.uint32)
        self._row_at = self._rows.data
        self._length = 0
        #: The count of rows in the log.
        self._count = 0
        #: How much of it has been closed up, and the position at which that was done.
        self._closed = 0
        self._closed_position = 0
        #: The positions of the closed part, at every `_MARK_EVERY`th place.
        self._marks: list[int] = []

    def __len__(self) -> int:
        return self._count

    @property
    def position(self) -> int:
        """The position of the last change; it only grows."""
        return self._position

    @property
    def capacity(self) -> int:
        """Rows below this can be noted."""
        return len(self._positions)

    @property
    def nbytes(self) -> int:
        """The size of the columns."""
        return self._positions.nbytes + self._rows.nbytes

    def reserve(self, rows: int) -> None:
        """Make room for rows with numbers below this."""
        longer = np.full(rows, _NOWHERE, dtype=np.uint64)
        longer[: len(self._positions)] = self._positions
        self._positions = longer
        self._position_at = longer.data
        order = np.empty(2 * rows + _GAPS_MIN, dtype=np.uint32)
        order[: self._length] = self._rows[: self._length]
        self._rows = order
        self._row_at = order.data

    def position_of(self, row: int) -> int:
        """The position of a row that is in the log."""
        return int(self._position_at[row])

    def positions_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The positions of rows that are in the log."""
        return self._positions.take(rows)

    def append(self, rows: NDArray[np.int64], *, new_count: int | None = None) -> bool:
        """Note changes in this order; False if a row comes twice.

        After that these same rows must be appended once each: where they stood is lost.

        Args:
            rows: They leave their old positions.
            new_count: How many of them were not in the log; counted if not given.
        """
        count = len(rows)
        if new_count is None:
            new_count = int(np.count_nonzero(self._positions.take(rows) == _NOWHERE))
        if self._length + count > len(self._rows):
            self._close()
        first = self._position + 1
        fresh = np.arange(first, first + count, dtype=np.uint64)
        run = run_of(rows)
        if run is not None:
            # Rows in a run come once.
            self._positions[run] = fresh
        else:
            self._positions[rows] = fresh
            if not (self._positions.take(rows, mode="clip") == fresh).all():
                # A position that was noted in vain would pass for one of the next attempt.
                self._positions[rows] = self._position
                return False
        self._rows[self._length : self._length + count] = rows
        self._length += count
        self._position += count
        self._count += new_count
        return True

    def append_one(self, row: int) -> None:
        """Note a change."""
        if self._length == len(self._rows):
            self._close()
        if self._position_at[row] == _NOWHERE:
            self._count += 1
        self._position += 1
        self._position_at[row] = self._position
        self._row_at[self._length] = row
        self._length += 1

    def discard(self, rows: NDArray[np.int64]) -> None:
        """Forget rows that are in the log."""
        self._positions[rows] = _NOWHERE
        self._count -= len(rows)

    def beyond(self, position: int) -> Iterator[NDArray[np.int64]]:
        """The rows that changed last after ``position``, oldest first, in pieces.

        Do not change the log while walking.
        """
        start = self._place_behind(position)
        while start < self._length:
            end = min(start + _PASS, self._length)
            if start < self._closed:
                end = min(end, self._closed)
            rows = self._rows[start:end].astype(np.int64)
            places = self._positions.take(rows, mode="clip")
            if start < self._closed:
                there = (places <= self._closed_position) & (places > position)
            else:
                first = self._closed_position + 1 + start - self._closed
                there = places == np.arange(first, first + len(rows), dtype=np.uint64)
            yield rows if there.all() else rows[there]
            start = end

    def few_beyond(self, position: int, *, most: int) -> list[int] | None:
        """The same rows as `beyond`, without columns; None if that would take long."""
        if position < self._closed_position or self._position - position > most:
            return None
        start = self._place_behind(position)
        position_at, first = self._position_at, self._closed_position + 1 + start - self._closed
        rows = self._rows[start : self._length].tolist()
        return [row for place, row in enumerate(rows, first) if position_at[row] == place]

    def _place_behind(self, position: int) -> int:
        """Where to begin to look for what changed after a position: not behind it."""
        if position >= self._closed_position:
            return min(self._closed + position - self._closed_position, self._length)
        return max(bisect_right(self._marks, position) - 1, 0) * _MARK_EVERY

    def _close(self) -> None:
        """Close the gaps: at most as many rows remain as there are."""
        rows = np.concatenate([np.empty(0, dtype=np.int64), *self.beyond(0)])
        self._rows[: len(rows)] = rows
        self._length = self._closed = len(rows)
        self._closed_position = self._position
        self._marks = self._positions.take(rows[::_MARK_EVERY]).tolist()
