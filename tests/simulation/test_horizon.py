"""What is forgotten once the horizon has passed, and what comes of those who were away longer."""

from __future__ import annotations

import pytest

from presence_actors.core import gossip
from presence_actors.core.messages import PRESENCE
from presence_actors.core.vocabulary import Bye, Set
from presence_actors.sim.world import World
from tests.simulation.short_knobs import HORIZON_KNOBS, RETENTION_MS
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
    watch,
)

pytestmark = pytest.mark.simulation

HORIZON_MS = HORIZON_KNOBS.horizon_ms


def users(world: World, worker: int, room: str = ROOM) -> list[str]:
    """Whom a worker holds for present in a room."""
    return sorted(row.key[1] for row in live_rows(world, worker, room))


def test_ends_are_kept_for_their_time_and_then_forgotten_everywhere() -> None:
    """Each replica forgets alone; what lives stays, though nobody writes it again.

    ```
    w0, w1  bob leaves --retention--> no trace of bob; alice, who only beats, is there
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    arrive(world, "alice", [0])
    bob = arrive(world, "bob", [1])
    bob.ask(Bye())
    world.run(RETENTION_MS - 1_000)
    before = [replica.inspect() for replica in replicas(world)]
    assert [view.rows > view.entries for view in before] == [True, True]
    world.run(2_000)
    after = [replica.inspect() for replica in replicas(world)]
    assert [view.rows == view.entries for view in after] == [True, True]
    assert in_room(watcher) == ["alice"]
    assert leaves(watcher) == [("bob", "left")]
    assert agree(world)


@pytest.mark.parametrize("parts_of", [2, 5_000])
@pytest.mark.parametrize("times", [0.9, 1.1, 10.0])
def test_who_was_cut_off_comes_back_without_a_ghost_and_without_a_loss(
    times: float, parts_of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was away, and in however many parts the rows come.

    ```
    w0 g0  alice  carol leaves  dora, d1 ... d5 come             all agree
    w1 g1  bob  X---------------- times x horizon ---------X  erik came, frida left
    ```
    """
    monkeypatch.setattr(gossip, "GOSSIP_ROWS_MAX", parts_of)
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    for name in ("alice", "carol"):
        arrive(world, name, [0])
    for name in ("bob", "frida"):
        arrive(world, name, [1])
    watchers = [watch(world, [index], name=f"watcher{index}") for index in (0, 1)]
    world.cut([W[0], G[0]], [W[1], G[1]])
    by_name = {client.name: client for client in world.clients}
    world.run(500)
    by_name["carol"].ask(Bye())
    by_name["frida"].ask(Bye())
    newcomers = ["dora", *(f"d{number}" for number in range(1, 6))]
    for name in newcomers:
        arrive(world, name, [0])
    arrive(world, "erik", [1])
    world.run(int(times * HORIZON_MS))
    world.heal()
    world.run(3_000)
    everybody = sorted(["alice", "bob", "erik", *newcomers])
    assert [users(world, worker) for worker in (0, 1)] == [everybody, everybody]
    assert [in_room(watcher) for watcher in watchers] == [everybody, everybody]
    assert agree(world)
    world.run(RETENTION_MS)
    assert [in_room(watcher) for watcher in watchers] == [everybody, everybody]
    assert agree(world)


