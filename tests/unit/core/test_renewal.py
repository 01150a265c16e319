"""All rows of an origin anew, in as many parts as it takes."""

from __future__ import annotations

from crdt import Origin, Row, Rows
from presence_actors.core.renewal import Renewal
from tests.unit.core.building import W0, W1, entry

HERS = Origin(W1)
ONE, TWO, THREE = (entry(f"user{number}", origin=W1, written=number + 1) for number in range(3))


def note(
    renewal: Renewal, after: int, reached: int, *rows: Row, lost: tuple[Row, ...] = ()
) -> None:
    """A part with these rows of which some lost."""
    renewal.note(after, reached, [HERS], Rows.of(rows), Rows.of(lost))


def test_rows_of_parts_without_a_gap_are_kept() -> None:
    """Each part goes on where one before it ended, or earlier: parts may come again."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert renewal.continues(5, [HERS])
    note(renewal, 5, 9, TWO)
    note(renewal, 5, 9, TWO)
    assert renewal.kept([HERS]) == [ONE.key, TWO.key]


def test_a_part_is_missing_where_one_begins_beyond_what_came() -> None:
    """Nothing may be dropped then; from 0 it can always begin again."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert not renewal.continues(6, [HERS])
    note(renewal, 6, 9, TWO)
    assert not renewal.continues(9, [HERS])
    assert renewal.continues(0, [HERS])
    note(renewal, 0, 2, THREE)
    assert renewal.kept([HERS]) == [THREE.key]


def test_an_origin_that_was_not_to_be_replaced_from_the_start_is_not_whole() -> None:
    """What came of it before was not noted."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE)
    assert not renewal.continues(5, [HERS, Origin(W0)])


def test_only_what_stands_of_the_right_origin_counts_as_come() -> None:
    """A row that lost says nothing of the one that is held; a row of others is none of it."""
    renewal = Renewal()
    note(renewal, 0, 5, ONE, TWO, entry("other", origin=W0), lost=(TWO,))
    assert renewal.kept([HERS]) == [ONE.key]
