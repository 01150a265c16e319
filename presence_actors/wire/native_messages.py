"""What a client may say in the native protocol, judged from the fields of a frame.

The same for each encoding of the frames: `wire.native` reads JSON, `wire.native_msgpack` reads
MessagePack, and both hand a dictionary to `message_of`.
"""

from __future__ import annotations

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
    KeyRange,
    Patch,
    Ping,
    Set,
    Sub,
    Unset,
    Unsub,
)
from presence_actors.wire.identifiers import (
    identifier,
    plain_text,
    room_topic,
    split_watched,
)
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "CURSOR_CHARACTERS_MAX",
    "SERVER_TYPES",
    "VERSION",
    "NamedTwice",
    "check_size",
    "closing_code",
    "is_sound",
    "message_of",
    "once",
]

#: The number in the names of the subprotocols; a `hello` may repeat it in `version`.
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

SERVER_TYPES: Final = frozenset(
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
    ErrorCode.KICKED: 4403,
}


def closing_code(code: ErrorCode) -> int | None:
    """The code with which a connection is closed after this error; None: it is kept."""
    return _CLOSING.get(code)


class NamedTwice(ValueError):
    """A field that comes twice in one object: readers disagree on which one counts."""


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these fields, for a parser's hook; raises `NamedTwice`."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise NamedTwice(repr(next(name for name in names if names.count(name) > 1)[:40]))
    return fields


def check_size(data: bytes) -> None:
    """Raises `FrameRefused` for a frame that is too big to be read."""
    if len(data) > CLIENT_FRAME_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_BIG,
            f"the frame has {len(data)} bytes; at most {CLIENT_FRAME_BYTES_MAX} are allowed",
        )


def message_of(fields: dict[str, object]) -> ClientMessage | None:
    """What the fields of a frame say; None if the client says that it need not be understood.

    Ids come back in their one spelling, topics with their prefix.

    Raises:
        FrameRefused: They cannot be taken; says why, for programs and for people.
    """
    _check_values(fields)
    request = _request_id(fields)
    try:
        return _message(fields)
    except FrameRefused as refused:
        refused.id = request
        raise


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
                elif not is_sound(value):
                    raise FrameRefused(
                        ErrorCode.BAD_FRAME,
                        "a number is infinite or has more than 64 bits",
                        _request_id(fields),
                    )
        level = below
        depth += 1


def is_sound(value: object) -> bool:
    """Whether JavaScript and MessagePack can both hold a number; anything else is sound."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_INTEGER_MAX <= value <= _INTEGER_MAX


def _request_id(fields: dict[str, object]) -> int | str | None:
    request = fields.get("id")
    if isinstance(request, bool) or not isinstance(request, int | str):
        return None
    if isinstance(request, str) and len(request) > ID_CHARACTERS_MAX:
        return None
    return request if is_sound(request) else None


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
            f"connect with the subprotocol presence.v{VERSION}.json or presence.v{VERSION}.msgpack",
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
            keys = None if message.keys is None else _checked_range(message.keys)
            return msgspec.structs.replace(message, topics=rooms, users=users, keys=keys)
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


def _checked_range(keys: KeyRange) -> KeyRange:
    start = keys.start and identifier(keys.start, what="keys.start")
    end = None if keys.end is None else identifier(keys.end, what="keys.end")
    if end is not None and end <= start:
        raise FrameRefused(ErrorCode.BAD_FRAME, "keys: end is not behind start, so nobody is there")
    return KeyRange(start=start, end=end)


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
    # In JSON whatever the frame is in: one limit for all clients of a room.
    size = len(msgspec.json.encode(meta))
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
