"""A fan-out that goes to the kernel in one call, at a real gateway."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import uvloop

from presence_actors.config import Knobs
from presence_actors.core.vocabulary import Patch, Set, Sub
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.ring import find_ring
from presence_actors.wire.native import encode_client
from tests.integration.edge.readers import connect, hear, small_socket
from tests.integration.small_cluster import SmallCluster

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(60)]

_READERS = 40
#: How many changes come while the socket of the slow one is full.
_BEHIND = 20
_LIMITS = EdgeLimits(lag_bytes_max=1 << 30, unsent_bytes_max=1 << 30)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_all_hear_all_changes_in_order_and_one_who_does_not_read_holds_up_nobody(
    loop: str,
) -> None:
    """What the socket of a slow reader did not take of a frame comes first when it reads again."""

    async def story() -> None:
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                SmallCluster(gateways=1, limits=_LIMITS, knobs=Knobs())
            )
            (url,) = cluster.urls
            http = await stack.enter_async_context(aiohttp.ClientSession())
            connector = aiohttp.TCPConnector(socket_factory=small_socket)
            small = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            author = await connect(http, url, "author")
            await author.send_str(encode_client(Set(id=1, topic="room:r", meta={"n": 0})))
            readers = [await connect(http, url, f"reader{index}") for index in range(_READERS)]
            slow = await connect(small, url, "slow")
            for client in (*readers, slow):
                await client.send_str(encode_client(Sub(id=2, topics=["room:r"])))
                await hear(client, "snap")
            transport = slow._conn.transport if slow._conn is not None else None
            assert transport is not None
            transport.pause_reading()
            number = left = 0
            while left < _BEHIND:
                number += 1
                left += _most_unsent(cluster) > 0
                meta: dict[str, object] = {"n": number, "filler": "x" * 3_500}
                await author.send_str(encode_client(Patch(topic="room:r", meta=meta)))
                heard = await asyncio.gather(*(hear(client, "diff") for client in readers))
                assert {_number(diff) for diff in heard} == {number}
            transport.resume_reading()
            numbers = [_number(await hear(slow, "diff"))]
            while numbers[-1] < number:
                numbers.append(_number(await hear(slow, "diff")))
            assert numbers == list(range(1, number + 1))
            together = cluster.drivers[0].counts["sent_together"]
            assert (together >= _READERS * number // 2) is _is_allowed()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(story())


def _number(diff: dict[str, Any]) -> int:
    (entry,) = diff["updates"]
    number: int = entry["meta"]["n"]
    return number


def _most_unsent(cluster: SmallCluster) -> int:
    return max(client.conn.unsent_bytes for client in cluster.drivers[0]._clients.values())


def _is_allowed() -> bool:
    ring = find_ring()
    if ring is not None:
        ring.close()
    return ring is not None
