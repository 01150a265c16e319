"""Real clusters for stock clients, and a sentence where they cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from presence_actors.actors.cluster import Cluster
from tests.integration.node.stock_client import FOLDER
from tests.integration.two_zones import TwoZones, two_zones

TOKEN_KEY = b"thirty-two bytes that guard none"

#: The JavaScript client.
JS_FOLDER = Path(__file__).parents[3] / "js"

_NODE_MIN = 20


def _trouble() -> str | None:
    """Why no stock client can run here, or None."""
    node = shutil.which("node")
    if node is None:
        return f"needs Node.js {_NODE_MIN} or newer: install it, then make test-node"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = version.stdout.strip().removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < _NODE_MIN:
        return f"needs Node.js {_NODE_MIN} or newer, and this is {version.stdout.strip()!r}"
    return None


def _missing(folder: Path) -> str | None:
    """Why what needs the packages of this folder cannot run here, or None."""
    trouble = _trouble()
    if trouble is None and not (folder / "node_modules" / "ws").exists():
        return f"needs what {folder.name}/package-lock.json names: make test-node"
    return trouble


def _demand(folder: Path) -> None:
    """Skip the test without these packages; where CI is true, fail it."""
    trouble = _missing(folder)
    if trouble is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(trouble)
    pytest.skip(trouble)


@pytest.fixture(scope="session")
def node() -> None:
    """Stock clients can run; where CI is true, a test that cannot fails."""
    _demand(FOLDER)


@pytest.fixture(scope="session")
def js_package() -> None:
    """The tests of the JavaScript client can run; where CI is true, a test that cannot fails."""
    _demand(JS_FOLDER)


@pytest.fixture(scope="session")
def zones(node: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoZones]:
    """Two Ray clusters on this machine, for all stock clients of a run: they take long to start."""
    with two_zones(tmp_path_factory.mktemp("zones"), token_key=TOKEN_KEY) as zones:
        yield zones


@pytest.fixture
def cluster(zones: TwoZones) -> Cluster:
    """Two workers and two gateways, whole; with the short leases of the stories."""
    zones.a.wait_ready()
    return zones.a
