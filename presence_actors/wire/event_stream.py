"""Server-sent events: each message of a gateway as one event, and cursors as their ids.

`data` is what the native protocol has in a frame, `event` its type. An id stands in an event of its
own, behind all events that it covers.
"""

from __future__ import annotations

from typing import Final

import msgspec

from presence_actors.core.vocabulary import ClientMessage, ErrorCode, ServerMessage
from presence_actors.wire.refusals import FrameRefused

__all__ = ["BEAT", "EventAdapter", "close_event", "mark_event", "retry_event"]

#: A comment, which readers skip: the line lives, and proxies see it.
BEAT: Final = b": beat\n\n"

_ENCODER: Final = msgspec.json.Encoder()


class EventAdapter:
    """As the edge wants of every protocol; but nobody speaks this one."""

    #: A stream of events is text.
    binary: Final = False

    def decode(self, _frame: str | bytes) -> ClientMessage | None:
        """Nothing can come in."""
        raise FrameRefused(ErrorCode.BAD_FRAME, "a stream of events is for listening only")

    def encode(self, message: ServerMessage) -> bytes:
        """The event of a message."""
        return _event(str(message.__struct_config__.tag), message)


def mark_event(cursor: str) -> bytes:
    r"""The id from which a client goes on, with data, since some readers skip events without.

    >>> mark_event("gQA")
    b'id: gQA\nevent: mark\ndata: {}\n\n'
    """
    return b"id: " + cursor.encode() + b"\n" + _event("mark", {})


def close_event(code: int, reason: str) -> bytes:
    """The last event: why the stream ends, by the codes of the WebSocket."""
    return _event("close", {"code": code, "reason": reason})


def retry_event(retry_ms: int) -> bytes:
    """When a reader that lost the stream comes again."""
    return b"retry: %d\n\n" % retry_ms


def _event(kind: str, data: object) -> bytes:
    # JSON as we write it has no line breaks.
    return b"event: " + kind.encode() + b"\ndata: " + _ENCODER.encode(data) + b"\n\n"
