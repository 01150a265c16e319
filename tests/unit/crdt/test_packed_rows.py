"""Packed rows and their encoding."""

from typing import Any

import msgpack
import numpy as np
import pytest

from crdt import (
    CrdtError,
    DecodeError,
    KeyHasher,
    Origin,
    PackedDelta,
    PackedRows,
    Row,
    Rows,
    Stamp,
    VersionVector,
)
from crdt.packed_rows import PACKED_VERSION

HASHER = KeyHasher(b"secret")


def row_of(session: str, stamp: int, *, value: bytes = b"", holder: str = "g") -> Row:
    """A row."""
    key = ("room:lobby", "alice", session)
    return Row(key, Stamp(stamp), Origin("a"), 1 << 32, 1, holder, value)


def packed(*rows: Row) -> PackedRows:
    """A batch."""
    return PackedRows.of(Rows.of(rows), HASHER)


def delta_of(rows: PackedRows) -> PackedDelta:
    """A delta that covers nothing."""
    return PackedDelta(VersionVector(), VersionVector(), rows, Stamp(7))


def test_a_decoded_delta_is_the_encoded_one() -> None:
    """Column by column; full keys and values only where there are some."""
    whole = packed(row_of("s1", 5, value=b"x"), row_of("s2", 900_000, holder=""))
    assert whole.ids is not None
    whole.ids[1] = None
    decoded = PackedDelta.decode(delta_of(whole).encode())
    assert (decoded.clock, decoded.base, decoded.new) == (7, VersionVector(), VersionVector())
    for name in ("keys", "stamps", "origin_of", "epochs", "statuses", "holder_of", "ids", "values"):
        assert np.array_equal(getattr(decoded.rows, name), getattr(whole, name)), name
    assert (decoded.rows.origins, decoded.rows.holders) == (("a",), ("g", ""))
    assert decoded.rows.fingerprint == HASHER.fingerprint


def test_a_row_takes_few_bytes_and_no_python_object() -> None:
    """16 for the hash, and what differs of the rest."""
    rows = [row_of(f"s{number}", 1_000_000 + number) for number in range(2000)]
    whole = packed(*rows)
    bare = PackedRows(**{name: getattr(whole, name) for name in whole.__slots__} | {"ids": None})
    assert len(delta_of(bare).encode()) < 20 * len(rows)


def test_names_that_no_row_has_are_not_sent() -> None:
    """A part of a batch has the names of the whole until then."""
    rows = packed(*(row_of(f"s{number}", 5 + number, holder=f"g{number}") for number in range(9)))
    part = PackedDelta.decode(delta_of(rows.take(np.array([3]))).encode()).rows
    assert (part.holders, part.holder_of.tolist()) == (("g3",), [0])


def test_of_rows_with_one_hash_the_greatest_is_known() -> None:
    """Wherever it stands."""
    rows = packed(row_of("s1", 5), row_of("s2", 6), row_of("s1", 7))
    assert rows.greatest_places().tolist() == [1, 2]


def test_half_a_surrogate_pair_is_refused() -> None:
    """It cannot be written."""
    with pytest.raises(CrdtError, match="UTF-8"):
        delta_of(packed(row_of("\ud800", 5))).encode()


@pytest.mark.parametrize(
    ("path", "wild", "where"),
    [
        ("count", 3, "packed.hashes: expected 48 bytes"),
        ("hashes", "text", "packed.hashes"),
        ("secret", 7, "packed.secret"),
        ("stamps", {"least": 0, "above": b"\x00\x01"}, "packed.stamps: a stamp is zero"),
        ("statuses", b"\x01\x02\x01\x01", "packed.statuses: a status has more than 8 bits"),
        ("origins", {"count": 3, "table": {}, "index": b""}, "packed.origins.count"),
        (
            "holders",
            {"count": 2, "table": {"text": "aa", "lengths": b"\x01\x01"}, "index": b"\x00\x01"},
            "packed.holders: a name comes twice",
        ),
        (
            "holders",
            {"count": 1, "table": {"text": "a", "lengths": b"\x01"}, "index": b"\x00\x01"},
            "packed.holders: index 1 is beyond a table of 1",
        ),
        ("ids.places", b"\x01\x00", "packed.ids.places: they do not ascend below 2"),
        ("ids.places", b"\x00\x02", "packed.ids.places: they do not ascend below 2"),
        ("values.count", 3, "packed.values.count"),
        ("extra", 1, "packed"),
    ],
)
def test_a_damaged_batch_is_refused_with_its_place(path: str, wild: object, where: str) -> None:
    """Each check of each field says where it failed."""
    whole: dict[str, Any] = packed(row_of("s1", 5, value=b"x"), row_of("s2", 6)).to_wire() or {}
    name, _, inner = path.partition(".")
    whole[name] = whole[name] | {inner: wild} if inner else wild
    with pytest.raises(DecodeError) as caught:
        PackedRows.from_wire(whole)
    assert str(caught.value).startswith(where)


def test_other_versions_and_sizes_are_refused_before_anything_else() -> None:
    """By the first byte, and by the length."""
    data = delta_of(packed(row_of("s1", 5))).encode()
    assert data[0] == PACKED_VERSION
    for wrong in (b"", b"\x02" + data[1:]):
        with pytest.raises(DecodeError, match="version"):
            PackedDelta.decode(wrong)
    with pytest.raises(DecodeError, match="more than 10"):
        PackedDelta.decode(data, size_max=10)
    with pytest.raises(DecodeError, match="no MessagePack map"):
        PackedDelta.decode(data[:1] + b"\xdd\xff\xff\xff\xff" * 1000)
    fields = msgpack.unpackb(data[1:])
    with pytest.raises(DecodeError, match=r"packed delta\.clock"):
        PackedDelta.decode(data[:1] + msgpack.packb(fields | {"clock": -1}))
