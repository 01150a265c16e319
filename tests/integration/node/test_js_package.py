"""The JavaScript client: its own tests, and the types that it promises."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.integration.node.conftest import JS_FOLDER

pytestmark = [pytest.mark.node, pytest.mark.sockets, pytest.mark.timeout(180)]


def _run(*command: str) -> None:
    """The command ends well, or what it printed is the failure."""
    environment = {**os.environ, "PRESENCE_PYTHON": sys.executable}
    done = subprocess.run(
        command, cwd=JS_FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-4_000:]


def test_what_an_application_writes_has_the_promised_types(js_package: None) -> None:
    """The declarations beside the module fit what the README of the package shows."""
    _run("node", "node_modules/typescript/bin/tsc", "--project", "test")


@pytest.mark.parametrize("name", ["client", "transcript", "size", "cluster"])
def test_the_client_passes_its_own_tests(js_package: None, name: str) -> None:
    """By hand under a virtual clock, after a recording, its size, and against real gateways."""
    _run("node", "--test", f"test/{name}.test.mjs")
