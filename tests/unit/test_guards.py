"""The guards of the pure folders, each seen to refuse."""

import asyncio
import socket
import time

import pytest
import ray

pytestmark = pytest.mark.ray

REFUSED = pytest.fail.Exception


def test_a_loop_runs_and_tasks_take_turns() -> None:
    """What waits for no clock and no peer is allowed."""
    asyncio.run(asyncio.sleep(0))


def test_a_sleep_is_refused() -> None:
    """The sentence says where a test that needs a clock belongs."""
    with pytest.raises(REFUSED, match="tests/integration/"):
        time.sleep(0)


def test_a_sleep_in_a_coroutine_is_refused() -> None:
    """The refusal comes through the loop."""
    with pytest.raises(REFUSED, match="tests/integration/"):
        asyncio.run(asyncio.sleep(1))


def test_a_socket_is_refused() -> None:
    """The sentence says where a test that needs a connection belongs."""
    with pytest.raises(REFUSED, match="tests/integration/links/"):
        socket.socket()


def test_a_connection_of_a_loop_is_refused() -> None:
    """The loop's own way to a socket is closed, too."""

    async def connect() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    with pytest.raises(REFUSED, match="tests/integration/links/"):
        asyncio.run(connect())


def test_ray_is_refused() -> None:
    """The sentence says where a test that needs a cluster belongs."""
    with pytest.raises(REFUSED, match="tests/integration/ray/"):
        ray.init()
