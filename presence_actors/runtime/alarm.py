"""One timer set to one deadline, with the rule for pauses.

After any pause (the host slept, the process was stopped, the loop was held up) a machine reads its
input first and sweeps its deadlines after. Otherwise it would take everybody for silent whose
messages lie unread in the socket buffers.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from presence_actors.core.instants import Instant
from presence_actors.runtime.clock import Clock

#: An alarm that rings later than this has been held up, and lets input go first.
LATE_MS: Final = 250

#: A pause may fall between the reading of sockets and the timers of one turn of the loop, and which
#: of the two comes first differs between loops. Two hops put a whole reading in between in all.
_HOPS: Final = 2


class Alarm:
    """Calls `on_due` once the deadline has come; set it again for the next one.

    The underlying timer is moved only when the deadline comes nearer. A deadline that moves away,
    which is what keep-alives and renewed leases do all day, costs nothing until the timer fires.
    """

    def __init__(self, clock: Clock, on_due: Callable[[], None]) -> None:
        self._clock = clock
        self._on_due = on_due
        self._deadline: Instant | None = None
        #: What the timer waits for, when there is one.
        self._armed_for = Instant(0)
        self._handle: asyncio.Handle | None = None
        self._closed = False

    def set(self, deadline: Instant | None) -> None:
        """Ring at `deadline` and no more at any earlier one; None: do not ring."""
        self._deadline = deadline
        if deadline is None or self._closed:
            return
        if self._handle is None:
            self._arm(deadline)
        elif deadline < self._armed_for:
            self._handle.cancel()
            self._arm(deadline)

    def close(self) -> None:
        """Never ring again."""
        self._closed = True
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, deadline: Instant) -> None:
        self._armed_for = deadline
        # At least a millisecond: a machine that leaves a past deadline standing must not starve
        # the loop.
        delay_ms = max(1, deadline - self._clock.now().instant)
        self._handle = asyncio.get_running_loop().call_later(delay_ms / 1000, self._ring, _HOPS)

    def _ring(self, hops_left: int) -> None:
        self._handle = None
        deadline = self._deadline
        if deadline is None:
            return
        now = self._clock.now().instant
        if now < deadline:
            self._arm(deadline)
            return
        if hops_left > 0 and now - self._armed_for > LATE_MS:
            # `set` during the hops finds a handle and an early `_armed_for`, and so lets it be.
            self._handle = asyncio.get_running_loop().call_soon(self._ring, hops_left - 1)
            return
        self._on_due()
