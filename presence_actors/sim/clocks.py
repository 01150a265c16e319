"""The wall clocks of the simulated hosts: each as wrong as somebody made it.

Only the wall clock can be wrong. The monotonic one is the virtual time of all, since leases and
time-outs never compare those of two machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant, Now, WallMs

__all__ = ["INSTANT_START", "WallClocks"]

#: Where the monotonic clock starts, and wall time apart from it (any time long past would do), so
#: that nothing can take the one for the other.
INSTANT_START: Final = 5_000
_WALL_START: Final = 1_700_000_000_000
_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class _Wrong:
    """How far a clock is ahead since when, and how much further it gets."""

    ahead_ms: int
    drift_ppm: int
    since: Instant


class WallClocks:
    """How far each host's wall clock is ahead of the true time."""

    def __init__(self) -> None:
        self._wrong: dict[NodeName, _Wrong] = {}
        self._now = Now(Instant(INSTANT_START), WallMs(_WALL_START))

    def now(self, instant: Instant) -> Now:
        """The true time."""
        if self._now.instant != instant:
            self._now = Now(instant, WallMs(_WALL_START - INSTANT_START + instant))
        return self._now

    def now_at(self, name: NodeName, instant: Instant) -> Now:
        """The time as the clocks of a host have it."""
        now = self.now(instant)
        ahead_ms = self.ahead_ms(name, instant) if self._wrong else 0
        return Now(instant, WallMs(now.wall + ahead_ms)) if ahead_ms else now

    def set(self, name: NodeName, now: Instant, *, ahead_ms: int, drift_ppm: int = 0) -> None:
        """From now on the clock is wrong by this, and goes this much too fast."""
        if ahead_ms or drift_ppm:
            self._wrong[name] = _Wrong(ahead_ms, drift_ppm, now)
        else:
            self._wrong.pop(name, None)

    def ahead_ms(self, name: NodeName, now: Instant) -> int:
        """How far it is ahead now; negative if it is behind."""
        wrong = self._wrong.get(name)
        if wrong is None:
            return 0
        return wrong.ahead_ms + (now - wrong.since) * wrong.drift_ppm // _PPM
