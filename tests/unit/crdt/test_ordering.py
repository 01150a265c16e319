"""Orders and repeats of whole numbers."""

import numpy as np
import pytest

from crdt.ordering import leaders, order_of, repeats


@pytest.mark.parametrize("count", [0, 1, 2, 700, 70_000])
@pytest.mark.parametrize("below", [1, 100, 1 << 16, (1 << 16) + 1, 1 << 32])
def test_an_order_is_that_of_a_stable_sort(count: int, below: int) -> None:
    """However great the numbers are, and however often they repeat."""
    numbers = np.random.default_rng(count).integers(0, below, count)
    assert order_of(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()
    assert order_of(numbers[::-1].copy()).tolist() == (
        np.argsort(numbers[::-1], kind="stable").tolist()
    )


@pytest.mark.parametrize("count", [2, 3, 500, 60_000])
@pytest.mark.parametrize("crowd", [1, 3, 1 << 20])
def test_a_word_that_comes_twice_is_found_wherever_it_is(count: int, crowd: int) -> None:
    """Among words that differ in their low bits, and among words that do not."""
    rng = np.random.default_rng(count)
    # Each is another one: the upper half counts.
    words = np.arange(count, dtype=np.uint64) << np.uint64(32)
    words |= rng.integers(0, crowd, count, dtype=np.uint64)
    rng.shuffle(words)
    assert not repeats(words)
    for first, second in ((0, count - 1), (count // 2, count // 2 - 1), (count - 1, 1)):
        if first != second:
            again = words.copy()
            again[second] = again[first]
            assert repeats(again)


def test_few_words_repeat_or_not() -> None:
    """None and one never do."""
    assert [repeats(np.array(words, dtype=np.uint64)) for words in ([], [5], [5, 5], [5, 6])] == [
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 70, 500, 70_000])
@pytest.mark.parametrize("crowd", [1, 3, 1 << 20])
def test_equal_words_have_one_leader_which_is_one_of_them(count: int, crowd: int) -> None:
    """Whether each comes once or many times, and whatever bits they differ in."""
    rng = np.random.default_rng(count)
    for shift in (0, 16, 32, 48):
        words = rng.integers(0, max(count // 2, 1), count).astype(np.uint64) << np.uint64(shift)
        words ^= rng.integers(0, crowd, count, dtype=np.uint64)
        leading = leaders(words)
        assert words.take(leading).tolist() == words.tolist()
        assert leading.take(leading).tolist() == leading.tolist()
        assert len(np.unique(leading)) == len(np.unique(words))
