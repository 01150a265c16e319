"""More stock clients at once than are taken in: each waits for its socket, and none fails."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from presence_actors.edge.limits import EdgeLimits
from tests.integration.node.party import LOBBY
from tests.integration.node.stock_client import StockClient
from tests.integration.small_cluster import SmallCluster

pytestmark = [pytest.mark.node, pytest.mark.sockets, pytest.mark.timeout(90)]

#: One comes in every two seconds: as slow as none of them would have it.
LIMITS = EdgeLimits(admissions_per_s=1, admissions_burst=1, upgrade_wait_ms_max=8_000)
STOCK = ("phoenix-1-6", "phoenix-1-8", "realtime-2-99", "realtime-2-119")


def test_stock_clients_that_come_all_at_once_are_let_in_one_after_the_other(node: None) -> None:
    """No attempt of any of them fails, though each of them would try again within a second."""

    async def story() -> None:
        async with SmallCluster(gateways=1, limits=LIMITS) as cluster, AsyncExitStack() as stack:
            (url,) = cluster.urls
            clients = [
                await stack.enter_async_context(
                    StockClient(
                        package,
                        f"{url}/{'realtime/v1' if package.startswith('realtime') else 'socket'}",
                        token=f"dev:u{index}",
                    )
                )
                for index, package in enumerate(STOCK)
            ]
            for client in clients:
                client.order("connect")
            joins = (client.join(LOBBY, meta={}) for client in clients)
            assert [answer["event"] for answer in await asyncio.gather(*joins)] == ["ok"] * 4
            for client in clients:
                await client.until_listed(LOBBY, u0=1, u1=1, u2=1, u3=1)
                assert client.of("close") == []
            counts = cluster.drivers[0].counts
            assert (counts["opened"], counts["kept_waiting"], counts["turned_away"]) == (4, 3, 0)

    asyncio.run(story())
