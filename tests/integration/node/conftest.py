"""A real cluster for stock clients, and a sentence where they cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from presence_actors.actors.cluster import Cluster
from presence_actors.config import ClusterConfig
from tests.integration.free_ports import first_of_free_ports
from tests.integration.node.stock_client import FOLDER
from tests.stories.stage import STORY_KNOBS

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


@pytest.fixture(scope="module")
def shared_cluster(node: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers and two gateways, with the short leases of the stories."""
    state_dir: Path = tmp_path_factory.mktemp("node")
    port = first_of_free_ports(2)
    config = ClusterConfig(shards=8, port=port, knobs=STORY_KNOBS)
    cluster = Cluster.start(config, state_dir=state_dir, token_key=TOKEN_KEY)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """The cluster, whole."""
    shared_cluster.wait_ready()
    return shared_cluster
