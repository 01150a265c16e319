"""Leases of rows."""

import numpy as np
import pytest

from crdt import CrdtError
from crdt.leases import Handles, handles_of, renew, run_out, tick_of
from crdt.row_table import NEVER, RowTable


def table_of(count: int) -> RowTable:
    """A table with live rows."""
    table = RowTable(capacity=count)
    rows = table.take(count)
    table.origins[rows] = 1
    table.statuses[rows] = 1
    return table


def test_a_lease_that_is_not_renewed_runs_out() -> None:
    """At its end, not before; a row without a lease never does."""
    table = table_of(4)
    assert renew(table, handles_of(table, np.array([1, 2])), 1000).tolist() == []
    renew(table, handles_of(table, np.array([2])), 1001)
    assert run_out(table, 999).tolist() == []
    assert run_out(table, 1099).tolist() == [1]
    assert run_out(table, 1100).tolist() == [1, 2]


def test_a_handle_of_a_row_that_was_dropped_is_void_for_ever() -> None:
    """Though the row is used again; the handles beside it are good."""
    table = table_of(3)
    old = handles_of(table, np.array([1, 2, 3]))
    table.free(np.array([2]))
    table.take_one()
    table.statuses[2] = 1
    assert renew(table, old, 500).tolist() == [1]
    assert table.leases[:4].tolist() == [NEVER, 5, NEVER, 5]


def test_a_tombstone_does_not_run_out() -> None:
    """Even if a renewal crossed its end."""
    table = table_of(2)
    table.statuses[1] = 0
    renew(table, Handles(np.array([1]), np.array([0], dtype=np.uint32)), 100)
    assert run_out(table, 10_000).tolist() == []


def test_leases_beyond_one_pass_are_found() -> None:
    """In the last rows of a large table, too."""
    count = (1 << 18) + 5
    table = table_of(count)
    renew(table, handles_of(table, np.array([3, count])), 100)
    assert run_out(table, 100).tolist() == [3, count]


@pytest.mark.parametrize("instant_ms", [-200, 1 << 40])
def test_an_instant_that_no_tick_can_hold_is_refused(instant_ms: int) -> None:
    """Before the start, or decades after it."""
    with pytest.raises(CrdtError, match="instant_ms"):
        tick_of(instant_ms)
