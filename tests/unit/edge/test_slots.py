"""How fast clients come in, and that those who are too many do not come again all at once."""

from presence_actors.edge.slots import RetrySlots


def test_a_storm_is_spread_at_the_rate_of_admission() -> None:
    """A burst comes in; each of the others gets a moment of his own, and then comes in."""
    slots = RetrySlots(per_s=1_000, burst=100, wait_ms_max=60_000)
    told = [slots.take(0) for _ in range(5_000)]
    assert told.count(0) == 100
    waits = [wait for wait in told if wait]
    assert waits == list(range(1, 4_901))
    assert [slots.take(wait) for wait in waits] == [0] * 4_900


def test_a_trickle_is_never_told_to_wait() -> None:
    """Tokens come back as fast as they may be used."""
    slots = RetrySlots(per_s=10, burst=1, wait_ms_max=60_000)
    assert [slots.take(now) for now in range(0, 10_000, 100)] == [0] * 100


def test_nobody_is_told_to_wait_for_longer_than_he_would() -> None:
    """Beyond that the queue begins again: two then share a moment."""
    slots = RetrySlots(per_s=10, burst=1, wait_ms_max=1_000)
    told = [slots.take(0) for _ in range(31)]
    assert max(told) == 1_000
    assert sorted(told).count(100) == 3


def test_a_moment_can_be_given_to_one_that_is_refused_for_another_reason() -> None:
    """It takes no token, and the next one waits behind it."""
    slots = RetrySlots(per_s=10, burst=1, wait_ms_max=60_000)
    assert [slots.give(0), slots.give(0), slots.take(0), slots.take(0)] == [100, 200, 0, 300]


def test_moments_that_are_over_are_not_waited_for() -> None:
    """The queue of an old storm is empty."""
    slots = RetrySlots(per_s=10, burst=1, wait_ms_max=60_000)
    for _ in range(50):
        slots.take(0)
    assert slots.give(100_000) == 100


def test_a_storm_of_those_who_wait_here_comes_in_at_the_same_rate() -> None:
    """Each has a moment of his own, and the token for it; nobody overtakes."""
    slots = RetrySlots(per_s=1_000, burst=100, wait_ms_max=60_000)
    waits = [slots.reserve(0, wait_ms_max=8_000) for _ in range(5_000)]
    assert waits == [0] * 100 + list(range(1, 4_901))
    assert slots.take(4_000) == 901
    assert slots.take(4_901) == 0


def test_whoever_would_wait_for_too_long_gets_no_place_and_takes_none() -> None:
    """The next one who asks in time gets it."""
    slots = RetrySlots(per_s=10, burst=1, wait_ms_max=60_000)
    assert [slots.reserve(0, wait_ms_max=100) for _ in range(3)] == [0, 100, None]
    assert slots.reserve(100, wait_ms_max=100) == 100
