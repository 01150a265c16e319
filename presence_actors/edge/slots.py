"""How fast clients come in, and when those come again who were too many.

A storm (a gateway died, a network came back) is thousands of clients at the same moment. Each costs
a gateway some tenths of a millisecond, and while it takes all of them it serves nobody else. So it
takes a burst, and then so many a second; everybody beyond is told a moment of his own to come
again, one after the other at the same rate. Had all been told the same, they would be the next
storm.

Pure: time is handed in.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RetrySlots"]

_MS_PER_S: Final = 1_000


class RetrySlots:
    """A bucket of tokens, and a queue of moments for those who found it empty.

    Args:
        per_s: How many come in each second, and how many moments are given in one.
        burst: How many may come in at once.
        wait_ms_max: The latest moment that is given; beyond, the queue begins again at its start.
            A client that were told to wait for longer would take it for a refusal.

    >>> slots = RetrySlots(per_s=10, burst=2, wait_ms_max=60_000)
    >>> [slots.take(0) for _ in range(5)], slots.take(1_000)
    ([0, 0, 100, 200, 300], 0)
    """

    def __init__(self, *, per_s: int, burst: int, wait_ms_max: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._wait_ms_max = wait_ms_max
        self._tokens = float(burst)
        self._filled_at: float | None = None
        #: The last moment that was given.
        self._given = 0.0

    def take(self, now_ms: float) -> int:
        """Whether one more comes in: 0, or else after how many milliseconds it is to come again."""
        self._fill(now_ms)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        return self.give(now_ms)

    def reserve(self, now_ms: float, *, wait_ms_max: int) -> int | None:
        """After how many milliseconds one comes in that waits here; None: that would be too long.

        Its token is taken already, so whoever comes in the meantime stands behind it.

        >>> slots = RetrySlots(per_s=10, burst=1, wait_ms_max=60_000)
        >>> [slots.reserve(0, wait_ms_max=200) for _ in range(4)], slots.take(0), slots.take(300)
        ([0, 100, 200, None], 300, 0)
        """
        self._fill(now_ms)
        wait_ms = 0.0
        if self._tokens < 1:
            given = max(self._given, now_ms) + _MS_PER_S / self._per_s
            wait_ms = given - now_ms
            if wait_ms > wait_ms_max:
                return None
            self._given = given
        self._tokens -= 1
        return round(wait_ms)

    def _fill(self, now_ms: float) -> None:
        if self._filled_at is not None:
            gained = (now_ms - self._filled_at) * self._per_s / _MS_PER_S
            self._tokens = min(self._burst, self._tokens + gained)
        self._filled_at = now_ms

    def give(self, now_ms: float) -> int:
        """A moment for one that does not come in, whatever the reason."""
        self._given = max(self._given, now_ms) + _MS_PER_S / self._per_s
        if self._given > now_ms + self._wait_ms_max:
            self._given = now_ms + _MS_PER_S / self._per_s
        return max(1, round(self._given - now_ms))
