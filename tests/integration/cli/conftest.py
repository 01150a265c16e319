"""An operator at a terminal, for the stories of this folder."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

#: On two busy cores a Ray of its own starts in some ten seconds.
UP_S = 100


class Operator:
    """Somebody at a terminal, with a state folder of their own."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `presence` with these words."""
        return subprocess.run(
            [sys.executable, "-m", "presence_actors.cli", *words],
            env={**os.environ, "PRESENCE_STATE_DIR": str(self.state_dir), **environment},
            capture_output=True,
            text=True,
            timeout=UP_S,
            check=False,
        )

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Start `presence` with these words and do not wait for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "presence_actors.cli", *words],
            env={**os.environ, "PRESENCE_STATE_DIR": str(self.state_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> list[psutil.Process]:
        """Every process that anything started from here has left, by what it inherited."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PRESENCE_STATE_DIR") == str(self.state_dir):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def is_refused(
        self, *words: str, status: int = 2, settings: Mapping[str, str] | None = None
    ) -> str:
        """The one line on standard error with which a command is refused."""
        result = self.run(*words, **(settings or {}))
        assert (result.returncode, result.stdout) == (status, "")
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("presence: ")
        return lines[0]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """An operator; what they leave running is ended, and is a failure."""
    operator = Operator(tmp_path)
    yield operator
    left = operator.processes()
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)
    assert not left, "something was left running"
