"""One connection of a Supabase client, as transcripts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from presence_actors.core.vocabulary import (
    Broadcast,
    Err,
    ErrorCode,
    Identity,
    Listen,
    Ok,
    Set,
    Sub,
    Unlisten,
    Unset,
    Unsub,
)
from presence_actors.wire.phoenix_channels import CHANNELS_MAX
from presence_actors.wire.phoenix_frames import Version, decode_frame
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.supabase import is_key
from presence_actors.wire.supabase_talk import Hall
from presence_actors.wire.turns import Introduction
from tests.golden import supabase_frames as golden
from tests.phoenix_wire import Line, diff, entry, frames_of, snap
from tests.phoenix_wire import line as phoenix_line
from tests.supabase_wire import ALICE, LOBBY, join_params, line, said

OK = {"status": "ok", "response": {}}
JOINED = {"status": "ok", "response": {"postgres_changes": []}}
TRACK = {"type": "presence", "event": "track", "payload": {"mood": "calm"}}
ROOM = "room:lobby"


def error(reason: str) -> dict[str, object]:
    """The payload of a refusal."""
    return {"status": "error", "response": {"reason": reason}}


def joined(one: Line | None = None, ref: str = "1", **params: Any) -> Line:
    """Somebody in the lobby."""
    one = line() if one is None else one
    assert one.answers(ref, ref, LOBBY, "phx_join", join_params(**params)) == [
        [ref, ref, LOBBY, "phx_reply", JOINED]
    ]
    return one


# --- joining ------------------------------------------------------------------------------------


def test_a_join_listens_and_hears_who_is_there_and_shows_nothing() -> None:
    """The reply waits until the machine has granted both; it names no changes of a database."""
    one = line()
    turn = one.say("1", "1", LOBBY, "phx_join", join_params())
    assert turn.frames == []
    assert turn.messages == [Listen(id=1, topic=ROOM), Sub(id=2, topics=[ROOM])]
    assert isinstance(turn.introduction, Introduction)
    assert (turn.introduction.topic, turn.introduction.meta) == (ROOM, {})
    assert one.hear(Ok(id=1)) == []
    assert one.hear(Ok(id=2)) == [["1", "1", LOBBY, "phx_reply", JOINED]]


def test_one_room_looks_the_same_to_both_dialects() -> None:
    """What Phoenix clients see under `room:lobby`, Supabase clients see under `realtime:lobby`."""
    rooms = Rooms()
    one, other = joined(line(rooms=rooms)), phoenix_line(rooms=rooms).joined()
    message = snap(entry("alice", mood="calm"))
    mine, theirs = one.hear(message), other.hear(message)
    assert [mine[0][2], theirs[0][2]] == [LOBBY, ROOM]
    assert mine[0][3:] == theirs[0][3:]


@pytest.mark.parametrize(
    ("enabled", "hears"),
    [({}, True), (True, True), ("true", True), (False, False), ("false", False), (None, True)],
)
def test_whoever_does_not_say_otherwise_hears_who_is_there(enabled: Any, hears: bool) -> None:
    """Clients from before the switch say nothing, and some write it as a text."""
    presence = {} if enabled == {} else {"enabled": enabled}
    turn = line().say("1", "1", LOBBY, "phx_join", join_params(presence=presence))
    assert (Sub in map(type, turn.messages)) is hears


def test_without_presence_a_channel_hears_who_is_there_once_it_tracks() -> None:
    """And no state before that, though the room is known to others of the gateway."""
    one = joined(presence={"enabled": False})
    assert one.hear(snap(entry("bob"))) == []
    turn = one.say("1", "2", LOBBY, "presence", TRACK)
    assert turn.messages == [
        Sub(topics=[ROOM]),
        Set(id=2, topic=ROOM, meta={"mood": "calm"}),
    ]
    (state,) = one.hear(snap(entry("bob")))
    assert state[3] == "presence_state"


def test_changes_of_a_database_are_refused_by_name() -> None:
    """An empty list instead would make the client say something that misleads."""
    changes = [{"event": "*", "schema": "public"}]
    (answer,) = line().answers("1", "1", LOBBY, "phx_join", join_params(changes=changes))
    assert answer[4] == error("postgres_changes are not spoken here: this gateway has no database")


def test_a_replay_is_refused_by_name() -> None:
    """Nothing is kept that could be said again."""
    broadcast = {"replay": {"since": 1}}
    (answer,) = line().answers("1", "1", LOBBY, "phx_join", join_params(broadcast=broadcast))
    assert answer[4] == error("replay is not spoken here: broadcasts are kept nowhere")


@pytest.mark.parametrize("topic", ["room:lobby", "lobby", "realtime:", "realtime:user:bob"])
def test_what_is_no_room_is_refused(topic: str) -> None:
    """Only `realtime:` names rooms here, and the topics of users are for gateways."""
    (answer,) = line().answers("1", "1", topic, "phx_join", join_params())
    assert answer[4]["status"] == "error"


def test_one_channel_too_many_is_refused() -> None:
    """And the token in its payload counts for nothing."""
    one = line()
    for number in range(CHANNELS_MAX):
        one.say(str(number), str(number), f"realtime:{number}", "phx_join", join_params())
    turn = one.say("x", "x", "realtime:more", "phx_join", join_params(access_token="default/alice"))
    assert frames_of(turn)[0][4] == error("too many channels joined")
    assert turn.identity is None


def test_a_second_join_closes_the_first_incarnation() -> None:
    """With its own ref; what it showed and heard ends with it."""
    one = joined()
    one.answers("1", "2", LOBBY, "presence", TRACK)
    turn = one.say("5", "5", LOBBY, "phx_join", join_params())
    assert frames_of(turn) == [["1", "1", LOBBY, "phx_close", {}]]
    assert turn.messages[:3] == [Unset(topic=ROOM), Unsub(topics=[ROOM]), Unlisten(topic=ROOM)]
    assert one.answers("1", "6", LOBBY, "presence", TRACK) == []


def test_a_refused_join_leaves_nothing_behind() -> None:
    """Neither the half that was granted nor a channel."""
    one = line()
    one.say("1", "1", LOBBY, "phx_join", join_params())
    one.hear(Ok(id=1))
    refused = Err(id=2, code=ErrorCode.TOO_MANY, message="too many")
    turn = one.dialog.hear(refused)
    assert frames_of(turn) == [["1", "1", LOBBY, "phx_reply", error("too many")]]
    assert turn.messages == [Unsub(topics=[ROOM]), Unlisten(topic=ROOM)]
    (answer,) = one.answers("1", "2", LOBBY, "presence", TRACK)
    assert answer[4] == error("unmatched topic")


def test_a_leave_is_answered_and_ends_all() -> None:
    """The client waits for the answer; a channel that was never joined is left, too."""
    one = joined()
    one.answers("1", "2", LOBBY, "presence", TRACK)
    turn = one.say("1", "3", LOBBY, "phx_leave", {})
    assert frames_of(turn) == [
        ["1", "3", LOBBY, "phx_reply", OK],
        ["1", "1", LOBBY, "phx_close", {}],
    ]
    assert turn.messages == [Unset(topic=ROOM), Unsub(topics=[ROOM]), Unlisten(topic=ROOM)]
    assert one.answers("1", "4", LOBBY, "phx_leave", {}) == [["1", "4", LOBBY, "phx_reply", OK]]


# --- presence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["track", "TRACK"])
def test_to_track_is_to_be_there(word: str) -> None:
    """The promise of `track()` waits for the answer."""
    one = joined()
    turn = one.say("1", "2", LOBBY, "presence", {**TRACK, "event": word})
    assert turn.messages == [Set(id=3, topic=ROOM, meta={"mood": "calm"})]
    assert one.hear(Ok(id=3)) == [["1", "2", LOBBY, "phx_reply", OK]]


def test_to_untrack_is_to_be_there_no_longer_and_to_look_on() -> None:
    """Whoever was not there is answered, too."""
    one = joined()
    untrack = {"type": "presence", "event": "untrack"}
    assert one.answers("1", "2", LOBBY, "presence", untrack) == [["1", "2", LOBBY, "phx_reply", OK]]
    one.answers("1", "3", LOBBY, "presence", TRACK)
    assert one.say("1", "4", LOBBY, "presence", untrack).messages == [Unset(id=4, topic=ROOM)]
    gone = Err(id=4, code=ErrorCode.NOT_JOINED, message="not in room:lobby")
    assert one.hear(gone) == [["1", "4", LOBBY, "phx_reply", OK]]


def test_a_meta_that_nobody_should_see_is_refused() -> None:
    """The client hears why, and its channel goes on."""
    one = joined()
    huge = {**TRACK, "payload": {"a": "x" * 5_000}}
    (answer,) = one.answers("1", "2", LOBBY, "presence", huge)
    assert answer[4]["status"] == "error"
    (answer,) = one.answers("1", "3", LOBBY, "presence", {"event": "dance"})
    assert answer[4] == error("presence has the events track and untrack")
    assert one.answers("1", "4", LOBBY, "presence", TRACK) == [["1", "4", LOBBY, "phx_reply", OK]]


def test_a_diff_comes_as_in_phoenix() -> None:
    """Under the spelling of this client's topic."""
    one = joined()
    one.hear(snap())
    (push,) = one.hear(diff(joins=(entry("bob"),)))
    assert push[:4] == ["1", None, LOBBY, "presence_diff"]
    assert list(push[4]["joins"]) == ["bob"]
    assert push[4]["leaves"] == {}


