"""Which names the zones of a demo take: `presence_actors.demo.zones`."""

from pathlib import Path

import pytest

from presence_actors.actors.local_ray import LocalRay
from presence_actors.actors.state import ClusterState, StateFolder
from presence_actors.config import ClusterConfig
from presence_actors.demo.zones import free_names
from presence_actors.errors import UsageError


def _remember(states: Path, zone: str, *, local_ray: LocalRay | None = None) -> None:
    state = ClusterState(config=ClusterConfig(zone=zone), address="", local_ray=local_ray)
    StateFolder(states / zone).write(state)


def test_a_demo_takes_no_name_of_a_cluster_that_runs(tmp_path: Path) -> None:
    """Somebody's own zone `a` stays what `presence status` shows."""
    assert free_names(tmp_path, 2) == ["a", "b"]
    _remember(tmp_path, "a")
    assert free_names(tmp_path, 2) == ["b", "c"]


def test_the_name_of_a_cluster_whose_ray_is_gone_is_free(tmp_path: Path) -> None:
    """It ended with the machine's last start, say."""
    gone = LocalRay(address="", process_id=2**22 + 1, created=0.0, folder="presence-ray-gone")
    _remember(tmp_path, "a", local_ray=gone)
    assert free_names(tmp_path, 2) == ["a", "b"]


def test_without_a_free_name_it_is_said_what_to_do(tmp_path: Path) -> None:
    """All letters are taken."""
    for letter in "abcdefghijklmnopqrstuvwxyz":
        _remember(tmp_path, letter)
    with pytest.raises(UsageError, match="presence down"):
        free_names(tmp_path, 2)
