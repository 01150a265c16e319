"""The stories of tests/stories, told in the simulated world."""

from __future__ import annotations

import pytest

from tests.simulation.world_stage import WorldStage
from tests.stories.stories import STORIES
from tests.stories.zone_stories import ZONE_STORIES

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", STORIES)
def test_the_story_holds(name: str, seed: int) -> None:
    """Each story of the cluster holds under the virtual clock, under any seed."""
    telling = STORIES[name](WorldStage(seed=seed))
    with pytest.raises(StopIteration):
        telling.__await__().__next__()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ZONE_STORIES)
def test_the_story_of_two_zones_holds(name: str, seed: int) -> None:
    """Each story of two zones holds under the virtual clock, under any seed."""
    telling = ZONE_STORIES[name](WorldStage(seed=seed, zones=("a", "b")))
    with pytest.raises(StopIteration):
        telling.__await__().__next__()
