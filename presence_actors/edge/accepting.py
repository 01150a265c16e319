"""Connections that wait to be accepted: some in each turn of the loop, so that others get theirs.

In a storm thousands wait. To accept one is cheap, but each brings a request, a handshake, a hello
and a welcome, some tenths of a millisecond together; were all of them accepted in one turn, the
next turns would belong to them, and whoever is connected already would wait for seconds. The loops'
own servers give no choice: asyncio's takes all at once, and uvloop's one in a turn, however short
the turn is.

Those who wait do so in the kernel's queue, and cost nothing here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

__all__ = ["Acceptor"]

_log = logging.getLogger(__name__)

#: How long nothing is accepted after the system had no descriptor or memory for one more.
_PAUSE_S: Final = 0.5


class Acceptor:
    """Accepts on a listening socket.

    Args:
        listener: Listens already, and does not block. Closed by `close`.
        protocol: Makes the protocol of each connection.
        per_turn: How many are accepted in one turn of the loop.
    """

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], *, per_turn: int
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._per_turn = per_turn
        self._loop = asyncio.get_running_loop()
        #: What makes connections of sockets; the loop itself holds tasks weakly.
        self._making: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept from now on."""
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; who is connected stays so."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(self._per_turn):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor, most likely: the one that waits would be tried again at once.
                _log.warning("Accepting pauses seconds=%s error=%s", _PAUSE_S, error)
                self._loop.remove_reader(self._listener.fileno())
                self._pause = self._loop.call_later(_PAUSE_S, self.start)
                return
            accepted.settimeout(0)
            task = self._loop.create_task(self._make(accepted))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _make(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:
            # It is gone already.
            accepted.close()
