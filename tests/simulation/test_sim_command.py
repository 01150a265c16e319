"""`presence sim` from outside: what it prints, writes, and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from presence_actors.sim.plan import PLAN_VERSION

pytestmark = pytest.mark.simulation

ROOT = Path(__file__).parents[2]


def sim(*arguments: str, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "presence_actors.cli", "sim", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("seed", ["2", "5"])
def test_a_seed_gives_one_trace_in_every_process(seed: str) -> None:
    """I22: the time line and the hash of all frames, whatever the order of hashes."""
    first, second = (sim("--seed", seed, "--trace", hash_seed=number) for number in (1, 2))
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout
    assert "time line" in first.stdout
    assert "cells reached; trace " in first.stdout


def test_what_came_out_goes_into_a_file(tmp_path: Path) -> None:
    """Counts for those who keep them, from two processes at once."""
    file = tmp_path / "sim.json"
    done = sim("--seeds", "3", "--jobs", "2", "--scenario", "partition", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["seeds"] == 3
    assert written["failures"] == []
    assert written["unknown"] == 0
    assert written["virtual_hours"] == 0.25
    assert "cut" in written["faults"]
    assert set(written["faults"]) <= {"cut", "staged-heal"}
    assert "partition" in written["cells"]
    assert written["plan_version"] == PLAN_VERSION
    assert done.stdout.startswith("3 seeds, 0 failures, 0 unknown, 0.2 virtual hours")
    assert [run["seed"] for run in written["runs"]] == [0, 1, 2]
    assert {run["outcome"] for run in written["runs"]} == {"valid"}
    for told in (written, *written["runs"]):
        calm = told["operations"]["operations"]["calm"]
        assert calm["asked"] == calm["answered"] > 100
        assert 0 < calm["p50_ms"] <= calm["p99_ms"] <= calm["p99.9_ms"]
    asked = [run["operations"]["operations"]["calm"]["asked"] for run in written["runs"]]
    assert sum(asked) == written["operations"]["operations"]["calm"]["asked"]
    assert f"operations, calm: {sum(asked):,} of {sum(asked):,} answered, p50 " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "earthquake"], "unknown scenario 'earthquake'"),
        (["--scenario", "partition", "--topology", "islands(40)"], "40 groups"),
        (["--topology", "star"], "unknown topology 'star'"),
        (["--topology", "islands(5)", "--hosts", "4"], "5 groups, and there are 4 hosts"),
        (["--topology", "islands(5)", "--seeds", "4", "--jobs", "2"], "5 groups, and there are"),
        (["--topology", "islands(5)", "--seeds", "40"], "5 groups, and there are 4 hosts"),
        (["--hosts", "1"], "--hosts 1: each zone wants a worker and a gateway"),
        (["--for", "soon"], "--for"),
        (["--faults", "one"], "--faults"),
        (["--trace"], "--trace without --seed"),
        (["--json", "no-such-folder/sim.json"], "cannot write no-such-folder/sim.json"),
        (["--seeds-from", "no-such-file"], "cannot read no-such-file"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(arguments: list[str], words: str) -> None:
    """Which and why, and the status for what the caller got wrong."""
    done = sim(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert words in line


def test_a_file_of_seeds_with_a_bad_line_is_refused_by_its_line(tmp_path: Path) -> None:
    """A typing error must not leave a seed out for ever."""
    file = tmp_path / "seeds.txt"
    file.write_text("# some\n1 good\nbad 2\n", encoding="utf-8")
    done = sim("--seeds-from", str(file))
    assert done.returncode == 2
    assert f"{file}:3: 'bad' is no seed" in done.stderr
