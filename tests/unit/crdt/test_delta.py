"""Deltas and their bytes."""

import msgpack
import pytest

from crdt import CrdtError, DecodeError, Delta, Origin, Row, Rows, Stamp, VersionVector

A = Origin("a")
BASE = VersionVector({A: Stamp(1)})
NEW = VersionVector({A: Stamp(3)})


def row_of(session: str, stamp: int) -> Row:
    """A row of some session."""
    return Row(("t", "k", session), Stamp(stamp), A, 0, 1, "g", b"v")


def test_a_delta_does_not_depend_on_the_order_of_its_rows() -> None:
    """Neither as a value nor in its bytes; a beaten row of the same key leaves no trace."""
    rows = [row_of("s1", 2), row_of("s2", 3)]
    one = Delta(BASE, NEW, Rows.of(rows), Stamp(3))
    other = Delta(BASE, NEW, Rows.of([rows[1], row_of("s1", 1), rows[0]]), Stamp(3))
    assert one == other
    assert one.encode() == other.encode()


def test_deltas_differ_by_each_of_their_parts() -> None:
    """Base, new, rows and clock."""
    delta = Delta(BASE, NEW, Rows.empty(), Stamp(3))
    assert delta != Delta(NEW, NEW, Rows.empty(), Stamp(3))
    assert delta != Delta(BASE, BASE, Rows.empty(), Stamp(3))
    assert delta != Delta(BASE, NEW, Rows.of([row_of("s", 2)]), Stamp(3))
    assert delta != delta.with_clock(Stamp(4))
    assert delta == delta.with_clock(Stamp(4)).with_clock(Stamp(3))
    assert delta != "delta"


def test_a_delta_of_nothing_tells_the_time() -> None:
    """The clock travels without rows."""
    delta = Delta.decode(Delta.nothing(Stamp(7)).encode())
    assert (len(delta.rows), delta.base, delta.clock) == (0, VersionVector(), 7)


def test_bytes_begin_with_the_version() -> None:
    """Another version is refused before anything else is looked at."""
    data = Delta.nothing(Stamp(7)).encode()
    assert data[0] == 2
    with pytest.raises(DecodeError, match="version 2"):
        Delta.decode(b"\x01" + data[1:])
    with pytest.raises(DecodeError, match="version 2"):
        Delta.decode(b"")


def test_a_delta_above_the_size_is_refused_unread() -> None:
    """The limit counts bytes as they came."""
    data = Delta.nothing(Stamp(7)).encode()
    assert Delta.decode(data, size_max=len(data)).clock == 7
    with pytest.raises(DecodeError, match="more than"):
        Delta.decode(data, size_max=len(data) - 1)


def test_arrays_are_refused_before_they_are_allocated() -> None:
    """A thousand nested arrays that claim four billion items each cost nothing."""
    with pytest.raises(DecodeError, match="MessagePack"):
        Delta.decode(b"\x02" + b"\xdd\xff\xff\xff\xff" * 1000)


@pytest.mark.parametrize("clock", [None, -1, True, 1.5, "7"])
def test_a_clock_that_is_no_stamp_is_refused(clock: object) -> None:
    """Only integers of 64 bits are."""
    whole = Delta.nothing(Stamp(7)).to_wire() | {"clock": clock}
    with pytest.raises(DecodeError, match=r"delta\.clock"):
        Delta.decode(b"\x02" + msgpack.packb(whole))


def test_half_a_surrogate_pair_cannot_be_encoded() -> None:
    """The error is one of ours and says where to refuse such strings."""
    delta = Delta(BASE, NEW, Rows.of([row_of("\ud800", 2)]), Stamp(3))
    with pytest.raises(CrdtError, match="UTF-8"):
        delta.encode()
