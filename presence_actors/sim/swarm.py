"""Draws a plan from a seed: each run has its own cluster, people, leases, and weights of faults.

Not every run has every kind of fault: that some are absent lets the others go further. The leases
are short enough that all of them, and the horizon, are crossed within a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from presence_actors.config import Knobs
from presence_actors.core.ids import NodeName
from presence_actors.errors import UsageError
from presence_actors.sim.plan import Fault, FaultKind, Persona, Plan, is_gateway, is_worker
from presence_actors.sim.population import WARM_UP_MS, draw_app_server, draw_people, has_app_server
from presence_actors.sim.topologies import TOPOLOGIES, cut_pairs

__all__ = ["SCENARIOS", "SPAN_MS", "Options", "draw_plan"]

#: The least length of a run.
SPAN_MS: Final = 300_000
_MANY: Final = 0.7
#: Around so many horizons a long cut lasts.
_BEYOND: Final = 1.1

#: {name: the kinds of fault that a run of it draws from}.
SCENARIOS: Final[dict[str, tuple[FaultKind, ...]]] = {
    "swarm": tuple(FaultKind),
    "calm": (),
    "partition": (FaultKind.CUT, FaultKind.STAGED),
    "flapping": (FaultKind.FLAP,),
    "lossy": (FaultKind.LOSS, FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.CORRUPT),
    "slow": (FaultKind.DELAY, FaultKind.RATE, FaultKind.CLOG, FaultKind.SWIZZLE),
    "crash": (FaultKind.CRASH, FaultKind.ROLLING),
    "zombie": (FaultKind.ZOMBIE,),
    "gateways": (FaultKind.GATEWAY_CRASH, FaultKind.DRAIN),
    "pause": (FaultKind.PAUSE,),
    "clocks": (FaultKind.CLOCK, FaultKind.DRIFT),
    "poison": (FaultKind.POISON,),
    "storm": (FaultKind.STORM, FaultKind.CLIENT_CUT),
    "garbage": (FaultKind.GARBAGE,),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of a plan beside its seed."""

    scenario: str = "swarm"
    #: The only topology of cuts; None for any.
    topology: str | None = None
    span_ms: int = SPAN_MS
    #: Numbers of the drawn faults to keep, and how many people; None for all.
    faults: tuple[int, ...] | None = None
    people: int | None = None
    #: How many gateways each zone has; None for what is drawn.
    gateways: int | None = None
    #: How many of the drawn hosts to keep; None for all.
    hosts: int | None = None
    #: Whether there is an app server; None as drawn.
    app: bool | None = None


def draw_plan(seed: int, options: Options = Options()) -> Plan:
    """The plan of a seed.

    Raises:
        UsageError: There is no such scenario or topology, or this cluster cannot take it.
    """
    kinds = SCENARIOS.get(options.scenario)
    if kinds is None:
        known = ", ".join(SCENARIOS)
        raise UsageError(f"unknown scenario {options.scenario!r}", remedy=f"choose one of {known}")
    random = Random(seed)
    wants_zones = options.topology == "zone-cut"
    zones = ["a", "b"] if random.random() < 0.2 or wants_zones else ["a"]  # noqa: PLR2004
    workers = 2 if len(zones) > 1 else random.choice([2, 3, 3])
    gateways = random.choice([1, 2]) if len(zones) > 1 else random.choice([2, 3])
    knobs = _knobs(random)
    plan = Plan(
        seed=seed,
        zones=zones,
        workers=workers,
        gateways=options.gateways or gateways,
        shards=random.choice([1, 2]),
        replicas=random.randint(max(1, workers - 1), workers) if workers > 2 else 2,  # noqa: PLR2004
        knobs=knobs,
        span_ms=0,
        people=[],
        faults=[],
    )
    plan = msgspec.structs.replace(plan, span_ms=max(0, options.span_ms - plan.quiet_ms))
    plan = msgspec.structs.replace(plan, people=draw_people(plan, random))
    faults = _Draw(plan, kinds, options.topology, random).faults()
    dead, lost = _losses(plan, random) if faults else ([], [])
    if options.faults is not None:
        faults = [faults[number] for number in options.faults if number < len(faults)]
    if has_app_server(seed) if options.app is None else options.app:
        plan = msgspec.structs.replace(plan, app=draw_app_server(plan))
    people = plan.people if options.people is None else plan.people[: options.people]
    plan = msgspec.structs.replace(plan, faults=faults, people=people, dead=dead, lost=lost)
    if options.hosts is not None:
        plan = _with_hosts(plan, options.hosts)
    if options.topology is not None:
        cut_pairs(options.topology, plan.hosts, Random(0))
    return plan


