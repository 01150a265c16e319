"""Rates: bursts, the long run, and memory."""

from presence_actors.edge.rates import Rates


def test_in_the_long_run_nobody_gets_more_than_the_rate() -> None:
    """Whoever asks for ever, ten times as often."""
    rates = Rates(per_second=2, burst=5)
    let_in = sum(rates.wait_s("alice", tick / 20) == 0 for tick in range(20 * 60))
    assert 120 <= let_in <= 125


def test_whoever_waits_as_told_is_let_in() -> None:
    """And not a moment earlier."""
    rates = Rates(per_second=4, burst=1)
    assert rates.wait_s("alice", 10.0) == 0
    wait = rates.wait_s("alice", 10.0)
    assert wait == 0.25
    assert rates.wait_s("alice", 10.0 + wait / 2) > 0
    assert rates.wait_s("alice", 10.0 + wait) == 0


def test_one_does_not_pay_for_the_other() -> None:
    """Each has a bucket of its own."""
    rates = Rates(per_second=1, burst=1)
    assert rates.wait_s("alice", 0.0) == 0
    assert rates.wait_s("alice", 0.0) > 0
    assert rates.wait_s("bob", 0.0) == 0


def test_several_at_once_are_let_in_together_or_not_at_all() -> None:
    """The whole burst, too, at any time of a clock."""
    for now in (0.0, 0.1, 123_456.7):
        rates = Rates(per_second=100, burst=100)
        assert rates.wait_s("alice", now, count=101) > 0
        assert rates.wait_s("alice", now, count=60) == 0
        assert rates.wait_s("alice", now, count=41) > 0
        assert rates.wait_s("alice", now, count=40) == 0
        assert rates.wait_s("alice", now + 0.5, count=50) == 0
        assert rates.wait_s("alice", now + 0.5) > 0


def test_those_with_a_full_bucket_are_forgotten() -> None:
    """Memory follows who has asked of late."""
    rates = Rates(per_second=1, burst=1)
    for number in range(10_000):
        rates.wait_s(str(number), float(number))
    assert len(rates._full_at) <= 1_024
