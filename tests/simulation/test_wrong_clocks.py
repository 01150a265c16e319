"""Workers whose wall clock is wrong by more than `drift_ms_max`."""

from __future__ import annotations

import pytest

from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import (
    G,
    W,
    agree,
    arrive,
    home,
    in_room,
    joins,
    leaves,
    place,
    small_world,
    watch,
)

pytestmark = pytest.mark.simulation


def test_who_has_gone_on_at_another_worker_is_not_ended_by_one_whose_clock_is_behind() -> None:
    """It hears that the gateway beats there, even if it can take nothing in (seed 2652).

    ```
    w0      clock 2 s behind: refuses what w1 stamps .................. right again
    alice   g0 at w0 -> g0 at w1 .....................................................
    bob     looks at g1, at w0 ............ > unreachable_ms_max ..... alice never left
    ```
    """
    world = small_world()
    place(world, {0: 0})
    arrive(world, "alice", [0])
    world.run(500)
    world.set_clock(W[0], ahead_ms=-2_000)
    assert world.run_until(lambda: home(world, 0) == W[1], KNOBS.unreachable_ms_max)
    world.run(2_000)
    world.cut([G[1]], [W[1]])
    bob = watch(world, [1])
    assert world.run_until(lambda: home(world, 1) == W[0], KNOBS.unreachable_ms_max)
    world.run(2 * KNOBS.unreachable_ms_max)
    assert home(world, 0) == W[1]
    assert in_room(bob) == ["alice"]
    world.set_clock(W[0], ahead_ms=0)
    world.heal()
    assert world.run_until(lambda: agree(world), KNOBS.unreachable_ms_max)
    assert (joins(bob), leaves(bob)) == (["alice"], [])
