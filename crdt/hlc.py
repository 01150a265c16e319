"""Hybrid logical time: stamps, and the clock that gives them out.

A *stamp* is one integer: 48 bits of wall milliseconds above a counter of 16 bits.  Integers compare
as time does.  A stamp together with its *origin* (one life of a writer, never used again) names one
write and nothing else, because a clock never gives out a stamp twice.  That makes it the *dot* of
the write too, and a map of origin to newest stamp a version vector.

Rules:

1. A tick is greater than all that this clock has ticked, observed or promised.  So if the writer
   of y had seen x, then stamp(x) < stamp(y), whatever the wall clocks said.
2. A full counter carries into the milliseconds.  Nothing waits, nothing fails, order is kept.
3. A wall clock that jumps back does not stop the writer: the counter grows on from where the clock
   was.  Readers whose clocks are behind by more than the drift bound refuse such stamps until they
   have caught up; a writer that stopped instead could not even say that its sessions had ended.
4. A stamp further ahead than ``drift_ms_max`` is refused and moves nothing.  It is never clamped:
   two readers would clamp it differently, and then differ for ever.  It cannot come from our own
   clock by jumping (rule 3), only by starting from a ``last`` that was wrong; `tick` refuses then.

The clock reads no time: the wall time of the moment is an argument of every call.

After Kulkarni et al., "Logical Physical Clocks" (2014); the carry of rule 2 is ours.
"""

from __future__ import annotations

from typing import Final, NewType

from crdt.errors import CrdtError, StampTooFar

#: One life of a writer, "zone/worker/incarnation"; compared as a string, minted anew at each start.
Origin = NewType("Origin", str)
#: Wall milliseconds << 16 | counter; 0 is before every write.
Stamp = NewType("Stamp", int)

COUNTER_BITS: Final = 16
COUNTER_MAX: Final = (1 << COUNTER_BITS) - 1
WALL_MS_MAX: Final = (1 << 48) - 1
STAMP_MAX: Final = (1 << 64) - 1


class HybridClock:
    """The source of one origin's stamps.

    >>> clock = HybridClock(drift_ms_max=500)
    >>> first, second = clock.tick(1000), clock.tick(1000)
    >>> first < second, stamp_wall(second), stamp_counter(second)
    (True, 1000, 1)
    >>> clock.observe(pack_stamp(1400, 7), 1000)
    >>> stamp_wall(clock.tick(1000)), clock.promise(1000) == clock.last
    (1400, True)
    """

    __slots__ = ("_drift_ms_max", "_last", "_wall_ms_seen")

    def __init__(self, *, drift_ms_max: int, last: Stamp = Stamp(0)) -> None:
        if drift_ms_max < 0:
            raise CrdtError(
                "HybridClock", f"drift_ms_max is {drift_ms_max}", "give milliseconds, 0 or more"
            )
        if not 0 <= last <= STAMP_MAX:
            raise CrdtError("HybridClock", f"last is {last}", "give a stamp of 64 bits")
        self._drift_ms_max = drift_ms_max
        #: The greatest stamp ticked, observed or promised.
        self._last = last
        #: The greatest local wall time of a call that succeeded: what a jump back came from.
        self._wall_ms_seen = 0

    @property
    def last(self) -> Stamp:
        """The greatest stamp that this clock has ticked, observed or promised."""
        return self._last

    def tick(self, wall_ms: int) -> Stamp:
        """A stamp greater than all before.

        Raises:
            StampTooFar: `last` was ahead, by more than the drift bound, of every wall time given.
        """
        return self._advance(wall_ms, 1)

    def tick_many(self, wall_ms: int, count: int) -> list[Stamp]:
        """``count`` consecutive stamps, all greater than all before; none if ``count`` is 0."""
        if count < 0:
            raise CrdtError("HybridClock.tick_many", f"count is {count}", "give 0 or more")
        if count == 0:
            return []
        first = self._advance(wall_ms, count)
        return [Stamp(stamp) for stamp in range(first, first + count)]

    def observe(self, stamp: Stamp, wall_ms: int) -> None:
        """From now on every tick is greater than ``stamp``.

        Raises:
            StampTooFar: The stamp is ahead of ``wall_ms`` by more than the drift bound.
        """
        _require_wall(wall_ms, "HybridClock.observe")
        if stamp_wall(stamp) > wall_ms + self._drift_ms_max:
            raise StampTooFar(stamp, wall_ms, self._drift_ms_max)
        self._wall_ms_seen = max(self._wall_ms_seen, wall_ms)
        self._last = max(self._last, stamp)

    def promise(self, wall_ms: int) -> Stamp:
        """A stamp at or below which this clock will never tick again; all ticks so far count.

        Apply what was written with earlier ticks before telling anybody of the promise: a vector
        that holds the promise says that those writes have been seen.
        """
        _require_wall(wall_ms, "HybridClock.promise")
        self._wall_ms_seen = max(self._wall_ms_seen, wall_ms)
        self._last = max(self._last, pack_stamp(wall_ms, 0))
        return self._last

    def _advance(self, wall_ms: int, count: int) -> Stamp:
        """Move on by ``count`` stamps; return the first of them."""
        _require_wall(wall_ms, "HybridClock.tick")
        wall_ms_seen = max(self._wall_ms_seen, wall_ms)
        first = max(pack_stamp(wall_ms, 0), self._last + 1)
        last = first + count - 1
        if stamp_wall(Stamp(last)) > min(wall_ms_seen + self._drift_ms_max, WALL_MS_MAX):
            raise StampTooFar(Stamp(last), wall_ms, self._drift_ms_max)
        self._wall_ms_seen = wall_ms_seen
        self._last = Stamp(last)
        return Stamp(first)


def pack_stamp(wall_ms: int, counter: int) -> Stamp:
    """The stamp of a wall time in milliseconds and a counter.

    >>> pack_stamp(1, 2)
    65538
    """
    _require_wall(wall_ms, "pack_stamp")
    if not 0 <= counter <= COUNTER_MAX:
        raise CrdtError("pack_stamp", f"counter is {counter}", f"give 0 to {COUNTER_MAX}")
    return Stamp(wall_ms << COUNTER_BITS | counter)


def stamp_wall(stamp: Stamp) -> int:
    """The wall milliseconds of a stamp."""
    return stamp >> COUNTER_BITS


def stamp_counter(stamp: Stamp) -> int:
    """The counter of a stamp."""
    return stamp & COUNTER_MAX


def _require_wall(wall_ms: int, where: str) -> None:
    if not 0 <= wall_ms <= WALL_MS_MAX:
        raise CrdtError(where, f"wall_ms is {wall_ms}", "give milliseconds since 1970 in 48 bits")
