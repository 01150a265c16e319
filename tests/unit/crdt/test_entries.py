"""What a map holds: rows, indexes and log together."""

import numpy as np

from crdt import Key, KeyHasher, Origin, Row, Stamp
from crdt.entries import Entries

HASHER = KeyHasher()


def put(entries: Entries, key: Key, stamp: int, *, holder: str = "") -> int:
    """Store a row, one by one."""
    row = Row(key, Stamp(stamp), Origin("a"), 0, 1, holder, b"")
    words = HASHER.words_of(key)
    origin = entries.origins.number(row.origin)
    return entries.put_one(entries.find_words(words), words, row, origin)


def test_a_holder_without_rows_gives_its_number_back() -> None:
    """Gateways come and go; what is counted is those that hold something."""
    entries = Entries(HASHER)
    for life in range(100):
        put(entries, ("t", "k", "s"), life + 1, holder=f"gateway/{life}")
    assert (list(entries.holders), len(entries.holders)) == (["gateway/99"], 3)
    entries.drop(np.array([1]))
    assert list(entries.holders) == []


def test_many_holders_at_once_have_lists_of_their_own() -> None:
    """However many come in one go."""
    entries = Entries(HASHER)
    for number in range(50):
        put(entries, ("t", "k", str(number)), number + 1, holder=f"g{number}")
    assert [entries.holder_rows(f"g{number}") for number in range(50)] == [
        [number] for number in range(1, 51)
    ]


def test_topics_with_one_hash_are_told_apart_by_name() -> None:
    """Where the names are known."""

    class OneTopic(KeyHasher):
        __slots__ = ()

        def topic_word(self, topic: str) -> int:
            del topic
            return 7

    entries = Entries(OneTopic())
    rows = []
    for number, topic in enumerate(("room:a", "room:b")):
        row = Row((topic, "k", "s"), Stamp(number + 1), Origin("a"), 0, 1, "", b"")
        words = OneTopic().words_of(row.key)
        rows.append(entries.put_one(0, words, row, entries.origins.number(row.origin)))
    assert (entries.topic_rows("room:a"), entries.topic_rows("room:b")) == ([rows[0]], [rows[1]])


def test_a_hundred_rows_read_at_once_are_those_read_one_by_one() -> None:
    """There are two ways to read them, by how many they are."""
    entries = Entries(HASHER)
    for number in range(100):
        put(entries, ("t", "k", f"{number:03}"), number + 1, holder=f"g{number % 3}")
    every = list(range(100, 0, -1))
    assert list(entries.sorted_rows(every)) == [entries.row(row) for row in reversed(every)]
    assert list(entries.sorted_rows(every[:5])) == [
        entries.row(row) for row in (96, 97, 98, 99, 100)
    ]
    assert list(entries.rows(np.array([4, 2]))) == [entries.row(4), entries.row(2)]
