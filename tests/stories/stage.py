"""What a story needs of the place where it is told: the simulated world, or real Ray.

A story is one text. `WorldStage` (in simulation/) tells it under the virtual clock, `RayStage` (in
integration/ray/) with actors, sockets and real time; times in a story are bounds for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from presence_actors.client.events import Event
from presence_actors.config import Knobs
from presence_actors.core.vocabulary import Entry

__all__ = ["STORY_KNOBS", "Person", "Stage"]

#: Short leases and graces, so that each is crossed within a story; the proportions are the real
#: ones.
STORY_KNOBS = Knobs(
    heartbeat_ms=1_000,
    client_lease_ms=4_000,
    grace_connection_ms=2_500,
    grace_gateway_ms=8_000,
    peer_silence_ms=2_000,
    unreachable_after_ms=4_000,
    unreachable_ms_max=40_000,
    reconnect_jitter_ms=1_500,
    reconnect_ms_max=5_000,
    startup_grace_ms=3_000,
)


class Person(Protocol):
    """Somebody with one device."""

    @property
    def name(self) -> str: ...

    @property
    def heard(self) -> list[Event]:
        """All that the device told its application, in order."""
        ...

    async def join(self, room: str, **meta: object) -> None: ...

    async def update(self, room: str, **meta: object) -> None: ...

    async def leave(self, room: str) -> None: ...

    async def observe(self, room: str) -> None: ...

    async def watch(self, *users: str) -> None: ...

    async def set_status(self, status: str) -> None: ...

    async def set_intent(self, status: str, *, text: str = "") -> None: ...

    async def drop(self) -> None:
        """The connection is lost; the device comes back by itself, at the next gateway."""
        ...

    async def freeze(self) -> None:
        """The device falls silent and keeps its connection, for good."""
        ...

    def who(self, room: str) -> dict[str, list[Entry]]: ...

    def status(self, user: str) -> str | None: ...


class Stage(Protocol):
    """A cluster of two workers, `w0` and `w1`, and two gateways, `g0` and `g1`.

    With a second zone there are `b/w0`, `b/w1`, `b/g0` and `b/g1` as well.
    """

    knobs: Knobs

    async def person(
        self,
        name: str,
        *,
        gateway: int,
        device: str = "desktop",
        zone: str = "a",
        stays: bool = False,
    ) -> Person:
        """Somebody comes to a gateway, and knows no other one if they are to stay."""
        ...

    async def until(self, what: str, condition: Callable[[], bool], *, within_ms: int) -> int:
        """Waits for the condition and returns how long it took; fails with `what` if in vain."""
        ...

    async def elapse(self, span_ms: int) -> None: ...

    async def cut(self, left: list[str], right: list[str]) -> None: ...

    async def heal(self) -> None: ...

    async def kill(self, name: str, *, hard: bool) -> None:
        """Ends a process: `hard` by kill -9, else by the means of Ray. It is started again."""
        ...

    async def drain(self, gateway: str, *, spread_ms: int) -> None:
        """Empties a gateway: its clients go elsewhere, and it takes nobody in."""
        ...

    async def end_drain(self, gateway: str) -> None:
        """It takes clients in again."""
        ...

    async def life(self, name: str) -> str:
        """The present life of a process."""
        ...

    async def homes(self, gateway: str) -> set[str]:
        """The workers that a gateway is attached to."""
        ...

    async def is_ready(self, worker: str) -> bool:
        """Whether every replica of the worker may vouch for absence."""
        ...

    async def in_contact(self) -> bool:
        """Whether every replica has just heard every other one."""
        ...

    async def replicas_agree(self) -> bool:
        """Whether the replicas of every shard hold the same rows."""
        ...

    async def sessions_at(self, gateway: str) -> int:
        """How many sessions the gateway holds."""
        ...

    async def end_zone(self, zone: str) -> None:
        """The whole zone ends, and does not come back."""
        ...

    async def retire_zone(self, zone: str) -> None:
        """An operator tells the other zone that this one will not come back."""
        ...
