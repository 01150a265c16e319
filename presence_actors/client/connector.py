"""The one WebSocket that a session has at a time, on aiohttp.

Turns `OpenConnection`, `Say` and `CloseConnection` into sockets and frames, and what happens to
them into events. After `close` or a new `open`, nothing more is reported of the old connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import aiohttp
import yarl

from presence_actors.core.events import (
    ConnectFailed,
    ConnectionLost,
    ConnectionOpened,
    ServerSent,
    SessionEvent,
)
from presence_actors.core.limits import SERVER_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import ClientMessage, ServerMessage
from presence_actors.errors import RemoteProtocolError, UsageError
from presence_actors.wire import native, native_msgpack

__all__ = ["ENCODINGS", "Connector", "gateway_url"]

#: How the frames may be encoded, and the subprotocol that says so.
ENCODINGS: Final = {"json": native.SUBPROTOCOL, "msgpack": native_msgpack.SUBPROTOCOL}

#: Close codes: a connection that ended without a word, and a peer that breaks the protocol.
_LOST: Final = 1006
_PROTOCOL: Final = 1002
#: Frames from a gateway are aimed at its limit; one over-long entry may pass it.
_FRAME_BYTES_MAX: Final = 4 * SERVER_FRAME_BYTES_MAX
#: How long an orderly close may take.
_CLOSE_S: Final = 1.0

_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def gateway_url(url: str) -> str:
    """The address of a gateway's WebSocket; ``/ws`` unless another path is given.

    Raises:
        UsageError: It is no such address.
    """
    try:
        parsed = yarl.URL(url)
    except (ValueError, TypeError):
        parsed = yarl.URL()
    scheme = _SCHEMES.get(parsed.scheme)
    if scheme is None or not parsed.host:
        raise UsageError(
            f"{url!r} is not the address of a gateway",
            remedy="write ws://HOST:PORT or wss://HOST:PORT, such as ws://127.0.0.1:4000",
        )
    if parsed.path in ("", "/"):
        parsed = parsed.with_path("/ws", keep_query=True)
    return str(parsed.with_scheme(scheme))


class _Connection:
    """One socket from dialling to its end."""

    def __init__(self, url: str, post: Callable[[SessionEvent], None], *, subprotocol: str) -> None:
        self.url = url
        self.subprotocol = subprotocol
        #: None once nothing more is to be reported.
        self.post: Callable[[SessionEvent], None] | None = post
        #: Frames to send; None: close.
        self.outbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.closing = (1000, "")
        self.http: aiohttp.ClientSession | None = None

    def report(self, event: SessionEvent) -> None:
        if self.post is not None:
            self.post(event)

    async def run(self) -> None:
        # A session of its own: to close it is to cut the wire, which nothing else does in aiohttp.
        async with aiohttp.ClientSession() as self.http:
            try:
                socket = await self.http.ws_connect(
                    gateway_url(self.url),
                    protocols=(self.subprotocol,),
                    max_msg_size=_FRAME_BYTES_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                )
            except aiohttp.WSServerHandshakeError as error:
                reason = f"{self.url} refused the connection with HTTP {error.status}"
                return self.report(ConnectFailed(self.url, reason))
            except aiohttp.ClientConnectorError as error:
                reason = f"{self.url}: {error.os_error.strerror or error}"
                return self.report(ConnectFailed(self.url, reason))
            except (aiohttp.ClientError, OSError, TimeoutError, UsageError) as error:
                return self.report(ConnectFailed(self.url, str(error) or type(error).__name__))
            if socket.protocol != self.subprotocol:
                await socket.close()
                reason = f"{self.url} does not speak {self.subprotocol}: is it a presence gateway?"
                return self.report(ConnectFailed(self.url, reason))
            writer = asyncio.create_task(self._write(socket))
            try:
                self.report(ConnectionOpened(self.url))
                code, reason = await self._read(socket)
            finally:
                if self.post is not None:
                    writer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writer
                await socket.close()
            return self.report(ConnectionLost(code, reason))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
        """Report what comes until the end; how it ended."""
        while True:
            try:
                message = await socket.receive()
            except (aiohttp.ClientError, ConnectionError) as error:
                # aiohttp answers pings from within, and raises where the wire is gone by then.
                return _LOST, f"the connection was lost ({error})"
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    try:
                        frame = _decoded(message.data)
                    except RemoteProtocolError as error:
                        return _PROTOCOL, str(error)
                    if frame is not None:
                        self.report(ServerSent(frame))
                case aiohttp.WSMsgType.CLOSE:
                    return int(message.data or socket.close_code or _LOST), message.extra or ""
                case aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.CLOSING:
                    return int(socket.close_code or _LOST), "the connection was lost"
                case aiohttp.WSMsgType.ERROR:
                    return int(socket.close_code or _LOST), str(message.data or "")
                case _:
                    pass

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        # What cannot be sent any more is the reader's to notice.
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            while (frame := await self.outbox.get()) is not None:
                if isinstance(frame, str):
                    await socket.send_str(frame)
                else:
                    await socket.send_bytes(frame)
            code, reason = self.closing
            await socket.close(code=code, message=reason.encode())


_ENCODERS: Final[dict[str, Callable[[ClientMessage], str | bytes]]] = {
    "json": native.encode_client,
    "msgpack": native_msgpack.encode_client,
}


def _decoded(frame: str | bytes) -> ServerMessage | None:
    """A text frame is JSON, a binary one MessagePack: the gateway sends what was agreed on."""
    if isinstance(frame, str):
        return native.decode_server(frame)
    return native_msgpack.decode_server(frame)


class Connector:
    """Carries out what a session wants of its connection.

    Args:
        post: Takes the events; is called from the event loop, never from within a call of ours.
        encoding: One of `ENCODINGS`.
    """

    def __init__(self, post: Callable[[SessionEvent], None], *, encoding: str = "json") -> None:
        self._post = post
        self._subprotocol = ENCODINGS[encoding]
        self._encode = _ENCODERS[encoding]
        self._connection: _Connection | None = None
        self._tasks: dict[_Connection, asyncio.Task[None]] = {}
        #: Why the latest attempt failed, for people.
        self.failure = ""

    def open(self, url: str) -> None:
        """Dial a gateway."""
        connection = self._connection = _Connection(
            url, self._report, subprotocol=self._subprotocol
        )
        task = asyncio.create_task(connection.run())
        self._tasks[connection] = task
        task.add_done_callback(lambda _task: self._tasks.pop(connection, None))

    def say(self, message: ClientMessage) -> None:
        """Send a frame; never blocks."""
        if self._connection is not None:
            self._connection.outbox.put_nowait(self._encode(message))

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was said; nothing more is reported of it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.post = None
        connection.closing = (code, reason)
        connection.outbox.put_nowait(None)
        task = self._tasks.get(connection)
        if task is not None:
            # The close may find nobody at the other end, and a dial nobody at all.
            asyncio.get_running_loop().call_later(_CLOSE_S, task.cancel)

    async def drop(self) -> None:
        """Cut the wire, as a lost network does. The session notices, and comes back."""
        connection = self._connection
        if connection is not None and connection.http is not None:
            await connection.http.close()

    async def settle(self) -> None:
        """Wait until every connection that is being closed is closed."""
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=2 * _CLOSE_S)

    async def abandon(self) -> None:
        """Cut the wire and report nothing any more, as a process does that is killed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.post = None
            if connection.http is not None:
                await connection.http.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _report(self, event: SessionEvent) -> None:
        if isinstance(event, ConnectFailed | ConnectionLost):
            self.failure = event.reason
            self._connection = None
        self._post(event)
