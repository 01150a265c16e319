"""The merge of a batch: planned first, carried out then."""

import pytest

from crdt import (
    CrdtError,
    KeyHasher,
    KeysUnknown,
    Origin,
    PackedRows,
    Row,
    Rows,
    Stamp,
    VersionVector,
)
from crdt.entries import Entries
from crdt.merging import carry_out, plan, seen_of

HASHER = KeyHasher()
A = Origin("a")


def batch(*stamps: int, key: str = "k") -> PackedRows:
    """Versions of one key."""
    rows = [Row(("t", key, "s"), Stamp(stamp), A, 0, 1, f"g{stamp}", b"") for stamp in stamps]
    return PackedRows.of(Rows.of(rows), HASHER)


def test_a_plan_changes_nothing() -> None:
    """So that a refusal can come at any point of it."""
    entries = Entries(HASHER)
    before = entries.nbytes
    planned = plan(entries, batch(5), VersionVector(), ids_kept=True)
    assert (planned.win.tolist(), len(entries), entries.nbytes) == ([0], 0, before)
    rows, _, new_count, _ = carry_out(entries, planned)
    assert (rows.tolist(), new_count, len(entries)) == ([1], 1, 1)


@pytest.mark.parametrize("known", [True, False])
def test_a_key_that_comes_twice_changes_once(*, known: bool) -> None:
    """To its greatest version, whether it was known or new; the loser leaves no holder behind."""
    entries = Entries(HASHER)
    if known:
        carry_out(entries, plan(entries, batch(1), VersionVector(), ids_kept=True))
    carried = carry_out(entries, plan(entries, batch(7, 9, 8), VersionVector(), ids_kept=True))
    assert (len(carried[0]), carried[2]) == (1, int(not known))
    assert (entries.row(1).stamp, list(entries.holders)) == (9, ["g9"])
    assert len(entries.log) == 1


def test_covered_rows_are_skipped_before_anything_else() -> None:
    """Even before it is asked whether their keys are known."""
    entries = Entries(HASHER)
    rows = batch(5)
    bare = PackedRows(**{name: getattr(rows, name) for name in rows.__slots__} | {"ids": None})
    seen = VersionVector({A: Stamp(5)})
    assert len(plan(entries, bare, seen, ids_kept=True).batch) == 0
    with pytest.raises(KeysUnknown):
        plan(entries, bare, VersionVector({A: Stamp(4)}), ids_kept=True)
    assert seen_of(seen, ["a", "b"]).tolist() == [5, 0]


def test_a_row_without_a_stamp_is_refused() -> None:
    """It names no write, and would take a place for nothing."""
    entries = Entries(HASHER)
    with pytest.raises(CrdtError, match="a stamp is zero"):
        plan(entries, batch(0, 5), VersionVector(), ids_kept=True)
