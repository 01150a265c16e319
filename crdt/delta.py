"""Deltas: what changed between two vectors, as rows.

A delta (base, new, rows) says: whoever has seen ``base`` and merges ``rows`` has seen ``new``.  A
full state is a delta whose base is the empty vector.  A local write is a delta too, so that local
and remote writes take the same road.

Rows may lie above ``new``.  They are merged, but not claimed as seen.  That is how a delta goes in
parts: every part but the last has ``new`` equal to ``base``, and only the last moves the vector.
Cutting a delta short and lowering ``new`` to what was sent cannot be made right, since a superseded
write would be claimed and never sent (shown in the tests).

``clock`` is the sender's clock, rows or not, and moves the receiver's.

On the wire a delta is a version byte and one MessagePack map without any array.  Encoding is
canonical (rows sorted by key, of each key the greatest; tables sorted), so equal deltas have equal
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from crdt.columns import decode_map, encode_map, read_map
from crdt.errors import DecodeError
from crdt.hlc import STAMP_MAX, Stamp
from crdt.rows import Rows
from crdt.version_vector import VersionVector

#: The first byte of an encoded delta.
DELTA_VERSION: Final = 2
#: An encoded delta may have this many bytes, unless the caller of `Delta.decode` says otherwise.
DELTA_SIZE_MAX: Final = 256 << 20

_FIELDS: Final = ("base", "new", "clock", "rows")


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """Rows that lead from one vector to another, and the sender's clock.

    >>> Delta.decode(Delta.nothing(Stamp(7)).encode()).clock
    7
    """

    base: VersionVector
    new: VersionVector
    rows: Rows
    clock: Stamp

    @classmethod
    def nothing(cls, clock: Stamp) -> Self:
        """A delta that only tells the time."""
        return cls(VersionVector(), VersionVector(), Rows.empty(), clock)

    def with_clock(self, clock: Stamp) -> Delta:
        """The same delta with another sender's clock."""
        return replace(self, clock=clock)

    def __eq__(self, other: object) -> bool:
        """Do both have the same effect on every map?  The order of rows makes no difference."""
        if not isinstance(other, Delta):
            return NotImplemented
        return (
            self.base == other.base
            and self.new == other.new
            and self.clock == other.clock
            and self.rows.canonical() == other.rows.canonical()
        )

    #: Batches of rows have no hash.
    __hash__ = None  # type: ignore[assignment]

    def to_wire(self) -> dict[str, object]:
        """A plain dict, ready for MessagePack; equal deltas give equal dicts in equal order."""
        return {
            "base": self.base.to_wire(),
            "new": self.new.to_wire(),
            "clock": int(self.clock),
            "rows": self.rows.canonical().to_wire(),
        }

    @classmethod
    def from_wire(cls, obj: object) -> Self:
        """The delta that `to_wire` gave ``obj`` for.

        Raises:
            DecodeError: ``obj`` is no such dict.
        """
        fields = read_map(obj, _FIELDS, "delta")
        clock = fields["clock"]
        if type(clock) is not int or not 0 <= clock <= STAMP_MAX:
            raise DecodeError("delta.clock", "expected an integer of 64 bits")
        return cls(
            base=VersionVector.from_wire(fields["base"]),
            new=VersionVector.from_wire(fields["new"]),
            rows=Rows.from_wire(fields["rows"]),
            clock=Stamp(clock),
        )

    def encode(self) -> bytes:
        """The delta as bytes; equal deltas give equal bytes."""
        return encode_map(self.to_wire(), version=DELTA_VERSION, what="delta")

    @classmethod
    def decode(cls, data: bytes, *, size_max: int = DELTA_SIZE_MAX) -> Self:
        """The delta that `encode` gave ``data`` for.

        Takes time and memory in proportion to ``data``, whatever it says.

        Raises:
            DecodeError: ``data`` is anything else, or longer than ``size_max``.
        """
        return cls.from_wire(
            decode_map(data, version=DELTA_VERSION, size_max=size_max, what="delta")
        )
