"""Which gateways can be heard, by the reports of their replicas.

A gateway is believed silent only if some replica that had it attached says so and none says that it
beats: it may have moved to another replica.
"""

from __future__ import annotations

from collections.abc import Iterable

from presence_actors.core.ids import NodeId, NodeName, is_newer, name_of
from presence_actors.core.instants import WallMs
from presence_actors.core.messages import HolderReport

__all__ = ["GatewayLives", "HolderBook"]


class HolderBook:
    """What the replicas of a shard say of gateways; the newest report of each replica counts."""

    __slots__ = ("_reports", "_said")

    def __init__(self) -> None:
        #: {reporting replica: {gateway: silent since, or None while it beats}}
        self._reports: dict[NodeName, dict[NodeId, WallMs | None]] = {}
        #: The same as it was said.
        self._said: dict[NodeName, list[HolderReport]] = {}

    def note(self, reporter: NodeName, reports: list[HolderReport]) -> bool:
        """Replaces what `reporter` said before; whether that was anything else."""
        if self._said.get(reporter) == reports:
            return False
        self._said[reporter] = reports
        self._reports[reporter] = {report.gateway: report.silent_since for report in reports}
        return True

    def forget(self, reporter: NodeName) -> None:
        """The reporter is silent itself: what it said is no longer known to be so."""
        self._said.pop(reporter, None)
        self._reports.pop(reporter, None)

    def keep_only(self, reporters: list[NodeName]) -> None:
        """Others are no replicas of the shard any more."""
        self._said = {name: self._said[name] for name in reporters if name in self._said}
        self._reports = {name: self._reports[name] for name in reporters if name in self._reports}

    def is_beating(self, gateway: NodeId) -> bool:
        """Whether some replica hears the gateway."""
        return any(
            gateway in report and report[gateway] is None for report in self._reports.values()
        )

    def silent(self) -> dict[NodeId, WallMs]:
        """Gateways that nobody hears, with the time of their last sign anywhere, sorted."""
        last: dict[NodeId, WallMs] = {}
        beating: dict[NodeId, None] = {}
        for report in self._reports.values():
            for gateway, since in report.items():
                if since is None:
                    beating[gateway] = None
                else:
                    last[gateway] = max(since, last.get(gateway, since))
        return {gateway: last[gateway] for gateway in sorted(last) if gateway not in beating}

    def summary(self, reporters: Iterable[NodeName]) -> list[HolderReport]:
        """What these replicas say, in one voice: a gateway beats if one of them hears it."""
        known: dict[NodeId, WallMs | None] = {}
        for reporter in reporters:
            for gateway, since in self._reports.get(reporter, {}).items():
                before = known.get(gateway, since)
                known[gateway] = None if since is None or before is None else max(since, before)
        return [HolderReport(gateway, known[gateway]) for gateway in sorted(known)]

    def gateways(self) -> list[NodeId]:
        """Every gateway that somebody reports, sorted."""
        return sorted({gateway: None for report in self._reports.values() for gateway in report})


class GatewayLives:
    """The newest life of each gateway; an older one is known to be dead."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        self._newest: dict[NodeName, NodeId] = {}

    def note(self, gateway: NodeId) -> bool:
        """Takes note of a life; whether it is the newest of its name."""
        name = name_of(gateway)
        newest = self._newest.get(name)
        if newest == gateway:
            return True
        if newest is not None and not is_newer(gateway, newest):
            return False
        self._newest[name] = gateway
        return True

    def is_dead(self, gateway: NodeId) -> bool:
        """Whether a newer life of the same place has been seen."""
        newest = self._newest.get(name_of(gateway))
        return newest is not None and is_newer(newest, gateway)
