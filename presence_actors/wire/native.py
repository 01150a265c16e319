"""The native protocol ``presence.v1.json``: JSON objects, one in a text frame, each with a `type`.

A pure adapter between frames and `core.vocabulary`. Everything that can be judged from a frame
alone is judged here: its form, the words it uses, and the limits of `core.limits`. What needs to
know the session (is the room joined, is the rate kept) is the machine's to judge.

Both sides are here: `decode_client` and `encode_server` for gateways, `encode_client` and
`decode_server` for clients. Unknown fields are ignored in both directions, so that either side may
be older; docs/protocol.md describes every frame.
"""

from __future__ import annotations

import json
import math
from typing import Final, cast

import msgspec

from presence_actors.core.ids import SessionId
from presence_actors.core.limits import (
    CLIENT_FRAME_BYTES_MAX,
    DEVICE_CHARACTERS_MAX,
    EMOJI_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    META_BYTES_MAX,
    META_DEPTH_MAX,
    RESUME_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
    TEXT_CHARACTERS_MAX,
)
from presence_actors.core.values import EntryStatus, IntentStatus, Meta
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    ErrorCode,
    Hello,
    Intent,
    Patch,
    Ping,
    ServerMessage,
    Set,
    Sub,
    Unset,
    Unsub,
)
from presence_actors.errors import RemoteProtocolError
from presence_actors.wire.identifiers import (
    identifier,
    plain_text,
    room_topic,
    split_watched,
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
#: The number in the name of the subprotocol; a `hello` may repeat it in `version`.
VERSION: Final = 1

#: Characters of a token, and of a cursor, which is opaque to the client.
TOKEN_CHARACTERS_MAX: Final = 8 * 1024
CURSOR_CHARACTERS_MAX: Final = 32 * 1024
CAPABILITIES_MAX: Final = 32
#: A wall time has 48 bits in a stamp.
_WALL_MS_MAX: Final = (1 << 48) - 1
_INTEGER_MAX: Final = (1 << 63) - 1

_CLIENT_TYPES: Final = ("hello", "sub", "unsub", "set", "patch", "unset", "intent", "ping", "bye")
_ENTRY_WORDS: Final = tuple(status.word for status in EntryStatus)
_INTENT_WORDS: Final = tuple(status.value for status in IntentStatus)

_PING_START: Final = b'{"type":"ping"'
_PING_BYTES_MAX: Final = 64

_ENCODER: Final = msgspec.json.Encoder()
_PING: Final = msgspec.json.Decoder(Ping)
_SERVER: Final = msgspec.json.Decoder(ServerMessage)


class _Kind(msgspec.Struct, frozen=True):
    type: str


_KIND: Final = msgspec.json.Decoder(_Kind)
_SERVER_TYPES: Final = frozenset(
    {
        "welcome",
        "ok",
        "err",
        "snap",
        "diff",
        "count",
        "lag",
        "status",
        "view",
        "pong",
        "goaway",
    }
)

_CLOSING: Final = {
    ErrorCode.BAD_VERSION: 4400,
    ErrorCode.UNAUTHORIZED: 4401,
    ErrorCode.TOKEN_EXPIRED: 4401,
    ErrorCode.TOO_BIG: 1009,
}


def closing_code(code: ErrorCode) -> int | None:
    """The code with which a connection is closed after this error; None: it is kept."""
    return _CLOSING.get(code)


# --- a gateway's side ---------------------------------------------------------------------------


def encode_server(message: ServerMessage) -> str:
    """The frame of a message to a client."""
    return _ENCODER.encode(message).decode()


def encode_server_bytes(message: ServerMessage) -> bytes:
    """The frame of a message to a client, as UTF-8."""
    return _ENCODER.encode(message)


class NativeAdapter:
    """The two functions of a gateway's side, as the edge wants them of every protocol."""

    def decode(self, frame: str) -> ClientMessage | None:
        """What a client says; see `decode_client`."""
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
    fields = _parse(data)
    request = _request_id(fields)
    try:
        return _message(fields)
    except FrameRefused as refused:
        refused.id = request
        raise


def _as_bytes(frame: str | bytes) -> bytes:
    try:
        data = frame.encode() if isinstance(frame, str) else frame
    except UnicodeEncodeError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, "the frame is not UTF-8") from error
    if len(data) > CLIENT_FRAME_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_BIG,
            f"the frame has {len(data)} bytes; at most {CLIENT_FRAME_BYTES_MAX} are allowed",
        )
    return data


