"""The frames of RFC 6455 that both bindings write themselves."""

from __future__ import annotations

import struct
from typing import Final

from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.refusals import FrameRefused

__all__ = ["BINARY", "CLOSE", "TEXT", "TOO_BIG", "cut_reason", "data_frame"]

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8

_FINAL: Final = 0x80
_SHORT_MAX: Final = 125
_MEDIUM_MAX: Final = 0xFFFF
#: Section 5.5: a control frame carries at most 125 bytes, two of them the code.
_REASON_BYTES_MAX: Final = 123

#: What a client hears of a frame that is too big to be read.
TOO_BIG: Final = FrameRefused(
    ErrorCode.TOO_BIG, f"a frame may have at most {CLIENT_FRAME_BYTES_MAX} bytes"
)


def data_frame(opcode: int, payload: bytes) -> bytes:
    r"""A server's frame (section 5.2): final, and not masked.

    >>> data_frame(TEXT, b"hi")
    b'\x81\x02hi'
    """
    first, size = _FINAL | opcode, len(payload)
    if size <= _SHORT_MAX:
        return bytes((first, size)) + payload
    if size <= _MEDIUM_MAX:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def cut_reason(reason: str) -> bytes:
    """As much of the reason of a closing frame as fits into one, in whole characters.

    >>> len(cut_reason("é" * 100))
    122
    """
    return reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore").encode()
