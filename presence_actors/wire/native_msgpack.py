"""The native protocol ``presence.v1.msgpack``: the objects of `wire.native`, as MessagePack.

One map in each binary frame, with the same field names. It costs a quarter fewer bytes than JSON
and no time in either direction; what may be said is judged by the same `message_of`.
"""

from __future__ import annotations

from typing import Final, cast

import msgpack
import msgspec

from presence_actors.core.vocabulary import ClientMessage, ErrorCode, Ping, ServerMessage
from presence_actors.errors import RemoteProtocolError
from presence_actors.wire.native_messages import (
    SERVER_TYPES,
    NamedTwice,
    check_size,
    is_sound,
    message_of,
    once,
)
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "SUBPROTOCOL",
    "MsgpackAdapter",
    "decode_client",
    "decode_server",
    "encode_client",
    "encode_server",
]

SUBPROTOCOL: Final = "presence.v1.msgpack"

_ENCODER: Final = msgspec.msgpack.Encoder()
_SERVER: Final = msgspec.msgpack.Decoder(ServerMessage)
#: A heartbeat, which is nearly all that ever comes: a map of one field, or of two with `t`.
_PLAIN_PING: Final = _ENCODER.encode({"type": "ping"})
_PING_WITH_T: Final = b"\x82" + _PLAIN_PING[1:] + _ENCODER.encode("t")
_NUMBER: Final = msgspec.msgpack.Decoder(int | float)
#: What MessagePack and JSON have in common; a bool is an int. The rest are bytes and extensions.
_JSON_KINDS: Final = (int, float, str, list, dict)


class _Kind(msgspec.Struct, frozen=True):
    type: str


_KIND: Final = msgspec.msgpack.Decoder(_Kind)


# --- a gateway's side ---------------------------------------------------------------------------


def encode_server(message: ServerMessage) -> bytes:
    """The frame of a message to a client."""
    return _ENCODER.encode(message)


class MsgpackAdapter:
    """A gateway's side, as the edge wants it of every protocol."""

    #: Whether its frames are binary.
    binary: Final = True

    def decode(self, frame: str | bytes) -> ClientMessage | None:
        """What a client says in a binary frame; see `decode_client`."""
        if isinstance(frame, str):
            raise FrameRefused(
                ErrorCode.BAD_FRAME, "the frame is text; this protocol has binary frames only"
            )
        return decode_client(frame)

    def encode(self, message: ServerMessage) -> bytes:
        """The frame of a message to a client."""
        return _ENCODER.encode(message)


def decode_client(frame: bytes) -> ClientMessage | None:
    """What a client says; None if it says itself that it need not be understood (`opt` is 1).

    Ids come back in their one spelling, topics with their prefix.

    Raises:
        FrameRefused: It cannot be taken; says why, for programs and for people.
    """
    if frame == _PLAIN_PING:
        return Ping()
    check_size(frame)
    if frame.startswith(_PING_WITH_T):
        ping = _plain_ping(frame)
        if ping is not None:
            return ping
    return message_of(_parse(frame))


def _plain_ping(frame: bytes) -> Ping | None:
    try:
        t = _NUMBER.decode(memoryview(frame)[len(_PING_WITH_T) :])
    except msgspec.DecodeError:
        return None
    return Ping(t=t) if is_sound(t) else None


def _parse(frame: bytes) -> dict[str, object]:
    try:
        parsed: object = msgpack.unpackb(frame, object_pairs_hook=_named_once, strict_map_key=True)
    except NamedTwice as twice:
        raise FrameRefused(ErrorCode.BAD_FRAME, f"the field {twice} comes twice") from twice
    except UnicodeError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "a string of the frame is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        # Some of msgpack's errors say nothing but their name.
        reason = str(error) or type(error).__name__
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"the frame is no MessagePack: {reason:.200}"
        ) from error
    if not isinstance(parsed, dict):
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"the frame is no MessagePack map but a {type(parsed).__name__}"
        )
    return cast("dict[str, object]", parsed)


def _named_once(pairs: list[tuple[object, object]]) -> dict[str, object]:
    for name, value in pairs:
        if not isinstance(name, str):
            raise ValueError("the name of a field is no string")  # noqa: TRY004  # as all of its kind
        _check_kind(value)
    return once(cast("list[tuple[str, object]]", pairs))


def _check_kind(value: object) -> None:
    """Nothing that JSON has no word for: others in the room may speak it."""
    if value is not None and not isinstance(value, _JSON_KINDS):
        raise ValueError(f"JSON cannot carry on a value of the kind {type(value).__name__}")
    if isinstance(value, list):
        for member in value:
            _check_kind(member)


# --- a client's side ----------------------------------------------------------------------------


def encode_client(message: ClientMessage) -> bytes:
    """The frame of a message to a gateway."""
    return _ENCODER.encode(message)


def decode_server(frame: bytes) -> ServerMessage | None:
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


def _is_of_unknown_type(frame: bytes) -> bool:
    try:
        return _KIND.decode(frame).type not in SERVER_TYPES
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
