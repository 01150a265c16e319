"""A connection served by picows, which knows frames and hardly anything else.

What it leaves to us is here: messages in pieces, reserved bits, the closing handshake, pings to a
silent client, and an end that the client can read. Its own end comes 10 ms after a frame that
breaks the protocol; with unread input the kernel would then throw away the closing frame as well.
So picows gets a transport whose `close` is ours, and a log in which we hear of such a frame first.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from typing import Final

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in its stub

from presence_actors.core.ids import ConnectionId
from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
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

__all__ = ["PicowsConn", "PicowsSockets"]

_log = logging.getLogger(__name__)

#: Beyond, picows hands the transport a view of its own buffer, which the next frame overwrites
#: while the first still waits in a full socket.
_COPIED_BYTES_MAX: Final = 8_192
#: Where every connection starts; it grows with what comes in.
_READ_BUFFER_BYTES: Final = 2_048
#: How long what a client is still sending is read and dropped after a frame that broke the
#: protocol: if the socket were closed at once, its kernel would throw away the closing frame, too.
_DISCARD_MS: Final = 500
#: A client that lets so much wait gets no answer to its pings: they would wait, too.
_PONG_UNSENT_BYTES_MAX: Final = 16 * 1024
#: Connections that are looked at in one turn of the loop.
_LOOKED_AT_PER_TURN: Final = 1_000
#: Rounds of silence, two in a `ping_ms`, after which a client is asked, and after which it is gone.
_ASKED_AFTER: Final = 2
_GONE_AFTER: Final = 3

_CODE_BYTES: Final = 2
_CODE_MAX: Final = 4_999
#: RFC 6455, section 7.4.1: these never stand in a frame. picows lets them pass.
_CODES_UNSAID: Final = (0, 1_005, 1_006)
_PROTOCOL_ERROR: Final = 1_002
_INVALID_TEXT: Final = 1_007
_TOO_BIG: Final = 1_009


class PicowsConn(WSListener):
    """One client's WebSocket; see `Conn`."""

    __slots__ = (
        "_admitted",
        "_binary",
        "_closing",
        "_connection",
        "_gathered",
        "_heard",
        "_more",
        "_pieces",
        "_silent",
        "_sockets",
        "_transport",
        "_wire",
        "descriptor",
        "is_backed_up",
    )

    def __init__(self, sockets: PicowsSockets, wire: asyncio.Transport, admitted: Admitted) -> None:
        self._sockets = sockets
        self._wire = wire
        self._admitted: Admitted | None = admitted
        self._connection = ConnectionId(0)
        self._transport: WSTransport | None = None
        #: The first that was gathered, nearly always the only one; and what came behind it.
        self._gathered: bytes | None = None
        self._binary = False
        self._more: list[tuple[bool, bytes]] | None = None
        #: The transport tells us: see `pause_writing`.
        self.is_backed_up = False
        #: The pieces of an unfinished message, and whether it is a text.
        self._pieces: tuple[bool, bytearray] | None = None
        #: Set from the first closing frame on, whosoever; cuts the connection off.
        self._closing: asyncio.TimerHandle | None = None
        self._heard = True
        self._silent = 0
        self.descriptor = -1

    # --- what the driver calls ------------------------------------------------------------------

    def write(self, data: bytes, *, binary: bool = False) -> None:
        """Gather a frame: text, as UTF-8, or a binary one."""
        if self._gathered is None:
            self._gathered, self._binary = data, binary
        elif self._more is None:
            self._more = [(binary, data)]
        else:
            self._more.append((binary, data))

    def flush(self) -> None:
        """Hand what was gathered to the socket, as one piece."""
        data, transport = self._gathered, self._transport
        if data is None or transport is None:
            return
        more, self._gathered, self._more = self._more, None, None
        if self._closing is not None:
            return
        if more is None and len(data) <= _COPIED_BYTES_MAX:
            transport.send(_BINARY if self._binary else _TEXT, data)
        elif not self._wire.is_closing():
            all_of_it = [(self._binary, data), *(more or ())]
            frames = [data_frame(BINARY if binary else TEXT, one) for binary, one in all_of_it]
            self._wire.write(b"".join(frames))

    def take(self) -> bytes | None:
        """What was gathered, as frames, if nothing stands between them and the socket."""
        data, wire = self._gathered, self._wire
        if (
            data is None
            or self._more is not None
            or self._closing is not None
            or len(data) > _COPIED_BYTES_MAX
            or self.descriptor < 0
            or wire.get_write_buffer_size()
            or wire.is_closing()
        ):
            return None
        self._gathered = None
        return self._sockets.framed(data, binary=self._binary)

    def send_rest(self, data: bytes) -> None:
        """Send what a full socket did not take."""
        self._wire.write(data)

    def close(self, code: int, reason: str) -> None:
        """Flush, then close in an orderly way; abort if the client does not answer in time."""
        if self._closing is None and self._transport is not None:
            self.flush()
            self._cut_off_later(self._sockets.close_ms)
            self._transport.send_close(code, cut_reason(reason))  # type: ignore[arg-type]  # any

    def abort(self) -> None:
        """Cut it off."""
        self._wire.abort()

    @property
    def unsent_bytes(self) -> int:
        """What the client has been slow to read."""
        return self._wire.get_write_buffer_size()

    # --- what picows calls ----------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is through."""
        self._transport = transport
        # With these limits it is told to us as soon as one byte waits.
        self._wire.set_write_buffer_limits(high=0)
        # picows has every packet acknowledged at once, which nearly doubles the packets: our answer
        # carries the acknowledgement.
        made = self._wire.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        # Under TLS what goes into the socket is not what we write.
        if self._wire.get_extra_info("sslcontext") is None:
            self.descriptor = made.fileno()
        # They would be kept for as long as the connection: 4 kB.
        transport.request.headers.clear()
        transport.response.headers.clear()
        admitted = self._admitted
        if admitted is not None:
            self._connection = admitted.opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame has come in whole."""
        self._heard = True
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(_PROTOCOL_ERROR, "reserved bits, and no extension was agreed on")
        elif kind is _CLOSE:
            self._on_close(frame.get_payload_as_bytes())
        elif self._closing is not None:
            return
        elif kind is _TEXT and frame.fin and self._pieces is None:
            try:
                text = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self._fail(_INVALID_TEXT, "a text must be UTF-8")
                return
            self._sockets.driver.received(self._connection, text)
        elif kind is _BINARY and frame.fin and self._pieces is None:
            self._sockets.driver.received(self._connection, frame.get_payload_as_bytes())
        elif kind is _PING:
            if self.unsent_bytes <= _PONG_UNSENT_BYTES_MAX:
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind is not _PONG:
            self._on_piece(kind, frame)

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """The socket is gone."""
        self.gone()

    def pause_writing(self) -> None:
        """Something had to wait: the socket is full."""
        self.is_backed_up = True

    def resume_writing(self) -> None:
        """All of it is sent."""
        self.is_backed_up = False

    # --- what `PicowsSockets` calls -------------------------------------------------------------

    def broke_protocol(self, code: int, words: str) -> None:
        """A frame cannot even be read; what comes behind it is no frame any more."""
        if self._closing is None:
            if code == _TOO_BIG:
                self._sockets.driver.refused(self._connection, TOO_BIG)
            else:
                self._fail(code, words)
        self._wire.set_protocol(_Discarding(self))
        self._cut_off_later(_DISCARD_MS)

    def look(self) -> None:
        """Half of `ping_ms` has passed: ask a client that is silent; give up one that stays so."""
        if self._heard:
            self._heard, self._silent = False, 0
            return
        self._silent += 1
        if self._silent == _ASKED_AFTER and self._transport is not None:
            self._transport.send_ping()
        elif self._silent >= _GONE_AFTER:
            self._wire.abort()

    def gone(self) -> None:
        """The socket is gone."""
        if self._closing is not None:
            self._closing.cancel()
        self._admitted = None
        self.descriptor = -1
        self._sockets.forget(self)
        self._sockets.driver.closed(self._connection)

    # --- the rest -------------------------------------------------------------------------------

    def _on_piece(self, kind: WSMsgType, frame: WSFrame) -> None:
        """A piece of a message."""
        if (kind is _CONTINUATION) != (self._pieces is not None):
            self._fail(_PROTOCOL_ERROR, "a piece without a beginning, or a beginning within one")
            return
        payload = frame.get_payload_as_bytes()
        is_text, pieces = self._pieces or (kind is _TEXT, bytearray())
        if len(pieces) + len(payload) > CLIENT_FRAME_BYTES_MAX:
            self._pieces = None
            self._sockets.driver.refused(self._connection, TOO_BIG)
            return
        pieces += payload
        self._pieces = None if frame.fin else (is_text, pieces)
        if not frame.fin:
            return
        if not is_text:
            self._sockets.driver.received(self._connection, bytes(pieces))
            return
        try:
            text = pieces.decode()
        except UnicodeDecodeError:
            self._fail(_INVALID_TEXT, "a text must be UTF-8")
            return
        self._sockets.driver.received(self._connection, text)

    def _on_close(self, payload: bytes) -> None:
        """The client closes, or answers that we do."""
        code = int.from_bytes(payload[:_CODE_BYTES], "big") if payload else None
        if code is not None and (code in _CODES_UNSAID or code > _CODE_MAX):
            self._fail(_PROTOCOL_ERROR, "no code that a frame may have")
            return
        if self._closing is None and self._admitted is not None:
            said = self._admitted.says_goodbye
            reason = payload[_CODE_BYTES:].decode()
            # As aiohttp has it: no code is code 0.
            self._sockets.driver.closed(self._connection, orderly=said(code or 0, reason))
            self.flush()
            self._cut_off_later(self._sockets.close_ms)
            self._wire.write(data_frame(CLOSE, payload[:_CODE_BYTES]))
        self._wire.close()

    def _fail(self, code: int, words: str) -> None:
        """The client broke the protocol; what it may still say does not count."""
        self.close(code, words)
        self._sockets.driver.closed(self._connection)

    def _cut_off_later(self, after_ms: int) -> None:
        if self._closing is not None:
            self._closing.cancel()
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(after_ms / 1_000, self._wire.abort)


_CONTINUATION: Final = WSMsgType.CONTINUATION
_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_CLOSE: Final = WSMsgType.CLOSE
_PING: Final = WSMsgType.PING
_PONG: Final = WSMsgType.PONG


class _Outside:
    """What picows sees of the outside: the transport, except for its end, and a log."""

    __slots__ = ("_conn", "_wire", "get_write_buffer_size", "write")

    def __init__(self, wire: asyncio.Transport, conn: PicowsConn) -> None:
        self._wire = wire
        self._conn = conn
        # With each frame; so these are the transport's own.
        self.write = wire.write
        self.get_write_buffer_size = wire.get_write_buffer_size

    def get_extra_info(self, name: str) -> object:
        """Of the transport."""
        return self._wire.get_extra_info(name)

    def close(self) -> None:
        """Not now: whoever ends a connection sees to it that the client can read why."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # a logger's name for it
        """Faults of ours only."""
        return level >= logging.ERROR

    def error(self, message: str, *values: object) -> None:
        """A frame of the client is none; it is given as the code and the words to close with."""
        match values:
            case ((WSCloseCode() as code, words), *_):
                self._conn.broke_protocol(int(code.value), str(words))
            case _:
                _log.error(message, *values)

    def exception(self, message: str, *values: object) -> None:
        """A fault of ours."""
        _log.exception(message, *values)

    def info(self, _message: str, *_values: object) -> None:
        """Nobody reads it."""

    debug = warning = info


