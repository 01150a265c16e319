"""One life of a simulated process, and older lives that run on beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from crdt import KeyHasher
from presence_actors.config import ClusterConfig
from presence_actors.core.events import GatewayEvent, WorkerEvent
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import ConnectionId, NodeId, NodeName, name_of
from presence_actors.core.instants import Instant, Now
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.client import Client

__all__ = ["Process", "Zombies", "new_machine"]

_HALF: Final = 0.5
#: Of every simulated cluster.
_LINK_SECRET: Final = bytes(range(32))


@dataclass(slots=True)
class Process:
    """A worker or a gateway: one life of a process, or the lack of one."""

    name: NodeName
    node: NodeId
    machine: WorkerMachine | GatewayMachine
    alive: bool = True
    wake_at: Instant | None = None
    #: Clients by connection, for a gateway.
    clients: dict[ConnectionId, Client] = field(default_factory=dict)
    #: What came in while it was paused; None while it runs.
    inbox: list[GatewayEvent | WorkerEvent] | None = None
    #: How many events it has handled since its machine was checked.
    unchecked: int = 0


def new_machine(
    node: NodeId, config: ClusterConfig, random: Random, *, first: bool, now: Now
) -> WorkerMachine | GatewayMachine:
    """The machine of a life that begins: by its name that of a worker or of a gateway."""
    if name_of(node).partition("/")[2].startswith("w"):
        return WorkerMachine(
            node,
            shards=config.shards,
            replicas=config.replicas,
            knobs=config.knobs,
            hasher=KeyHasher.derived_from(_LINK_SECRET),
            first=first,
            now=now,
            speaks=bool(config.webhook),
        )
    return GatewayMachine(
        node,
        shards=config.shards,
        replicas=config.replicas,
        knobs=config.knobs,
        rng=Random(random.getrandbits(64)),
        now=now,
    )


class Zombies:
    """Lives that run on although a newer one of the same name has begun.

    Each of the others is linked to one of the two, by chance, and hears and reaches only that one.
    """

    def __init__(self) -> None:
        self._zombies: dict[NodeName, Process] = {}
        #: {(peer, name): whether the peer is linked to the older life of that name}.
        self._linked: dict[tuple[NodeName, NodeName], bool] = {}

    def add(self, process: Process, peers: list[NodeName], random: Random) -> None:
        """This life is the older one from now on."""
        self._zombies[process.name] = process
        for peer in peers:
            self._linked[(peer, process.name)] = random.random() < _HALF

    def end(self, name: NodeName) -> None:
        """The older life ends."""
        zombie = self._zombies.pop(name, None)
        if zombie is not None:
            zombie.alive = False

    def hears(self, sender: Process, to: NodeName, present: Process | None) -> Process | None:
        """The life that a frame of this sender reaches under a name; None if it reaches nobody."""
        if not self._zombies:
            return present
        receiver = present
        if self._linked.get((sender.name, to), False):
            receiver = self._zombies.get(to, present)
        old = self._zombies.get(sender.name)
        if old is not None and self._linked[(to, sender.name)] != (old is sender):
            return None
        return receiver
