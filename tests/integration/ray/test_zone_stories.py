"""The stories of two zones, told on two Ray clusters that know each other by peer links alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from presence_actors.actors import local_ray
from presence_actors.actors.apart import ClusterApart
from presence_actors.actors.cluster import Cluster
from presence_actors.actors.state import StateFolder
from presence_actors.config import ClusterConfig
from tests.integration.free_ports import first_of_free_ports
from tests.integration.ray.ray_stage import RayStage
from tests.stories.stage import STORY_KNOBS
from tests.stories.telling import is_back, until_true
from tests.stories.zone_stories import ZONE_STORIES

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_TOKEN_KEY = b"thirty-two bytes that guard none"
#: Of Ray's own processes, those that a cluster cannot lose.
_PILLARS = ("gcs_server", "raylet")


class TwoZones(NamedTuple):
    """Zone `a`, held by this process, and zone `b`, which has joined it, by one of its own."""

    a: Cluster
    b: ClusterApart
    states: Path


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoZones]:
    """Two Ray clusters on this machine."""
    states = tmp_path_factory.mktemp("zones")
    config = ClusterConfig(shards=8, port=first_of_free_ports(2), faults=True, knobs=STORY_KNOBS)
    a = Cluster.start(config, state_dir=states / "a", token_key=_TOKEN_KEY, tied=True)
    try:
        config = ClusterConfig(
            zone="b",
            join=a.link_addresses,
            shards=8,
            port=first_of_free_ports(2),
            faults=True,
            knobs=STORY_KNOBS,
        )
        b = ClusterApart.start(config, state_dir=states / "b", token_key=_TOKEN_KEY)
        try:
            yield TwoZones(a, b, states)
        finally:
            b.stop()
    finally:
        a.stop()


def lives_of(cluster: Cluster | ClusterApart, state_dir: Path) -> dict[str, tuple[str, int]]:
    """The life and the process of each actor, and the processes that Ray itself stands on."""
    lives = {
        str(known.name): (str(known.node), known.process_id) for known in cluster.descriptions()
    }
    lives["supervisor"] = ("", cluster.supervisor_process_id())
    state = StateFolder(state_dir).read()
    assert state is not None
    assert state.local_ray is not None
    for process in local_ray.processes_of(state.local_ray):
        if process.name() in _PILLARS:
            lives[process.name()] = (str(process.create_time()), process.pid)
    assert lives.keys() >= set(_PILLARS)
    return lives


@pytest.mark.parametrize("name", ["a/w0", "b/w0"])
def test_a_worker_that_has_moved_is_found_by_the_other_zone(name: str, zones: TwoZones) -> None:
    """Its links listen at another port, and nobody dials the one that was joined once."""

    async def tell() -> None:
        others = {"b": (zones.b, zones.states / "b")}
        async with RayStage(zones.a, _TOKEN_KEY, namespace=name, others=others) as stage:
            old = await stage.life(name)
            await stage.kill(name, hard=True)
            await until_true(stage, "it is back", partial(is_back, stage, name, old))
            await until_true(stage, "contact", stage.in_contact)

    asyncio.run(tell())


# The last story ends zone b, so the order is that of the stories.
@pytest.mark.parametrize("name", ZONE_STORIES)
def test_the_story_of_two_zones_holds(name: str, zones: TwoZones) -> None:
    """Each story holds on two Ray clusters; a zone that is not ended does not lose a process."""

    async def tell() -> None:
        others = {"b": (zones.b, zones.states / "b")}
        async with RayStage(zones.a, _TOKEN_KEY, namespace=name, others=others) as stage:
            await ZONE_STORIES[name](stage)

    zones.a.wait_ready()
    zones.b.wait_ready()
    before = lives_of(zones.a, zones.states / "a"), lives_of(zones.b, zones.states / "b")
    asyncio.run(tell())
    assert lives_of(zones.a, zones.states / "a") == before[0]
    if name != "a_zone_killed_for_good":
        assert lives_of(zones.b, zones.states / "b") == before[1]
