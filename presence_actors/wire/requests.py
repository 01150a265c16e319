"""The bodies of requests over HTTP: JSON objects, judged as the frames that would ask the same.

Unlike frames they are refused for a field that is not known: whoever writes a request by hand
learns of a slip of the pen at once, and nothing is done by half.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import msgspec

from presence_actors.config import parse_duration
from presence_actors.core.acts import Publish, carried_session
from presence_actors.core.ids import SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import (
    CARRIED_LEASE_MS_MAX,
    CARRIED_LEASE_MS_MIN,
    CLIENT_FRAME_BYTES_MAX,
    ID_CHARACTERS_MAX,
    ROOMS_PER_SESSION_MAX,
    TEXT_CHARACTERS_MAX,
)
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import ErrorCode, Hello, Intent, Set
from presence_actors.errors import ConfigError
from presence_actors.wire.identifiers import plain_text
from presence_actors.wire.native import decode_client, encode_client
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "HeartbeatBody",
    "IntentBody",
    "PresenceBody",
    "decode_body",
    "heartbeat_of",
    "intent_of",
    "kick_text",
    "presence_of",
    "ref_of",
    "session_named",
]

Body = TypeVar("Body", bound=msgspec.Struct)

_REF_CHARACTERS: Final = 16


class PresenceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device without a socket shows; all of it, so what is not named is not so."""

    rooms: dict[str, Meta] = {}
    status: str = "online"
    device: str = "web"
    #: How long this holds if nothing more comes; such as `90s`. Default: three beats.
    lease: str | None = None


class HeartbeatBody(PresenceBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, said by the device itself."""

    #: What the device calls itself among those of its user, always the same.
    session: str


class IntentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user shows on all devices; an empty status takes the choice back."""

    status: str
    text: str = ""
    emoji: str = ""
    #: When it ends by itself: a time, or from now on, such as `30m`. Never both.
    until: int | None = None
    lasting: str | None = msgspec.field(default=None, name="for")


def decode_body(data: bytes, kind: type[Body]) -> Body:
    """A body of this kind.

    Raises:
        FrameRefused: It is none, or too big to be read.
    """
    if len(data) > CLIENT_FRAME_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_BIG,
            f"the body has more than {CLIENT_FRAME_BYTES_MAX} bytes, which is all that is allowed",
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, f"the body: {error}") from error


def presence_of(body: PresenceBody, user: UserId, session: str, *, lease_ms: int) -> Publish:
    """What the body of a device asks.

    Args:
        body: What it shows.
        user: Whose it is.
        session: What the device calls itself.
        lease_ms: How long it holds where the body does not say.

    Raises:
        FrameRefused: It cannot be asked so.
    """
    if len(body.rooms) > ROOMS_PER_SESSION_MAX:
        raise FrameRefused(
            ErrorCode.TOO_MANY,
            f"{len(body.rooms)} rooms; at most {ROOMS_PER_SESSION_MAX} are allowed",
        )
    hello = Hello(session=SessionId(session), device=body.device, status=body.status)
    checked = cast("Hello", decode_client(encode_client(hello)))
    rooms: dict[str, Meta] = {}
    for name, meta in body.rooms.items():
        found = cast("Set", decode_client(encode_client(Set(topic=name, meta=meta))))
        if str(found.topic) in rooms:
            raise FrameRefused(ErrorCode.BAD_FRAME, f"the room {found.topic} is named twice")
        rooms[str(found.topic)] = found.meta or {}
    if body.lease is not None:
        lease_ms = _span("lease", body.lease)
        if not CARRIED_LEASE_MS_MIN <= lease_ms <= CARRIED_LEASE_MS_MAX:
            raise FrameRefused(
                ErrorCode.BAD_FRAME,
                f"lease is {lease_ms} ms; give {CARRIED_LEASE_MS_MIN} to {CARRIED_LEASE_MS_MAX} ms",
            )
    named = carried_session(str(checked.session))
    return Publish(user, named, checked.status, checked.device, rooms, lease_ms)


def session_named(name: str) -> SessionId:
    """The session of a device that calls itself so.

    Raises:
        FrameRefused: None can.
    """
    hello = cast("Hello", decode_client(encode_client(Hello(session=SessionId(name)))))
    return carried_session(str(hello.session))


def heartbeat_of(body: HeartbeatBody, user: UserId, *, lease_ms: int) -> Publish:
    """What a device asks for itself.

    Raises:
        FrameRefused: It cannot be asked so.
    """
    return presence_of(body, user, body.session, lease_ms=lease_ms)


def intent_of(body: IntentBody, wall: WallMs) -> Intent:
    """The choice that a body asks for.

    Raises:
        FrameRefused: It cannot be chosen.
    """
    until = body.until
    if body.lasting is not None:
        if until is not None:
            raise FrameRefused(ErrorCode.BAD_FRAME, "give until, or for, not both")
        until = wall + _span("for", body.lasting)
    status = "" if body.status == "online" else body.status
    intent = Intent(status=status, text=body.text, emoji=body.emoji, until=until)
    return cast("Intent", decode_client(encode_client(intent)))


def kick_text(text: str | None) -> str:
    """Why, in words for the user.

    Raises:
        FrameRefused: They cannot be shown.
    """
    return plain_text(text or "", what="reason", characters_max=TEXT_CHARACTERS_MAX)


def ref_of(text: str) -> str:
    """The ref of an entry, as answers have it.

    Raises:
        FrameRefused: It is none.
    """
    if len(text) != _REF_CHARACTERS or not set(text) <= set("0123456789abcdef"):
        raise FrameRefused(
            ErrorCode.BAD_FRAME,
            f"{text[:ID_CHARACTERS_MAX]!r} is no ref; give that of an entry, such as "
            "0123456789abcdef",
        )
    return text


def _span(name: str, text: str) -> int:
    try:
        return parse_duration(name, text[:40])
    except ConfigError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, str(error)) from error
