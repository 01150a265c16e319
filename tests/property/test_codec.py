"""Codecs: what is encoded can be decoded, and nothing else can do harm."""

from collections.abc import Callable
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crdt import (
    CrdtError,
    DecodeError,
    Delta,
    LWWMap,
    Origin,
    PackedDelta,
    Row,
    Rows,
    Stamp,
    VersionVector,
)
from crdt.hlc import WALL_MS_MAX
from tests.strategies import batches, deltas, rows, vectors, wild_rows

#: What a map holds when something comes.
HELD = Delta(
    VersionVector(),
    VersionVector({Origin("a/w1/1"): Stamp(9)}),
    Rows.of([Row(("room:lobby", "alice", "s1"), Stamp(9), Origin("a/w1/1"), 0, 1, "g", b"")]),
    Stamp(9),
)
#: Anything that MessagePack or JSON may bring.
wild_objects = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(delta=deltas(wild_rows) | deltas(rows))
def test_a_decoded_delta_equals_the_encoded_one(delta: Delta) -> None:
    """Encoding loses nothing, and decoding finds nothing that was not there."""
    decoded = Delta.decode(delta.encode())
    assert decoded == delta
    assert decoded.rows == delta.rows.canonical()
    assert decoded.encode() == delta.encode()


@given(delta=deltas(wild_rows), seed=st.randoms(use_true_random=False))
def test_equal_deltas_have_equal_bytes(delta: Delta, seed: object) -> None:
    """The order of rows and the way in which a delta came about leave no trace in its bytes."""
    shuffled = list(delta.rows)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    other = Delta(delta.base, delta.new, Rows.of(shuffled), delta.clock)
    assert other == delta
    assert other.encode() == delta.encode()


@given(one=deltas(), other=deltas())
def test_different_deltas_have_different_bytes(one: Delta, other: Delta) -> None:
    """Bytes are equal only if deltas are."""
    assert (one.encode() == other.encode()) == (one == other)


@given(batch=batches(wild_rows))
def test_rows_keep_their_order_on_the_wire(batch: Rows) -> None:
    """A batch comes back as it was, row by row."""
    assert Rows.from_wire(batch.to_wire()) == batch


@given(vector=vectors)
def test_a_vector_comes_back_from_the_wire(vector: VersionVector) -> None:
    """A vector comes back as it was."""
    assert VersionVector.from_wire(vector.to_wire()) == vector


def decode_or_refuse(data: bytes) -> Delta | None:
    """What these bytes say; None if they are refused in the one way that is allowed."""
    try:
        return Delta.decode(data)
    except DecodeError:
        return None


@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\x02")
@example(data=b"\x02\xc1")
@example(data=b"\x02" + b"\x81\xa1a" * 2_000)
@example(data=b"\x02" + b"\xdd\xff\xff\xff\xff" * 2_000)
@example(data=b"\x02" + b"\xdf\xff\xff\xff\xff" * 2_000)
@example(data=b"\x02\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff")
def test_arbitrary_bytes_are_refused_and_do_no_harm(data: bytes) -> None:
    """No bytes crash the decoder, hang it, or make it claim much memory."""
    for candidate in (data, b"\x02" + data):
        delta = decode_or_refuse(candidate)
        assert delta is None or Delta.decode(delta.encode()) == delta


#: Changes of bytes: where, to what, how.
edits = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["set", "cut", "add"])),
    min_size=1,
    max_size=3,
)


def damaged(valid: bytes, damage: list[tuple[int, int, str]]) -> bytes:
    """These bytes with some changes."""
    data = bytearray(valid)
    for drawn, byte, kind in damage:
        place = drawn % (len(data) or 1)
        if kind == "set" and data:
            data[place] = byte
        elif kind == "cut":
            del data[place : place + 1 + byte % 7]
        else:
            data.insert(place, byte)
    return bytes(data)


@given(delta=deltas(wild_rows), damage=edits)
def test_damaged_deltas_are_refused_or_still_deltas(
    delta: Delta, damage: list[tuple[int, int, str]]
) -> None:
    """Whatever happens to valid bytes: they are refused, or say something well-formed."""
    decoded = decode_or_refuse(damaged(delta.encode(), damage))
    assert decoded is None or Delta.decode(decoded.encode()) == decoded


