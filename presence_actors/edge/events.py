"""Streams of server-sent events: connections that hear and do not speak.

What is told goes straight to the transport, as on a WebSocket, so a slow reader holds up nobody.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import HttpVersion11, web

from presence_actors.core.limits import SUBSCRIPTIONS_PER_CONNECTION_MAX
from presence_actors.core.vocabulary import ErrorCode, Identity, Sub
from presence_actors.edge.asking import cursor_of, named_in, only
from presence_actors.edge.conn import WholeConn
from presence_actors.edge.driver import GatewayDriver
from presence_actors.wire.event_stream import BEAT, EventAdapter, close_event, retry_event
from presence_actors.wire.identifiers import split_watched
from presence_actors.wire.refusals import FrameRefused

__all__ = ["EventConn", "EventStreams"]

#: When a reader that lost its stream comes again. Readers have no jitter of their own, so a gateway
#: that stops hands them over within its admission.
_RETRY_MS: Final = 2_000
#: How soon we see that a reader is gone.
_LOOK_S: Final = 1.0
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class EventConn(WholeConn):
    """One client's stream; see `Conn`."""

    def __init__(self, transport: asyncio.Transport, *, chunked: bool) -> None:
        self._transport = transport
        self._chunked = chunked
        self._gathered: list[bytes] = []
        #: Set when the stream is to end.
        self.ended = asyncio.Event()

    def write(self, data: bytes, *, binary: bool = False) -> None:  # noqa: ARG002  # text only
        """Gather an event."""
        self._gathered.append(data)

    def flush(self) -> None:
        """Hand what was gathered to the transport, as one chunk."""
        gathered, self._gathered = self._gathered, []
        if not gathered or self.ended.is_set() or self._transport.is_closing():
            return
        data = b"".join(gathered)
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def close(self, code: int, reason: str) -> None:
        """Say why, and end."""
        self.write(close_event(code, reason))
        self.flush()
        self.ended.set()

    @property
    def is_backed_up(self) -> bool:
        """Whether anything is unsent."""
        return self._transport.get_write_buffer_size() > 0

    @property
    def unsent_bytes(self) -> int:
        """What the client has been slow to read."""
        return self._transport.get_write_buffer_size()

    @property
    def is_gone(self) -> bool:
        """Whether nobody is at the other end any more."""
        return self._transport.is_closing()

    def abort(self) -> None:
        """Cut it off."""
        self._transport.abort()


class EventStreams:
    """The route that gives out streams."""

    def __init__(self, driver: GatewayDriver, *, beat_ms: int) -> None:
        self._driver = driver
        self._adapter = EventAdapter()
        self._beat_ms = beat_ms

    async def serve(self, request: web.Request, identity: Identity) -> web.StreamResponse:
        """One stream, until either side ends it.

        Raises:
            FrameRefused: Nothing to watch, too much of it, or names that cannot be.
        """
        sub = _wanted(request)
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        conn = EventConn(transport, chunked=request.version >= HttpVersion11)
        conn.write(retry_event(_RETRY_MS))
        conn.flush()
        connection = self._driver.opened_watcher(
            conn, adapter=self._adapter, identity=identity, address=request.remote or "", sub=sub
        )
        try:
            await self._until_over(conn)
        finally:
            self._driver.closed(connection)
        await self._finish(response, conn)
        return response

    async def _until_over(self, conn: EventConn) -> None:
        looks = 0
        while not conn.is_gone:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await conn.ended.wait()
                    return
            except TimeoutError:
                looks += 1
                if looks * _LOOK_S * 1_000 >= self._beat_ms:
                    looks = 0
                    conn.write(BEAT)
                    conn.flush()

    async def _finish(self, response: web.StreamResponse, conn: EventConn) -> None:
        try:
            async with asyncio.timeout(self._driver.limits.close_ms / 1_000):
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            conn.abort()


def _wanted(request: web.Request) -> Sub:
    query = request.query
    only(query, known=("topics", "users", "cursor"), repeated=("topics", "users"))
    topics, users = split_watched(named_in(query, "topics"), named_in(query, "users"))
    count = len(topics) + len(users)
    if not count:
        raise FrameRefused(
            ErrorCode.BAD_FRAME,
            "name at least one room or user: ?topics=lobby,design&users=alice",
        )
    if count > SUBSCRIPTIONS_PER_CONNECTION_MAX:
        raise FrameRefused(
            ErrorCode.TOO_MANY,
            f"{count} topics and users; at most {SUBSCRIPTIONS_PER_CONNECTION_MAX} are allowed",
        )
    last = request.headers.get("Last-Event-ID") or query.get("cursor")
    return Sub(topics=topics, users=users, cursor=cursor_of(last, what="Last-Event-ID"))