def test_a_key_that_the_client_chooses_is_what_its_device_is_known_by() -> None:
    """Not the name under which it is shown: that is the user's."""

    def family(presence: dict[str, object], **params: Any) -> str:
        turn = line(**params).say("1", "1", LOBBY, "phx_join", join_params(presence=presence))
        assert turn.introduction is not None
        return turn.introduction.family

    assert family({"key": "tab-1"}) == family({"key": "tab-1"}, app="another")
    assert family({"key": "tab-1"}) != family({"key": "tab-2"})
    assert family({"key": ""}) == family({}) == family({}, apikey="default/renewed")
    assert family({"key": "tab-1"}, device_id="d") == family({"key": "tab-2"}, device_id="d")


# --- broadcasts ---------------------------------------------------------------------------------

SHOUT = {"type": "broadcast", "event": "shout", "payload": {"n": 1}}


def test_a_broadcast_is_said_and_not_answered() -> None:
    """The client has gone on already."""
    one = joined()
    turn = one.say("1", "2", LOBBY, "broadcast", SHOUT)
    assert turn.frames == []
    assert turn.messages == [Broadcast(topic=ROOM, event="shout", payload=b'{"n":1}')]


def test_whoever_wants_it_has_an_answer_and_hears_itself() -> None:
    """As its config says."""
    one = joined(broadcast={"ack": True, "self": "true"})
    (word,) = one.say("1", "2", LOBBY, "broadcast", SHOUT).messages
    assert word == Broadcast(topic=ROOM, event="shout", payload=b'{"n":1}', echo=True, id=3)
    assert one.hear(Ok(id=3)) == [["1", "2", LOBBY, "phx_reply", OK]]
    one.say("1", "4", LOBBY, "broadcast", SHOUT)
    limited = Err(id=4, code=ErrorCode.RATE_LIMITED, message="too fast")
    assert one.hear(limited) == [["1", "4", LOBBY, "phx_reply", error("too fast")]]


