"""A packed delta as plain rows."""

import numpy as np
import pytest

from crdt import (
    DecodeError,
    Delta,
    Key,
    KeyHasher,
    KeysUnknown,
    LWWMap,
    Origin,
    PackedDelta,
    PackedRows,
    Row,
    Rows,
    SecretDiffers,
    Stamp,
    VersionVector,
)

ONE, OTHER = Origin("a/w0/1"), Origin("a/w1/1")
HASHER = KeyHasher(b"secret")
ROWS = [
    Row(("room", "alice", "s1"), Stamp(5), ONE, 1, 2, "g1", b"x"),
    Row(("room", "bob", "s2"), Stamp(6), ONE, 0, 0, "", b""),
    Row(("hall", "carol", "s3"), Stamp(2), OTHER, 3, 1, "g2", b""),
]


def new_map(*rows: Row) -> LWWMap:
    """A map that holds these rows, and has seen nothing beside."""
    found = LWWMap(drift_ms_max=100, hasher=HASHER)
    found.apply(delta_of(*rows), wall_ms=0)
    return found


def delta_of(*rows: Row, new: VersionVector | None = None) -> Delta:
    """A delta with these rows that claims nothing."""
    nothing = VersionVector()
    return Delta(nothing, nothing if new is None else new, Rows.of(rows), Stamp(9))


def packed(
    *rows: Row, keys: list[Key | None] | None = None, secret: bytes = b"secret"
) -> PackedDelta:
    """The same packed, with other full keys beside the hashes if some are given."""
    delta = LWWMap(drift_ms_max=100, hasher=KeyHasher(secret)).pack(delta_of(*rows))
    if keys is not None:
        ids = np.fromiter(keys, dtype=np.object_, count=len(keys))
        delta.rows.ids = ids
    return delta


def test_rows_come_out_as_they_went_in() -> None:
    """In their order, with all that was beside them."""
    found = new_map().unpack(packed(*ROWS))
    assert list(found.rows) == ROWS
    assert (found.base, found.new, found.clock) == (VersionVector(), VersionVector(), 9)


def test_a_delta_without_rows_has_none() -> None:
    """As most have."""
    nothing = PackedDelta.nothing(Stamp(7))
    assert new_map().unpack(nothing) == Delta.nothing(Stamp(7))
    assert PackedDelta.decode(nothing.encode()) == nothing


def test_a_key_that_did_not_come_is_the_one_that_is_held() -> None:
    """Known by its hash."""
    newer = ROWS[0]._replace(stamp=Stamp(8))
    assert list(new_map(*ROWS).unpack(packed(newer, keys=[None])).rows) == [newer]


def test_an_entry_that_is_not_known_and_has_no_key_is_refused() -> None:
    """Nobody guesses what it may be; how many there are is told."""
    with pytest.raises(KeysUnknown, match="2 rows") as caught:
        new_map(ROWS[0]).unpack(packed(*ROWS, keys=[None, None, None]))
    assert caught.value.count == 2


def test_what_has_been_seen_is_left_out_and_needs_no_key() -> None:
    """It may be of an end that was forgotten; unless the origin's rows come anew."""
    mine = new_map()
    mine.apply(
        Delta(VersionVector(), VersionVector({ONE: Stamp(6)}), Rows.empty(), Stamp(6)), wall_ms=0
    )
    delta = packed(*ROWS, keys=[None, None, ROWS[2].key])
    assert list(mine.unpack(delta).rows) == [ROWS[2]]
    with pytest.raises(KeysUnknown):
        mine.unpack(delta, uncounted=[ONE])
    assert list(mine.unpack(packed(*ROWS), uncounted=[ONE]).rows) == ROWS


def test_a_key_with_the_hash_of_another_one_is_refused() -> None:
    """On both ways: it would never be found again."""
    wrong = packed(ROWS[0], keys=[ROWS[1].key])
    mine = new_map()
    with pytest.raises(DecodeError, match="hash of another key"):
        mine.unpack(wrong)
    with pytest.raises(DecodeError, match="hash of another key"):
        mine.columns.apply(wrong, wall_ms=0)
    assert (len(mine), mine.rows_total) == (0, 0)


def test_hashes_under_another_secret_are_refused_with_what_to_do() -> None:
    """On both ways."""
    foreign = packed(*ROWS, secret=b"terces")
    mine = new_map()
    for merge in (mine.unpack, lambda delta: mine.columns.apply(delta, wall_ms=0)):
        with pytest.raises(SecretDiffers, match="give every zone of the cluster the same secret"):
            merge(foreign)
    assert mine.rows_total == 0


def test_batches_are_equal_if_they_say_the_same() -> None:
    """Whatever numbers their names have."""
    one = packed(*ROWS).rows
    renamed = PackedRows.of(Rows.of(ROWS[::-1]), HASHER).take(np.array([2, 1, 0]))
    assert renamed.origins != one.origins
    assert renamed == one
    assert one != packed(*ROWS, secret=b"terces").rows
    assert one != packed(ROWS[0]._replace(holder="g9"), *ROWS[1:]).rows
    assert one != packed(*ROWS[:2]).rows
    assert PackedRows.empty() == packed().rows != one
    assert (one == ROWS, packed(*ROWS) == packed(*ROWS), packed(*ROWS) == ROWS) == (
        False,
        True,
        False,
    )
