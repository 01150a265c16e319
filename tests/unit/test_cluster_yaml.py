"""The launcher file, held against the schema that Ray's own launcher uses."""

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

pytestmark = pytest.mark.ray

CLUSTER_YAML = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    """The file as a launcher reads it, fresh for each test: preparing it changes it."""
    read: dict[str, Any] = yaml.safe_load(CLUSTER_YAML.read_text(encoding="utf-8"))
    return read


def start_commands(cluster: dict[str, Any]) -> dict[str, str]:
    """{head or worker: the commands that start Ray there}."""
    return {
        place: "\n".join(cluster[f"{place}_start_ray_commands"]) for place in ("head", "worker")
    }


def test_the_launcher_accepts_the_file(cluster: dict[str, Any]) -> None:
    """Ray's own preparation and schema find nothing wrong with it."""
    validate_config(prepare_config(cluster))


@pytest.mark.parametrize("misspelt", ["min_worker", "setup_command", "head_start_ray_command"])
def test_a_misspelt_key_is_refused(cluster: dict[str, Any], misspelt: str) -> None:
    """The check above can fail: a key that Ray does not know is named in the refusal."""
    cluster[misspelt] = 1
    with pytest.raises(ValidationError, match=f"'{misspelt}' was unexpected"):
        validate_config(prepare_config(cluster))


def test_a_local_cluster_without_workers_is_refused(cluster: dict[str, Any]) -> None:
    """The preparation counts, too: the schema alone would let this pass."""
    del cluster["provider"]["worker_ips"]
    with pytest.raises(click.ClickException, match="worker_ips"):
        validate_config(prepare_config(cluster))


def test_each_worker_machine_is_used(cluster: dict[str, Any]) -> None:
    """The number of workers is the number of machines, so that none stays idle unnoticed."""
    machines = len(cluster["provider"]["worker_ips"])
    assert (cluster["min_workers"], cluster["max_workers"]) == (machines, machines)


@pytest.mark.parametrize("place", ["head", "worker"])
def test_each_node_asks_for_the_token(cluster: dict[str, Any], place: str) -> None:
    """Without it whoever reaches a port of Ray can run code."""
    assert "RAY_AUTH_MODE=token" in start_commands(cluster)[place]


@pytest.mark.parametrize("place", ["head", "worker"])
def test_each_node_may_hold_many_connections(cluster: dict[str, Any], place: str) -> None:
    """The limit on descriptors is raised in the shell that starts Ray, before Ray starts."""
    commands = start_commands(cluster)[place]
    assert 0 <= commands.find("ulimit -n 65536") < commands.find("ray start")


@pytest.mark.parametrize(
    "setting",
    ["RAY_enable_autoscaler_v2=0", "--dashboard-host=127.0.0.1", "--disable-usage-stats"],
)
def test_the_head_is_started_with_what_a_local_cluster_needs(
    cluster: dict[str, Any], setting: str
) -> None:
    """All workers start, the dashboard stays on loopback, and nothing is reported to anybody."""
    assert setting in start_commands(cluster)["head"]


def test_no_secret_stands_in_the_file(cluster: dict[str, Any]) -> None:
    """The token is mounted from the machine that launches and never written into the file."""
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN=" not in CLUSTER_YAML.read_text(encoding="utf-8")
