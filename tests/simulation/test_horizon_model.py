"""What the model of the horizon found (`tests/model`), told with whole replicas.

Each story is the history of a rule of decision 13 in `tests/model/histories.py`.
"""

from __future__ import annotations

import pytest

from presence_actors.core import gossip
from presence_actors.core.messages import PRESENCE
from presence_actors.core.vocabulary import Bye, Set
from presence_actors.sim.client import Client
from presence_actors.sim.world import World
from tests.simulation.short_knobs import HORIZON_KNOBS, RETENTION_MS
from tests.simulation.steering import (
    ROOM,
    W,
    agree,
    arrive,
    joins,
    leaves,
    live_rows,
    place,
    replicas,
    small_world,
    watch,
)

pytestmark = pytest.mark.simulation

GUESTS = [f"guest{number}" for number in range(6)]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make a transfer in parts."""
    monkeypatch.setattr(gossip, "GOSSIP_ROWS_MAX", 2)


def users(world: World, worker: int) -> list[str]:
    """Whom a worker holds for present in the room."""
    return sorted(row.key[1] for row in live_rows(world, worker, ROOM))


def held(world: World, worker: int) -> int:
    """How many rows a worker holds."""
    return len(replicas(world)[worker].maps()[PRESENCE])


def cut_within_a_transfer(
    world: World, receiver: int, *, sender: int, before: int, acked: bool
) -> None:
    """Lets a worker have the first part of what it lacks; its answer may be lost."""
    everybody = [name for name in world.processes if name != W[receiver]]

    def has_begun() -> bool:
        return world.processes[W[receiver]].alive and held(world, receiver) > before

    assert world.run_until(has_begun, 3_000)
    if acked:
        world.run(2)
    world.cut([W[receiver]], everybody)
    assert before < held(world, receiver) < held(world, sender)


def leave(world: World, guests: list[Client]) -> None:
    """All of them say goodbye."""
    for guest in guests:
        guest.ask(Bye())
    world.run(500)


AWAY: list[int] = [2_000, HORIZON_KNOBS.horizon_ms + 500, RETENTION_MS + 3_000]


@pytest.mark.parametrize("acked", [False, True])
@pytest.mark.parametrize("away_ms", AWAY)
def test_rows_of_somebody_who_was_never_heard_are_replaced_with_the_others(
    away_ms: int, acked: bool
) -> None:
    """Rule `count_rows`: of the first part's origin only rows are held, and no component.

    ```
    w1  (new life)  <--part--  X------------- longer than ends are kept ---- X  <-- all of it
    w0              guests leave, their ends are forgotten
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 0})
    guests = [arrive(world, name, [0]) for name in GUESTS]
    arrive(world, "alice", [0])
    world.kill(W[1], restart_after_ms=100)
    cut_within_a_transfer(world, 1, sender=0, before=0, acked=acked)
    leave(world, guests)
    world.run(away_ms)
    world.heal()
    world.run(3_000)
    assert (users(world, 0), users(world, 1)) == (["alice"], ["alice"])
    assert agree(world)


@pytest.mark.parametrize("acked", [False, True])
@pytest.mark.parametrize("away_ms", AWAY)
def test_what_came_in_a_transfer_that_broke_off_is_replaced_as_well(
    away_ms: int, acked: bool
) -> None:
    """Rule `by_transfer`: the next transfer spares only what came with its own parts.

    ```
    w1  X-- horizon --X  <--part--  X----- longer than ends are kept ------- X  <-- all of it
    w0  guests come                 they leave, their ends are forgotten
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 0})
    world.cut([W[1]], [name for name in world.processes if name != W[1]])
    guests = [arrive(world, name, [0]) for name in GUESTS]
    arrive(world, "alice", [0])
    world.run(HORIZON_KNOBS.horizon_ms + 500)
    before = held(world, 1)
    world.heal()
    cut_within_a_transfer(world, 1, sender=0, before=before, acked=acked)
    leave(world, guests)
    world.run(away_ms)
    world.heal()
    world.run(3_000)
    assert (users(world, 0), users(world, 1)) == (["alice"], ["alice"])
    assert agree(world)


def test_who_left_while_a_replica_was_lost_is_not_seen_again_when_it_is_back() -> None:
    """Rule `move_ends`: what the lost replica wrote with a clock that is ahead does not win.

    ```
    w0      (clock ahead) bob is here  X------------------------------X  heard again
    g0      bob leaves                 X  --the end--> w1
    w2, g1                                 <-- bob has left --            nothing of bob
    ```
    """
    world = small_world(workers=3, knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 2})
    watcher = watch(world, [1])
    world.set_clock(W[0], ahead_ms=HORIZON_KNOBS.drift_ms_max - 20)
    world.run(1_000)
    bob = arrive(world, "bob", [0])
    told = world.elapsed_ms
    bob.ask(Set(topic=ROOM, meta={"n": 2}))
    world.run(10)
    assert world.elapsed_ms - told < HORIZON_KNOBS.gossip_interval_ms
    world.cut([W[0]], [name for name in world.processes if name != W[0]])
    bob.ask(Bye())
    assert world.run_until(lambda: leaves(watcher) != [], 2_000)
    world.heal()
    world.run(3_000)
    assert (joins(watcher), leaves(watcher)) == (["bob"], [("bob", "left")])
    assert agree(world)
