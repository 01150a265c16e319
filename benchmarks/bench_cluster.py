"""Latency and cost of a whole cluster on this machine.

    python -m benchmarks.bench_cluster [--quick] [--json FILE] [--clients 1000] [--rate 500]

Starts a cluster on Ray as `presence up` does, and a load in a process of its own; README.md beside
this file says what each figure is and how it is measured. Nothing is left running.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.figures import Figure, print_figures, write_figures
from benchmarks.load import (
    ChangeLoad,
    Connect,
    HeartbeatLoad,
    Idle,
    Load,
    Result,
    Saturate,
)
from benchmarks.yardsticks import Yardstick
from presence_actors.actors.cluster import Cluster
from presence_actors.config import ClusterConfig
from presence_actors.errors import PresenceError

#: What is aimed at, on two cores.
AIM_P99_MS = 100.0
ROOM_SIZE = 20
#: Two changes of one client within a tick are told as one, and the first would count as lost.
CHANGES_PER_CLIENT_MAX = 4
CLIENTS_QUICK_MAX = 300
SECONDS_QUICK_MAX = 5.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    clients: int
    rate: float
    seconds: float
    heartbeats: float
    workers: int = 2
    gateways: int = 2
    shards: int = 16

    @property
    def short_s(self) -> float:
        """Of the sections where less will do."""
        return max(2.0, self.seconds / 4)


class Usage(msgspec.Struct, frozen=True):
    """What a group of processes used during a section."""

    cpu_s: float
    seconds: float

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu_s / self.seconds

    def per(self, count: int, *, idle: Self | None = None) -> float:
        """Microseconds each, without what would have been used anyway."""
        spent = self.cpu_s - (idle.share * self.seconds if idle is not None else 0.0)
        return spent * 1e6 / max(1, count)


class Processes:
    """Some processes, and what they have used since the last look."""

    def __init__(self, process_ids: list[int]) -> None:
        self._processes = [psutil.Process(process_id) for process_id in process_ids]
        self._before = self._cpu_s()

    def start(self) -> None:
        """A section begins."""
        self._before = self._cpu_s()

    def used(self, seconds: float) -> Usage:
        """What was used in a section that took so long."""
        return Usage(self._cpu_s() - self._before, seconds)

    @property
    def memory(self) -> int:
        """Their resident bytes."""
        return sum(process.memory_info().rss for process in self._processes)

    def _cpu_s(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(time.user + time.system for time in times)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one section: at the load, and in the processes of the service."""

    result: Result
    gateways: Usage
    workers: Usage | None = None


