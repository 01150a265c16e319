"""Leases of rows, in a column: given and renewed by handle, found when they have run out.

A lease is a time in *ticks* of 100 ms on whatever clock the caller uses; 32 bits last 13 years.
Renewing ten thousand is one gather (are the handles good?) and one scatter; finding what has run
out is one comparison of a column, whatever there is to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from crdt.errors import CrdtError
from crdt.row_table import NEVER, RowTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

TICK_MS: Final = 100
#: Leases looked at in one pass: what a pass makes stays in the cache.
_PASS: Final = 1 << 18


class Handles(NamedTuple):
    """Rows with their generations: good until the row is dropped, void after that for ever."""

    rows: NDArray[np.int64]
    generations: NDArray[np.uint32]


def tick_of(instant_ms: int) -> int:
    """The first tick that is not before an instant.

    >>> tick_of(100), tick_of(101)
    (1, 2)
    """
    tick = -(-instant_ms // TICK_MS)
    if not 0 <= tick < NEVER:
        raise CrdtError(
            "tick_of", f"instant_ms is {instant_ms}", "count from a start within 13 years"
        )
    return tick


def handles_of(table: RowTable, rows: NDArray[np.int64]) -> Handles:
    """The handles of rows in use."""
    return Handles(rows, table.generations.take(rows))


def renew(table: RowTable, handles: Handles, until_ms: int) -> NDArray[np.int64]:
    """Let these rows live until then; the places of handles that are void."""
    rows, generations = handles
    tick = tick_of(until_ms)
    # Rows are in bounds; to check each of them takes a third longer.
    good = table.generations.take(rows, mode="clip") == generations
    if good.all():
        table.leases[rows] = tick
        return np.empty(0, dtype=np.int64)
    table.leases[rows[good]] = tick
    return np.flatnonzero(~good)


def run_out(table: RowTable, instant_ms: int) -> NDArray[np.int64]:
    """The live rows whose lease ended at or before an instant, ascending."""
    tick = np.uint32(instant_ms // TICK_MS)
    found = []
    for start in range(0, table.end, _PASS):
        over = table.leases[start : min(start + _PASS, table.end)] <= tick
        if over.any():
            found.append(np.flatnonzero(over) + start)
    if not found:
        return np.empty(0, dtype=np.int64)
    rows = np.concatenate(found)
    # A renewal that crossed the end leaves a lease on a tombstone.
    return rows[table.statuses.take(rows) > 0]