def test_what_is_said_is_heard_in_the_framing_of_each_version() -> None:
    """Version 2 with the join_ref of the channel, version 1 with a ref that is null."""
    hall = Hall()
    new, old = joined(line(hall=hall)), line(Version.V1, hall=hall)
    old.say({"topic": LOBBY, "event": "phx_join", "payload": join_params(), "ref": "1"})
    old.hear(Ok(id=1))
    old.hear(Ok(id=2))
    word = said()
    assert frames_of(new.dialog.hear_said(word)) == [["1", None, LOBBY, "broadcast", SHOUT]]
    assert frames_of(old.dialog.hear_said(word)) == [
        {"topic": LOBBY, "event": "broadcast", "payload": SHOUT, "ref": None}
    ]


def test_bytes_go_as_a_binary_frame_to_version_2_alone() -> None:
    """Kind 4: three sizes, an encoding, the texts, the bytes."""
    hall = Hall()
    new, old = joined(line(hall=hall)), line(Version.V1, hall=hall)
    old.say({"topic": LOBBY, "event": "phx_join", "payload": join_params(), "ref": "1"})
    for request in (1, 2):
        old.hear(Ok(id=request))
    word = said("stroke", b"\x00\xff", binary=True)
    turn = new.dialog.hear_said(word)
    assert turn.binary
    assert turn.frames == [b"\x04\x0e\x06\x00\x00realtime:lobbystroke\x00\xff"]
    assert old.dialog.hear_said(word).frames == []


