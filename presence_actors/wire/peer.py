"""What our own processes say to each other: one frame is all messages of one turn, in MessagePack.

A frame is an array of two: the version of this format, and the CRC-32 of the messages with these.
The version is read before anything else, so that a frame of another release is refused by name and
not misread. The checksum is there because a frame with one wrong byte may well be another frame,
and what it claims to have been seen would never be sent again; that of TCP misses some.

Rows, deltas and vectors have encodings of their own (`crdt`), checked there.
"""

from __future__ import annotations

import zlib
from typing import Final, cast

import msgspec

from crdt import PackedRows, Rows, VersionVector
from presence_actors.core.messages import PeerMessage
from presence_actors.errors import RemoteProtocolError, VersionRefused

__all__ = ["VERSION", "decode_frame", "encode_frame"]

VERSION: Final = 4


def encode_frame(messages: list[PeerMessage]) -> bytes:
    """The frame that carries these messages, in their order."""
    body = _ENCODER.encode(messages)
    return _ENCODER.encode((VERSION, (zlib.crc32(body), msgspec.Raw(body))))


def decode_frame(data: bytes, *, peer: str = "peer") -> list[PeerMessage]:
    """The messages of a frame; takes time and memory in proportion to its length.

    Raises:
        VersionRefused: It is of another version of this format.
        RemoteProtocolError: It is no such frame. Nothing else is ever raised.
    """
    try:
        version, checked = _HEAD.decode(data)
        if version != VERSION:
            raise VersionRefused(peer=peer, theirs=version, ours=[VERSION])
        checksum, body = _HEAD.decode(checked)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _malformed(peer, error) from error
    if zlib.crc32(body) != checksum:
        raise _malformed(peer, ValueError("its checksum is another one"))
    try:
        return _BODY.decode(body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise _malformed(peer, error) from error


def _malformed(peer: str, error: Exception) -> RemoteProtocolError:
    return RemoteProtocolError(
        peer=peer,
        code="bad_frame",
        reason=f"sent a peer frame that cannot be read ({error})",
        remedy="run the same release on both sides",
    )


def _to_plain(value: object) -> object:
    if isinstance(value, Rows | PackedRows | VersionVector):
        return value.to_wire()
    raise NotImplementedError(f"no peer message holds a {type(value).__name__}")


def _from_plain(kind: type, value: object) -> object:
    if kind is Rows:
        # What a gateway announces has no stamps yet: the replica gives them.
        return Rows.from_wire(value, unstamped=True)
    if kind is PackedRows:
        return PackedRows.from_wire(value)
    if kind is VersionVector:
        return VersionVector.from_wire(value)
    raise NotImplementedError(f"no peer message holds a {kind.__name__}")


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_to_plain)
_HEAD: Final = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_BODY: Final = cast(
    "msgspec.msgpack.Decoder[list[PeerMessage]]",
    msgspec.msgpack.Decoder(list[PeerMessage], dec_hook=_from_plain),
)
