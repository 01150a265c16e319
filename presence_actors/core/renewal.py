"""All rows of an origin anew, in as many parts as it takes.

An origin that was not heard for the horizon is replaced as a whole at the next contact with a peer
that has heard it (`crdt.horizon`). What is held of it and did not come is dropped with the last
part, so it has to be known what came in all parts before, and that none of them is missing. Each
part says from where to where in the sender's change log it reaches; the first begins at 0.
"""

from __future__ import annotations

from collections.abc import Collection

from crdt import Key, Origin, Rows

__all__ = ["Renewal"]


class Renewal:
    """What has come so far from one life of a peer, of one map.

    >>> renewal = Renewal()
    >>> renewal.continues(5, [Origin("a/w0/1")]), renewal.continues(0, [Origin("a/w0/1")])
    (False, True)
    """

    __slots__ = ("_came", "_reached")

    def __init__(self) -> None:
        #: {origin to be replaced: {key of a row of it that came}}, without a gap since 0.
        self._came: dict[Origin, dict[Key, None]] = {}
        #: How far in the sender's log.
        self._reached = 0

    def continues(self, after: int, origins: Collection[Origin]) -> bool:
        """Whether a part that begins there leaves out nothing of these origins."""
        if after == 0:
            return True
        return after <= self._reached and all(origin in self._came for origin in origins)

    def kept(self, origins: Collection[Origin]) -> list[Key]:
        """The keys of rows of these origins that came in the parts before."""
        return [key for origin in origins for key in self._came.get(origin, ())]

    def note(
        self, after: int, reached: int, origins: Collection[Origin], rows: Rows, lost: Rows
    ) -> None:
        """A part that `continues` was merged; a row of it that lost does not count as come."""
        if after == 0:
            self._came, self._reached = {origin: {} for origin in origins}, reached
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