def test_a_binary_push_is_a_broadcast_of_bytes_or_of_json() -> None:
    """Kind 3, which newer clients send whatever they say."""
    one = joined()
    head = bytes((3, 1, 1, 14, 5, 0))
    texts = b"12realtime:lobbyshout"
    turn = one.dialog.receive(head + b"\x01" + texts + b'{"n": 1}')
    assert turn.messages == [Broadcast(topic=ROOM, event="shout", payload=b'{"n":1}')]
    turn = one.dialog.receive(head + b"\x00" + texts + b"\xff")
    assert turn.messages == [Broadcast(topic=ROOM, event="shout", payload=b"\xff", binary=True)]
    turn = one.dialog.receive(head + b"\x01" + texts + b"\xff")
    assert frames_of(turn)[0][4]["status"] == "error"
    assert turn.messages == []


def test_who_has_not_joined_hears_nothing_that_is_said() -> None:
    """Nor does a join that was not answered: the client would not know its channel yet."""
    one = joined()
    assert one.dialog.hear_said(said(room="den")).frames == []
    one.say("5", "5", "realtime:den", "phx_join", join_params())
    assert one.dialog.hear_said(said(room="den")).frames == []


# --- tokens -------------------------------------------------------------------------------------


def test_until_the_first_join_a_token_may_say_who_the_client_is() -> None:
    """The key in the address is the app's, perhaps, and this one the user's."""
    one = line()
    params = join_params(access_token="shop/bob")
    turn = one.say("1", "1", LOBBY, "phx_join", params)
    assert turn.identity == Identity("shop", "bob")  # type: ignore[arg-type]
    assert turn.introduction is not None


def test_a_newer_token_of_the_same_user_renews_the_connection() -> None:
    """The same one again, which each channel says, is passed over; so are keys of a project."""
    one = joined()
    for token in ("default/alice", None, "", "sb_publishable_x", 7):
        turn = one.say("1", None, LOBBY, "access_token", {"access_token": token})
        assert (turn.identity, turn.frames, turn.messages) == (None, [], [])
    newer = joined(line(apikey="old"))
    turn = newer.say("1", None, LOBBY, "access_token", {"access_token": "default/alice"})
    assert (turn.identity, turn.frames) == (ALICE, [])


@pytest.mark.parametrize("token", ["expired", "default/bob", "shop/alice"])
def test_a_token_that_is_refused_ends_the_channel_and_says_why(token: str) -> None:
    """A message of the system, which the app may listen to, and then the end."""
    one = joined()
    turn = one.say("1", None, LOBBY, "access_token", {"access_token": token})
    system, close = frames_of(turn)
    assert system[:4] == ["1", None, LOBBY, "system"]
    assert system[4] | {"message": ""} == {
        "extension": "system",
        "status": "error",
        "message": "",
        "channel": "lobby",
    }
    assert system[4]["message"]
    assert close == ["1", "1", LOBBY, "phx_close", {}]
    assert turn.messages == [Unsub(topics=[ROOM]), Unlisten(topic=ROOM)]


