"""What a run is, as data: the shape of the cluster, its people, and every fault with its time.

A plan is drawn from a seed before the run begins (`swarm`) and decides all of it, together with the
seed of the world. Each person draws from a source of their own, so that a plan with fewer people or
fewer faults is still nearly the same run: that is what makes a failure shrink.
"""

from __future__ import annotations

import enum
from functools import cached_property
from typing import Final

import msgspec

from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.ids import NodeName

__all__ = [
    "MATRIX",
    "PLAN_VERSION",
    "QUIET_MARGIN_MS",
    "AppServer",
    "Fault",
    "FaultKind",
    "Persona",
    "Plan",
    "Temper",
    "is_gateway",
    "is_worker",
    "matrix_rows",
]

#: Grows whenever a seed begins to mean another plan.
PLAN_VERSION: Final = 3
#: For what is done only now and then, and for what is on its way.
QUIET_MARGIN_MS: Final = 6_000
_PAIRS_NAMED: Final = 6
_WEBHOOK: Final = "http://127.0.0.1:1/"


class FaultKind(enum.StrEnum):
    """What can be done to a cluster."""

    #: A topology of `sim.topologies`, cut once or again and again.
    CUT = "cut"
    FLAP = "flap"
    #: The same, joined again pair by pair.
    STAGED = "staged-heal"
    #: Links that lose, repeat, delay, damage, hold back or carry little.
    LOSS = "loss"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    CORRUPT = "corrupt"
    DELAY = "delay"
    RATE = "rate"
    CLOG = "clog"
    SWIZZLE = "swizzle"
    #: Processes that end, live twice, or stand still.
    CRASH = "crash"
    ZOMBIE = "zombie"
    GATEWAY_CRASH = "gateway-crash"
    DRAIN = "drain"
    ROLLING = "rolling-restart"
    PAUSE = "pause"
    #: Clocks.
    CLOCK = "clock"
    DRIFT = "drift"
    POISON = "poison"
    #: Devices.
    STORM = "storm"
    CLIENT_CUT = "client-cut"
    GARBAGE = "garbage"


#: The rows of the fault matrix that this simulator covers, by the kinds of fault that reach them.
MATRIX: Final[dict[FaultKind, str]] = {
    FaultKind.CUT: "partition",
    FaultKind.FLAP: "flapping",
    FaultKind.STAGED: "permanent loss, staged heal",
    FaultKind.LOSS: "loss, duplicate, reorder, corrupt",
    FaultKind.DUPLICATE: "loss, duplicate, reorder, corrupt",
    FaultKind.REORDER: "loss, duplicate, reorder, corrupt",
    FaultKind.CORRUPT: "loss, duplicate, reorder, corrupt",
    FaultKind.DELAY: "delay, rate limit, clog, swizzle",
    FaultKind.RATE: "delay, rate limit, clog, swizzle",
    FaultKind.CLOG: "delay, rate limit, clog, swizzle",
    FaultKind.SWIZZLE: "delay, rate limit, clog, swizzle",
    FaultKind.CRASH: "replica crash",
    FaultKind.ROLLING: "replica crash",
    FaultKind.ZOMBIE: "zombie replica",
    FaultKind.GATEWAY_CRASH: "gateway crash, drain",
    FaultKind.DRAIN: "gateway crash, drain",
    FaultKind.PAUSE: "pause",
    FaultKind.CLOCK: "clocks",
    FaultKind.DRIFT: "clocks",
    FaultKind.POISON: "poisoned stamp",
    FaultKind.STORM: "reconnect storm",
    FaultKind.CLIENT_CUT: "reconnect storm",
    FaultKind.GARBAGE: "poisoned stamp",
}


