"""The leanest WebSocket client that a load needs: some microseconds a frame in the load's process.

A full client would cost the load more than the gateway spends on the same frame, and the load
would measure itself. It checks what it must to be sure of its counts, and no more.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import Final, cast

__all__ = ["Socket", "client_frame", "open_plain", "open_websocket"]

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_MASKED: Final = 0x80
_MEDIUM: Final = 126
_LARGE: Final = 127
#: RFC 6455 has clients mask what they send. With this key a frame is its own masked form, and the
#: server's work is the same.
_KEY: Final = bytes(4)
_OPEN_S: Final = 30.0


def client_frame(payload: bytes, *, first: int = _TEXT) -> bytes:
    """A client's frame (RFC 6455, section 5.2): final, and masked with zeros."""
    size = len(payload)
    if size < _MEDIUM:
        return bytes((first, _MASKED | size)) + _KEY + payload
    return struct.pack("!BBH", first, _MASKED | _MEDIUM, size) + _KEY + payload


class Socket(asyncio.Protocol):
    """One connection.

    Args:
        on_frame: Takes the payload of each text frame.
        on_lost: Called when it is gone, with the reason as far as it is known.
    """

    def __init__(self, on_frame: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._reason = "the connection was lost"
        #: Set while the answer to the upgrade is awaited.
        self.upgrade: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        # Those of uvloop do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self.upgrade is not None and not self.upgrade.done():
            self.upgrade.set_exception(exc or ConnectionError(self._reason))
        self._on_lost(str(exc) if exc else self._reason)

    def data_received(self, data: bytes) -> None:
        """Take what came, frame by frame."""
        data = self._buffer + data if self._buffer else data
        if self.upgrade is not None:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            self.upgrade.set_result(head)
            self.upgrade = None
        position, size = 0, len(data)
        while size - position >= 2:
            length = data[position + 1] & 0x7F
            start = position + 2
            if length == _MEDIUM and size >= start + 2:
                (length,) = struct.unpack_from("!H", data, start)
                start += 2
            elif length == _LARGE and size >= start + 8:
                (length,) = struct.unpack_from("!Q", data, start)
                start += 8
            elif length >= _MEDIUM:
                break
            # Only the echo sends back what is masked.
            start += 4 if data[position + 1] & _MASKED else 0
            if size < start + length:
                break
            self._take(data[position], data[start : start + length])
            position = start + length
        self._buffer = data[position:]

    def send(self, frame: bytes) -> None:
        """Send a frame made by `client_frame`."""
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.close()

    def _take(self, first: int, payload: bytes) -> None:
        if first == _TEXT:
            self._on_frame(payload)
        elif first == _PING:
            self.send(client_frame(payload, first=_PONG))
        elif first == _CLOSE:
            code = int.from_bytes(payload[:2], "big")
            self._reason = f"closed with {code} {payload[2:].decode(errors='replace')}"
            self.close()
        else:
            raise AssertionError(f"a frame begins with {first:#x}: no server of ours sends that")


async def open_websocket(
    port: int,
    *,
    subprotocol: str,
    on_frame: Callable[[bytes], None],
    on_lost: Callable[[str], None],
) -> Socket:
    """A WebSocket to a server on loopback."""
    loop = asyncio.get_running_loop()
    socket = Socket(on_frame, on_lost)
    upgrade: asyncio.Future[bytes] = loop.create_future()
    socket.upgrade = upgrade
    await loop.create_connection(lambda: socket, "127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    socket.send(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n".encode()
    )
    async with asyncio.timeout(_OPEN_S):
        head = await upgrade
    assert head.startswith(b"HTTP/1.1 101 "), f"no upgrade: {head.splitlines()[0].decode()}"
    return socket


async def open_plain(
    port: int, *, on_frame: Callable[[bytes], None], on_lost: Callable[[str], None]
) -> Socket:
    """The same without an upgrade, to a server that sends back what it gets."""
    loop = asyncio.get_running_loop()
    socket = Socket(on_frame, on_lost)
    await loop.create_connection(lambda: socket, "127.0.0.1", port)
    return socket