def test_a_join_with_a_token_that_is_refused_is_refused() -> None:
    """The client tries again with another one."""
    (answer,) = line().answers("1", "1", LOBBY, "phx_join", join_params(access_token="expired"))
    assert answer[4] == error("the token is refused")


# --- the rest -----------------------------------------------------------------------------------


def test_a_heartbeat_without_a_ref_is_answered_without_one() -> None:
    """Python's client."""
    assert line().answers(None, None, "phoenix", "heartbeat", {}) == [
        [None, None, "phoenix", "phx_reply", OK]
    ]
    (answer,) = line().answers(None, "7", "phoenix", "phx_join", {})
    assert answer[4] == error("unmatched topic")


def test_an_unknown_event_is_refused_and_harms_nothing() -> None:
    """Also one whose payload is none."""
    one = joined()
    (answer,) = one.answers("1", "2", LOBBY, "dance", {})
    assert answer[4] == error("unknown event 'dance'")
    for event in ("presence", "broadcast", "access_token"):
        (answer,) = one.answers("1", "3", LOBBY, event, json.loads("[1]"))
        assert answer[4]["status"] == "error"
    assert one.answers("1", "4", LOBBY, "presence", TRACK)


def test_a_connection_that_is_gone_leaves_no_picture() -> None:
    """Whatever it was in."""
    rooms = Rooms()
    one = joined(line(rooms=rooms))
    joined_without = line(rooms=rooms)
    joined(joined_without, presence={"enabled": False})
    assert len(rooms) == 1
    one.dialog.closed()
    joined_without.dialog.closed()
    assert len(rooms) == 0


def test_keys_of_a_project_are_told_from_tokens() -> None:
    """They say nothing of a user."""
    assert is_key("sb_secret_x")
    assert not is_key("eyJhbGciOi")


# --- golden frames ------------------------------------------------------------------------------

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("name", golden.CLIENT_V2)
def test_a_golden_frame_of_a_client_decodes_for_ever(name: str, version: Version) -> None:
    """In both framings, to the same."""
    text = (GOLDEN / f"supabase-v{version}" / f"client-{name}.json").read_text(encoding="utf-8")
    frame = decode_frame(version, text)
    assert [frame.join_ref, frame.ref, frame.topic, frame.event, frame.payload] == (
        golden.CLIENT_V2[name]
    )


@pytest.mark.parametrize("version", list(Version))
def test_what_clients_hear_stays_as_the_golden_frames_have_it(version: Version) -> None:
    """Stock clients parse them; each file is checked."""
    folder = GOLDEN / f"supabase-v{version}"
    said_now = golden.server_frames(version)
    kept = {
        path.stem.removeprefix("server-"): path.read_bytes().removesuffix(b"\n")
        for path in folder.iterdir()
        if path.name.startswith("server-")
    }
    assert kept == said_now
    clients = {path.stem for path in folder.iterdir()} - {f"server-{name}" for name in kept}
    assert clients == {f"client-{name}" for name in golden.CLIENT_V2}


def test_the_document_shows_golden_frames() -> None:
    """What docs/supabase.md shows is what goes over the wire."""
    document = (GOLDEN.parents[1] / "docs" / "supabase.md").read_text(encoding="utf-8")
    shown = {
        text
        for block in re.findall(r"```json\n(.*?)```", document, re.DOTALL)
        for text in block.splitlines()
    }
    frames = {
        path.read_text(encoding="utf-8").strip() for path in (GOLDEN / "supabase-v2").glob("*.json")
    }
    assert shown
    assert shown <= frames


# --- kicks --------------------------------------------------------------------------------------


def test_a_kick_closes_every_channel_for_good() -> None:
    """By `phx_close`, after which its state is `closed` and nothing joins it again by itself."""
    alice = joined()
    assert alice.hear(Err(code=ErrorCode.KICKED, message="spam")) == [
        ["1", "1", LOBBY, "phx_close", {}]
    ]
    assert alice.hear(snap(entry("bob"))) == []
