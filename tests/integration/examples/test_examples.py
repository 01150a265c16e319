"""Every file of examples/, run as a reader runs it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ray.conftest import start_cluster
from tests.project_files import ROOT, name_of, python_files

#: {example: lines that must be among what it prints}. These need no cluster.
ALONE = {
    "crdt_only.py": [
        "vectors:  concurrent",
        "together: left has alice=reading, bob=here, carol=here too",
        "equal:    True",
    ],
    "survive_partition.py": [
        "alice sees carol unreachable",
        "replicas agree: no",
        "replicas agree: yes",
        "carol sees in the lobby {'alice': 'left', 'carol': 'right'}",
    ],
    "write_a_driver.py": ["a/w0 tells a/g0: Attached", "a/w1 holds the entry: True"],
}
#: These are clients.
CLIENTS = {
    "app_server.py": ["alice is dnd: in class", "- alice (kicked)", "alice hears: go home"],
    "hello_presence.py": ["+ bob on mobile, curious", "~ bob is busy", "- bob (left)"],
    "many_devices.py": ["dana is away     on desktop, mobile, watch out for lunch"],
    "see_a_friend.py": ["bob is offline", "bob is online on mobile"],
    "watch_team.py": ["ann   offline", "ann   dnd reviewing"],
}


def run(example: str, *arguments: str) -> str:
    """What an example prints; it must end by itself, without an error and without a warning."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # So that they run from a checkout that is not installed, too.
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def missing(lines: list[str], printed: str) -> list[str]:
    """Those of the lines that were not printed, in this order."""
    found = -1
    for index, line in enumerate(lines):
        found = printed.find(line, found + 1)
        if found < 0:
            return lines[index:]
    return []


def test_each_example_is_run() -> None:
    """No example is forgotten here."""
    there = {Path(name_of(path)).name for path in python_files("examples")}
    assert there == ALONE.keys() | CLIENTS.keys()


@pytest.mark.parametrize("example", ALONE)
def test_an_example_without_a_cluster_shows_what_it_says(example: str) -> None:
    """It needs nothing but the package, and shows the same in each run."""
    printed = run(example)
    assert missing(ALONE[example], printed) == []
    assert run(example) == printed


@pytest.fixture(scope="module")
def gateway_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway of a cluster on Ray."""
    cluster = start_cluster(tmp_path_factory.mktemp("examples"), gateways=1)
    try:
        cluster.wait_ready()
        yield cluster.gateway_urls[0]
    finally:
        cluster.stop()


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.parametrize("example", CLIENTS)
def test_an_example_shows_what_it_says_on_a_cluster(example: str, gateway_url: str) -> None:
    """A client of a real cluster sees what its docstring promises, and ends."""
    assert missing(CLIENTS[example], run(example, gateway_url)) == []


def test_the_parts_that_need_no_cluster_can_be_used_without_ray() -> None:
    """Neither the data types nor the machines nor the simulated world load Ray."""
    program = (
        "import runpy, sys; "
        f"[runpy.run_path(f'{ROOT}/examples/{{name}}') for name in {sorted(ALONE)!r}]; "
        "sys.exit('ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
