"""What clients say to each other, in whole clusters: it reaches whom it can, and leaves no trace.

Time lines read from left to right.
"""

from __future__ import annotations

from itertools import count

import pytest

from presence_actors.config import ClusterConfig
from presence_actors.core.effects import GatewayEffect, PassOn
from presence_actors.core.events import ClientSent, GuestConnected
from presence_actors.core.ids import ConnectionId, Namespace, NodeName, UserId
from presence_actors.core.messages import Said
from presence_actors.core.vocabulary import Broadcast, Identity, Listen
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.process import Process
from presence_actors.sim.world import World
from tests.simulation.short_knobs import KNOBS

pytestmark = pytest.mark.simulation

SEEDS = (1, 2, 3)
LOBBY = "room:lobby"


class TalkingWorld(World):
    """Two zones, in whose gateways somebody listens each."""

    def __init__(self, *, seed: int) -> None:
        super().__init__(
            ClusterConfig(workers=2, gateways=2, shards=4, knobs=KNOBS),
            seed=seed,
            zones=("a", "b"),
        )
        self.heard: dict[str, list[str]] = {}
        self._names: dict[ConnectionId, str] = {}
        self._numbers = count(1_000_000)
        self.run(3_000)

    def listener(self, name: str, gateway: str) -> ConnectionId:
        """Somebody who listens in the lobby."""
        connection = ConnectionId(next(self._numbers))
        self._names[connection] = name
        self.heard[name] = []
        process = self.processes[NodeName(gateway)]
        identity = Identity(Namespace("default"), UserId(name))
        self._post(process, GuestConnected(connection, identity, name, "web", LOBBY, {}))
        self._post(process, ClientSent(connection, Listen(topic=LOBBY)))
        return connection

    def speak(self, connection: ConnectionId, gateway: str, text: str) -> None:
        """Somebody says something in the lobby."""
        word = Broadcast(topic=LOBBY, event="e", payload=text.encode())
        self._post(self.processes[NodeName(gateway)], ClientSent(connection, word))

    def digests(self) -> list[object]:
        """What all replicas hold."""
        machines = [p.machine for p in self.processes.values() if p.alive]
        return [
            [(view.shard, view.digest, view.rows) for view in machine.inspect().replicas]
            for machine in machines
            if isinstance(machine, WorkerMachine)
        ]

    def _carry_out(self, process: Process, effect: GatewayEffect) -> None:
        if isinstance(effect, PassOn):
            for connection in effect.connections:
                self.heard[self._names[connection]].append(_text(effect.said))
            return
        super()._carry_out(process, effect)


def _text(said: Said) -> str:
    return said.payload.decode()


def everybody(world: TalkingWorld) -> dict[str, ConnectionId]:
    """One listener at each gateway, named as that is."""
    names = [f"{zone}/g{index}" for zone in "ab" for index in (0, 1)]
    found = {name: world.listener(name, name) for name in names}
    world.run(500)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_said_is_heard_once_at_every_gateway_of_every_zone(seed: int) -> None:
    """In the order in which each said it; and no replica holds anything of it.

    ```
    a/g0   1 2 3 --->
    b/g1   4 ------->       everybody else hears 1 2 3 in this order, and 4 once
    ```
    """
    world = TalkingWorld(seed=seed)
    who = everybody(world)
    before = world.digests()
    for text in ("1", "2", "3"):
        world.speak(who["a/g0"], "a/g0", text)
        world.run(30)
    world.speak(who["b/g1"], "b/g1", "4")
    world.run(1_000)
    assert world.heard["a/g0"] == ["4"]
    assert world.heard["b/g1"] == ["1", "2", "3"]
    assert world.heard["a/g1"] == world.heard["b/g0"] == ["1", "2", "3", "4"]
    assert world.digests() == before


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_said_during_a_cut_stays_on_its_side_and_is_never_said_again(seed: int) -> None:
    """Presence catches up after a cut; words do not.

    ```
    zone a   "in" ---x  "cut"  x--- "out"
    zone b   hears "in"        hears "out"
    ```
    """
    world = TalkingWorld(seed=seed)
    who = everybody(world)
    world.speak(who["a/g0"], "a/g0", "in")
    world.run(1_000)
    here, there = ([name for name in world.processes if name[0] == zone] for zone in "ab")
    world.cut(here, there)
    world.run(500)
    world.speak(who["a/g0"], "a/g0", "cut")
    world.run(3_000)
    world.heal()
    world.run(3_000)
    world.speak(who["a/g0"], "a/g0", "out")
    world.run(1_000)
    assert world.heard["a/g1"] == ["in", "cut", "out"]
    assert world.heard["b/g0"] == world.heard["b/g1"] == ["in", "out"]


@pytest.mark.parametrize("seed", SEEDS)
def test_who_listens_hears_again_after_its_worker_died(seed: int) -> None:
    """The gateway turns to another replica, which learns from the announcement who listens."""
    world = TalkingWorld(seed=seed)
    who = everybody(world)
    world.kill(NodeName("a/w0"), restart_after_ms=None)
    world.run(5 * KNOBS.peer_silence_ms)
    world.speak(who["a/g0"], "a/g0", "still here")
    world.run(1_000)
    for name in ("a/g1", "b/g0", "b/g1"):
        assert world.heard[name] == ["still here"], name
