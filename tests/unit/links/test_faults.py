"""`LinkFaults`: which rule is in force for whom."""

from collections.abc import Callable

import pytest

from presence_actors.errors import UsageError
from presence_actors.links.faults import LinkFault, LinkFaults


def test_a_one_way_cut_leaves_the_other_way_open() -> None:
    """Only the direction that was asked for is cut, but no new connection comes about."""
    faults = LinkFaults()
    faults.cut("a/w1", "out")
    assert faults.is_cut("a/w1", "out")
    assert not faults.is_cut("a/w1", "in")
    assert not faults.is_cut("a/w2", "out")
    assert faults.blocks_connecting("a/w1")
    assert not faults.blocks_connecting("a/w2")


def test_faults_of_one_direction_add_up_and_are_described() -> None:
    """A delay does not end a loss; the description shows both."""
    faults = LinkFaults()
    faults.delay("a/w1", 30, "in")
    faults.loss("a/w1", 0.5, "in")
    faults.cut("a/w0", "out")
    assert faults.describe() == [
        LinkFault("a/w0", "out", cut=True),
        LinkFault("a/w1", "in", delay_ms=30, loss=0.5),
    ]


def test_healing_one_peer_leaves_the_others_ill() -> None:
    """Without a name everybody is healed."""
    faults = LinkFaults()
    faults.cut("a/w0")
    faults.cut("a/w1")
    faults.heal("a/w0")
    assert [fault.peer for fault in faults.describe()] == ["a/w1", "a/w1"]
    faults.heal()
    assert faults.describe() == []


def test_what_waits_for_the_end_of_a_cut_is_called_once() -> None:
    """And only for its own peer."""
    faults = LinkFaults()
    called: list[str] = []
    faults.after_heal("a/w0", lambda: called.append("w0"))
    faults.after_heal("a/w1", lambda: called.append("w1"))
    faults.heal("a/w0")
    assert called == ["w0"]
    faults.heal()
    faults.heal()
    assert called == ["w0", "w1"]


def test_the_seed_decides_which_frames_are_lost() -> None:
    """Equal seeds lose equal frames; about the asked-for fraction is lost."""

    def losses(seed: int) -> list[bool]:
        faults = LinkFaults(seed)
        faults.loss("a/w0", 0.3)
        return [faults.loses("a/w0", "in") for _ in range(1_000)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert 230 < sum(losses(1)) < 370


@pytest.mark.parametrize(
    "wrong",
    [
        lambda faults: faults.cut("a/w0", "up"),
        lambda faults: faults.delay("a/w0", -1),
        lambda faults: faults.loss("a/w0", 1.5),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: Callable[[LinkFaults], None]) -> None:
    """It raises and changes nothing."""
    faults = LinkFaults()
    with pytest.raises(UsageError):
        wrong(faults)
    assert faults.describe() == []
