"""One direction of an attachment: numbered, repeated until acknowledged, in order, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.instants import Instant
from presence_actors.core.limits import SEGMENTS_UNACKNOWLEDGED_MAX
from presence_actors.core.stream import ReceiveStream, SendStream


def sent(*bodies: str, repeat_at: int = 500) -> SendStream[str]:
    """A stream in which these were sent."""
    stream: SendStream[str] = SendStream()
    for body in bodies:
        stream.push(body, repeat_at=Instant(repeat_at))
    return stream


def test_bodies_are_numbered_from_one() -> None:
    """0 means that nothing was sent."""
    stream = sent()
    assert stream.last == 0
    assert stream.push("a", repeat_at=Instant(5)) == 1
    assert stream.push("b", repeat_at=Instant(6)) == 2


def test_what_is_not_acknowledged_is_sent_again_in_its_order() -> None:
    """Everything, once per interval, beginning when the oldest is due."""
    stream = sent("a", "b")
    assert stream.deadline() == 500
    assert stream.take_due(Instant(499), repeat_at=Instant(999)) == []
    assert stream.take_due(Instant(500), repeat_at=Instant(1_000)) == [(1, "a"), (2, "b")]
    assert stream.take_due(Instant(501), repeat_at=Instant(1_001)) == []
    assert stream.deadline() == 1_000


def test_an_acknowledgement_counts_for_everything_before_it() -> None:
    """The rest waits for a new interval."""
    stream = sent("a", "b", "c")
    assert stream.acknowledge(2, repeat_at=Instant(700))
    assert stream.deadline() == 700
    assert stream.take_due(Instant(700), repeat_at=Instant(1_200)) == [(3, "c")]


def test_an_acknowledgement_that_is_old_puts_nothing_off() -> None:
    """A peer that repeats itself must not keep us from repeating."""
    stream = sent("a", "b")
    stream.acknowledge(1, repeat_at=Instant(600))
    assert not stream.acknowledge(1, repeat_at=Instant(9_000))
    assert not stream.acknowledge(0, repeat_at=Instant(9_000))
    assert stream.deadline() == 600


def test_a_stream_whose_bodies_are_all_acknowledged_is_idle() -> None:
    """Nothing is due, and the next body gets an interval of its own."""
    stream = sent("a")
    idle = [stream.is_idle]
    assert stream.acknowledge(1, repeat_at=Instant(700))
    idle.append(stream.is_idle)
    assert idle == [False, True]
    assert stream.deadline() is None
    assert stream.take_due(Instant(9_000), repeat_at=Instant(9_500)) == []
    stream.push("b", repeat_at=Instant(800))
    assert stream.deadline() == 800


def test_a_window_is_full_at_its_limit_and_opens_with_an_acknowledgement() -> None:
    """Beyond it the owner gathers instead of sending."""
    stream = sent(*map(str, range(SEGMENTS_UNACKNOWLEDGED_MAX - 1)))
    full = [stream.is_full]
    stream.push("last", repeat_at=Instant(1))
    full.append(stream.is_full)
    stream.acknowledge(1, repeat_at=Instant(1))
    full.append(stream.is_full)
    assert full == [False, True, False]


def test_only_the_next_number_is_accepted() -> None:
    """A gap waits for the repetition; nothing is owed for it."""
    stream = ReceiveStream()
    assert not stream.accept(2)
    assert not stream.owes_acknowledgement
    assert stream.accept(1)
    assert stream.accept(2)
    assert stream.last == 2


def test_a_repeated_number_is_not_accepted_but_acknowledged_again() -> None:
    """The peer repeats because our acknowledgement was lost."""
    stream = ReceiveStream()
    stream.accept(1)
    assert stream.take_acknowledgement() == 1
    assert not stream.owes_acknowledgement
    assert not stream.accept(1)
    assert stream.owes_acknowledgement


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=60))
def test_whatever_is_lost_the_receiver_gets_a_beginning_of_what_was_sent(
    steps: list[tuple[bool, bool, bool]],
) -> None:
    """Each body once and in order; and after one round without loss, all of them."""
    sender: SendStream[int] = SendStream()
    receiver = ReceiveStream()
    got: list[int] = []
    now = 0

    def exchange(*, forth: bool, back: bool) -> None:
        for number, body in sender.take_due(Instant(now), repeat_at=Instant(now + 1)):
            if forth and receiver.accept(number):
                got.append(body)
        if back:
            sender.acknowledge(receiver.take_acknowledgement(), repeat_at=Instant(now + 1))

    for push, forth, back in steps:
        if push and not sender.is_full:
            sender.push(sender.last + 1, repeat_at=Instant(now))
        exchange(forth=forth, back=back)
        now += 1
        assert got == list(range(1, len(got) + 1))
    exchange(forth=True, back=True)
    assert got == list(range(1, sender.last + 1))
    assert sender.is_idle
