"""The ladder for clients that read too slowly."""

from __future__ import annotations

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.limits import LAG_MEMORY_MS, LAG_MS_MAX, LAG_STATE_MS
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


def sparse() -> Pacing:
    """One who knows no counts and was behind twice, the second time until 20."""
    pacing = Pacing()
    for at in (0, 10):
        pacing.note_lag(SLOW, Instant(at))
        found = pacing.note_caught_up(SLOW, Instant(at + 10), knows_counts=False)
        assert found == (LagStep.SPARSE if at else LagStep.SNAPSHOT, 10)
    return pacing


def test_who_knows_no_counts_gets_a_state_now_and_then_instead() -> None:
    """Not before the distance is over, and again after as long."""
    pacing = sparse()
    assert pacing.is_sparse(SLOW)
    assert not pacing.is_counting(SLOW)
    assert pacing.deadline() == 20 + LAG_STATE_MS
    assert pacing.take_due_states(Instant(19 + LAG_STATE_MS)) == []
    assert pacing.take_due_states(Instant(20 + LAG_STATE_MS)) == [SLOW]
    assert pacing.deadline() == 20 + 2 * LAG_STATE_MS
    assert pacing.taken == {"held": 2, "snapshot": 1, "sparse": 1}


def test_the_next_state_waits_until_the_last_one_is_read() -> None:
    """To be behind with a state closes nothing, and is no new step."""
    pacing = sparse()
    assert pacing.note_lag(SLOW, Instant(30))
    assert pacing.take_due_states(Instant(20 + LAG_STATE_MS)) == []
    later = Instant(30 + 2 * LAG_STATE_MS)
    assert pacing.note_caught_up(SLOW, later, knows_counts=False) is None
    assert pacing.take_due_states(later) == [SLOW]
    assert pacing.taken == {"held": 3, "snapshot": 1, "sparse": 1}


def test_a_state_that_is_not_read_in_time_ends_the_connection() -> None:
    """As a snapshot would."""
    pacing = sparse()
    pacing.note_lag(SLOW, Instant(30))
    assert pacing.take_lost(Instant(29 + LAG_MS_MAX)) == []
    assert pacing.take_lost(Instant(30 + LAG_MS_MAX)) == [SLOW]
    pacing.forget(SLOW)
    assert pacing.deadline() is None


def test_who_keeps_up_with_the_states_gets_everything_again() -> None:
    """And no state comes in between any more; being behind starts that time anew."""
    pacing = sparse()
    pacing.note_lag(SLOW, Instant(19 + LAG_MEMORY_MS))
    assert pacing.take_recovered(Instant(20 + LAG_MEMORY_MS)) == []
    pacing.note_caught_up(SLOW, Instant(30 + LAG_MEMORY_MS), knows_counts=False)
    pacing.take_due_states(Instant(30 + LAG_MEMORY_MS))
    assert pacing.take_recovered(Instant(29 + 2 * LAG_MEMORY_MS)) == []
    assert pacing.take_recovered(Instant(30 + 2 * LAG_MEMORY_MS)) == [SLOW]
    assert not pacing.is_sparse(SLOW)
    assert pacing.deadline() is None
