"""Frames of Phoenix Channels, versions 1 and 2 of the JSON serialiser; no state.

=========  =========================================================
version 2  ``[join_ref, ref, topic, event, payload]``
version 1  ``{"topic":…, "event":…, "payload":…, "ref":…}``
binary     version 2 only: a kind, sizes of one byte each, texts, raw payload
=========  =========================================================

====  ==============  =====================================================  ==================
kind  direction       sizes, then texts                                      payload
====  ==============  =====================================================  ==================
0     from a client   join_ref, ref, topic, event                            any bytes
3     from a client   join_ref, ref, topic, event, metadata; encoding        bytes or JSON
4     to a client     topic, event, metadata; encoding                       bytes or JSON
====  ==============  =====================================================  ==================

Kinds 3 and 4 are Supabase's broadcasts, with a byte that says how the payload is encoded. Kinds 1
and 2 (a reply, a broadcast of bytes) a server sends if it answers in bytes: this one never does.

A ref is a client's counter and comes back as it was sent. What goes to many subscribers is encoded
once: only the `join_ref`, at the very start of a frame, is a subscriber's own.
"""

from __future__ import annotations

import enum
from typing import Final, cast

import msgspec

from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX, ID_CHARACTERS_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "BROADCAST",
    "CLOSE",
    "ERROR",
    "TEXT_BYTES_MAX",
    "Frame",
    "Ref",
    "Spoken",
    "Version",
    "broadcast_frame",
    "close_frame",
    "decode_frame",
    "encode_json",
    "error_frame",
    "glue",
    "reply_frame",
    "tail",
    "version_of",
]

BROADCAST: Final = "broadcast"
CLOSE: Final = "phx_close"
ERROR: Final = "phx_error"

Ref = str | int | None

_PUSH: Final = 0
_USER_PUSH: Final = 3
_USER_BROADCAST: Final = 4
#: How many texts a kind begins with, and whether a byte for the encoding stands behind the sizes.
_TEXTS: Final = {_PUSH: (4, 0), _USER_PUSH: (5, 1)}
_RAW: Final = 0
_JSON: Final = 1
_FIELDS: Final = 5
TEXT_BYTES_MAX: Final = 255
_INTEGER_MAX: Final = (1 << 63) - 1

_DECODER: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()


class Version(enum.IntEnum):
    """How frames are framed."""

    V1 = 1
    V2 = 2


