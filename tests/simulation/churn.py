"""Random runs of a whole cluster, and what must be true of each of them.

A run has two phases. In the first one anything may break: people come, go, change, freeze; links
are cut, lose and repeat; processes die and start again. In the second everything that can heal
heals, nothing new happens, and after a quiet time all replicas agree, every watcher shows exactly
who is there, and nothing is pending.

The horizon is so short that ends are forgotten in each run, and in half of the runs some are cut
off for longer than it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from crdt import Stamp, pack_stamp
from presence_actors.config import ClusterConfig
from presence_actors.core.effects import LeaveHappened, StatusHappened
from presence_actors.core.ids import NodeName, ShardId
from presence_actors.core.instants import Instant
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.session import Phase
from presence_actors.core.status import intent_of
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import IntentStatus
from presence_actors.core.vocabulary import (
    Bye,
    Intent,
    Patch,
    Quality,
    Set,
    StatusFrame,
    Sub,
    Unset,
    UserStatus,
)
from presence_actors.core.watched import REASON_UNKNOWN
from presence_actors.errors import InvariantBroken
from presence_actors.sim.network import Faults
from presence_actors.sim.world import Client, World
from tests.simulation.short_knobs import HORIZON_KNOBS, KNOBS

__all__ = ["Recipe", "Swarm", "Wrong"]

ROOMS: Final = ("room:a", "room:b", "room:c")
USERS: Final = tuple(f"user{number}" for number in range(7))
REASONS: Final = ("left", "timeout", "replaced", "gateway_lost", REASON_UNKNOWN)
_PEOPLE_MAX: Final = 12
_CHURN_MS: Final = 9_000
_STEP_MS: Final = 250
#: All leases, graces and silences in a row, and a little.
_QUIET_MS: Final = 16_000


class Wrong(AssertionError):
    """What must be true is not; the recipe to see it again comes first."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides a run, and how to see it again."""

    seed: int

    def __str__(self) -> str:
        return f"python -m tests.simulation.churn {self.seed}"


@dataclass(slots=True)
class _Chances:
    """What may happen in one run; drawn from the seed, so that runs differ in kind."""

    cuts: bool
    worker_deaths: bool
    gateway_deaths: bool
    pauses: bool
    skew: bool
    faults: bool
    #: Cuts shorter than what replicas bear of a silent gateway: nobody may look offline then.
    short_cuts: bool
    #: A cut of more than the horizon, in which life goes on on both sides.
    away: bool


