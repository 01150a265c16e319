"""Who is answered, and how soon: in calm weather, and on each side of what is cut (I16).

An operation counts for the side on which its gateway was when it was asked for: how many workers
of its zone the gateway could hear and be heard by. What a gateway answers by itself (rooms, status,
meta) is apart from what a replica has to acknowledge (choices). Whoever lost the connection before
the answer, or had none, is left out: that is no answer, and no refusal either.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

import msgspec

from presence_actors.core.ids import NodeName, zone_of
from presence_actors.core.vocabulary import Intent
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.history import Life, Op, Outcome
from presence_actors.sim.plan import FaultKind, is_worker
from presence_actors.sim.scene import Scene

__all__ = ["Availability", "Side", "Tallies", "Tally", "merge_tallies", "tally_lines"]


class Side(enum.StrEnum):
    """Where a gateway stood when somebody asked it for something."""

    CALM = "calm"
    #: Something was the matter, and it had most of its workers, some, or none that could answer.
    MOST = "most workers in reach"
    FEW = "few workers in reach"
    NONE = "no replica in reach"


class Tally(msgspec.Struct):
    """How many were asked and answered, and how long answers took."""

    asked: int = 0
    answered: int = 0
    #: {milliseconds: how many answers took as long}.
    times: dict[int, int] = {}

    def add(self, op: Op) -> None:
        """One more operation."""
        self.asked += 1
        if op.outcome is Outcome.OK and op.took_ms is not None:
            self.answered += 1
            self.times[op.took_ms] = self.times.get(op.took_ms, 0) + 1

    def merge(self, other: Tally) -> None:
        """Those of another run."""
        self.asked += other.asked
        self.answered += other.answered
        for took_ms, count in other.times.items():
            self.times[took_ms] = self.times.get(took_ms, 0) + count

    def percentile(self, share: float) -> int | None:
        """As many milliseconds were enough for this share of the answers; None without any.

        >>> Tally(2, 2, {5: 1, 9: 1}).percentile(0.5), Tally(2, 2, {5: 1, 9: 1}).percentile(0.99)
        (5, 9)
        """
        passed = 0
        for took_ms, count in sorted(self.times.items()):
            passed += count
            if passed >= share * self.answered:
                return took_ms
        return None

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "asked": self.asked,
            "answered": self.answered,
            **{f"p{name}_ms": self.percentile(share) for name, share in _SHARES.items()},
        }

    def __str__(self) -> str:
        words = f"{self.answered:,} of {self.asked:,} answered"
        parts = [f"p{name} {self.percentile(share)} ms" for name, share in _SHARES.items()]
        return ", ".join([words, *(parts if self.answered else [])])


#: {what was asked for: {side: tally}}.
Tallies = dict[str, dict[str, Tally]]

_SHARES: Final = {"50": 0.5, "99": 0.99, "99.9": 0.999}
_BY_GATEWAYS: Final = "operations"
_BY_REPLICAS: Final = "choices"


def merge_tallies(into: Tallies, other: Tallies) -> None:
    """Adds what came out of another run."""
    for what, sides in other.items():
        for side, tally in sides.items():
            into.setdefault(what, {}).setdefault(side, Tally(times={})).merge(tally)


def tally_lines(tallies: Tallies) -> list[str]:
    """For people."""
    return [
        f"{what}, {side}: {sides[side]}"
        for what, sides in sorted(tallies.items())
        for side in Side
        if side in sides
    ]


@dataclass(slots=True)
class Availability:
    """Takes note of each operation soon after it was asked for."""

    scene: Scene
    #: {life: how many of its operations were looked at}.
    _seen: dict[int, int] = field(default_factory=dict)
    _sides: list[tuple[Op, Side]] = field(default_factory=list)

    def look(self) -> None:
        """Once a step, after the scene has been looked at."""
        for life in self.scene.history.lives:
            seen = self._seen.get(life.number, 0)
            if seen < len(life.ops):
                self._seen[life.number] = len(life.ops)
                for op in life.ops[seen:]:
                    self._sides.append((op, self._side(life, op)))

    def tallies(self) -> Tallies:
        """What became of them all."""
        found: Tallies = {}
        for op, side in self._sides:
            if op.was_interrupted:
                continue
            what = _BY_REPLICAS if isinstance(op.message, Intent) else _BY_GATEWAYS
            found.setdefault(what, {}).setdefault(side, Tally(times={})).add(op)
        return found

    def _side(self, life: Life, op: Op) -> Side:
        if self.scene.calm_ms:
            return Side.CALM
        gateway = self.scene.gateway_of(life)
        if gateway is None:
            return Side.NONE
        workers = [
            name
            for name in self.scene.plan.hosts
            if is_worker(name) and zone_of(name) == zone_of(gateway)
        ]
        heard = [name for name in workers if self._hears(gateway, name)]
        shard = self.scene.shard_of(f"default/user:{life.persona.user}")
        if not any(
            isinstance(machine := self.scene.world.processes[name].machine, WorkerMachine)
            and (not isinstance(op.message, Intent) or machine.replica(shard) is not None)
            for name in heard
        ):
            return Side.NONE
        return Side.MOST if 2 * len(heard) > len(workers) else Side.FEW

    def _hears(self, gateway: NodeName, worker: NodeName) -> bool:
        world = self.scene.world
        if world.network.is_cut(gateway, worker) or world.network.is_cut(worker, gateway):
            return False
        if any(
            {gateway, worker} & set(injected.fault.where)
            for injected in self.scene.nemesis.active
            if injected.fault.kind is FaultKind.ZOMBIE
        ):
            return False  # Which of the two lives it is linked to is left to chance.
        processes = [world.processes[name] for name in (gateway, worker)]
        return all(process.alive and process.inbox is None for process in processes)
