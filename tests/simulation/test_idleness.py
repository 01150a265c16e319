"""Devices that nobody uses show `away`, and stay so through a reconnect."""

from __future__ import annotations

import pytest

from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.vocabulary import Patch, UserStatus
from presence_actors.sim.world import World
from tests.simulation.steering import ROOM, arrive, statuses, watch

pytestmark = pytest.mark.simulation


def _idle_world() -> World:
    world = World(ClusterConfig(shards=4, knobs=Knobs(auto_away_ms=60_000)), seed=1)
    world.run(2_000)
    return world


def test_a_device_that_nobody_uses_shows_away_until_it_is_used() -> None:
    """Beats are no use: a program can beat while its user is at lunch."""
    world = _idle_world()
    watcher = watch(world, [0], users=["alice"])
    alice = arrive(world, "alice", [1])
    world.run(59_000)
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    world.run(2_000)
    assert statuses(watcher, "alice")[-1] == UserStatus.AWAY
    alice.ask(Patch(topic=ROOM, meta={"typing": True}))
    world.run(500)
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE


def test_who_is_away_by_idleness_stays_away_through_a_reconnect() -> None:
    """The client tells the next gateway how long nobody has used the device.

    ```
    g1  alice: online ... away --X
    g0                           alice: away (nobody hears anything)
    ```
    """
    world = _idle_world()
    watcher = watch(world, [0], users=["alice"])
    alice = arrive(world, "alice", [1, 0])
    world.run(65_000)
    assert statuses(watcher, "alice")[-1] == UserStatus.AWAY
    told = len(watcher.told)
    world.drop(alice)
    world.run(30_000)
    assert len(watcher.told) == told


def test_a_second_device_that_is_used_keeps_its_user_online() -> None:
    """The most available device shows."""
    world = _idle_world()
    watcher = watch(world, [0], users=["alice"])
    arrive(world, "alice", [1])
    phone = arrive(world, "alice", [0], device="mobile")
    for _ in range(4):
        world.run(20_000)
        phone.ask(Patch(topic=ROOM, meta={"typing": True}))
    world.run(500)
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    assert UserStatus.AWAY not in statuses(watcher, "alice")
