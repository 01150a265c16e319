"""Accepts links, and bounds how many strangers may stand at the door."""

import asyncio
from collections.abc import Callable

from presence_actors.links.connection import LinkConnection


class Listener:
    """Listens on one address.

    Args:
        make_connection: A fresh connection for whoever comes.
    """

    def __init__(self, make_connection: Callable[[], LinkConnection]) -> None:
        self._make_connection = make_connection
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was bound (port 0 takes a free one).

        Raises:
            OSError: The address is taken or not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make_connection, host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def stop(self) -> None:
        """Accept nobody any more."""
        if self._server is not None:
            self._server.close()

    async def wait_closed(self) -> None:
        """Return once the socket is closed."""
        if self._server is not None:
            await self._server.wait_closed()
