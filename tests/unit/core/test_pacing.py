"""The ladder for clients that read too slowly."""

from __future__ import annotations

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.limits import LAG_MEMORY_MS, LAG_MS_MAX
from presence_actors.core.pacing import LagStep, Pacing

SLOW = ConnectionId(1)


def test_the_first_lag_costs_a_snapshot_the_second_all_but_the_counts_and_the_third_all() -> None:
    """Each step is counted."""
    pacing = Pacing()
    assert pacing.note_lag(SLOW, Instant(0))
    assert pacing.is_held(SLOW)
    assert pacing.note_caught_up(SLOW, Instant(700)) == (LagStep.SNAPSHOT, 700)
    assert not pacing.is_held(SLOW)
    assert pacing.note_lag(SLOW, Instant(5_000))
    assert pacing.note_caught_up(SLOW, Instant(6_000)) == (LagStep.COUNTS, 1_000)
    assert pacing.is_counting(SLOW)
    assert not pacing.note_lag(SLOW, Instant(7_000))
    assert pacing.taken == {"held": 2, "snapshot": 1, "counts": 1, "closed": 1}


def test_a_lag_long_ago_is_forgotten() -> None:
    """Everybody is slow once."""
    pacing = Pacing()
    pacing.note_lag(SLOW, Instant(0))
    pacing.note_caught_up(SLOW, Instant(1))
    assert pacing.take_recovered(Instant(1 + LAG_MEMORY_MS)) == []
    pacing.note_lag(SLOW, Instant(2 + LAG_MEMORY_MS))
    found = pacing.note_caught_up(SLOW, Instant(3 + LAG_MEMORY_MS))
    assert found == (LagStep.SNAPSHOT, 1)


def test_who_keeps_up_with_the_counts_gets_everything_again() -> None:
    """After a minute, once."""
    pacing = Pacing()
    for at in (0, 10):
        pacing.note_lag(SLOW, Instant(at))
        pacing.note_caught_up(SLOW, Instant(at + 1))
    assert pacing.deadline() is not None
    assert pacing.take_recovered(Instant(10 + LAG_MEMORY_MS)) == []
    assert pacing.take_recovered(Instant(11 + LAG_MEMORY_MS)) == [SLOW]
    assert not pacing.is_counting(SLOW)
    assert pacing.taken["whole"] == 1


def test_who_does_not_catch_up_in_time_is_lost() -> None:
    """However often it is said to be behind."""
    pacing = Pacing()
    pacing.note_lag(SLOW, Instant(0))
    pacing.note_lag(SLOW, Instant(LAG_MS_MAX - 1))
    assert pacing.deadline() == LAG_MS_MAX
    assert pacing.take_lost(Instant(LAG_MS_MAX - 1)) == []
    assert pacing.take_lost(Instant(LAG_MS_MAX)) == [SLOW]
    assert pacing.taken == {"held": 1, "closed": 1}


def test_who_is_gone_is_forgotten_and_catching_up_without_lag_means_nothing() -> None:
    """No deadline is left behind."""
    pacing = Pacing()
    assert pacing.note_caught_up(SLOW, Instant(0)) is None
    for at in (0, 10):
        pacing.note_lag(SLOW, Instant(at))
        pacing.note_caught_up(SLOW, Instant(at + 1))
    pacing.forget(SLOW)
    assert (pacing.is_held(SLOW), pacing.is_counting(SLOW)) == (False, False)
    assert pacing.deadline() is None
