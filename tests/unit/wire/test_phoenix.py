"""One Phoenix connection as transcripts: frames in; frames out, and what the machine is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX, META_BYTES_MAX
from presence_actors.core.vocabulary import (
    Err,
    ErrorCode,
    Goaway,
    Ok,
    Pong,
    Quality,
    Set,
    Sub,
    Unset,
    Unsub,
    ViewFrame,
)
from presence_actors.wire.phoenix_channels import CHANNELS_MAX
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.phoenix_presence import Rooms, phx_ref
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.turns import Introduction, Turn
from tests.phoenix_wire import LOBBY, diff, entry, frames_of, line, snap

OK = {"status": "ok", "response": {}}


def error(reason: str) -> dict[str, object]:
    """The payload of a refusal."""
    return {"status": "error", "response": {"reason": reason}}


# --- control ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["7", 7, None])
def test_a_heartbeat_is_answered_with_its_own_ref(ref: object) -> None:
    """The client takes the connection for dead otherwise; the Python one sends null."""
    assert line().answers(None, ref, "phoenix", "heartbeat", {}) == [
        [None, ref, "phoenix", "phx_reply", OK]
    ]


def test_nothing_else_is_known_on_the_topic_of_heartbeats() -> None:
    """It is no channel."""
    answer = [None, "7", "phoenix", "phx_reply", error("unmatched topic")]
    assert line().answers(None, "7", "phoenix", "phx_join", {}) == [answer]


# --- join ---------------------------------------------------------------------------------------


def test_a_join_is_to_be_there_and_to_watch() -> None:
    """The first one introduces the client; the reply waits until both are granted."""
    alice = line(device="tablet", device_id="d1")
    turn = alice.say("3", "4", LOBBY, "phx_join", {"meta": {"mood": "fine"}})
    assert turn.frames == []
    assert turn.messages == [
        Set(id=1, topic=LOBBY, meta={"mood": "fine"}),
        Sub(id=2, topics=[LOBBY]),
    ]
    introduction = turn.introduction
    assert isinstance(introduction, Introduction)
    assert (introduction.device, introduction.topic) == ("tablet", LOBBY)
    assert introduction.meta == {"mood": "fine"}
    assert alice.hear(Ok(id=1)) == []
    assert alice.hear(Ok(id=2)) == [["3", "4", LOBBY, "phx_reply", OK]]


def test_a_second_channel_introduces_nobody() -> None:
    """One session for the whole socket."""
    alice = line().joined()
    turn = alice.say("5", "5", "room:side", "phx_join", {})
    assert turn.introduction is None
    assert turn.messages == [Set(id=3, topic="room:side", meta={}), Sub(id=4, topics=["room:side"])]


def test_a_join_without_join_ref_is_known_by_its_ref() -> None:
    """Clients of version 1 send none."""
    alice = line()
    assert alice.answers(None, "9", LOBBY, "phx_join", {}) == [["9", "9", LOBBY, "phx_reply", OK]]
    assert alice.hear(snap())[0][0] == "9"


def test_who_only_looks_on_is_in_no_room() -> None:
    """`track: false` watches, until a push tracks."""
    alice = line()
    turn = alice.say("3", "3", LOBBY, "phx_join", {"track": False})
    assert turn.messages == [Sub(id=1, topics=[LOBBY])]
    assert alice.hear(Ok(id=1)) == [["3", "3", LOBBY, "phx_reply", OK]]
    assert alice.say("3", "4", LOBBY, "track", {"a": 1}).messages == [
        Set(id=2, topic=LOBBY, meta={"a": 1})
    ]


def test_socket_params_give_the_meta_of_joins_that_say_none() -> None:
    """As `meta[mood]=fine`, which is how the client spells nested params."""
    params: Any = {"meta[mood]": "fine", "meta[n]": "1"}
    alice = line(**params)
    assert alice.say("3", "3", LOBBY, "phx_join", {}).messages[0] == Set(
        id=1, topic=LOBBY, meta={"mood": "fine", "n": "1"}
    )


@pytest.mark.parametrize("topic", ["user:alice", "lobby", "realtime:lobby", "", "room", "rooms:x"])
def test_only_rooms_can_be_joined(topic: str) -> None:
    """Not the topics of users, which only gateways write."""
    answer = ["3", "4", topic, "phx_reply", error("unmatched topic")]
    assert line().answers("3", "4", topic, "phx_join", {}) == [answer]


@pytest.mark.parametrize(
    ("topic", "params"),
    [
        ("room:" + "x" * 200, {}),
        ("room:", {}),
        ("room:a\nb", {}),
        (LOBBY, None),
        (LOBBY, []),
        (LOBBY, {"meta": "text"}),
        (LOBBY, {"meta": {"a": "x" * META_BYTES_MAX}}),
        (LOBBY, {"meta": {"a": [[[[[[[[[1]]]]]]]]]}}),
        (LOBBY, {"meta": {"a": 1 << 63}}),
    ],
)
def test_a_join_that_cannot_be_taken_is_refused_with_a_reason(topic: str, params: object) -> None:
    """And leaves nothing behind: the same topic can be joined afterwards."""
    alice = line()
    [(join_ref, ref, same, event, payload)] = alice.answers("3", "4", topic, "phx_join", params)
    assert (join_ref, ref, same, event) == ("3", "4", topic, "phx_reply")
    assert payload["status"] == "error"
    assert len(payload["response"]["reason"]) > 10
    alice.joined()


def test_the_join_of_one_channel_too_many_is_refused() -> None:
    """The hundredth is fine, and those before it stay; a place that was left can be taken."""
    alice = line()
    for number in range(CHANNELS_MAX):
        alice.joined(f"room:{number}", ref=str(number))
    join: tuple[object, ...] = ("x", "x", "room:more", "phx_join", {})
    answer = ["x", "x", "room:more", "phx_reply", error("too many channels joined")]
    assert alice.answers(*join) == [answer]
    assert alice.answers(None, "y", "room:7", "phx_leave", {})[0][4] == OK
    assert alice.answers(*join)[0][4] == OK


def test_what_the_machine_refuses_is_refused_to_the_client() -> None:
    """And what was granted of the join is taken back."""
    alice = line()
    turn = alice.say("3", "3", LOBBY, "phx_join", {})
    assert [type(message) for message in turn.messages] == [Set, Sub]
    refused = alice.dialog.hear(Err(id=1, code=ErrorCode.RATE_LIMITED, message="slow down"))
    assert frames_of(refused) == [["3", "3", LOBBY, "phx_reply", error("slow down")]]
    assert refused.messages == [Unset(topic=LOBBY), Unsub(topics=[LOBBY])]
    assert alice.hear(Ok(id=2)) == []
    assert alice.hear(snap()) == []


def test_a_second_join_closes_the_first_incarnation() -> None:
    """With its own join_ref, before the reply to the new one; then a state comes anew."""
    alice = line().joined(ref="3")
    alice.hear(snap(entry("alice")))
    frames = alice.answers("8", "8", LOBBY, "phx_join", {"meta": {"again": True}})
    assert frames == [
        ["3", "3", LOBBY, "phx_close", {}],
        ["8", "8", LOBBY, "phx_reply", OK],
    ]
    assert alice.hear(diff(joins=(entry("bob"),)))[0][3] == "phx_error"


def test_a_second_join_that_does_not_track_takes_the_entry_back() -> None:
    """The old incarnation was in the room, the new one only looks on."""
    alice = line().joined()
    turn = alice.say("8", "8", LOBBY, "phx_join", {"track": False})
    assert turn.messages == [Unset(topic=LOBBY), Sub(id=3, topics=[LOBBY])]


# --- pushes -------------------------------------------------------------------------------------


def test_track_and_untrack_are_answered_when_they_are_granted() -> None:
    """With the ref of the push and the join_ref of the channel."""
    alice = line().joined()
    track = alice.say("3", "4", LOBBY, "track", {"mood": "new"})
    assert track.messages == [Set(id=3, topic=LOBBY, meta={"mood": "new"})]
    assert alice.hear(Ok(id=3)) == [["3", "4", LOBBY, "phx_reply", OK]]
    untrack = alice.say("3", "5", LOBBY, "untrack", {})
    assert untrack.messages == [Unset(id=4, topic=LOBBY)]
    assert alice.hear(Ok(id=4)) == [["3", "5", LOBBY, "phx_reply", OK]]
    assert alice.answers("3", "6", LOBBY, "untrack", {}) == [["3", "6", LOBBY, "phx_reply", OK]]


def test_a_push_without_ref_gets_no_reply() -> None:
    """Nobody waits for it."""
    alice = line().joined()
    assert alice.answers("3", None, LOBBY, "track", {}) == []
    assert alice.answers("3", None, LOBBY, "dance", {}) == []
    assert alice.answers(None, None, "room:other", "dance", {}) == []


def test_an_untrack_that_comes_too_late_is_fine() -> None:
    """The entry may have been ended by somebody else; other refusals are told."""
    alice = line().joined()
    alice.say("3", "4", LOBBY, "untrack", {})
    gone = Err(id=3, code=ErrorCode.NOT_JOINED, message="not in it")
    assert alice.hear(gone) == [["3", "4", LOBBY, "phx_reply", OK]]
    alice.say("3", "5", LOBBY, "track", {})
    busy = Err(id=4, code=ErrorCode.RATE_LIMITED, message="slow down")
    assert alice.hear(busy) == [["3", "5", LOBBY, "phx_reply", error("slow down")]]


def test_a_ref_of_the_server_cannot_be_forged() -> None:
    """What only the server may say is taken out of metas."""
    alice = line().joined()
    forged = {"mood": "fine", "phx_ref": "x", "phx_ref_prev": "y", "phx_refs": 1}
    assert alice.say("3", "4", LOBBY, "track", forged).messages == [
        Set(id=3, topic=LOBBY, meta={"mood": "fine"})
    ]


@pytest.mark.parametrize("payload", [None, [], "x", {"a": "x" * META_BYTES_MAX}])
def test_a_meta_that_cannot_be_shown_is_refused(payload: object) -> None:
    """The channel stays, and so does the meta before."""
    alice = line().joined()
    [answer] = alice.answers("3", "4", LOBBY, "track", payload)
    assert answer[4]["status"] == "error"
    assert alice.answers("3", "5", LOBBY, "track", {})[0][4] == OK


def test_an_unknown_event_is_refused_and_harms_nothing() -> None:
    """We have presence only."""
    alice = line().joined()
    answer = ["3", "4", LOBBY, "phx_reply", error("unknown event 'shout'")]
    assert alice.answers("3", "4", LOBBY, "shout", {"a": 1}) == [answer]
    assert alice.answers(None, "5", LOBBY, "track", {}) == [["3", "5", LOBBY, "phx_reply", OK]]


def test_a_push_to_a_topic_that_is_not_joined_is_refused() -> None:
    """In the words of Phoenix."""
    answer = ["3", "4", LOBBY, "phx_reply", error("unmatched topic")]
    assert line().answers("3", "4", LOBBY, "track", {}) == [answer]


@pytest.mark.parametrize("event", ["track", "untrack", "shout", "phx_leave"])
def test_what_was_meant_for_an_earlier_incarnation_is_dropped(event: str) -> None:
    """Without an answer: who would have waited for it is gone."""
    alice = line().joined(ref="8")
    assert alice.say("3", "4", LOBBY, event, {}) == Turn()


# --- leave --------------------------------------------------------------------------------------


def test_a_leave_is_answered_and_closes_the_channel() -> None:
    """At once: what the machine is told cannot fail."""
    alice = line().joined()
    turn = alice.say("3", "9", LOBBY, "phx_leave", {})
    assert frames_of(turn) == [
        ["3", "9", LOBBY, "phx_reply", OK],
        ["3", "3", LOBBY, "phx_close", {}],
    ]
    assert turn.messages == [Unset(topic=LOBBY), Unsub(topics=[LOBBY])]
    assert alice.hear(snap()) == []


def test_who_only_looked_on_leaves_no_entry() -> None:
    """There is none to take back."""
    alice = line().joined(track=False)
    turn = alice.say("3", "9", LOBBY, "phx_leave", {})
    assert turn.messages == [Unsub(topics=[LOBBY])]


def test_leaving_a_topic_that_is_not_joined_is_fine() -> None:
    """A client that gave up waiting for its join says so."""
    assert line().answers("3", "9", LOBBY, "phx_leave", {}) == [["3", "9", LOBBY, "phx_reply", OK]]


def test_two_spellings_of_a_room_are_one_channel() -> None:
    """What looks the same is the same; the client hears its own spelling."""
    composed, decomposed = "room:Zo\u00eb", "room:Zoe\u0308"
    alice = line().joined(decomposed)
    answers = alice.answers("5", "5", composed, "phx_join", {})
    assert answers[0] == ["3", "3", decomposed, "phx_close", {}]
    assert alice.answers("5", "6", decomposed, "track", {})[0][4] == OK
    assert alice.answers("5", "6", "room:\u00e9\n", "track", {})[0][4]["status"] == "error"


# --- presence -----------------------------------------------------------------------------------


def test_the_state_comes_with_the_join_ref_of_its_join() -> None:
    """And the diffs behind it, too."""
    alice = line().joined()
    here = entry("alice", mood="fine")
    [state] = alice.hear(snap(here))
    ref = phx_ref(here)
    meta = {"status": "online", "device": "web", "mood": "fine", "phx_ref": ref}
    assert state == ["3", None, LOBBY, "presence_state", {"alice": {"metas": [meta]}}]
    [change] = alice.hear(diff(joins=(entry("bob"),)))
    assert change[:4] == ["3", None, LOBBY, "presence_diff"]
    assert set(change[4]) == {"joins", "leaves"}
    assert set(change[4]["joins"]) == {"bob"}
    assert change[4]["leaves"] == {}


def test_a_diff_that_continues_no_state_ends_the_channel() -> None:
    """The client is told to come again, and gets a state then."""
    alice = line().joined()
    turn = alice.dialog.hear(diff(joins=(entry("bob"),)))
    assert frames_of(turn) == [["3", "3", LOBBY, "phx_error", {"reason": "out of step"}]]
    assert turn.messages == [Unset(topic=LOBBY), Unsub(topics=[LOBBY])]
    alice.joined(ref="4")


def test_nothing_is_said_of_rooms_that_are_not_joined() -> None:
    """Late news of a room that was left."""
    alice = line().joined("room:other")
    assert alice.hear(snap(entry("bob"))) == []
    assert alice.hear(diff(joins=(entry("bob"),))) == []


def test_what_phoenix_has_no_words_for_is_not_said() -> None:
    """Older clients take unknown events for mistakes."""
    alice = line().joined()
    for message in (
        Pong(t=None, server_ms=1),  # type: ignore[arg-type]
        Goaway(reason="restart"),
        ViewFrame(scope=LOBBY, quality=Quality.PARTIAL),
        Ok(id="unknown"),
        Ok(id=99),
        Err(id=99, code=ErrorCode.TOO_MANY, message="x"),
        Err(code=ErrorCode.TOKEN_EXPIRED, message="x"),
    ):
        assert alice.dialog.hear(message) == Turn()


def test_a_room_is_forgotten_with_its_last_channel() -> None:
    """By a leave, by a second join and by the end of a connection."""
    rooms = Rooms()
    alice, bob = line(rooms=rooms).joined(), line(rooms=rooms).joined()
    alice.joined("room:side", ref="4")
    assert len(rooms) == 2
    alice.say("4", "5", "room:side", "phx_leave", {})
    assert len(rooms) == 1
    alice.say("6", "6", LOBBY, "phx_join", {})
    alice.dialog.closed()
    assert len(rooms) == 1
    bob.dialog.closed()
    bob.dialog.closed()
    assert len(rooms) == 0


# --- version 1 and binary frames ----------------------------------------------------------------


def test_version_1_has_objects_without_join_ref() -> None:
    """And `ref` is always there: the Python client's parser wants it."""
    alice = line(Version.V1)
    join = {"topic": LOBBY, "event": "phx_join", "payload": {}, "ref": "1"}
    assert alice.answers(join) == [
        {"topic": LOBBY, "event": "phx_reply", "payload": OK, "ref": "1"}
    ]
    [state] = alice.hear(snap())
    assert state == {"topic": LOBBY, "event": "presence_state", "payload": {}, "ref": None}
    leave = {"topic": LOBBY, "event": "phx_leave", "payload": {}, "ref": "2"}
    assert alice.answers(leave)[1] == {
        "topic": LOBBY,
        "event": "phx_close",
        "payload": {},
        "ref": "1",
    }


