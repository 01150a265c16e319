"""The internal vocabulary of clients: what any protocol adapter translates to and from.

`ClientMessage` is what a client asks, `ServerMessage` what it hears; the native protocol, and later
Phoenix Channels and Supabase, are pure translations of these. Topics here are as clients spell them
(``room:lobby``, ``user:alice``): the gateway adds the namespace of the token.

Names of fields are the names on the native wire.
"""

from __future__ import annotations

import enum

import msgspec

from presence_actors.core.ids import Namespace, SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.policy import Scope
from presence_actors.core.values import Meta

__all__ = [
    "Broadcast",
    "Bye",
    "ClientMessage",
    "CloseCode",
    "Count",
    "Diff",
    "Entry",
    "Err",
    "ErrorCode",
    "Goaway",
    "Hello",
    "Identity",
    "Intent",
    "KeyRange",
    "Lag",
    "Leave",
    "Listen",
    "Ok",
    "Patch",
    "Ping",
    "Pong",
    "Quality",
    "ServerMessage",
    "Set",
    "Snap",
    "StatusFrame",
    "Sub",
    "Talk",
    "Unlisten",
    "Unset",
    "Unsub",
    "UserStatus",
    "ViewFrame",
    "Welcome",
]


class Identity(msgspec.Struct, frozen=True):
    """Who a connection is, as its verified token says."""

    namespace: Namespace
    user: UserId
    #: When the token ends, or None.
    expires: WallMs | None = None
    #: What it may do to others; nobody but an app server has any.
    scopes: tuple[Scope, ...] = ()


class ErrorCode(enum.StrEnum):
    """Why something was refused. `closing_code` tells which of them end the connection."""

    BAD_FRAME = "bad_frame"
    UNKNOWN_TYPE = "unknown_type"
    NOT_JOINED = "not_joined"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    STALE = "stale"
    BAD_VERSION = "bad_version"
    UNAUTHORIZED = "unauthorized"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  # a code, not a secret
    TOO_BIG = "too_big"
    KICKED = "kicked"


class CloseCode(enum.IntEnum):
    """With what a gateway closes: 44xx is final, 45xx may be tried again later."""

    DRAIN = 1012
    BAD = 4400
    UNAUTHORIZED = 4401
    KICKED = 4403
    REPLACED = 4409
    IDLE = 4508
    TOO_SLOW = 4513


class Quality(enum.StrEnum):
    """How much of the truth a view can hold."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    STARTING = "starting"


class UserStatus(enum.StrEnum):
    """What a user shows: the fold of the live entries and the intent."""

    ONLINE = "online"
    AWAY = "away"
    DND = "dnd"
    OFFLINE = "offline"
    #: The home or holder of all its entries cannot be heard: neither online nor offline.
    UNREACHABLE = "unreachable"
    #: This replica has not synchronised yet.
    UNKNOWN = "unknown"


# --- what a client asks -------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello", kw_only=True, omit_defaults=True):
    """The first frame. A resuming client names its session and counts its attempts.

    `idle_ms` is how long nobody has used the device: whoever was away by that stays away.
    """

    token: str | None = None
    session: SessionId | None = None
    resume: int = 0
    device: str = "desktop"
    status: str = "online"
    idle_ms: int = 0
    caps: list[str] = []


class KeyRange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The users from `start` on, and before `end`, in the order of code points; ends may be open.

    >>> keys = KeyRange(start="b", end="d")
    >>> [name for name in ("a", "b", "caro", "d") if name in keys]
    ['b', 'caro']
    """

    start: str = ""
    end: str | None = None

    def __contains__(self, key: str) -> bool:
        """Whether the user is one of them."""
        return self.start <= key and (self.end is None or key < self.end)


class Sub(msgspec.Struct, frozen=True, tag="sub", kw_only=True, omit_defaults=True):
    """Watch rooms and users. With a cursor, only what changed since comes.

    With `counts`, of rooms only how many are in them; with `keys`, only these users.
    """

    id: int | str | None = None
    topics: list[str] = []
    users: list[str] = []
    cursor: str | None = None
    counts: bool = False
    keys: KeyRange | None = None


class Unsub(msgspec.Struct, frozen=True, tag="unsub", kw_only=True, omit_defaults=True):
    """Stop watching."""

    id: int | str | None = None
    topics: list[str] = []
    users: list[str] = []


class Set(msgspec.Struct, frozen=True, tag="set", kw_only=True, omit_defaults=True):
    """Be in a room with this meta (join or replace); without a topic, set the device's status.

    A resuming client repeats `since` from the `ok` of its first join.
    """

    id: int | str | None = None
    topic: str | None = None
    meta: Meta | None = None
    status: str | None = None
    since: int | None = None


class Patch(msgspec.Struct, frozen=True, tag="patch", kw_only=True, omit_defaults=True):
    """Change one's meta in a room by a JSON merge patch (RFC 7396)."""

    topic: str
    meta: Meta
    id: int | str | None = None


class Unset(msgspec.Struct, frozen=True, tag="unset", kw_only=True, omit_defaults=True):
    """Leave a room, at once and without grace."""

    topic: str
    id: int | str | None = None


class Intent(msgspec.Struct, frozen=True, tag="intent", kw_only=True, omit_defaults=True):
    """What the user chooses to show on all devices; an empty status takes the choice back."""

    id: int | str | None = None
    status: str = ""
    text: str = ""
    emoji: str = ""
    until: int | None = None


