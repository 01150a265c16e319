"""So much in a second, and so much at once."""

from __future__ import annotations

from presence_actors.core.allowance import Allowance, size_of
from presence_actors.core.ids import Topic
from presence_actors.core.instants import Instant
from presence_actors.core.messages import Said


def test_what_is_spent_comes_back_with_time() -> None:
    """Ten at once, then one every tenth of a second, and never more than ten at once."""
    allowance = Allowance(10)
    assert [allowance.take(1, Instant(5_000)) for _ in range(11)] == [True] * 10 + [False]
    assert not allowance.take(1, Instant(5_099))
    assert allowance.take(1, Instant(5_100))
    assert not allowance.take(1, Instant(5_100))
    assert [allowance.take(1, Instant(99_000)) for _ in range(11)] == [True] * 10 + [False]


def test_what_is_refused_costs_nothing() -> None:
    """A large amount that is refused leaves room for a small one."""
    allowance = Allowance(10)
    assert not allowance.take(11, Instant(0))
    assert allowance.take(10, Instant(0))


def test_a_broadcast_costs_its_texts_and_a_little_more() -> None:
    """So that empty ones are not free."""
    small, large = Said(Topic("d/room:a"), "e", b""), Said(Topic("d/room:a"), "e", b"x" * 100)
    assert size_of([large]) - size_of([small]) == 100
    assert size_of([small, small]) == 2 * size_of([small]) > 2 * len("d/room:ae")