def _with_hosts(plan: Plan, hosts: int) -> Plan:
    """The same run on so many hosts at most: gateways are left out first, then workers."""
    zones, workers, gateways = len(plan.zones), plan.workers, plan.gateways
    while (workers + gateways) * zones > hosts:
        if gateways > 1:
            gateways -= 1
        elif workers > 1:
            workers -= 1
        else:
            raise UsageError(
                f"--hosts {hosts}: each zone wants a worker and a gateway",
                remedy=f"give at least {2 * zones}, or another seed",
            )
    replicas = min(plan.replicas, workers)
    small = msgspec.structs.replace(plan, workers=workers, gateways=gateways, replicas=replicas)
    left = small.hosts
    small = msgspec.structs.replace(
        small,
        faults=[kept for fault in plan.faults if (kept := _on_hosts(fault, left)) is not None],
        people=[_at_gateways(persona, left) for persona in plan.people],
        dead=[name for name in plan.dead if name in left],
        lost=[name for name in plan.lost if name in left],
    )
    if any(map(is_worker, small.core)) and any(map(is_gateway, small.core)):
        return small
    return msgspec.structs.replace(small, dead=[], lost=[])


def _on_hosts(fault: Fault, left: list[NodeName]) -> Fault | None:
    """What remains of a fault; None if it befalls nobody who is left."""
    where = [name for name in fault.where if name in left]
    pairs = [pair for pair in fault.pairs if pair[0] in left and pair[1] in left]
    return msgspec.structs.replace(fault, where=where, pairs=pairs) if where or pairs else None


def _at_gateways(persona: Persona, left: list[NodeName]) -> Persona:
    home = persona.gateways[0].partition("/")[0]
    kept = [name for name in persona.gateways if name in left]
    return msgspec.structs.replace(persona, gateways=kept or [NodeName(f"{home}/g0")])


#: The greatest `unreachable_after_ms` and `resend_ms` that are drawn: the margin of the horizon.
_MARGIN_MS_MAX: Final = 5_000 + 600


