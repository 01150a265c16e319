"""The hybrid clock, call by call."""

import pytest

from crdt import CrdtError, HybridClock, Stamp, StampTooFar, pack_stamp, stamp_counter, stamp_wall
from crdt.hlc import COUNTER_MAX, STAMP_MAX, WALL_MS_MAX


def clock_at(wall_ms: int) -> HybridClock:
    """A clock with a drift bound of 100 ms that has ticked once."""
    clock = HybridClock(drift_ms_max=100)
    clock.tick(wall_ms)
    return clock


def test_a_stamp_unpacks_to_what_was_packed() -> None:
    """Milliseconds stand above the counter, at both ends of their ranges."""
    for wall_ms, counter in [(0, 0), (1, 2), (WALL_MS_MAX, COUNTER_MAX)]:
        stamp = pack_stamp(wall_ms, counter)
        assert (stamp_wall(stamp), stamp_counter(stamp)) == (wall_ms, counter)
    assert pack_stamp(WALL_MS_MAX, COUNTER_MAX) == STAMP_MAX


@pytest.mark.parametrize(
    ("wall_ms", "counter"), [(-1, 0), (WALL_MS_MAX + 1, 0), (0, -1), (0, COUNTER_MAX + 1)]
)
def test_a_stamp_out_of_range_is_refused(wall_ms: int, counter: int) -> None:
    """What does not fit 48 and 16 bits is no stamp."""
    with pytest.raises(CrdtError, match="give"):
        pack_stamp(wall_ms, counter)


def test_ticks_of_one_millisecond_count_up() -> None:
    """The wall time stands still, the counter does not."""
    clock = clock_at(1000)
    assert [clock.tick(1000), clock.tick(1000)] == [pack_stamp(1000, 1), pack_stamp(1000, 2)]


def test_a_later_wall_time_starts_the_counter_again() -> None:
    """A tick follows the wall clock when that is ahead."""
    clock = clock_at(1000)
    clock.tick(1000)
    assert clock.tick(1001) == pack_stamp(1001, 0)


def test_a_wall_clock_that_jumps_back_lets_the_counter_grow() -> None:
    """However far back, ticks go on from where the clock was."""
    clock = clock_at(1_000_000)
    assert clock.tick(5) == pack_stamp(1_000_000, 1)
    assert clock.tick(6) == pack_stamp(1_000_000, 2)


def test_a_full_counter_carries_into_the_milliseconds() -> None:
    """The 65537th tick of a millisecond belongs to the next one."""
    clock = clock_at(1000)
    stamps = clock.tick_many(1000, COUNTER_MAX + 1)
    assert stamps[-2:] == [pack_stamp(1000, COUNTER_MAX), pack_stamp(1001, 0)]
    assert clock.tick(1000) == pack_stamp(1001, 1)


def test_many_ticks_are_consecutive() -> None:
    """A batch of stamps has no gaps, and the next tick follows the last of them."""
    clock = clock_at(1000)
    assert clock.tick_many(1000, 3) == [pack_stamp(1000, counter) for counter in (1, 2, 3)]
    assert clock.tick_many(1000, 0) == []
    assert clock.last == pack_stamp(1000, 3)
    with pytest.raises(CrdtError, match="count is -1"):
        clock.tick_many(1000, -1)


def test_a_tick_exceeds_what_was_observed() -> None:
    """Who writes after seeing x stamps it after x, though its wall clock is behind."""
    clock = clock_at(1000)
    clock.observe(pack_stamp(1100, 9), 1000)
    assert clock.tick(1000) == pack_stamp(1100, 10)
    clock.observe(pack_stamp(5, 0), 1000)
    assert clock.last == pack_stamp(1100, 10)


def test_a_stamp_from_too_far_ahead_is_refused_and_moves_nothing() -> None:
    """The bound itself is allowed, a millisecond more is not, and it is not clamped."""
    clock = clock_at(1000)
    clock.observe(pack_stamp(1100, COUNTER_MAX), 1000)
    last = clock.last
    with pytest.raises(StampTooFar) as caught:
        clock.observe(pack_stamp(1101, 0), 1000)
    error = caught.value
    assert (error.stamp, error.wall_ms, error.drift_ms_max) == (pack_stamp(1101, 0), 1000, 100)
    assert "101 ms ahead" in str(error)
    assert clock.last == last


def test_a_clock_that_starts_from_a_wrong_stamp_refuses_to_tick() -> None:
    """What no jump back explains would be refused by every reader, so it is not written."""
    clock = HybridClock(drift_ms_max=100, last=pack_stamp(2000, 0))
    with pytest.raises(StampTooFar):
        clock.tick(1000)
    assert clock.last == pack_stamp(2000, 0)
    assert clock.tick(1900) == pack_stamp(2000, 1)


def test_the_end_of_time_is_refused() -> None:
    """A counter does not carry beyond 48 bits of milliseconds."""
    clock = HybridClock(drift_ms_max=100, last=Stamp(STAMP_MAX))
    with pytest.raises(StampTooFar):
        clock.tick(WALL_MS_MAX)


def test_a_promise_covers_every_tick_so_far_and_none_to_come() -> None:
    """Promise and write in one millisecond: the write comes after the promise."""
    clock = clock_at(1000)
    written = clock.tick(1000)
    promised = clock.promise(1000)
    assert written <= promised < clock.tick(1000)


def test_a_promise_of_an_idle_clock_follows_the_wall() -> None:
    """A later promise says more; a wall clock that jumped back takes nothing back."""
    clock = clock_at(1000)
    assert clock.promise(2000) == pack_stamp(2000, 0)
    assert clock.promise(1500) == pack_stamp(2000, 0)
    assert clock.tick(1500) == pack_stamp(2000, 1)


@pytest.mark.parametrize("wall_ms", [-1, WALL_MS_MAX + 1])
def test_a_wall_time_that_is_none_is_refused(wall_ms: int) -> None:
    """Seconds below zero, or microseconds by mistake, do not become stamps."""
    clock = clock_at(1000)
    calls = (clock.tick, clock.promise, lambda wall: clock.observe(Stamp(1), wall))
    for call in calls:
        with pytest.raises(CrdtError, match="wall_ms"):
            call(wall_ms)
    assert clock.last == pack_stamp(1000, 0)


def test_a_clock_that_cannot_be_is_refused() -> None:
    """A bound below zero and a stamp of more than 64 bits say what is wrong."""
    with pytest.raises(CrdtError, match="drift_ms_max is -1"):
        HybridClock(drift_ms_max=-1)
    with pytest.raises(CrdtError, match="64 bits"):
        HybridClock(drift_ms_max=0, last=Stamp(STAMP_MAX + 1))