def test_two_versions_in_a_room_hear_the_same() -> None:
    """Each in its own framing; the payload is made once."""
    rooms = Rooms()
    old, new = line(Version.V1, rooms=rooms), line(rooms=rooms).joined()
    old.answers({"topic": LOBBY, "event": "phx_join", "payload": {}, "ref": "1"})
    for message in (snap(entry("alice")), diff(joins=(entry("bob"),))):
        [one], [other] = old.hear(message), new.hear(message)
        assert one["payload"] == other[4]
        assert one["event"] == other[3]


def binary(join_ref: str, ref: str, topic: str, event: str, payload: bytes) -> bytes:
    """A binary push of a client."""
    texts = [text.encode() for text in (join_ref, ref, topic, event)]
    return bytes([0, *map(len, texts)]) + b"".join(texts) + payload


def test_a_binary_push_is_answered_politely() -> None:
    """It is read and refused: there is nothing here that takes bytes."""
    alice = line().joined()
    turn = alice.dialog.receive(binary("3", "4", LOBBY, "shout", b"\x00\xff"))
    answer = ["3", "4", LOBBY, "phx_reply", error("unknown event 'shout'")]
    assert frames_of(turn) == [answer]
    [track] = frames_of(alice.dialog.receive(binary("3", "5", LOBBY, "track", b"{}")))
    assert track[4] == error("a meta must be an object")


