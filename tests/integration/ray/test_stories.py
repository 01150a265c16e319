"""The stories of tests/stories, told on real Ray: what only processes and sockets can show."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from presence_actors.actors.cluster import Cluster
from presence_actors.config import ClusterConfig
from tests.integration.free_ports import first_of_free_ports
from tests.integration.ray.ray_stage import RayStage
from tests.stories.stage import STORY_KNOBS
from tests.stories.stories import STORIES

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

_TOKEN_KEY = b"thirty-two bytes that guard none"


@pytest.fixture(scope="module")
def told_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose links take faults, with the short leases of the stories."""
    state_dir: Path = tmp_path_factory.mktemp("stories")
    port = first_of_free_ports(2)
    config = ClusterConfig(shards=8, port=port, faults=True, knobs=STORY_KNOBS)
    cluster = Cluster.start(config, state_dir=state_dir, token_key=_TOKEN_KEY, tied=True)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.mark.parametrize("name", STORIES)
def test_the_story_holds(name: str, told_on: Cluster) -> None:
    """Each story of the cluster holds on real Ray."""

    async def tell() -> None:
        async with RayStage(told_on, _TOKEN_KEY, namespace=name) as stage:
            await STORIES[name](stage)

    told_on.wait_ready()
    asyncio.run(tell())
