"""Keeps one target dialled: an attempt, the link's life, a pause, the next attempt."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from presence_actors.links.connection import LinkConnection
from presence_actors.links.faults import LinkFaults
from presence_actors.links.limits import LinkLimits

#: Pauses vary by this fraction, so that nodes that lost a peer together do not return together.
_JITTER = 0.2


class Dialer:
    """Dials one node name at one address for as long as it lives.

    Args:
        name: The node name that is expected there.
        address: Host and port.
        make_connection: A fresh connection for an attempt.
        unlinked: Returns once there is no open link with this name, whoever dialled it.
        report: Takes the code and the reason of an attempt that came to nothing.
        limits: Times of connecting and retrying.
        rng: Chance for the jitter.
        faults: A cut there keeps attempts from connecting.
    """

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        *,
        make_connection: Callable[[], LinkConnection],
        unlinked: Callable[[str], Awaitable[None]],
        report: Callable[[str, str], None],
        limits: LinkLimits,
        rng: random.Random,
        faults: LinkFaults | None,
    ) -> None:
        self.name = name
        self.address = address
        self._make_connection = make_connection
        self._unlinked = unlinked
        self._report = report
        self._limits = limits
        self._rng = rng
        self._faults = faults
        self._connection: LinkConnection | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to dial."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"dial {self.name}")

    def close(self, reason: str) -> None:
        """Stop dialling, and end the link that this dialer made."""
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.close("closing", reason)

    async def _run(self) -> None:
        while True:
            await self._unlinked(self.name)
            await self._attempt()
            pause_ms = self._pause_ms() * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
            await asyncio.sleep(pause_ms / 1000)

    async def _attempt(self) -> None:
        if self._faults is not None and self._faults.blocks_connecting(self.name):
            await asyncio.sleep(self._limits.connect_ms / 1000)
            self._report("unreachable", self._timed_out())
            return
        connection = self._make_connection()
        self._connection = connection
        host, port = self.address
        try:
            async with asyncio.timeout(self._limits.connect_ms / 1000):
                await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
        except TimeoutError:
            self._report("unreachable", self._timed_out())
        # A host name that cannot be written as one is a UnicodeError.
        except (OSError, UnicodeError) as error:
            self._report("unreachable", f"{host}:{port}: {error}")
        else:
            await connection.ended.wait()
            if connection.peer is None and connection.closed is not None:
                self._report(connection.closed.code, connection.closed.reason)
        finally:
            self._connection = None

    def _pause_ms(self) -> int:
        closed = self._connection.closed if self._connection is not None else None
        if closed is not None and closed.by_peer and closed.code == "superseded":
            # Each attempt would open and end at once, for as long as the later life is there.
            return self._limits.superseded_retry_ms
        return self._limits.retry_ms

    def _timed_out(self) -> str:
        host, port = self.address
        return f"{host}:{port}: no connection within {self._limits.connect_ms} ms"
