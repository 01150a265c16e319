"""Guests: ids that are derived, numbers that grow, and whose session a newcomer carries on."""

from __future__ import annotations

from itertools import islice

from crdt import Origin, Row, Stamp
from presence_actors.config import Knobs
from presence_actors.core.effects import CloseClient, GatewayEffect
from presence_actors.core.epochs import entry_epoch
from presence_actors.core.events import GuestConnected
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
from presence_actors.core.limits import GUEST_LEASE_MS_MIN, RESUME_MAX, ROOMS_PER_SESSION_MAX
from presence_actors.core.messages import PRESENCE
from presence_actors.core.sessions import Session, session_start
from presence_actors.core.topic_view import TopicView
from presence_actors.core.values import (
    EntryStatus,
    EntryValue,
    Meta,
    decode_end,
    decode_entry,
    encode_value,
    entry_status,
)
from presence_actors.core.vocabulary import CloseCode, Err, Identity, Ok, Ping, Set, Sub
from tests.unit.core.building import G0, G1, LOBBY, WALL, entry
from tests.unit.core.gateway_stage import KNOBS, Stage, closed, told

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


# --- at a gateway -------------------------------------------------------------------------------

OWN = Topic("default/user:paul")


class GuestStage(Stage):
    """A gateway that guests come to."""

    def comes(
        self, *, family: str = FAMILY, device: str = "web", room: str = "room:lobby", mood: str = ""
    ) -> ConnectionId:
        """A guest that joins a room, as soon as the replica knows."""
        self.connections += 1
        connection = ConnectionId(self.connections)
        identity = Identity(Namespace("default"), PAUL)
        meta: Meta = {"mood": mood}
        seated = GuestConnected(connection, identity, family, device, room, meta)
        assert self.happens(seated) == []
        assert self.says(connection, Set(id=1, topic=room, meta=meta))
        self.ticks()
        return connection

    def live(self, topic: Topic = LOBBY) -> dict[str, Row]:
        """What the replica holds of a topic, by the session's name."""
        rows = self.replica.rows
        return {key[2]: row for key, row in rows.items() if key[0] == topic and row.live}

    def beats(self, slot: int, *, resume: int, topic: Topic = OWN) -> list[GatewayEffect]:
        """Somebody at another gateway has written the entry of a slot."""
        row = entry(
            "paul",
            topic=topic,
            session=guest_session(FAMILY, slot),
            resume=resume,
            holder=G1,
            written=10_000,
            device="web",
        )
        self.replica.rows[row.key] = row
        return self.hears(self.replica.says(row, defeats=[row]))


def test_a_guest_is_seated_in_the_lowest_slot_and_its_tabs_in_the_next() -> None:
    """Each is an entry of its own, in the room and in the user's topic."""
    stage = GuestStage()
    stage.comes()
    stage.comes()
    names = [guest_session(FAMILY, 0), guest_session(FAMILY, 1)]
    assert sorted(stage.live()) == sorted(stage.live(OWN)) == names


def test_a_guest_that_comes_back_writes_nothing() -> None:
    """Its session has never been away."""
    stage = GuestStage()
    stage.loses(stage.comes(mood="fine"))
    written = len(stage.replica.written)
    back = stage.comes(family="another", mood="fine")
    # Its room is written again, as it was; the user's topic is not.
    assert {row.key[0] for row in stage.replica.written[written:]} <= {LOBBY}
    assert list(stage.live()) == [guest_session(FAMILY, 0)]
    stage.passes(2 * KNOBS.grace_connection_ms)
    assert list(stage.live()) == [guest_session(FAMILY, 0)]
    stage.loses(back, orderly=True)
    stage.ticks()
    assert stage.live() == {}


def test_a_room_that_is_not_joined_again_ends_after_the_grace() -> None:
    """It was left while nobody could say so."""
    stage = GuestStage()
    first = stage.comes()
    stage.says(first, Set(topic="room:side", meta={}))
    stage.ticks()
    side = Topic("default/room:side")
    stage.loses(first)
    stage.comes()
    stage.passes(KNOBS.grace_connection_ms - 100)
    assert list(stage.live(side)) == [guest_session(FAMILY, 0)]
    stage.passes(200)
    assert stage.live(side) == {}
    ended = stage.replica.rows[side, PAUL, guest_session(FAMILY, 0)]
    assert decode_end(ended.value).reason == "left"
    assert list(stage.live()) == [guest_session(FAMILY, 0)]


def test_rooms_that_nobody_confirms_make_room_for_others() -> None:
    """A page may have been reloaded into a hundred other rooms."""
    stage = GuestStage()
    first = stage.comes()
    for number in range(1, ROOMS_PER_SESSION_MAX):
        stage.says(first, Set(topic=f"room:{number}", meta={}))
    full = stage.says(first, Set(id=7, topic="room:more", meta={}))
    assert isinstance(told(full, first)[0], Err)
    stage.loses(first)
    second = stage.comes()
    assert told(stage.says(second, Set(id=7, topic="room:more", meta={})), second) == [
        Ok(id=7, since=WallMs(stage.machine._now.wall))
    ]
    stage.ticks()
    assert stage.live(Topic("default/room:1")) == {}