class Service:
    """A load, and the processes of the service that it is for."""

    def __init__(self, *, gateways: list[int], workers: list[int]) -> None:
        self.load = Load()
        self.gateways = Processes(gateways)
        self.workers = Processes(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.load.close()

    def section(self, command: Connect | Idle | ChangeLoad | HeartbeatLoad | Saturate) -> Section:
        """Have the load do something, and see what it cost."""
        self.gateways.start()
        self.workers.start()
        result = self.load(command)
        return Section(
            result=result,
            gateways=self.gateways.used(result.seconds),
            workers=self.workers.used(result.seconds),
        )


class Heartbeats(msgspec.Struct, frozen=True, kw_only=True):
    """What heartbeats cost one service."""

    cpu_us: float
    sent: int
    #: As fast as one process of the service can.
    per_second: float
    answered: int
    #: How busy that process and the load were meanwhile.
    server_share: float
    load_share: float
    bytes_per_connection: float = 0.0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about the cluster."""

    connect: Section
    bytes_per_connection: float
    idle: Section
    changes: Section
    heartbeats: Heartbeats


# ----------------------------------------------------------------------------------- the sections


def measure_heartbeats(service: Service, plan: Plan, *, port: int, idle: Section) -> Heartbeats:
    """At a fixed rate over all clients, then as fast as the process at `port` can."""
    beats = service.section(HeartbeatLoad(plan.heartbeats, plan.short_s))
    _require_all(beats.result, "heartbeats")
    flood = service.section(Saturate(port, plan.short_s))
    return Heartbeats(
        cpu_us=beats.gateways.per(beats.result.received, idle=idle.gateways),
        sent=beats.result.sent,
        per_second=flood.result.received / plan.short_s,
        answered=flood.result.received,
        server_share=flood.gateways.cpu_s / plan.short_s,
        load_share=flood.result.cpu_s / plan.short_s,
    )


def measure_cluster(plan: Plan, steps: Steps) -> Measured:
    """A cluster of the given size under the load."""
    with running_cluster(plan, steps) as cluster:
        described = cluster.descriptions()
        ports = sorted(int(url.rpartition(":")[2]) for url in cluster.gateway_urls)
        pids = {
            role: [known.process_id for known in described if known.role == role]
            for role in ("gateway", "worker")
        }
        with Service(gateways=pids["gateway"], workers=pids["worker"]) as service:
            steps.next(f"{plan.clients} clients connect")
            memory = service.gateways.memory
            connect = service.section(Connect(ports, plan.clients, ROOM_SIZE))
            per_connection = (service.gateways.memory - memory) / plan.clients
            steps.next("warming up")
            service.section(ChangeLoad(plan.rate, plan.short_s / 2))
            steps.next("idle")
            idle = service.section(Idle(plan.short_s))
            steps.next(f"{plan.rate:.0f} changes/s")
            changes = service.section(ChangeLoad(plan.rate, plan.seconds))
            _require_all(changes.result, "deliveries")
            steps.next("heartbeats")
            heartbeats = measure_heartbeats(service, plan, port=ports[0], idle=idle)
    return Measured(
        connect=connect,
        bytes_per_connection=per_connection,
        idle=idle,
        changes=changes,
        heartbeats=heartbeats,
    )


def measure_yardstick(kind: str, plan: Plan, steps: Steps) -> Heartbeats:
    """The same heartbeats at a server that does nothing with them."""
    steps.next(f"yardstick: {kind}")
    yardstick = Yardstick(kind)
    try:
        with Service(gateways=[yardstick.process_id], workers=[]) as service:
            memory = service.gateways.memory
            service.load(Connect([yardstick.port], plan.clients, plain=kind == "echo"))
            per_connection = (service.gateways.memory - memory) / plan.clients
            idle = service.section(Idle(1.0))
            found = measure_heartbeats(service, plan, port=yardstick.port, idle=idle)
    finally:
        yardstick.close()
    return msgspec.structs.replace(found, bytes_per_connection=per_connection)


@contextlib.contextmanager
def running_cluster(plan: Plan, steps: Steps) -> Iterator[Cluster]:
    """A cluster that is ended, whatever happens."""
    steps.next("the cluster starts")
    config = ClusterConfig(
        zone="bench",
        workers=plan.workers,
        gateways=plan.gateways,
        shards=plan.shards,
        port=_free_ports(plan.gateways),
    )
    with tempfile.TemporaryDirectory(prefix="presence-bench-") as folder:
        cluster = Cluster.start(config, state_dir=Path(folder) / "bench", tied=True)
        try:
            yield cluster
        finally:
            cluster.stop()


def _require_all(result: Result, what: str) -> None:
    """A benchmark of a service that loses things would be a benchmark of losing."""
    assert result.received == result.expected, f"{result.received} of {result.expected} {what} came"


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(20_000, 30_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no free ports between 20000 and 30000")


# ------------------------------------------------------------------------------------ the figures


def figures(plan: Plan, cluster: Measured, counting: Heartbeats, echo: Heartbeats) -> list[Figure]:
    """All figures, in the order in which they are explained."""
    changes, idle, beats = cluster.changes, cluster.idle, cluster.heartbeats
    result = changes.result
    assert changes.workers is not None
    assert idle.workers is not None
    latencies, lags = _milliseconds(result.latencies), _milliseconds(result.lags)
    delivered, sent = result.received, result.sent
    per_delivery = changes.gateways.per(delivered, idle=idle.gateways)
    per_change = changes.gateways.per(sent, idle=idle.gateways)
    worker_change = changes.workers.per(sent, idle=idle.workers)
    connect = cluster.connect.result
    return [
        Figure("change to subscriber, p50", delivered, _percentile(latencies, 50), "ms"),
        Figure("change to subscriber, p99", delivered, _percentile(latencies, 99), "ms"),
        Figure("change to subscriber, p99.9", delivered, _percentile(latencies, 99.9), "ms"),
        Figure("changes", sent, sent / result.seconds, "1/s"),
        Figure("deliveries", delivered, delivered / result.seconds, "1/s"),
        Figure("gateway CPU per delivery", delivered, per_delivery, "us"),
        Figure("gateway CPU per change", sent, per_change, "us"),
        Figure("worker CPU per change", sent, worker_change, "us"),
        Figure("gateways, busy each", 1, changes.gateways.share / plan.gateways, "cores"),
        Figure("workers, busy each", 1, changes.workers.share / plan.workers, "cores"),
        Figure("gateway CPU per heartbeat", beats.sent, beats.cpu_us, "us", counting.cpu_us),
        Figure(
            "heartbeats of one gateway",
            beats.answered,
            beats.per_second,
            "1/s",
            counting.per_second,
        ),
        Figure("that gateway, busy", 1, beats.server_share, "cores"),
        Figure("the load meanwhile, busy", 1, beats.load_share, "cores"),
        Figure("TCP echo, CPU per heartbeat", echo.sent, echo.cpu_us, "us", counting.cpu_us),
        Figure("TCP echo, heartbeats", echo.answered, echo.per_second, "1/s", counting.per_second),
        Figure(
            "gateway memory per connection",
            plan.clients,
            cluster.bytes_per_connection / 1_000,
            "kB",
            counting.bytes_per_connection / 1_000,
        ),
        Figure("clients connect and join", connect.sent, connect.sent / connect.seconds, "1/s"),
        Figure("the load, busy", 1, result.cpu_s / result.seconds, "cores"),
        Figure("the load, late by, p99", sent, _percentile(lags, 99), "ms"),
    ]


def _milliseconds(packed: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.frombuffer(packed, dtype=np.int64) / 1e6


def _percentile(values: np.ndarray[tuple[int], np.dtype[np.float64]], share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else 0.0


class Steps:
    """The progress bar."""

    COUNT = 8

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=self.COUNT)

    def next(self, what: str) -> None:
        """The next step begins."""
        self._progress.update(self._task, description=what, advance=1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1_000, help="in rooms of 20")
    parser.add_argument("--rate", type=float, default=500.0, help="changes a second")
    parser.add_argument("--heartbeats", type=float, default=4_000.0, help="heartbeats a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long changes come")
    parser.add_argument("--quick", action="store_true", help="below a minute, with fewer clients")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.clients < ROOM_SIZE:
        parser.error(f"--clients {options.clients}: at least one room of {ROOM_SIZE} is wanted")
    if min(options.rate, options.heartbeats, options.seconds) <= 0:
        parser.error("--rate, --heartbeats and --seconds must be greater than 0")
    return options


def main() -> None:
    """Measure, and print the table."""
    options = _options()
    clients, seconds = options.clients, options.seconds
    if options.quick:
        clients, seconds = min(clients, CLIENTS_QUICK_MAX), min(seconds, SECONDS_QUICK_MAX)
    if options.rate > clients * CHANGES_PER_CLIENT_MAX:
        raise SystemExit(
            f"--rate {options.rate:g}: {clients} clients change at most "
            f"{clients * CHANGES_PER_CLIENT_MAX} times a second in all; take more clients"
        )
    plan = Plan(
        clients=clients - clients % ROOM_SIZE,
        rate=options.rate,
        seconds=seconds,
        heartbeats=options.heartbeats,
    )
    console = Console(highlight=False)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        steps = Steps(progress)
        cluster = measure_cluster(plan, steps)
        counting = measure_yardstick("counting", plan, steps)
        echo = measure_yardstick("echo", plan, steps)
    found = figures(plan, cluster, counting, echo)
    title = (
        f"{plan.clients} clients in rooms of {ROOM_SIZE}, {plan.gateways} gateways, "
        f"{plan.workers} workers, {psutil.cpu_count()} cores; baseline: aiohttp, counting only"
    )
    print_figures(title, found, console)
    p99 = next(figure.value for figure in found if figure.name.endswith("p99"))
    verdict = "within" if p99 < AIM_P99_MS else "MISSES"
    console.print(f"p99 = {p99:.1f} ms {verdict} the aim of {AIM_P99_MS:.0f} ms")
    if options.json is not None:
        write_figures(found, options.json)


if __name__ == "__main__":
    try:
        main()
    except PresenceError as error:
        sys.exit(f"bench_cluster: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