#: Faults that part hosts for as long as they last.
_PARTS: Final = (FaultKind.CUT, FaultKind.STAGED, FaultKind.PAUSE)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What, where, when, and for how long."""

    kind: FaultKind
    at_ms: int
    span_ms: int
    #: The processes that it befalls; for links, those whose links are meant.
    where: list[NodeName] = []
    #: For cuts: the name of a topology, and the directed pairs that carry nothing under it.
    topology: str = ""
    pairs: list[tuple[NodeName, NodeName]] = []
    #: A rate, a delay, a number of bytes, a number of milliseconds: as the kind has it.
    amount: float = 0.0

    def __str__(self) -> str:
        words = [self.kind.value]
        if self.topology:
            words.append(self.topology)
        if self.amount:
            words.append(f"{self.amount:g}")
        words.append(", ".join(self.where) or _pairs_words(self.pairs))
        return f"{' '.join(word for word in words if word)} for {self.span_ms} ms"


class Temper(enum.StrEnum):
    """How somebody behaves."""

    #: Is there all the time; only what befalls the cluster befalls them.
    STEADY = "steady"
    #: Comes, goes, vanishes, sleeps, loses the connection.
    CHURNER = "churner"
    #: Goes from room to room, and from gateway to gateway.
    HOPPER = "hopper"
    #: Chooses what to show, and is invisible now and then.
    CHOOSER = "chooser"
    #: Changes status and meta again and again.
    SPAMMER = "spammer"
    #: Comes with many others at one moment into one room, and leaves.
    CROWD = "crowd"
    #: One of very many in one room, who stay.
    MEMBER = "member"
    #: Goes over to another gateway, which another side of a cut may hold, and says goodbye there.
    FUGITIVE = "fugitive"
    #: One of two devices of a user that write at different gateways.
    TWIN = "twin"
    #: Is watched by very many, and changes often.
    CELEBRITY = "celebrity"
    #: Watches a celebrity, and nothing else.
    FAN = "fan"
    #: Looks on.
    WATCHER = "watcher"


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """One device of one user, and how it behaves."""

    index: int
    user: str
    temper: Temper
    device: str
    #: Where it tries to connect, in this order.
    gateways: list[NodeName]
    arrives_ms: int
    rooms: list[str] = []
    #: Whom it watches, beside the rooms.
    watches: list[str] = []
    #: The mean time between two acts.
    pace_ms: int = 10_000


class AppServer(msgspec.Struct, frozen=True, kw_only=True):
    """An app server, and how it behaves."""

    begins_ms: int
    #: The mean time between two acts.
    pace_ms: int
    #: Whom it kicks and chooses for.
    users: list[str]
    #: How many devices without a socket there are, where, and with which lease.
    meters: int
    rooms: list[str]
    lease_ms: int
    #: How long a status lasts before it is told.
    debounce_ms: int
    #: (when, for how long, whether it takes notices and only its answers are lost).
    outages: list[tuple[int, int, bool]] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A whole run."""

    seed: int
    zones: list[str]
    workers: int
    gateways: int
    shards: int
    replicas: int
    knobs: Knobs
    #: How long anything may break; the healed core has `quiet_ms` after that.
    span_ms: int
    people: list[Persona]
    faults: list[Fault]
    app: AppServer | None = None
    #: Who does not return: dead for good, or cut off from the core for good.
    dead: list[NodeName] = []
    lost: list[NodeName] = []

    def config(self) -> ClusterConfig:
        """The cluster of one zone."""
        knobs, app = self.knobs, self.app
        if app is not None:
            knobs = msgspec.structs.replace(knobs, webhook_debounce_ms=app.debounce_ms)
        return ClusterConfig(
            zone=self.zones[0],
            workers=self.workers,
            gateways=self.gateways,
            shards=self.shards,
            replicas=self.replicas,
            webhook="" if app is None else _WEBHOOK,
            knobs=knobs,
        ).check()

    @cached_property
    def hosts(self) -> list[NodeName]:
        """All processes, workers first."""
        return [
            NodeName(f"{zone}/{letter}{index}")
            for letter, count in (("w", self.workers), ("g", self.gateways))
            for zone in self.zones
            for index in range(count)
        ]

    @cached_property
    def core(self) -> list[NodeName]:
        """Who is there again after the heal."""
        return [name for name in self.hosts if name not in self.dead and name not in self.lost]

    @property
    def retention_ms(self) -> int:
        """How long ends are kept at least."""
        knobs = self.knobs
        return (
            knobs.horizon_ms
            + knobs.client_lease_ms
            + knobs.grace_connection_ms
            + knobs.grace_gateway_ms
            + knobs.unreachable_ms_max
            + 2 * knobs.drift_ms_max
        )

    @property
    def quiet_ms(self) -> int:
        """After this, counted from the heal, all that runs out by itself has run out."""
        knobs = self.knobs
        return (
            knobs.client_lease_ms
            + knobs.grace_connection_ms
            + knobs.gateway_lease_ms
            + max(knobs.grace_gateway_ms, knobs.unreachable_ms_max)
            + knobs.startup_grace_ms
            + 2 * knobs.reconnect_ms_max
            + 2 * knobs.drift_ms_max
            + QUIET_MARGIN_MS
        )


def is_worker(name: NodeName) -> bool:
    """Whether a process of this name is a worker."""
    return name.partition("/")[2].startswith("w")


def is_gateway(name: NodeName) -> bool:
    """Whether a process of this name is a gateway."""
    return name.partition("/")[2].startswith("g")


def matrix_rows(plan: Plan, effective: list[tuple[FaultKind, int]]) -> list[str]:
    """The rows of the fault matrix that a run has reached.

    Args:
        plan: The run's.
        effective: The faults that took effect, and how long each lasted.
    """
    rows = {MATRIX[kind] for kind, _ in effective}
    if any(kind in _PARTS and span >= plan.knobs.horizon_ms for kind, span in effective):
        rows.add("long isolation")
    if effective and (plan.dead or plan.lost):
        rows.add(MATRIX[FaultKind.STAGED])
    return sorted(rows)


def _pairs_words(pairs: list[tuple[NodeName, NodeName]]) -> str:
    words = [f"{sender}>{receiver}" for sender, receiver in pairs[:_PAIRS_NAMED]]
    if len(pairs) > _PAIRS_NAMED:
        words.append(f"and {len(pairs) - _PAIRS_NAMED} more")
    return " ".join(words)
