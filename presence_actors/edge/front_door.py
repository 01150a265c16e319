"""One port for sockets and for HTTP: looks at how a connection begins, and hands it over.

A request for a WebSocket that may have one goes to picows. Everything else, a refused one included,
goes to aiohttp as it came in, which knows all of HTTP. Neither notices that somebody looked first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, cast

from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
from presence_actors.edge.request_head import is_whole, may_be_upgrade, read_upgrade
from presence_actors.edge.turnstile import Turnstile
from presence_actors.edge.upgrade import Admitted, Judge

__all__ = ["FrontDoor"]

#: The head of a first request comes in within this. Beyond: the connection is cut off.
_HEAD_MS: Final = 10_000

TakeSocket = Callable[[asyncio.Transport, bytes, Admitted], None]


class FrontDoor:
    """Makes the protocol of each connection that is accepted.

    Args:
        judges: Decides about the requests for sockets, by path.
        take_socket: Takes over a connection whose request, handed over with it, was admitted.
        http: Makes the protocol that serves everything else.
        turnstile: Gives each request for a socket its turn.
        head_ms: How long the first request may take to come in.
    """

    def __init__(
        self,
        judges: Mapping[str, Judge],
        *,
        take_socket: TakeSocket,
        http: Callable[[], asyncio.Protocol],
        turnstile: Turnstile,
        head_ms: int = _HEAD_MS,
    ) -> None:
        self.judges = judges
        self.take_socket = take_socket
        self.http = http
        self.turnstile = turnstile
        self.head_ms = head_ms
        #: Connections whose first request has not come in yet.
        self.waiting: set[asyncio.Transport] = set()

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one more connection."""
        return _Arrival(self)

    def close(self) -> None:
        """Cut off whoever has not said yet what he wants."""
        for transport in list(self.waiting):
            transport.abort()


class _Arrival(asyncio.Protocol):
    """A connection until it is known whose it is."""

    __slots__ = ("_data", "_door", "_is_whole", "_timer", "_transport")

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._data = b""
        #: Whether the head of a request for a socket is here, and waits for its turn.
        self._is_whole = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is here, and may take so long."""
        self._transport = made = cast("asyncio.Transport", transport)
        self._door.waiting.add(made)
        self._timer = asyncio.get_running_loop().call_later(self._door.head_ms / 1_000, made.abort)

    def data_received(self, data: bytes) -> None:
        """Look; hand over as soon as it is known to whom."""
        if self._transport is None:
            return
        self._data = data = self._data + data if self._data else data
        if self._is_whole:
            # It cannot know yet whether it has a socket, and says something all the same.
            if len(data) > CLIENT_FRAME_BYTES_MAX:
                self._transport.abort()
        elif not may_be_upgrade(data):
            self._hand_to_http()
        elif is_whole(data):
            self._is_whole = True
            self._stop_timer()
            self._door.turnstile.add(self._decide)

    def _decide(self) -> None:
        if self._transport is None:
            return
        admitted = self._judged(self._data)
        wait_ms = None if admitted is None else admitted.wait_ms()
        if admitted is None or wait_ms is None:
            self._hand_to_http()
        elif wait_ms:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_ms / 1_000, self._hand_over, admitted)
        else:
            self._hand_over(admitted)

    def _hand_over(self, admitted: Admitted) -> None:
        if self._transport is not None:
            data = self._data
            self._door.take_socket(self._let_go(), data, admitted)

    def connection_lost(self, _error: Exception | None) -> None:
        """It went before it had said what it wants."""
        if self._transport is not None:
            self._let_go()

    def _judged(self, data: bytes) -> Admitted | None:
        transport = cast("asyncio.Transport", self._transport)
        peer = transport.get_extra_info("peername")
        request = read_upgrade(
            data, paths=self._door.judges.keys(), remote=peer[0] if peer else None
        )
        if request is None:
            return None
        judged = self._door.judges[request.path](request)
        return judged if isinstance(judged, Admitted) else None

    def _hand_to_http(self) -> None:
        data = self._data
        transport = self._let_go()
        protocol = self._door.http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _let_go(self) -> asyncio.Transport:
        transport, self._transport = cast("asyncio.Transport", self._transport), None
        self._data = b""
        self._door.waiting.discard(transport)
        self._stop_timer()
        return transport

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