# --- what cannot be answered --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "frame"),
    [
        (Version.V2, ""),
        (Version.V2, "{"),
        (Version.V2, "{}"),
        (Version.V2, "null"),
        (Version.V2, '["1","1","room:lobby","phx_join"]'),
        (Version.V2, '["1","1",null,"phx_join",{}]'),
        (Version.V2, '["1","1","room:lobby",7,{}]'),
        (Version.V2, '[{},"1","room:lobby","phx_join",{}]'),
        (Version.V2, '["1",true,"room:lobby","phx_join",{}]'),
        (Version.V2, '["1",1.5,"room:lobby","phx_join",{}]'),
        (Version.V2, json.dumps(["1", "r" * 200, LOBBY, "phx_join", {}])),
        (Version.V2, json.dumps(["1", 1 << 64, LOBBY, "phx_join", {}])),
        (Version.V2, '["1","1","room:\\ud800","phx_join",{}]'),
        (Version.V2, "\ud800"),
        (Version.V2, "[" * 10_000),
        (Version.V2, b""),
        (Version.V2, b"\x00\x01"),
        (Version.V2, b"\x01\x00\x00\x00\x00"),
        (Version.V2, b"\x00\x00\x00\x05\x00room"),
        (Version.V2, b"\x00\x00\x00\x01\x00\xff"),
        (Version.V1, "[]"),
        (Version.V1, '{"event":"phx_join"}'),
        (Version.V1, b"\x00\x00\x00\x00\x00"),
    ],
)
def test_a_frame_that_says_nothing_is_refused(version: Version, frame: str | bytes) -> None:
    """There is no ref to answer to; the edge counts such frames."""
    with pytest.raises(FrameRefused) as refused:
        line(version).dialog.receive(frame)
    assert refused.value.code is ErrorCode.BAD_FRAME
    assert refused.value.message


def test_elements_behind_the_fifth_are_ignored() -> None:
    """A newer client may say more."""
    assert line().answers(None, "1", "phoenix", "heartbeat", {}, "more") != []


def test_a_frame_above_the_limit_is_too_big() -> None:
    """It ends the connection."""
    with pytest.raises(FrameRefused) as refused:
        line().dialog.receive(" " * (CLIENT_FRAME_BYTES_MAX + 1))
    assert refused.value.code is ErrorCode.TOO_BIG


# --- kicks --------------------------------------------------------------------------------------


def test_a_kick_closes_every_channel_for_good() -> None:
    """By `phx_close`: a stock client joins such a channel never again by itself."""
    alice = line()
    for ref, room in (("1", LOBBY), ("2", "room:yard")):
        alice.say(ref, ref, room, "phx_join", {})
    turn = alice.dialog.hear(Err(code=ErrorCode.KICKED, message="spam"))
    assert frames_of(turn) == [
        ["1", "1", LOBBY, "phx_close", {}],
        ["2", "2", "room:yard", "phx_close", {}],
    ]
    assert turn.messages == []
    assert frames_of(alice.dialog.hear(snap(entry("bob")))) == []
