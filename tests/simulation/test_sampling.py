"""A world that checks and encodes only a sample does what one does that spares nothing."""

from __future__ import annotations

import pytest

from presence_actors.core.ids import ConnectionId
from presence_actors.core.vocabulary import Patch
from presence_actors.errors import InvariantBroken
from presence_actors.sim.world import World
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import ROOM, W, agree, arrive, small_world, watch

pytestmark = pytest.mark.simulation


def _story(world: World) -> list[object]:
    """People change something through a cut and the death of a worker; all that is told."""
    watcher = watch(world, [1, 0], users=["alice", "bob"])
    alice, bob = arrive(world, "alice", [0]), arrive(world, "bob", [1])
    world.cut([W[0]], [W[1]])
    for count in range(5):
        alice.ask(Patch(topic=ROOM, meta={"count": count}))
        bob.ask(Patch(topic=ROOM, meta={"count": -count}))
        world.run(90)
    world.heal()
    world.drop(alice)
    world.kill(W[1], restart_after_ms=300)
    world.run(5_000)
    world.check()
    assert agree(world)
    return [client.told for client in (watcher, alice, bob)]


def test_a_sample_changes_nothing_that_anybody_is_told() -> None:
    """The same people are told the same at the same moments, whether frames are bytes or not."""
    exact = small_world()
    sampled = small_world()
    sampled.check_every, sampled.encode_every = 50, 50
    assert _story(exact) == _story(sampled)
    assert exact.events_handled == sampled.events_handled
    assert exact.frames_carried == sampled.frames_carried


def test_a_broken_invariant_is_found_by_the_sample_and_by_asking() -> None:
    """A session that names a connection that is not there: noticed late, but before long."""
    world = small_world()
    arrive(world, "alice", [0])
    world.check_every = 20
    (session,) = world.gateway(0)._holding
    session.connection = ConnectionId(99)
    world.run(1)
    with pytest.raises(InvariantBroken):
        world.check()
    with pytest.raises(InvariantBroken):
        world.run(20 * KNOBS.gateway_beat_ms)
