"""The change log, call by call."""

from crdt import Key
from crdt.change_log import ChangeLog


def key_of(number: int) -> Key:
    """One of many keys."""
    return ("t", "k", str(number))


def test_a_key_that_changes_again_leaves_its_old_place() -> None:
    """Every key is there once, in the order of latest changes."""
    log = ChangeLog()
    for number in (1, 2, 1, 3):
        log.append(key_of(number))
    assert list(log.beyond(0)) == [(2, key_of(2)), (3, key_of(1)), (4, key_of(3))]
    assert list(log.beyond(2)) == [(3, key_of(1)), (4, key_of(3))]
    assert (len(log), log.position) == (3, 4)


def test_a_forgotten_key_takes_no_position_back() -> None:
    """Positions only grow, so a peer's old position stays meaningful."""
    log = ChangeLog()
    log.append(key_of(1))
    log.append(key_of(2))
    log.discard(key_of(2))
    log.discard(key_of(9))
    assert (list(log.beyond(0)), log.position) == ([(1, key_of(1))], 2)
    log.append(key_of(2))
    assert list(log.beyond(1)) == [(3, key_of(2))]


def test_positions_survive_the_closing_of_gaps() -> None:
    """One key that changes without end leaves a log of bounded size, and the others in place."""
    log = ChangeLog()
    for number in range(3):
        log.append(key_of(number))
    for _ in range(1000):
        log.append(key_of(1))
    assert list(log.beyond(0)) == [(1, key_of(0)), (3, key_of(2)), (1003, key_of(1))]
    assert len(log._keys) < 100
