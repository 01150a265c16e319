"""Columns on the wire."""

import pytest

from crdt import DecodeError
from crdt.columns import (
    read_numbers,
    read_table,
    read_texts,
    write_numbers,
    write_table,
    write_texts,
)


@pytest.mark.parametrize(
    ("greatest", "width"),
    [(0, 1), (255, 1), (256, 2), (65535, 2), (65536, 4), (1 << 32, 8), ((1 << 64) - 1, 8)],
)
def test_numbers_take_the_narrowest_width(greatest: int, width: int) -> None:
    """The greatest of a column decides, and all come back as 64 bits."""
    written = write_numbers([0, greatest])
    assert len(written) == 2 * width
    read = read_numbers(written, 2, "here")
    assert (read.tolist(), read.dtype.name) == ([0, greatest], "uint64")


def test_bytes_are_little_endian() -> None:
    """On every machine."""
    assert write_numbers([1, 256]) == b"\x01\x00\x00\x01"


@pytest.mark.parametrize("longest", [0, 1, 255, 256, 70_000])
def test_texts_come_back_however_long_they_are(longest: int) -> None:
    """Their lengths take a byte each or more; one that is missing at the end is found."""
    texts = ["a", "", "b" * longest, "é"]
    written = write_texts(texts)
    assert read_texts(written, 4, "here") == texts
    with pytest.raises(DecodeError, match="add up to"):
        read_texts(written | {"text": "".join(texts)[:-1]}, 4, "here")


def test_a_table_holds_each_text_once() -> None:
    """Sorted, so that equal columns have equal bytes."""
    texts = ["b", "a", "b", ""]
    written = write_table(texts)
    assert written == {
        "count": 3,
        "table": {"text": "ab", "lengths": b"\x00\x01\x01"},
        "index": b"\x02\x01\x02\x00",
    }
    assert read_table(written, 4, "here") == texts


def test_a_column_of_another_count_is_refused() -> None:
    """Neither more nor fewer rows than announced."""
    for count in (1, 3):
        with pytest.raises(DecodeError, match="here"):
            read_texts(write_texts(["a", "b"]), count, "here")
