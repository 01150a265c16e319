"""`ClusterApart`: a cluster that a process of its own holds, for somebody who holds another one."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from presence_actors.actors.apart import ClusterApart
from presence_actors.config import ClusterConfig
from presence_actors.errors import ConfigError, Unavailable, UsageError
from tests.integration.free_ports import first_of_free_ports
from tests.integration.polling import until

pytestmark = pytest.mark.ray

_MARK = "PRESENCE_TEST_OF_A_CLUSTER_APART"

_HOLDER = """
import sys
from pathlib import Path
from presence_actors.actors.apart import ClusterApart
from presence_actors.config import ClusterConfig

if __name__ == "__main__":
    config = ClusterConfig(port=int(sys.argv[2]), workers=1, replicas=1, gateways=1, shards=2)
    cluster = ClusterApart.start(config, state_dir=Path(sys.argv[1]))
    print(*cluster.gateway_urls, flush=True)
    sys.stdin.read()
"""


def marked(value: str) -> list[psutil.Process]:
    """Every process that has inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == value:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_refusal_crosses_between_the_processes(tmp_path: Path) -> None:
    """With its data, as if there were one process."""
    with pytest.raises(ConfigError) as refused:
        ClusterApart.start(ClusterConfig(shards=0), state_dir=tmp_path / "a")
    assert refused.value.knob == "shards"
    joining = ClusterConfig(zone="b", join=["127.0.0.1:1"])
    with pytest.raises(UsageError, match="--secret-file"):
        ClusterApart.start(joining, state_dir=tmp_path / "b")


def test_a_cluster_whose_holder_has_ended_is_unavailable() -> None:
    """Not silent, and not for ever."""
    cluster = ClusterApart(ClusterConfig())
    cluster._process.kill()
    with pytest.raises(Unavailable, match="the process that holds it has ended"):
        cluster.inspect()
    cluster.stop()


def test_it_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    """Even if that one is killed: the Ray, the actors and the holder are gone."""
    script = tmp_path / "holder.py"
    script.write_text(_HOLDER)
    state_dir, port = tmp_path / "a", first_of_free_ports(1)
    with subprocess.Popen(
        [sys.executable, str(script), str(state_dir), str(port)],
        env={**os.environ, _MARK: str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as wanting:
        assert wanting.stdout is not None
        try:
            assert wanting.stdout.readline() == f"ws://127.0.0.1:{port}\n"
            assert len(marked(str(tmp_path))) > 3
        finally:
            wanting.kill()
        until(lambda: not marked(str(tmp_path)) or None, within_s=40, what="all of it has ended")
    assert not state_dir.exists()
