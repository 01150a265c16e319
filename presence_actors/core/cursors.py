"""Cursors: what a subscriber has seen, opaque to it, good at any gateway.

A cursor is a version vector per shard, in URL-safe base64 of MessagePack. It is a hint about what
need not be sent again, never a proof of anything: an unreadable one means a snapshot. So does one
from before the horizon: the ends of what its holder still knows may be forgotten (`is_stale`).

Behind a tilde it may carry a mark: a digest of what no vector tells, such as whom a view could not
hear. Whoever comes with another mark than the present one has missed something. Who has seen a part
of a room only has that part for a mark, and the cursor is good for no other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

import msgspec

from crdt import Origin, VersionVector
from crdt.errors import CrdtError
from crdt.hlc import stamp_wall
from presence_actors.core.ids import ShardId, is_newer, name_of, started_wall, zone_of
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import KeyRange

__all__ = [
    "is_stale",
    "lives_on",
    "mark_of",
    "mark_of_range",
    "read_cursor",
    "read_mark",
    "without_dead",
    "write_cursor",
]

_DECODER = msgspec.msgpack.Decoder(dict[int, dict[str, int]])
_ENCODER = msgspec.msgpack.Encoder()
_CHARACTERS_MAX = 64 * 1024
_MARK = "~"
#: Begins the marks of ranges; those of other things are hexadecimal.
_RANGE = "k"


def mark_of(*seen: msgspec.Struct) -> str:
    """A mark that is the same wherever the same is seen."""
    return hashlib.blake2b(_ENCODER.encode(seen), digest_size=6).hexdigest()


def mark_of_range(keys: KeyRange | None) -> str:
    """The mark of a cursor that is good for a part of a room only; none for all of it."""
    return "" if keys is None else _RANGE + mark_of(keys)


def read_mark(cursor: str | None) -> str:
    """The mark of a cursor; empty if it has none.

    >>> read_mark(write_cursor({}, mark="a0")), read_mark(write_cursor({})), read_mark(None)
    ('a0', '', '')
    """
    return "" if cursor is None else cursor.partition(_MARK)[2]


def write_cursor(vectors: Mapping[ShardId, VersionVector], *, mark: str = "") -> str:
    """The cursor of somebody who has seen this of these shards.

    >>> read_cursor(write_cursor({ShardId(3): VersionVector({"a/w0/1": 5})}))
    {3: VersionVector({'a/w0/1': 5})}
    """
    plain = {int(shard): vector.to_wire() for shard, vector in sorted(vectors.items())}
    text = base64.urlsafe_b64encode(_ENCODER.encode(plain)).rstrip(b"=").decode()
    return f"{text}{_MARK}{mark}" if mark else text


def read_cursor(cursor: str | None, keys: KeyRange | None = None) -> dict[ShardId, VersionVector]:
    """What the subscriber says it has seen of these; nothing if that cannot be read.

    Nor if it has seen only a part of a room, and now wants to see another one, or all.
    """
    if cursor is None or len(cursor) > _CHARACTERS_MAX:
        return {}
    mark = read_mark(cursor)
    if mark.startswith(_RANGE) and mark != mark_of_range(keys):
        return {}
    try:
        text = cursor.partition(_MARK)[0]
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        plain = _DECODER.decode(raw)
        return {ShardId(shard): VersionVector.from_wire(wire) for shard, wire in plain.items()}
    except (binascii.Error, ValueError, msgspec.DecodeError, CrdtError):
        return {}


def lives_on(origin: Origin, vector: VersionVector) -> bool:
    """Whether a vector knows another life of the same worker."""
    name = name_of(origin)
    return any(other != origin and name_of(other) == name for other, _ in vector.items())


def without_dead(vector: VersionVector, ours: VersionVector) -> VersionVector:
    """A vector without lives that we have forgotten, since a newer life of the worker came.

    A life that is newer than any that we know is one that we have yet to hear of.
    """
    dead = [
        origin
        for origin in vector.origins()
        if origin not in ours and any(is_newer(other, origin) for other in ours.origins())
    ]
    return vector.without(dead) if dead else vector


def is_stale(cursor: VersionVector, ours: VersionVector, *, wall: WallMs, horizon_ms: int) -> bool:
    """Whether the difference between a cursor and what we have seen cannot be told any more.

    It can for all that was written within the horizon, since ends are kept for longer. Of an
    origin that the cursor has never seen, nothing is older than the origin itself. What a cursor
    says of zones that we have never heard of, or of origins from before the horizon that we do not
    know, we would wait for in vain.
    """
    limit = wall - horizon_ms
    if not cursor:
        return False
    if len(without_dead(cursor, ours)) < len(cursor):
        return True
    zones = {zone_of(origin) for origin in ours.origins()}
    if any(
        zone_of(origin) not in zones or (origin not in ours and stamp_wall(stamp) <= limit)
        for origin, stamp in cursor.pairs()
    ):
        return True
    return any(
        cursor[origin] < stamp and max(stamp_wall(cursor[origin]), started_wall(origin)) <= limit
        for origin, stamp in ours.items()
    )
