"""The gateway's machine, as far as the edge knows it."""

from __future__ import annotations

from typing import Protocol

from presence_actors.core.effects import GatewayEffect
from presence_actors.core.events import GatewayEvent
from presence_actors.core.instants import Instant, Now

__all__ = ["GatewayLike", "GatewayState"]


class GatewayState(Protocol):
    """What `inspect` of the machine gives: a Struct that says at least this."""

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        ...


class GatewayLike(Protocol):
    """The gateway's machine, as far as this driver knows it."""

    def handle(self, event: GatewayEvent, now: Now) -> list[GatewayEffect]:
        """Take one event; return what is to be done."""
        ...

    def deadline(self) -> Instant | None:
        """When to wake the machine, if ever."""
        ...

    def inspect(self) -> GatewayState:
        """Where it stands, for people."""
        ...
