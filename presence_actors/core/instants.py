"""Two clocks that must never be mixed up.

An `Instant` is monotonic and belongs to the machine that measures: leases, graces and intervals.
A `WallMs` is what people call time: stamps and display. They arrive together with each event, as
`Now`; nothing in the core reads a clock.
"""

from __future__ import annotations

from typing import NewType

import msgspec

__all__ = ["Instant", "Now", "WallMs"]

Instant = NewType("Instant", int)
"""Milliseconds of a monotonic clock that counts suspended time; only differences mean anything."""
WallMs = NewType("WallMs", int)
"""Milliseconds since the Unix epoch."""


class Now(msgspec.Struct, frozen=True, gc=False):
    """The time at which an event is handled."""

    instant: Instant
    wall: WallMs
