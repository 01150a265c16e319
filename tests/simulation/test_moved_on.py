"""Sessions that went on at another gateway while replicas were apart."""

from __future__ import annotations

import pytest

from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
    home,
    in_room,
    joins,
    leaves,
    live_rows,
    place,
    small_world,
    watch,
)

pytestmark = pytest.mark.simulation


def test_who_went_on_elsewhere_does_not_leave_at_a_replica_that_has_not_heard_of_it() -> None:
    """The gateway hands over what beat its entry, before what it lacks ends (seed 2018).

    ```
    w0, w1  ------ cut ------------------------------------------- heal
    alice   g0 -> g2 (resumed; known to w0 only)
    g0      given up ......... w0 lost -> attaches to w1 .......... nobody left
    ```
    """
    world = small_world(gateways=3)
    place(world, {0: 0, 1: 1, 2: 0})
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0, 2])
    world.run(500)
    assert in_room(watcher) == ["alice"]
    world.cut([W[0]], [W[1]])
    world.drop(alice)
    world.run(1_000)
    assert world.gateway(0).inspect().sessions == 0
    assert world.gateway(2).inspect().sessions == 1
    world.cut([G[0]], [W[0]])
    assert world.run_until(lambda: home(world, 0) == W[1], 9_000)
    world.run(500)
    assert in_room(watcher) == ["alice"]
    # w1 knows the newer entry from the gateway that gave up the older one.
    (row,) = live_rows(world, 1, ROOM)
    assert row.holder.startswith(G[2])
    world.heal()
    assert world.run_until(lambda: agree(world), KNOBS.unreachable_ms_max)
    assert (joins(watcher), leaves(watcher)) == (["alice"], [])
