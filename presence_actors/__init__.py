"""presence-actors: who is here right now, honest when networks break.

The public API is what this module names. It is loaded on first use, so that a program which needs
one part does not load the others; nothing here loads Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presence_actors.client import (
        Connected,
        Count,
        Ended,
        Event,
        EventStream,
        Interrupted,
        Join,
        Lagging,
        Leave,
        PresenceClient,
        Refused,
        Room,
        RoomEvent,
        Snapshot,
        Status,
        Update,
        View,
        Watch,
        connect,
    )
    from presence_actors.config import Knobs
    from presence_actors.core.vocabulary import Entry, Quality, UserStatus
    from presence_actors.errors import (
        ConfigError,
        GatewayBusy,
        LocalProtocolError,
        PresenceError,
        ProtocolError,
        RemoteProtocolError,
        SessionLost,
        Unavailable,
        UsageError,
    )

__all__ = [
    "ConfigError",
    "Connected",
    "Count",
    "Ended",
    "Entry",
    "Event",
    "EventStream",
    "GatewayBusy",
    "Interrupted",
    "Join",
    "Knobs",
    "Lagging",
    "Leave",
    "LocalProtocolError",
    "PresenceClient",
    "PresenceError",
    "ProtocolError",
    "Quality",
    "Refused",
    "RemoteProtocolError",
    "Room",
    "RoomEvent",
    "SessionLost",
    "Snapshot",
    "Status",
    "Unavailable",
    "Update",
    "UsageError",
    "UserStatus",
    "View",
    "Watch",
    "connect",
]

_HOMES = ("client", "core.vocabulary", "errors", "config")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"{__name__}.{home}")
            if name in vars(module):
                found: object = getattr(module, name)
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
