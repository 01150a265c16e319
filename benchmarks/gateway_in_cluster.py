"""The rows of the gateway's benchmark that need a whole cluster on Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from benchmarks.bench_cluster import Plan as ClusterShape
from benchmarks.bench_cluster import Steps, running_cluster
from benchmarks.crowd import Clients
from benchmarks.gateway_rows import Aim, Row
from benchmarks.service import Processes

__all__ = ["ClusterPlan", "cluster_rows"]

_ROOM_SIZE: Final = 20
_BACK_S: Final = 20.0


class ClusterPlan(Protocol):
    """As much of the plan as matters here."""

    @property
    def cluster_clients(self) -> int:
        """In rooms of 20."""
        ...

    @property
    def cluster_rate(self) -> float:
        """Changes a second."""
        ...

    @property
    def cluster_s(self) -> float:
        """How long they come."""
        ...


class _Quiet(Steps):
    """Steps without a bar of their own."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def next(self, what: str) -> None:
        """The next step begins."""
        self._tell(what)


def cluster_rows(plan: ClusterPlan, tell: Callable[[str], None]) -> list[Row]:
    """Changes under way through a whole cluster, and the death of a gateway."""
    return [*_changes(plan, tell), *_death(plan, tell)]


def _changes(plan: ClusterPlan, tell: Callable[[str], None]) -> list[Row]:
    clients_count, rate = plan.cluster_clients, plan.cluster_rate
    shape = ClusterShape(
        clients=clients_count, rate=rate, seconds=plan.cluster_s, heartbeats=0, gateways=1
    )
    clients = Clients()
    try:
        with running_cluster(shape, _Quiet(tell)) as cluster:
            (gateway,) = [one for one in cluster.descriptions() if one.role == "gateway"]
            port = _port(gateway.url)
            tell(f"{clients_count:,} clients connect")
            opened = clients("open", ports=[port], count=clients_count, room_size=_ROOM_SIZE)
            clients("stir", seconds=3.0, rate=rate, room_size=_ROOM_SIZE)
            tell(f"{rate:,.0f} changes/s")
            processes = Processes([gateway.process_id])
            done = clients("stir", seconds=plan.cluster_s, rate=rate, room_size=_ROOM_SIZE)
            share = processes.used(done.seconds).share
    finally:
        clients.close()
    late = np.frombuffer(done.times, dtype=np.int64) / 1e6
    name = f"{rate:,.0f} changes/s, {clients_count:,} clients in rooms of {_ROOM_SIZE}"
    expected = round(rate * plan.cluster_s) * _ROOM_SIZE
    return [
        Row(f"{clients_count:,} connect and join", opened.opened, opened.seconds, "s"),
        Row(f"{name}, p50", len(late), float(np.percentile(late, 50)), "ms"),
        Row(f"{name}, p99", len(late), float(np.percentile(late, 99)), "ms", aim=Aim(100.0)),
        Row("of their deliveries, missing", expected, expected - len(late), "", aim=Aim(0)),
        Row("the gateway meanwhile, busy", 1, share, "cores"),
        Row("the crowd meanwhile, busy", 1, done.cpu_s / done.seconds, "cores"),
        Row("the crowd, late at the end", 1, done.late / 1e6, "ms"),
    ]


def _death(plan: ClusterPlan, tell: Callable[[str], None]) -> list[Row]:
    count = plan.cluster_clients
    shape = ClusterShape(clients=count, rate=0, seconds=0, heartbeats=0, gateways=2)
    clients, watchers = Clients(), Clients()
    try:
        with running_cluster(shape, _Quiet(tell)) as cluster:
            found = [one for one in cluster.descriptions() if one.role == "gateway"]
            first, second = sorted(found, key=lambda one: one.name)
            tell(f"{count:,} clients connect")
            clients("open", ports=[_port(first.url)], count=count, room_size=_ROOM_SIZE)
            watchers(
                "open",
                ports=[_port(second.url)],
                count=count // _ROOM_SIZE,
                room_size=1,
                joins=False,
                prefix="watcher",
            )
            watchers("listen", seconds=2.0)
            tell("their gateway is killed")
            watchers.start("listen", seconds=_BACK_S + 25.0)
            cluster.kill_gateway(0, hard=True)
            back = clients(
                "come_back", port=_port(second.url), jitter_s=10.0, count=count, within_s=60.0
            )
            heard = watchers.finish()
    finally:
        clients.close()
        watchers.close()
    return [
        Row(
            f"a gateway with {count:,} sessions is killed, all back",
            back.opened,
            back.seconds if back.opened >= count else float("inf"),
            "s",
            aim=Aim(_BACK_S),
        ),
        Row("of that, watchers heard", count // _ROOM_SIZE, heard.diffs, "diffs", aim=Aim(0)),
    ]


def _port(url: str | None) -> int:
    return int((url or "").rpartition(":")[2])
