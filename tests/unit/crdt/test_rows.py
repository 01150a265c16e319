"""Rows and batches of them."""

from typing import Any

import pytest

from crdt import (
    REMOVED,
    CrdtError,
    DecodeError,
    Origin,
    Row,
    Rows,
    Stamp,
    epoch_move,
    epoch_resume,
    pack_epoch,
)

A = Origin("a")


def row_of(session: str, *, stamp: int = 1, epoch: int = 0, status: int = 1) -> Row:
    """A row of some session in one topic."""
    return Row(("t", "k", session), Stamp(stamp), A, epoch, status, "g", b"v")


def test_an_epoch_unpacks_to_what_was_packed() -> None:
    """Resumptions stand above moves, at both ends of their ranges."""
    for resume, move in [(0, 0), (1, 2), ((1 << 32) - 1, (1 << 32) - 1)]:
        epoch = pack_epoch(resume, move)
        assert (epoch_resume(epoch), epoch_move(epoch)) == (resume, move)


@pytest.mark.parametrize(("resume", "move"), [(-1, 0), (0, -1), (1 << 32, 0), (0, 1 << 32)])
def test_an_epoch_out_of_range_is_refused(resume: int, move: int) -> None:
    """A move that does not fit must not count as a resumption."""
    with pytest.raises(CrdtError, match="32 bits"):
        pack_epoch(resume, move)


def test_the_order_of_rows_is_epoch_then_stamp_then_origin() -> None:
    """Each decides only where those before it are equal."""
    rows = [
        row_of("s", epoch=0, stamp=9),
        row_of("s", epoch=1, stamp=1),
        row_of("s", epoch=1, stamp=2),
        row_of("s", epoch=1, stamp=2)._replace(origin=Origin("b")),
    ]
    assert sorted((rows[2], rows[0], rows[3], rows[1]), key=lambda row: row.order) == rows


def test_a_row_is_live_unless_removed() -> None:
    """Every other status is opaque."""
    assert [row_of("s", status=status).live for status in (REMOVED, 1, 255)] == [False, True, True]


def test_a_batch_gives_back_its_rows() -> None:
    """By iteration and by index, as plain Python numbers."""
    drawn = [row_of("s1", stamp=(1 << 64) - 1), row_of("s2", epoch=(1 << 64) - 1, status=255)]
    batch = Rows.of(drawn)
    assert list(batch) == drawn
    assert [batch.row(index) for index in range(2)] == drawn
    assert type(batch.row(0).stamp) is int
    assert [column.dtype.name for column in (batch.stamps, batch.epochs, batch.statuses)] == [
        "uint64",
        "uint64",
        "uint8",
    ]


def test_batches_are_joined_and_picked_from() -> None:
    """In the order asked for, with repetition; nothing joined is the empty batch."""
    one, other = Rows.of([row_of("s1"), row_of("s2")]), Rows.of([row_of("s3")])
    assert Rows.concat(one, other) == Rows.of([row_of("s1"), row_of("s2"), row_of("s3")])
    assert Rows.concat() == Rows.empty()
    assert one.take([1, 0, 1]) == Rows.of([row_of("s2"), row_of("s1"), row_of("s2")])
    assert one.take([]) == Rows.empty()
    assert len(Rows.empty()) == 0


def test_batches_are_equal_if_all_columns_are() -> None:
    """A difference in any column is one, and a batch is no list."""
    row = row_of("s1")
    changed = [
        row._replace(key=("t", "k", "x")),
        row._replace(stamp=Stamp(2)),
        row._replace(origin=Origin("x")),
        row._replace(epoch=9),
        row._replace(status=9),
        row._replace(holder="x"),
        row._replace(value=b"x"),
    ]
    assert Rows.of([row]) == Rows.of([row])
    assert all(Rows.of([row]) != Rows.of([other]) for other in changed)
    assert Rows.of([row]) != [row]
    assert repr(Rows.of([row])) == f"Rows.of([{row!r}])"


def test_columns_of_different_length_are_refused() -> None:
    """The message says which ones."""
    with pytest.raises(CrdtError, match="'stamps': 2"):
        Rows(
            keys=[("t", "k", "s")],
            stamps=[1, 2],
            origins=[A],
            epochs=[0],
            statuses=[1],
            holders=[""],
            values=[b""],
        )


