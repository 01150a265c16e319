"""All rows of an origin anew, in as many parts as it takes.

An origin that was not heard for the horizon is replaced as a whole at the next contact with a peer
that has heard it (`crdt.horizon`). What is held of it and did not come is dropped with the last
part, so it has to be known what came in all parts before, and that none of them is missing. Each
part says from where to where in the sender's change log it reaches; the first begins at 0.

A transfer that broke off goes on where it was, but not after the horizon. The ends of rows that
came before the break may be forgotten by then, and such a row would be taken for one that stands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crdt import Origin, PackedRows, VersionVector
from presence_actors.core.instants import Instant

__all__ = ["NOTHING_REPLACED", "Renewal", "Replacing"]

_NO_KEYS: Final = np.empty((0, 2), dtype=np.uint64)


class Replacing(NamedTuple):
    """What is replaced by a part, as `LWWMap.apply` takes it."""

    anew: VersionVector = VersionVector()
    whole: Sequence[Origin] = ()
    kept: NDArray[np.uint64] | None = None


NOTHING_REPLACED: Final = Replacing()


class Renewal:
    """What has come so far from one life of a peer, of one map.

    >>> renewal, origins, now = Renewal(), [Origin("a/w0/1")], Instant(0)
    >>> [renewal.continues(after, origins, now, expires_ms=9) for after in (5, 0)]
    [False, True]
    """

    __slots__ = ("_began", "_came", "_reached")

    def __init__(self) -> None:
        #: {origin to be replaced: {where a part began: hashed keys of rows of it that came}},
        #: without a gap since 0.
        self._came: dict[Origin, dict[int, NDArray[np.uint64]]] = {}
        #: How far in the sender's log.
        self._reached = 0
        #: When its first part came.
        self._began = Instant(0)

    def continues(
        self, after: int, origins: Collection[Origin], now: Instant, *, expires_ms: int
    ) -> bool:
        """Whether a part that begins there leaves out nothing of these origins."""
        if after == 0:
            return True
        if origins and now - self._began >= expires_ms:
            return False
        return after <= self._reached and all(origin in self._came for origin in origins)

    def kept(self, after: int, origins: Collection[Origin]) -> NDArray[np.uint64]:
        """Hashed keys of rows of these origins that came in earlier parts of the same transfer."""
        if after == 0:
            return _NO_KEYS  # It begins again, and all of it will come.
        parts = [keys for origin in origins for keys in self._came.get(origin, {}).values()]
        return np.concatenate([_NO_KEYS, *parts])

    def note(
        self,
        after: int,
        reached: int,
        origins: Collection[Origin],
        rows: PackedRows,
        lost: NDArray[np.int64],
        now: Instant,
    ) -> None:
        """A part that `continues` was merged; those of its rows that lost do not count as come."""
        if after == 0:
            self._came, self._reached = {origin: {} for origin in origins}, reached
            self._began = now
        elif after > self._reached:
            self._came, self._reached = {}, reached
        else:
            self._came = {origin: self._came[origin] for origin in origins}
            self._reached = max(self._reached, reached)
        if not self._came or not len(rows):
            return
        origin_of = rows.origin_of.copy()
        origin_of[lost] = -1
        for number, name in enumerate(rows.origins):
            parts = self._came.get(Origin(name))
            if parts is None:
                continue
            came = rows.keys[origin_of == number]
            # A part may come again, and again.
            earlier = parts.get(after)
            parts[after] = came if earlier is None else _each_once(earlier, came)


def _each_once(earlier: NDArray[np.uint64], later: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.unique(np.concatenate([earlier, later]), axis=0)
