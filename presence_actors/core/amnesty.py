"""After a pause a machine reads its input first, then judges others.

A process that was suspended, or whose loop was blocked, finds every lease run out, while the beats
that would have renewed them wait unread. So whoever wakes up far too late suspects itself: for a
while it takes everything in, speaks, and ends nothing.
"""

from __future__ import annotations

from presence_actors.core.instants import Instant

__all__ = ["Amnesty"]


class Amnesty:
    """Whether this machine has just woken up.

    >>> amnesty = Amnesty(Instant(0), stall_ms=1_000, span_ms=500)
    >>> amnesty.note(due=Instant(100), now=Instant(1_100))
    >>> amnesty.holds(Instant(1_599)), amnesty.holds(Instant(1_600))
    (True, False)
    """

    __slots__ = ("_span_ms", "_stall_ms", "until")

    def __init__(self, now: Instant, *, stall_ms: int, span_ms: int) -> None:
        self._stall_ms = stall_ms
        self._span_ms = span_ms
        #: Nobody is judged before.
        self.until = now

    def note(self, *, due: Instant | None, now: Instant) -> None:
        """The machine runs now and was to run at `due`."""
        if due is not None and now - due >= self._stall_ms:
            self.until = Instant(now + self._span_ms)

    def holds(self, now: Instant) -> bool:
        """Whether it is too early to judge."""
        return now < self.until
