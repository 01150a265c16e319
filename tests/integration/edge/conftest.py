"""Both libraries for sockets and both event loops, for every story about the edge."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from presence_actors.config import SocketLibrary
from tests.integration.edge.scripted import SOCKETS, Play, Story


@pytest.fixture(params=list(SocketLibrary))
def sockets(request: pytest.FixtureRequest) -> Iterator[SocketLibrary]:
    """The library that serves the sockets of every gateway of a story."""
    library: SocketLibrary = request.param
    token = SOCKETS.set(library)
    yield library
    SOCKETS.reset(token)


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, sockets: SocketLibrary) -> Play:
    """Runs a story to its end on one of the two loops."""

    def run(story: Story) -> None:
        SOCKETS.set(sockets)
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(story())

    return run
