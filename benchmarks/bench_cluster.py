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
from statistics import median

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
    Saturate,
)
from benchmarks.service import Section, Service
from benchmarks.yardsticks import Kind, Yardstick
from presence_actors.actors.cluster import Cluster
from presence_actors.config import ClusterConfig
from presence_actors.errors import PresenceError

#: What is aimed at, on two cores.
AIM_P99_MS = 100.0
ROOM_SIZE = 20
ROUNDS = 3
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
    def round_s(self) -> float:
        """How long one load of heartbeats lasts, in each round."""
        return max(1.0, self.seconds / 8)


class Beats(msgspec.Struct, frozen=True, kw_only=True):
    """What heartbeats cost one process in one round."""

    cpu_us: float
    sent: int
    #: As fast as it can.
    per_second: float
    answered: int
    #: How busy it and the load were meanwhile.
    server_share: float
    load_share: float


class Heartbeats:
    """One process that answers heartbeats, over several rounds.

    Args:
        service: The process and its load.
        port: Where it listens.
        idle_share: What it uses of a core when nothing comes.
    """

    def __init__(self, service: Service, *, port: int, idle_share: float = 0.0) -> None:
        self._service = service
        self._port = port
        self._idle_share = idle_share
        self._rounds: list[Beats] = []

    def measure(self, plan: Plan) -> None:
        """One more round: at a fixed rate, then as fast as the process can."""
        beats = self._service.section(HeartbeatLoad(self._port, plan.heartbeats, plan.round_s))
        flood = self._service.section(Saturate(self._port, plan.round_s))
        spent = beats.gateways.cpu_s - self._idle_share * beats.result.seconds
        self._rounds.append(
            Beats(
                cpu_us=spent * 1e6 / beats.result.sent,
                sent=beats.result.sent,
                per_second=flood.result.received / plan.round_s,
                answered=flood.result.received,
                server_share=flood.gateways.cpu_s / plan.round_s,
                load_share=flood.result.cpu_s / plan.round_s,
            )
        )

    @property
    def result(self) -> Beats:
        """The medians over the rounds, and the sums of what was counted."""
        rounds = self._rounds
        return Beats(
            cpu_us=median(found.cpu_us for found in rounds),
            sent=sum(found.sent for found in rounds),
            per_second=median(found.per_second for found in rounds),
            answered=sum(found.answered for found in rounds),
            server_share=median(found.server_share for found in rounds),
            load_share=median(found.load_share for found in rounds),
        )


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    connect: Section
    connection_bytes: float
    connection_bytes_counting: float
    idle: Section
    changes: Section
    gateway: Beats
    counting: Beats
    echo: Beats


# ----------------------------------------------------------------------------------- the sections


def measure(plan: Plan, steps: Steps) -> Measured:
    """A cluster under the load, then heartbeats at one of its gateways and at the yardsticks."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(plan, steps))
        described = sorted(cluster.descriptions(), key=lambda known: known.name)
        gateways = [known for known in described if known.role == "gateway"]
        ports = [int((known.url or "").rpartition(":")[2]) for known in gateways]
        service = stack.enter_context(
            Service(
                gateways=[known.process_id for known in gateways],
                workers=[known.process_id for known in described if known.role == "worker"],
            )
        )
        steps.next(f"{plan.clients} clients connect")
        memory = service.gateways.memory
        connect = service.section(Connect(ports, plan.clients, ROOM_SIZE))
        connection_bytes = (service.gateways.memory - memory) / plan.clients
        steps.next("warming up")
        service.section(ChangeLoad(plan.rate, plan.round_s))
        steps.next("idle")
        idle = service.section(Idle(plan.round_s * 2))
        steps.next(f"{plan.rate:.0f} changes/s")
        changes = service.section(ChangeLoad(plan.rate, plan.seconds))

        steps.next("yardsticks start")
        counting = stack.enter_context(running_yardstick("counting", plan))
        echo = stack.enter_context(running_yardstick("echo", plan))
        # One gateway alone, as each yardstick is one process: the other one's part of the load
        # rests, and what it uses is that of an idle one.
        idle_share = idle.gateways.share
        contestants = [
            Heartbeats(service, port=ports[0], idle_share=idle_share),
            Heartbeats(counting.service, port=counting.port),
            Heartbeats(echo.service, port=echo.port),
        ]
        for number in range(1, ROUNDS + 1):
            # Turn about: what else the machine does meets all of them alike.
            steps.next(f"heartbeats, round {number} of {ROUNDS}")
            for contestant in contestants:
                contestant.measure(plan)
    return Measured(
        connect=connect,
        connection_bytes=connection_bytes,
        connection_bytes_counting=counting.connection_bytes,
        idle=idle,
        changes=changes,
        gateway=contestants[0].result,
        counting=contestants[1].result,
        echo=contestants[2].result,
    )


class ConnectedYardstick(msgspec.Struct, frozen=True, kw_only=True):
    """A yardstick with as many connections as one gateway has."""

    service: Service
    port: int
    connection_bytes: float


@contextlib.contextmanager
def running_yardstick(kind: Kind, plan: Plan) -> Iterator[ConnectedYardstick]:
    """A server that does nothing with heartbeats; ended, whatever happens."""
    yardstick = Yardstick(kind)
    try:
        with Service(gateways=[yardstick.process_id], workers=[]) as service:
            clients = plan.clients // plan.gateways
            memory = service.gateways.memory
            service.section(Connect([yardstick.port], clients, plain=kind == "echo"))
            yield ConnectedYardstick(
                service=service,
                port=yardstick.port,
                connection_bytes=(service.gateways.memory - memory) / clients,
            )
    finally:
        yardstick.close()


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


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(20_000, 30_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no free ports between 20000 and 30000")


# ------------------------------------------------------------------------------------ the figures


def figures(plan: Plan, found: Measured) -> list[Figure]:
    """All figures, in the order in which they are explained."""
    changes, idle, connect = found.changes, found.idle, found.connect.result
    beats, counting, echo = found.gateway, found.counting, found.echo
    result = changes.result
    latencies, lags = _milliseconds(result.latencies), _milliseconds(result.lags)
    delivered, sent = result.received, result.sent
    per_delivery = changes.gateways.per(delivered, idle=idle.gateways)
    per_change = changes.gateways.per(sent, idle=idle.gateways)
    worker_change = changes.workers.per(sent, idle=idle.workers)
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
            found.connection_bytes / 1_000,
            "kB",
            found.connection_bytes_counting / 1_000,
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

    COUNT = 6 + ROUNDS

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
        found = figures(plan, measure(plan, Steps(progress)))
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
