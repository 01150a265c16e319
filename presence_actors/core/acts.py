"""What an app server, or a client without a socket, wants done: one request over HTTP each.

Every act may be said again with the same effect as once.
"""

from __future__ import annotations

import msgspec

from presence_actors.core.ids import SessionId, Topic, UserId
from presence_actors.core.values import Device, Meta
from presence_actors.core.vocabulary import Intent

__all__ = ["Act", "Choose", "Kick", "Publish", "Withdraw", "carried_session"]

_CARRIED = "beat-"


def carried_session(name: str) -> SessionId:
    """The session id of a device that posts; apart from those that gateways give out.

    >>> carried_session("door-3")
    'beat-door-3'
    """
    return SessionId(_CARRIED + name)


class Kick(msgspec.Struct, frozen=True, tag=True):
    """End the sessions that a user has now; or only the one that an entry with this ref is of."""

    user: UserId
    ref: str | None = None
    #: Why, in words for the user.
    text: str = ""


class Choose(msgspec.Struct, frozen=True, tag=True):
    """Choose for a user what is shown on all devices."""

    user: UserId
    intent: Intent


class Publish(msgspec.Struct, frozen=True, tag=True):
    """A device without a socket is here, with these rooms and no others, until its lease ends."""

    user: UserId
    session: SessionId
    status: str
    device: Device
    #: {topic as clients spell it: meta}
    rooms: dict[str, Meta]
    lease_ms: int

    def topics(self, namespace: str) -> dict[Topic, Meta]:
        """The rooms by their full names."""
        return {Topic(f"{namespace}/{name}"): meta for name, meta in self.rooms.items()}


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """A device without a socket is here no longer."""

    user: UserId
    session: SessionId


Act = Kick | Choose | Publish | Withdraw
