"""All rows of an origin anew, in as many parts as it takes."""

from __future__ import annotations

import numpy as np

from crdt import Key, Origin, PackedRows, Row, Rows
from presence_actors.core.instants import Instant
from presence_actors.core.renewal import Renewal
from tests.unit.core.building import HASHER, W0, W1, entry

HERS = Origin(W1)
HOUR = 3_600_000
ONE, TWO, THREE = (entry(f"user{number}", origin=W1, written=number + 1) for number in range(3))


def note(
    renewal: Renewal,
    after: int,
    reached: int,
    *rows: Row,
    lost: tuple[Row, ...] = (),
    at_ms: int = 0,
) -> None:
    """A part with these rows of which some lost."""
    packed = PackedRows.of(Rows.of(rows), HASHER)
    places = np.array([rows.index(row) for row in lost], dtype=np.int64)
    renewal.note(after, reached, [HERS], packed, places, Instant(at_ms))


def kept(renewal: Renewal, after: int) -> list[Key]:
    """Whose rows count as come before a part that begins there."""
    words = renewal.kept(after, [HERS]).tolist()
    return [row.key for row in (ONE, TWO, THREE) for word in words if word == hashed(row)]


def hashed(row: Row) -> list[int]:
    """The hash of its key."""
    return list(HASHER.words_of(row.key))


def continues(renewal: Renewal, after: int, *origins: Origin, at_ms: int = 0) -> bool:
    """Whether a part may begin there."""
    return renewal.continues(after, origins or [HERS], Instant(at_ms), expires_ms=HOUR)


def test_rows_of_parts_without_a_gap_are_kept() -> None:
    """Each part goes on where one before it ended, or earlier: parts may come again."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert continues(renewal, 5)
    note(renewal, 5, 9, TWO)
    note(renewal, 5, 9, TWO)
    assert kept(renewal, 9) == [ONE.key, TWO.key]


def test_a_part_is_missing_where_one_begins_beyond_what_came() -> None:
    """Nothing may be dropped then; from 0 it can always begin again."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert not continues(renewal, 6)
    note(renewal, 6, 9, TWO)
    assert not continues(renewal, 9)
    assert continues(renewal, 0)
    note(renewal, 0, 2, THREE)
    assert kept(renewal, 9) == [THREE.key]


def test_an_origin_that_was_not_to_be_replaced_from_the_start_is_not_whole() -> None:
    """What came of it before was not noted."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert not continues(renewal, 5, HERS, Origin(W0))


def test_only_what_stands_of_the_right_origin_counts_as_come() -> None:
    """A row that lost says nothing of the one that is held; a row of others is none of it."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE, TWO, entry("other", origin=W0), lost=(TWO,))
    assert kept(renewal, 9) == [ONE.key]


def test_what_came_in_a_transfer_that_broke_off_is_not_spared_by_the_next_one() -> None:
    """One that begins again brings all that stands; what it does not bring has ended."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert kept(renewal, 0) == []


def test_a_transfer_does_not_go_on_after_the_horizon() -> None:
    """Ends of rows that came with its first part may be forgotten; others may go on for ever."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE, at_ms=100)
    note(renewal, 5, 9, TWO, at_ms=200)
    assert continues(renewal, 9, at_ms=99 + HOUR)
    assert not continues(renewal, 9, at_ms=100 + HOUR)
    assert renewal.continues(9, [], Instant(100 + HOUR), expires_ms=HOUR)
    assert continues(renewal, 0, at_ms=100 + HOUR)