@pytest.mark.parametrize("times", [1.1, 3.0])
def test_a_third_replica_that_was_cut_off_does_not_bring_back_what_others_have_forgotten(
    times: float,
) -> None:
    """It keeps what it knew, and speaks for nobody but itself until it has heard anew.

    ```
    w0  carol leaves --retention--> forgotten
    w2  X------------------------------------ heals first with w1 only ---
    ```
    """
    world = small_world(workers=3, gateways=2, knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    arrive(world, "alice", [0])
    carol = arrive(world, "carol", [0])
    watcher = watch(world, [1])
    world.cut([W[2]], [W[0], W[1], G[0], G[1]])
    world.run(500)
    carol.ask(Bye())
    world.run(int(times * RETENTION_MS))
    assert users(world, 2) == ["alice", "carol"]
    told = len(watcher.told)
    world.heal()
    world.cut([W[2]], [W[0], G[0]])
    world.run(2_000)
    assert [users(world, worker) for worker in range(3)] == [["alice"]] * 3
    world.heal()
    world.run(2_000)
    assert [users(world, worker) for worker in range(3)] == [["alice"]] * 3
    assert leaves(watcher)[1:] == []
    assert len(watcher.told) >= told
    assert agree(world)


def test_old_lives_are_forgotten_with_all_that_they_wrote() -> None:
    """Lives of workers and gateways come and go; the names that are known do not grow.

    ```
    w0  dies, starts ... six times --horizon--> one life of each worker is known
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    watcher = watch(world, [1, 0])
    arrive(world, "alice", [0, 1])
    for turn in range(6):
        world.kill(W[turn % 2], restart_after_ms=300)
        world.run(2_500)
        world.kill(G[0], restart_after_ms=300)
        world.run(2_500)
    assert replicas(world)[0].inspect().origins > 2
    world.run(RETENTION_MS + HORIZON_MS)
    assert [replica.inspect().origins for replica in replicas(world)] == [2, 2]
    assert in_room(watcher) == ["alice"]
    assert agree(world)


def test_an_old_life_that_keeps_running_behind_a_cut_is_believed_by_those_who_hear_it() -> None:
    """Nobody forgets what he hears; who hears only the new life forgets the old one.

    ```
    w1     X-------- paused for more than the horizon ----- goes on
    w0, w2           forget nothing of w1 that its return does not bring back
    ```
    """
    world = small_world(workers=3, gateways=2, knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    world.pause(W[1])
    world.run(int(1.5 * HORIZON_MS))
    world.resume(W[1])
    world.run(4_000)
    assert [users(world, worker) for worker in range(3)] == [["alice", "bob"]] * 3
    assert agree(world)


def test_a_gateway_that_was_away_for_longer_than_the_horizon_drops_what_ended_meanwhile() -> None:
    """Its cursor is too old for a difference, so it begins anew, and its clients see the net.

    ```
    g1  watcher  X---------------------------X  carol is gone, dora is there
    w0, w1       carol leaves, forgotten; dora comes
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    place(world, {0: 0, 1: 1})
    carol = arrive(world, "carol", [0])
    watcher = watch(world, [1])
    assert in_room(watcher) == ["carol"]
    world.cut([G[1]], [W[0], W[1]])
    world.run(500)
    carol.ask(Bye())
    arrive(world, "dora", [0])
    world.run(RETENTION_MS + 2_000)
    assert in_room(watcher) == ["carol"]
    world.heal()
    world.run(2_000)
    assert in_room(watcher) == ["dora"]


def test_memory_is_what_it_was_after_many_have_come_and_gone() -> None:
    """Ten times as many sessions as there ever are at once leave nothing behind.

    ```
    alice --------------------------------------------------------------->
    ten at a time come and go, ten times --retention--> rows, lives, log as before
    ```
    """
    world = small_world(knobs=HORIZON_KNOBS)
    watcher = watch(world, [0])
    alice = arrive(world, "alice", [0])
    world.run(1_000)
    baseline = [(view.rows, view.origins) for view in (r.inspect() for r in replicas(world))]
    for turn in range(10):
        guests = [arrive(world, f"u{turn}x{number}", [number % 2]) for number in range(10)]
        for guest in guests:
            guest.ask(Bye())
        alice.ask(Set(topic=ROOM, meta={"turn": turn}))
        world.run(500)
    assert all(replica.inspect().rows > 100 for replica in replicas(world))
    world.run(RETENTION_MS + 2_000)
    after = [(view.rows, view.origins) for view in (r.inspect() for r in replicas(world))]
    assert after == baseline
    for replica in replicas(world):
        columns = replica.maps()[PRESENCE].columns
        assert len(columns.entries.log) == len(columns.entries)
        assert columns.uncovered_count() == 0
    assert in_room(watcher) == ["alice"]
    assert agree(world)
