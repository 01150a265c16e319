"""Guests: ids that are derived, numbers that grow, and whose session a newcomer carries on."""

from __future__ import annotations

from itertools import islice

from crdt import Origin, Row, Stamp
from presence_actors.core.epochs import entry_epoch
from presence_actors.core.guests import (
    SLOTS_LOOKED_AT,
    adoptable,
    guest_resume,
    guest_session,
    likely_slot,
    row_in,
    since_in,
    slots,
)
from presence_actors.core.ids import (
    ConnectionId,
    Namespace,
    SessionId,
    ShardId,
    Topic,
    UserId,
)
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import RESUME_MAX
from presence_actors.core.messages import PRESENCE
from presence_actors.core.sessions import Session, session_start
from presence_actors.core.topic_view import TopicView
from presence_actors.core.values import EntryStatus, EntryValue, Meta, encode_value
from presence_actors.core.vocabulary import Identity

ROOM = Topic("default/room:lobby")
PAUL = UserId("paul")
FAMILY = "f0"
START_MS = 1_672_531_200_000


def lost(
    family: str | None = FAMILY,
    slot: int = 0,
    *,
    meta: Meta | None = None,
    device: str = "web",
    resume: int = 5,
) -> Session:
    """A session of Paul's without a connection; in the room if it shows something."""
    session = Session(
        Identity(Namespace("default"), PAUL),
        guest_session(family or "native", slot),
        resume=resume,
        status=EntryStatus.ONLINE,
        device=device,
        since=WallMs(1),
        family=family,
    )
    if meta is not None:
        session.hold(ROOM, attachment=1, since=WallMs(1), meta=meta)
    return session


def adopted(*sessions: Session, meta: Meta | None = None) -> Session | None:
    """Whose session a guest of the family carries on that shows `meta` in the room."""
    return adoptable(sessions, family=FAMILY, device="web", topic=ROOM, meta=meta or {})


def view(*rows: tuple[int, Meta, bool], family: str = FAMILY, since: int = 7) -> TopicView:
    """The room with rows of Paul's: slot, meta, and whether it is live."""
    made = TopicView(ROOM, ShardId(0))
    for slot, meta, live in rows:
        row = Row(
            key=(ROOM, PAUL, guest_session(family, slot)),
            stamp=Stamp(1 << 16),
            origin=Origin("a/w0/1"),
            epoch=entry_epoch(resume=5, attachment=1),
            status=2 if live else 0,
            holder="a/g0/1" if live else "",
            value=encode_value(EntryValue(WallMs(since), "web", meta)),
        )
        made.merge(PRESENCE, row)
    return made


def likely(seen: TopicView | None, meta: Meta, *taken: int) -> SessionId | None:
    """The slot that a guest with this meta takes, where those are taken here."""
    names = [guest_session(FAMILY, slot) for slot in taken]
    return likely_slot(
        seen, user=PAUL, family=FAMILY, meta=meta, is_free=lambda name: name not in names
    )


def test_a_derived_id_is_not_taken_for_one_that_tells_its_start() -> None:
    """Whatever the digest looks like."""
    assert session_start(guest_session("0190f3a2b1c4", 0)) is None
    assert list(islice(slots("f"), 2)) == ["guest-f-0", "guest-f-1"]


def test_a_resume_number_grows_with_the_clock_and_beyond_what_is_known() -> None:
    """Also if the clock stands still, or is set back; and never beyond its limit."""
    now = WallMs(START_MS + 1_000)
    assert guest_resume(now, known=None) == 4
    assert guest_resume(now, known=3) == 4
    assert guest_resume(now, known=4) == 5
    assert guest_resume(now, known=9) == 10
    assert guest_resume(WallMs(0), known=None) == 0
    assert guest_resume(now, known=RESUME_MAX) == RESUME_MAX
    assert guest_resume(WallMs(1 << 47), known=None) == RESUME_MAX


def test_who_comes_back_carries_on_what_it_left() -> None:
    """Of its family before others, and with an equal meta before others."""
    same, equal = lost(slot=0, meta={"a": 1}), lost(slot=1, meta={"a": 2})
    assert adopted(same, equal, meta={"a": 2}) is equal
    assert adopted(same, equal, meta={"a": 3}) is same
    assert adopted(lost(slot=2), meta={"a": 3}) is not None


def test_an_equal_meta_on_an_equal_device_is_as_good_as_a_name() -> None:
    """To watchers the two are one; but not a telephone and a page."""
    other = lost("f1", meta={"a": 1})
    assert adopted(other, meta={"a": 1}) is other
    assert adopted(other, meta={"a": 2}) is None
    assert adopted(lost("f1", meta={"a": 1}, device="tv"), meta={"a": 1}) is None


def test_what_is_connected_or_somewhere_else_or_native_is_nobodys() -> None:
    """Only a session in its grace can be adopted."""
    connected, replaced, native = lost(), lost(), lost(None)
    connected.connection = ConnectionId(1)
    replaced.replaced = True
    assert adopted(connected, replaced, native) is None
    assert adopted() is None


def test_a_slot_that_shows_the_same_is_preferred() -> None:
    """Then any slot of the family that was in the room; ended ones and taken ones are not."""
    seen = view((0, {"a": 0}, True), (1, {"a": 1}, True), (2, {"a": 2}, False))
    assert likely(seen, {"a": 1}) == guest_session(FAMILY, 1)
    assert likely(seen, {"a": 9}) == guest_session(FAMILY, 0)
    assert likely(seen, {"a": 9}, 0) == guest_session(FAMILY, 1)
    assert likely(seen, {"a": 2}, 0, 1) is None
    assert likely(view((0, {}, True), family="other"), {}) is None
    assert likely(view((SLOTS_LOOKED_AT, {}, True)), {}) is None
    assert likely(None, {}) is None


def test_since_when_a_session_is_there_outlives_its_gateway() -> None:
    """As far as the room is known; a later attempt than ours says nothing to us."""
    seen = view((0, {}, True), (1, {}, False))
    assert since_in(seen, lost(slot=0)) == 7
    assert since_in(seen, lost(slot=1)) is None
    assert since_in(seen, lost(slot=2)) is None
    assert since_in(seen, lost(slot=0, resume=4)) is None
    assert since_in(None, lost()) is None
    assert row_in(None, PAUL, guest_session(FAMILY, 0)) is None
