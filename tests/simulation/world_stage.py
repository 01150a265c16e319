"""The stage in the simulated world: a story runs to its end without ever suspending."""

from __future__ import annotations

from collections.abc import Callable

from presence_actors.client.events import Event, translate
from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.events import ConnectionLost, DrainCancelled, DrainRequested
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import NodeName, zone_of
from presence_actors.core.vocabulary import (
    ClientMessage,
    Entry,
    Err,
    Intent,
    Patch,
    Set,
    Sub,
    Unset,
)
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.world import Client, World
from tests.stories.stage import STORY_KNOBS

__all__ = ["WorldStage"]

_ANSWER_MS = 5_000


class WorldPerson:
    """A client of the world."""

    def __init__(self, world: World, client: Client) -> None:
        self._world = world
        self._client = client

    @property
    def name(self) -> str:
        return self._client.name

    @property
    def heard(self) -> list[Event]:
        return [translate(event) for _, event in self._client.told]

    async def join(self, room: str, **meta: object) -> None:
        await self.observe(room)
        self._ask(Set(topic=f"room:{room}", meta=dict(meta)))

    async def update(self, room: str, **meta: object) -> None:
        self._ask(Patch(topic=f"room:{room}", meta=dict(meta)))

    async def leave(self, room: str) -> None:
        self._ask(Unset(topic=f"room:{room}"))

    async def observe(self, room: str) -> None:
        topic = f"room:{room}"
        self._ask(Sub(topics=[topic]))
        assert self._world.run_until(lambda: self._client.machine.is_synced(topic), _ANSWER_MS)

    async def watch(self, *users: str) -> None:
        self._ask(Sub(users=sorted(users)))

    async def set_status(self, status: str) -> None:
        self._ask(Set(status=status))

    async def set_intent(self, status: str, *, text: str = "") -> None:
        self._ask(Intent(status=status, text=text))

    async def drop(self) -> None:
        self._world.hang_up(self._client)
        self._client.post(ConnectionLost(1006, "the network went"))

    async def freeze(self) -> None:
        self._client.freeze()

    def who(self, room: str) -> dict[str, list[Entry]]:
        found = self._client.machine.who(f"room:{room}")
        return {str(user): entries for user, entries in found.items()}

    def status(self, user: str) -> str | None:
        frame = self._client.machine.statuses.get(user)
        return None if frame is None else frame.status.value

    def _ask(self, message: ClientMessage) -> None:
        request = self._client.ask(message)
        answers = self._client.answers
        assert self._world.run_until(lambda: request in answers, _ANSWER_MS), message
        assert not isinstance(answers[request], Err), answers[request]


class WorldStage:
    """Two workers, two gateways, virtual time."""

    def __init__(
        self, *, seed: int, knobs: Knobs = STORY_KNOBS, zones: tuple[str, ...] = ("a",)
    ) -> None:
        self.knobs = knobs
        self.world = World(ClusterConfig(shards=8, knobs=knobs), seed=seed, zones=zones)
        gateways = [self.world.gateway(index, zone) for zone in zones for index in (0, 1)]
        assert self.world.run_until(lambda: all(one.ready for one in gateways), 10_000)
        assert self.world.run_until(self._has_met, 10_000)

    async def person(
        self,
        name: str,
        *,
        gateway: int,
        device: str = "desktop",
        zone: str = "a",
        stays: bool = False,
    ) -> WorldPerson:
        order = [gateway] if stays else [gateway, 1 - gateway]
        client = self.world.client(name, gateways=order, device=device, zone=zone)
        assert self.world.run_until(lambda: bool(client.told), 5_000)
        return WorldPerson(self.world, client)

    async def until(self, what: str, condition: Callable[[], bool], *, within_ms: int) -> int:
        start = self.world.elapsed_ms
        assert self.world.run_until(condition, within_ms), f"in vain for {within_ms} ms: {what}"
        return self.world.elapsed_ms - start

    async def elapse(self, span_ms: int) -> None:
        self.world.run(span_ms)

    async def cut(self, left: list[str], right: list[str]) -> None:
        self.world.cut([self._name(one) for one in left], [self._name(one) for one in right])

    async def heal(self) -> None:
        self.world.heal()

    async def kill(self, name: str, *, hard: bool) -> None:
        # What differs is how fast the process is back.
        self.world.kill(self._name(name), restart_after_ms=1_500 if hard else 3_000)

    async def drain(self, gateway: str, *, spread_ms: int) -> None:
        process = self.world.processes[self._name(gateway)]
        self.world._post(process, DrainRequested("an operator empties it", spread_ms))

    async def end_drain(self, gateway: str) -> None:
        self.world._post(self.world.processes[self._name(gateway)], DrainCancelled())

    async def life(self, name: str) -> str:
        process = self.world.processes[self._name(name)]
        return process.node if process.alive else ""

    async def homes(self, gateway: str) -> set[str]:
        machine = self.world.processes[self._name(gateway)].machine
        if not isinstance(machine, GatewayMachine):
            raise TypeError(gateway)
        return {str(one.worker) for one in machine.inspect().attachments if one.attached}

    async def is_ready(self, worker: str) -> bool:
        process = self.world.processes[self._name(worker)]
        machine = process.machine
        return process.alive and isinstance(machine, WorkerMachine) and machine.inspect().ready

    async def in_contact(self) -> bool:
        return self._has_met()

    def _has_met(self) -> bool:
        return all(
            peer.lag_ms is not None and peer.lag_ms < 1_000
            for worker in self._workers()
            for replica in worker.inspect().replicas
            for peer in replica.peers
        )

    async def replicas_agree(self) -> bool:
        digests = [
            {view.shard: view.digest for view in worker.inspect().replicas}
            for worker in self._workers()
        ]
        return all(one == digests[0] for one in digests)

    async def sessions_at(self, gateway: str) -> int:
        return self.world.gateway(int(gateway[1:])).inspect().sessions

    async def end_zone(self, zone: str) -> None:
        for name in list(self.world.processes):
            if zone_of(name) == zone:
                self.world.kill(name, restart_after_ms=None)

    async def retire_zone(self, zone: str) -> None:
        self.world.retire(zone)

    def _workers(self) -> list[WorkerMachine]:
        machines = [p.machine for p in self.world.processes.values() if p.alive]
        return [machine for machine in machines if isinstance(machine, WorkerMachine)]

    def _name(self, short: str) -> NodeName:
        return NodeName(short if "/" in short else f"{self.world.config.zone}/{short}")
