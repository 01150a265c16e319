"""After a pause a machine reads its input first, then judges others."""

from __future__ import annotations

from presence_actors.core.amnesty import Amnesty
from presence_actors.core.instants import Instant


def amnesty() -> Amnesty:
    """One that holds for 500 ms after a stall of 1,000."""
    return Amnesty(Instant(0), stall_ms=1_000, span_ms=500)


def test_a_machine_that_runs_in_time_judges_at_once() -> None:
    """A little lateness is no pause."""
    found = amnesty()
    found.note(due=Instant(100), now=Instant(1_099))
    assert not found.holds(Instant(1_099))


def test_a_machine_that_wakes_up_late_judges_nobody_for_a_while() -> None:
    """From the stall on, up to and without the end of the span."""
    found = amnesty()
    found.note(due=Instant(100), now=Instant(1_100))
    assert found.holds(Instant(1_100))
    assert found.holds(Instant(1_599))
    assert not found.holds(Instant(1_600))


def test_what_follows_a_pause_in_time_does_not_lengthen_it() -> None:
    """Only another stall moves the end."""
    found = amnesty()
    found.note(due=Instant(100), now=Instant(2_000))
    found.note(due=Instant(2_010), now=Instant(2_020))
    assert found.until == 2_500
    found.note(due=Instant(2_100), now=Instant(4_000))
    assert found.until == 4_500


def test_a_machine_without_a_deadline_cannot_be_late() -> None:
    """Nothing was due, so nothing was missed."""
    found = amnesty()
    found.note(due=None, now=Instant(99_000))
    assert not found.holds(Instant(99_000))
