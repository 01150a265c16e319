"""What storytellers need: questions to people, and waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from presence_actors.client.events import Event, Join, Leave, Status, Update, View
from tests.stories.stage import Person, Stage

__all__ = [
    "SOON_MS",
    "all_online",
    "at_home",
    "gone_after_ms",
    "is_back",
    "news_of",
    "of_kind",
    "shows",
    "statuses_of",
    "told",
    "until_all",
    "until_true",
]

E = TypeVar("E", bound=Event)

#: How long a change may take to reach a watcher on a busy machine.
SOON_MS = 5_000


def gone_after_ms(stage: Stage) -> int:
    """How long after its last beat a silent client is gone."""
    return stage.knobs.client_lease_ms + stage.knobs.grace_connection_ms


def of_kind(person: Person, kind: type[E]) -> list[E]:
    """What the person heard of one kind."""
    return [event for event in person.heard if isinstance(event, kind)]


def statuses_of(person: Person, user: str) -> list[str]:
    """What the person was told of a user, in order."""
    return [event.status for event in of_kind(person, Status) if event.user == user]


def news_of(person: Person, before: int) -> list[Event]:
    """What the person heard of others since then; the device's own connection does not count."""
    kinds = (Join, Update, Leave, Status, View)
    return [event for event in person.heard[before:] if isinstance(event, kinds)]


def told(person: Person, before: int) -> str:
    """What a failure says: where there was more than the net, all that was told shows why."""
    return "\n".join([f"{person.name} was told:", *map(repr, person.heard[before:])])


def all_online(person: Person, names: set[str]) -> bool:
    """Whether the person sees all others online."""
    return all(person.status(name) == "online" for name in names - {person.name})


def shows(person: Person, user: str, meta: dict[str, object]) -> bool:
    """Whether the person sees the user in the lobby with one device and this meta."""
    return [entry.meta for entry in person.who("lobby").get(user, ())] == [meta]


async def is_back(stage: Stage, worker: str, old: str) -> bool:
    """Whether a new life of the worker has filled itself."""
    return await stage.life(worker) not in ("", old) and await stage.is_ready(worker)


async def at_home(stage: Stage) -> None:
    """Each gateway is attached to the worker of its number, as after a start.

    One that had to leave it, in an earlier story or since the machine stood still for a moment,
    stays away; a new life of it begins there.
    """
    for gateway, worker in (("g0", "a/w0"), ("g1", "a/w1")):
        if await stage.homes(gateway) == {worker}:
            continue
        await stage.kill(gateway, hard=True)

        async def is_home(gateway: str = gateway, worker: str = worker) -> bool:
            return await stage.homes(gateway) == {worker}

        await until_true(stage, f"{gateway} is at {worker}", is_home)


async def until_all(
    stage: Stage, people: list[Person], what: str, condition: Callable[[Person], bool]
) -> None:
    """Waits until the condition holds for each of them."""
    for person in people:
        await stage.until(f"{person.name}: {what}", partial(condition, person), within_ms=SOON_MS)


async def until_true(
    stage: Stage, what: str, condition: Callable[[], Awaitable[bool]], *, within_ms: int = 20_000
) -> None:
    """Asks again and again, in steps, until the answer is yes."""
    step_ms = 100
    for _ in range(within_ms // step_ms):
        if await condition():
            return
        await stage.elapse(step_ms)
    assert await condition(), f"in vain for {within_ms} ms: {what}"
