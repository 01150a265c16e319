"""The native protocol ``presence.v1.json``: JSON objects, one in a text frame, each with a `type`.

A pure adapter between frames and `core.vocabulary`. Everything that can be judged from a frame
alone is judged here and in `wire.native_messages`: its form, the words it uses, and the limits of
`core.limits`. What needs to know the session (is the room joined, is the rate kept) is the
machine's to judge. `wire.native_msgpack` has the same frames in MessagePack.

Both sides are here: `decode_client` and `encode_server` for gateways, `encode_client` and
`decode_server` for clients. Unknown fields are ignored in both directions, so that either side may
be older; docs/protocol.md describes every frame.
"""

from __future__ import annotations

import json
from typing import Final, cast

import msgspec

from presence_actors.core.vocabulary import ClientMessage, ErrorCode, Ping, ServerMessage
from presence_actors.errors import RemoteProtocolError
from presence_actors.wire.identifiers import room_topic
from presence_actors.wire.native_messages import (
    SERVER_TYPES,
    VERSION,
    NamedTwice,
    check_size,
    closing_code,
    is_sound,
    message_of,
    once,
)
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "SUBPROTOCOL",
    "VERSION",
    "FrameRefused",
    "NativeAdapter",
    "closing_code",
    "decode_client",
    "decode_server",
    "encode_client",
    "encode_server",
    "encode_server_bytes",
    "room_topic",
]

SUBPROTOCOL: Final = "presence.v1.json"

_PING_START: Final = b'{"type":"ping"'
_PING_BYTES_MAX: Final = 64

_ENCODER: Final = msgspec.json.Encoder()
_PING: Final = msgspec.json.Decoder(Ping)
_SERVER: Final = msgspec.json.Decoder(ServerMessage)


class _Kind(msgspec.Struct, frozen=True):
    type: str


_KIND: Final = msgspec.json.Decoder(_Kind)


# --- a gateway's side ---------------------------------------------------------------------------


def encode_server(message: ServerMessage) -> str:
    """The frame of a message to a client."""
    return _ENCODER.encode(message).decode()


def encode_server_bytes(message: ServerMessage) -> bytes:
    """The frame of a message to a client, as UTF-8."""
    return _ENCODER.encode(message)


class NativeAdapter:
    """A gateway's side, as the edge wants it of every protocol."""

    #: Whether its frames are binary.
    binary: Final = False

    def decode(self, frame: str | bytes) -> ClientMessage | None:
        """What a client says in a text frame; see `decode_client`."""
        if isinstance(frame, bytes):
            raise FrameRefused(
                ErrorCode.BAD_FRAME, "the frame is binary; this protocol has text frames only"
            )
        return decode_client(frame)

    def encode(self, message: ServerMessage) -> bytes:
        """The frame of a message to a client."""
        return _ENCODER.encode(message)


def decode_client(frame: str | bytes) -> ClientMessage | None:
    """What a client says; None if it says itself that it need not be understood (``"opt":1``).

    Ids come back in their one spelling, topics with their prefix.

    Raises:
        FrameRefused: It cannot be taken; says why, for programs and for people.
    """
    data = _as_bytes(frame)
    if len(data) <= _PING_BYTES_MAX and data.startswith(_PING_START):
        ping = _plain_ping(data)
        if ping is not None:
            return ping
    return message_of(_parse(data))


def _as_bytes(frame: str | bytes) -> bytes:
    try:
        data = frame.encode() if isinstance(frame, str) else frame
    except UnicodeEncodeError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is not UTF-8") from error
    check_size(data)
    return data


def _plain_ping(data: bytes) -> Ping | None:
    """A heartbeat, which is nearly all that ever comes, without the general road."""
    try:
        ping = _PING.decode(data)
    except msgspec.DecodeError:
        return None
    # Exactly the fields that were understood, so nothing came twice.
    if data.count(b":") != 1 + (ping.t is not None) or not is_sound(ping.t):
        return None
    return ping


def _parse(data: bytes) -> dict[str, object]:
    try:
        text = data.decode()
        parsed: object = _PARSER.decode(text)
        if "\\" in text:
            # Only an escape can smuggle in half a surrogate pair, and no peer could be told of it.
            _ENCODER.encode(parsed)
    except NamedTwice as twice:
        raise FrameRefused(ErrorCode.BAD_FRAME, f"the field {twice} comes twice") from twice
    except UnicodeError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is not UTF-8") from error
    except RecursionError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is nested too deep") from error
    except ValueError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, f"the frame is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"the frame is no JSON object but a {type(parsed).__name__}"
        )
    return cast("dict[str, object]", parsed)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON value")


_PARSER: Final = json.JSONDecoder(object_pairs_hook=once, parse_constant=_no_constant)


# --- a client's side ----------------------------------------------------------------------------


def encode_client(message: ClientMessage) -> str:
    """The frame of a message to a gateway."""
    return _ENCODER.encode(message).decode()


def decode_server(frame: str | bytes) -> ServerMessage | None:
    """What a gateway says; None for a type that is newer than this code.

    Raises:
        RemoteProtocolError: It is no frame of this protocol.
    """
    try:
        return cast("ServerMessage", _SERVER.decode(frame))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if _is_of_unknown_type(frame):
            return None
        raise RemoteProtocolError(
            peer="gateway",
            code="bad_frame",
            reason=f"sent a frame that is none of {SUBPROTOCOL} ({error})",
            remedy="check that the address is that of a presence gateway",
        ) from error


def _is_of_unknown_type(frame: str | bytes) -> bool:
    try:
        return _KIND.decode(frame).type not in SERVER_TYPES
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
