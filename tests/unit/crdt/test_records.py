"""Records of words, and the fields in them."""

import numpy as np
import pytest

from crdt.records import Field, passes, records_of, run_of


@pytest.mark.parametrize("count", [1, 24, 5000, 300_000])
@pytest.mark.parametrize("words", [1, 2, 4])
def test_no_record_lies_across_two_lines_of_the_cache(count: int, words: int) -> None:
    """Wherever the memory comes from, small or large; and all of it is zero."""
    records = records_of(count, words)
    assert records.shape == (count, words)
    assert records.__array_interface__["data"][0] % 64 == 0
    assert records.flags.c_contiguous
    assert not records.any()


@pytest.mark.parametrize("count", [0, 1, 5120, 5121, 10_000, 65_536])
def test_passes_are_all_of_a_batch_in_order(count: int) -> None:
    """None is empty, and none is much shorter than the others."""
    parts = list(passes(count))
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert all(0 < size <= 5120 for size in sizes)
    assert not sizes or max(sizes) - min(sizes) < max(len(sizes), 2)


@pytest.mark.parametrize(
    "rows", [[], [4, 6], [4, 6, 5, 7], [5, 4], [4, 4, 6], [7, 6, 5], [4, 5, 6, 6]]
)
def test_only_rows_one_behind_the_other_are_a_run(rows: list[int]) -> None:
    """Neither those with gaps, nor in another order, nor with one that comes twice."""
    assert run_of(np.array(rows, dtype=np.int64)) is None


def test_fields_of_one_word_do_not_touch_each_other() -> None:
    """Each is read and written by rows, by one row, and as a column."""
    words = np.zeros(6, dtype="<u8")
    low = Field(words.view("u1"), 8, 0)
    middle = Field(words.view("<u2"), 4, 1)
    high = Field(words.view("<u4"), 2, 1)
    rows = np.array([1, 4])
    low[rows], middle[rows], high[rows] = 3, np.array([500, 501], dtype=np.uint16), 70_000
    middle[2] = 9
    high[5:] = 1
    assert words.tolist() == [
        0,
        70_000 << 32 | 500 << 16 | 3,
        9 << 16,
        0,
        70_000 << 32 | 501 << 16 | 3,
        1 << 32,
    ]
    assert middle.take(np.array([4, 2, 0])).tolist() == [501, 9, 0]
    assert (low[4], middle[1:3].tolist(), high.column.tolist()[4:]) == (3, [500, 9], [70_000, 1])
