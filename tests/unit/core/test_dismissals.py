"""Dismissals: whom they mean, and that they are ends like others."""

from __future__ import annotations

from presence_actors.core.dismissals import dismissal_row, dismissals_in, is_dismissal, meant_by
from presence_actors.core.ids import SessionId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import LeaveReason, decode_end
from presence_actors.wire.identifiers import identifier
from presence_actors.wire.refusals import FrameRefused

OWN = Topic("default/user:alice")
LOBBY = Topic("default/room:lobby")
ALICE = UserId("alice")
DESK = SessionId("desk")


def row_until(until: int, *, ref: str | None = None) -> object:
    """A kick of what began until then."""
    return dismissal_row(
        OWN, ALICE, reason=LeaveReason.KICKED, until=WallMs(until), ref=ref, text="why"
    )


def means(row: object, *, since: int, topics: tuple[Topic, ...] = (OWN, LOBBY)) -> bool:
    """Whether alice's desk is meant by it."""
    found = dismissals_in([row])  # type: ignore[list-item]
    return meant_by(found, topics, ALICE, DESK, since=WallMs(since)) is not None


def test_a_dismissal_is_an_end_that_nobody_holds() -> None:
    """Whoever reads ends can read it; it has no stamp yet, and carries the words for the user."""
    row = dismissal_row(OWN, ALICE, reason=LeaveReason.KICKED, until=WallMs(7), text="why")
    assert (row.live, row.holder, row.stamp, row.epoch) == (False, "", 0, 0)
    assert decode_end(row.value).reason == "kicked"
    (found,) = dismissals_in([row])
    assert (found.until, found.ref, found.text) == (7, None, "why")


def test_no_session_can_have_the_key_of_a_dismissal() -> None:
    """Else a client could keep kicks away from itself by its choice of an id."""
    for ref in (None, "0011223344556677"):
        key = dismissal_row(OWN, ALICE, reason=LeaveReason.LEFT, until=WallMs(7), ref=ref).key[2]
        try:
            identifier(key, what="session")
        except FrameRefused:
            continue
        raise AssertionError(key)


def test_other_rows_are_none() -> None:
    """An entry, live or ended, dismisses nobody."""
    row = dismissal_row(OWN, ALICE, reason=LeaveReason.LEFT, until=WallMs(7))
    entry = row._replace(key=(OWN, ALICE, DESK))
    assert is_dismissal(row)
    assert not is_dismissal(entry)
    assert dismissals_in([entry]) == []


def test_it_means_what_had_begun_and_nothing_that_begins_later() -> None:
    """However late it arrives."""
    assert means(row_until(100), since=99)
    assert means(row_until(100), since=100)
    assert not means(row_until(100), since=101)


def test_with_a_ref_it_means_one_session_by_any_of_its_entries() -> None:
    """In a room, or in the user's own topic."""
    for topic in (OWN, LOBBY):
        assert means(row_until(100, ref=entry_ref((topic, ALICE, DESK))), since=1)
    other = row_until(100, ref=entry_ref((LOBBY, ALICE, "phone")))
    assert not means(other, since=1)
    lobby = row_until(100, ref=entry_ref((LOBBY, ALICE, DESK)))
    assert not means(lobby, since=1, topics=(OWN,))
