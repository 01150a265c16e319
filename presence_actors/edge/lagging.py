"""Which clients of a gateway are behind with reading, and which have caught up.

What one turn has to say may be any size, a large room's snapshot, say, and to be still reading that
is not to be behind. What counts is by how much more waits than the least that did since then: a
client that reads as fast as news come never gets there, however large its snapshot was, and one
that reads nothing gets there after so many bytes, however fast they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

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
        if unsent == 0:
            client.excused = None
            return False
        if client.excused is None or unsent < client.excused:
            client.excused = unsent
        behind = unsent - client.excused
        if behind <= min(limits.lag_bytes_max, limits.unsent_bytes_max):
            return False
        if client.lagging or not client.known:
            return behind > limits.unsent_bytes_max
        client.lagging = True
        self._lagging[client.id] = client
        self._post(ClientLagging(client.id))
        self._look_later(limits.lag_look_ms)
        return False

    def excuse(self, clients: Iterable[Client | None], limits: EdgeLimits) -> None:
        """These are shown something whole, of whatever size; but not ever more of it."""
        for client in clients:
            if client is not None and client.conn.unsent_bytes <= limits.unsent_bytes_max:
                client.excused = None

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
                client.lagging, client.excused = False, None
                self._post(ClientCaughtUp(client.id))
        if self._lagging:
            self._look_later(after_ms)
