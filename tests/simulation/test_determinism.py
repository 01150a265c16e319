"""One seed is one run: in each process, whatever the order of its hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.steering import arrive, small_world

pytestmark = pytest.mark.simulation

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from tests.simulation.churn import Recipe, Swarm
swarm = Swarm(Recipe(int(sys.argv[1])))
swarm.run()
print(swarm.world.trace_hash)
"""


def trace_hash(seed: int, hash_seed: int) -> str:
    """What another process says of the run."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("seed", [2, 7])
def test_a_seed_gives_one_trace_whatever_the_order_of_hashes(seed: int) -> None:
    """I22: all frames of a run, between processes and to clients, are the same in every process."""
    assert trace_hash(seed, 1) == trace_hash(seed, 2)


def test_the_trace_tells_runs_apart() -> None:
    """The hash above can differ: another person gives another trace."""
    first, second = small_world(), small_world()
    assert first.trace_hash == second.trace_hash
    arrive(first, "alice", [0])
    arrive(second, "bob", [0])
    assert first.trace_hash != second.trace_hash
