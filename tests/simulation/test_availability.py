"""I16 as figures: who was answered how soon, in calm weather and on each side of a cut."""

from __future__ import annotations

import pytest

from presence_actors.core.vocabulary import Intent, Set
from presence_actors.sim.availability import Side, Tally, merge_tallies, tally_lines
from presence_actors.sim.plan import is_worker
from presence_actors.sim.run import Run
from tests.simulation.well_run import pass_time, somebody, well_run

pytestmark = pytest.mark.simulation


@pytest.fixture
def run() -> Run:
    """Nothing is the matter, and nobody has been counted yet."""
    run = well_run()
    pass_time(run, 500)
    run.availability.look()
    run.availability._sides.clear()
    return run


def test_answers_count_for_the_side_on_which_they_were_asked_for(run: Run) -> None:
    """Once in calm weather, then with one of two workers in reach, then with none.

    ```
    g0 --choice--> w0, w1      g0 --choice--> w0 (w1 is cut off)      g0 --choice--> X ... heal
    ```
    """
    life = somebody(run)
    gateway = run.scene.gateway_of(life)
    workers = [name for name in run.plan.hosts if is_worker(name)]
    assert gateway is not None
    assert len(workers) == 2

    def choose(span_ms: int) -> None:
        life.ask(Intent(status="dnd"), run.world.elapsed_ms)
        run.world.run(span_ms)
        run.scene.look()
        run.availability.look()

    choose(500)
    # As a fault would: whatever is cut is no calm.
    run.scene.weather.calm_since_ms = run.world.elapsed_ms + 500
    home = run.world.processes[gateway].machine.inspect().attachments[0].worker  # type: ignore[union-attr]
    run.world.cut([gateway], [name for name in workers if name != home])
    choose(500)
    run.world.cut([gateway], workers)
    run.scene.weather.calm_since_ms = run.world.elapsed_ms + 500
    choose(500)
    run.world.heal()
    run.world.run(5_000)
    run.scene.look()
    choices = run.availability.tallies()["choices"]
    assert {side: (one.asked, one.answered) for side, one in choices.items()} == {
        Side.CALM: (1, 1),
        Side.FEW: (1, 1),
        Side.NONE: (1, 1),
    }
    soon, late = choices[Side.CALM].percentile(0.5), choices[Side.NONE].percentile(0.5)
    assert soon is not None
    assert late is not None
    assert soon < 100
    assert late >= 500


def test_who_loses_the_connection_before_the_answer_is_left_out(run: Run) -> None:
    """Nor does it count who had none: neither was refused anything."""
    life = somebody(run)
    life.ask(Set(status="away"), run.world.elapsed_ms)
    run.world.drop(life.client)
    life.down(run.world.elapsed_ms)
    life.ask(Set(status="dnd"), run.world.elapsed_ms)
    run.world.run(2_000)
    run.scene.look()
    run.availability.look()
    assert [op.was_interrupted for op in life.ops[-2:]] == [True, True]
    assert run.availability.tallies() == {}


def test_an_operation_that_was_not_answered_is_counted_as_asked(run: Run) -> None:
    """Its gateway hears nobody, so nothing is known of it yet."""
    life = somebody(run)
    gateway = run.scene.gateway_of(life)
    assert gateway is not None
    run.world.cut([name for name in run.plan.hosts if is_worker(name)], [gateway])
    run.scene.weather.calm_since_ms = run.world.elapsed_ms + 500
    life.ask(Intent(status="dnd"), run.world.elapsed_ms)
    run.world.run(500)
    run.scene.look()
    run.availability.look()
    tallies = run.availability.tallies()
    assert tally_lines(tallies) == ["choices, no replica in reach: 0 of 1 answered"]


def test_tallies_of_runs_add_up() -> None:
    """A percentile of all is not the mean of those of each."""
    total = {"choices": {"calm": Tally(1, 1, {5: 1})}}
    merge_tallies(total, {"choices": {"calm": Tally(100, 99, {5: 90, 700: 9})}, "operations": {}})
    assert total["choices"]["calm"] == Tally(101, 100, {5: 91, 700: 9})
    assert tally_lines(total) == [
        "choices, calm: 100 of 101 answered, p50 5 ms, p99 700 ms, p99.9 700 ms"
    ]
