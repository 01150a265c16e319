"""Hand-steered scenarios for what went wrong in other presence systems.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

import pytest

from presence_actors.config import ClusterConfig
from presence_actors.core import gossip
from presence_actors.core.messages import PRESENCE
from presence_actors.core.vocabulary import Bye, Quality, UserStatus
from presence_actors.sim.world import World
from tests.simulation.short_knobs import ALL_OVER_MS, KNOBS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
    in_room,
    leaves,
    live_rows,
    place,
    replicas,
    small_world,
    statuses,
    watch,
)

pytestmark = pytest.mark.simulation

PART: int = 6


@pytest.mark.parametrize("left", [PART - 1, PART, PART + 1])
@pytest.mark.parametrize("right", [PART - 1, PART, PART + 1])
def test_two_full_replicas_that_meet_first_end_with_all_of_both(
    left: int, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas have never met, and what each holds just fits into a part, or does not (P1).

    ```
    w0  --left people--   (first contact) --parts--> left + right
    w1  --right people--                  --parts--> left + right
    ```
    """
    monkeypatch.setattr(gossip, "GOSSIP_ROWS_MAX", PART)
    config = ClusterConfig(workers=2, gateways=2, shards=1, replicas=2, knobs=KNOBS)
    world = World(config, seed=1)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(KNOBS.peer_silence_ms + 600)
    for number in range(left):
        arrive(world, f"left{number}", [0])
    for number in range(right):
        arrive(world, f"right{number}", [1])
    world.run(1_000)
    counts = [len(live_rows(world, worker, ROOM)) for worker in (0, 1)]
    assert counts == [left, right]
    first, second = (replica.maps()[PRESENCE].vector for replica in replicas(world))
    assert not {origin for origin, _ in first.items()} & {origin for origin, _ in second.items()}
    world.heal()
    world.run(2_000)
    assert [len(live_rows(world, worker, ROOM)) for worker in (0, 1)] == [left + right] * 2
    assert agree(world)


def test_each_coming_and_going_passes_a_triangle_with_one_cut_edge() -> None:
    """Whoever comes and goes at one end is seen to do so at the other, step by step (P2).

    ```
    w0 --X-- w2        w0 -- w1 -- w2: + user0, + user1, - user0, + user2, - user1 ...
    ```
    """
    world = small_world(workers=3, gateways=3)
    place(world, {0: 0, 1: 1, 2: 2})
    watcher = watch(world, [0])
    world.cut([W[0]], [W[2]])
    world.run(KNOBS.unreachable_after_ms)
    last = arrive(world, "user0", [2])
    for number in range(1, 6):
        client = arrive(world, f"user{number}", [2])
        world.run(300)
        assert in_room(watcher) == [f"user{number - 1}", f"user{number}"]
        last.ask(Bye())
        world.run(300)
        assert in_room(watcher) == [f"user{number}"]
        last = client
    world.heal()
    world.run(1_000)
    assert leaves(watcher) == [(f"user{number}", "left") for number in range(5)]
    assert in_room(watcher) == ["user5"]
    assert agree(world)


def test_who_was_at_servers_that_never_come_back_leaves_once() -> None:
    """A gateway and its worker end together; the next life of the worker is enough (P8).

    ```
    w0, g0, alice   X (both for ever)            w0' (empty)
    w1, g1  alice is there -- unreachable, no leave -----> alice leaves, once
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1], users=["alice"])
    alice = arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    assert in_room(watcher) == ["alice", "bob"]
    world.kill(G[0], restart_after_ms=None)
    world.kill(W[0], restart_after_ms=None)
    alice.vanish()
    world.run(2 * ALL_OVER_MS)
    assert leaves(watcher) == []
    assert statuses(watcher, "alice")[-1] == UserStatus.UNREACHABLE
    assert watcher.machine.view(ROOM).quality == Quality.PARTIAL
    world.start(W[0])
    world.run(2 * ALL_OVER_MS)
    assert [user for user, _ in leaves(watcher)] == ["alice"]
    assert in_room(watcher) == ["bob"]
    assert agree(world)
