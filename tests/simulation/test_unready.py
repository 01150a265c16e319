"""What a gateway says of a user whose choice it cannot know yet."""

from __future__ import annotations

import pytest

from presence_actors.config import ClusterConfig
from presence_actors.core.ids import Topic, user_topic
from presence_actors.core.placement import shard_of
from presence_actors.core.vocabulary import Bye, Intent, UserStatus
from presence_actors.sim.world import World
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import (
    G,
    W,
    arrive,
    asks,
    home,
    in_room,
    joins,
    leaves,
    place,
    small_world,
    statuses,
    watch,
)

pytestmark = pytest.mark.simulation


def test_an_empty_replica_shows_nobody_who_may_be_invisible() -> None:
    """A replica that knows no choice does not know that there is none (2026-11-24).

    ```
    w0  --X (new life, empty) x---- cut ----x   bob connects: not seen ......... heal: not seen
    w1      bob is invisible  x             x
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    bob = arrive(world, "bob", [1])
    asks(world, bob, Intent(id=1, status="invisible"))
    bob.vanish()
    world.run(500)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.kill(W[0], restart_after_ms=100)
    world.run(1_500)
    watcher = watch(world, [0], users=["bob"])
    arrive(world, "bob", [0], device="mobile")
    world.run(3_000)
    assert joins(watcher) == []
    world.heal()
    world.run(3_000)
    assert joins(watcher) == []
    assert in_room(watcher) == []
    assert set(statuses(watcher, "bob")) <= {UserStatus.UNKNOWN, UserStatus.OFFLINE}


def test_who_comes_back_while_the_choice_is_unknown_stays_seen() -> None:
    """Unsure of the choice, the replica keeps to what was seen of the session before.

    ```
    g1  x-- cannot reach the shard of alice --x
    g1      alice comes back here             :  nobody in the room hears of it
    ```
    """
    world = World(ClusterConfig(shards=2, replicas=1, knobs=KNOBS), seed=1)
    world.run(600)
    shard = shard_of(user_topic("default", "alice"), shards=2)
    room = next(
        name
        for name in ("room:a", "room:b", "room:c", "room:d")
        if shard_of(Topic(f"default/{name}"), shards=2) != shard
    )
    watcher = watch(world, [0], topics=[room])
    alice = arrive(world, "alice", [0, 1], room)
    assert in_room(watcher, room) == ["alice"]
    far = world.gateway(1).inspect().attachments[shard].worker
    assert far is not None
    world.cut([G[1]], [far])
    world.drop(alice)
    world.run(KNOBS.grace_connection_ms + 2_000)
    assert world.gateway(1).inspect().sessions == 1
    assert in_room(watcher, room) == ["alice"]
    assert (joins(watcher), leaves(watcher)) == (["alice"], [])


def test_an_empty_replica_makes_nobody_offline_before_it_has_said_that_it_is_empty() -> None:
    """What the last replica vouched for, the next one does not (2026-11-24, seed 1197).

    ```
    w0, w1  --X  (both start anew, empty)  --attached-->  X (lost for 100 ms)  --not ready-->
    g0      alice is unknown ............................................... unknown, then back
    ```
    """
    world = small_world()
    watcher = watch(world, [0], users=["alice"])
    alice = arrive(world, "alice", [1])
    alice.ask(Bye())
    world.run(300)
    for worker in W[:2]:
        world.kill(worker, restart_after_ms=KNOBS.unreachable_after_ms + 1_000)
    assert world.run_until(lambda: statuses(watcher, "alice")[-1] == UserStatus.UNKNOWN, 9_000)
    told = len(statuses(watcher, "alice"))
    assert world.run_until(lambda: home(world, 0) is not None, 9_000)
    world.cut([G[0]], W[:2])
    world.run(100)
    assert statuses(watcher, "alice")[told:] == []
    world.heal()
    assert world.run_until(lambda: world.gateway(0).ready, 9_000)
    world.run(300)
    assert statuses(watcher, "alice")[told:] == [UserStatus.OFFLINE]
