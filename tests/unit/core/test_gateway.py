"""One gateway, as transcripts: what clients say and replicas tell, and exactly what follows."""

from __future__ import annotations

import pytest

from crdt import Row, Rows
from presence_actors.core.effects import CloseClient, Deliver, Send
from presence_actors.core.events import (
    ClientConnected,
    ClientRefused,
    ClientSent,
    DrainCancelled,
    DrainRequested,
    MessagesReceived,
)
from presence_actors.core.ids import ConnectionId, Namespace, SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import (
    BAD_FRAMES_MAX,
    META_BYTES_MAX,
    RESUME_MAX,
    ROOMS_PER_SESSION_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
)
from presence_actors.core.messages import Attach, Beat, Segment
from presence_actors.core.values import decode_end, decode_entry, entry_status
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    CloseCode,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Identity,
    Intent,
    Ok,
    Patch,
    Ping,
    Pong,
    Set,
    Sub,
    Unset,
    Unsub,
    Welcome,
)
from presence_actors.errors import InvariantBroken
from tests.unit.core.building import G0, LOBBY, NOTHING, SHARD, W0, WALL, entry, life
from tests.unit.core.gateway_stage import KNOBS, Stage, closed, only, told

OWN = "default/user:alice"
S1 = SessionId("s1")


def ends(stage: Stage) -> list[tuple[str, str]]:
    """The ends that replicas were told of: topic and reason."""
    written = [row for replica in stage.replicas.values() for row in replica.written]
    return [(row.key[0], decode_end(row.value).reason) for row in written if not row.live]


def last_row(stage: Stage, topic: str = LOBBY) -> Row:
    """The newest version of Alice's entry that the replica has."""
    return stage.replica.rows[topic, "alice", "s1"]


def refused(code: ErrorCode, message: str, request: int | None = None) -> Err:
    """A refusal."""
    return Err(code=code, message=message, id=request)


# ------------------------------------------------------------------------------- hello and goodbye


def test_a_hello_is_answered_by_a_welcome_with_a_session_that_resumes() -> None:
    """A client without a session gets one; everything it has to keep to is told."""
    stage = Stage()
    welcome = only(stage.says(alice := stage.connects(), Hello(device="web")), alice)
    assert isinstance(welcome, Welcome)
    assert welcome == Welcome(
        session=welcome.session,
        user=UserId("alice"),
        resume=0,
        since=WallMs(WALL + stage.at),
        heartbeat_ms=KNOBS.heartbeat_ms,
        lease_ms=KNOBS.client_lease_ms,
        grace_ms=KNOBS.grace_connection_ms,
        grace_gateway_ms=KNOBS.grace_gateway_ms,
        server_ms=WallMs(WALL + stage.at),
        gateway="a/g0",
        gateways=["ws://g0", "ws://g1"],
    )
    resumed = stage.says(again := stage.connects(), Hello(session=welcome.session, resume=1))
    assert [type(message) for message in told(resumed, again)] == [Welcome]


@pytest.mark.parametrize(
    "message", [Ping(), Sub(topics=["room:lobby"]), Set(topic="room:lobby"), Bye()]
)
def test_nothing_is_granted_before_hello(message: ClientMessage) -> None:
    """The connection stays: its hello may follow."""
    stage = Stage()
    alice = stage.connects()
    assert stage.refuses(alice, message) == refused(ErrorCode.BAD_FRAME, "say hello first")
    assert isinstance(only(stage.says(alice, Hello()), alice), Welcome)


def test_a_second_hello_is_refused_and_changes_nothing() -> None:
    """One connection carries one session."""
    stage = Stage()
    alice = stage.enters()
    assert stage.refuses(alice, Hello()) == refused(ErrorCode.BAD_FRAME, "hello was said already")
    assert stage.machine.inspect().sessions == 1


@pytest.mark.parametrize(
    "hello", [Hello(status="invisible"), Hello(resume=-1), Hello(resume=RESUME_MAX + 1)]
)
def test_a_hello_that_makes_no_sense_ends_the_connection(hello: Hello) -> None:
    """With a sentence, and a code that says not to try again."""
    stage = Stage()
    alice = stage.connects()
    words = "status must be online, away or dnd, and resume a small count"
    assert stage.says(alice, hello) == [
        Deliver([alice], refused(ErrorCode.BAD_FRAME, words)),
        CloseClient(alice, CloseCode.BAD, "bad hello"),
    ]
    assert stage.machine.inspect().connections == 0


