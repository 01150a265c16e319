"""A client that says on its socket exactly what it is told to, right or wrong."""

import asyncio
import base64
import contextlib
import hashlib
import socket
import struct
from typing import NamedTuple, Self

from tests.integration.edge.scripted import STEP_SECONDS, Gateway

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FINAL = 0x80
#: A key is 16 bytes in base 64; RFC 6455 asks no more of it.
KEY = base64.b64encode(bytes(16)).decode()
MASK = b"\x01\x02\x03\x04"


class Frame(NamedTuple):
    """A frame that came in."""

    first: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """Of a closing frame."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def frame(first: int, payload: bytes = b"", *, mask: bytes = MASK) -> bytes:
    """A frame of a client; `first` is the whole first byte. Without a mask, a wrong one."""
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head = bytes((first, bit | len(payload)))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    if not mask:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked.to_bytes(len(payload), "big")


def text(words: str) -> bytes:
    """A whole text frame."""
    return frame(FINAL | TEXT, words.encode())


def upgrade(gateway: Gateway, path: str = "/ws", /, **headers: str | None) -> bytes:
    """A request for a socket, with these headers besides or instead; None leaves one away."""
    given: dict[str, str | None] = {
        "Host": f"127.0.0.1:{gateway.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "presence.v1.json",
    }
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


class RawSocket:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, gateway: Gateway) -> Self:
        """Connect, and say nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        gateway.leftovers.append(writer.close)
        return cls(reader, writer)

    @classmethod
    async def open(cls, gateway: Gateway, *, greeted: bool = True) -> Self:
        """Connect and upgrade; say hello and hear the welcome, too."""
        raw = await cls.connect(gateway)
        raw.send(upgrade(gateway))
        status, headers = await raw.response()
        assert status == 101, headers
        if greeted:
            raw.send(text('{"type":"hello","token":"dev:raw"}'))
            assert b'"welcome"' in (await raw.frame()).payload
        return raw

    def send(self, data: bytes) -> None:
        """These bytes, as they are."""
        self._writer.write(data)

    async def send_slowly(self, data: bytes) -> None:
        """These bytes, each in a packet of its own."""
        for index in range(len(data)):
            self.send(data[index : index + 1])
            await self._writer.drain()
            await asyncio.sleep(0)

    async def response(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an HTTP answer, names in small letters."""
        async with asyncio.timeout(STEP_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = (one.partition(":") for one in lines)
        return int(line.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def body(self, size: int) -> bytes:
        """So much of what comes next."""
        async with asyncio.timeout(STEP_SECONDS):
            return await self._reader.readexactly(size)

    async def frame(self) -> Frame:
        """The next frame, which must be a server's: not masked."""
        first, second = await self.body(2)
        assert not second & 0x80, "a server's frame is never masked"
        size = second
        if second == 126:
            size = int.from_bytes(await self.body(2), "big")
        elif second == 127:
            size = int.from_bytes(await self.body(8), "big")
        return Frame(first, await self.body(size))

    async def is_served(self) -> bool:
        """Whether the next that it hears is the answer to its ping."""
        self.send(text('{"type":"ping","t":77}'))
        return b'"t":77' in (await self.frame()).payload

    async def end(self) -> int | None:
        """The code that the other side closes with, and the end of the stream behind it.

        What comes before is passed over; None if the end comes without a closing frame.
        """
        try:
            while True:
                one = await self.frame()
                if one.first == FINAL | CLOSE:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.send(frame(FINAL | CLOSE, one.payload[:2]))
        async with asyncio.timeout(STEP_SECONDS):
            # The other side may be gone before it has read our answer.
            with contextlib.suppress(ConnectionError):
                assert await self._reader.read() == b""
        return one.code

    def hear_nothing(self) -> None:
        """Read no more, so that what is sent waits at the other side."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def say_no_more(self) -> None:
        """Close our direction only."""
        self._writer.write_eof()

    def vanish(self) -> None:
        """Cut the connection off with a reset."""
        self._writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._writer.transport.abort()


def accept_of(key: str) -> str:
    """What a server answers to this key (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(
        (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode(), usedforsecurity=False
    )
    return base64.b64encode(digest.digest()).decode()