def test_a_guest_whose_slot_was_taken_elsewhere_moves() -> None:
    """With its rooms, and its connection; the old entry goes when the grace is over."""
    stage = GuestStage()
    guest = stage.comes(mood="fine")
    assert closed(stage.beats(0, resume=RESUME_MAX - 1)) == []
    stage.ticks()
    moved = stage.live()[guest_session(FAMILY, 1)]
    assert decode_entry(moved.value).meta == {"mood": "fine"}
    assert told(stage.says(guest, Ping(t=1)), guest)
    stage.says(guest, Set(topic="room:lobby", meta={"mood": "new"}))
    stage.ticks()
    assert decode_entry(stage.live()[guest_session(FAMILY, 1)].value).meta == {"mood": "new"}
    stage.passes(2 * KNOBS.grace_connection_ms)
    assert list(stage.live()) == [guest_session(FAMILY, 1)]
    assert stage.machine.inspect().sessions == 1


def test_a_guest_moves_past_slots_that_somebody_holds() -> None:
    """As far as the user's topic tells."""
    stage = GuestStage()
    stage.comes()
    other = entry("paul", topic=OWN, session=guest_session(FAMILY, 1), holder=G1)
    stage.replica.rows[other.key] = other
    stage.hears(stage.replica.says(other))
    stage.beats(0, resume=RESUME_MAX - 1)
    stage.ticks()
    assert guest_session(FAMILY, 2) in stage.live()


def test_of_two_equal_numbers_the_beaten_one_moves() -> None:
    """Both are in the right, so refuting would never end."""
    stage = GuestStage()
    guest = stage.comes()
    assert closed(stage.beats(0, resume=0)) == []
    stage.ticks()
    assert guest_session(FAMILY, 1) in stage.live()
    stage.loses(guest, orderly=True)
    stage.ticks()
    assert guest_session(FAMILY, 1) not in stage.live()


def test_an_end_by_somebody_else_is_refuted() -> None:
    """A replica that took the gateway for dead has ended what lives."""
    stage = GuestStage()
    stage.comes()
    held = stage.live()[guest_session(FAMILY, 0)]
    ended = held._replace(status=0, holder="", stamp=Stamp(held.stamp + 1), value=b"\x91\xa4lost")
    stage.replica.rows[held.key] = ended
    stage.hears(stage.replica.says(ended, defeats=[ended]))
    stage.ticks()
    assert stage.live()[guest_session(FAMILY, 0)].epoch > held.epoch


def test_a_guest_without_a_connection_gives_way_without_a_word() -> None:
    """Whoever has its slot now carries it on."""
    stage = GuestStage()
    stage.loses(stage.comes())
    stage.beats(0, resume=RESUME_MAX - 1)
    stage.beats(0, resume=RESUME_MAX - 1, topic=LOBBY)
    stage.passes(2 * KNOBS.grace_connection_ms)
    assert stage.machine.inspect().sessions == 0
    assert stage.live()[guest_session(FAMILY, 0)].holder == G1


def test_a_guest_shows_since_when_its_session_is_there() -> None:
    """In rooms that the gateway knows: others see no change when it comes back elsewhere."""
    stage = GuestStage()
    watcher = stage.enters("olga", session="s2")
    stage.says(watcher, Sub(topics=["room:lobby"], users=["paul"]))
    for topic in (LOBBY, OWN):
        row = entry(
            "paul",
            topic=topic,
            session=guest_session(FAMILY, 0),
            holder=G1,
            since=-5_000,
            device="web",
            meta={"mood": ""} if topic == LOBBY else {},
        )
        stage.replica.rows[row.key] = row
    stage.ticks()
    stage.hears(stage.replica.says(*stage.replica.rows.values()))
    stage.ticks()
    stage.comes()
    for topic in (LOBBY, OWN):
        row = stage.live(topic)[guest_session(FAMILY, 0)]
        assert (row.holder, decode_entry(row.value).since) == (G0, WALL - 5_000)


def test_a_guest_may_be_silent_for_longer_than_a_native_client() -> None:
    """A stock client beats every 30 s, and cannot be told otherwise."""
    stage = GuestStage(Knobs(heartbeat_ms=1_000, client_lease_ms=3_000))
    guest = stage.comes()
    assert closed(stage.passes(GUEST_LEASE_MS_MIN - 1_000)) == []
    assert closed(stage.passes(2_000)) == [
        CloseClient(guest, CloseCode.IDLE, "no heartbeat within the lease")
    ]


def test_a_guest_is_never_taken_for_idle() -> None:
    """It cannot say that its device is in use; a native client is away by then."""
    stage = GuestStage()
    guest = stage.comes()
    for _ in range(2 * KNOBS.auto_away_ms // 30_000):
        stage.passes(30_000)
        stage.says(guest, Ping())
    assert entry_status(stage.live()[guest_session(FAMILY, 0)].status) is EntryStatus.ONLINE