def test_bye_ends_everything_at_once_with_the_reason_left() -> None:
    """No grace; what the driver says of the connection afterwards is late."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    assert stage.says(alice, Bye()) == []
    assert stage.loses(alice) == []
    stage.ticks()
    assert ends(stage) == [(OWN, "left"), (LOBBY, "left")]
    assert stage.machine.inspect().sessions == 0


def test_a_connection_that_was_closed_in_order_leaves_at_once() -> None:
    """As after a bye."""
    stage = Stage()
    stage.loses(stage.enters(), orderly=True)
    stage.ticks()
    assert ends(stage) == [(OWN, "left")]


# ------------------------------------------------------------------------------ leases and patience


@pytest.mark.parametrize("said_hello", [True, False])
def test_a_silent_connection_is_closed_at_the_end_of_its_lease(said_hello: bool) -> None:
    """And its session, if it has one, has the grace from then on."""
    stage = Stage()
    alice = stage.connects()
    if said_hello:
        stage.says(alice, Hello())
    assert stage.passes(KNOBS.client_lease_ms - 1) == []
    assert stage.passes(1) == [CloseClient(alice, CloseCode.IDLE, "no heartbeat within the lease")]
    assert stage.machine.inspect().lingering == int(said_hello)


@pytest.mark.parametrize("message", [Ping(t=7), Unsub(topics=["room:lobby"])])
def test_any_frame_renews_the_lease(message: ClientMessage) -> None:
    """A ping is only the cheapest."""
    stage = Stage()
    alice = stage.enters()
    for _ in range(3):
        assert closed(stage.says(alice, message)) == []
        stage.passes(KNOBS.client_lease_ms - 1)
    assert stage.machine.inspect().connections == 1


def test_a_ping_is_answered_with_its_own_mark_and_our_time() -> None:
    """Also when something else fell due at that moment."""
    stage = Stage()
    alice = stage.enters()
    pong = Pong(t=2.5, server_ms=WallMs(WALL + stage.at))
    assert stage.says(alice, Ping(t=2.5)) == [Deliver([alice], pong)]
    due = stage.machine.deadline()
    assert due is not None
    stage.at = due
    late = Pong(t=3, server_ms=WallMs(WALL + stage.at))
    assert only(stage.says(alice, Ping(t=3)), alice) == late
    assert stage.machine.inspect().heartbeats == 2


def test_who_is_not_connected_is_not_heard() -> None:
    """Frames may be on their way when a connection is closed."""
    stage = Stage()
    gone = stage.enters()
    stage.says(gone, Bye())
    for message in (Ping(), Set(topic="room:lobby")):
        assert stage.says(gone, message) == []
    assert stage.happens(ClientRefused(gone)) == []


def test_a_few_unreadable_frames_are_forgiven_and_more_are_not() -> None:
    """The adapter has answered each; the one too many closes for good."""
    stage = Stage()
    alice = stage.enters()
    for _ in range(BAD_FRAMES_MAX):
        assert stage.happens(ClientRefused(alice)) == []
    assert stage.happens(ClientRefused(alice)) == [
        CloseClient(alice, CloseCode.BAD, "too many bad frames")
    ]


def test_a_connection_ends_with_its_token() -> None:
    """The session has its grace to come with a new one."""
    stage = Stage()
    alice = stage.connects(expires=stage.at + 5_000)
    stage.says(alice, Hello(session=S1))
    assert stage.passes(4_999) == []
    words = "the token has expired: connect with a new one"
    assert stage.passes(1) == [
        Deliver([alice], refused(ErrorCode.TOKEN_EXPIRED, words)),
        CloseClient(alice, CloseCode.UNAUTHORIZED, "token expired"),
    ]
    stage.enters(resume=1)
    assert ends(stage) == []


def test_a_connection_that_is_gone_is_not_closed_once_more() -> None:
    """Its lease and its token are nobody's any more."""
    stage = Stage()
    alice = stage.connects(expires=stage.at + 5_000)
    stage.says(alice, Hello(session=S1))
    stage.loses(alice)
    assert stage.passes(2 * KNOBS.client_lease_ms) == []


