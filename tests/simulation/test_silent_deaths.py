"""Deaths of processes that nobody hears of, to the event."""

from __future__ import annotations

import pytest

from presence_actors.core.effects import (
    JoinHappened,
    LeaveHappened,
    Presence,
    StatusHappened,
    UpdateHappened,
)
from presence_actors.sim.world import Client
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import G, W, arrive, in_room, place, small_world, watch

pytestmark = pytest.mark.simulation


def _news(client: Client, since: int) -> list[Presence]:
    kinds = (JoinHappened, LeaveHappened, UpdateHappened, StatusHappened)
    return [event for _, event in client.told[since:] if isinstance(event, kinds)]


@pytest.mark.parametrize("seed", range(5))
def test_nobody_hears_of_the_death_of_a_worker(seed: int) -> None:
    """Its gateways attach elsewhere before its silence would show.

    ```
    w0  serves g0 --X         (new life)
    w1  serves g1 ----------- serves both
    ```
    """
    world = small_world(seed=seed)
    place(world, {0: 0, 1: 1})
    people = [arrive(world, f"p{index}", [index % 2, 1 - index % 2]) for index in range(6)]
    watchers = [
        watch(world, [index], users=[f"p{n}" for n in range(6)], name=f"watcher{index}")
        for index in (0, 1)
    ]
    told = [len(watcher.told) for watcher in watchers]
    world.kill(W[0], restart_after_ms=1_500)
    world.run(10_000)
    for watcher, since in zip(watchers, told, strict=True):
        assert _news(watcher, since) == []
        assert in_room(watcher) == sorted(person.name for person in people)


@pytest.mark.parametrize("seed", range(5))
def test_nobody_hears_of_the_death_of_a_gateway(seed: int) -> None:
    """Its clients are at another one before their grace ends.

    ```
    g0  p0 ... p19 --X      (new life)
    g1  watcher ----------- p0 ... p19
    ```
    """
    world = small_world(seed=seed)
    people = [arrive(world, f"p{index:02}", [0, 1]) for index in range(20)]
    watcher = watch(world, [1], users=[person.name for person in people])
    since = len(watcher.told)
    world.kill(G[0], restart_after_ms=1_500)
    world.run(KNOBS.gateway_lease_ms + KNOBS.grace_gateway_ms + 5_000)
    assert _news(watcher, since) == []
    assert in_room(watcher) == [person.name for person in people]
