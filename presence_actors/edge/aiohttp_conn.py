"""A connection served by aiohttp.

aiohttp's own `send_str` is a coroutine that waits for a slow reader, so one of them would hold up a
whole fan-out, or need a task for each send. Frames are therefore written to the transport, which
never waits; a server's text frame is a header of two to ten bytes and the text, and goes in whole,
so it may stand between frames that aiohttp writes itself (pings, pongs, the closing one).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
from presence_actors.edge.conn import WholeConn
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.upgrade import Admitted
from presence_actors.edge.websocket_frames import (
    BINARY,
    CLOSE,
    TEXT,
    TOO_BIG,
    cut_reason,
    data_frame,
)

__all__ = ["AiohttpConn", "serve_socket"]

#: How long what a client is still sending is read and dropped after a frame that is too big: if the
#: socket were closed at once, its kernel would throw away the closing frame, too.
_DISCARD_MS: Final = 500


class AiohttpConn(WholeConn):
    """One client's WebSocket; see `Conn`. aiohttp writes frames of its own between ours."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, *, close_ms: int
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._close_ms = close_ms
        self._gathered: list[bytes] = []
        self._closing: asyncio.Task[None] | None = None

    def write(self, data: bytes, *, binary: bool = False) -> None:
        """Gather a frame: text, as UTF-8, or a binary one."""
        self._gathered.append(data_frame(BINARY if binary else TEXT, data))

    def flush(self) -> None:
        """Hand what was gathered to the transport."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, []
        if self._closing is None and not self._socket.closed and not self._transport.is_closing():
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def close(self, code: int, reason: str) -> None:
        """Flush, then close in an orderly way; abort if the client does not answer in time."""
        if self._closing is None:
            self.flush()
            self._closing = asyncio.get_running_loop().create_task(self._close(code, reason))

    def abort(self) -> None:
        """Cut it off."""
        self._transport.abort()

    @property
    def is_backed_up(self) -> bool:
        """Whether anything is unsent."""
        return self._transport.get_write_buffer_size() > 0

    @property
    def unsent_bytes(self) -> int:
        """What the client has been slow to read."""
        return self._transport.get_write_buffer_size()

    async def closed(self) -> None:
        """Returns when an end that was asked for has come."""
        if self._closing is not None:
            await self._closing

    async def _close(self, code: int, reason: str) -> None:
        message = cut_reason(reason)
        try:
            async with asyncio.timeout(self._close_ms / 1_000):
                if code == WSCloseCode.MESSAGE_TOO_BIG:
                    await self._close_amid_frame(code, message)
                else:
                    await self._socket.close(code=code, message=message)
        except TimeoutError:
            # It does not read: there is no orderly end with it.
            self._transport.abort()

    async def _close_amid_frame(self, code: int, message: bytes) -> None:
        """Close while a frame is still coming in that will never be read."""
        if not self._transport.is_closing():
            self._transport.write(data_frame(CLOSE, code.to_bytes(2, "big") + message))
            await asyncio.sleep(_DISCARD_MS / 1_000)
            self._transport.close()


class _Socket(web.WebSocketResponse):
    """aiohttp's WebSocket; a frame that is too big is the driver's to refuse."""

    def __init__(self, *, protocol: str | None, ping_ms: int, close_ms: int) -> None:
        super().__init__(
            timeout=close_ms / 1_000,
            heartbeat=ping_ms / 1_000,
            protocols=() if protocol is None else (protocol,),
            compress=False,
            # aiohttp refuses a frame of exactly this size, too.
            max_msg_size=CLIENT_FRAME_BYTES_MAX + 1,
        )
        self.on_too_big: Callable[[], None] | None = None

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        # aiohttp calls this itself, from within `receive`, and would say nothing but the code.
        if code == WSCloseCode.MESSAGE_TOO_BIG and self.on_too_big is not None:
            self.on_too_big()
            return True
        return await super().close(code=code, message=message, drain=drain)


async def serve_socket(
    request: web.Request, driver: GatewayDriver, admitted: Admitted, *, ping_ms: int
) -> web.WebSocketResponse:
    """Upgrade, and serve the connection until it is gone.

    Args:
        request: The upgrade.
        driver: What the frames are handed to.
        admitted: What was decided about the request.
        ping_ms: Distance of the WebSocket pings to a silent client.
    """
    close_ms = driver.limits.close_ms
    socket = _Socket(protocol=admitted.protocol, ping_ms=ping_ms, close_ms=close_ms)
    await socket.prepare(request)
    transport = request.transport
    if transport is None:
        return socket
    conn = AiohttpConn(socket, transport, close_ms=close_ms)
    connection = admitted.opened(conn)
    socket.on_too_big = partial(driver.refused, connection, TOO_BIG)
    orderly = False
    try:
        while True:
            message = await socket.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    driver.received(connection, message.data)
                case WSMsgType.CLOSE:
                    orderly = admitted.says_goodbye(int(message.data), message.extra or "")
                    break
                case _:
                    break
    finally:
        driver.closed(connection, orderly=orderly)
        await conn.closed()
    return socket