def _plain_ping(data: bytes) -> Ping | None:
    """A heartbeat, which is nearly all that ever comes, without the general road."""
    try:
        ping = _PING.decode(data)
    except msgspec.DecodeError:
        return None
    # Exactly the fields that were understood, so nothing came twice.
    if data.count(b":") != 1 + (ping.t is not None) or not _is_sound(ping.t):
        return None
    return ping


def _parse(data: bytes) -> dict[str, object]:
    try:
        text = data.decode()
        parsed: object = _PARSER.decode(text)
        if "\\" in text:
            # Only an escape can smuggle in half a surrogate pair, and no peer could be told of it.
            _ENCODER.encode(parsed)
    except _Twice as twice:
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
    fields = cast("dict[str, object]", parsed)
    _check_values(fields)
    return fields


class _Twice(ValueError):
    """A field that comes twice in one object: readers disagree on which one counts."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(repr(next(name for name in names if names.count(name) > 1)[:40]))
    return fields


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON value")


_PARSER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _check_values(fields: dict[str, object]) -> None:
    """No number that JavaScript or MessagePack could not hold, and nothing nested too deep."""
    level: list[object] = [fields]
    depth = 0
    while level:
        if depth > META_DEPTH_MAX:
            raise FrameRefused(
                ErrorCode.BAD_FRAME,
                f"a value is nested more than {META_DEPTH_MAX} levels deep",
                _request_id(fields),
            )
        below: list[object] = []
        for container in level:
            members = container.values() if isinstance(container, dict) else container
            for value in cast("list[object]", members):
                if isinstance(value, dict | list):
                    below.append(value)
                elif not _is_sound(value):
                    raise FrameRefused(
                        ErrorCode.BAD_FRAME,
                        "a number is infinite or has more than 64 bits",
                        _request_id(fields),
                    )
        level = below
        depth += 1


def _is_sound(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_INTEGER_MAX <= value <= _INTEGER_MAX


def _request_id(fields: dict[str, object]) -> int | str | None:
    request = fields.get("id")
    if isinstance(request, bool) or not isinstance(request, int | str):
        return None
    if isinstance(request, str) and len(request) > ID_CHARACTERS_MAX:
        return None
    return request if _is_sound(request) else None


def _message(fields: dict[str, object]) -> ClientMessage | None:
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise FrameRefused(ErrorCode.BAD_FRAME, 'the frame has no field "type" with a string')
    if kind not in _CLIENT_TYPES:
        if fields.get("opt") == 1:
            return None
        raise FrameRefused(
            ErrorCode.UNKNOWN_TYPE,
            f"no client sends a frame of type {kind[:40]!r}; known are {', '.join(_CLIENT_TYPES)}",
        )
    request = fields.get("id")
    if isinstance(request, str) and len(request) > ID_CHARACTERS_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG,
            f"id has {len(request)} characters; at most {ID_CHARACTERS_MAX} are allowed",
        )
    if kind == "hello" and fields.get("version", VERSION) != VERSION:
        raise FrameRefused(
            ErrorCode.BAD_VERSION,
            f"this gateway speaks version {VERSION} of the protocol; "
            f"connect with the subprotocol {SUBPROTOCOL}",
        )
    try:
        message = cast("ClientMessage", msgspec.convert(fields, ClientMessage))
    except msgspec.ValidationError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, f"{kind}: {error}") from error
    return _checked(message)


def _checked(message: ClientMessage) -> ClientMessage:
    match message:
        case Hello():
            return _checked_hello(message)
        case Sub():
            rooms, users = _watched(message)
            _at_most(message.cursor, CURSOR_CHARACTERS_MAX, "cursor")
            return msgspec.structs.replace(message, topics=rooms, users=users)
        case Unsub():
            rooms, users = _watched(message)
            return msgspec.structs.replace(message, topics=rooms, users=users)
        case Set():
            return _checked_set(message)
        case Patch():
            _check_meta(message.meta)
            return msgspec.structs.replace(message, topic=room_topic(message.topic))
        case Unset():
            return msgspec.structs.replace(message, topic=room_topic(message.topic))
        case Intent():
            return _checked_intent(message)
        case Ping() | Bye():
            return message


def _checked_hello(hello: Hello) -> Hello:
    _at_most(hello.token, TOKEN_CHARACTERS_MAX, "token")
    if not 0 <= hello.resume <= RESUME_MAX:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"resume is {hello.resume}; give a number from 0 to {RESUME_MAX}"
        )
    if not 0 <= hello.idle_ms <= _INTEGER_MAX:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"idle_ms is {hello.idle_ms}; give milliseconds, 0 or more"
        )
    _check_word(hello.status, _ENTRY_WORDS, "status")
    if len(hello.caps) > CAPABILITIES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_MANY,
            f"caps has {len(hello.caps)} words; at most {CAPABILITIES_MAX} are allowed",
        )
    for index, word in enumerate(hello.caps):
        identifier(word, what=f"caps[{index}]")
    session = hello.session
    if session is not None:
        session = SessionId(identifier(session, what="session"))
    if not hello.device:
        raise FrameRefused(ErrorCode.BAD_FRAME, "device is empty; leave it out, or give a word")
    device = plain_text(hello.device, what="device", characters_max=DEVICE_CHARACTERS_MAX)
    return msgspec.structs.replace(hello, session=session, device=device)


def _checked_set(message: Set) -> Set:
    if message.status is not None:
        _check_word(message.status, _ENTRY_WORDS, "status")
    _check_wall(message.since, "since")
    if message.topic is None:
        if message.meta is not None:
            raise FrameRefused(
                ErrorCode.BAD_FRAME, "set: meta belongs to a room, and topic names none"
            )
        if message.status is None:
            raise FrameRefused(
                ErrorCode.BAD_FRAME, "set: give a topic to be in a room, or a status, or both"
            )
        return message
    if message.meta is not None:
        _check_meta(message.meta)
    return msgspec.structs.replace(message, topic=room_topic(message.topic))


def _checked_intent(intent: Intent) -> Intent:
    _check_word(intent.status, _INTENT_WORDS, "status")
    _check_wall(intent.until, "until")
    return msgspec.structs.replace(
        intent,
        text=plain_text(intent.text, what="text", characters_max=TEXT_CHARACTERS_MAX),
        emoji=plain_text(intent.emoji, what="emoji", characters_max=EMOJI_CHARACTERS_MAX),
    )


def _watched(message: Sub | Unsub) -> tuple[list[str], list[str]]:
    count = len(message.topics) + len(message.users)
    if count > SUBSCRIPTIONS_PER_CONNECTION_MAX:
        raise FrameRefused(
            ErrorCode.TOO_MANY,
            f"{count} topics and users in one frame; "
            f"at most {SUBSCRIPTIONS_PER_CONNECTION_MAX} may be watched",
        )
    return split_watched(message.topics, message.users)


def _check_word(word: str, known: tuple[str, ...], what: str) -> None:
    if word not in known:
        words = ", ".join(repr(entry) for entry in known)
        raise FrameRefused(ErrorCode.BAD_FRAME, f"{what} is {word[:40]!r}; give one of {words}")


def _check_wall(wall: int | None, what: str) -> None:
    if wall is not None and not 0 <= wall <= _WALL_MS_MAX:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"{what} is {wall}; give milliseconds since 1 January 1970"
        )


def _check_meta(meta: Meta) -> None:
    size = len(_ENCODER.encode(meta))
    if size > META_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG, f"meta has {size} bytes; at most {META_BYTES_MAX} are allowed"
        )


def _at_most(text: str | None, characters_max: int, what: str) -> None:
    if text is not None and len(text) > characters_max:
        raise FrameRefused(
            ErrorCode.TOO_LONG,
            f"{what} has {len(text)} characters; at most {characters_max} are allowed",
        )


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
        return _KIND.decode(frame).type not in _SERVER_TYPES
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
