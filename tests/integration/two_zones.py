"""Two Ray clusters on this machine that know each other by peer links alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from presence_actors.actors import local_ray
from presence_actors.actors.apart import ClusterApart
from presence_actors.actors.cluster import Cluster
from presence_actors.actors.state import StateFolder
from presence_actors.config import ClusterConfig
from tests.integration.free_ports import first_of_free_ports
from tests.stories.stage import STORY_KNOBS

__all__ = ["TwoZones", "two_zones"]

#: Of Ray's own processes, those that a cluster cannot lose.
_PILLARS = ("gcs_server", "raylet")


class TwoZones(NamedTuple):
    """Zone `a`, held by this process, and zone `b`, which has joined it, by one of its own."""

    a: Cluster
    b: ClusterApart
    states: Path

    def lives(self, zone: str) -> dict[str, tuple[str, int]]:
        """Life and process of each actor of a zone, and the processes that Ray itself stands on."""
        cluster: Cluster | ClusterApart = self.a if zone == "a" else self.b
        lives = {
            str(known.name): (str(known.node), known.process_id) for known in cluster.descriptions()
        }
        lives["supervisor"] = ("", cluster.supervisor_process_id())
        state = StateFolder(self.states / zone).read()
        assert state is not None
        assert state.local_ray is not None
        for process in local_ray.processes_of(state.local_ray):
            if process.name() in _PILLARS:
                lives[process.name()] = (str(process.create_time()), process.pid)
        assert lives.keys() >= set(_PILLARS)
        return lives


@contextmanager
def two_zones(states: Path, *, token_key: bytes | None = None) -> Iterator[TwoZones]:
    """Both of them, with the short leases of the stories; ended at the end."""
    config = ClusterConfig(shards=8, port=first_of_free_ports(2), faults=True, knobs=STORY_KNOBS)
    a = Cluster.start(config, state_dir=states / "a", token_key=token_key, tied=True)
    try:
        config = ClusterConfig(
            zone="b",
            join=a.link_addresses,
            shards=8,
            port=first_of_free_ports(2),
            faults=True,
            knobs=STORY_KNOBS,
        )
        b = ClusterApart.start(config, state_dir=states / "b", token_key=token_key)
        try:
            yield TwoZones(a, b, states)
        finally:
            b.stop()
    finally:
        a.stop()
