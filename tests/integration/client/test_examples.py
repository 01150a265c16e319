"""The examples that are clients, run as their docstrings say."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sockets

Cluster = Callable[[int], AbstractAsyncContextManager[list[Any]]]
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "hello_presence.py",
            [
                "bob sees here: alice, bob",
                "+ bob on mobile, curious",
                "~ bob is busy",
                "- bob (left)",
            ],
        ),
        (
            "watch_team.py",
            ["ann   offline", "ann   dnd reviewing", "ben   dnd in a call", "cho   dnd deploying"],
        ),
        (
            "many_devices.py",
            [
                "dana is offline  on nothing",
                "dana is online   on desktop, mobile, watch",
                "dana is dnd      on desktop, mobile, watch",
                "dana is away     on desktop, mobile, watch out for lunch",
            ],
        ),
    ],
)
def test_an_example_shows_what_its_docstring_says_and_ends(
    cluster: Cluster, name: str, lines: list[str]
) -> None:
    """Each line is printed, nothing goes wrong, and it ends by itself."""

    async def scenario() -> None:
        async with cluster(1) as gateways, asyncio.timeout(60):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "examples" / name),
                gateways[0].url,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # So that they run from a checkout that is not installed, too.
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            out, err = await process.communicate()
        printed = [line.rstrip() for line in out.decode().splitlines()]
        assert (process.returncode, err.decode()) == (0, "")
        assert [line for line in lines if line not in printed] == []

    asyncio.run(scenario())
