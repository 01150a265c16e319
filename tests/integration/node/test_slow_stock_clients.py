"""Stock clients that stand still while their room is busy, and what they show when they go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from presence_actors.client import connect
from presence_actors.config import Knobs
from presence_actors.edge.limits import EdgeLimits
from tests.integration.node.party import LOBBY, PACKAGES
from tests.integration.node.stock_client import STEP_SECONDS, StockClient
from tests.integration.small_cluster import SmallCluster

pytestmark = [pytest.mark.node, pytest.mark.sockets, pytest.mark.timeout(90)]

#: So small that a reader which stalls is behind after a few frames.
LIMITS = EdgeLimits(lag_bytes_max=8_000, lag_look_ms=20)
#: All that wire their handlers to a socket which can stand still.
STOCK = (*PACKAGES, "realtime-2-99", "realtime-2-119")


class Scene:
    """A gateway, somebody who has much to say, and a stock client that listens."""

    def __init__(
        self, cluster: SmallCluster, stock: StockClient, say: Callable[[int], None]
    ) -> None:
        self.cluster = cluster
        self.stock = stock
        self._say = say
        self.number = 0

    @property
    def lags(self) -> dict[str, int]:
        """What `/v1/stats` counts of the ladder."""
        return self.cluster.machines[0].inspect().lags

    async def busy_until(self, look: Callable[[], bool]) -> None:
        """The author changes something with each tick until it is so."""
        async with asyncio.timeout(STEP_SECONDS):
            while not look():
                self.number += 1
                self._say(self.number)
                await asyncio.sleep(0.025)

    async def until_it_shows_the_newest(self) -> None:
        """The stock client's own list has the author's last word, and itself."""
        async with asyncio.timeout(STEP_SECONDS):
            while True:
                there = await self.stock.listed(LOBBY)
                said = [meta.get("n") for meta in there.get("author", [])]
                if said == [self.number] and len(there.get("stock", [])) == 1:
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def scene(package: str) -> AsyncIterator[Scene]:
    """All are in the lobby."""
    async with SmallCluster(gateways=1, limits=LIMITS, knobs=Knobs()) as cluster:
        (url,) = cluster.urls
        mount = "realtime/v1" if package.startswith("realtime") else "socket"
        author = connect([url], "dev:author", knobs=Knobs())
        await author.open()
        room = await author.join("lobby", {"n": 0})
        words: set[asyncio.Task[object]] = set()

        def say(number: int) -> None:
            word = asyncio.ensure_future(room.update(n=number, filler="x" * 3_500))
            words.add(word)
            word.add_done_callback(words.discard)

        async with StockClient(package, f"{url}/{mount}", token="dev:stock") as stock:
            await stock.connect()
            await stock.join(LOBBY, meta={"mood": "patient"})
            made = Scene(cluster, stock, say)
            await made.until_it_shows_the_newest()
            yield made
            stock.read_on()
        await asyncio.gather(*words, return_exceptions=True)
        await author.close()


@pytest.mark.parametrize("package", STOCK)
def test_a_stock_client_that_stalls_gets_one_state_in_place_of_its_backlog(
    package: str, node: None
) -> None:
    """It shows the newest, and its handlers were not told of everything between."""

    async def story() -> None:
        async with scene(package) as at:
            joins = len(at.stock.of("join", key="author"))
            at.stock.stop_reading()
            await at.busy_until(lambda: bool(at.lags))
            held_at = at.number
            await at.busy_until(lambda: at.number == held_at + 40)
            at.stock.read_on()
            await at.until_it_shows_the_newest()
            assert at.lags == {"held": 1, "snapshot": 1}
            # Of those that came while it was held, the last one only.
            assert len(at.stock.of("join", key="author")) - joins <= held_at + 2
            assert at.stock.of("leave", key="stock") == []
            await at.busy_until(lambda: at.number == held_at + 42)
            await at.until_it_shows_the_newest()

    asyncio.run(story())


@pytest.mark.parametrize("package", STOCK)
def test_a_stock_client_that_is_closed_for_it_comes_back_by_itself(
    package: str, node: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4513 is a code after which each of them reconnects, joins, and shows the newest."""
    monkeypatch.setattr("presence_actors.core.pacing.LAG_MS_MAX", 500)

    async def story() -> None:
        async with scene(package) as at:
            at.stock.stop_reading()
            await at.busy_until(lambda: "closed" in at.lags)
            at.stock.read_on()
            await at.until_it_shows_the_newest()
            assert at.lags == {"held": 1, "closed": 1}
            if package.startswith("phoenix"):
                assert at.stock.of("close")[-1]["code"] == 4513

    asyncio.run(story())