class Ping(msgspec.Struct, frozen=True, tag="ping", kw_only=True, omit_defaults=True):
    """A heartbeat; `t` comes back in the pong."""

    t: int | float | None = None


class Listen(msgspec.Struct, frozen=True, tag="listen", kw_only=True, omit_defaults=True):
    """Hear what others say in a room; who is there is another matter (`Sub`)."""

    topic: str
    id: int | str | None = None


class Unlisten(msgspec.Struct, frozen=True, tag="unlisten", kw_only=True, omit_defaults=True):
    """Hear it no more."""

    topic: str


class Broadcast(msgspec.Struct, frozen=True, tag="broadcast", kw_only=True, omit_defaults=True):
    """Say something to all who listen in a room now; it is kept nowhere.

    Granted means that it was taken, not that anybody heard it.
    """

    topic: str
    event: str
    #: JSON, or any bytes if `binary`.
    payload: bytes
    binary: bool = False
    #: Whether the sender's own connection hears it, too.
    echo: bool = False
    id: int | str | None = None


class Bye(msgspec.Struct, frozen=True, tag="bye", kw_only=True):
    """Leave everything now, without grace."""


ClientMessage = Hello | Sub | Unsub | Set | Patch | Unset | Intent | Ping | Bye
#: What clients say to each other; the native protocol has no words for it.
Talk = Listen | Unlisten | Broadcast


# --- what a client hears ------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device of one user in one room, as subscribers see it.

    `ref` is the same at every gateway and through every reconnect of the device.
    """

    ref: str
    key: UserId
    status: str
    device: str
    since: WallMs
    meta: Meta


class Leave(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of an entry, and why."""

    ref: str
    key: UserId
    reason: str


class Welcome(msgspec.Struct, frozen=True, tag="welcome", kw_only=True, omit_defaults=True):
    """The session stands; what it may expect and must do."""

    session: SessionId
    user: UserId
    resume: int
    since: WallMs
    heartbeat_ms: int
    lease_ms: int
    grace_ms: int
    grace_gateway_ms: int
    server_ms: WallMs
    gateway: str
    gateways: list[str] = []
    caps: list[str] = []


class Ok(msgspec.Struct, frozen=True, tag="ok", kw_only=True, omit_defaults=True):
    """Done. For a `set` of a room, `since` is when the entry began."""

    id: int | str
    since: WallMs | None = None


class Err(msgspec.Struct, frozen=True, tag="err", kw_only=True, omit_defaults=True):
    """Refused: a code for programs and a sentence for people."""

    code: ErrorCode
    message: str
    id: int | str | None = None
    retry_after_ms: int | None = None


class Snap(msgspec.Struct, frozen=True, tag="snap", kw_only=True, omit_defaults=True):
    """Who is in a room: the whole, in parts; the diffs that follow continue from the last part."""

    topic: str
    state: list[Entry]
    part: int = 0
    last: bool = True
    cursor: str | None = None


class Diff(msgspec.Struct, frozen=True, tag="diff", kw_only=True, omit_defaults=True):
    """The net change of a room since the last frame about it.

    With `resumed`, it is what changed since the client's cursor: an entry in `updates` may be new
    to the client, and a leave may name an entry it never saw. With `check`, the client's picture is
    right if the exclusive or of its refs is equal to it; if not, only a snapshot can tell.
    """

    topic: str
    joins: list[Entry] = []
    updates: list[Entry] = []
    leaves: list[Leave] = []
    resumed: bool = False
    cursor: str | None = None
    check: str | None = None


class Count(msgspec.Struct, frozen=True, tag="count", kw_only=True, omit_defaults=True):
    """How many are in a room, for those who asked for no more, or cannot read more."""

    topic: str
    users: int
    devices: int


class Lag(msgspec.Struct, frozen=True, tag="lag", kw_only=True, omit_defaults=True):
    """The client was behind with reading: what it gets from now on."""

    step: str
    #: For how long it was behind.
    behind_ms: int = 0


class StatusFrame(msgspec.Struct, frozen=True, tag="status", kw_only=True, omit_defaults=True):
    """What a watched user shows now."""

    user: UserId
    status: UserStatus
    devices: list[str] = []
    text: str = ""
    emoji: str = ""
    since: WallMs | None = None
    as_of: WallMs | None = None
    last_seen: WallMs | None = None
    reason: str | None = None


class ViewFrame(msgspec.Struct, frozen=True, tag="view", kw_only=True, omit_defaults=True):
    """How much of a room's truth can be seen from here, and which entries are in doubt."""

    scope: str
    quality: Quality
    silent: list[str] = []
    as_of: WallMs | None = None
    unreachable: list[str] = []


class Pong(msgspec.Struct, frozen=True, tag="pong", kw_only=True, omit_defaults=True):
    """The answer to a ping."""

    t: int | float | None
    server_ms: WallMs


class Goaway(msgspec.Struct, frozen=True, tag="goaway", kw_only=True, omit_defaults=True):
    """This gateway will close the connection: go to another one.

    After `retry_in_ms`, which is for this client and a few others, and a random time of up to
    `jitter_ms`.
    """

    reason: str
    in_ms: int = 0
    retry_in_ms: int = 0
    jitter_ms: int = 0
    gateways: list[str] = []


ServerMessage = (
    Welcome | Ok | Err | Snap | Diff | Count | Lag | StatusFrame | ViewFrame | Pong | Goaway
)