def test_after_a_pause_nobody_is_judged_before_the_input_was_read() -> None:
    """Leases ran out while the machine slept; the beats that renew them come a moment later."""
    stage = Stage()
    alice, silent = stage.enters(), stage.enters("bob")
    stage.at += 2 * KNOBS.client_lease_ms
    assert closed(stage.passes(KNOBS.gateway_beat_ms - 1)) == []
    stage.says(alice, Ping())
    assert closed(stage.passes(1)) == [
        CloseClient(silent, CloseCode.IDLE, "no heartbeat within the lease")
    ]


def test_a_drained_gateway_sends_its_clients_to_the_others_and_ends_no_session() -> None:
    """They are told where to go; two of them may go at once."""
    stage = Stage()
    alice, bob = stage.enters(), stage.enters("bob")
    assert stage.happens(DrainRequested("deploy")) == [
        Deliver([alice, bob], Goaway(reason="deploy", jitter_ms=5, gateways=["ws://g1"])),
        CloseClient(alice, CloseCode.DRAIN, "deploy"),
        CloseClient(bob, CloseCode.DRAIN, "deploy"),
    ]
    assert ends(stage) == []
    assert stage.machine.inspect().lingering == 2
    assert stage.happens(DrainRequested("deploy")) == []


def test_a_drained_gateway_takes_nobody_in_until_it_is_told_to() -> None:
    """Who comes nevertheless is sent on; before 2026-11-24 it was welcomed."""
    stage = Stage()
    stage.happens(DrainRequested("deploy", spread_ms=1_000))
    assert stage.machine.inspect().ready is False
    late = ConnectionId(77)
    identity = Identity(Namespace("default"), UserId("late"))
    assert stage.happens(ClientConnected(late, identity)) == [
        Deliver([late], Goaway(reason="deploy", gateways=["ws://g1"])),
        CloseClient(late, CloseCode.DRAIN, "deploy"),
    ]
    assert stage.happens(ClientSent(late, Hello())) == []
    assert stage.machine.inspect().connections == 0
    assert stage.machine.inspect().draining == "deploy"
    stage.happens(DrainCancelled())
    assert stage.machine.inspect().ready
    assert stage.enters("alice")


def test_clients_are_sent_away_one_after_the_other_and_need_not_wait_to_come_back() -> None:
    """The spread is in the times of the closes, so none is in the way back."""
    stage = Stage()
    alice, bob = stage.enters(), stage.enters("bob")
    first = stage.happens(DrainRequested("deploy", spread_ms=1_000))
    goaway = Goaway(reason="deploy", gateways=["ws://g1"])
    assert first == [Deliver([alice], goaway), CloseClient(alice, CloseCode.DRAIN, "deploy")]
    second = [effect for effect in stage.passes(500) if not isinstance(effect, Send)]
    assert second == [Deliver([bob], goaway), CloseClient(bob, CloseCode.DRAIN, "deploy")]


# -------------------------------------------------------------------------------------------- rooms


def test_a_set_puts_the_session_into_the_room_and_says_since_when() -> None:
    """A later one replaces the meta and keeps the start."""
    stage = Stage()
    alice = stage.enters()
    since = WallMs(WALL + stage.at)
    first = stage.says(alice, Set(id=1, topic="room:lobby", meta={"a": 1}))
    assert first == [Deliver([alice], Ok(id=1, since=since))]
    stage.ticks()
    again = stage.says(alice, Set(id="x", topic="room:lobby", meta={"b": 2}))
    assert again == [Deliver([alice], Ok(id="x", since=since))]
    stage.ticks()
    value = decode_entry(last_row(stage).value)
    assert (value.since, value.meta) == (since, {"b": 2})


@pytest.mark.parametrize(("claimed", "granted"), [(-5, 10), (30, 30), (10**9, 40)])
def test_a_resuming_client_may_repeat_its_start_within_its_session(
    claimed: int, granted: int
) -> None:
    """Neither before the session began nor in the future."""
    stage = Stage()
    alice = stage.enters()
    assert stage.at == 40
    message = Set(id=1, topic="room:lobby", since=WALL + claimed)
    assert only(stage.says(alice, message), alice) == Ok(id=1, since=WallMs(WALL + granted))


