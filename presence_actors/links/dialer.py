"""Keeps one target dialled: an attempt, the link's life, a pause, the next attempt.

A target is a node name at an address, or an address alone, a *seed*: whoever answers there shows
its name in the handshake, and the dialer then rests while there is any open link with that name.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from presence_actors.links.connection import LinkConnection
from presence_actors.links.faults import LinkFaults
from presence_actors.links.limits import LinkLimits
from presence_actors.links.link import LinkClosed

#: Pauses vary by this fraction, so that nodes that lost a peer together do not return together.
_JITTER = 0.2


class Dialer:
    """Dials one address for as long as it lives.

    Args:
        name: The node name that is expected there; None for a seed.
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
        name: str | None,
        address: tuple[str, int],
        *,
        make_connection: Callable[[], LinkConnection],
        unlinked: Callable[[str], Awaitable[None]],
        report: Callable[[str, str], None],
        limits: LinkLimits,
        rng: random.Random,
        faults: LinkFaults | None,
    ) -> None:
        #: Whom it dials; of a seed, who was there last.
        self.name = name
        self.address = address
        self.is_seed = name is None
        #: Why the latest attempt came to nothing: code and reason.
        self.trouble: tuple[str, str] | None = None
        self._make_connection = make_connection
        self._unlinked = unlinked
        self._report = report
        self._limits = limits
        self._rng = rng
        self._faults = faults
        self._connection: LinkConnection | None = None
        #: How the latest attempt ended, if it reached somebody.
        self._closed: LinkClosed | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def peer_name(self) -> str | None:
        """Who is at the other end of the link that this dialer made, or was there last."""
        peer = self._connection.peer if self._connection is not None else None
        return self.name if peer is None else peer.name

    def start(self) -> None:
        """Begin to dial."""
        name = f"dial {self.name or self.address}"
        self._task = asyncio.get_running_loop().create_task(self._run(), name=name)

    def stop(self) -> None:
        """Stop dialling; the link that this dialer made stays open."""
        if self._task is not None:
            self._task.cancel()

    def close(self, reason: str) -> None:
        """Stop dialling, and end the link that this dialer made."""
        self.stop()
        if self._connection is not None:
            self._connection.close("closing", reason)

    async def _run(self) -> None:
        while True:
            if self.name is not None:
                await self._unlinked(self.name)
            if self._was_reached():
                # One of the two may dial the other by name as well. If both did so at the same
                # moment, each would put out the other's link.
                await self._pause()
                await self._unlinked(str(self.name))
            await self._attempt()
            if not self._was_reached():
                await self._pause()

    def _was_reached(self) -> bool:
        """Whether this is a seed, and its peer has been met."""
        return self.is_seed and self.name is not None

    async def _pause(self) -> None:
        pause_ms = self._pause_ms() * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
        await asyncio.sleep(pause_ms / 1000)

    async def _attempt(self) -> None:
        self._closed = None
        if self._faults is not None and self._faults.blocks_connecting(self.name):
            await asyncio.sleep(self._limits.connect_ms / 1000)
            self._fail("unreachable", self._timed_out())
            return
        connection = self._make_connection()
        self._connection = connection
        host, port = self.address
        try:
            async with asyncio.timeout(self._limits.connect_ms / 1000):
                await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
        except TimeoutError:
            self._fail("unreachable", self._timed_out())
        # A host name that cannot be written as one is a UnicodeError.
        except (OSError, UnicodeError) as error:
            self._fail("unreachable", f"{host}:{port}: {error}")
        else:
            await self._follow(connection)
        finally:
            self._connection = None

    async def _follow(self, connection: LinkConnection) -> None:
        """See an attempt that has reached somebody to its end."""
        await connection.ended.wait()
        self._closed = connection.closed
        if connection.peer is not None:
            self.trouble = None
            self.name = connection.peer.name
        elif connection.closed is not None:
            self._fail(connection.closed.code, connection.closed.reason)

    def _fail(self, code: str, reason: str) -> None:
        self.trouble = (code, reason)
        self._report(code, reason)

    def _pause_ms(self) -> int:
        closed = self._closed
        if closed is not None and closed.by_peer and closed.code == "superseded":
            # Each attempt would open and end at once, for as long as the later life is there.
            return self._limits.superseded_retry_ms
        return self._limits.seed_retry_ms if self._was_reached() else self._limits.retry_ms

    def _timed_out(self) -> str:
        host, port = self.address
        return f"{host}:{port}: no connection within {self._limits.connect_ms} ms"
