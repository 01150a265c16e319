"""One run from its plan to its verdict: first anything may break, then a healed core must agree.

In the first phase faults and people do as the plan says, and checkers look at every step. Then a
core is healed, what remains broken stays so for good, nobody does anything more of their own
accord, and after `Plan.quiet_ms` all must be exactly as it really is.

A verdict is `valid`, `invalid`, or `unknown`: a run whose planned faults all did nothing proves
nothing.
"""

from __future__ import annotations

import enum
import traceback
from typing import Final

import msgspec

from presence_actors.errors import InvariantBroken
from presence_actors.sim.app_servers import AppServers
from presence_actors.sim.availability import Availability, Tallies
from presence_actors.sim.checkers import COLUMNS, Checkers, Violation
from presence_actors.sim.history import History
from presence_actors.sim.meter import Meter
from presence_actors.sim.nemesis import Nemesis
from presence_actors.sim.network import Cut
from presence_actors.sim.plan import Plan, matrix_rows
from presence_actors.sim.scene import Scene
from presence_actors.sim.swarm import Options, draw_plan
from presence_actors.sim.workload import Workload
from presence_actors.sim.world import World

__all__ = ["Outcome", "Run", "Verdict", "run_seed"]

_STEP_MS: Final = 500
#: Machines check themselves after so many events; so many frames go as what they are.
_CHECK_EVERY: Final = 20
_ENCODE_EVERY: Final = 10
_TRACEBACK_LINES: Final = 12


class Outcome(enum.StrEnum):
    """What a run proved."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a run proved, and what it went through."""

    seed: int
    outcome: Outcome
    violation: Violation | None
    virtual_ms: int
    #: {kind: how many faults of it took effect}, and how many were planned in all.
    faults: dict[str, int]
    planned: int
    #: Cells of the fault matrix: a row that took effect, and a column that was looked at.
    cells: list[tuple[str, str]]
    trace_hash: str
    #: How often checkers looked, by invariant.
    looked: dict[str, int]
    #: Who was answered, and how soon (I16).
    operations: Tallies


class Run:
    """A run, step by step."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(
            plan.config(),
            seed=plan.seed,
            zones=tuple(plan.zones),
            check_every=_CHECK_EVERY,
            encode_every=_ENCODE_EVERY,
        )
        self.history = History()
        self.nemesis = Nemesis(self.world, self._say)
        self.workload = Workload(self.world, plan, self.history)
        self.app = AppServers(self.world, plan, self.history)
        self.scene = Scene(plan, self.world, self.history, self.nemesis, self.app)
        self.checkers = Checkers(self.scene)
        self.availability = Availability(self.scene)

    def execute(self) -> Verdict:
        """Both phases; the verdict says what was found first."""
        try:
            violation = self._phases()
        except InvariantBroken as error:
            violation = Violation(
                invariant="a machine's own check", at_ms=self.world.elapsed_ms, what=[str(error)]
            )
        except Exception:  # noqa: BLE001  # whatever it is, the seed has found it
            last = traceback.format_exc().strip().splitlines()[-_TRACEBACK_LINES:]
            violation = Violation(
                invariant="no machine raises", at_ms=self.world.elapsed_ms, what=last
            )
        return self._verdict(violation)

    def _phases(self) -> Violation | None:
        self.workload.begin()
        self.app.begin()
        self.nemesis.schedule(self.plan.faults)
        violation = self._until(self.plan.span_ms)
        if violation is None:
            self._end_faults()
            end_ms = self.world.elapsed_ms + self.plan.quiet_ms
            # A core that remembers nothing, and nobody to ask, has nothing to agree on.
            while violation is None and not self.scene.has_ready_core():
                if self.world.elapsed_ms >= end_ms:
                    break
                violation = self._until(self.world.elapsed_ms + _STEP_MS)
        if violation is None:
            self._heal()
            violation = self._until(self.world.elapsed_ms + self.plan.quiet_ms)
        return violation or self.checkers.end()

    def _until(self, end_ms: int) -> Violation | None:
        while self.world.elapsed_ms < end_ms:
            self.world.run(min(_STEP_MS, end_ms - self.world.elapsed_ms))
            self.scene.look()
            self.availability.look()
            violation = self.checkers.step()
            if violation is not None:
                return violation
        return None

    def _end_faults(self) -> None:
        self.nemesis.heal()
        self.world.network.heal()
        self.world.relink(*self.plan.hosts)
        meter = self.world.network.meter = Meter(frozenset(self.plan.core))
        meter.note_held(self.scene.replicas(core=True))

    def _heal(self) -> None:
        world, plan = self.world, self.plan
        for name in plan.dead:
            if world.processes[name].alive:
                world.kill(name, restart_after_ms=None)
        rest = Cut()
        pairs = [(one, other) for one in plan.lost for other in plan.core]
        world.network.impair(rest, [*pairs, *((other, one) for one, other in pairs)])
        world.relink(*plan.core)
        self.workload.be_quiet()
        self.app.be_quiet()
        self.scene.healed_ms = world.elapsed_ms
        words = f"; dead: {', '.join(plan.dead)}" if plan.dead else ""
        words += f"; cut off: {', '.join(plan.lost)}" if plan.lost else ""
        self._say(f"! the core heals{words}")

    def _say(self, what: str) -> None:
        self.history.say(self.world.elapsed_ms, what)

    def _verdict(self, violation: Violation | None) -> Verdict:
        took_effect = [
            (one.fault.kind, (one.ended_ms or self.world.elapsed_ms) - one.began_ms)
            for one in self.nemesis.injected
            if one.took_effect
        ]
        effective = [kind for kind, _ in took_effect]
        faults = {str(kind): effective.count(kind) for kind in sorted(set(effective))}
        if violation is not None:
            outcome = Outcome.INVALID
            self._say(f"* {violation}")
        elif self.plan.faults and not effective:
            outcome = Outcome.UNKNOWN
        else:
            outcome = Outcome.VALID
        rows = matrix_rows(self.plan, took_effect)
        columns = [
            column
            for column, names in COLUMNS.items()
            if any(self.checkers.looked.get(name) for name in names)
        ]
        return Verdict(
            seed=self.plan.seed,
            outcome=outcome,
            violation=violation,
            virtual_ms=self.world.elapsed_ms,
            faults=faults,
            planned=len(self.plan.faults),
            cells=[(row, column) for row in rows for column in columns],
            trace_hash=self.world.trace_hash,
            looked=dict(sorted(self.checkers.looked.items())),
            operations=self.availability.tallies(),
        )


def run_seed(seed: int, options: Options) -> Verdict:
    """The run of a seed."""
    return Run(draw_plan(seed, options)).execute()
