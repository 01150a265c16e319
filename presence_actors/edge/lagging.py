"""Which clients of a gateway are behind with reading, and which have caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from presence_actors.core.events import ClientCaughtUp, ClientLagging
from presence_actors.core.ids import ConnectionId
from presence_actors.edge.client import Client
from presence_actors.edge.limits import EdgeLimits

__all__ = ["Laggards"]


class Laggards:
    """Looks at what waits in the sockets, and tells the machine, which decides what follows.

    Args:
        post: Tells the machine.
    """

    def __init__(self, post: Callable[[ClientLagging | ClientCaughtUp], None]) -> None:
        self._post = post
        self._lagging: dict[ConnectionId, Client] = {}
        self._looking: asyncio.TimerHandle | None = None

    def is_too_slow(self, client: Client, limits: EdgeLimits) -> bool:
        """Whether it is so far behind that it must go; the machine is told that it is behind."""
        unsent = client.conn.unsent_bytes
        if unsent <= min(limits.lag_bytes_max, limits.unsent_bytes_max):
            client.lagging_since = None
            return False
        now = asyncio.get_running_loop().time()
        if client.lagging_since is None:
            client.lagging_since = now
        is_full = unsent > limits.unsent_bytes_max
        if client.lagging or not client.known:
            return is_full
        if is_full or (now - client.lagging_since) * 1_000 >= limits.lag_ms:
            client.lagging = True
            self._lagging[client.id] = client
            self._post(ClientLagging(client.id))
            self._look_later(limits.lag_look_ms)
        return False

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look_later(self, after_ms: int) -> None:
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(after_ms / 1_000, self._look, after_ms)

    def _look(self, after_ms: int) -> None:
        self._looking = None
        for client in list(self._lagging.values()):
            if not client.known:
                del self._lagging[client.id]
            elif client.conn.unsent_bytes == 0:
                del self._lagging[client.id]
                client.lagging, client.lagging_since = False, None
                self._post(ClientCaughtUp(client.id))
        if self._lagging:
            self._look_later(after_ms)