def _knobs(random: Random) -> Knobs:
    between = random.randint
    beat = between(400, 900)
    gateway_lease = 4 * beat + between(0, 1_500)
    idle = between(500, 1_000)
    silence = 2 * beat + between(100, 600)
    heartbeat = between(3_000, 6_000)
    lease = 2 * heartbeat + between(1_000, 4_000)
    grace, gateway_grace = between(4_000, 9_000), between(6_000, 12_000)
    unreachable = between(15_000, 25_000)
    drift = between(300, 1_000)
    least = lease + gateway_lease + grace + gateway_grace + unreachable + 2 * drift
    return Knobs(
        heartbeat_ms=heartbeat,
        client_lease_ms=lease,
        auto_away_ms=between(15_000, 60_000),
        grace_connection_ms=grace,
        grace_gateway_ms=gateway_grace,
        gateway_beat_ms=beat,
        gateway_lease_ms=gateway_lease,
        peer_silence_ms=silence,
        unreachable_after_ms=max(4 * idle, silence) + between(0, 1_000),
        unreachable_ms_max=unreachable,
        gossip_interval_ms=between(20, 60),
        gossip_idle_ms=idle,
        resend_ms=between(300, 600),
        interest_linger_ms=between(2_000, 8_000),
        snapshot_wait_ms=between(400, 1_000),
        startup_grace_ms=between(2_500, 4_000),
        horizon_ms=least + _MARGIN_MS_MAX + between(0, 10_000),
        drift_ms_max=drift,
        reconnect_jitter_ms=between(500, 2_000),
        reconnect_ms_max=between(2_500, 5_000),
    ).check()


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws faults, one storm after the other, with calm between them."""

    plan: Plan
    kinds: Sequence[FaultKind]
    topology: str | None
    random: Random

    def faults(self) -> list[Fault]:
        """The faults of the run, by the time at which they begin."""
        random, plan = self.random, self.plan
        weights = {kind: random.random() for kind in self.kinds if random.random() < _MANY}
        if not weights and self.kinds:
            weights = {random.choice(list(self.kinds)): 1.0}
        mean_gap = random.choice([2_000, 6_000, 15_000])
        faults: list[Fault] = []
        at = WARM_UP_MS + random.randrange(4_000)
        while weights and at < plan.span_ms:
            (kind,) = random.choices(list(weights), list(weights.values()))
            fault = self._fault(kind, at)
            faults.append(fault)
            overlap = random.random() < 0.3  # noqa: PLR2004
            at += 0 if overlap else fault.span_ms
            at += int(random.expovariate(1 / mean_gap)) + 1
        return faults

    def _span(self, kind: FaultKind) -> int:
        """Around the bounds that matter, and far beyond some of them."""
        knobs = self.plan.knobs
        bounds = [
            1_000,
            knobs.peer_silence_ms,
            knobs.gateway_lease_ms,
            knobs.unreachable_after_ms,
            knobs.grace_connection_ms,
            knobs.client_lease_ms,
            knobs.unreachable_ms_max // 2,
            knobs.unreachable_ms_max + knobs.grace_gateway_ms,
        ]
        if kind in (FaultKind.CUT, FaultKind.STAGED):
            bounds.append(int(knobs.horizon_ms * _BEYOND))
        return int(self.random.choice(bounds) * self.random.uniform(0.6, 1.2))

    def _some(self, test: object, most: int) -> list[NodeName]:
        names = [name for name in self.plan.hosts if test is None or test(name)]  # type: ignore[operator]
        return sorted(self.random.sample(names, self.random.randint(1, min(most, len(names)))))

    def _fault(self, kind: FaultKind, at: int) -> Fault:
        random, span = self.random, self._span(kind)
        match kind:
            case FaultKind.CUT | FaultKind.FLAP | FaultKind.STAGED:
                topology = self.topology or self._topology()
                pairs = cut_pairs(topology, self.plan.hosts, random)
                period = random.choice([500, 2_000, 10_000]) if kind is FaultKind.FLAP else 0
                return Fault(
                    kind=kind,
                    at_ms=at,
                    span_ms=max(span, 2 * period),
                    topology=topology,
                    pairs=pairs,
                    amount=period,
                )
            case FaultKind.CLOCK | FaultKind.DRIFT:
                return Fault(
                    kind=kind,
                    at_ms=at,
                    span_ms=span,
                    where=self._some(None, 2),
                    amount=self._clock_error(kind),
                )
            case FaultKind.POISON:
                workers = random.sample([name for name in self.plan.hosts if is_worker(name)], 2)
                drift = self.plan.knobs.drift_ms_max
                ahead = random.choice([drift + 50, 3_600_000, 315_360_000_000, -1])
                pairs = [(workers[0], workers[1])]
                return Fault(kind=kind, at_ms=at, span_ms=1, pairs=pairs, amount=ahead)
            case FaultKind.CRASH | FaultKind.ZOMBIE:
                where = self._some(is_worker, 2 if kind is FaultKind.CRASH else 1)
                return Fault(kind=kind, at_ms=at, span_ms=span, where=where)
            case FaultKind.ROLLING:
                where = self._some(random.choice([is_worker, None]), 9)
                return Fault(
                    kind=kind, at_ms=at, span_ms=max(span, 4_000 * len(where)), where=where
                )
            case (
                FaultKind.GATEWAY_CRASH
                | FaultKind.DRAIN
                | FaultKind.STORM
                | FaultKind.CLIENT_CUT
                | FaultKind.GARBAGE
            ):
                most = 1 if kind in (FaultKind.DRAIN, FaultKind.GATEWAY_CRASH) else 3
                share = random.choice([0.3, 1.0]) if kind is FaultKind.CLIENT_CUT else 0
                where = self._some(is_gateway, most)
                return Fault(kind=kind, at_ms=at, span_ms=span, where=where, amount=share)
            case FaultKind.PAUSE:
                return Fault(kind=kind, at_ms=at, span_ms=span, where=self._some(None, 1))
            case _:
                return Fault(
                    kind=kind,
                    at_ms=at,
                    span_ms=span,
                    where=self._some(None, 3),
                    amount=self._amount(kind),
                )

    def _topology(self) -> str:
        names = [name for name in TOPOLOGIES if self._can_be(name)]
        return self.random.choice(names)

    def _can_be(self, topology: str) -> bool:
        try:
            cut_pairs(topology, self.plan.hosts, Random(0))
        except UsageError:
            return False
        return True

    def _clock_error(self, kind: FaultKind) -> float:
        drift = self.plan.knobs.drift_ms_max
        if kind is FaultKind.DRIFT:
            return self.random.choice([-20_000, -200, 200, 20_000])
        # Ahead by far more, and set right again, a worker would not stamp for as long: see docs.
        return self.random.choice([-4, 4, drift // 3, -drift // 3, 2 * drift, -2 * drift, -288_000])

    def _amount(self, kind: FaultKind) -> float:
        random = self.random
        match kind:
            case FaultKind.LOSS:
                return random.choice([0.01, 0.05, 0.2, 0.3])
            case FaultKind.DUPLICATE:
                return random.choice([0.2, 0.5])
            case FaultKind.CORRUPT:
                return random.choice([0.001, 0.02])
            case FaultKind.REORDER:
                return random.choice([50, 400])
            case FaultKind.DELAY:
                return random.choice([50, 1_000])
            case FaultKind.RATE:
                return random.choice([2_000, 20_000])
            case _:
                return 0.0


def _losses(plan: Plan, random: Random) -> tuple[list[NodeName], list[NodeName]]:
    """Who never returns: dead, or cut off. Each shard keeps a replica, and people a gateway."""
    if plan.zones[1:] or random.random() < 0.6:  # noqa: PLR2004
        return [], []
    workers = [name for name in plan.hosts if is_worker(name)]
    gateways = [name for name in plan.hosts if is_gateway(name)]
    # A shard of r replicas bears the loss of r - 1 workers.
    gone = random.sample(workers, random.randint(0, plan.replicas - 1))
    gone += random.sample(gateways, random.randint(0, len(gateways) - 1))
    dies = {name: random.random() < 0.5 for name in gone}  # noqa: PLR2004
    return [name for name in gone if dies[name]], [name for name in gone if not dies[name]]
