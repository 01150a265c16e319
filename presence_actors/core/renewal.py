"""All rows of an origin anew, in as many parts as it takes.

An origin that was not heard for the horizon is replaced as a whole at the next contact with a peer
that has heard it (`crdt.horizon`). What is held of it and did not come is dropped with the last
part, so it has to be known what came in all parts before, and that none of them is missing. Each
part says from where to where in the sender's change log it reaches; the first begins at 0.

A transfer that broke off goes on where it was, but not after the horizon. The ends of rows that
came before the break may be forgotten by then, and such a row would be taken for one that stands.
"""

from __future__ import annotations

from collections.abc import Collection

from crdt import Key, Origin, Rows
from presence_actors.core.instants import Instant

__all__ = ["Renewal"]


class Renewal:
    """What has come so far from one life of a peer, of one map.

    >>> renewal, origins, now = Renewal(), [Origin("a/w0/1")], Instant(0)
    >>> [renewal.continues(after, origins, now, expires_ms=9) for after in (5, 0)]
    [False, True]
    """

    __slots__ = ("_began", "_came", "_reached")

    def __init__(self) -> None:
        #: {origin to be replaced: {key of a row of it that came}}, without a gap since 0.
        self._came: dict[Origin, dict[Key, None]] = {}
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

    def kept(self, after: int, origins: Collection[Origin]) -> list[Key]:
        """The keys of rows of these origins that came in earlier parts of the same transfer."""
        if after == 0:
            return []  # It begins again, and all of it will come.
        return [key for origin in origins for key in self._came.get(origin, ())]

    def note(
        self,
        after: int,
        reached: int,
        origins: Collection[Origin],
        rows: Rows,
        lost: Rows,
        now: Instant,
    ) -> None:
        """A part that `continues` was merged; a row of it that lost does not count as come."""
        if after == 0:
            self._came, self._reached = {origin: {} for origin in origins}, reached
            self._began = now
        elif after > self._reached:
            self._came, self._reached = {}, reached
        else:
            self._came = {origin: self._came[origin] for origin in origins}
            self._reached = max(self._reached, reached)
        if not self._came:
            return
        beaten = frozenset(lost.keys)
        for key, origin in zip(rows.keys, rows.origins, strict=True):
            if origin in self._came and key not in beaten:
                self._came[origin][key] = None
