"""From hashed keys to rows."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from crdt.key_index import KeyIndex

ROWS = 1500


def keys_with(kind: str) -> NDArray[np.uint64]:
    """Keys for rows 1 to `ROWS`, no two the same; row 0 has one that nobody asks for."""
    rng = np.random.default_rng(3)
    words = 1 if kind == "one word" else 2
    keys = rng.integers(0, 1 << 63, (ROWS + 1, words), dtype=np.uint64)
    if kind == "crowded buckets":
        keys[:, 1] = np.arange(ROWS + 1, dtype=np.uint64) << np.uint64(32) | keys[:, 1] % np.uint64(
            64
        )
    if kind == "equal tags":
        keys[:, 1] %= np.uint64(1 << 31)
    if kind == "equal last words":
        keys[:, 1] = keys[:, 0] % np.uint64(500)
    keys[0] = np.iinfo(np.uint64).max
    return keys


@pytest.mark.parametrize(
    "kind", ["random", "one word", "crowded buckets", "equal tags", "equal last words"]
)
def test_an_index_agrees_with_a_dict(kind: str) -> None:
    """Whatever comes and goes, by one or by many, however poor the hash."""
    keys = keys_with(kind)
    rng = random.Random(kind)
    index = KeyIndex(keys)
    held: set[int] = set()
    for turn in range(30):
        absent = sorted(set(range(1, ROWS + 1)) - held)
        coming = np.array(rng.sample(absent, min(len(absent), rng.choice([1, 5, 300]))), np.int64)
        if turn % 3:
            index.insert(keys.take(coming, axis=0), coming)
        else:
            for row in coming.tolist():
                index.insert_one(int(keys[row, -1]), row)
        held |= set(coming.tolist())
        going = np.array(
            rng.sample(sorted(held), min(len(held), rng.choice([0, 3, len(held) // 3]))), np.int64
        )
        if turn % 2:
            index.delete(keys.take(going, axis=0), going)
        else:
            for row in going.tolist():
                index.delete_one(int(keys[row, -1]), row)
        held -= set(going.tolist())
        every = np.arange(1, ROWS + 1)
        expected = [row if row in held else 0 for row in every.tolist()]
        assert index.find(keys[1:]).tolist() == expected
        some = rng.sample(range(1, ROWS + 1), 20)
        assert [index.find_one(int(keys[row, 0]), int(keys[row, -1])) for row in some] == [
            expected[row - 1] for row in some
        ]
        assert len(index) == len(held)


@pytest.mark.parametrize("kind", ["random", "crowded buckets", "equal tags"])
@pytest.mark.parametrize("count", [3, ROWS, 12 * ROWS])
def test_a_record_comes_with_its_row(kind: str, count: int) -> None:
    """However the row was found, in how many passes; zeros where there is none."""
    records = np.zeros((ROWS + 1, 4), dtype=np.uint64)
    records[:, :2] = keys_with(kind)
    records[1:, 2:] = np.random.default_rng(4).integers(1, 1 << 63, (ROWS, 2), dtype=np.uint64)
    index = KeyIndex(records, words=2)
    known = np.arange(1, ROWS // 2)
    index.insert(records[known, :2], known)
    asked = np.random.default_rng(5).integers(1, ROWS + 1, count)
    rows, rest = index.find_records(records[asked, :2])
    expected = np.where(asked < ROWS // 2, asked, 0)
    assert rows.tolist() == expected.tolist()
    assert rest.T.tolist() == records[expected, 2:].tolist()
    assert index.find(records[asked, :2]).tolist() == expected.tolist()


def test_a_table_full_of_turnover_is_as_it_was() -> None:
    """Deleting leaves no marks: buckets count down to zero, and the size stays."""
    keys = keys_with("random")
    index = KeyIndex(keys, capacity=ROWS)
    size = index.nbytes
    rng = np.random.default_rng(5)
    every = np.arange(1, ROWS + 1)
    index.insert(keys[1:], every)
    for _ in range(20):
        index.delete(keys[1:], every)
        assert not index._over.any()
        assert not index._slots.any()
        keys[1:] = rng.integers(0, 1 << 63, (ROWS, 2), dtype=np.uint64)
        index.insert(keys[1:], every)
    assert index.nbytes == size
    assert index.find(keys[1:]).tolist() == every.tolist()


def test_room_in_advance_means_no_growth() -> None:
    """And without it the table grows with its keys."""
    keys = keys_with("random")
    index, grown = KeyIndex(keys, capacity=ROWS), KeyIndex(keys)
    assert grown.nbytes < index.nbytes
    grown.insert(keys[1:], np.arange(1, ROWS + 1))
    assert grown.nbytes == index.nbytes