class _Discarding(asyncio.BufferedProtocol):
    """Reads and drops what a client still sends."""

    #: For all: nobody reads what is written into it.
    _scrap: Final = bytearray(64 * 1024)

    def __init__(self, conn: PicowsConn) -> None:
        self._conn = conn

    def get_buffer(self, _size: int) -> bytearray:
        """Room for what will be dropped."""
        return self._scrap

    def buffer_updated(self, _size: int) -> None:
        """Dropped."""

    def connection_lost(self, _error: Exception | None) -> None:
        """The socket is gone."""
        self._conn.gone()


class PicowsSockets:
    """All connections of one gateway that picows serves.

    Args:
        driver: What the frames are handed to.
        ping_ms: Distance of the WebSocket pings to a silent client.
    """

    def __init__(self, driver: GatewayDriver, *, ping_ms: int) -> None:
        self.driver = driver
        self.close_ms = driver.limits.close_ms
        self._ping_ms = ping_ms
        self._conns: dict[PicowsConn, None] = {}
        self._to_look_at: deque[PicowsConn] = deque()
        self._looking: asyncio.Handle | None = None
        self._emptied = asyncio.Event()
        #: The last payload that was put into a frame: most are for many.
        self._payload = b""
        self._binary = False
        self._frame = data_frame(TEXT, b"")

    def take(self, wire: asyncio.Transport, data: bytes, admitted: Admitted) -> None:
        """Serve a connection whose request, which stands in `data`, was admitted."""
        conn = PicowsConn(self, wire, admitted)
        outside = _Outside(wire, conn)
        protocol = _protocol(conn, outside, admitted.protocol)
        self._conns[conn] = None
        self._look_later()
        wire.set_protocol(protocol)
        protocol.connection_made(outside)
        while data:
            room = protocol.get_buffer(-1)
            part = data[: len(room)]
            room[: len(part)] = part
            data = data[len(part) :]
            protocol.buffer_updated(len(part))

    def framed(self, payload: bytes, *, binary: bool) -> bytes:
        """The frame of a payload; the same object for the same payload as the time before."""
        if payload is not self._payload or binary is not self._binary:
            self._payload, self._binary = payload, binary
            self._frame = data_frame(BINARY if binary else TEXT, payload)
        return self._frame

    def forget(self, conn: PicowsConn) -> None:
        """It is gone."""
        self._conns.pop(conn, None)
        if not self._conns:
            self._emptied.set()

    async def stop(self) -> None:
        """Return when all are gone; those that do not go are cut off."""
        self._emptied.clear()
        if self._conns:
            try:
                async with asyncio.timeout(self.close_ms / 1_000 + 1):
                    await self._emptied.wait()
            except TimeoutError:
                for conn in list(self._conns):
                    conn.abort()
        if self._looking is not None:
            self._looking.cancel()

    def _look_later(self) -> None:
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(self._ping_ms / 2_000, self._look)

    def _look(self) -> None:
        """A round over all connections, in slices."""
        self._looking = None
        if not self._to_look_at:
            self._to_look_at.extend(self._conns)
        for _ in range(min(_LOOKED_AT_PER_TURN, len(self._to_look_at))):
            conn = self._to_look_at.popleft()
            if conn in self._conns:
                conn.look()
        if self._to_look_at:
            self._looking = asyncio.get_running_loop().call_soon(self._look)
        elif self._conns:
            self._look_later()


def _protocol(conn: PicowsConn, outside: _Outside, subprotocol: str | None) -> WSProtocol:
    headers = {} if subprotocol is None else {"Sec-WebSocket-Protocol": subprotocol}
    response = WSUpgradeResponse.create_101_response(headers)
    return WSProtocol(
        None,  # host and port, of a client
        None,  # path, of a client
        False,  # noqa: FBT003  # is_client_side
        lambda _request: WSUpgradeResponseWithListener(response, conn),
        outside,  # logger
        True,  # noqa: FBT003  # disconnect_on_exception
        None,  # websocket_handshake_timeout: the request is here
        False,  # noqa: FBT003  # enable_auto_ping: it is a task for each connection
        1,  # auto_ping_idle_timeout
        1,  # auto_ping_reply_timeout
        1,  # auto_ping_strategy
        False,  # noqa: FBT003  # enable_auto_pong
        CLIENT_FRAME_BYTES_MAX,
        None,  # extra_headers, of a client
        _READ_BUFFER_BYTES,
    )
