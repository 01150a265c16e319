"""How much faster than real time the simulated world runs, on one core.

    python -m benchmarks.bench_sim [--quick] [--json FILE] [--profile]

Two worlds, without faults: a big one with the knobs as they are by default and 500 clients that
beat, and change something now and then; and a small one as a swarm of seeds has it, with short
knobs and people who come and go. CPU time of one process; the figures are medians over rounds.
"""

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, print_figures, write_figures
from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.instants import Instant
from presence_actors.core.vocabulary import Patch, Set, Sub, Unset
from presence_actors.sim.world import Client, World

#: Of so many events of a machine one is followed by a check, and of so many frames one is encoded.
SAMPLE: Final = 100
#: Knobs of a swarm: everything is crossed within seconds.
SHORT: Final = Knobs(
    heartbeat_ms=1_000,
    client_lease_ms=3_000,
    grace_connection_ms=2_000,
    grace_gateway_ms=4_000,
    gateway_beat_ms=250,
    gateway_lease_ms=1_000,
    peer_silence_ms=600,
    unreachable_after_ms=1_200,
    unreachable_ms_max=8_000,
    gossip_interval_ms=20,
    gossip_idle_ms=250,
    resend_ms=300,
    interest_linger_ms=2_000,
    snapshot_wait_ms=500,
    startup_grace_ms=2_000,
    drift_ms_max=500,
    reconnect_jitter_ms=1_000,
    reconnect_ms_max=3_000,
)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A world, and what people do in it."""

    config: ClusterConfig
    clients: int
    #: People in a room; all of them watch it.
    room: int
    #: Whom each client watches, besides.
    friends: int
    #: A client does something once in so long, on average; 0: it only beats.
    act_ms: int
    #: How often that is a broken connection, or leaving the room and coming back.
    churn: float


BIG: Final = Shape(
    config=ClusterConfig(workers=3, shards=4, gateways=3),
    clients=500,
    room=20,
    friends=5,
    act_ms=120_000,
    churn=0.05,
)
IDLE: Final = msgspec.structs.replace(BIG, act_ms=0)
SMALL: Final = Shape(
    config=ClusterConfig(workers=3, shards=3, gateways=2, knobs=SHORT),
    clients=20,
    room=7,
    friends=3,
    act_ms=10_000,
    churn=0.3,
)
#: Entry points of a profile: what is summed up under each name.
_PARTS: Final = {
    "worker machines": (("core/worker.py", "handle"),),
    "gateway machines": (("core/gateway.py", "handle"),),
    "session machines": (("core/session.py", "handle"),),
    "deadlines": (
        ("core/worker.py", "deadline"),
        ("core/gateway.py", "deadline"),
        ("core/session.py", "deadline"),
    ),
    "checks": (
        ("core/worker.py", "check"),
        ("core/gateway.py", "check"),
        ("core/session.py", "check"),
    ),
    "peer frames": (("wire/peer.py", "encode_frame"), ("wire/peer.py", "decode_frame")),
    "native frames": (
        ("wire/native.py", "encode_client"),
        ("wire/native.py", "decode_client"),
        ("wire/native.py", "encode_server"),
        ("wire/native.py", "decode_server"),
    ),
}


class Town:
    """The clients of a world, and what they do, drawn from a seed."""

    def __init__(self, shape: Shape, *, seed: int) -> None:
        self._shape = shape
        self._random = Random(seed)
        self.world = World(shape.config, seed=seed, check_every=SAMPLE, encode_every=SAMPLE)
        self.world.run(3_000)
        self.clients: list[Client] = []
        for number in range(shape.clients):
            self._arrive(number)
            self.world.run(20)
        self.world.run(shape.config.knobs.snapshot_wait_ms + 2_000)

    def _arrive(self, number: int) -> None:
        count = self._shape.config.gateways
        order = self._random.sample(range(count), count)
        client = self.world.client(f"user{number}", gateways=order)
        room = self._room(number)
        client.ask(Set(topic=room, meta={"n": number}))
        friends = self._random.sample(range(self._shape.clients), self._shape.friends)
        client.ask(Sub(topics=[room], users=[f"user{friend}" for friend in friends]))
        self.clients.append(client)
        self._act_later(number)

    def _room(self, number: int) -> str:
        return f"room:{number // self._shape.room}"

    def _act_later(self, number: int) -> None:
        if not self._shape.act_ms:
            return
        span = int(self._random.expovariate(1 / self._shape.act_ms)) + 1
        self.world.at(Instant(self.world.instant + span), lambda: self._act(number))

    def _act(self, number: int) -> None:
        client, room = self.clients[number], self._room(number)
        if self._random.random() >= self._shape.churn:
            client.ask(Patch(topic=room, meta={"at": self.world.elapsed_ms}))
        elif self._random.random() < 0.5:
            self.world.drop(client)
        else:
            client.ask(Unset(topic=room))
            client.ask(Set(topic=room, meta={"n": number}))
        self._act_later(number)

    def check(self) -> None:
        """Raises unless everybody sees everybody of their room: a broken world is fast, too."""
        self.world.run(self._shape.config.knobs.reconnect_jitter_ms)
        self.world.check()
        for number, client in enumerate(self.clients):
            room = self._room(number)
            seen = sorted(entry.key for entry in client.machine.entries(room).values())
            there = sorted(
                f"user{other}" for other in range(self._shape.clients) if self._room(other) == room
            )
            if seen != there:
                raise SystemExit(f"{client.name} sees {seen} in {room}, not {there}")


def cpu_of(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(shape: Shape, *, span_ms: int, rounds: int) -> tuple[float, float, int]:
    """CPU seconds for so much virtual time, events in a CPU second, and events in all."""
    town = Town(shape, seed=1)
    town.world.run(span_ms // 10)
    spent: list[float] = []
    rates: list[float] = []
    first = town.world.events_handled
    for _ in range(rounds):
        before = town.world.events_handled
        seconds = cpu_of(lambda: town.world.run(span_ms))
        spent.append(seconds)
        rates.append((town.world.events_handled - before) / seconds)
    events = town.world.events_handled - first
    town.check()
    return statistics.median(spent), statistics.median(rates), events


def profile(title: str, shape: Shape, *, span_ms: int, console: Console) -> None:
    """Prints where the time goes, by machine; the profiler makes small calls look dear."""
    town = Town(shape, seed=1)
    profiler = cProfile.Profile()
    profiler.runcall(town.world.run, span_ms)
    stats = pstats.Stats(profiler)
    whole: float = stats.total_tt  # type: ignore[attr-defined]
    table = Table(title=title, title_justify="left")
    for column in ("part", "calls", "seconds", "share"):
        table.add_column(column, justify="left" if column == "part" else "right")
    rest = whole
    for part, doors in _PARTS.items():
        calls, seconds = 0, 0.0
        for (file, _, name), (_, count, _, total, _) in stats.stats.items():  # type: ignore[attr-defined]
            if any(file.endswith(door) and name == function for door, function in doors):
                calls, seconds = calls + count, seconds + total
        rest -= seconds
        table.add_row(part, f"{calls:,}", f"{seconds:.2f}", f"{seconds / whole:.0%}")
    table.add_row("the world itself", "", f"{rest:.2f}", f"{rest / whole:.0%}")
    console.print(table)
    stats.sort_stats("tottime").print_stats(35)


def main() -> None:
    """Measures, prints, and writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="below a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    options = parser.parse_args()
    console = Console()
    big_ms, small_ms = (60_000, 300_000) if options.quick else (300_000, 300_000)
    if options.profile:
        profile("500 clients", BIG, span_ms=big_ms // 2, console=console)
        profile("20 clients, short knobs", SMALL, span_ms=small_ms // 2, console=console)
        return
    rounds = 3 if options.quick else 5
    big_s, big_rate, big_events = measure(BIG, span_ms=big_ms, rounds=rounds)
    idle_s, _, idle_events = measure(IDLE, span_ms=big_ms, rounds=rounds)
    small_s, small_rate, small_events = measure(SMALL, span_ms=small_ms, rounds=rounds)
    figures = [
        Figure("speed_up", big_events, big_ms / 1_000 / big_s, "x real time"),
        Figure("events_per_s", big_events, big_rate, "1/s"),
        Figure("idle_speed_up", idle_events, big_ms / 1_000 / idle_s, "x real time"),
        Figure("small_world_speed_up", small_events, small_ms / 1_000 / small_s, "x real time"),
        Figure("small_world_events_per_s", small_events, small_rate, "1/s"),
        Figure("small_world_five_minutes", small_events, small_s * 300_000 / small_ms, "s"),
    ]
    print_figures("The simulated world on one core", figures, console)
    if options.json:
        write_figures(figures, options.json)


if __name__ == "__main__":
    main()
