"""Cuts a stream of bytes into frames: four bytes of length, one of kind, and the payload.

The length is that of the payload, big-endian. It is judged as soon as its four bytes are there, so
that nobody can make this side keep more than the limit.
"""

import struct
from typing import Final

from presence_actors.errors import RemoteProtocolError

HELLO: Final = 1
PROOF: Final = 2
REFUSAL: Final = 3
KEEP_ALIVE: Final = 4
DATA: Final = 5
_KIND_LAST: Final = DATA

_HEADER: Final = struct.Struct(">IB")
HEADER_SIZE: Final = _HEADER.size


def frame_header(kind: int, payload_size: int) -> bytes:
    """The five bytes in front of a payload."""
    return _HEADER.pack(payload_size, kind)


def frame(kind: int, payload: bytes) -> bytes:
    """A whole frame."""
    return _HEADER.pack(len(payload), kind) + payload


class FrameReader:
    """Gives whole frames, however the bytes were cut on their way.

    Args:
        payload_bytes_max: The limit; it may be raised between two frames.
    """

    def __init__(self, payload_bytes_max: int) -> None:
        self.payload_bytes_max = payload_bytes_max
        #: Unread bytes start at `_at`. A chunk is kept as it came while it holds whole frames, so
        #: that small frames are copied once; only a frame in pieces is gathered in a bytearray.
        self._buffer: bytes | bytearray = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        if not self._buffer:
            self._buffer = data
            return
        buffer = self._buffer
        if isinstance(buffer, bytearray):
            del buffer[: self._at]
        else:
            buffer = bytearray(memoryview(buffer)[self._at :])
        buffer += data
        self._buffer = buffer
        self._at = 0

    def take_frame(self) -> tuple[int, bytes] | None:
        """The next whole frame as (kind, payload), or None until more has arrived.

        Raises:
            RemoteProtocolError: The length is above the limit, or there is no such kind. The
                stream cannot be read on after that.
        """
        buffer = self._buffer
        start = self._at + HEADER_SIZE
        if len(buffer) < start:
            self._judge_start(buffer)
            return None
        payload_size, kind = _HEADER.unpack_from(buffer, self._at)
        if payload_size > self.payload_bytes_max or not HELLO <= kind <= _KIND_LAST:
            raise self._refusal(payload_size, kind)
        end = start + payload_size
        if len(buffer) < end:
            return None
        payload = (
            bytes(memoryview(buffer)[start:end])
            if isinstance(buffer, bytearray)
            else buffer[start:end]
        )
        if end == len(buffer):
            self._buffer = b""
            self._at = 0
        else:
            self._at = end
        return kind, payload

    def take_rest(self) -> bytes:
        """All that is buffered, whole frames or not."""
        rest = bytes(memoryview(self._buffer)[self._at :])
        self._buffer = b""
        self._at = 0
        return rest

    def _judge_start(self, buffer: bytes | bytearray) -> None:
        """Refuse an impossible length although the kind has not arrived yet."""
        if len(buffer) - self._at == HEADER_SIZE - 1:
            payload_size = int.from_bytes(buffer[self._at :], "big")
            if payload_size > self.payload_bytes_max:
                raise self._refusal(payload_size, DATA)

    def _refusal(self, payload_size: int, kind: int) -> RemoteProtocolError:
        if not HELLO <= kind <= _KIND_LAST:
            return RemoteProtocolError(
                peer="peer",
                code="malformed",
                reason=f"sent a frame of the unknown kind {kind}",
                remedy="check that the address is that of a peer link",
            )
        return RemoteProtocolError(
            peer="peer",
            code="too_long",
            reason=f"announced a frame of {payload_size} bytes, above {self.payload_bytes_max}",
            remedy="send it in parts",
        )
