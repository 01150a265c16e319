"""The ladder for clients that read too slowly."""

from __future__ import annotations

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.limits import LAG_BRIEF_MS, LAG_MEMORY_MS, LAG_MS_MAX, LAG_STATE_MS
from presence_actors.core.pacing import LagStep, Pacing

SLOW = ConnectionId(1)
#: When a stock client has fallen behind twice.
THEN = 2 * LAG_BRIEF_MS


def test_the_first_lag_costs_a_snapshot_the_second_all_but_the_counts_and_the_third_all() -> None:
    """Each step is counted."""
    pacing = Pacing()
    assert pacing.note_lag(SLOW, Instant(0))
    assert pacing.is_held(SLOW)
    assert pacing.note_caught_up(SLOW, Instant(1_700)) == (LagStep.SNAPSHOT, 1_700)
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
    pacing.note_caught_up(SLOW, Instant(LAG_BRIEF_MS))
    later = Instant(LAG_BRIEF_MS + LAG_MEMORY_MS)
    assert pacing.take_recovered(later) == []
    pacing.note_lag(SLOW, later)
    found = pacing.note_caught_up(SLOW, Instant(later + LAG_BRIEF_MS))
    assert found == (LagStep.SNAPSHOT, LAG_BRIEF_MS)


def test_a_brief_lag_costs_a_snapshot_and_is_not_held_against_anybody() -> None:
    """However often; but it does not make a long one before it forgotten."""
    pacing = Pacing()
    for at in range(0, 10_000, 1_000):
        pacing.note_lag(SLOW, Instant(at))
        found = pacing.note_caught_up(SLOW, Instant(at + LAG_BRIEF_MS - 1))
        assert found == (LagStep.SNAPSHOT, LAG_BRIEF_MS - 1)
    steps = []
    for at, span in ((10_000, LAG_BRIEF_MS), (12_000, 1), (13_000, LAG_BRIEF_MS)):
        pacing.note_lag(SLOW, Instant(at))
        found = pacing.note_caught_up(SLOW, Instant(at + span))
        assert found is not None
        steps.append(found[0])
    assert steps == [LagStep.SNAPSHOT, LagStep.SNAPSHOT, LagStep.COUNTS]


def test_who_keeps_up_with_the_counts_gets_everything_again() -> None:
    """After a minute, once."""
    pacing = Pacing()
    for at in (0, 1_000):
        pacing.note_lag(SLOW, Instant(at))
        pacing.note_caught_up(SLOW, Instant(at + LAG_BRIEF_MS))
    assert pacing.deadline() is not None
    assert pacing.take_recovered(Instant(1_999 + LAG_MEMORY_MS)) == []
    assert pacing.take_recovered(Instant(2_000 + LAG_MEMORY_MS)) == [SLOW]
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
    for at in (0, 1_000):
        pacing.note_lag(SLOW, Instant(at))
        pacing.note_caught_up(SLOW, Instant(at + LAG_BRIEF_MS))
    assert pacing.is_counting(SLOW)
    pacing.forget(SLOW)
    assert (pacing.is_held(SLOW), pacing.is_counting(SLOW)) == (False, False)
    assert pacing.deadline() is None


def sparse() -> Pacing:
    """One who knows no counts and was behind twice, the second time until `THEN`."""
    pacing = Pacing()
    for at in (0, LAG_BRIEF_MS):
        pacing.note_lag(SLOW, Instant(at))
        found = pacing.note_caught_up(SLOW, Instant(at + LAG_BRIEF_MS), knows_counts=False)
        assert found == (LagStep.SPARSE if at else LagStep.SNAPSHOT, LAG_BRIEF_MS)
    return pacing


def test_who_knows_no_counts_gets_a_state_now_and_then_instead() -> None:
    """Not before the distance is over, and again after as long."""
    pacing = sparse()
    assert pacing.is_sparse(SLOW)
    assert not pacing.is_counting(SLOW)
    assert pacing.deadline() == THEN + LAG_STATE_MS
    assert pacing.take_due_states(Instant(THEN - 1 + LAG_STATE_MS)) == []
    assert pacing.take_due_states(Instant(THEN + LAG_STATE_MS)) == [SLOW]
    assert pacing.deadline() == THEN + 2 * LAG_STATE_MS
    assert pacing.taken == {"held": 2, "snapshot": 1, "sparse": 1}


def test_the_next_state_waits_until_the_last_one_is_read() -> None:
    """To be behind with a state closes nothing, and is no new step."""
    pacing = sparse()
    assert pacing.note_lag(SLOW, Instant(THEN + 10))
    assert pacing.take_due_states(Instant(THEN + LAG_STATE_MS)) == []
    later = Instant(THEN + 10 + 2 * LAG_STATE_MS)
    assert pacing.note_caught_up(SLOW, later, knows_counts=False) is None
    assert pacing.take_due_states(later) == [SLOW]
    assert pacing.taken == {"held": 3, "snapshot": 1, "sparse": 1}


def test_a_state_that_is_not_read_in_time_ends_the_connection() -> None:
    """As a snapshot would."""
    pacing = sparse()
    pacing.note_lag(SLOW, Instant(THEN + 10))
    assert pacing.take_lost(Instant(THEN + 9 + LAG_MS_MAX)) == []
    assert pacing.take_lost(Instant(THEN + 10 + LAG_MS_MAX)) == [SLOW]
    pacing.forget(SLOW)
    assert pacing.deadline() is None


def test_who_keeps_up_with_the_states_gets_everything_again() -> None:
    """And no state comes in between any more; being behind starts that time anew."""
    pacing = sparse()
    pacing.note_lag(SLOW, Instant(THEN - 1 + LAG_MEMORY_MS))
    assert pacing.take_recovered(Instant(THEN + LAG_MEMORY_MS)) == []
    pacing.note_caught_up(SLOW, Instant(THEN + 10 + LAG_MEMORY_MS), knows_counts=False)
    pacing.take_due_states(Instant(THEN + 10 + LAG_MEMORY_MS))
    assert pacing.take_recovered(Instant(THEN + 9 + 2 * LAG_MEMORY_MS)) == []
    assert pacing.take_recovered(Instant(THEN + 10 + 2 * LAG_MEMORY_MS)) == [SLOW]
    assert not pacing.is_sparse(SLOW)
    assert pacing.deadline() is None
