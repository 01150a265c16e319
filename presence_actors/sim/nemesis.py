"""Carries out the faults of a plan, and says of each whether it took effect.

A fault begins at its time and ends by itself; at the heal all that still lasts is ended. One that
befell nobody (a crash of what was dead already, a cut through which nothing wanted to pass) took no
effect, and a run of such faults proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from crdt import Delta, Origin, Row, Rows, Stamp, VersionVector
from crdt.hlc import STAMP_MAX, pack_stamp
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import NodeName, ShardId
from presence_actors.core.instants import Instant
from presence_actors.core.messages import PRESENCE, GossipDelta
from presence_actors.core.values import EntryStatus, EntryValue, encode_value
from presence_actors.sim.malice import malicious_frames
from presence_actors.sim.network import Clog, Cut, Disturbed, Faults, Impairment, Pair, Throttle
from presence_actors.sim.plan import Fault, FaultKind, is_worker
from presence_actors.sim.world import Client, World

__all__ = ["Injected", "Nemesis"]

#: A damaged or delayed link is not only that: what a real one loses it also repeats.
_REORDER_SHARE: Final = 0.4
_ROLLING_GAP_MS: Final = 1_500
_DRAIN_MS: Final = 3_000
#: One comes after the other so soon, says what it came for after its hello, and so many at most.
_MOLESTED_MS: Final = 700
_HELLO_MS: Final = 10
_MOLESTERS_MAX: Final = 20


@dataclass(slots=True, eq=False)
class Injected:
    """A fault of the plan as it was carried out."""

    fault: Fault
    began_ms: int
    ended_ms: int | None = None
    #: What it did: frames, processes or clients that it befell.
    hits: int = 0
    matters: list[Impairment] = field(default_factory=list)

    @property
    def took_effect(self) -> bool:
        """Whether it befell anybody."""
        return self.hits + sum(matter.hits for matter in self.matters) > 0


class Nemesis:
    """The faults of one run."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        #: In the order in which they began.
        self.injected: list[Injected] = []
        self._ends: dict[int, tuple[Injected, Callable[[], None]]] = {}
        self._healed = False

    def schedule(self, faults: list[Fault]) -> None:
        """Each fault begins at its time."""
        for number, fault in enumerate(faults):
            at = Instant(self._world.instant + fault.at_ms)
            self._world.at(at, partial(self._begin, number, fault))

    @property
    def active(self) -> list[Injected]:
        """What lasts now."""
        return [injected for injected, _ in self._ends.values()]

    def heal(self) -> None:
        """Everything that lasts ends now, and nothing begins any more."""
        self._healed = True
        for number in list(self._ends):
            self._end(number)

    def _begin(self, number: int, fault: Fault) -> None:
        if self._healed:
            return
        injected = Injected(fault, self._world.elapsed_ms)
        self.injected.append(injected)
        self._say(f"! {fault}")
        self._ends[number] = (injected, self._carry_out(injected))
        self._world.at(Instant(self._world.instant + fault.span_ms), lambda: self._end(number))

    def _end(self, number: int) -> None:
        if number not in self._ends:
            return
        injected, end = self._ends.pop(number)
        end()
        if injected.matters:
            self._world.relink(*self._world.processes)
        injected.ended_ms = self._world.elapsed_ms
        effect = "" if injected.took_effect else ", which did nothing"
        self._say(f"! the end of {injected.fault.kind}{effect}")

    def _carry_out(self, injected: Injected) -> Callable[[], None]:
        """Begins it; what ends it."""
        kinds: dict[FaultKind, Callable[[Injected], Callable[[], None]]] = {
            FaultKind.CUT: self._cut,
            FaultKind.FLAP: self._flap,
            FaultKind.STAGED: self._cut_in_steps,
            FaultKind.LOSS: self._disturb,
            FaultKind.DUPLICATE: self._disturb,
            FaultKind.REORDER: self._disturb,
            FaultKind.CORRUPT: self._disturb,
            FaultKind.DELAY: self._disturb,
            FaultKind.RATE: self._throttle,
            FaultKind.CLOG: self._clog,
            FaultKind.SWIZZLE: self._swizzle,
            FaultKind.CRASH: self._crash,
            FaultKind.ZOMBIE: self._zombie,
            FaultKind.GATEWAY_CRASH: self._crash,
            FaultKind.DRAIN: self._drain,
            FaultKind.ROLLING: self._roll,
            FaultKind.PAUSE: self._pause,
            FaultKind.CLOCK: self._clock,
            FaultKind.DRIFT: self._clock,
            FaultKind.POISON: self._poison,
            FaultKind.STORM: self._storm,
            FaultKind.CLIENT_CUT: self._unplug,
            FaultKind.GARBAGE: self._molest,
        }
        return kinds[injected.fault.kind](injected)

    # Links.

    def _impair(self, injected: Injected, matter: Impairment) -> Callable[[], None]:
        injected.matters.append(matter)
        self._world.network.impair(matter, self._pairs(injected.fault))
        return lambda: self._world.network.repair(matter)

    def _pairs(self, fault: Fault) -> list[Pair]:
        if fault.pairs:
            return fault.pairs
        names = list(self._world.processes)
        return [
            pair
            for one in fault.where
            for other in names
            if one != other
            for pair in ((one, other), (other, one))
        ]

    def _cut(self, injected: Injected) -> Callable[[], None]:
        return self._impair(injected, Cut())

    def _flap(self, injected: Injected) -> Callable[[], None]:
        """Cut and joined again and again; `amount` is the period."""
        half = Instant(max(1, int(injected.fault.amount) // 2))
        cut = Cut()
        injected.matters.append(cut)
        pairs = self._pairs(injected.fault)
        over = False

        def turn(*, on: bool) -> None:
            if over:
                return
            self._world.network.repair(cut)
            if on:
                self._world.network.impair(cut, pairs)
            self._world.at(Instant(self._world.instant + half), lambda: turn(on=not on))

        def end() -> None:
            nonlocal over
            over = True
            self._world.network.repair(cut)

        turn(on=True)
        return end

    def _cut_in_steps(self, injected: Injected) -> Callable[[], None]:
        """Cut at once; in the second half of its time the pairs are joined one by one."""
        edges: dict[Pair, list[Pair]] = {}
        for pair in self._pairs(injected.fault):
            edges.setdefault((min(pair), max(pair)), []).append(pair)
        order = self._world.random.sample(list(edges), len(edges))
        half = injected.fault.span_ms // 2
        for place, edge in enumerate(order):
            cut = Cut()
            injected.matters.append(cut)
            self._world.network.impair(cut, edges[edge])
            at = Instant(self._world.instant + half + place * half // len(order))
            self._world.at(at, partial(self._world.network.repair, cut))

        def end() -> None:
            for cut in injected.matters:
                self._world.network.repair(cut)

        return end

    def _disturb(self, injected: Injected) -> Callable[[], None]:
        amount = injected.fault.amount
        match injected.fault.kind:
            case FaultKind.LOSS:
                faults = Faults(loss=amount)
            case FaultKind.DUPLICATE:
                faults = Faults(duplication=amount)
            case FaultKind.CORRUPT:
                faults = Faults(corruption=amount)
            case FaultKind.REORDER:
                faults = Faults(delay=_REORDER_SHARE, delay_ms=int(amount))
            case _:
                faults = Faults(delay=1.0, delay_ms=int(amount))
        return self._impair(injected, Disturbed(faults))

    def _throttle(self, injected: Injected) -> Callable[[], None]:
        return self._impair(injected, Throttle(int(injected.fault.amount)))

    def _clog(self, injected: Injected) -> Callable[[], None]:
        clog = Clog()
        self._impair(injected, clog)
        return lambda: self._release(clog)

    def _release(self, clog: Clog) -> None:
        """What a clog has held arrives, in order."""
        self._world.network.repair(clog)
        held, clog.held = clog.held, []
        for arrive in held:
            self._world.at(Instant(self._world.instant + 1), arrive)

    def _swizzle(self, injected: Injected) -> Callable[[], None]:
        """Links stall one by one, and are released in another order."""
        clogs: list[Clog] = []
        pairs = self._pairs(injected.fault)
        step = max(1, injected.fault.span_ms // (2 * len(pairs)))
        for place, pair in enumerate(pairs):
            clog = Clog()
            clogs.append(clog)
            injected.matters.append(clog)
            at = Instant(self._world.instant + place * step)
            self._world.at(at, partial(self._stall, injected, clog, pair))

        def end() -> None:
            order = self._world.random.sample(clogs, len(clogs))
            for clog in order:
                self._release(clog)

        return end

    def _stall(self, injected: Injected, clog: Clog, pair: Pair) -> None:
        if injected in self.active:
            self._world.network.impair(clog, [pair])

    # Processes.

    def _crash(self, injected: Injected) -> Callable[[], None]:
        """They end, and start again with nothing when the fault is over."""
        killed = [name for name in injected.fault.where if self._kill(name)]
        injected.hits += len(killed)
        return lambda: self._start(killed)

    def _kill(self, name: NodeName) -> bool:
        process = self._world.processes[name]
        if not process.alive:
            return False
        self._world.kill(name, restart_after_ms=None)
        return True

    def _stop(self, injected: Injected, name: NodeName) -> None:
        if injected in self.active:
            self._kill(name)

    def _start(self, names: list[NodeName]) -> None:
        for name in names:
            self._world.start(name)

    def _roll(self, injected: Injected) -> Callable[[], None]:
        """One after the other ends and starts again; the next one once it has."""
        names = injected.fault.where
        share = injected.fault.span_ms // len(names)
        down: list[NodeName] = []

        def turn(name: NodeName) -> None:
            if injected in self.active and self._kill(name):
                injected.hits += 1
                down.append(name)
                span = max(1, share - _ROLLING_GAP_MS)
                self._world.at(Instant(self._world.instant + span), lambda: self._start([name]))

        for place, name in enumerate(names):
            at = Instant(self._world.instant + place * share)
            self._world.at(at, partial(turn, name))
        return lambda: self._start(down)

    def _zombie(self, injected: Injected) -> Callable[[], None]:
        (name,) = injected.fault.where
        if not self._world.processes[name].alive:
            return lambda: None
        self._world.split_life(name)
        injected.hits += 1
        return lambda: self._world.end_zombie(name)

    def _drain(self, injected: Injected) -> Callable[[], None]:
        """An operator empties a gateway, ends it, and starts it again."""
        (name,) = injected.fault.where
        process = self._world.processes[name]
        if not process.alive:
            return lambda: None
        injected.hits += len(process.clients)
        self._world.drain(name)
        at = Instant(self._world.instant + min(_DRAIN_MS, injected.fault.span_ms // 2))
        self._world.at(at, partial(self._stop, injected, name))

        def end() -> None:
            # Whoever was told to empty itself takes nobody in again.
            self._kill(name)
            self._start([name])

        return end

    def _pause(self, injected: Injected) -> Callable[[], None]:
        paused = []
        for name in injected.fault.where:
            process = self._world.processes[name]
            if process.alive and process.inbox is None:
                self._world.pause(name)
                paused.append(process)

        def end() -> None:
            for process in paused:
                injected.hits += len(process.inbox or ())
                if process.alive and process.inbox is not None:
                    self._world.resume(process.name)

        return end

    # Clocks.

    def _clock(self, injected: Injected) -> Callable[[], None]:
        """The wall clock jumps by `amount` ms, or goes wrong by as many ppm."""
        fault = injected.fault
        drifts = fault.kind is FaultKind.DRIFT
        for name in fault.where:
            self._world.set_clock(
                name,
                ahead_ms=0 if drifts else int(fault.amount),
                drift_ppm=int(fault.amount) if drifts else 0,
            )
            injected.hits += self._world.processes[name].alive

        def end() -> None:
            for name in fault.where:
                self._world.set_clock(name, ahead_ms=0)

        return end

    def _poison(self, injected: Injected) -> Callable[[], None]:
        """A delta comes in whose stamps are `amount` ms in the future; -1 for the end of time.

        Not to who stands still: when it is read, its stamps would be no lie any more.
        """
        fault = injected.fault
        for sender, receiver in fault.pairs:
            if not is_worker(sender) or not is_worker(receiver):
                continue
            if self._world.processes[receiver].inbox is not None:
                continue
            for index in range(self._world.config.shards):
                message = self._poisoned(sender, receiver, ShardId(index), int(fault.amount))
                if message is not None:
                    before = self._refused(receiver)
                    self._world.inject(sender, receiver, [message])
                    injected.hits += self._refused(receiver) - before
        return lambda: None

    def _poisoned(
        self, sender: NodeName, receiver: NodeName, shard: ShardId, ahead_ms: int
    ) -> GossipDelta | None:
        source, target = self._world.processes[sender], self._world.processes[receiver]
        if isinstance(source.machine, GatewayMachine):
            return None
        replica = source.machine.replica(shard)
        if replica is None:
            return None
        wall = self._world.now_at(receiver).wall + ahead_ms
        stamp = STAMP_MAX if ahead_ms < 0 else pack_stamp(wall, 0)
        origin = Origin(source.node)
        value = encode_value(EntryValue(self._world.now.wall, "desktop", {}))
        row = Row(
            ("default/room:a", "poison", "poison"), Stamp(stamp), origin, 1 << 40,
            int(EntryStatus.ONLINE), "", value,
        )  # fmt: skip
        return GossipDelta(
            shard=shard,
            sender=source.node,
            receiver=target.node,
            map=PRESENCE,
            transfer=0,
            delta=replica.maps()[PRESENCE].pack(
                Delta(
                    base=VersionVector(),
                    new=VersionVector({origin: Stamp(stamp)}),
                    rows=Rows.of([row]),
                    clock=Stamp(stamp),
                )
            ),
            seen=VersionVector(),
            ready=True,
            holders=[],
        )

    def _refused(self, name: NodeName) -> int:
        machine = self._world.processes[name].machine
        if isinstance(machine, GatewayMachine):
            return 0
        return sum(replica.deltas_refused for replica in machine.inspect().replicas)

    # Devices.

    def _clients(self, where: list[NodeName]) -> list[Client]:
        return [
            client
            for name in where
            for client in self._world.processes[name].clients.values()
            if not client.closed
        ]

    def _storm(self, injected: Injected) -> Callable[[], None]:
        """All connections of these gateways break in one moment."""
        for client in self._clients(injected.fault.where):
            injected.hits += 1
            self._world.drop(client)
        return lambda: None

    def _unplug(self, injected: Injected) -> Callable[[], None]:
        """The devices at these gateways lose their way to every gateway."""
        clients = self._clients(injected.fault.where)
        share = injected.fault.amount
        random = Random(injected.began_ms)
        chosen = [client for client in clients if random.random() < share]
        injected.hits += len(chosen)
        for client in chosen:
            client.reachable = False
            self._world.drop(client)

        def end() -> None:
            for client in chosen:
                client.reachable = True

        return end

    def _molest(self, injected: Injected) -> Callable[[], None]:
        """Again and again somebody connects to these gateways and sends what nobody should."""
        world, where = self._world, injected.fault.where
        random = Random(injected.began_ms)
        molesters: list[Client] = []

        def come() -> None:
            if injected not in self.active or len(molesters) >= _MOLESTERS_MAX:
                return
            victims = [client.machine.session for client in self._clients(where)]
            victim = random.choice(victims) if victims else None
            client = world.newcomer("mallory", gateways=where, device="web")
            molesters.append(client)
            nodes = [one.node for name, one in world.processes.items() if is_worker(name)]
            frames = malicious_frames(
                random, victim=victim, workers=nodes, shards=world.config.shards
            )
            at = Instant(world.instant + _HELLO_MS)
            world.at(at, partial(self._say_all, injected, client, frames))
            world.at(Instant(world.instant + _MOLESTED_MS), come)

        def end() -> None:
            for client in molesters:
                client.vanish()

        world.at(world.instant, come)
        return end

    def _say_all(self, injected: Injected, client: Client, frames: list[str]) -> None:
        injected.hits += len(frames) if client.link is not None else 0
        for frame in frames:
            self._world.say(client, frame, bye=False)
