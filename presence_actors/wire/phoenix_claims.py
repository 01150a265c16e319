"""What a Phoenix client says of itself: where it connects, in what it shows, and when it closes."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from typing import Final, Self, cast

import msgspec

from presence_actors.core.limits import DEVICE_CHARACTERS_MAX, META_BYTES_MAX, META_DEPTH_MAX
from presence_actors.core.values import Device, Meta
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.identifiers import plain_text
from presence_actors.wire.phoenix_presence import cleaned
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "PROTOCOL",
    "Claims",
    "bearer_in",
    "check_readable",
    "checked_meta",
    "fields_of",
    "says_goodbye",
    "takes_small_frames_only",
]

#: The subprotocol that we answer with, and the prefix of the one that carries a token.
PROTOCOL: Final = "phoenix"
_BEARER_PREFIX: Final = "base64url.bearer.phx."
_TOKEN_CHARACTERS_MAX: Final = 16 * 1024

_DEVICE_DEFAULT: Final = "web"
_HEARTBEAT_DEAD: Final = "heartbeat timeout"
_CLOSE_NONE: Final = (0, 1005)
_CLOSE_NORMAL: Final = 1000
#: Parameters that differ from one attempt to the next, or say nothing of the device.
_PASSING: Final = frozenset({"apikey", "token", "vsn"})
_INTEGER_MAX: Final = (1 << 63) - 1
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What the parameters of the socket's address say of the client."""

    device: Device
    #: What the client is to be known by, if it says so itself.
    device_id: str
    #: All of its parameters that stay the same from one attempt to the next.
    lasting: list[tuple[str, str]]
    #: What it shows in rooms for which it says nothing else.
    meta: Meta

    @classmethod
    def of(cls, params: Mapping[str, str]) -> Self:
        """What these parameters say.

        Raises:
            FrameRefused: One of them cannot be taken.
        """
        device = plain_text(
            params.get("device", _DEVICE_DEFAULT),
            what="device",
            characters_max=DEVICE_CHARACTERS_MAX,
        )
        meta = {
            name.removeprefix("meta[").removesuffix("]"): value
            for name, value in params.items()
            if name.startswith("meta[") and name.endswith("]")
        }
        return cls(
            device=device or _DEVICE_DEFAULT,
            device_id=params.get("device_id", ""),
            lasting=sorted((name, value) for name, value in params.items() if name not in _PASSING),
            meta=checked_meta(meta),
        )

    def family(self, key: str = "") -> str:
        """A digest of what the client says of itself whenever it comes; see core/guests.py.

        With a `key` by which the client calls itself, that counts, unless it has a `device_id`.
        """
        words: object = ["key", key] if key else ["params", self.lasting]
        if self.device_id:
            words = ["id", self.device_id]
        return hashlib.blake2b(_ENCODER.encode(words), digest_size=12).hexdigest()


def bearer_in(offered: list[str]) -> str | None:
    """The token in the offered subprotocols; None if there is none that can be read.

    >>> bearer_in(["phoenix", "base64url.bearer.phx.ZGV2OmFsaWNl"])
    'dev:alice'
    """
    for word in offered:
        encoded = word.removeprefix(_BEARER_PREFIX)
        if encoded == word or len(encoded) > _TOKEN_CHARACTERS_MAX:
            continue
        try:
            # Despite its name the stock client's is the standard alphabet, without padding.
            standard = encoded.replace("-", "+").replace("_", "/") + "=" * (-len(encoded) % 4)
            return base64.b64decode(standard, validate=True).decode() or None
        except ValueError:
            continue
    return None


def says_goodbye(code: int, reason: str) -> bool:
    """Whether a client that closes like this is gone for good, so that no grace is due.

    Without a code is how `disconnect()` closes. 1000 is a goodbye, too, except when a client so
    gives up a connection that it takes for dead; 1001 is a tab that closes, or reloads.

    >>> says_goodbye(1005, ""), says_goodbye(1000, "heartbeat timeout"), says_goodbye(1001, "")
    (True, False, False)
    """
    return code in _CLOSE_NONE or (code == _CLOSE_NORMAL and reason != _HEARTBEAT_DEAD)


def takes_small_frames_only(agent: str) -> bool:
    """Whether a client that calls its program so closes the connection at a frame above 1 MiB.

    That is what Python's `websockets` does, with which the stock clients for Python connect.

    >>> takes_small_frames_only("Python/3.11 websockets/15.0.1"), takes_small_frames_only("Mozilla")
    (True, False)
    """
    return " websockets/" in f" {agent}"


def fields_of(value: object, what: str) -> dict[str, object]:
    """The fields of a JSON object; raises `FrameRefused` if it is none."""
    if not isinstance(value, dict):
        raise FrameRefused(ErrorCode.BAD_FRAME, f"{what} must be an object")
    return cast("dict[str, object]", value)


def checked_meta(value: object) -> Meta:
    """A meta that may be shown.

    Raises:
        FrameRefused: It is no object, or too large, or holds what others could not read.
    """
    meta = cleaned(fields_of(value, "a meta"))
    size = len(_ENCODER.encode(meta))
    if size > META_BYTES_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG, f"a meta has {size} bytes; at most {META_BYTES_MAX} are allowed"
        )
    check_readable(meta, "a meta", depth_max=META_DEPTH_MAX)
    return meta


def check_readable(value: object, what: str, *, depth_max: int) -> None:
    """Raises `FrameRefused` for JSON that the parser of another client may stumble over."""
    level: list[object] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > depth_max:
            raise FrameRefused(
                ErrorCode.BAD_FRAME, f"{what} is nested more than {depth_max} levels deep"
            )
        members = [member for container in level for member in _members(container)]
        if not all(_is_sound(member) for member in members):
            raise FrameRefused(
                ErrorCode.BAD_FRAME, f"a number in {what} is infinite or has more than 64 bits"
            )
        level = [member for member in members if isinstance(member, dict | list)]


def _members(container: object) -> list[object]:
    if isinstance(container, dict):
        return list(cast("dict[str, object]", container).values())
    return cast("list[object]", container)


def _is_sound(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_INTEGER_MAX <= value <= _INTEGER_MAX
