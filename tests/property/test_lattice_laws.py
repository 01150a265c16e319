"""Every lattice type, every law.

A lattice type merges two values into the least that has both.  The laws are what makes it safe to
deliver anything in any order, any number of times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from crdt import Delta, LWWMap, Order, Row, Rows, Stamp, VersionVector
from tests.strategies import (
    DRIFT_MS_MAX,
    WALL_MS,
    histories,
    map_triples,
    rows,
    vectors,
)


@dataclass(frozen=True)
class Lattice:
    """A type with a merge, and what the laws need to know of it."""

    name: str
    triples: SearchStrategy[tuple[Any, Any, Any]]
    merge: Callable[[Any, Any], Any]
    #: Equal values, and no others, have equal bytes.
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    #: Is the left one below the right one, or equal, by a definition that does not use merge?
    is_below: Callable[[Any, Any], bool]
    bottom: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return self.name


def copy_of(presences: LWWMap) -> LWWMap:
    """Another map that knows the same."""
    copy = LWWMap(drift_ms_max=DRIFT_MS_MAX)
    copy.apply(presences.state(), wall_ms=WALL_MS)
    return copy


def merged(left: LWWMap, right: LWWMap) -> LWWMap:
    """What ``left`` becomes by the full state of ``right``; both stay as they are."""
    result = copy_of(left)
    result.apply(right.state(), wall_ms=WALL_MS)
    return result


def map_from_bytes(data: bytes) -> LWWMap:
    """The map whose full state was encoded."""
    presences = LWWMap(drift_ms_max=DRIFT_MS_MAX)
    presences.apply(Delta.decode(data), wall_ms=WALL_MS)
    return presences


def is_map_below(left: LWWMap, right: LWWMap) -> bool:
    """Has the right map seen all that the left one has, and a row as great for each key?"""
    return right.vector.dominates(left.vector) and all(
        (rival := right.get(row.key)) is not None and rival.order >= row.order
        for row in left.all_rows()
    )


def vector_bytes(vector: VersionVector) -> bytes:
    """A vector, encoded within a delta."""
    return Delta(vector, vector, Rows.empty(), Stamp(0)).encode()


def row_bytes(row: Row) -> bytes:
    """A row, encoded within a delta."""
    nothing = Delta.nothing(row.stamp)
    return Delta(nothing.base, nothing.new, Rows.of([row]), nothing.clock).encode()


@st.composite
def rival_rows(draw: st.DrawFn) -> tuple[Row, Row, Row]:
    """Three rows of one key, not all of them different; (origin, stamp) names one row."""
    row_of = {(row.origin, row.stamp): row for row in draw(st.lists(rows, min_size=1, max_size=6))}
    pool = st.sampled_from([row._replace(key=("t", "k", "s")) for row in row_of.values()])
    return draw(pool), draw(pool), draw(pool)


LATTICES = [
    Lattice(
        name="VersionVector",
        triples=st.tuples(vectors, vectors, vectors),
        merge=VersionVector.merge,
        encode=vector_bytes,
        decode=lambda data: Delta.decode(data).new,
        is_below=lambda left, right: left.compare(right) in {Order.BEFORE, Order.EQUAL},
        bottom=VersionVector,
    ),
    Lattice(
        name="Row",
        triples=rival_rows(),
        merge=lambda left, right: max(left, right, key=lambda row: row.order),
        encode=row_bytes,
        decode=lambda data: Delta.decode(data).rows.row(0),
        is_below=lambda left, right: left.order <= right.order,
    ),
    Lattice(
        name="LWWMap",
        triples=map_triples(),
        merge=merged,
        encode=lambda presences: presences.state().encode(),
        decode=map_from_bytes,
        is_below=is_map_below,
        bottom=lambda: LWWMap(drift_ms_max=DRIFT_MS_MAX),
    ),
]

every_lattice = pytest.mark.parametrize("lattice", LATTICES, ids=str)


@every_lattice
@given(data=st.data())
def test_merge_is_commutative(lattice: Lattice, data: DataObject) -> None:
    """It makes no difference who merges whose value."""
    left, right, _ = data.draw(lattice.triples)
    one, other = lattice.merge(left, right), lattice.merge(right, left)
    assert lattice.encode(one) == lattice.encode(other)


@every_lattice
@given(data=st.data())
def test_merge_is_associative(lattice: Lattice, data: DataObject) -> None:
    """It makes no difference what is merged first."""
    first, second, third = data.draw(lattice.triples)
    one = lattice.merge(lattice.merge(first, second), third)
    other = lattice.merge(first, lattice.merge(second, third))
    assert lattice.encode(one) == lattice.encode(other)


@every_lattice
@given(data=st.data())
def test_merge_is_idempotent(lattice: Lattice, data: DataObject) -> None:
    """What was merged already may be merged again."""
    left, right, _ = data.draw(lattice.triples)
    once = lattice.merge(left, right)
    assert lattice.encode(lattice.merge(left, left)) == lattice.encode(left)
    assert lattice.encode(lattice.merge(once, right)) == lattice.encode(once)
    assert lattice.encode(lattice.merge(once, left)) == lattice.encode(once)


@every_lattice
@given(data=st.data())
def test_merge_never_goes_down(lattice: Lattice, data: DataObject) -> None:
    """The result has all that either side had."""
    left, right, _ = data.draw(lattice.triples)
    result = lattice.merge(left, right)
    assert lattice.is_below(left, result)
    assert lattice.is_below(right, result)


@every_lattice
@given(data=st.data())
def test_merge_is_the_least_upper_bound(lattice: Lattice, data: DataObject) -> None:
    """Whoever has all that both sides have has all of the result, too."""
    left, right, third = data.draw(lattice.triples)
    result = lattice.merge(left, right)
    bound = lattice.merge(lattice.merge(third, left), right)
    assert lattice.is_below(result, bound)
    if lattice.is_below(left, third) and lattice.is_below(right, third):
        assert lattice.is_below(result, third)


@pytest.mark.parametrize("lattice", [one for one in LATTICES if one.bottom], ids=str)
@given(data=st.data())
def test_bottom_is_neutral(lattice: Lattice, data: DataObject) -> None:
    """Merging with one who knows nothing changes nothing."""
    value, _, _ = data.draw(lattice.triples)
    assert lattice.bottom is not None
    assert lattice.encode(lattice.merge(value, lattice.bottom())) == lattice.encode(value)
    assert lattice.encode(lattice.merge(lattice.bottom(), value)) == lattice.encode(value)
    assert lattice.is_below(lattice.bottom(), value)


@every_lattice
@given(data=st.data())
def test_encoding_keeps_everything(lattice: Lattice, data: DataObject) -> None:
    """What is decoded stands neither below nor above what was encoded, and has the same bytes."""
    value, _, _ = data.draw(lattice.triples)
    decoded = lattice.decode(lattice.encode(value))
    assert lattice.is_below(decoded, value)
    assert lattice.is_below(value, decoded)
    assert lattice.encode(decoded) == lattice.encode(value)


@every_lattice
@given(data=st.data())
def test_values_that_stand_below_each_other_have_equal_bytes(
    lattice: Lattice, data: DataObject
) -> None:
    """Equal values have equal bytes, however they came about, and different ones have not."""
    left, right, third = data.draw(lattice.triples)
    pairs = [
        (left, right),
        (lattice.merge(lattice.merge(left, third), right), lattice.merge(right, left)),
    ]
    for one, other in pairs:
        equal = lattice.is_below(one, other) and lattice.is_below(other, one)
        assert (lattice.encode(one) == lattice.encode(other)) == equal


@given(maps=map_triples())
def test_a_delta_does_what_the_full_state_does(maps: tuple[LWWMap, LWWMap, LWWMap]) -> None:
    """Applying what the receiver lacks equals merging all that the sender has."""
    sender, receiver, _ = maps
    lacking, _, complete = sender.missing(receiver.vector)
    assert complete
    delta = Delta(receiver.vector, sender.vector, lacking, sender.state().clock)
    by_delta = copy_of(receiver)
    by_delta.apply(delta, wall_ms=WALL_MS)
    by_state = merged(receiver, sender)
    assert by_delta.vector == by_state.vector
    assert by_delta.canonical_bytes() == by_state.canonical_bytes()


@given(maps=map_triples())
def test_applying_again_reports_no_changes(maps: tuple[LWWMap, LWWMap, LWWMap]) -> None:
    """A second apply finds nothing to do, and nothing moves in the change log."""
    sender, receiver, _ = maps
    receiver.apply(sender.state(), wall_ms=WALL_MS)
    position, digest = receiver.log_position, receiver.digest()
    changes = receiver.apply(sender.state(), wall_ms=WALL_MS)
    assert (len(changes), changes.previous) == (0, [])
    assert (receiver.log_position, receiver.digest()) == (position, digest)


@given(data=st.data())
def test_digests_are_equal_exactly_if_the_rows_are(data: DataObject) -> None:
    """The digest tells states apart by their rows, not by how they were built."""
    left, right, _ = data.draw(map_triples())
    assert (left.digest() == right.digest()) == (left.all_rows() == right.all_rows())
    assert merged(left, right).digest() == merged(right, left).digest()


@given(left=vectors, right=vectors)
def test_meet_is_the_greatest_lower_bound(left: VersionVector, right: VersionVector) -> None:
    """Both sides have all of the meet; absorption ties it to merge."""
    meet = left.meet(right)
    assert left.dominates(meet)
    assert right.dominates(meet)
    assert meet == right.meet(left)
    assert left.merge(meet) == left
    assert left.meet(left.merge(right)) == left


@given(data=st.data())
def test_a_map_holds_the_greatest_of_what_it_has_seen(data: DataObject) -> None:
    """For every write that the vector covers, the map holds it or a greater one of its key."""
    history = data.draw(histories())
    presences = LWWMap(drift_ms_max=DRIFT_MS_MAX)
    for written in history.rows_of.values():
        for row in written:
            base = VersionVector({row.origin: presences.vector[row.origin]})
            new = VersionVector({row.origin: row.stamp})
            presences.apply(Delta(base, new, Rows.of([row]), row.stamp), wall_ms=WALL_MS)
    greatest: dict[Any, Row] = {}
    for row in sorted(history.rows, key=lambda row: row.order):
        greatest[row.key] = row
    assert {row.key: row for row in presences.all_rows()} == greatest
