"""The index of rows by group, call by call."""

import random

import numpy as np
import pytest

from crdt.group_index import GroupIndex


def test_a_group_without_rows_is_empty() -> None:
    """The last row that leaves takes its group's head along."""
    index = GroupIndex(rows=8, groups=4)
    index.add_one(3, 2)
    assert not index.is_empty(2)
    index.remove_one(3, 2)
    assert (index.is_empty(2), index.rows_of(2)) == (True, [])


@pytest.mark.parametrize(
    "leaving", [[1], [2], [3], [1, 2], [2, 3], [1, 3], [1, 2, 3], [3, 2, 1]], ids=str
)
def test_neighbours_may_leave_together(leaving: list[int]) -> None:
    """In one batch, in any order, at either end of the list or all of it."""
    index = GroupIndex(rows=8, groups=4)
    index.add(np.array([1, 2, 3, 4]), np.array([1, 1, 1, 2]))
    index.remove(np.array(leaving), np.array([1] * len(leaving)))
    assert sorted(index.rows_of(1)) == [row for row in (1, 2, 3) if row not in leaving]
    assert index.rows_of(2) == [4]


def test_batches_and_single_rows_agree_with_a_dict_of_sets() -> None:
    """Whatever comes and goes, by one or by many, and while the columns grow."""
    rng = random.Random(7)
    index = GroupIndex(rows=4, groups=2)
    group_of: dict[int, int] = {}
    for rows in (40, 80, 160):
        index.reserve(rows=rows, groups=rows // 8)
        for _ in range(60):
            absent = [row for row in range(1, rows) if row not in group_of]
            coming = rng.sample(absent, min(len(absent), rng.randrange(12)))
            groups = [rng.randrange(1, rows // 8) for _ in coming]
            if rng.random() < 0.5:
                index.add(np.array(coming, dtype=np.int64), np.array(groups, dtype=np.int64))
            else:
                for row, group in zip(coming, groups, strict=True):
                    index.add_one(row, group)
            group_of.update(zip(coming, groups, strict=True))
            going = rng.sample(sorted(group_of), rng.randrange(min(12, len(group_of) + 1)))
            left = [group_of.pop(row) for row in going]
            if rng.random() < 0.5:
                index.remove(np.array(going, dtype=np.int64), np.array(left, dtype=np.int64))
            else:
                for row, group in zip(going, left, strict=True):
                    index.remove_one(row, group)
            for group in range(1, rows // 8):
                held = sorted(row for row, other in group_of.items() if other == group)
                assert sorted(index.rows_of(group)) == held
                assert index.is_empty(group) == (not held)