def test_who_gives_no_id_gets_no_ok() -> None:
    """The change is made all the same."""
    stage = Stage()
    alice = stage.enters()
    silent: list[ClientMessage] = [
        Set(topic="room:lobby"),
        Patch(topic="room:lobby", meta={"a": 1}),
        Unset(topic="room:lobby"),
        Sub(users=["bob"]),
        Unsub(users=["bob"]),
        Intent(status="dnd"),
    ]
    assert [stage.says(alice, message) for message in silent] == [[]] * len(silent)
    assert [effect for effect in stage.ticks() if isinstance(effect, Deliver)] == []
    assert ends(stage) == [(LOBBY, "left")]


def test_a_status_of_the_device_goes_to_all_its_entries() -> None:
    """One that changes nothing writes nothing; an unknown one is refused."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    assert only(stage.says(alice, Set(id=1, status="away")), alice) == Ok(id=1)
    stage.ticks()
    assert [entry_status(last_row(stage, topic).status).word for topic in (OWN, LOBBY)] == [
        "away",
        "away",
    ]
    before = stage.machine.inspect().changes_in
    stage.says(alice, Set(status="away"))
    assert stage.machine.inspect().changes_in == before
    words = "status 'invisible' must be online, away or dnd"
    assert stage.refuses(alice, Set(id=2, status="invisible", topic="room:x")) == refused(
        ErrorCode.BAD_FRAME, words, 2
    )


def test_a_session_may_be_in_so_many_rooms_and_no_more() -> None:
    """It may change what it has in those, and take another one after leaving one."""
    stage = Stage()
    alice = stage.enters()
    for number in range(ROOMS_PER_SESSION_MAX):
        assert stage.says(alice, Set(topic=f"room:{number}")) == []
    words = f"a session may be in {ROOMS_PER_SESSION_MAX} rooms; leave one first"
    assert stage.refuses(alice, Set(id=1, topic="room:more")) == refused(
        ErrorCode.TOO_MANY, words, 1
    )
    assert stage.says(alice, Set(topic="room:0", meta={"a": 1})) == []
    stage.says(alice, Unset(topic="room:0"))
    assert stage.says(alice, Set(topic="room:more")) == []


@pytest.mark.parametrize("topic", ["user:alice", "room:more"])
def test_a_set_that_is_refused_leaves_the_status_as_it_was(topic: str) -> None:
    """Found on 2026-11-24: the status was taken although the room was not granted."""
    stage = Stage()
    alice = stage.enters()
    for number in range(ROOMS_PER_SESSION_MAX):
        stage.says(alice, Set(topic=f"room:{number}"))
    stage.ticks()
    assert stage.refuses(alice, Set(topic=topic, status="away")).id is None
    stage.ticks()
    assert entry_status(last_row(stage, OWN).status).word == "online"


def test_a_patch_changes_a_part_of_the_meta() -> None:
    """As RFC 7396 says, and the start stays."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby", meta={"a": 1, "b": 2}))
    since = WallMs(WALL + stage.at)
    stage.ticks()
    message = Patch(id=1, topic="room:lobby", meta={"a": None, "c": 3})
    assert only(stage.says(alice, message), alice) == Ok(id=1, since=since)
    stage.ticks()
    assert decode_entry(last_row(stage).value).meta == {"b": 2, "c": 3}


def test_patches_that_add_up_to_too_much_are_refused() -> None:
    """Each is small enough; the room keeps what it had."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby", meta={"a": "x" * (META_BYTES_MAX - 20)}))
    size = META_BYTES_MAX - 20 + len('{"a":"","b":"' + 20 * "y" + '"}')
    assert stage.refuses(alice, Patch(id=1, topic="room:lobby", meta={"b": "y" * 20})) == refused(
        ErrorCode.TOO_LONG, f"meta would have {size} bytes; at most {META_BYTES_MAX} are allowed", 1
    )
    stage.ticks()
    assert list(decode_entry(last_row(stage).value).meta) == ["a"]


@pytest.mark.parametrize(
    "message", [Patch(id=1, topic="room:lobby", meta={}), Unset(id=1, topic="room:lobby")]
)
def test_a_room_that_one_is_not_in_can_be_neither_patched_nor_left(message: Patch | Unset) -> None:
    """The sentence says what to do."""
    stage = Stage()
    alice = stage.enters()
    words = "not in room:lobby: say set first"
    assert stage.refuses(alice, message) == refused(ErrorCode.NOT_JOINED, words, 1)


@pytest.mark.parametrize(
    "message",
    [
        Set(id=1, topic="user:alice"),
        Patch(id=1, topic="user:alice", meta={}),
        Unset(id=1, topic="user:bob"),
    ],
)
def test_nobody_joins_a_users_topic(message: Set | Patch | Unset) -> None:
    """Not even one's own."""
    stage = Stage()
    alice = stage.enters()
    words = f"{message.topic} can be watched, not joined: the gateway alone writes it"
    assert stage.refuses(alice, message) == refused(ErrorCode.FORBIDDEN, words, 1)


