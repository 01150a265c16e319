"""The change log, call by call."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.change_log import ChangeLog


def rows_beyond(log: ChangeLog, position: int) -> list[int]:
    """What changed last after a position."""
    return [row for piece in log.beyond(position) for row in piece.tolist()]


def log_of(*rows: int) -> ChangeLog:
    """A log of these changes, one by one."""
    log = ChangeLog(rows=16)
    for row in rows:
        log.append_one(row)
    return log


def test_a_row_that_changes_again_leaves_its_old_place() -> None:
    """Every row is there once, in the order of latest changes."""
    log = log_of(1, 2, 1, 3)
    assert (rows_beyond(log, 0), rows_beyond(log, 2), rows_beyond(log, 3)) == (
        [2, 1, 3],
        [1, 3],
        [3],
    )
    assert (len(log), log.position, log.position_of(1)) == (3, 4, 3)


def test_a_batch_with_a_row_twice_can_be_noted_again_once_each() -> None:
    """What was noted in vain does not pass for a row that comes twice (2026-11-24)."""
    log = log_of(1, 2)
    for rows in ([3, 4, 5, 6, 7, 7], [3, 4, 5, 3], [5, 6, 7, 8, 9, 5]):
        known = set(rows_beyond(log, 0))
        assert not log.append(np.array(rows), new_count=len(set(rows) - known))
        once = sorted(set(rows), reverse=True)
        before = log.position
        assert log.append(np.array(once), new_count=len(set(rows) - known))
        assert rows_beyond(log, before) == once
        assert len(log) == len(known | set(rows))


def test_a_batch_is_noted_as_if_its_rows_came_one_by_one() -> None:
    """Positions and order are the same."""
    log = log_of(1, 2)
    assert log.append(np.array([3, 1]))
    assert (rows_beyond(log, 0), len(log), log.position) == ([2, 3, 1], 3, 4)


@pytest.mark.parametrize("rows", [[4, 5, 6, 7], [7, 4, 6, 5]], ids=["in a run", "scattered"])
def test_rows_in_a_run_are_noted_as_any_others(rows: list[int]) -> None:
    """Those that were there leave their old places."""
    log = log_of(1, 6, 2)
    assert log.append(np.array(rows), new_count=3)
    assert (rows_beyond(log, 0), len(log), log.position) == ([1, 2, *rows], 6, 7)
    assert [log.position_of(row) for row in rows] == [4, 5, 6, 7]


def test_a_batch_with_a_row_twice_is_not_noted() -> None:
    """Which of its two places would count is not for the log to say."""
    log = log_of(1, 2)
    assert not log.append(np.array([2, 2]), new_count=0)
    assert (len(log), log.position) == (2, 2)
    assert log.append(np.array([2]), new_count=0)
    assert (rows_beyond(log, 0), log.position) == ([1, 2], 3)


def test_a_row_twice_in_a_large_batch_is_found_wherever_it_is() -> None:
    """Beside the first time or far behind it."""
    for second in (1, 4000, 6000, 8999):
        log = ChangeLog(rows=10_000)
        log.append(np.array([17, 1]))
        rows = np.arange(1, 9001)
        rows[second] = 1
        assert not log.append(rows)
        assert (len(log), log.position) == (2, 2)
        once = np.delete(rows, second)
        assert log.append(once, new_count=len(once) - 2)
        assert (rows_beyond(log, 0), len(log)) == (once.tolist(), len(once))


def test_a_forgotten_row_takes_no_position_back() -> None:
    """Positions only grow, so a peer's old position stays meaningful."""
    log = log_of(1, 2)
    log.discard(np.array([2]))
    assert (rows_beyond(log, 0), len(log), log.position) == ([1], 1, 2)
    log.append_one(2)
    assert rows_beyond(log, 1) == [2]
    assert log.position == 3


def test_positions_survive_the_closing_of_gaps() -> None:
    """One row that changes without end leaves a log of bounded size, and the others in place."""
    log = log_of(0, 1, 2)
    for _ in range(1000):
        log.append_one(1)
    assert rows_beyond(log, 0) == [0, 2, 1]
    assert rows_beyond(log, 1) == [2, 1]
    assert rows_beyond(log, 3) == [1]
    assert rows_beyond(log, 1003) == []
    assert log.nbytes < 1000


def test_a_position_within_the_closed_part_is_found() -> None:
    """Between two marks, too."""
    log = ChangeLog(rows=2000)
    log.append(np.arange(2000))
    log.append(np.arange(0, 2000, 2))
    for _ in range(3000):
        log.append_one(1999)
    assert log._closed
    for position in (0, 255, 256, 257, 1000, 1999, 2000, 2001, 2999):
        expected = [row for row in range(1, 1999, 2) if row + 1 > position]
        expected += [row for row in range(0, 2000, 2) if 2001 + row // 2 > position]
        assert rows_beyond(log, position) == [*expected, 1999]


def test_a_longer_log_says_the_same() -> None:
    """Room for more rows moves the columns, not the positions."""
    log = log_of(1, 2, 1)
    log.reserve(1000)
    log.append_one(999)
    assert (rows_beyond(log, 0), rows_beyond(log, 3)) == ([2, 1, 999], [999])


@given(st.lists(st.integers(0, 20), max_size=200), st.integers(0, 210))
def test_a_few_rows_beyond_a_position_are_those_of_the_columns(
    changes: list[int], position: int
) -> None:
    """One by one they are the same, as long as they are few and behind the closed part."""
    log = ChangeLog(rows=21)
    for row in changes:
        log.append_one(row)
    few = log.few_beyond(position, most=30)
    assert few in (None, rows_beyond(log, position))
    if not log._closed and log.position - position <= 30:
        assert few is not None
