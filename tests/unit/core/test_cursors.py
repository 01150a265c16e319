"""Cursors: good at any gateway, and only ever a hint."""

from __future__ import annotations

import base64

import msgspec
import pytest

from crdt import Origin, Stamp, VersionVector
from presence_actors.core.cursors import read_cursor, read_mark, write_cursor
from presence_actors.core.ids import ShardId

SEEN = {
    ShardId(7): VersionVector({Origin("a/w1/01"): Stamp(9)}),
    ShardId(3): VersionVector({Origin("a/w0/01"): Stamp(5), Origin("a/w1/01"): Stamp(6)}),
}


def spelt(plain: object) -> str:
    """Any value in the spelling of a cursor."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(plain)).rstrip(b"=").decode()


def test_a_cursor_says_of_each_shard_what_was_seen() -> None:
    """What is written is read again."""
    assert read_cursor(write_cursor(SEEN)) == SEEN


def test_equal_knowledge_has_equal_cursors() -> None:
    """The order in which shards were put together does not show."""
    assert write_cursor(SEEN) == write_cursor(dict(reversed(SEEN.items())))


def test_a_cursor_goes_into_a_url_as_it_is() -> None:
    """Letters, digits, minus and underscore."""
    cursor = write_cursor(SEEN)
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_no_cursor_means_that_nothing_was_seen() -> None:
    """A new subscriber has none."""
    assert read_cursor(None) == {}


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "a",
        "kein cursor",
        "\N{SNOWMAN}",
        spelt([1, 2]),
        spelt({"3": {"a/w0/01": 5}}),
        spelt({3: {"a/w0/01": -5}}),
        spelt({3: {"a/w0/01": 1.5}}),
        spelt({3: {"a" * 64 * 1024: 5}}),
    ],
)
def test_a_cursor_that_cannot_be_read_means_that_nothing_was_seen(cursor: str) -> None:
    """Its client gets a snapshot, not an error: the cursor may be that of another version."""
    assert read_cursor(cursor) == {}


def test_a_mark_goes_with_a_cursor_and_changes_nothing_of_it() -> None:
    """Who reads only the vectors need not know of it."""
    cursor = write_cursor(SEEN, mark="c0ffee")
    assert read_cursor(cursor) == read_cursor(write_cursor(SEEN)) == SEEN
    assert read_mark(cursor) == "c0ffee"
    assert read_mark(write_cursor(SEEN)) == read_mark(None) == ""
