"""The benchmark of a gateway measures what it says, and says whether an aim is met."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.gateway_rows import Aim, Row

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(120)]


def test_an_aim_is_for_the_ratio_where_there_is_a_yardstick_and_for_the_value_elsewhere() -> None:
    """And is neither met nor missed where the yardstick is not there."""
    assert Row("x", 1, 12.0, "us", "C", 10.0, Aim(1.25)).is_met is True
    assert Row("x", 1, 13.0, "us", "C", 10.0, Aim(1.25)).is_met is False
    assert Row("x", 1, 13.0, "us", "C", None, Aim(1.25)).is_met is None
    assert Row("x", 1, 13.0, "ms", aim=Aim(13.0)).is_met is True
    assert Row("x", 1, 13.0, "ms").is_met is None


def test_a_section_runs_and_gives_its_rows(tmp_path: Path) -> None:
    """A real gateway in a process of its own, and a crowd in another."""
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.bench_gateway"]
    done = subprocess.run(
        [*command, "--quick", "--only", "joins", "--json", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    frames, in_sync = msgspec.json.decode(path.read_bytes())
    assert (frames["name"], frames["aim"]) == ("300 join at once, frames for each", 3)
    assert frames["met"] is (frames["value"] <= 3)
    assert in_sync["unit"] == "s"
    assert 0 < in_sync["value"] < 30
