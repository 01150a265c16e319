"""What a dialog asks its driver for: frames out, messages in."""

from __future__ import annotations

import msgspec

from presence_actors.core.values import Device, Meta
from presence_actors.core.vocabulary import ClientMessage, Identity, Talk

__all__ = ["Introduction", "Turn"]


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to tell which session a guest carries on."""

    family: str
    device: Device
    topic: str
    meta: Meta


class Turn(msgspec.Struct, kw_only=True):
    """What one frame, or one message, leads to; in this order."""

    #: To the client.
    frames: list[bytes] = []
    #: Whether those are binary frames, and no text.
    binary: bool = False
    #: Who the client is now, since it has shown a newer token.
    identity: Identity | None = None
    #: Before the first of the messages, once in a connection.
    introduction: Introduction | None = None
    #: To the machine.
    messages: list[ClientMessage | Talk] = []