@dataclass(slots=True)
class Swarm:
    """One run."""

    recipe: Recipe
    world: World = field(init=False)
    random: Random = field(init=False)
    chances: _Chances = field(init=False)
    watchers: list[Client] = field(default_factory=list)
    people: list[Client] = field(default_factory=list)
    #: People whom nothing befalls but what befalls the cluster.
    steady: list[Client] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    #: When each death may be followed by the next.
    _calm_at: int = 0
    _cut_until: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.recipe.seed)
        draw = self.random.random
        self.chances = _Chances(
            cuts=draw() < 0.7,
            worker_deaths=draw() < 0.5,
            gateway_deaths=draw() < 0.4,
            pauses=draw() < 0.4,
            skew=draw() < 0.4,
            faults=draw() < 0.5,
            short_cuts=draw() < 0.5,
            away=draw() < 0.5,
        )
        self.world = World(
            ClusterConfig(
                workers=3,
                gateways=self.random.choice([2, 3]),
                shards=2,
                replicas=self.random.choice([2, 3]),
                knobs=HORIZON_KNOBS,
            ),
            seed=self.recipe.seed,
        )

    # The run.

    def run(self) -> None:
        """Both phases; raises `Wrong` at the first thing that is."""
        self._begin()
        if self.chances.skew:
            for name in sorted(self.world.processes):
                self.world.set_clock(name, ahead_ms=self.random.randrange(KNOBS.drift_ms_max - 100))
        if self.chances.faults:
            self.world.set_faults(Faults(loss=0.03, duplication=0.05, delay=0.05, delay_ms=120))
        self._churn(_CHURN_MS)
        if self.chances.away:
            self._go_away()
        self.world.set_faults(Faults())
        self.world.heal()
        self._say("heals")
        self.world.run(_QUIET_MS)
        self._check_always()
        self._check_end()

    def _churn(self, span_ms: int) -> None:
        end = self.world.elapsed_ms + span_ms
        while self.world.elapsed_ms < end:
            self.world.run(int(self.random.expovariate(1 / _STEP_MS)) + 1)
            self._act()
            self._check_always()

    def _go_away(self) -> None:
        """Some are cut off for more than the horizon, perhaps for longer than ends are kept."""
        # By then the last of the shorter cuts has healed, and whoever started anew has filled
        # itself. Nobody starts anew in this cut: it could reach no peer, and what people chose
        # would be lost with its memory, as the documents say.
        self.world.run(max(0, self._cut_until - self.world.elapsed_ms) + 3_000)
        self.chances.worker_deaths = False
        names = sorted(self.world.processes)
        left = [name for name in names if self.random.random() < 0.4]
        right = [name for name in names if name not in left]
        span = int(HORIZON_KNOBS.horizon_ms * self.random.uniform(1.05, 2.2))
        self._say(f"cut {left} | {right} for {span}")
        self.world.cut(left, right)
        self._cut_until = self.world.elapsed_ms + span + 1_000
        self._churn(span)

    def _begin(self) -> None:
        world = self.world
        world.run(600)
        count = world.config.gateways
        for index in range(count):
            order = [index, *(other for other in range(count) if other != index)]
            watcher = world.client(f"watcher{index}", gateways=order, device="screen")
            watcher.ask(Sub(topics=list(ROOMS), users=list(USERS)))
            self.watchers.append(watcher)
        for user in USERS[:2]:
            client = self._arrive(user)
            client.ask(Set(topic=ROOMS[0], meta={"steady": 1}))
            self.steady.append(client)
        world.run(500)

    def _arrive(self, user: str) -> Client:
        count = self.world.config.gateways
        order = self.random.sample(range(count), count)
        device = self.random.choice(["desktop", "mobile"])
        client = self.world.client(user, gateways=order, device=device)
        self.people.append(client)
        self._say(f"{user} arrives ({len(self.people) - 1}) at g{order[0]}")
        return client

    def _say(self, what: str) -> None:
        self.log.append(f"{self.world.elapsed_ms:6} {what}")

    # What happens.

    def _act(self) -> None:
        actions: list[tuple[int, Callable[[], None]]] = [
            (6, self._act_arrive),
            (6, self._act_join),
            (4, self._act_leave_room),
            (4, self._act_change),
            (2, self._act_status),
            (2, self._act_intent),
            (3, self._act_drop),
            (2, self._act_freeze),
            (2, self._act_thaw),
            (2, self._act_vanish),
            (2, self._act_bye),
        ]
        if self.chances.cuts:
            actions.append((5, self._act_cut))
        if self.chances.worker_deaths:
            actions.append((2, self._act_worker_death))
        if self.chances.pauses:
            actions.append((2, self._act_pause))
        if self.chances.gateway_deaths:
            actions.append((2, self._act_gateway_death))
        weights = [weight for weight, _ in actions]
        (action,) = self.random.choices([act for _, act in actions], weights)
        action()

    def _someone(self) -> Client | None:
        able = [
            client
            for client in self.people
            if client not in self.steady and not client.frozen and _is_up(client)
        ]
        return self.random.choice(able) if able else None

    def _act_arrive(self) -> None:
        if sum(_is_up(client) for client in self.people) < _PEOPLE_MAX:
            client = self._arrive(self.random.choice(USERS[2:]))
            client.ask(Set(topic=self.random.choice(ROOMS), meta={"n": self.random.randrange(9)}))

    def _act_join(self) -> None:
        if (client := self._someone()) is not None:
            room, number = self.random.choice(ROOMS), self.random.randrange(9)
            self._say(f"{self._name(client)} joins {room}")
            client.ask(Set(topic=room, meta={"n": number}))

    def _act_leave_room(self) -> None:
        if (client := self._someone()) is not None:
            room = self.random.choice(ROOMS)
            self._say(f"{self._name(client)} leaves {room}")
            client.ask(Unset(topic=room))

    def _act_change(self) -> None:
        if (client := self._someone()) is not None:
            room = self.random.choice(ROOMS)
            client.ask(Patch(topic=room, meta={"p": self.random.randrange(9)}))

    def _act_status(self) -> None:
        if (client := self._someone()) is not None:
            client.ask(Set(status=self.random.choice(["online", "away", "dnd"])))

    def _act_intent(self) -> None:
        if (client := self._someone()) is not None:
            status = self.random.choice(["", "dnd", "invisible", "invisible"])
            span = self.random.choice([None, None, 500, 3_000])
            self._say(f"{self._name(client)} chooses {status!r} for {span}")
            until = None if span is None else self.world.now.wall + span
            client.ask(Intent(status=status, until=until))

    def _act_drop(self) -> None:
        if (client := self._someone()) is not None:
            self._say(f"{self._name(client)} is dropped")
            self.world.drop(client)

    def _act_freeze(self) -> None:
        if (client := self._someone()) is not None:
            self._say(f"{self._name(client)} freezes")
            client.freeze()

    def _act_thaw(self) -> None:
        frozen = [client for client in self.people if client.frozen and not client.closed]
        if frozen:
            client = self.random.choice(frozen)
            self._say(f"{self._name(client)} thaws")
            client.thaw()

    def _act_vanish(self) -> None:
        if (client := self._someone()) is not None:
            self._say(f"{self._name(client)} vanishes")
            client.vanish()

    def _act_bye(self) -> None:
        if (client := self._someone()) is not None:
            self._say(f"{self._name(client)} says bye")
            client.ask(Bye())

    def _act_cut(self) -> None:
        if self.world.elapsed_ms < self._cut_until:
            return
        names = sorted(self.world.processes)
        left = [name for name in names if self.random.random() < 0.4]
        right = [name for name in names if name not in left]
        one_way = self.random.random() < 0.3
        longest = 1_500 if self.chances.short_cuts else 6_000
        span = self.random.randrange(100, longest)
        self._say(f"cut {left} | {right} one_way={one_way} for {span}")
        self.world.cut(left, right, one_way=one_way)
        self._cut_until = self.world.elapsed_ms + span
        self.world.at(Instant(self.world.instant + span), self.world.heal)

    def _act_worker_death(self) -> None:
        if self.world.elapsed_ms < self._calm_at:
            return
        name = NodeName(f"a/w{self.random.randrange(3)}")
        after = self.random.choice([50, 500, 1_500])
        self._calm_at = self.world.elapsed_ms + after + 3_000
        self._say(f"{name} dies for {after}")
        self.world.kill(name, restart_after_ms=after)

    def _act_gateway_death(self) -> None:
        if self.world.elapsed_ms < self._calm_at:
            return
        name = NodeName(f"a/g{self.random.randrange(self.world.config.gateways)}")
        after = self.random.choice([50, 500, 4_000])
        self._calm_at = self.world.elapsed_ms + after + 3_000
        self._say(f"{name} dies for {after}")
        self.world.kill(name, restart_after_ms=after)

    def _act_pause(self) -> None:
        running = [name for name, process in self.world.processes.items() if process.inbox is None]
        if len(running) < len(self.world.processes):
            return
        name = self.random.choice(sorted(running))
        span = self.random.randrange(100, 1_800)
        self._say(f"{name} pauses for {span}")
        self.world.pause(name)
        self.world.at(Instant(self.world.instant + span), lambda: self.world.resume(name))

    def _name(self, client: Client) -> str:
        return f"{client.name}({self.people.index(client)})"

    # What must be true.

    def _check_always(self) -> None:
        for shard in range(self.world.config.shards):
            seen: dict[object, bytes] = {}
            for replica in self._replicas(ShardId(shard)):
                presence = replica.maps()[PRESENCE]
                if presence.columns.uncovered_count():
                    continue
                rows = presence.canonical_bytes(ends_since=self._ends_since)
                known = seen.setdefault(presence.vector, rows)
                self._demand(
                    known == rows,
                    f"I1: shard {shard}: equal vectors, different rows",
                )
        if self._may_not_look_offline:
            for watcher in self.watchers:
                self._check_steady(watcher)

    @property
    def _ends_since(self) -> Stamp:
        """Tombstones that no replica may have dropped yet, whatever its clock says."""
        return pack_stamp(self.world.now.wall - HORIZON_KNOBS.horizon_ms, 0)

    @property
    def _may_not_look_offline(self) -> bool:
        return not (self.chances.gateway_deaths or self.chances.away) and (
            self.chances.short_cuts or not self.chances.cuts
        )

    def _check_steady(self, watcher: Client) -> None:
        names = [client.name for client in self.steady]
        came: set[str] = set()
        for at, event in watcher.told:
            match event:
                case StatusHappened(status=frame) if frame.user in names:
                    if frame.status == UserStatus.OFFLINE and frame.user in came:
                        self._fail(f"I7: {watcher.name} saw {frame.user} offline at {at}: {frame}")
                    if frame.status == UserStatus.ONLINE:
                        came.add(frame.user)
                case LeaveHappened(entry=entry) if entry.key in names:
                    self._fail(f"I7: {watcher.name} saw {entry.key} leave at {at}: {event}")
                case _:
                    pass

    def _check_end(self) -> None:
        self._check_replicas_equal()
        self._check_reasons()
        there = self._truth()
        for shard in range(self.world.config.shards):
            for replica in self._replicas(ShardId(shard)):
                for row in replica.maps()[PRESENCE].live_rows():
                    self._demand(row.key in there, f"ghost in shard {shard}: {row}")
        for watcher in (*self.watchers, *self._up()):
            self._demand(
                watcher.machine.inspect().pending == 0,
                f"{watcher.name} waits for {watcher.machine.inspect().pending} answers",
            )
        for watcher in self.watchers:
            self._check_watcher(watcher, there)

    def _check_replicas_equal(self) -> None:
        for shard in range(self.world.config.shards):
            for which in (PRESENCE, DURABLE):
                since = self._ends_since if which == PRESENCE else None
                states = {
                    replica.maps()[which].canonical_bytes(ends_since=since)
                    for replica in self._replicas(ShardId(shard))
                }
                self._demand(len(states) == 1, f"I2: shard {shard} map {which} differs")

    def _check_reasons(self) -> None:
        for watcher in self.watchers:
            for at, event in watcher.told:
                if isinstance(event, LeaveHappened):
                    self._demand(
                        event.reason in REASONS, f"{watcher.name} at {at}: reason {event.reason!r}"
                    )

    def _truth(self) -> dict[tuple[str, str, str], Client]:
        """Every entry that is there, by key."""
        there: dict[tuple[str, str, str], Client] = {}
        for client in (*self._up(), *self.watchers):
            view = client.machine.inspect()
            self._demand(view.phase == Phase.STANDING, f"{client.name} is {view.phase}")
            session = str(view.session)
            there[(f"default/user:{client.name}", client.name, session)] = client
            for room in view.rooms:
                there[(f"default/{room}", client.name, session)] = client
        return there

    def _up(self) -> Iterator[Client]:
        return (client for client in self.people if _is_up(client) and not client.frozen)

    def _check_watcher(self, watcher: Client, there: dict[tuple[str, str, str], Client]) -> None:
        machine = watcher.machine
        hidden = self._hidden_users()
        for room in ROOMS:
            expected = {
                entry_ref(key): (
                    client.name,
                    client.machine.meta(room),
                    client.machine._orders.status,
                )
                for key, client in there.items()
                if key[0] == f"default/{room}" and client.name not in hidden
            }
            shown = {
                ref: (entry.key, entry.meta, entry.status)
                for ref, entry in machine.entries(room).items()
            }
            self._demand(shown == expected, f"{watcher.name} {room}: {shown} is not {expected}")
            self._demand(
                machine.view(room).quality == Quality.COMPLETE,
                f"{watcher.name} {room}: {machine.view(room)}",
            )
        for user in USERS:
            frame = machine.statuses.get(user)
            self._demand(frame is not None, f"{watcher.name} knows nothing of {user}")
            if frame is not None:
                self._check_status(watcher, frame, hidden, there)

    def _check_status(
        self,
        watcher: Client,
        frame: StatusFrame,
        hidden: set[str],
        there: dict[tuple[str, str, str], Client],
    ) -> None:
        present = any(key[0] == f"default/user:{frame.user}" for key in there)
        if frame.user in hidden or not present:
            fits = frame.status == UserStatus.OFFLINE
        else:
            fits = frame.status in (UserStatus.ONLINE, UserStatus.AWAY, UserStatus.DND)
        self._demand(fits, f"{watcher.name}: {frame}, hidden={hidden}, present={present}")

    def _hidden_users(self) -> set[str]:
        wall = self.world.now.wall
        return {
            row.key[1]
            for shard in range(self.world.config.shards)
            for replica in self._replicas(ShardId(shard))
            for row in replica.maps()[DURABLE].live_rows()
            if intent_of([row], wall).status == IntentStatus.INVISIBLE
        }

    def _replicas(self, shard: ShardId) -> Iterator[ReplicaMachine]:
        for index in range(self.world.config.workers):
            replica = self.world.worker(index).replica(shard)
            if replica is not None:
                yield replica

    def _demand(self, fact: bool, words: str) -> None:
        if not fact:
            self._fail(words)

    def _fail(self, words: str) -> None:
        screen = "\n".join(self.log[-60:])
        raise Wrong(f"{self.recipe}\n{self.chances}\n{screen}\n{words}")


def _is_up(client: Client) -> bool:
    return not client.closed and client.machine.inspect().phase is not Phase.ENDED


def main(first: int, last: int) -> int:
    """Runs these seeds; how many of them went wrong."""
    wrong = 0
    for seed in range(first, last + 1):
        try:
            Swarm(Recipe(seed)).run()
            verdict = "right"
        except (Wrong, InvariantBroken) as error:
            wrong += 1
            verdict = f"WRONG\n{error}"
        sys.stdout.write(f"{seed} {verdict}\n")
        sys.stdout.flush()
    return wrong


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[-1])) > 0)
