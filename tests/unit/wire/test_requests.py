"""Bodies of requests: what is taken, and that each refusal is one clear sentence."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.acts import Publish, carried_session
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import ErrorCode, Intent
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.requests import (
    HeartbeatBody,
    IntentBody,
    PresenceBody,
    decode_body,
    heartbeat_of,
    intent_of,
    kick_text,
    presence_of,
    ref_of,
    session_named,
)

ALICE = UserId("alice")
NOW = WallMs(1_764_000_000_000)


def beat(**fields: Any) -> Publish:
    """What a heartbeat with these fields asks."""
    body = decode_body(json.dumps({"session": "door", **fields}).encode(), HeartbeatBody)
    return heartbeat_of(body, ALICE, lease_ms=60_000)


def chosen(**fields: Any) -> Intent:
    """What an intent with these fields asks."""
    return intent_of(decode_body(json.dumps(fields).encode(), IntentBody), NOW)


def test_a_heartbeat_needs_no_more_than_the_name_of_its_device() -> None:
    """Everything else has a default."""
    assert beat() == Publish(ALICE, carried_session("door"), "online", "web", {}, 60_000)


def test_a_heartbeat_says_all_that_the_device_shows() -> None:
    """Rooms come with or without their prefix, a lease as people write it."""
    asked = beat(
        rooms={"lobby": {"a": 1}, "room:yard": {}}, status="dnd", device="door", lease="90s"
    )
    assert asked == Publish(
        ALICE,
        carried_session("door"),
        "dnd",
        "door",
        {"room:lobby": {"a": 1}, "room:yard": {}},
        90_000,
    )


def test_an_app_server_says_the_same_without_the_name() -> None:
    """That stands in the address."""
    body = decode_body(b'{"status":"away"}', PresenceBody)
    asked = presence_of(body, ALICE, "door", lease_ms=60_000)
    assert (asked.session, asked.status) == (session_named("door"), "away")


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"sesion": "x"}, "bad_frame", "sesion"),
        ({"session": ""}, "bad_frame", "empty"),
        ({"session": "x" * 129}, "too_long", "129"),
        ({"session": "a\x1fb"}, "bad_frame", "control character"),
        ({"session": 7}, "bad_frame", "session"),
        ({"status": "invisible"}, "bad_frame", "'online'"),
        ({"device": ""}, "bad_frame", "device"),
        ({"device": "x" * 33}, "too_long", "device"),
        ({"rooms": ["lobby"]}, "bad_frame", "rooms"),
        ({"rooms": {"user:bob": {}}}, "forbidden", "user:bob"),
        ({"rooms": {"": {}}}, "bad_frame", "empty"),
        ({"rooms": {"lobby": {}, "room:lobby": {}}}, "bad_frame", "twice"),
        ({"rooms": {"lobby": {"a": "x" * 5_000}}}, "too_long", "meta"),
        ({"rooms": {"lobby": {"a": 1 << 70}}}, "bad_frame", "64 bits"),
        ({"rooms": {str(number): {} for number in range(101)}}, "too_many", "101"),
        ({"lease": "soon"}, "bad_frame", "duration"),
        ({"lease": "1s"}, "bad_frame", "5000"),
        ({"lease": "2h"}, "bad_frame", "3600000"),
    ],
)
def test_a_bad_heartbeat_is_refused_with_a_code_and_a_sentence(
    fields: dict[str, Any], code: str, words: str
) -> None:
    """The same codes as for frames; the sentence names what is wrong."""
    with pytest.raises(FrameRefused) as refused:
        beat(**fields)
    assert refused.value.code == code
    assert words in refused.value.message


def test_a_choice_ends_at_a_time_or_after_a_while() -> None:
    """`for` counts from the moment at which it is asked."""
    assert chosen(status="dnd", text="in class") == Intent(status="dnd", text="in class")
    assert chosen(status="away", until=NOW + 5) == Intent(status="away", until=NOW + 5)
    assert chosen(status="invisible", **{"for": "30m"}).until == NOW + 1_800_000
    assert chosen(status="online") == chosen(status="") == Intent()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"status": "gone"},
        {"status": "dnd", "until": 1, "for": "1s"},
        {"status": "dnd", "for": "a while"},
        {"status": "dnd", "until": -1},
        {"status": "dnd", "text": "x" * 141},
        {"status": "dnd", "emoji": "x" * 17},
        {"status": "dnd", "color": "red"},
    ],
)
def test_a_bad_choice_is_refused(fields: dict[str, Any]) -> None:
    """Whole or not at all."""
    with pytest.raises(FrameRefused):
        chosen(**fields)


@pytest.mark.parametrize("ref", ["", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdeg"])
def test_a_ref_is_what_answers_have(ref: str) -> None:
    """Anything else is a mistake, and not a session that is nowhere."""
    assert ref_of("0123456789abcdef") == "0123456789abcdef"
    with pytest.raises(FrameRefused):
        ref_of(ref)


def test_the_words_of_a_kick_can_be_shown() -> None:
    """Short, and without what would garble a terminal."""
    assert kick_text(None) == ""
    assert kick_text("take a break") == "take a break"
    for text in ("x" * 141, "a\nb"):
        with pytest.raises(FrameRefused):
            kick_text(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    """Nothing else is ever raised."""
    with contextlib.suppress(FrameRefused):
        assert decode_body(data, HeartbeatBody).session is not None


def test_a_body_beyond_the_limit_is_not_even_read() -> None:
    """As a frame on a socket."""
    with pytest.raises(FrameRefused) as refused:
        decode_body(b" " * 65_537, HeartbeatBody)
    assert refused.value.code is ErrorCode.TOO_BIG
    with pytest.raises(FrameRefused) as refused:
        decode_body(b"[" * 60_000, HeartbeatBody)
    assert refused.value.code is ErrorCode.BAD_FRAME
