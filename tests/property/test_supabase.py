"""Supabase: whatever a client sends, it is taken or refused, and others hear nothing but JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from presence_actors.core.vocabulary import Broadcast
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.refusals import FrameRefused
from tests.phoenix_wire import Line, frames_of
from tests.supabase_wire import LOBBY, join_params, line, said

_refs = st.none() | st.integers() | st.text(max_size=4) | st.just("1")
_topics = st.sampled_from([LOBBY, "phoenix", "realtime:", "realtime:user:a", "room:lobby"])
_events = st.sampled_from(
    ["phx_join", "phx_leave", "heartbeat", "presence", "broadcast", "access_token", "dance"]
)
_words = st.sampled_from(
    ["track", "UNTRACK", "true", "false", "shout", "expired", "default/alice", "shop/bob", "\ud800"]
)
_names = st.sampled_from(
    [
        "config",
        "presence",
        "broadcast",
        "postgres_changes",
        "enabled",
        "key",
        "ack",
        "self",
        "replay",
        "event",
        "payload",
        "access_token",
    ]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=10,
)
_frames = st.tuples(_refs, _refs, _topics, _events | st.text(max_size=9), _values)
_binary = st.tuples(
    st.sampled_from([0, 3, 4]), st.binary(max_size=6), st.sampled_from(list(b"\x00\x01\x02"))
)


def _take(at: Line, data: str | bytes) -> None:
    """A frame is taken, or refused; what goes on to others is JSON, or bytes that say so."""
    with suppress(FrameRefused):
        turn = at.dialog.receive(data)
        frames_of(turn)
        for message in turn.messages:
            if isinstance(message, Broadcast) and not message.binary:
                heard = at.dialog.hear_said(said(message.event, message.payload))
                frames_of(heard)
            at.grant(message)


def _joined(version: Version) -> Line:
    at = line(version)
    join: object = ["1", "1", LOBBY, "phx_join", join_params()]
    if version is Version.V1:
        join = {"topic": LOBBY, "event": "phx_join", "payload": join_params(), "ref": "1"}
    _take(at, json.dumps(join))
    return at


@given(st.sampled_from(Version), st.lists(st.text() | st.binary(), max_size=4))
@example(Version.V2, ["[" * 2_000, "\ud800", b"\x03\x00\x00\x00\x00\x00\x01{"])
def test_no_text_and_no_bytes_raise_anything_but_a_refusal(
    version: Version, frames: list[str | bytes]
) -> None:
    """Whatever comes in, the connection can go on."""
    at = _joined(version)
    for frame in frames:
        _take(at, frame)


@given(st.sampled_from(Version), st.lists(_frames, max_size=12))
def test_no_conversation_raises_anything_but_a_refusal(
    version: Version, frames: list[tuple[Any, ...]]
) -> None:
    """Frames that make sense one by one, in an order that makes none."""
    at = _joined(version)
    for join_ref, ref, topic, event, payload in frames:
        word: object = [join_ref, ref, topic, event, payload]
        if version is Version.V1:
            word = {
                "join_ref": join_ref,
                "ref": ref,
                "topic": topic,
                "event": event,
                "payload": payload,
            }
        _take(at, json.dumps(word))
    at.dialog.closed()


@given(st.lists(_binary, max_size=6))
def test_no_binary_frame_makes_others_hear_what_is_no_json(
    frames: list[tuple[int, bytes, int]],
) -> None:
    """A payload that claims to be JSON is read before anybody hears it."""
    at = _joined(Version.V2)
    for kind, payload, encoding in frames:
        texts = (b"1", b"2", LOBBY.encode(), b"shout", b"")
        sizes = bytes(len(text) for text in texts)
        _take(at, bytes((kind,)) + sizes + bytes((encoding,)) + b"".join(texts) + payload)