def test_leaving_a_room_is_no_leaving_of_the_others() -> None:
    """Its end is written at once, with the reason."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    assert only(stage.says(alice, Unset(id=1, topic="room:lobby")), alice) == Ok(id=1)
    stage.ticks()
    assert ends(stage) == [(LOBBY, "left")]


# -------------------------------------------------------------------- subscriptions and choices


def test_a_connection_may_watch_so_many_topics_and_no_more() -> None:
    """A refused frame watches none of its topics; what is watched already counts once."""
    stage = Stage()
    alice = stage.enters()
    topics = [f"room:{number}" for number in range(SUBSCRIPTIONS_PER_CONNECTION_MAX)]
    assert only(stage.says(alice, Sub(id=1, topics=topics)), alice) == Ok(id=1)
    assert only(stage.says(alice, Sub(id=2, topics=topics[:2])), alice) == Ok(id=2)
    words = f"a connection may watch {SUBSCRIPTIONS_PER_CONNECTION_MAX} topics and users"
    assert stage.refuses(alice, Sub(id=3, topics=["room:0"], users=["bob"])) == refused(
        ErrorCode.TOO_MANY, words, 3
    )
    assert stage.machine.inspect().subscriptions == SUBSCRIPTIONS_PER_CONNECTION_MAX


# ----------------------------------------------------------------------------------------- replicas


def test_a_segment_that_is_not_for_this_attachment_is_ignored() -> None:
    """Another shard, another life of ours, another attempt, another sender."""
    stage = Stage()
    bob = stage.enters("bob")
    stage.says(bob, Sub(topics=["room:lobby"]))
    stage.ticks()
    good = stage.replica.says(entry(written=900))

    def changed_in(**fields: object) -> Segment:
        return Segment(**{field: getattr(good, field) for field in good.__struct_fields__} | fields)

    strange = [
        changed_in(shard=SHARD + 1),
        changed_in(shard=-1),
        changed_in(receiver=life("a/g0", 7)),
        changed_in(number=good.number + 1),
    ]
    assert stage.hears(*strange) == []
    assert stage.happens(MessagesReceived(stage.other.node, [good])) == []
    assert stage.ticks() == []
    stage.hears(good)
    assert len(told(stage.ticks(), bob)) == 1


def test_what_is_meant_for_a_worker_is_ignored() -> None:
    """A gateway has no replicas."""
    stage = Stage()
    attach = Attach(SHARD, life("a/g1"), 1, Rows.empty(), [], (NOTHING, NOTHING))
    assert stage.hears(attach, Beat(life("a/g1"), W0, {})) == []


def test_a_gateway_is_ready_when_its_replica_may_vouch_for_absence() -> None:
    """Not before."""
    assert not Stage(cluster=False).machine.ready
    assert not Stage(ready=False).machine.ready
    assert Stage().machine.ready


def test_the_picture_counts_what_there_is() -> None:
    """Connections, sessions, topics, and what went in and out."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Sub(users=["alice"]))
    stage.says(alice, Ping())
    stage.connects("bob")
    stage.ticks()
    view = stage.machine.inspect()
    assert (view.node, view.ready) == (G0, True)
    assert (view.connections, view.sessions, view.lingering) == (2, 1, 0)
    assert (view.subscriptions, view.topics, view.heartbeats) == (1, 1, 1)
    assert (view.changes_in, view.frames_out, view.deliveries_out) == (1, 1, 1)


def test_contradictions_between_the_parts_are_found() -> None:
    """A connection without its session, and a session whose connection has no lease."""
    stage = Stage()
    alice = stage.enters()
    stage.machine._leases.release(alice)
    with pytest.raises(InvariantBroken, match="without a lease"):
        stage.machine.check()
    stage = Stage()
    alice = stage.enters()
    stage.machine._connections[ConnectionId(9)] = stage.machine._connections[alice]
    with pytest.raises(InvariantBroken, match="connection 9 without session"):
        stage.machine.check()
