"""The clock of this host. Everything else is handed the time."""

import time
from typing import Protocol

from presence_actors.core.instants import Instant, Now, WallMs

#: BOOTTIME runs on while the host sleeps, so that leases end during suspend as they should.
#: Where it does not exist (macOS), the plain monotonic clock has to do.
_INSTANT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_NS_PER_MS = 1_000_000


class Clock(Protocol):
    """Whatever can tell the time; handed to every driver."""

    def now(self) -> Now:
        """Both clocks, read together."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def now(self) -> Now:
        """Both clocks, read together: `instant` never jumps back, `wall` is Unix time."""
        return Now(
            Instant(time.clock_gettime_ns(_INSTANT_CLOCK) // _NS_PER_MS),
            WallMs(time.time_ns() // _NS_PER_MS),
        )
