"""Stock clients for Python, in this process; each remembers what its handlers were told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode

from phoenix_channels_python_client import (  # type: ignore[import-untyped]  # no marker
    PHXChannelsClient,
)
from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, RealtimeSubscribeStates

from tests.integration.node.stock_client import STEP_SECONDS, Told

__all__ = ["PythonPhoenix", "PythonRealtime"]


class _Hearing:
    """What was told, and a wait for more."""

    def __init__(self) -> None:
        self.heard: list[Told] = []
        self._news = asyncio.Event()

    def tell(self, event: str, **more: Any) -> None:
        """A handler was told this."""
        self.heard.append({"event": event, **more})
        self._news.set()

    async def until(self, what: str, look: Callable[[], Any]) -> None:
        """Return once it holds; looked at whenever there is news."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not look():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; heard {self.heard[-12:]}") from None

    def of(self, *events: str, key: str | None = None) -> list[Told]:
        """What was told of these kinds; about one key, if it is given."""
        return [
            told
            for told in self.heard
            if told["event"] in events and (key is None or told.get("key") == key)
        ]


class PythonRealtime:
    """The package `realtime`, in the lobby; tracks when it is subscribed, as apps do.

    Args:
        base: Address of a gateway, without a path.
        token: Whose it is.
        meta: What it shows.
    """

    def __init__(self, base: str, token: str, meta: dict[str, Any]) -> None:
        self.hearing = _Hearing()
        self.meta = meta
        self.client = AsyncRealtimeClient(f"{base}/realtime/v1", token=token)
        self.channel: AsyncRealtimeChannel | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.client.connect()
        config = {"presence": {"key": "", "enabled": True}, "broadcast": {"ack": True}}
        options: Any = {"config": config}
        channel = self.channel = self.client.channel("lobby", options)
        tell = self.hearing.tell
        channel.on_presence_sync(lambda: tell("sync"))
        channel.on_presence_join(
            lambda key, _current, joined: tell("join", key=key, metas=list(joined))
        )
        channel.on_presence_leave(
            lambda key, _current, left: tell("leave", key=key, metas=list(left))
        )
        channel.on_broadcast(
            "*", lambda said: tell("broadcast", name=said["event"], payload=said["payload"])
        )
        await channel.subscribe(self._subscribed)
        await self.hearing.until("subscribed", lambda: self.hearing.of("subscribed"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _subscribed(self, state: RealtimeSubscribeStates, _error: Exception | None) -> None:
        if state is RealtimeSubscribeStates.SUBSCRIBED:
            task = asyncio.create_task(self.track(self.meta))
            self._tasks.add(task)
        self.hearing.tell(state.value.lower())

    async def track(self, meta: dict[str, Any]) -> None:
        """Show this."""
        self.meta = meta
        if self.channel is not None:
            await self.channel.track(meta)

    def there(self) -> dict[str, int]:
        """How many metas each key has, as the client's own state says."""
        if self.channel is None:
            return {}
        return {key: len(metas) for key, metas in self.channel.presence_state().items()}

    async def until_there(self, **keys: int) -> None:
        """Return once these, and nobody else, are there."""
        await self.hearing.until(f"{keys} are there", lambda: self.there() == keys)


class PythonPhoenix:
    """The package `phoenix-channels-python-client`, in the lobby: it hands over messages alone.

    What they say of presence is put together here as Phoenix's own client does it.

    Args:
        base: Address of a gateway, without a path.
        token: Whose it is.
        meta: What it shows.
    """

    def __init__(self, base: str, token: str, meta: dict[str, Any]) -> None:
        self.hearing = _Hearing()
        shown = {f"meta[{name}]": str(value) for name, value in meta.items()}
        query = urlencode({"token": token, **shown})
        self.client = PHXChannelsClient(
            websocket_url=f"{base}/socket/websocket?{query}", api_key="unused"
        )
        self._state: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        await self.client.subscribe_to_topic("room:lobby", self._message)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.shutdown("the test is over")

    async def _message(self, message: Any) -> None:
        event, payload = str(message.event), message.payload
        if event == "presence_state":
            found = {key: _by_ref(one) for key, one in payload.items()}
            self._state, held = found, self._state
            for key in sorted(found.keys() - held.keys()):
                self.hearing.tell("join", key=key)
            for key in sorted(held.keys() - found.keys()):
                self.hearing.tell("leave", key=key)
            self.hearing.tell("sync")
        elif event == "presence_diff":
            for key, one in payload["joins"].items():
                self._state.setdefault(key, {}).update(_by_ref(one))
                self.hearing.tell("join", key=key, metas=one["metas"])
            for key, one in payload["leaves"].items():
                for ref in _by_ref(one):
                    self._state[key].pop(ref, None)
                if not self._state[key]:
                    del self._state[key]
                self.hearing.tell("leave", key=key, metas=one["metas"])
            self.hearing.tell("sync")

    def there(self) -> dict[str, int]:
        """How many metas each key has."""
        return {key: len(metas) for key, metas in self._state.items()}

    async def until_there(self, **keys: int) -> None:
        """Return once these, and nobody else, are there."""
        await self.hearing.until(f"{keys} are there", lambda: self.there() == keys)


def _by_ref(presence: Any) -> dict[str, Any]:
    return {meta["phx_ref"]: meta for meta in presence["metas"]}
