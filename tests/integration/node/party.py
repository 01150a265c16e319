"""Stock and native clients of one test, in a namespace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Self, TypeVar

from presence_actors.actors.apart import ClusterApart
from presence_actors.actors.cluster import Cluster
from presence_actors.client import PresenceClient, connect
from presence_actors.client.events import Event, Join, Leave, Update
from presence_actors.edge.tokens import mint
from tests.integration.node.conftest import TOKEN_KEY
from tests.integration.node.stock_client import STEP_SECONDS, Balancer, StockClient
from tests.stories.stage import STORY_KNOBS

__all__ = ["LOBBY", "PACKAGES", "SUPABASE", "Native", "Party"]

LOBBY = "room:lobby"
PACKAGES = ("phoenix-1-6", "phoenix-1-7", "phoenix-1-8")
Guest = TypeVar("Guest", bound=AbstractAsyncContextManager[Any])
SUPABASE = ("realtime-2-10", "realtime-2-99", "realtime-2-119")


class Native:
    """A client of the Python SDK in the lobby, and what it was told."""

    def __init__(self, client: PresenceClient) -> None:
        self.client = client
        self.heard: list[Event] = []
        self._news = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.client.events():
            self.heard.append(event)
            self._news.set()

    async def end(self) -> None:
        await self.client.close()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def until(self, what: str, look: Callable[[], Any]) -> None:
        """Return once it holds; looked at whenever there is news."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not look():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; heard {self.heard[-8:]}") from None

    def there(self) -> dict[str, list[dict[str, object]]]:
        """Who is in the lobby, with the metas of their devices."""
        found = self.client.machine.who(LOBBY)
        return {str(user): [entry.meta for entry in entries] for user, entries in found.items()}

    def sees(self, people: dict[str, list[dict[str, object]]]) -> bool:
        """Whether these, and nobody else, are there."""
        return self.there() == people

    def about(self, user: str) -> list[str]:
        """What was told of somebody in the lobby, in order."""
        return [
            type(event).__name__
            for event in self.heard
            if isinstance(event, Join | Update | Leave) and event.entry.key == user
        ]


class Party:
    """The clients of one test; each test has a namespace of its own."""

    def __init__(self, cluster: Cluster | ClusterApart, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._stack = AsyncExitStack()
        self.urls: list[str] = []

    async def __aenter__(self) -> Self:
        self.urls = await asyncio.to_thread(lambda: self._cluster.gateway_urls)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def token(self, user: str) -> str:
        """A token for somebody of this test."""
        return mint(user, key=TOKEN_KEY, namespace=self._name)

    async def stock(self, package: str, user: str, url: str, **params: Any) -> StockClient:
        """A stock client with an open socket."""
        if "auth_token" not in params:
            params["token"] = self.token(user)
        client = await self._stack.enter_async_context(StockClient(package, url, **params))
        return await client.connect()

    async def native(self, user: str, gateway: int, **meta: object) -> Native:
        """A client of the SDK, in the lobby."""
        urls = self.urls[gateway:] + self.urls[:gateway]
        client = connect(urls, self.token(user), knobs=STORY_KNOBS, timeout_s=20)
        native = Native(client)
        self._stack.push_async_callback(native.end)
        await client.open()
        await client.join("lobby", meta)
        return native

    async def front(self, first: int, *, sockets: bool = True) -> Balancer:
        """An address behind which all gateways are, one of them preferred."""
        urls = self.urls[first:] + self.urls[:first]
        return await self._stack.enter_async_context(Balancer(urls, sockets=sockets))

    async def enter(self, client: Guest) -> Guest:
        """A client that ends with the party."""
        return await self._stack.enter_async_context(client)

    def socket(self, gateway: int) -> str:
        """The Phoenix socket of a gateway."""
        return f"{self.urls[gateway]}/socket"