@given(delta=deltas(wild_rows) | deltas(rows), data=st.data())
def test_a_packed_delta_comes_back_row_by_row(delta: Delta, data: st.DataObject) -> None:
    """With the full keys that were left in, and no others."""
    packed = LWWMap(drift_ms_max=0).pack(delta)
    if packed.rows.ids is not None:
        for place in data.draw(st.sets(st.integers(0, max(0, len(delta.rows) - 1)))):
            packed.rows.ids[place : place + 1] = None
    again = PackedDelta.decode(packed.encode())
    assert (again.base, again.new, again.clock) == (packed.base, packed.new, packed.clock)
    for name in ("keys", "stamps", "epochs", "statuses"):
        assert np.array_equal(getattr(again.rows, name), getattr(packed.rows, name))
    assert origins_and_holders(again) == origins_and_holders(packed)
    for name in ("ids", "values"):
        column, expected = getattr(again.rows, name), getattr(packed.rows, name)
        nothing = [None] * len(delta.rows)
        assert (nothing if column is None else column.tolist()) == (
            nothing if expected is None else expected.tolist()
        )


def origins_and_holders(delta: PackedDelta) -> list[tuple[str, str]]:
    """Of each row."""
    rows = delta.rows
    return [
        (rows.origins[origin], rows.holders[holder])
        for origin, holder in zip(rows.origin_of.tolist(), rows.holder_of.tolist(), strict=True)
    ]


def apply_or_refuse(data: bytes) -> None:
    """What these bytes do to a map: they are refused in a way that is allowed, or merged."""
    presences = LWWMap(drift_ms_max=0)
    presences.apply(HELD, wall_ms=WALL_MS_MAX)
    before = presences.state().encode()
    try:
        presences.columns.apply_encoded(data, wall_ms=WALL_MS_MAX)
    except CrdtError:
        assert presences.state().encode() == before
        return
    assert presences.rows_total == len(presences.all_rows())
    assert len(presences.missing(VersionVector())[0]) == presences.rows_total


@given(data=st.binary(max_size=200))
@example(data=b"\x83")
@example(data=b"\x83" + b"\x81\xa1a" * 2_000)
@example(data=b"\x83" + b"\xdd\xff\xff\xff\xff" * 2_000)
@example(data=b"\x83" + b"\xdf\xff\xff\xff\xff" * 2_000)
def test_arbitrary_bytes_do_no_harm_to_a_map(data: bytes) -> None:
    """No bytes crash the merge of packed deltas; a refusal leaves the map as it was."""
    apply_or_refuse(data)
    apply_or_refuse(b"\x83" + data)


@given(delta=deltas(wild_rows) | deltas(rows), damage=edits)
def test_damaged_packed_deltas_are_refused_or_merged(
    delta: Delta, damage: list[tuple[int, int, str]]
) -> None:
    """Whatever happens to valid bytes; what passes for a delta is merged as one."""
    apply_or_refuse(damaged(LWWMap(drift_ms_max=0).pack(delta).encode(), damage))


@given(delta=deltas(), data=st.data())
def test_a_delta_cut_short_is_refused(delta: Delta, data: st.DataObject) -> None:
    """No beginning of a delta passes for a delta."""
    whole = delta.encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert decode_or_refuse(whole[:cut]) is None
    assert decode_or_refuse(whole + b"\x00") is None


@pytest.mark.parametrize(
    "from_wire",
    [Delta.from_wire, Rows.from_wire, VersionVector.from_wire],
    ids=lambda f: f.__qualname__,
)
@given(wild=wild_objects, delta=deltas(), data=st.data())
def test_wild_objects_are_refused(
    from_wire: Callable[[object], object], wild: object, delta: Delta, data: st.DataObject
) -> None:
    """Any object in the place of any field is refused, or is what could have been there."""
    candidates = [wild]
    for whole in (delta.to_wire(), delta.rows.to_wire(), delta.base.to_wire()):
        if whole:
            name = data.draw(st.sampled_from(sorted(whole)))
            candidates += [whole | {name: wild}, {key: whole[key] for key in whole if key != name}]
            inner = whole[name]
            if isinstance(inner, dict) and inner:
                inner_name = data.draw(st.sampled_from(sorted(inner)))
                candidates.append(whole | {name: inner | {inner_name: wild}})
    for candidate in candidates:
        with suppress(DecodeError):
            from_wire(candidate)


@given(delta=deltas(wild_rows))
def test_no_array_is_on_the_wire(delta: Delta) -> None:
    """A decoder may forbid arrays, which are what a few bytes can claim much memory with."""
    packed = msgpack.packb(delta.to_wire())
    assert msgpack.unpackb(packed, max_array_len=0) == delta.to_wire()
