"""What the supervisor decides, without Ray: who is known, what the directory says, who lags behind.

The supervisor has no memory of its own that matters: after a restart it hears from the actors what
they are, and from the newest directory among them which faults were in force.
"""

import msgspec

from presence_actors.actors.directory import (
    Description,
    Directory,
    Fault,
    GatewayEntry,
    Role,
    Seat,
    WorkerEntry,
    seats_of,
)
from presence_actors.config import ClusterConfig
from presence_actors.core.ids import NodeName, is_newer
from presence_actors.core.instants import Instant, WallMs

#: How long the first directory waits for a worker that does not come. Placement depends on the set
#: of workers, so a directory without one that is merely slow would move shards back and forth.
PATIENCE_MS = 15_000


class Supervision:
    """The supervisor's picture of the cluster.

    Args:
        config: The shape of the cluster.
        started: When this life of the supervisor began.
    """

    def __init__(self, config: ClusterConfig, *, started: Instant) -> None:
        self._config = config
        self._started = started
        self._directory = Directory()
        #: {name: its latest description}. Stays when an actor falls silent: it will come back.
        self._described: dict[NodeName, Description] = {}
        self._seats = {seat.node_name: seat for seat in seats_of(config)}

    @property
    def directory(self) -> Directory:
        """The newest directory."""
        return self._directory

    def describe(self) -> list[Description]:
        """The latest word of every actor that was ever heard, in the order of the seats."""
        return [self._described[name] for name in self._seats if name in self._described]

    def recover(self, directory: Directory) -> None:
        """Take over what an earlier life of the supervisor had told; an older one is ignored."""
        if directory.version > self._directory.version:
            self._directory = directory

    def learn(self, description: Description) -> None:
        """Take an actor's word; that of an earlier life than the known one comes too late."""
        known = self._described.get(description.name)
        if description.name not in self._seats:
            return
        if known is None or not is_newer(known.node, than=description.node):
            self._described[description.name] = description

    def inject(self, faults: list[Fault]) -> None:
        """Add faults; a new one replaces the same kind on the same way."""
        ways = {(fault.kind, fault.source, fault.target) for fault in faults}
        kept = [
            fault
            for fault in self._directory.faults
            if (fault.kind, fault.source, fault.target) not in ways
        ]
        self._directory = msgspec.structs.replace(
            self._directory, version=self._directory.version + 1, faults=(*kept, *faults)
        )

    def heal(self) -> None:
        """End all faults."""
        self._directory = msgspec.structs.replace(
            self._directory, version=self._directory.version + 1, faults=()
        )

    def retire(self, zone: str) -> None:
        """Give up another zone; harmless when said twice."""
        self._set_retired({*self._directory.retired, zone})

    def restore(self, zone: str) -> None:
        """Expect another zone again."""
        self._set_retired({*self._directory.retired} - {zone})

    def _set_retired(self, zones: set[str]) -> None:
        self._directory = msgspec.structs.replace(
            self._directory, version=self._directory.version + 1, retired=tuple(sorted(zones))
        )

    def renew_directory(self, *, instant: Instant, wall: WallMs) -> bool:
        """Bring the directory up to date with what was learnt; whether it changed.

        Versions follow the wall time, so that those of a restarted supervisor go on from there.
        """
        workers = tuple(
            WorkerEntry(known.name, known.node, known.host, known.link_address)
            for known in self._of_role("worker")
            if known.link_address is not None
        )
        everybody = len(workers) == self._config.workers
        patient = instant < self._started + PATIENCE_MS
        if not everybody and patient:
            return False
        known_before = {entry.name: entry for entry in self._directory.workers}
        # Whom an earlier life of the supervisor knew keeps its place until it is heard again.
        now_known = {**known_before, **{entry.name: entry for entry in workers}}
        gateways_before = {entry.name: entry for entry in self._directory.gateways}
        gateways_now = {
            **gateways_before,
            **{
                known.name: GatewayEntry(known.name, known.node, known.url)
                for known in self._of_role("gateway")
                if known.url is not None
            },
        }
        renewed = msgspec.structs.replace(
            self._directory,
            workers=tuple(now_known[name] for name in self._seats if name in now_known),
            gateways=tuple(gateways_now[name] for name in self._seats if name in gateways_now),
        )
        if renewed == self._directory or not renewed.workers:
            return False
        self._directory = renewed.with_version(max(self._directory.version + 1, wall))
        return True

    def behind(self) -> list[Seat]:
        """Those whose last word came with an older directory than ours."""
        return [
            seat
            for name, seat in self._seats.items()
            if name in self._described
            and self._described[name].directory_version < self._directory.version
        ]

    def ahead(self) -> list[Seat]:
        """Those who have a newer directory: an earlier life of the supervisor told them."""
        return [
            seat
            for name, seat in self._seats.items()
            if name in self._described
            and self._described[name].directory_version > self._directory.version
        ]

    def told(self, name: NodeName, version: int) -> None:
        """An actor has taken a directory."""
        known = self._described.get(name)
        if known is not None:
            self._described[name] = msgspec.structs.replace(known, directory_version=version)

    def _of_role(self, role: Role) -> list[Description]:
        return [
            self._described[name]
            for name, seat in self._seats.items()
            if seat.role == role and name in self._described
        ]
