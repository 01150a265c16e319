"""What `bench_gateway` measures, section by section; README.md says what each figure is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import psutil

from benchmarks.crowd import Clients, Done
from benchmarks.gateway_rows import Aim, Row
from benchmarks.lone_gateway import LoneGateway
from benchmarks.raw_servers import RawServer

__all__ = ["FULL", "QUICK", "SECTIONS", "Bench", "Plan"]

ROOM = "room:measured"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    subscribers: int
    rounds: int
    few: int
    many: int
    storm: int
    idle_s: float
    slow_s: float
    people: int
    churn_s: float
    cluster_clients: int
    cluster_rate: float
    cluster_s: float


FULL = Plan(
    subscribers=5_000,
    rounds=20,
    few=1_000,
    many=19_000,
    storm=10_000,
    idle_s=20,
    slow_s=20,
    people=100_000,
    churn_s=10,
    cluster_clients=5_000,
    cluster_rate=2_000,
    cluster_s=20,
)
QUICK = Plan(
    subscribers=500,
    rounds=5,
    few=200,
    many=1_000,
    storm=500,
    idle_s=2,
    slow_s=2,
    people=2_000,
    churn_s=2,
    cluster_clients=0,
    cluster_rate=0,
    cluster_s=0,
)


class Contestant:
    """One server under the crowd."""

    def __init__(self, name: str, server: LoneGateway | RawServer) -> None:
        self.name = name
        self.server = server
        self.is_ours = isinstance(server, LoneGateway)
        self._before = 0.0

    def start(self) -> None:
        """What is measured begins."""
        self._before = cpu_s(self.server.process_id)

    def used_us(self, count: int) -> float:
        """Its CPU since then, over so many."""
        return (cpu_s(self.server.process_id) - self._before) * 1e6 / max(1, count)

    @property
    def memory(self) -> int:
        """Its resident bytes."""
        return psutil.Process(self.server.process_id).memory_info().rss


def cpu_s(process_id: int) -> float:
    """CPU of a process since its start, to the microsecond: of all of its threads."""
    spent = 0
    for task in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


class Bench:
    """The contestants, their clients, and the rows so far."""

    def __init__(
        self, plan: Plan, tell: Callable[[str], None], contestants: dict[str, list[str]]
    ) -> None:
        self.plan = plan
        self.tell = tell
        self.rows: list[Row] = []
        self._commands = contestants

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[tuple[Contestant, Clients]]:
        """One contestant, with clients of its own; both ended, whatever happens."""
        server: LoneGateway | RawServer
        server = LoneGateway() if name == "gateway" else RawServer(name, self._commands[name])
        clients = Clients()
        try:
            yield Contestant(name, server), clients
        finally:
            clients.close()
            server.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[tuple[LoneGateway, Contestant, Clients]]:
        """The gateway without yardsticks."""
        with self.running("gateway") as (contestant, clients):
            assert isinstance(contestant.server, LoneGateway)
            yield contestant.server, contestant, clients

    @property
    def yardsticks(self) -> list[str]:
        """Those that are here."""
        return list(self._commands)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        n: int = 1,
        beside: dict[str, float] | None = None,
        aims: dict[str, Aim] | None = None,
    ) -> None:
        """A row; or one for each yardstick that it is measured by."""
        aims = aims or {}
        if "" in aims or not beside:
            self.rows.append(Row(name, n, value, unit, aim=aims.get("")))
        for yardstick, baseline in (beside or {}).items():
            self.rows.append(
                Row(name, n, value, unit, yardstick, baseline, aim=aims.get(yardstick))
            )

    # --- rows that have yardsticks --------------------------------------------------------------

    def fan_out(self) -> None:
        """A change in a room, told to all who watch it; and ten changes in one tick."""
        plan, each, coalesced, size = self.plan, {}, 0.0, 0
        for name in ("gateway", *self.yardsticks):
            self.tell(f"fan-out: {name}")
            with self.running(name) as (server, clients):
                is_ours = server.is_ours
                # Ten are members and authors, the rest only watch.
                if is_ours:
                    clients("open", ports=[server.server.port], count=10, topic=ROOM)
                clients(
                    "open",
                    ports=[server.server.port],
                    count=plan.subscribers - 10 * is_ours,
                    hello=is_ours,
                    topic=ROOM if is_ours else "",
                    joins=False,
                )
                clients("listen", seconds=0.5)
                spent = []
                for _ in range(plan.rounds):
                    server.start()
                    if isinstance(server.server, RawServer):
                        clients("listen", seconds=0)
                        server.server(f"fanout {size}")
                        done = clients("gather", frames=plan.subscribers)
                    else:
                        done = clients("change", topic=ROOM, frames=plan.subscribers)
                        size = done.frame_bytes // max(1, done.frames)
                    spent.append(server.used_us(_all(done, plan.subscribers)))
                each[name] = median(spent)
                if is_ours:
                    coalesced = self._coalesced(server, clients)
        ours = each.pop("gateway")
        self.add(
            f"delivery, {size} bytes, {plan.subscribers:,} subscribers",
            ours,
            "us",
            n=plan.subscribers * plan.rounds,
            beside=each,
            aims={"C send loop": Aim(1.25), "Node ws": Aim(0.85)},
        )
        self.add(
            "diff, ten in a frame",
            coalesced,
            "us",
            n=10 * plan.subscribers * plan.rounds,
            beside={"one in a frame": ours},
            aims={"one in a frame": Aim(0.15)},
        )

    def _coalesced(self, server: Contestant, clients: Clients) -> float:
        spent = []
        for _ in range(self.plan.rounds):
            server.start()
            done = clients("change", topic=ROOM, authors=10, frames=self.plan.subscribers)
            # Ten that straddle a tick come as two frames; what is counted is diffs.
            clients("listen", seconds=0.2)
            spent.append(server.used_us(10 * _all(done, self.plan.subscribers)))
        return median(spent)

    def heartbeats(self) -> None:
        """Pings from everybody, in rounds; yardsticks only count them, or answer them, too."""
        plan = self.plan
        few: dict[str, float] = {}
        answering: dict[str, float] = {}
        for name in ("gateway", *self.yardsticks):
            self.tell(f"heartbeats: {name}")
            with self.running(name) as (server, clients):
                clients(
                    "open", ports=[server.server.port], count=plan.subscribers, hello=server.is_ours
                )
                few[name] = self._beat(server, clients, plan.subscribers, answers=False)
                answering[name] = self._beat(server, clients, plan.subscribers, answers=True)
        ours = answering.pop("gateway")
        del few["gateway"]
        name = f"heartbeat, decoded, renewed and answered, {plan.subscribers:,} clients"
        aims = {"C send loop": Aim(2.0), "Node ws": Aim(0.85)}
        beats = plan.subscribers * plan.rounds
        self.add(f"{name}; they count only", ours, "us", n=beats, beside=few, aims=aims)
        self.add(f"{name}; they answer, too", ours, "us", n=beats, beside=answering)
        at = {}
        for count in (plan.few, plan.many):
            self.tell(f"heartbeats: {count:,} clients")
            with self.running("gateway") as (server, clients):
                clients("open", ports=[server.server.port], count=count)
                at[count] = self._beat(server, clients, count, answers=True)
        self.add(
            f"heartbeat, {plan.many:,} clients",
            at[plan.many],
            "us",
            n=plan.many * self._rounds_for(plan.many),
            beside={f"{plan.few:,} clients": at[plan.few]},
            aims={f"{plan.few:,} clients": Aim(1.4)},
        )

    def _rounds_for(self, count: int) -> int:
        return max(3, self.plan.rounds * self.plan.subscribers // count // 2)

    def _beat(self, server: Contestant, clients: Clients, count: int, *, answers: bool) -> float:
        raw = server.server if isinstance(server.server, RawServer) else None
        if not answers and raw is None:
            return 0.0
        if raw is not None:
            raw(f"answer {_PONG_BYTES if answers else 0}")
        spent = []
        for _ in range(self._rounds_for(count)):
            before = raw("count") if raw is not None else 0
            server.start()
            done = clients("beat", rounds=1, answered=answers)
            while raw is not None and raw("count") - before < count:
                clients("listen", seconds=0.01)
            spent.append(server.used_us(count))
            if answers:
                _all(done, count)
        return median(spent)

    def connections(self) -> None:
        """Accepting, and what a connection holds while nothing comes."""
        plan, accept = self.plan, {}
        for name in ("gateway", *self.yardsticks):
            self.tell(f"accepting: {name}")
            with self.running(name) as (server, clients):
                server.start()
                # Like for like: no hello yet.
                done = clients(
                    "open", ports=[server.server.port], count=900, hello=False, at_once=100
                )
                accept[name] = server.used_us(done.opened)
        ours = accept.pop("gateway")
        self.add(
            "accept and upgrade",
            ours,
            "us",
            n=900,
            beside=accept,
            aims={"C send loop": Aim(7.0), "Node ws": Aim(1.0)},
        )
        self.tell("idle connections")
        with self.alone() as (gateway, server, clients):
            clients("open", ports=[gateway.port], count=100)
            clients("listen", seconds=1)
            memory = server.memory
            clients("open", ports=[gateway.port], count=plan.many - 100)
            clients("listen", seconds=1)
            each = (server.memory - memory) / (plan.many - 100) / 1_000
            self.add("memory of an idle session", each, "kB", n=plan.many, aims={"": Aim(8.0)})
            server.start()
            clients("listen", seconds=plan.idle_s)
            share = server.used_us(1) / 1e6 / plan.idle_s * 100
            self.add(
                f"idle, {plan.many:,} sessions, pings in it", share, "% core", aims={"": Aim(1.5)}
            )
            self.tell("drain")
            gateway("drain", spread_ms=4_000)
            done = clients("hear_on", seconds=9)
            others = plan.many - done.codes.get(1012, 0)
            self.add(
                f"drain of {plan.many:,}, not closed with 1012",
                others + gateway("counts")["connections"],
                "",
                n=plan.many,
                aims={"": Aim(0)},
            )

    # --- rows with an aim of their own ----------------------------------------------------------

    def storm(self) -> None:
        """Everybody at once; and again, after all were cut off."""
        plan = self.plan
        self.tell(f"storm: {plan.storm:,} at once")
        with self.alone() as (gateway, _, clients):
            bystanders = Clients()
            try:
                bystanders("open", ports=[gateway.port], count=20, prefix="bystander")
                calm = _milliseconds(bystanders("ask", seconds=3, rate=100).times)
                done = clients("open", ports=[gateway.port], count=plan.storm, at_once=plan.storm)
                self.add(
                    f"storm of {plan.storm:,}, all welcomed",
                    done.seconds,
                    "s",
                    n=done.opened,
                    aims={"": Aim(4.0)},
                )
                self.add("refusals on the way", done.failed, "", n=plan.storm)
                self.add("the crowd meanwhile, busy", done.cpu_s / done.seconds, "cores")
                clients("cut")
                clients("listen", seconds=1)
                bystanders.start("ask", seconds=8, rate=100)
                back = clients(
                    "come_back",
                    port=gateway.port,
                    jitter_s=0.0,
                    count=plan.storm,
                    within_s=60,
                )
                busy = _milliseconds(bystanders.finish().times)
                self.add(
                    f"{plan.storm:,} return at once, all back",
                    back.seconds,
                    "s",
                    n=back.opened,
                    aims={"": Aim(30.0)},
                )
                self.add(
                    "bystanders' answers meanwhile, p99",
                    _percentile(busy, 99),
                    "ms",
                    n=len(busy),
                    beside={"before": _percentile(calm, 99)},
                    aims={"before": Aim(2.0)},
                )
            finally:
                bystanders.close()

    def slow_reader(self) -> None:
        """One reads nothing while its room is busy, and the others hear everything."""
        self.tell("a slow reader")
        with self.alone() as (gateway, _, clients):
            clients("open", ports=[gateway.port], count=10, topic=ROOM)
            clients("open", ports=[gateway.port], count=90, topic=ROOM, joins=False)
            clients("stop_reading", index=20)
            gateway.start("watch_unsent", seconds=self.plan.slow_s)
            until = time.monotonic() + self.plan.slow_s
            while time.monotonic() < until:
                clients("change", topic=ROOM, authors=10, frames=99, filler=3_000)
            unsent, kernel = gateway.finish()
            counts = gateway("counts")
            self.add("held for one who reads nothing", unsent / 1_000, "kB", aims={"": Aim(128)})
            steps = sum(count for name, count in counts.items() if name.startswith("lag_"))
            self.add("the same in the kernel", kernel / 1_000, "kB")
            self.add("steps of its ladder", steps, "")

    def slices(self) -> None:
        """How long others wait while a large room is told something."""
        plan = self.plan
        self.tell("a slice of a fan-out")
        with self.alone() as (gateway, _, clients):
            clients("open", ports=[gateway.port], count=10, topic=ROOM)
            clients("open", ports=[gateway.port], count=plan.storm - 10, topic=ROOM, joins=False)
            clients("listen", seconds=1)
            gateway.start("watch_loop", seconds=4)
            clients("listen", seconds=0.3)
            for _ in range(5):
                _all(clients("change", topic=ROOM, frames=plan.storm), plan.storm)
            held = gateway.finish()
            self.add(f"loop held by a fan-out to {plan.storm:,}", held, "ms", aims={"": Aim(10.0)})

    def joins(self) -> None:
        """300 people into one room at once, who all watch it."""
        self.tell("300 join one room")
        with self.alone() as (gateway, _, clients):
            done = clients("open", ports=[gateway.port], count=300, topic=ROOM, at_once=300)
            later = clients("listen", seconds=2)
            # Those behind the first picture.
            frames = (done.diffs + later.diffs) / 300
            self.add("300 join at once, frames for each", frames, "", n=300, aims={"": Aim(3)})
            self.add("300 join at once, all in sync", done.seconds, "s", n=300, aims={"": Aim(1.5)})

    def huge_room(self) -> None:
        """A room of people without sockets, and 100 who watch it."""
        plan = self.plan
        self.tell(f"a room of {plan.people:,}")
        with self.alone() as (gateway, _, clients):
            seconds = gateway("populate", topic=ROOM, count=plan.people)
            self.add(f"{plan.people:,} join, without sockets", seconds, "s", n=plan.people)
            clients("open", ports=[gateway.port], count=1, topic=ROOM, joins=False)
            clients("listen", seconds=5)
            done = clients("open", ports=[gateway.port], count=1, topic=ROOM, joins=False)
            rest = clients("listen", seconds=5)
            first = _milliseconds(done.times)
            self.add(
                f"first page of {plan.people:,}", _percentile(first, 50), "ms", aims={"": Aim(100)}
            )
            self.add(f"pages of {plan.people:,}", done.frames + rest.frames - 1, "", n=plan.people)
            done = clients("open", ports=[gateway.port], count=98, topic=ROOM, joins=False)
            self.add("98 more watch it, all in sync", done.seconds, "s", aims={"": Aim(5.0)})
            clients("listen", seconds=10)
            gateway.start(
                "churn", topic=ROOM, rate=1_000.0, seconds=plan.churn_s, people=plan.people
            )
            done = clients("listen", seconds=plan.churn_s + 1)
            gateway.finish()
            late = _milliseconds(done.times)
            self.add(
                "1,000 changes/s in it, p99 to 100 watchers",
                _percentile(late, 99),
                "ms",
                n=len(late),
                aims={"": Aim(250.0)},
            )
            self.add("the crowd meanwhile, busy", done.cpu_s / done.seconds, "cores")


#: As ours is: {"type":"pong","t":1,"server_ms":1764000000000}.
_PONG_BYTES = 48


def _all(done: Done, count: int) -> int:
    """The count, if so many came."""
    if done.frames < count:
        raise RuntimeError(f"{done.frames:,} of {count:,} frames came within the time")
    return count


def _milliseconds(packed: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.frombuffer(packed, dtype=np.int64) / 1e6


def _percentile(values: np.ndarray[tuple[int], np.dtype[np.float64]], share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else float("nan")


SECTIONS = (
    Bench.fan_out,
    Bench.heartbeats,
    Bench.connections,
    Bench.storm,
    Bench.slow_reader,
    Bench.slices,
    Bench.joins,
    Bench.huge_room,
)
