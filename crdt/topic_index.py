"""Topics by number: all that is known of one is 8 bytes of hash, and where its list begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from crdt.group_index import GroupIndex
from crdt.key_index import KeyIndex
from crdt.ordering import leaders

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOPICS_MIN: Final = 16


class TopicIndex:
    """The rows of each topic, by the hash of the topic; topics without rows take no room.

    Two topics may have one hash: whoever asks compares the names, where they are known.

    >>> topics = TopicIndex(rows=8)
    >>> numbers = topics.add(np.array([1, 2, 3]), np.array([70, 80, 70], dtype=np.uint64))
    >>> topics.rows_of(70), len(topics)
    ([1, 3], 2)
    >>> topics.remove(np.array([1, 3]), numbers[[0, 2]])
    >>> topics.rows_of(70), len(topics)
    ([], 1)
    """

    __slots__ = ("_free", "_groups", "_index", "_used", "_words")

    def __init__(self, *, rows: int, topics: int = 0) -> None:
        capacity = max(topics + 1, _TOPICS_MIN)
        #: uint64[topics, 1]: the hash of each; number 0 is nobody's.
        self._words: NDArray[np.uint64] = np.zeros((capacity, 1), dtype=np.uint64)
        self._index = KeyIndex(self._words, capacity=topics)
        self._groups = GroupIndex(rows=rows, groups=capacity)
        self._used = 1
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._index)

    @property
    def capacity(self) -> int:
        """Rows below this can be added."""
        return self._groups.capacity

    @property
    def nbytes(self) -> int:
        """The size of the columns."""
        return self._words.nbytes + self._index.nbytes + self._groups.nbytes

    def reserve(self, rows: int) -> None:
        """Make room for rows with numbers below this."""
        self._groups.reserve(rows=rows)

    def rows_of(self, word: int) -> list[int]:
        """The rows of a topic, those added last first."""
        number = self._index.find_one(word, word)
        return self._groups.rows_of(number) if number else []

    def add(self, rows: NDArray[np.int64], words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Put rows into topics; the numbers of those."""
        query = words.reshape(-1, 1)
        numbers = self._index.find(query)
        missing = np.flatnonzero(numbers == 0)
        if len(missing):
            unknown = query.take(missing, axis=0)
            numbers[missing] = self._add_topics(unknown)
        self._groups.add(rows, numbers)
        return numbers

    def _add_topics(self, unknown: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers for topics that have none; they may come more than once."""
        leading = leaders(unknown.reshape(-1))
        each = np.flatnonzero(leading == np.arange(len(leading)))
        fresh = unknown.take(each, axis=0)
        numbers = np.empty(len(leading), dtype=np.int64)
        numbers[each] = given = self._take(fresh.reshape(-1))
        self._index.insert(fresh, given)
        return numbers.take(leading)

    def remove(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Take rows out of the topics that they are in."""
        self._groups.remove(rows, numbers)
        empty = self._groups.empty_of(numbers)
        self._index.delete(self._words.take(empty, axis=0), empty)
        self._free.extend(empty.tolist())

    def add_one(self, row: int, word: int) -> int:
        """Put a row into a topic; the number of that."""
        number = self._index.find_one(word, word)
        if not number:
            number = int(self._take(np.array([word], dtype=np.uint64))[0])
            self._index.insert_one(word, number)
        self._groups.add_one(row, number)
        return number

    def _take(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers for topics that have none."""
        count = len(words)
        again = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(again)
        numbers = np.empty(count, dtype=np.int64)
        numbers[: len(again)] = again
        numbers[len(again) :] = np.arange(self._used, self._used + fresh)
        self._used += fresh
        if self._used > len(self._words):
            longer = np.zeros((max(self._used, len(self._words) * 3 // 2), 1), dtype=np.uint64)
            longer[: len(self._words)] = self._words
            self._words = longer
            self._index.use(longer)
            self._groups.reserve(groups=len(longer))
        self._words[numbers, 0] = words
        return numbers
