"""Broadcasts in Supabase's dialect: what a client says, and the frames in which others hear it.

A payload is JSON, which everybody hears as text, or bytes, which go in binary frames to clients of
version 2; version 1 has no way to say bytes, so its clients do not hear them.

What is said once is encoded once: only the `join_ref`, at the very start of a text frame, is a
subscriber's own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from presence_actors.core.limits import BROADCAST_DEPTH_MAX, BROADCASTS_PER_SECOND_MAX
from presence_actors.core.messages import Said
from presence_actors.core.vocabulary import Broadcast, ErrorCode
from presence_actors.wire.identifiers import room_topic
from presence_actors.wire.phoenix_claims import check_readable, fields_of
from presence_actors.wire.phoenix_frames import (
    BROADCAST,
    TEXT_BYTES_MAX,
    Spoken,
    Version,
    broadcast_frame,
    encode_json,
    tail,
)
from presence_actors.wire.refusals import FrameRefused

__all__ = ["POSTED_MAX", "PREFIX", "Hall", "broadcast_of", "posted", "spoken"]

PREFIX: Final = "realtime:"
#: Broadcasts in one request. Beyond: HTTP 400.
POSTED_MAX: Final = BROADCASTS_PER_SECOND_MAX

_DECODER: Final = msgspec.json.Decoder()


def spoken(payload: object, *, topic: str) -> Spoken:
    """The broadcast in the payload of a frame: a text's fields, or what a binary frame brought.

    JSON comes out as we write it ourselves, so that nobody hears what a parser may stumble over.

    Raises:
        FrameRefused: It can be said to nobody.
    """
    if isinstance(payload, Spoken):
        said = payload if payload.binary else _json(payload.event, _decoded(payload.payload))
    else:
        fields = fields_of(payload, "the payload of a broadcast")
        event = fields.get("event")
        if not isinstance(event, str):
            raise FrameRefused(ErrorCode.BAD_FRAME, "a broadcast has an event, which is a string")
        said = _json(event, fields.get("payload", {}))
    if len(said.event.encode()) > TEXT_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG, f"the event of a broadcast has at most {TEXT_BYTES_MAX} bytes"
        )
    if said.binary and len(topic.encode()) > TEXT_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG,
            f"bytes can be said in rooms whose name has at most {TEXT_BYTES_MAX} bytes",
        )
    return said


def posted(body: bytes) -> list[Broadcast]:
    """The broadcasts in the body of a request: ``{"messages": [{topic, event, payload}]}``.

    Raises:
        FrameRefused: One of them can be said to nobody; then none is.
    """
    messages = fields_of(_decoded(body), "the body").get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= POSTED_MAX:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"the body has a list of 1 to {POSTED_MAX} messages"
        )
    said: list[Broadcast] = []
    for message in messages:
        fields = fields_of(message, "a message")
        topic = fields.get("topic")
        if not isinstance(topic, str):
            raise FrameRefused(ErrorCode.BAD_FRAME, "a message has a topic, which is a string")
        said.append(broadcast_of(topic, fields))
    return said


def broadcast_of(topic: str, payload: object) -> Broadcast:
    """A broadcast of somebody who has joined no channel; the prefix of the topic may be left out.

    Raises:
        FrameRefused: It can be said to nobody.
    """
    name = topic.removeprefix(PREFIX)
    said = spoken(payload, topic=PREFIX + name)
    return Broadcast(
        topic=room_topic(name), event=said.event, payload=said.payload, binary=said.binary
    )


def _decoded(data: bytes) -> object:
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"the payload of the broadcast is no JSON: {error}"
        ) from error


def _json(event: str, payload: object) -> Spoken:
    # One level for the list around it: a payload may be no object at all.
    check_readable([payload], "a broadcast", depth_max=BROADCAST_DEPTH_MAX + 1)
    try:
        event.encode()
        return Spoken(event, encode_json(payload), binary=False)
    except (UnicodeError, ValueError) as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the broadcast is not UTF-8") from error


class Hall:
    """The frames of what was said last; one for all connections of a gateway."""

    def __init__(self) -> None:
        self._last: Said | None = None
        self._made: dict[tuple[Version, str], bytes] = {}

    def frame(self, said: Said, *, version: Version, topic: str) -> bytes | None:
        """What subscribers that spell the topic so have in common; None if it cannot be said.

        For text it is the shared part, which `glue` makes a frame of; for bytes it is the frame.
        """
        if said.binary and version is Version.V1:
            return None
        if said is not self._last:
            self._last, self._made = said, {}
        made = self._made.get((version, topic))
        if made is None:
            made = self._made[version, topic] = _made(said, version=version, topic=topic)
        return made


def _made(said: Said, *, version: Version, topic: str) -> bytes:
    if said.binary:
        return broadcast_frame(topic=topic, event=said.event, payload=said.payload)
    pieces = (
        b'{"type":"broadcast","event":',
        encode_json(said.event),
        b',"payload":',
        said.payload,
        b"}",
    )
    return tail(version, topic=topic, event=BROADCAST, payload=b"".join(pieces))
