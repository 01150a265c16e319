"""An index from something that many rows share to those rows: linked lists in columns.

Each row has a link to the next and to the last row of its group, each group a head.  That is 8
bytes for a row and 4 for a group; a row costs no Python object.  Row 0 is nobody's and ends a list.
Batches are linked in one go: sorted by group, each run becomes a piece of list before the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from crdt.ordering import order_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST: Final = np.zeros(1, dtype=np.int64)


class GroupIndex:
    """Rows by the number of their group, in lists from the newest to the oldest.

    >>> index = GroupIndex(rows=8, groups=4)
    >>> index.add(np.array([3, 5, 6]), np.array([1, 2, 1]))
    >>> index.rows_of(1), index.rows_of(3)
    ([3, 6], [])
    >>> index.remove_one(3, 1)
    >>> index.rows_of(1)
    [6]
    """

    __slots__ = ("_head", "_head_at", "_last", "_last_at", "_next", "_next_at")

    _head_at: memoryview
    _next_at: memoryview
    _last_at: memoryview

    def __init__(self, *, rows: int, groups: int) -> None:
        self._next: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        self._last = self._next
        self._head = self._next
        self.reserve(rows=rows, groups=groups)

    @property
    def capacity(self) -> int:
        """Rows below this can be linked."""
        return len(self._next)

    @property
    def nbytes(self) -> int:
        """The size of the columns."""
        return self._next.nbytes + self._last.nbytes + self._head.nbytes

    def reserve(self, *, rows: int = 0, groups: int = 0) -> None:
        """Make room for rows and groups with numbers below these."""
        if rows > len(self._next):
            self._next = _longer(self._next, rows)
            self._last = _longer(self._last, rows)
            self._next_at, self._last_at = self._next.data, self._last.data
        if groups > len(self._head):
            self._head = _longer(self._head, groups)
            self._head_at = self._head.data

    def is_empty(self, group: int) -> bool:
        """Has the group no rows?"""
        return not self._head_at[group]

    def empty_of(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of these groups have no rows; each once, ascending."""
        return np.unique(groups[self._head.take(groups) == 0])

    def rows_of(self, group: int) -> list[int]:
        """The rows of a group, those linked last first."""
        rows: list[int] = []
        following = self._next_at
        row = self._head_at[group]
        while row:
            rows.append(row)
            row = following[row]
        return rows

    # Batches; no row twice in one.

    def add(self, rows: NDArray[np.int64], groups: NDArray[np.int64]) -> None:
        """Put rows that are in no group into these."""
        if not len(rows):
            return
        order = order_of(groups)
        places, of_group = rows.take(order), groups.take(order)
        end = np.flatnonzero(of_group[1:] != of_group[:-1])
        start = np.concatenate([_FIRST, end + 1])
        end = np.concatenate([end, np.array([len(rows) - 1])])
        of_group = of_group.take(end)
        heads = self._head.take(of_group)
        links = places.astype(np.uint32)
        around = np.empty(len(rows), dtype=np.uint32)
        around[:-1] = links[1:]
        around[end] = heads
        self._next[places] = around
        around[1:] = links[:-1]
        around[start] = 0
        self._last[places] = around
        # Where there was no row, row 0 is written to; nobody reads it.
        self._last[heads] = links.take(end)
        self._head[of_group] = links.take(start)

    def remove(self, rows: NDArray[np.int64], groups: NDArray[np.int64]) -> None:
        """Take rows out of the groups that they are in."""
        following = self._around(self._next, rows)
        before = self._around(self._last, rows)
        self._next[before] = following
        self._last[following] = before
        first = before == 0
        self._head[groups[first]] = following[first]

    # One row.

    def add_one(self, row: int, group: int) -> None:
        """Put a row that is in no group into one."""
        head = self._head_at[group]
        self._next_at[row] = head
        self._last_at[row] = 0
        self._last_at[head] = row
        self._head_at[group] = row

    def remove_one(self, row: int, group: int) -> None:
        """Take a row out of the group that it is in."""
        following, before = self._next_at[row], self._last_at[row]
        self._last_at[following] = before
        if before:
            self._next_at[before] = following
        else:
            self._head_at[group] = following

    def _around(self, links: NDArray[np.uint32], rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """For each row that goes, the nearest one in the direction of ``links`` that stays.

        Neighbours may go together.  Each round doubles how far a link reaches, so a run of n
        takes log n rounds.
        """
        goes = np.zeros(len(links), dtype=np.bool_)
        goes[rows] = True
        links[0] = 0
        while True:
            ahead = links.take(rows)
            jumps = goes.take(ahead)
            if not jumps.any():
                return ahead
            links[rows[jumps]] = links.take(ahead[jumps])


def _longer(column: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    longer = np.zeros(count, dtype=np.uint32)
    longer[: len(column)] = column
    return longer