class Spoken(msgspec.Struct, frozen=True):
    """The payload of a broadcast in a binary frame: JSON, or any bytes if `binary`."""

    event: str
    payload: bytes
    binary: bool


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says; the payload is any JSON value, or the bytes of a binary frame.

    Of a broadcast in a binary frame it is `Spoken`.
    """

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: object


def version_of(vsn: str | None) -> Version | None:
    """The version that a client asks for by the parameter `vsn`; None for one we do not speak.

    >>> version_of(None), version_of("2.0.0"), version_of("3.0.0")
    (<Version.V1: 1>, <Version.V2: 2>, None)
    """
    if vsn is None:
        return Version.V1
    major, _, rest = vsn.partition(".")
    minor, _, patch = rest.partition(".")
    if minor != "0" or not patch.isdecimal() or not patch.isascii():
        return None
    return {"1": Version.V1, "2": Version.V2}.get(major)


# --- from clients -------------------------------------------------------------------------------


def decode_frame(version: Version, data: str | bytes) -> Frame:
    """What a client says: a text frame, or a binary one as bytes.

    Raises:
        FrameRefused: It is no frame of this version.
    """
    try:
        size = len(data.encode() if isinstance(data, str) else data)
    except UnicodeEncodeError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is not UTF-8") from error
    if size > CLIENT_FRAME_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_BIG,
            f"the frame has {size} bytes; at most {CLIENT_FRAME_BYTES_MAX} are allowed",
        )
    if isinstance(data, bytes):
        return _decode_binary(version, data)
    try:
        parsed: object = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, f"the frame is no JSON: {error}") from error
    except RecursionError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is nested too deep") from error
    return _decode_list(parsed) if version is Version.V2 else _decode_object(parsed)


def _decode_list(parsed: object) -> Frame:
    if not isinstance(parsed, list) or len(parsed) < _FIELDS:
        raise FrameRefused(
            ErrorCode.BAD_FRAME,
            "version 2 has arrays of five elements: join_ref, ref, topic, event, payload",
        )
    fields = cast("list[object]", parsed)
    return _frame(fields[0], fields[1], fields[2], fields[3], fields[4])


def _decode_object(parsed: object) -> Frame:
    if not isinstance(parsed, dict):
        raise FrameRefused(
            ErrorCode.BAD_FRAME, "version 1 has objects with topic, event, payload and ref"
        )
    fields = cast("dict[str, object]", parsed)
    return _frame(
        fields.get("join_ref"),
        fields.get("ref"),
        fields.get("topic"),
        fields.get("event"),
        fields.get("payload", {}),
    )


def _decode_binary(version: Version, data: bytes) -> Frame:
    if version is not Version.V2:
        raise FrameRefused(ErrorCode.BAD_FRAME, "version 1 has text frames only")
    count, extra = _TEXTS.get(data[0] if data else -1, (0, 0))
    start = 1 + count + extra
    if not count or len(data) < start:
        raise FrameRefused(
            ErrorCode.BAD_FRAME,
            "a binary frame starts with kind 0 (push) and four sizes, or with kind 3 (broadcast), "
            "five sizes and an encoding",
        )
    texts: list[str] = []
    try:
        for size in data[1 : 1 + count]:
            piece = data[start : start + size]
            if len(piece) < size:
                raise FrameRefused(ErrorCode.BAD_FRAME, "the binary frame ends too early")
            texts.append(piece.decode())
            start += size
    except UnicodeDecodeError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is not UTF-8") from error
    join_ref, ref, topic, event, *_ = texts
    payload: object = data[start:]
    if extra:
        encoding = data[count + 1]
        if encoding not in (_RAW, _JSON):
            raise FrameRefused(
                ErrorCode.BAD_FRAME, "the encoding of a broadcast is 0 (bytes) or 1 (JSON)"
            )
        payload = Spoken(event, data[start:], encoding == _RAW)
        event = BROADCAST
    return _frame(join_ref or None, ref or None, topic, event, payload)


def _frame(join_ref: object, ref: object, topic: object, event: object, payload: object) -> Frame:
    if not isinstance(topic, str) or not isinstance(event, str):
        raise FrameRefused(ErrorCode.BAD_FRAME, "topic and event must be strings")
    return Frame(
        join_ref=_ref(join_ref, "join_ref"),
        ref=_ref(ref, "ref"),
        topic=topic,
        event=event,
        payload=payload,
    )


def _ref(value: object, what: str) -> Ref:
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= ID_CHARACTERS_MAX:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _INTEGER_MAX:
        return value
    raise FrameRefused(ErrorCode.BAD_FRAME, f"{what} must be a short string or null")


# --- to clients ---------------------------------------------------------------------------------


def encode_json(value: object) -> bytes:
    """A value as JSON."""
    return _ENCODER.encode(value)


def reply_frame(  # the fields of the frame
    version: Version, *, join_ref: Ref, ref: Ref, topic: str, status: str, response: object
) -> bytes:
    """The answer to a frame; `response` is an object."""
    payload = _ENCODER.encode({"status": status, "response": response})
    return _whole(version, join_ref, ref, topic, "phx_reply", payload)


def close_frame(version: Version, *, join_ref: Ref, topic: str) -> bytes:
    """The channel is gone for good."""
    return _whole(version, join_ref, join_ref, topic, CLOSE, b"{}")


def error_frame(version: Version, *, join_ref: Ref, topic: str, reason: str) -> bytes:
    """The channel is gone, and may be joined again."""
    payload = _ENCODER.encode({"reason": reason})
    return _whole(version, join_ref, join_ref, topic, ERROR, payload)


def tail(version: Version, *, topic: str, event: str, payload: bytes) -> bytes:
    """What a push has in common for all subscribers of a topic; `glue` makes a frame of it."""
    if version is Version.V2:
        return b"".join(
            (b",null,", _ENCODER.encode(topic), b",", _ENCODER.encode(event), b",", payload, b"]")
        )
    return _object(topic, event, payload, None)


def glue(version: Version, join_ref: Ref, shared: bytes) -> bytes:
    """One subscriber's push."""
    if version is Version.V2:
        return b"[" + _ENCODER.encode(join_ref) + shared
    return shared


def broadcast_frame(*, topic: str, event: str, payload: bytes) -> bytes:
    """A broadcast of bytes, as a binary frame of version 2; the texts have 255 bytes at most."""
    texts = (topic.encode(), event.encode(), b"")
    sizes = bytes(len(text) for text in texts)
    return b"".join((bytes((_USER_BROADCAST,)), sizes, bytes((_RAW,)), *texts, payload))


def _whole(  # the fields of the frame
    version: Version, join_ref: Ref, ref: Ref, topic: str, event: str, payload: bytes
) -> bytes:
    if version is Version.V1:
        return _object(topic, event, payload, ref)
    head = _ENCODER.encode([join_ref, ref, topic, event])
    return b"".join((head[:-1], b",", payload, b"]"))


def _object(topic: str, event: str, payload: bytes, ref: Ref) -> bytes:
    # `ref` must be there even if it is null: the Python client's parser wants it.
    return b"".join(
        (
            b'{"topic":',
            _ENCODER.encode(topic),
            b',"event":',
            _ENCODER.encode(event),
            b',"payload":',
            payload,
            b',"ref":',
            _ENCODER.encode(ref),
            b"}",
        )
    )
