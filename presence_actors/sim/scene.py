"""What checkers look at: the world, the truth beside it, and how long nothing has been the matter.

A promise that holds "within its component" or "after the heal" wants to know since when there is
calm. `Weather` knows: it looks at the network and at each process, not at what the system says of
them. It also knows when an end is lawful that would be a lie otherwise: whoever could not be heard
for a grace, whose gateway was parted from a replica for `unreachable_ms_max`, or when no replica of
a shard was left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from crdt import Row
from presence_actors.core.ids import NodeId, NodeName, ShardId, Topic, name_of
from presence_actors.core.placement import shard_of
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.app_servers import AppServers
from presence_actors.sim.history import History, Life
from presence_actors.sim.nemesis import Nemesis
from presence_actors.sim.plan import FaultKind, Plan, is_gateway, is_worker
from presence_actors.sim.world import World

__all__ = ["Scene", "Weather"]

#: A session that stands again is announced within this.
_SETTLES_MS: Final = 1_500
#: In calm weather everybody has heard of a change after this.
_HEARD_MS: Final = 3_000
#: Between what an act was judged by, and the answer.
_ACT_MS: Final = 1_000


@dataclass(slots=True)
class Weather:
    """Since when nothing has been the matter, and with whom something was."""

    calm_since_ms: int = 0
    #: When the present storm began, or the last one; a short calm does not end it.
    storm_since_ms: int = 0
    #: (from, to) of each earlier calm that was long enough for all to hear of all.
    calms: list[tuple[int, int]] = field(default_factory=list)
    #: When some shard had no ready replica last.
    blackout_ms: int = -1
    #: Whether every shard has had a ready replica yet.
    has_begun: bool = False
    #: {(gateway, worker): since when one does not hear the other}.
    parted_since_ms: dict[tuple[NodeName, NodeName], int] = field(default_factory=dict)
    #: {gateway: when it was parted from a worker for too long last}.
    doubted_ms: dict[NodeName, int] = field(default_factory=dict)


@dataclass(slots=True)
class Scene:
    """A moment of a run, and what checkers remember of the moments before."""

    plan: Plan
    world: World
    history: History
    nemesis: Nemesis
    app: AppServers
    weather: Weather = field(default_factory=Weather)
    #: When the healed core began to be on its own; None before.
    healed_ms: int | None = None
    #: How often it was looked at.
    steps: int = 0
    #: {(gateway, worker): when they heard each other last after having been parted}.
    _joined_ms: dict[tuple[NodeName, NodeName], int] = field(default_factory=dict)
    _looked_ms: int = 0
    #: {(life of a worker, shard) that has not caught up}. Who has once does not fall back.
    _unready: dict[tuple[NodeId, int], None] = field(default_factory=dict)
    #: {life: when its end would have been lawful last}.
    _endable_ms: dict[int, int] = field(default_factory=dict)
    #: {life: since when no replica can have heard of it by its gateway}.
    _unheard_since_ms: dict[int, int] = field(default_factory=dict)
    #: {life: its last welcome, as it was looked at}.
    _welcomed_ms: dict[int, int] = field(default_factory=dict)
    #: {life: the gateway that it was at last}.
    _held_by: dict[int, NodeName] = field(default_factory=dict)

    @property
    def now_ms(self) -> int:
        """Virtual milliseconds since the start."""
        return self.world.elapsed_ms

    @property
    def calm_ms(self) -> int:
        """How long nothing has been the matter."""
        return self.now_ms - self.weather.calm_since_ms

    # Who is where.

    def replicas(self, *, core: bool = False) -> Iterator[tuple[NodeName, ReplicaMachine]]:
        """The replicas of all living workers, with the name of the worker."""
        names = self.plan.core if core else self.plan.hosts
        for name in names:
            process = self.world.processes[name]
            if process.alive and isinstance(process.machine, WorkerMachine):
                for index in range(self.plan.shards):
                    replica = process.machine.replica(ShardId(index))
                    if replica is not None:
                        yield name, replica

    def by_shard(self, *, core: bool = False) -> list[list[tuple[NodeName, ReplicaMachine]]]:
        """The same, in groups that should agree."""
        groups: dict[int, list[tuple[NodeName, ReplicaMachine]]] = {}
        for name, replica in self.replicas(core=core):
            groups.setdefault(replica.shard, []).append((name, replica))
        return list(groups.values())

    def gateway_of(self, life: Life) -> NodeName | None:
        """The gateway that a device is connected to, or was at last."""
        return self._held_by.get(life.number)

    def watchers(self) -> Iterator[Life]:
        """Devices that look on, and can be heard; once the core is healed, those in it."""
        names = self.plan.hosts if self.healed_ms is None else self.plan.core
        for life in self.history.lives:
            if life.persona.watches and life.is_up and self.gateway_of(life) in names:
                yield life

    def shard_of(self, topic: str) -> ShardId:
        """The shard of a topic in full."""
        return shard_of(Topic(topic), shards=self.plan.shards)

    def is_core_row(self, row: Row) -> bool:
        """Whether the home of a row is there again."""
        return NodeName(row.origin.rpartition("/")[0]) in self.plan.core

    def has_wrong_clock(self, name: NodeName) -> bool:
        """Whether somebody has meddled with the wall clock of a process."""
        return any(
            name in injected.fault.where
            for injected in self.nemesis.injected
            if injected.fault.kind in (FaultKind.CLOCK, FaultKind.DRIFT)
        )

    def unready_source(self, gateway: NodeName, topic: str, told_ms: int) -> NodeId | None:
        """The replica that a gateway had a topic from, if it has not caught up.

        Not one that it has turned to since: what was told came from the one before.
        """
        machine = self.world.processes[gateway].machine
        if isinstance(machine, WorkerMachine):
            return None
        shard = self.shard_of(topic)
        for attachment in machine.inspect().attachments:
            if attachment.shard != shard or attachment.node is None or attachment.since is None:
                continue
            if self.now_ms - (self.world.instant - attachment.since) >= told_ms:
                return None
            return attachment.node if (attachment.node, int(shard)) in self._unready else None
        return None

    def has_ready_core(self) -> bool:
        """Whether each shard has a replica in the core that may vouch for absence."""
        groups = self.by_shard(core=True)
        return len(groups) == self.plan.shards and all(
            any(replica.is_ready for _, replica in group) for group in groups
        )

    # The weather.

    def look(self) -> None:
        """Takes note of how things stand now; once a step, before any checker."""
        now = self.now_ms
        self.steps += 1
        self.history.settle(now)
        self.app.settle(now)
        well = self._all_well()
        if self.nemesis.active or not well:
            if self.calm_ms > self.plan.quiet_ms // 4:
                self.weather.storm_since_ms = now
            if self.calm_ms >= _HEARD_MS:
                self.weather.calms.append((self.weather.calm_since_ms, now))
            self.weather.calm_since_ms = now
        self._note_parted(now)
        self._looked_ms = now
        for life in self.history.lives:
            if life.gone_ms is not None:
                continue
            if life.client.link is not None:
                self._held_by[life.number] = life.client.link[0]
            self._note_unheard(life, now)
            if self._is_endable(life, now):
                self._endable_ms[life.number] = now

    def was_calm_between(self, since_ms: int, until_ms: int) -> bool:
        """Whether all could hear of all in between."""
        spans = [*self.weather.calms, (self.weather.calm_since_ms, self.now_ms)]
        return any(
            min(end_ms, until_ms) - max(begin_ms, since_ms) >= _HEARD_MS
            for begin_ms, end_ms in spans
        )

    def known_since_ms(self, told_ms: int) -> int:
        """When what was told then may have been so already: news are late in a storm."""
        weather = self.weather
        if told_ms <= weather.calm_since_ms + self.plan.quiet_ms // 4:
            told_ms = min(told_ms, weather.storm_since_ms)
        return told_ms - _SETTLES_MS

    def endable_ms(self, life: Life) -> int:
        """When the end of a device was lawful last; -1 if it never was."""
        if life.gone_ms is not None or self.may_be_kicked(life):
            return self.now_ms
        return self._endable_ms.get(life.number, -1)

    def may_be_kicked(self, life: Life) -> bool:
        """Whether a kick may mean a device as it is now: its session began before that was done.

        Where gateways have had wrong clocks nobody can tell which was first.
        """
        wrong = any(map(self.has_wrong_clock, filter(is_gateway, self.plan.hosts)))
        margin_ms = self.plan.span_ms if wrong else _ACT_MS + 2 * self.plan.knobs.drift_ms_max
        return any(kick.may_mean(life, margin_ms=margin_ms) for kick in self.history.kicks)

    def _all_well(self) -> bool:
        expected = self.plan.hosts if self.healed_ms is None else self.plan.core
        well = True
        ready: dict[int, bool] = dict.fromkeys(range(self.plan.shards), False)
        for name in expected:
            process = self.world.processes[name]
            if not process.alive:
                well = False
            elif isinstance(process.machine, WorkerMachine):
                for index in range(self.plan.shards):
                    replica = process.machine.replica(ShardId(index))
                    if replica is None:
                        continue
                    if replica.is_ready:
                        ready[index] = True
                        self._unready.pop((process.node, index), None)
                    else:
                        well = False
                        self._unready[process.node, index] = None
            elif not process.machine.ready:
                well = False
        if all(ready.values()):
            self.weather.has_begun = True
        elif self.weather.has_begun:
            self.weather.blackout_ms = self.now_ms
        return well

    def _note_parted(self, now: int) -> None:
        weather, limit = self.weather, self.plan.knobs.unreachable_ms_max
        network, processes = self.world.network, self.world.processes
        settles = 3 * self.plan.knobs.gateway_beat_ms + self.plan.knobs.resend_ms
        stuck = {
            name: not process.alive or process.inbox is not None
            for name, process in processes.items()
        }
        for injected in self.nemesis.active:
            if injected.fault.kind is FaultKind.ZOMBIE:
                # Some hear only the one life of it, and some only the other.
                stuck.update(dict.fromkeys(injected.fault.where, True))
        for one in self.plan.hosts:
            for worker in filter(is_worker, self.plan.hosts):
                pair = (one, worker)
                parted = one != worker and (
                    stuck[one]
                    or stuck[worker]
                    or network.is_impaired(one, worker)
                    or network.is_impaired(worker, one)
                    or (
                        pair in weather.parted_since_ms
                        and is_gateway(one)
                        and not self._hears_of(worker, one)
                    )
                )
                if parted:
                    # It may have begun as soon as when this was last looked at.
                    since = weather.parted_since_ms.setdefault(pair, self._looked_ms)
                    self._joined_ms.pop(pair, None)
                    if now - since >= limit and is_gateway(one):
                        weather.doubted_ms[one] = now
                elif (
                    pair in weather.parted_since_ms
                    and now - self._joined_ms.setdefault(pair, now) >= settles
                ):
                    del weather.parted_since_ms[pair], self._joined_ms[pair]

    def _hears_of(self, worker: NodeName, gateway: NodeName) -> bool:
        """Whether a worker hears from the gateway's homes that it lives.

        In a cut that heals pair by pair, the gateway that has turned to another worker says nothing
        to this one, although it could.
        """
        homes = self._homes_of(gateway) - {worker}
        return not any((home, worker) in self.weather.parted_since_ms for home in homes)

    def _homes_of(self, gateway: NodeName) -> set[NodeName]:
        machine = self.world.processes[gateway].machine
        if isinstance(machine, WorkerMachine):
            return set()
        attachments = machine.inspect().attachments
        return {name_of(one.node) for one in attachments if one.node is not None}

    def _is_heard_everywhere(self, gateway: NodeName) -> bool:
        """Whether neither the gateway nor a home of it is parted from any worker."""
        near = {gateway, *self._homes_of(gateway)}
        return not any(one in near for one, _ in self.weather.parted_since_ms)

    def _note_unheard(self, life: Life, now: int) -> None:
        """Who has come to a gateway that is parted from the replicas is not heard there yet."""
        if life.down_since_ms is not None:
            self._unheard_since_ms.setdefault(life.number, life.down_since_ms)
            return
        up_ms = life.up_since_ms or now
        if life.lost_ms is not None and self._welcomed_ms.get(life.number) != up_ms:
            self._unheard_since_ms.setdefault(life.number, life.lost_ms)
        self._welcomed_ms[life.number] = up_ms
        if life.number in self._unheard_since_ms and now - up_ms >= _SETTLES_MS:
            gateway = self.gateway_of(life)
            if gateway is not None and self._is_heard_everywhere(gateway):
                del self._unheard_since_ms[life.number]

    def _is_endable(self, life: Life, now: int) -> bool:
        knobs = self.plan.knobs
        if life.up_since_ms is None:
            return True
        least = min(knobs.grace_connection_ms, knobs.grace_gateway_ms) - knobs.gateway_beat_ms
        unheard = self._unheard_since_ms.get(life.number)
        if unheard is not None and now - unheard >= least:
            return True
        if now - self.weather.blackout_ms <= self.plan.quiet_ms and self.weather.blackout_ms >= 0:
            return True
        gateway = self.gateway_of(life)
        doubted = None if gateway is None else self.weather.doubted_ms.get(gateway)
        return doubted is not None and now - doubted <= self.plan.quiet_ms
