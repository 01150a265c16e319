"""The clusters of a demo: one held by this process, another one by a process of its own.

They are remembered where `presence` looks for clusters, so that `presence status`, `cut` and `heal`
in a second terminal find them; their names are the first ones that no cluster of this machine has.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from presence_actors.actors import local_ray
from presence_actors.actors.apart import ClusterApart
from presence_actors.actors.cluster import Cluster
from presence_actors.actors.directory import Inspection
from presence_actors.actors.state import StateFolder
from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.ids import ZoneId
from presence_actors.core.views import GatewayView, WorkerView, zone_lags
from presence_actors.errors import UsageError

__all__ = ["ZonePicture", "Zones", "free_names"]

#: Fewer than by default, so that a small machine runs two zones.
_SHARDS = 8


class ZonePicture(msgspec.Struct, frozen=True, kw_only=True):
    """A zone in a few numbers, as its operator sees it."""

    workers: int
    workers_up: int
    gateways: int
    gateways_up: int
    replicas: int
    replicas_ready: int
    sessions: int
    #: {another zone: how old its newest word is, in ms; None if it was never heard}
    lags: Mapping[ZoneId, int | None] = {}

    def __str__(self) -> str:
        heard = "".join(
            f", {zone} not heard yet" if lag is None else f", {zone} heard {lag / 1_000:.1f} s ago"
            for zone, lag in self.lags.items()
        )
        return (
            f"workers {self.workers_up}/{self.workers}, gateways {self.gateways_up}/"
            f"{self.gateways}, replicas ready {self.replicas_ready}/{self.replicas}, "
            f"{self.sessions} sessions{heard}"
        )


class Zones:
    """The zones of one demo, by name. Made by `start`."""

    def __init__(self, first: Cluster, others: Sequence[ClusterApart]) -> None:
        self._first = first
        self._others = others
        self._all: list[Cluster | ClusterApart] = [first, *others]
        self.names = [cluster.config.zone for cluster in self._all]
        self.urls = {cluster.config.zone: cluster.gateway_urls for cluster in self._all}
        #: The gateway that the show kills: the last one of the first zone.
        self.victim = first.config.gateways - 1

    @classmethod
    def start(
        cls, count: int, *, states: Path, port: int, knobs: Knobs, progress: Callable[[str], None]
    ) -> Self:
        """Start them, one after the other; all end with this process.

        Args:
            count: How many.
            states: Where this machine remembers its clusters.
            port: Of the first gateway; all others have the next ones.
            knobs: Of all zones.
            progress: Told what is being waited for; what it raises ends the start.

        Raises:
            PresenceError: One cannot be; none is left running.
        """
        names = free_names(states, count)
        with contextlib.ExitStack() as started:
            first = Cluster.start(
                ClusterConfig(zone=names[0], port=port, shards=_SHARDS, faults=True, knobs=knobs),
                state_dir=states / names[0],
                tied=True,
                progress=progress,
            )
            started.callback(first.stop)
            others: list[ClusterApart] = []
            for name in names[1:]:
                config = ClusterConfig(
                    zone=name,
                    port=port + first.config.gateways * (1 + len(others)),
                    join=first.link_addresses,
                    shards=_SHARDS,
                    faults=True,
                    knobs=knobs,
                )
                other = ClusterApart.start(
                    config,
                    state_dir=states / name,
                    progress=partial(progress, f"zone {name}"),
                )
                started.callback(other.stop)
                others.append(other)
            zones = cls(first, others)
            started.pop_all()
        return zones

    def stop(self) -> None:
        """End all of them."""
        with contextlib.ExitStack() as running:
            running.callback(self._first.stop)
            for other in self._others:
                running.callback(other.stop)

    def kill_gateway(self) -> None:
        """End a gateway's process, hard; Ray starts it anew."""
        self._first.kill_gateway(self.victim, hard=True)

    def cut(self) -> None:
        """Cut the first zone off from the others, silently."""
        for other in self._others:
            self._first.cut_zone(other.config.zone, other.config.workers)

    def heal(self) -> None:
        """End that."""
        self._first.heal()

    def pictures(self) -> dict[str, ZonePicture]:
        """How they are."""
        return {
            cluster.config.zone: _picture(cluster.config, cluster.inspect())
            for cluster in self._all
        }


def free_names(states: Path, count: int) -> list[str]:
    """The first letters that no cluster of this machine has for its name.

    Raises:
        UsageError: There are not so many.
    """
    names = [name for name in string.ascii_lowercase if not _is_taken(StateFolder(states / name))]
    if len(names) < count:
        raise UsageError(
            "clusters of this machine have all names from a to z",
            remedy="end some with presence down --zone NAME",
        )
    return names[:count]


def _is_taken(folder: StateFolder) -> bool:
    state = folder.read()
    if state is None:
        return False
    return state.local_ray is None or local_ray.is_running(state.local_ray)


def _picture(config: ClusterConfig, found: Mapping[str, Inspection | None]) -> ZonePicture:
    views = [inspection.view for inspection in found.values() if inspection is not None]
    workers = [view for view in views if isinstance(view, WorkerView)]
    gateways = [view for view in views if isinstance(view, GatewayView)]
    return ZonePicture(
        workers=config.workers,
        workers_up=len(workers),
        gateways=config.gateways,
        gateways_up=sum(view.ready for view in gateways),
        replicas=config.shards * config.replicas,
        replicas_ready=sum(replica.ready for view in workers for replica in view.replicas),
        sessions=sum(view.sessions for view in gateways),
        lags=zone_lags(
            ZoneId(config.zone), (replica.peers for view in workers for replica in view.replicas)
        ),
    )
