"""Leases: beliefs with an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.instants import Instant
from presence_actors.core.lease import LeaseTable


def table_of(**ends: int) -> LeaseTable[str]:
    """A table with these leases."""
    table: LeaseTable[str] = LeaseTable()
    for key, end in ends.items():
        table.renew(key, Instant(end))
    return table


def test_a_lease_ends_at_its_instant_and_not_before() -> None:
    """One millisecond earlier it is still believed."""
    table = table_of(alice=100)
    assert table.take_expired(Instant(99)) == []
    assert "alice" in table
    assert table.take_expired(Instant(100)) == ["alice"]
    assert "alice" not in table


def test_leases_end_in_the_order_of_their_ends_and_of_their_keys() -> None:
    """Two runs of one history end sessions in one order."""
    table = table_of(carol=50, bob=70, dave=50)
    assert table.take_expired(Instant(80)) == ["carol", "dave", "bob"]


def test_a_renewed_lease_does_not_end_at_its_old_instant() -> None:
    """The old place in the heap is only a hint."""
    table = table_of(alice=100)
    table.renew("alice", Instant(200))
    assert table.end_of("alice") == 200
    assert table.take_expired(Instant(199)) == []
    assert table.take_expired(Instant(200)) == ["alice"]


def test_a_renewed_lease_ends_in_the_order_of_its_new_end() -> None:
    """Found on 2026-11-24: it came before one that had ended earlier."""
    table = table_of(alice=1, bob=1)
    table.renew("alice", Instant(2))
    assert table.take_expired(Instant(2)) == ["bob", "alice"]


def test_a_shortened_lease_ends_at_its_new_instant() -> None:
    """And only once, although the old end lies ahead still."""
    table = table_of(alice=100)
    table.renew("alice", Instant(10))
    assert table.deadline() == 10
    assert table.take_expired(Instant(10)) == ["alice"]
    assert table.take_expired(Instant(100)) == []


def test_a_released_lease_never_ends() -> None:
    """It is gone, not over; a key that is not known may be released, too."""
    table = table_of(alice=100)
    table.release("alice")
    table.release("nobody")
    assert table.end_of("alice") is None
    assert len(table) == 0
    assert table.take_expired(Instant(100)) == []


def test_the_deadline_does_not_wake_for_leases_that_were_released() -> None:
    """What is left over in the heap is passed by."""
    table = table_of(alice=100, bob=300)
    table.release("alice")
    assert table.deadline() == 300
    table.release("bob")
    assert table.deadline() is None


def test_many_released_leases_leave_nothing_behind() -> None:
    """A gateway that serves millions of short sessions does not remember them."""
    table = table_of(keeper=9_999)
    for number in range(10_000):
        table.renew(f"s{number}", Instant(5_000))
        table.release(f"s{number}")
    assert len(table._heap) <= 2 * len(table) + 65
    assert table.take_expired(Instant(9_999)) == ["keeper"]


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 20), st.integers(0, 3)),
    max_size=40,
)


@given(STEPS)
def test_a_table_ends_exactly_what_a_plain_dictionary_would(
    steps: list[tuple[str, int | None, int]],
) -> None:
    """Whatever is granted, moved and released; and the deadline never comes after a true end."""
    table: LeaseTable[str] = LeaseTable()
    ends: dict[str, int] = {}
    now = 0
    for key, span, passes in steps:
        if span is None:
            table.release(key)
            ends.pop(key, None)
        else:
            table.renew(key, Instant(now + span))
            ends[key] = now + span
        deadline = table.deadline()
        assert (deadline is None) == (not ends)
        assert deadline is None or deadline <= min(ends.values())
        now += passes
        over = sorted((end, name) for name, end in ends.items() if end <= now)
        assert table.take_expired(Instant(now)) == [name for _, name in over]
        for _, name in over:
            del ends[name]
        assert len(table) == len(ends)


def test_what_was_renewed_in_time_wakes_nobody_at_its_old_end() -> None:
    """A machine that puts its table right finds the true end, and loses nobody who is over."""
    table = table_of(alice=100, bob=100, carol=100)
    table.renew("alice", Instant(200))
    table.release("carol")
    table.put_right(Instant(99))
    assert table.deadline() == 100
    table.release("bob")
    table.put_right(Instant(100))
    assert table.deadline() == 200
    assert table.take_expired(Instant(200)) == ["alice"]
