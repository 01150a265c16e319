"""Zones: other clusters of the same service, known by what their workers say of themselves.

A zone is one Ray cluster, one failure domain. Zones know each other over peer links alone: when two
workers are linked, each tells what it knows of every zone (`ZoneReport`, of each zone the newest
counts), and passes on what was news. So a new zone needs the address of one worker
anywhere, and a worker that moved is found again by all.

Between two zones the smaller name dials, like between two workers of one zone.
"""

from __future__ import annotations

from collections.abc import Iterator

from presence_actors.core.events import ClusterChanged, Worker
from presence_actors.core.ids import NodeId, NodeName, ZoneId, name_of, zone_of
from presence_actors.core.messages import ZoneReport

__all__ = ["ZoneBook"]


class ZoneBook:
    """The newest report of each zone, our own among them."""

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._zone = zone_of(node)
        self._reports: dict[ZoneId, ZoneReport] = {}
        self._retired: dict[ZoneId, None] = {}
        #: Workers of other zones that we dial: {name: address}.
        self.targets: dict[NodeName, tuple[str, int]] = {}
        #: Whether there is any other zone that counts.
        self.has_others = False

    def note_cluster(self, event: ClusterChanged) -> bool:
        """Our own zone is this now; whether anything changed."""
        self._retired = dict.fromkeys(event.retired)
        mine = ZoneReport(self._zone, event.version, event.workers)
        changed = self._reports.get(self._zone) != mine
        self._reports[self._zone] = mine
        self._look_around()
        return changed

    def note_report(self, report: ZoneReport) -> bool:
        """Somebody told of a zone; whether it is news. Of our own zone we know best."""
        known = self._reports.get(report.zone)
        if report.zone == self._zone or (known is not None and known.version >= report.version):
            return False
        self._reports[report.zone] = report
        self._look_around()
        return True

    def reports(self) -> list[ZoneReport]:
        """What we tell others."""
        return [report for _, report in sorted(self._reports.items())]

    def others(self) -> Iterator[tuple[ZoneId, list[Worker]]]:
        """The other zones and their workers, without those that an operator has retired."""
        for zone, report in sorted(self._reports.items()):
            if zone != self._zone and zone not in self._retired:
                yield zone, report.workers

    @property
    def retired(self) -> list[ZoneId]:
        """Zones that will not come back, as an operator said."""
        return sorted(self._retired)

    def is_foreign(self, node: NodeId) -> bool:
        """Whether the node belongs to another zone."""
        return zone_of(node) != self._zone

    def neighbours(self, besides: NodeId) -> list[NodeName]:
        """To whom news go on: everybody of our zone and of others, but its bearer and ourselves."""
        skip = (name_of(besides), name_of(self._node))
        names = [worker.name for report in self._reports.values() for worker in report.workers]
        return sorted(name for name in names if name not in skip)

    def _look_around(self) -> None:
        mine = name_of(self._node)
        self.has_others = any(True for _ in self.others())
        self.targets = {
            worker.name: worker.address
            for _, workers in self.others()
            for worker in workers
            if worker.address is not None and mine < worker.name
        }