@pytest.mark.parametrize(("epoch", "status"), [(-1, 1), (1 << 64, 1), (0, 256), (0, -1)])
def test_numbers_that_do_not_fit_are_refused(epoch: int, status: int) -> None:
    """They are not wrapped around."""
    with pytest.raises(CrdtError, match="does not fit"):
        Rows.of([row_of("s", epoch=epoch, status=status)])


def test_a_canonical_batch_is_sorted_and_has_each_key_once() -> None:
    """Of rows with one key the greatest stays, wherever it stood."""
    old, new = row_of("s1", stamp=1), row_of("s1", stamp=2)
    other = row_of("s0")
    for drawn in ([new, other, old], [old, other, new]):
        assert list(Rows.of(drawn).canonical()) == [other, new]
    batch = Rows.of([other, new])
    assert batch.canonical() is batch


def test_rows_come_back_from_the_wire_with_any_text() -> None:
    """Lengths count code points, so letters beyond ASCII stay where they belong."""
    batch = Rows.of(
        [
            row_of("é")._replace(holder="ギ", value=bytes(300)),
            row_of("😀😀")._replace(origin=Origin("zürich/w/1"), value=b""),
        ]
    )
    assert Rows.from_wire(batch.to_wire()) == batch
    assert Rows.from_wire(Rows.empty().to_wire()) == Rows.empty()


@pytest.mark.parametrize(
    ("path", "wild", "where"),
    [
        ("count", -1, "rows.count"),
        ("count", True, "rows.count"),
        ("count", 1 << 60, "rows.count"),
        ("count", 3, "rows"),
        ("stamps", "text", "rows.stamps"),
        ("stamps", {"least": 0, "above": b""}, "rows.stamps: a stamp is zero"),
        ("stamps", {"least": 0, "above": bytes(3)}, "rows.stamps"),
        ("stamps", {"least": -1, "above": b""}, "rows.stamps"),
        ("stamps", {"least": 2**64 - 1, "above": b"\1\1"}, "rows.stamps: a number has more"),
        ("statuses", b"\x00\x01\x00\x01", "rows.statuses: a status has more"),
        ("keys", [], "rows.keys"),
        ("keys", {"text": b"kk", "lengths": b"\x01\x01"}, "rows.keys"),
        ("keys", {"text": "kk", "lengths": b"\x01\x02"}, "rows.keys"),
        ("keys", {"text": "kk", "lengths": b"\xff" * 16}, "rows.keys"),
        ("keys", {"text": "kk"}, "rows.keys"),
        ("sessions", {"text": "ss", "lengths": b"\x01\x01"}, "rows.keys: a key comes twice"),
        ("values", {"bytes": "vv", "lengths": b"\x01\x01"}, "rows.values"),
        ("holders.index", b"\x00\x01", "rows.holders"),
        ("holders.count", 3, "rows.holders"),
        (
            "holders",
            {"count": 2, "table": {"text": "ba", "lengths": b"\x01\x01"}, "index": b"\x00\x01"},
            "rows.holders: its table is not strictly ascending",
        ),
        ("extra", 1, "rows"),
    ],
)
def test_a_damaged_batch_is_refused_with_its_place(path: str, wild: object, where: str) -> None:
    """Each check of each field says where it failed."""
    whole: dict[str, Any] = Rows.of([row_of("s1"), row_of("s2")]).to_wire()
    name, _, inner = path.partition(".")
    whole[name] = whole[name] | {inner: wild} if inner else wild
    with pytest.raises(DecodeError) as caught:
        Rows.from_wire(whole)
    assert str(caught.value).startswith(where)


@pytest.mark.parametrize("zero", [False, 0.0])
@pytest.mark.parametrize(
    ("column", "field"),
    [("topics", "count"), ("origins", "count"), ("holders", "count"), ("stamps", "least")],
)
def test_what_only_equals_an_empty_batch_is_refused(column: str, field: str, zero: object) -> None:
    """Python takes False and 0.0 for 0, but they are no counts."""
    wire: dict[str, Any] = Rows.empty().to_wire()
    wire[column] = {**wire[column], field: zero}
    with pytest.raises(DecodeError, match=f"rows.{column}.{field}"):
        Rows.from_wire(wire)
