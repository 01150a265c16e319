"""What an application hears: one small value for each thing that changed.

Match on them::

    async for event in room:
        match event:
            case Join(entry=entry):
                ...
            case Leave(entry=entry, reason=reason):
                ...
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from presence_actors.core.effects import (
    CountHappened,
    InterruptionHappened,
    JoinHappened,
    LagHappened,
    LeaveHappened,
    Presence,
    RefusalHappened,
    SessionEnded,
    SnapshotCame,
    StatusHappened,
    UpdateHappened,
    ViewHappened,
    WelcomeHappened,
)
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import Entry, Quality, StatusFrame, UserStatus

__all__ = [
    "Connected",
    "Count",
    "Ended",
    "Event",
    "Interrupted",
    "Join",
    "Lagging",
    "Leave",
    "Refused",
    "RoomEvent",
    "Snapshot",
    "Status",
    "Update",
    "View",
    "status_of",
    "translate",
]


class Join(msgspec.Struct, frozen=True):
    """Somebody's device came into a room."""

    topic: str
    entry: Entry

    @property
    def user(self) -> str:
        """Whom it is about."""
        return self.entry.key


class Update(msgspec.Struct, frozen=True):
    """Somebody in a room changed status or meta."""

    topic: str
    entry: Entry
    previous: Entry

    @property
    def user(self) -> str:
        """Whom it is about."""
        return self.entry.key


class Leave(msgspec.Struct, frozen=True):
    """Somebody's device left a room.

    `reason` is `left`, `timeout`, `replaced`, `kicked`, `gateway_lost`, `retired` or `erased`. It
    is empty if the device went while this client was not connected, and nobody knows why any more.
    """

    topic: str
    entry: Entry
    reason: str

    @property
    def user(self) -> str:
        """Whom it is about."""
        return self.entry.key


class View(msgspec.Struct, frozen=True):
    """More or less of a room's truth can be seen than before."""

    topic: str
    quality: Quality
    #: Parts of the service that cannot be heard from here.
    silent: list[str]
    as_of: WallMs | None
    #: Refs of entries in doubt: neither here nor gone can be said.
    unreachable: list[str]


class Snapshot(msgspec.Struct, frozen=True):
    """A room is completely known again; what had changed meanwhile was told just before."""

    topic: str


class Count(msgspec.Struct, frozen=True):
    """Of this room only the number of users and devices is known for now."""

    topic: str
    users: int
    devices: int


class Lagging(msgspec.Struct, frozen=True):
    """This client read more slowly than news came.

    `step` is `snapshot` (it got the whole in place of what it missed), `counts` (it gets nothing of
    rooms but counts) or `whole` (it gets everything again).
    """

    step: str
    behind_ms: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a watched user shows now, on all devices together."""

    user: str
    status: UserStatus
    devices: list[str] = []
    text: str = ""
    emoji: str = ""
    since: WallMs | None = None
    #: While it is in doubt: up to when it is known.
    as_of: WallMs | None = None
    last_seen: WallMs | None = None
    reason: str | None = None
    #: What was shown before; None at first.
    previous: UserStatus | None = None


class Connected(msgspec.Struct, frozen=True):
    """The session stands; `resumed` if it is the one of before.

    Others hear nothing of an interruption that was shorter than the grace.
    """

    gateway: str
    resumed: bool


class Interrupted(msgspec.Struct, frozen=True):
    """The connection is lost and will be made again; what is known stays, and may age."""

    reason: str
    retry_ms: int


class Refused(msgspec.Struct, frozen=True):
    """After a reconnect the gateway no longer grants a room or a user that it had granted."""

    topic: str
    code: str
    message: str


class Ended(msgspec.Struct, frozen=True):
    """The session is over for good."""

    code: int
    reason: str


RoomEvent = Join | Update | Leave | View | Snapshot | Count | Refused
Event = RoomEvent | Lagging | Status | Connected | Interrupted | Ended


def translate(event: Presence) -> Event:  # noqa: C901, PLR0911  # one arm for each kind
    """The public form of what the session tells."""
    match event:
        case JoinHappened():
            return Join(event.topic, event.entry)
        case UpdateHappened():
            return Update(event.topic, event.entry, event.previous)
        case LeaveHappened():
            return Leave(event.topic, event.entry, event.reason)
        case ViewHappened():
            return View(event.topic, event.quality, event.silent, event.as_of, event.unreachable)
        case SnapshotCame():
            return Snapshot(event.topic)
        case CountHappened():
            return Count(event.topic, event.users, event.devices)
        case LagHappened():
            return Lagging(event.step, event.behind_ms)
        case StatusHappened():
            return status_of(event.status, event.previous)
        case WelcomeHappened():
            return Connected(event.gateway, event.resumed)
        case InterruptionHappened():
            return Interrupted(event.reason, event.retry_ms)
        case RefusalHappened():
            return Refused(event.topic, event.code.value, event.message)
        case SessionEnded():
            return Ended(event.code, event.reason)
        case never:
            assert_never(never)


def status_of(frame: StatusFrame, previous: UserStatus | None = None) -> Status:
    """The public form of a status frame."""
    return Status(
        user=frame.user,
        status=frame.status,
        devices=frame.devices,
        text=frame.text,
        emoji=frame.emoji,
        since=frame.since,
        as_of=frame.as_of,
        last_seen=frame.last_seen,
        reason=frame.reason,
        previous=previous,
    )
