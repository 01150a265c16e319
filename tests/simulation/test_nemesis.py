"""Faults as the nemesis carries them out: what they do, and that they know whether they did."""

from __future__ import annotations

from random import Random

import pytest

from presence_actors.core.cursors import read_cursor
from presence_actors.core.ids import ShardId
from presence_actors.core.messages import PRESENCE
from presence_actors.sim.malice import malicious_frames
from presence_actors.sim.nemesis import Injected, Nemesis
from presence_actors.sim.plan import Fault, FaultKind
from presence_actors.sim.topologies import cut_pairs
from presence_actors.sim.world import World
from presence_actors.wire.native import decode_client
from presence_actors.wire.refusals import FrameRefused
from tests.simulation.short_knobs import ALL_OVER_MS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
    in_room,
    joins,
    leaves,
    live_rows,
    replicas,
    small_world,
    statuses,
    watch,
)

pytestmark = pytest.mark.simulation


def befall(world: World, fault: Fault) -> Injected:
    """Carries a fault out from now until its end."""
    nemesis = Nemesis(world, lambda _: None)
    nemesis.schedule([fault])
    world.run(fault.at_ms + fault.span_ms + 1)
    (injected,) = nemesis.injected
    assert injected.ended_ms is not None
    return injected


def test_a_cut_that_heals_in_steps_is_whole_at_first_and_gone_at_last() -> None:
    """Pair by pair, both directions of a pair together; in the end nothing is left.

    ```
    w0, g0 | w1, w2, g1   all cut --- half --- one pair, another pair, ... --- none
    ```
    """
    world = small_world(workers=3)
    hosts = list(world.processes)
    pairs = cut_pairs("halves", hosts, Random(1))
    nemesis = Nemesis(world, lambda _: None)
    nemesis.schedule(
        [Fault(kind=FaultKind.STAGED, at_ms=0, span_ms=2_000, pairs=pairs, topology="halves")]
    )

    def cut() -> int:
        both = [world.network.is_cut(*pair) for pair in pairs]
        assert both == [world.network.is_cut(other, one) for one, other in pairs]
        return sum(both)

    counts = []
    for _ in range(20):
        world.run(100)
        counts.append(cut())
    world.run(1)
    assert counts[:9] == [len(pairs)] * 9
    assert counts == sorted(counts, reverse=True)
    assert len({count for count in counts if count}) > 2
    assert cut() == 0
    assert nemesis.injected[0].took_effect


def test_what_was_cut_and_healed_in_steps_agrees_and_nobody_went() -> None:
    """While a part of the links is back, some replicas hear news that others do not."""
    world = small_world(workers=3, gateways=3)
    watchers = [watch(world, [index], name=f"watcher{index}") for index in range(3)]
    people = [arrive(world, f"user{index}", [index]) for index in range(3)]
    pairs = cut_pairs("islands", list(world.processes), Random(2))
    injected = befall(world, Fault(kind=FaultKind.STAGED, at_ms=0, span_ms=3_000, pairs=pairs))
    world.run(ALL_OVER_MS)
    assert injected.took_effect
    assert len(people) == 3
    for watcher in watchers:
        assert in_room(watcher) == ["user0", "user1", "user2"]
        assert leaves(watcher) == []
    assert agree(world)


def test_a_client_that_sends_garbage_harms_nobody_else() -> None:
    """Frames that are none, frames that ask for what nobody may have, and cursors from the future.

    ```
    g0  alice, watcher   <-- mallory, mallory, mallory ...
                         nobody leaves, nobody flickers, everything is answered, replicas agree
    ```
    """
    world = small_world()
    alice = arrive(world, "alice", [0])
    watcher = watch(world, [0], users=["alice"])
    vectors = [replica.maps()[PRESENCE].vector for replica in replicas(world)]
    session = alice.machine.session
    fault = Fault(kind=FaultKind.GARBAGE, at_ms=0, span_ms=8_000, where=[G[0]])
    injected = befall(world, fault)
    assert injected.hits > 20
    assert world.gateway(0).inspect().connections <= 3
    world.run(ALL_OVER_MS)
    assert alice.machine.session == session
    assert [name for name in joins(watcher) if name != "mallory"] == ["alice"]
    assert [leave for leave in leaves(watcher) if leave[0] != "mallory"] == []
    assert in_room(watcher) == ["alice"]
    assert set(statuses(watcher, "alice")) <= {"online", "away"}
    for index, before in enumerate(vectors):
        after = replicas(world)[index].maps()[PRESENCE].vector
        assert set(after.to_wire()) == set(before.to_wire())
        assert [row.key[1] for row in live_rows(world, index, ROOM)] == ["alice"]
    assert agree(world)
    world.check()


def test_some_malicious_frames_are_well_formed_and_some_are_not() -> None:
    """A list of which all are refused at the door would try nothing behind it."""
    good, bad, cursors = 0, 0, 0
    for seed in range(5):
        frames = malicious_frames(Random(seed), victim="s", workers=["a/w0/1"], shards=2)  # type: ignore[list-item]
        for frame in frames:
            try:
                message = decode_client(frame)
            except FrameRefused:
                bad += 1
            else:
                good += message is not None
                cursor = getattr(message, "cursor", None)
                cursors += ShardId(1) in read_cursor(cursor)
    assert min(good, bad, cursors) > 0


def test_a_rolling_restart_takes_gateways_in_and_nobody_is_seen_to_go() -> None:
    """One process after the other, each up again before the next goes down."""
    world = small_world(workers=3, gateways=2)
    watcher = watch(world, [0, 1], users=["alice"])
    arrive(world, "alice", [1, 0])
    where = [W[0], W[1], G[1], W[2]]
    lives = {name: world.processes[name].node for name in where}
    fault = Fault(kind=FaultKind.ROLLING, at_ms=0, span_ms=12_000, where=where)
    injected = befall(world, fault)
    world.run(ALL_OVER_MS)
    assert injected.hits == len(where)
    assert all(world.processes[name].node != life for name, life in lives.items())
    assert leaves(watcher) == []
    assert in_room(watcher) == ["alice"]
    assert "offline" not in statuses(watcher, "alice")[1:]
    assert agree(world)


def test_a_stamp_from_the_future_is_not_kept_for_who_stands_still_until_it_is_true() -> None:
    """It would be believed then, with all that it claims to have been seen.

    Found by seed 2891 of `presence sim` (plan version 3), 2026-11-24.
    """
    world = small_world()
    ahead_ms = world.config.knobs.drift_ms_max + 300
    fault = Fault(
        kind=FaultKind.POISON, at_ms=200, span_ms=1, pairs=[(W[0], W[1])], amount=ahead_ms
    )
    world.pause(W[1])
    injected = befall(world, fault)
    world.run(2 * ahead_ms)
    world.resume(W[1])
    world.run(1_000)
    assert injected.hits == 0
    assert agree(world)
    assert not live_rows(world, 1, "room:a")
