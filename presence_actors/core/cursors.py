"""Cursors: what a subscriber has seen, opaque to it, good at any gateway.

A cursor is a version vector per shard, in URL-safe base64 of MessagePack. It is a hint about what
need not be sent again, never a proof of anything: an unreadable one means a snapshot.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from crdt import VersionVector
from crdt.errors import CrdtError
from presence_actors.core.ids import ShardId

__all__ = ["read_cursor", "write_cursor"]

_DECODER = msgspec.msgpack.Decoder(dict[int, dict[str, int]])
_ENCODER = msgspec.msgpack.Encoder()
_CHARACTERS_MAX = 64 * 1024


def write_cursor(vectors: Mapping[ShardId, VersionVector]) -> str:
    """The cursor of somebody who has seen this of these shards.

    >>> read_cursor(write_cursor({ShardId(3): VersionVector({"a/w0/1": 5})}))
    {3: VersionVector({'a/w0/1': 5})}
    """
    plain = {int(shard): vector.to_wire() for shard, vector in sorted(vectors.items())}
    return base64.urlsafe_b64encode(_ENCODER.encode(plain)).rstrip(b"=").decode()


def read_cursor(cursor: str | None) -> dict[ShardId, VersionVector]:
    """What the subscriber says it has seen; nothing if that cannot be read."""
    if cursor is None or len(cursor) > _CHARACTERS_MAX:
        return {}
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        plain = _DECODER.decode(raw)
        return {ShardId(shard): VersionVector.from_wire(wire) for shard, wire in plain.items()}
    except (binascii.Error, ValueError, msgspec.DecodeError, CrdtError):
        return {}
