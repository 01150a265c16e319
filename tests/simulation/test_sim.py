"""Random runs of whole clusters, and that a broken machine does not get through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from presence_actors.cli.sim import read_seeds
from presence_actors.core.holding import Holding
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.values import LeaveReason
from presence_actors.sim.plan import MATRIX, Fault, FaultKind, Temper, matrix_rows
from presence_actors.sim.population import has_app_server
from presence_actors.sim.run import Outcome, Run, run_seed
from presence_actors.sim.shrink import shrink
from presence_actors.sim.swarm import SCENARIOS, Options, draw_plan

if TYPE_CHECKING:
    from presence_actors.core.instants import Now
    from presence_actors.core.sessions import Session

pytestmark = pytest.mark.simulation

REGRESSIONS = Path(__file__).with_name("regressions.txt")
#: `make sim` and CI run more of them.
SEEDS = range(8)


@pytest.mark.parametrize("seed", [*SEEDS, *read_seeds(REGRESSIONS)])
def test_no_promise_is_broken_in_a_run(seed: int) -> None:
    """Whatever befalls the cluster, no checker finds anything; nor in what found something once."""
    verdict = run_seed(seed, Options())
    assert verdict.violation is None, f"presence sim --seed {seed}: {verdict.violation}"
    assert verdict.virtual_ms >= 300_000


@pytest.fixture
def gateways_without_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug: who loses the connection is gone at once."""

    def linger(self: Holding, session: Session, now: Now) -> None:
        self.end(session, LeaveReason.TIMEOUT, now)

    monkeypatch.setattr(Holding, "linger", linger)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("gateways_without_grace")
def test_a_bug_is_found_by_a_seed_that_repeats_and_shrinks() -> None:
    """The whole way of a failure: found, the same again, and then with less around it.

    ```
    gateway without a grace --storm--> somebody leaves who came back at once --> I7
    ```
    """
    options = Options(scenario="storm", span_ms=140_000, people=12)
    verdict = next(
        found for seed in range(20) if (found := run_seed(seed, options)).violation is not None
    )
    assert verdict.outcome is Outcome.INVALID
    assert verdict.violation is not None
    assert verdict.violation.invariant == "I7"
    assert run_seed(verdict.seed, options) == verdict
    smaller = shrink(verdict, options)
    again = run_seed(verdict.seed, smaller)
    assert again.violation is not None
    assert again.violation.invariant == "I7"
    before, after = draw_plan(verdict.seed, options), draw_plan(verdict.seed, smaller)
    assert len(after.faults) < len(before.faults)
    assert len(after.people) <= len(before.people)
    assert len(after.hosts) < len(before.hosts)


