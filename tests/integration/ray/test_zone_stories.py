"""The stories of two zones, told on two Ray clusters that know each other by peer links alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from tests.integration.ray.ray_stage import RayStage
from tests.integration.two_zones import TwoZones, two_zones
from tests.stories.telling import is_back, until_true
from tests.stories.zone_stories import ZONE_STORIES

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_TOKEN_KEY = b"thirty-two bytes that guard none"


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoZones]:
    """Two Ray clusters on this machine."""
    with two_zones(tmp_path_factory.mktemp("zones"), token_key=_TOKEN_KEY) as zones:
        yield zones


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
    before = zones.lives("a"), zones.lives("b")
    asyncio.run(tell())
    assert zones.lives("a") == before[0]
    if name != "a_zone_killed_for_good":
        assert zones.lives("b") == before[1]
