"""The servers beside which a gateway is measured: a loop of send(2) in C, and `ws` of npm.

Both are made in a folder for scraps. Where there is no compiler, or no npm, that one is left out.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["RawServer", "make_node_server", "make_send_loop"]

_SOURCES: Final = Path(__file__).parent / "raw"
_MAKE_S: Final = 120
#: Of the newest release when this was written.
_WS: Final = "ws@8"


class RawServer:
    """One of them, running."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process_id = self._process.pid
        self.port = int(self._answer())

    def __call__(self, order: str) -> int:
        """Have an order carried out; see ``raw/send_loop.c``."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip() or "0"


def make_send_loop(scraps: Path) -> list[str] | str:
    """The command that starts it, or why there is none."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return "there is no C compiler here"
    program = scraps / "send_loop"
    made = subprocess.run(
        [compiler, "-O2", "-o", program, _SOURCES / "send_loop.c"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_MAKE_S,
    )
    return [str(program)] if made.returncode == 0 else f"it does not compile: {made.stderr[-200:]}"


def make_node_server(scraps: Path) -> list[str] | str:
    """The command that starts it, or why there is none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "there is no Node.js with npm here"
    made = subprocess.run(
        [npm, "install", "--prefix", scraps, "--no-audit", "--no-fund", "--loglevel=error", _WS],
        capture_output=True,
        text=True,
        check=False,
        timeout=_MAKE_S,
    )
    if made.returncode != 0:
        return f"npm cannot install {_WS}: {made.stderr.strip()[-200:]}"
    program = scraps / "node_ws.cjs"
    shutil.copy(_SOURCES / "node_ws.cjs", program)
    return [node, str(program)]
