"""The columns, and which rows are free."""

import numpy as np

from crdt.row_table import NEVER, RowTable, absent


def test_a_freed_row_is_as_new_but_for_its_generation() -> None:
    """Whoever holds a handle to what was there before sees that it is void."""
    table = RowTable(capacity=4)
    rows = table.take(3)
    table.stamps[rows], table.statuses[rows], table.leases[rows] = 7, 1, 9
    table.set_id(2, ("t", "k", "s"))
    table.set_value(2, b"value")
    table.free(rows[1:2])
    assert (table.stamps[2], table.statuses[2], table.leases[2]) == (0, 0, NEVER)
    assert (table.generations[2], table.value_of(2)) == (1, b"")
    assert table.ids is not None
    assert table.ids[2] is None
    assert (table.take_one(), table.take_one(), len(table)) == (2, 4, 4)


def test_columns_keep_what_they_hold_when_they_grow() -> None:
    """Views of single items follow."""
    table = RowTable()
    rows = table.take(5)
    table.stamps[rows] = np.arange(5) + 10
    table.set_value(3, b"x")
    assert not table.reserve(1)
    assert table.reserve(1000)
    assert table.stamps[1:6].tolist() == [10, 11, 12, 13, 14]
    table.stamps_at[1] = 99
    assert (table.stamps[1], table.value_of(3), table.generations[900]) == (99, b"x", 0)
    assert table.leases[900] == NEVER


def test_objects_cost_nothing_until_the_first_of_them_comes() -> None:
    """Empty values are no objects."""
    table = RowTable(capacity=100)
    rows = table.take(3)
    size = table.nbytes
    table.set_value(1, b"")
    table.set_values(rows, None)
    assert (table.values, table.values_of(rows), table.nbytes) == (None, [b""] * 3, size)
    table.set_values(rows, np.array([None, b"x", None], dtype=np.object_))
    assert table.values_of(rows) == [b"", b"x", b""]
    table.set_values(rows, None)
    assert table.values_of(rows) == [b""] * 3
    assert table.nbytes > size


def test_rows_in_use_are_told_from_free_ones_and_live_from_removed() -> None:
    """By origin and by status."""
    table = RowTable()
    rows = table.take(3)
    table.origins[rows] = 1
    table.statuses[rows[:2]] = 1
    table.free(rows[:1])
    assert (table.rows().tolist(), table.live_rows().tolist(), table.end) == ([2, 3], [2], 4)
    assert table.ended_rows().tolist() == [3]
    assert absent(np.array([None, 1], dtype=np.object_)).tolist() == [True, False]


def test_rows_in_a_run_are_written_as_any_others() -> None:
    """Keys, stamps and epochs, with or without the latter; no other row is touched."""
    keys = np.arange(12, dtype=np.uint64).reshape(6, 2)
    numbers = np.arange(6, dtype=np.uint64)
    held = []
    for order in ([0, 1, 2, 3, 4, 5], [3, 5, 0, 2, 1, 4]):
        table = RowTable(capacity=20)
        rows = np.array(order, dtype=np.int64) + 4
        table.put_keys(rows, keys[order])
        table.put_versions(rows, numbers[order] + np.uint64(7), numbers[order])
        table.put_versions(rows, numbers[order] + np.uint64(9), None)
        held.append(table.heads.tolist())
        assert (table.keys_of(rows) == keys[order]).all()
        assert table.stamps.take(rows).tolist() == [9 + place for place in order]
        assert not table.heads[1:4].any()
        assert not table.heads[10:].any()
    assert held[0] == held[1]
