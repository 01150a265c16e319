"""Broadcasts: what can be said, and that what cannot harms nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from presence_actors.core.limits import BROADCAST_DEPTH_MAX
from presence_actors.core.vocabulary import Broadcast, ErrorCode
from presence_actors.wire.phoenix_frames import TEXT_BYTES_MAX, Spoken, Version
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.supabase_talk import POSTED_MAX, Hall, broadcast_of, posted, spoken
from tests.supabase_wire import LOBBY, said


def nested(depth: int) -> Any:
    """So many lists, each in the next."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("payload", [{"a": 1}, [1, "ü"], "text", 7, None, True, nested(64)])
def test_any_json_may_be_said(payload: Any) -> None:
    """As a text's payload, and as the bytes of a binary frame."""
    fields = {"event": "e", "payload": payload}
    word = spoken(fields, topic=LOBBY)
    assert json.loads(word.payload) == payload
    data = json.dumps(payload, indent=1).encode()
    assert spoken(Spoken("e", data, binary=False), topic=LOBBY) == word


def test_without_a_payload_it_is_an_empty_object() -> None:
    """The word alone may be all there is to say."""
    assert spoken({"event": "e"}, topic=LOBBY).payload == b"{}"


@pytest.mark.parametrize(
    "payload",
    [
        [1],
        {},
        {"event": 7},
        {"event": "x" * (TEXT_BYTES_MAX + 1)},
        {"event": "\ud800"},
        {"event": "e", "payload": "\ud800"},
        {"event": "e", "payload": nested(BROADCAST_DEPTH_MAX + 1)},
        {"event": "e", "payload": 1 << 70},
        {"event": "e", "payload": [float("inf")]},
        Spoken("e", b"{", binary=False),
        Spoken("e", b'"\xff"', binary=False),
        Spoken("e", b"[" * 100_000, binary=False),
    ],
)
def test_what_another_parser_may_stumble_over_is_refused(payload: Any) -> None:
    """It would end in the handlers of all who listen."""
    with pytest.raises(FrameRefused):
        spoken(payload, topic=LOBBY)


def test_bytes_need_a_room_whose_name_fits_into_their_frame() -> None:
    """A size there has one byte; text has no such bound."""
    topic = "realtime:" + "ü" * 125
    with pytest.raises(FrameRefused, match="255 bytes"):
        spoken(Spoken("e", b"\xff", binary=True), topic=topic)
    assert spoken({"event": "e"}, topic=topic).event == "e"


def test_what_is_said_once_is_encoded_once() -> None:
    """For each version, and for each spelling of the topic."""
    hall, word = Hall(), said()
    first = hall.frame(word, version=Version.V2, topic=LOBBY)
    assert hall.frame(word, version=Version.V2, topic=LOBBY) is first
    assert hall.frame(word, version=Version.V1, topic=LOBBY) != first
    again = hall.frame(said(payload=b"2"), version=Version.V2, topic=LOBBY)
    assert again != first


def test_several_may_be_posted_at_once() -> None:
    """The prefix of the topic may be left out, as Supabase's clients leave it out."""
    body = {
        "messages": [
            {"topic": "lobby", "event": "e", "payload": {"n": 1}, "private": True},
            {"topic": "realtime:den", "event": "f"},
        ]
    }
    assert posted(json.dumps(body).encode()) == [
        Broadcast(topic="room:lobby", event="e", payload=b'{"n":1}'),
        Broadcast(topic="room:den", event="f", payload=b"{}"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages":[]}',
        b'{"messages":[7]}',
        b'{"messages":[{"event":"e"}]}',
        b'{"messages":[{"topic":"user:bob","event":"e"}]}',
        b'{"messages":[{"topic":"","event":"e"}]}',
        json.dumps({"messages": [{"topic": "a", "event": "e"}] * (POSTED_MAX + 1)}).encode(),
    ],
)
def test_a_body_that_cannot_be_said_is_refused_as_a_whole(body: bytes) -> None:
    """Nobody hears a part of it."""
    with pytest.raises(FrameRefused):
        posted(body)


def test_a_room_is_named_by_its_topic() -> None:
    """Bytes stay bytes; the topic of a user is none that anybody says something in."""
    word = broadcast_of("lobby", Spoken("e", b"\xff", binary=True))
    assert word == Broadcast(topic="room:lobby", event="e", payload=b"\xff", binary=True)
    with pytest.raises(FrameRefused) as refused:
        broadcast_of("user:bob", {"event": "e"})
    assert refused.value.code is ErrorCode.FORBIDDEN
