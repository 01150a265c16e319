"""What a call on a map really changed: for a few rows, and for a batch in columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crdt.rows import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crdt.rows import Row


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What an apply really changed, and what it did not because something greater was there.

    Its length is the count of changed rows.

    Attributes:
        rows: The new versions, in the order applied; each key at most once.
        previous: What each of them replaced; None where the key was unknown.
        lost: Rows of the delta that lost against what the map holds.  Neither rows that the map
            already held or had seen, nor rows beaten by another row of the same delta.
        winners: The held rows that beat them, one for each of ``lost``.
        dropped: Rows of origins replaced as a whole that are not among those that came.
    """

    rows: Rows
    previous: list[Row | None]
    lost: Rows
    winners: Rows
    dropped: Rows

    def __len__(self) -> int:
        return len(self.rows)


#: Nothing: one for all, since nobody changes it.
NO_CHANGES: Final = Changes(
    rows=Rows.empty(), previous=[], lost=Rows.empty(), winners=Rows.empty(), dropped=Rows.empty()
)


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """Of n versions that a batch replaced, what others may want to know; nobody's where new.

    Attributes:
        statuses: uint8[n]; 0 where there was a tombstone, or nothing.
        origins: Each origin once, "" for none.
        origin_of: int64[n], places in ``origins``.
        holders: Each holder once, "" for nobody.
        holder_of: int64[n], places in ``holders``.
    """

    statuses: NDArray[np.uint8]
    origins: tuple[str, ...]
    origin_of: NDArray[np.int64]
    holders: tuple[str, ...]
    holder_of: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What a batch really changed, as row numbers of the map, good until its next change.

    Its length is the count of changed rows.

    Attributes:
        rows: int64[n], the rows that changed, in the order applied.
        places: int64[n], where in the batch each of them came from.
        new_count: How many of them are new.
        lost: int64[m], places in the batch of rows that lost against what the map held.  Where a
            key comes twice in a batch, both may be there, or one beside a change.
        winners: int64[m], the rows that beat them.
        dropped_count: Rows of origins replaced as a whole that were not among those that came.
        replaced: What each changed row replaced, if that was asked for.
        dropped: The rows that were dropped, if that was asked for, sorted by key.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    new_count: int
    lost: NDArray[np.int64]
    winners: NDArray[np.int64]
    dropped_count: int
    replaced: Replaced | None = None
    dropped: Rows | None = None

    def __len__(self) -> int:
        return len(self.rows)
