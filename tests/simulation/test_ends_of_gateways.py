"""A gateway that ends with many clients: when each of them comes back, and who hears of it."""

from __future__ import annotations

import pytest

from presence_actors.config import Knobs
from presence_actors.core.effects import InterruptionHappened
from presence_actors.core.events import DrainRequested
from presence_actors.core.limits import RETURNS_PER_SECOND
from presence_actors.core.vocabulary import Set
from tests.simulation.steering import ROOM, G, in_room, joins, leaves, small_world, watch

pytestmark = pytest.mark.simulation

#: What chance adds for each client, at most: the spread after a lost connection.
_QUICK_MS = 1_000


def test_the_clients_of_a_gateway_that_ends_come_back_in_their_slots_and_nobody_hears_of_it() -> (
    None
):
    """Each is told a time of its own, all are back within their grace, and nobody left.

    ```
    g0      300 clients X
    g1                   20 20 20 20 ... in every 50 ms, and what chance adds
    watcher (nothing) ------------------>
    ```
    """
    count = RETURNS_PER_SECOND * 3 // 4
    world = small_world(seed=11, knobs=Knobs())
    clients = [world.client(f"user{number:03}", gateways=[0, 1]) for number in range(count)]
    for client in clients:
        client.ask(Set(topic=ROOM, meta={}))
    watcher = watch(world, [1])
    assert world.run_until(lambda: len(in_room(watcher)) == count, 10_000)
    told = len(watcher.told)

    world._post(world.processes[G[0]], DrainRequested("stop", 0))
    assert world.run_until(
        lambda: all(client.link is not None and client.link[0] == G[1] for client in clients),
        10_000,
    )
    waits = [
        event.retry_ms
        for client in clients
        for _, event in client.told
        if isinstance(event, InterruptionHappened)
    ]
    assert len(waits) == count
    for index, wait_ms in enumerate(waits):
        slot_ms = index * 1_000 // RETURNS_PER_SECOND
        assert slot_ms - 50 <= wait_ms <= slot_ms + _QUICK_MS + 50
    world.run(Knobs().grace_gateway_ms)
    assert len(in_room(watcher)) == count
    assert joins(watcher)[count:] == []
    assert leaves(watcher) == []
    assert len(watcher.told) - told <= 1
