"""Who is where: what the supervisor knows of every actor, and tells them all.

A *seat* is a place in the cluster that survives restarts (`a/w0`); the directory says which life
sits there now and at which address its peer links listen. It also carries the faults that are to
be injected, so that a restarted actor stays as cut off as it was.

Everything here is data. `cluster_changed` and `targets` turn a directory into what a machine and
a link hub need.
"""

import re
from typing import Literal, Self

import msgspec

from presence_actors.config import ClusterConfig
from presence_actors.core.events import ClusterChanged
from presence_actors.core.ids import NodeId, NodeName, ZoneId, zone_of
from presence_actors.core.messages import Worker
from presence_actors.errors import UsageError
from presence_actors.links.connection import LinkInfo, SeedInfo

Role = Literal["worker", "gateway"]
FaultKind = Literal["cut", "delay", "loss"]

SUPERVISOR = "supervisor"


class Seat(msgspec.Struct, frozen=True, order=True):
    """A place in the cluster: its role and its number."""

    zone: str
    role: Role
    index: int

    @property
    def node_name(self) -> NodeName:
        """Its name among nodes, such as `a/w0`."""
        return NodeName(f"{self.zone}/{self.role[0]}{self.index}")

    @property
    def actor_name(self) -> str:
        """The name of its Ray actor, such as `worker-0`."""
        return f"{self.role}-{self.index}"


def seats_of(config: ClusterConfig) -> list[Seat]:
    """All seats of a cluster, workers first."""
    workers = [Seat(config.zone, "worker", index) for index in range(config.workers)]
    return workers + [Seat(config.zone, "gateway", index) for index in range(config.gateways)]


def is_worker(node: str) -> bool:
    """Whether a node id or name is of a worker's seat, in whatever zone.

    >>> is_worker("b/w0/00ff"), is_worker("b/g0")
    (True, False)
    """
    return node.split("/")[1].startswith("w")


def find_seat(config: ClusterConfig, text: str) -> Seat:
    """The seat that somebody means by `w0`, `a/w0` or `worker-0`.

    Raises:
        UsageError: There is no such seat.
    """
    seats = seats_of(config)
    for seat in seats:
        if text in (seat.node_name, seat.actor_name, seat.node_name.rpartition("/")[2]):
            return seat
    known = ", ".join(seat.node_name.rpartition("/")[2] for seat in seats)
    raise UsageError(f"there is no actor {text!r} in zone {config.zone}", remedy=f"say {known}")


def find_node(config: ClusterConfig, text: str) -> NodeName:
    """The node that somebody means: a seat of this cluster, or `b/w0` of another zone.

    Raises:
        UsageError: There is no such seat.
    """
    if re.fullmatch(r"[a-z0-9-]{1,16}/[wg][0-9]+", text) and zone_of(text) != config.zone:
        return NodeName(text)
    return find_seat(config, text).node_name


class WorkerEntry(msgspec.Struct, frozen=True):
    """The life at a worker's seat."""

    name: NodeName
    node: NodeId
    #: The Ray node that it runs on.
    host: str
    link_address: tuple[str, int]


class GatewayEntry(msgspec.Struct, frozen=True):
    """The life at a gateway's seat."""

    name: NodeName
    node: NodeId
    #: Where clients find it.
    url: str


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with the way from one node to another; the way back is another fault."""

    kind: FaultKind
    source: NodeName
    target: NodeName
    delay_ms: int = 0
    loss: float = 0.0


class Directory(msgspec.Struct, frozen=True):
    """All lives and faults, as of `version`; a greater version is newer."""

    version: int = 0
    workers: tuple[WorkerEntry, ...] = ()
    gateways: tuple[GatewayEntry, ...] = ()
    faults: tuple[Fault, ...] = ()
    #: Zones that an operator has given up.
    retired: tuple[str, ...] = ()

    def with_version(self, version: int) -> Self:
        """The same content under another version."""
        return msgspec.structs.replace(self, version=version)


class Description(msgspec.Struct, frozen=True):
    """What an actor says of itself."""

    name: NodeName
    node: NodeId
    role: Role
    #: The Ray node that it runs on.
    host: str
    process_id: int
    directory_version: int
    #: None until the peer links listen.
    link_address: tuple[str, int] | None
    #: Gateways: None until clients can connect.
    url: str | None
    #: Why it cannot start; it keeps trying.
    trouble: str | None
    #: Workers of a zone that joins others: how it stands with their addresses.
    seeds: tuple[SeedInfo, ...] = ()


class Inspection(msgspec.Struct, frozen=True):
    """A picture of one actor for people and tests; `view` is what its machine's `inspect` gave."""

    description: Description
    view: object
    links: list[LinkInfo]
    faults: list[Fault]


def cluster_changed(directory: Directory) -> ClusterChanged:
    """The directory as machines want it: names and places, whatever life sits there."""
    return ClusterChanged(
        [Worker(entry.name, entry.host, entry.link_address) for entry in directory.workers],
        {entry.name: entry.url for entry in directory.gateways},
        version=directory.version,
        retired=[ZoneId(zone) for zone in directory.retired],
    )


def is_same_cluster(one: ClusterChanged, other: ClusterChanged) -> bool:
    """Whether they differ in their versions at most."""
    return msgspec.structs.replace(one, version=other.version) == other


def targets(directory: Directory, *, name: NodeName, role: Role) -> dict[str, tuple[str, int]]:
    """Whom a node dials: gateways all workers; of two workers the smaller name the greater."""
    return {
        entry.name: entry.link_address
        for entry in directory.workers
        if role == "gateway" or name < entry.name
    }
