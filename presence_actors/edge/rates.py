"""How often somebody may ask: a token bucket for each, and no memory of whom it has refilled.

A bucket is only a time: that at which it would be full again (the generic cell rate algorithm).
"""

from __future__ import annotations

__all__ = ["Rates"]

#: Shorter waits are errors of floating point, which would refuse the last of a burst.
_ROUNDING_S = 1e-6


class Rates:
    """Buckets by name.

    >>> rates = Rates(per_second=2, burst=2)
    >>> [rates.wait_s("alice", now) for now in (0.0, 0.0, 0.0, 0.5)]
    [0.0, 0.0, 0.5, 0.0]

    Args:
        per_second: How often in the long run.
        burst: How often at once.
    """

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._tolerance = (burst - 1) / per_second
        self._full_at: dict[str, float] = {}
        self._sweep_at = 1_024

    def wait_s(self, name: str, now: float, *, count: int = 1) -> float:
        """0, and all of it counts; or after how many seconds it may ask again."""
        full_at = max(self._full_at.get(name, now), now) + (count - 1) * self._interval
        wait = full_at - now - self._tolerance
        if wait > _ROUNDING_S:
            return wait
        self._full_at[name] = full_at + self._interval
        if len(self._full_at) >= self._sweep_at:
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}
            self._sweep_at = max(1_024, 2 * len(self._full_at))
        return 0.0
