"""A choice that ends by itself: whoever it hid is seen again, whatever the clocks do."""

from __future__ import annotations

import pytest

from presence_actors.core.vocabulary import Intent, UserStatus
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import G, arrive, asks, in_room, small_world, statuses, watch

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("back_ms", [4, KNOBS.gateway_tick_ms - 1, 5_000])
def test_a_clock_that_is_set_back_does_not_leave_anybody_hidden(back_ms: int) -> None:
    """The end of a choice is to come again then, and is waited for again (2026-11-24, seed 1177).

    ```
    g0's clock  ---------- set back --- the alarm rings, too early --- the end ---------->
    bob         invisible .................................................. seen again
    ```
    """
    world = small_world()
    watcher = watch(world, [1], users=["bob"])
    bob = arrive(world, "bob", [0])
    until = world.now.wall + 2_000
    asks(world, bob, Intent(id=1, status="invisible", until=until))
    assert in_room(watcher) == []
    world.set_clock(G[0], ahead_ms=-back_ms)
    world.run(2_000 + back_ms + 500)
    assert in_room(watcher) == ["bob"]
    assert statuses(watcher, "bob")[-1] == UserStatus.ONLINE


@pytest.mark.parametrize("span_ms", range(6, 30, 3))
def test_a_choice_that_is_over_before_the_next_tick_hides_nobody_for_good(span_ms: int) -> None:
    """It hid its user's entries when it came back from the replica (2026-11-24)."""
    world = small_world()
    watcher = watch(world, [1], users=["bob"])
    bob = arrive(world, "bob", [0])
    asks(world, bob, Intent(id=1, status="invisible", until=world.now.wall + span_ms))
    world.run(500)
    assert in_room(watcher) == ["bob"]
    assert statuses(watcher, "bob")[-1] == UserStatus.ONLINE