def test_a_machine_that_raises_is_what_the_seed_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of thousands goes on, and the recipe leads to the line."""

    def stumble(self: ReplicaMachine, *_: object) -> None:
        raise ZeroDivisionError(self.shard)

    monkeypatch.setattr(ReplicaMachine, "_on_segment", stumble)
    verdict = run_seed(1, Options(scenario="calm", people=2))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.violation is not None
    assert verdict.violation.invariant == "no machine raises"
    assert verdict.violation.what[-1] == "ZeroDivisionError: 0"
    assert any("in stumble" in line for line in verdict.violation.what)


def test_a_run_whose_faults_did_nothing_proves_nothing() -> None:
    """A crash of nobody is no test: the verdict says so."""
    plan = draw_plan(1, Options(scenario="calm"))
    idle = Fault(kind=FaultKind.STORM, at_ms=1, span_ms=1, where=[plan.hosts[-1]])
    nobody = msgspec.structs.replace(plan, faults=[idle], people=[])
    assert Run(nobody).execute().outcome is Outcome.UNKNOWN
    assert Run(msgspec.structs.replace(nobody, faults=[])).execute().outcome is Outcome.VALID


def test_each_run_crosses_its_leases_and_its_horizon() -> None:
    """They are drawn so short that all of them run out within the five minutes."""
    for seed in range(50):
        plan = draw_plan(seed)
        assert plan.span_ms + plan.quiet_ms == 300_000
        assert plan.retention_ms < 300_000
        plan.knobs.check()


def test_each_kind_of_fault_is_drawn_and_has_a_row_of_the_matrix() -> None:
    """Nothing that can be done to a cluster is forgotten."""
    drawn = {fault.kind for seed in range(120) for fault in draw_plan(seed).faults}
    assert drawn == set(FaultKind) == set(MATRIX)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_draws_its_own_faults_only(scenario: str) -> None:
    """`presence sim --scenario NAME` looks for one kind of trouble."""
    options = Options(scenario=scenario)
    kinds = {fault.kind for seed in range(20) for fault in draw_plan(seed, options).faults}
    assert kinds <= set(SCENARIOS[scenario])
    assert bool(kinds) == bool(SCENARIOS[scenario])


@pytest.mark.parametrize(
    "fewer",
    [
        pytest.param(lambda options: replace(options, faults=(0, 2)), id="faults"),
        pytest.param(lambda options: replace(options, people=4), id="people"),
        pytest.param(lambda options: replace(options, hosts=len(draw_plan(3).hosts)), id="hosts"),
    ],
)
def test_a_smaller_plan_is_a_part_of_the_whole_one(fewer: Callable[[Options], Options]) -> None:
    """What remains is as it was, else shrinking would be a new search."""
    whole, part = draw_plan(3), draw_plan(3, fewer(Options()))
    assert all(fault in whole.faults for fault in part.faults)
    assert part.people == whole.people[: len(part.people)]
    assert part.knobs == whole.knobs


@pytest.mark.parametrize("seed", range(20))
def test_on_fewer_hosts_nothing_is_left_of_those_who_are_gone(seed: int) -> None:
    """Nobody connects to them, nothing befalls them, and somebody is there to heal."""
    whole = draw_plan(seed)
    for count in range(2 * len(whole.zones), len(whole.hosts)):
        part = draw_plan(seed, Options(hosts=count))
        left = part.hosts
        assert len(left) <= count
        assert set(left) < set(whole.hosts)
        assert {name for persona in part.people for name in persona.gateways} <= set(left)
        assert all(persona.gateways for persona in part.people)
        assert {name for fault in part.faults for name in fault.where} <= set(left)
        assert {name for fault in part.faults for pair in fault.pairs for name in pair} <= set(left)
        assert {name[2] for name in part.core} == {"w", "g"}
        part.config()


def test_a_cut_of_more_than_the_horizon_is_drawn_and_counts_as_long_isolation() -> None:
    """The row of the fault matrix that only a long cut reaches, and that of who never returns."""
    plans = [draw_plan(seed) for seed in range(120)]
    cuts = [
        fault.span_ms >= plan.knobs.horizon_ms
        for plan in plans
        for fault in plan.faults
        if fault.kind is FaultKind.CUT
    ]
    assert any(cuts)
    plan = next(plan for plan in plans if not plan.dead and not plan.lost)
    long = [(FaultKind.CUT, plan.knobs.horizon_ms)]
    assert matrix_rows(plan, long) == ["long isolation", "partition"]
    assert matrix_rows(plan, [(FaultKind.CUT, plan.knobs.horizon_ms - 1)]) == ["partition"]
    lost = msgspec.structs.replace(plan, lost=plan.hosts[-1:])
    assert "permanent loss, staged heal" in matrix_rows(lost, long)
    assert matrix_rows(lost, []) == []


def test_an_app_server_changes_nothing_else_of_a_plan() -> None:
    """It draws from a source of its own, and some seeds have one."""
    for seed in range(40):
        drawn = draw_plan(seed)
        alone, beside = draw_plan(seed, Options(app=False)), draw_plan(seed, Options(app=True))
        assert alone.app is None
        assert beside.app is not None
        assert msgspec.structs.replace(beside, app=None) == alone
        assert drawn == (beside if has_app_server(seed) else alone)
    assert 5 < sum(map(has_app_server, range(40))) < 35


def test_seeds_of_before_there_were_app_servers_mean_the_runs_that_they_meant() -> None:
    """Version 3 of plans differs from version 2 by the app server alone."""
    before = [48, 2018, 2095, 2110, 2174, 6391, 2652, 2662, 43]
    assert set(before) <= set(read_seeds(REGRESSIONS))
    assert not any(map(has_app_server, before))


def test_each_temper_is_drawn() -> None:
    """Nobody is described and never comes."""
    drawn = {persona.temper for seed in range(60) for persona in draw_plan(seed).people}
    assert drawn == set(Temper)


def test_twins_write_at_different_gateways() -> None:
    """The same user on both sides of a cut, wherever it goes through."""
    twins = [
        [persona.gateways[0] for persona in draw_plan(seed).people if persona.temper is Temper.TWIN]
        for seed in range(60)
    ]
    assert any(twins)
    assert all(
        one != other or len([name for name in draw_plan(seed).hosts if "/g" in name]) == 1
        for seed, pair in enumerate(twins)
        if pair
        for one, other in [pair]
    )
