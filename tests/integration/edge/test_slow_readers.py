"""A client that stops reading, at a real gateway."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from presence_actors.config import Knobs
from presence_actors.core.vocabulary import Patch, Set, Sub
from presence_actors.edge.limits import EdgeLimits
from presence_actors.wire.native import encode_client
from tests.integration.edge.readers import connect, hear, small_socket
from tests.integration.small_cluster import SmallCluster

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(60)]

#: So small that a reader which stalls is behind after a few frames.
LIMITS = EdgeLimits(lag_bytes_max=8_000, lag_look_ms=20)


def test_a_reader_that_stalls_gets_one_snapshot_in_place_of_its_backlog() -> None:
    """What waits for it is bounded, and the other one hears every change meanwhile."""

    async def story() -> None:
        async with SmallCluster(gateways=1, limits=LIMITS, knobs=Knobs()) as cluster:
            connector = aiohttp.TCPConnector(socket_factory=small_socket)
            async with (
                aiohttp.ClientSession(connector=connector) as small,
                aiohttp.ClientSession() as http,
            ):
                (url,) = cluster.urls
                author = await connect(http, url, "author")
                quick = await connect(http, url, "quick")
                slow = await connect(small, url, "slow")
                await author.send_str(encode_client(Set(id=1, topic="room:r", meta={"n": 0})))
                for client in (quick, slow):
                    await client.send_str(encode_client(Sub(id=2, topics=["room:r"])))
                    await hear(client, "snap")
                driver = cluster.drivers[0]
                transport = slow._conn.transport if slow._conn is not None else None
                assert transport is not None
                transport.pause_reading()
                worst = number = 0
                while not cluster.machines[0].inspect().lags:
                    number += 1
                    meta: dict[str, object] = {"n": number, "filler": "x" * 3_500}
                    await author.send_str(encode_client(Patch(topic="room:r", meta=meta)))
                    await hear(quick, "diff")
                    worst = max(worst, *(c.conn.unsent_bytes for c in driver._clients.values()))
                for _ in range(100):
                    number += 1
                    meta = {"n": number, "filler": "x" * 3_500}
                    await author.send_str(encode_client(Patch(topic="room:r", meta=meta)))
                    await hear(quick, "diff")
                    worst = max(worst, *(c.conn.unsent_bytes for c in driver._clients.values()))
                assert worst < 500_000
                transport.resume_reading()
                lag = await hear(slow, "lag")
                assert lag["step"] == "snapshot"
                snap = await hear(slow, "snap")
                assert [entry["meta"]["n"] for entry in snap["state"]] == [number]
                assert cluster.machines[0].inspect().lags == {"held": 1, "snapshot": 1}

    asyncio.run(story())
