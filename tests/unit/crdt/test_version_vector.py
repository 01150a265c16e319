"""Version vectors, call by call."""

import pickle

import pytest

from crdt import CrdtError, DecodeError, Order, Origin, Stamp, VersionVector

A, B, C = Origin("a"), Origin("b"), Origin("c")


def vector(**components: int) -> VersionVector:
    """A vector by the names of its origins."""
    return VersionVector({Origin(name): Stamp(stamp) for name, stamp in components.items()})


def test_a_zero_component_equals_an_absent_one() -> None:
    """Zero is before every write, so it says nothing."""
    assert vector(a=1, b=0) == vector(a=1)
    assert hash(vector(a=1, b=0)) == hash(vector(a=1))
    assert (len(vector(b=0)), bool(vector(b=0)), vector(b=0)[B]) == (0, False, 0)


def test_items_come_sorted_by_origin() -> None:
    """The order of insertion leaves no trace."""
    assert vector(c=1, a=2, b=3).items() == [(A, 2), (B, 3), (C, 1)]
    assert repr(vector(c=1, a=2)) == "VersionVector({'a': 2, 'c': 1})"


def test_a_vector_reads_like_a_map() -> None:
    """An absent origin is zero, unless the caller prefers another default."""
    seen = vector(a=5)
    assert (seen[A], seen[B], seen.get(B), seen.get(B, Stamp(7))) == (5, 0, 0, 7)
    assert A in seen
    assert B not in seen
    assert seen != {"a": 5}


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        (vector(a=1), vector(a=1), Order.EQUAL),
        (vector(a=1), vector(a=2), Order.BEFORE),
        (vector(a=2, b=1), vector(a=2), Order.AFTER),
        (vector(a=2), vector(b=1), Order.CONCURRENT),
        (vector(), vector(), Order.EQUAL),
    ],
)
def test_vectors_compare(left: VersionVector, right: VersionVector, order: Order) -> None:
    """Who has seen at least as much everywhere comes after; else they are concurrent."""
    assert left.compare(right) is order


def test_a_component_covers_all_up_to_it() -> None:
    """Components are without gaps."""
    seen = vector(a=5)
    assert [seen.covers(A, Stamp(stamp)) for stamp in (4, 5, 6)] == [True, True, False]
    assert not seen.covers(B, Stamp(1))


def test_merge_and_meet_take_each_component_alone() -> None:
    """The least upper and the greatest lower bound."""
    left, right = vector(a=3, b=1), vector(a=2, c=5)
    assert left.merge(right) == vector(a=3, b=1, c=5)
    assert left.meet(right) == vector(a=2)
    assert (left, right) == (vector(a=3, b=1), vector(a=2, c=5))


def test_a_component_is_raised_and_never_lowered() -> None:
    """The result is another vector; this one stays."""
    seen = vector(a=3)
    assert seen.with_component(A, Stamp(2)) == vector(a=3)
    assert seen.with_component(B, Stamp(2)) == vector(a=3, b=2)
    assert seen == vector(a=3)


def test_origins_can_be_left_out() -> None:
    """Unknown ones do not matter."""
    assert vector(a=1, b=2, c=3).without([A, C, Origin("x")]) == vector(b=2)


@pytest.mark.parametrize("stamp", [-1, 1 << 64])
def test_a_component_of_more_than_64_bits_is_refused(stamp: int) -> None:
    """It could not be sent."""
    with pytest.raises(CrdtError, match="64 bits"):
        VersionVector({A: Stamp(stamp)})
    with pytest.raises(CrdtError, match="64 bits"):
        VersionVector.at(A, Stamp(stamp))


def test_a_vector_of_one_origin_is_like_any_other() -> None:
    """And a zero component is an absent one there, too."""
    assert VersionVector.at(A, Stamp(3)) == vector(a=3)
    assert VersionVector.at(A, Stamp(0)) == VersionVector()
    assert sorted(vector(a=3, b=1).stamps()) == [1, 3]


@pytest.mark.parametrize(
    "wild", [None, [], {"a": -1}, {"a": True}, {"a": "1"}, {1: 1}, {"a": 2**64}]
)
def test_what_is_no_vector_is_refused_from_the_wire(wild: object) -> None:
    """Neither wrong types nor numbers out of range become components."""
    with pytest.raises(DecodeError, match="version vector"):
        VersionVector.from_wire(wild)


def test_a_zero_from_the_wire_is_an_absent_component() -> None:
    """Another implementation may send zeros."""
    assert VersionVector.from_wire({"a": 0, "b": 1}) == vector(b=1)


def test_a_vector_survives_pickling() -> None:
    """Also after its hash was asked for."""
    seen = vector(a=1, b=2)
    hash(seen)
    assert pickle.loads(pickle.dumps(seen)) == seen  # noqa: S301 - made a line above


def test_a_vector_can_be_walked_without_sorting_it() -> None:
    """For what does not depend on the order."""
    seen = vector(b=2, a=1)
    assert sorted(seen.origins()) == ["a", "b"]
    assert sorted(seen.pairs()) == seen.items()
