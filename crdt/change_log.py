"""The change log: keys in the order in which their rows changed last.

Every change takes the next *position*; a key that changes again leaves its old one.  What changed
since a position is then a walk from there to the end, whatever the size of the map.  Positions are
local: each map has its own, and they never go back.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crdt.rows import Key

#: Fewer gaps than this are not worth closing.
_GAPS_MIN: Final = 64


class ChangeLog:
    """Keys by position.

    >>> log = ChangeLog()
    >>> for session in ("s1", "s2", "s1"):
    ...     log.append(("t", "k", session))
    >>> log.position, [(position, key[2]) for position, key in log.beyond(0)]
    (3, [(2, 's2'), (3, 's1')])
    """

    __slots__ = ("_keys", "_position", "_position_of", "_positions")

    def __init__(self) -> None:
        #: The position of the last change; 0 before the first.
        self._position = 0
        #: Ascending; parallel to `_keys`.  Gaps are at most as many as keys, beyond a few.
        self._positions: list[int] = []
        #: None where a key has left its place.
        self._keys: list[Key | None] = []
        #: {key: its only position}.
        self._position_of: dict[Key, int] = {}

    @property
    def position(self) -> int:
        """The position of the last change; it only grows."""
        return self._position

    def __len__(self) -> int:
        return len(self._position_of)

    def append(self, key: Key) -> None:
        """Note a change; the key leaves its old position."""
        self.discard(key)
        self._position += 1
        self._positions.append(self._position)
        self._keys.append(key)
        self._position_of[key] = self._position

    def discard(self, key: Key) -> None:
        """Forget a key, if it is there."""
        old = self._position_of.pop(key, None)
        if old is None:
            return
        self._keys[bisect_right(self._positions, old) - 1] = None
        if len(self._keys) > 2 * len(self._position_of) + _GAPS_MIN:
            kept = sorted((position, kept) for kept, position in self._position_of.items())
            self._positions = [position for position, _ in kept]
            self._keys = [key for _, key in kept]

    def beyond(self, position: int) -> Iterator[tuple[int, Key]]:
        """(position, key) of every key that changed last after ``position``, oldest first.

        Do not change the log while walking.
        """
        for index in range(bisect_right(self._positions, position), len(self._positions)):
            key = self._keys[index]
            if key is not None:
                yield self._positions[index], key
