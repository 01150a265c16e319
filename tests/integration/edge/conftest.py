"""Both event loops, for every story about the edge."""

import asyncio

import pytest
import uvloop

from tests.integration.edge.scripted import Play, Story


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a story to its end on one of the two loops."""

    def run(story: Story) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(story())

    return run
