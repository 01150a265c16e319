"""Random runs of a whole cluster: a fixed set of seeds, and those that found something once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.churn import Recipe, Swarm

pytestmark = pytest.mark.simulation

SEEDS = range(36)
REGRESSIONS = Path(__file__).with_name("churn_regressions.txt")


def regressions() -> list[int]:
    """The seeds of the file that are not run anyway."""
    lines = REGRESSIONS.read_text(encoding="utf-8").splitlines()
    seeds = [int(line.split()[0]) for line in lines if line and not line.startswith("#")]
    return [seed for seed in seeds if seed not in SEEDS]


@pytest.mark.parametrize("seed", [*SEEDS, *regressions()])
def test_after_any_run_everybody_sees_exactly_who_is_there(seed: int) -> None:
    """No ghost, nobody missing, nobody offline by a cut, all replicas equal, whatever happened."""
    Swarm(Recipe(seed)).run()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_after_very_many_runs_too() -> None:
    """The same for a thousand seeds; the first that goes wrong prints its recipe."""
    for seed in range(1_000, 2_000):
        Swarm(Recipe(seed)).run()
