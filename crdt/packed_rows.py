"""Rows packed: columns that are stored, sent and merged without a Python object for each row.

A packed row names its entry by hash (`crdt.key_hash`).  The full key comes along only where the
receiver may lack it.  On the wire a row takes 16 bytes for the hash and some 8 to 13 for the rest;
decoding looks at columns, never at a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from crdt.columns import (
    decode_map,
    encode_map,
    read_blobs,
    read_count,
    read_map,
    read_names,
    read_narrow,
    read_numbers,
    read_spread,
    read_table,
    read_texts,
    write_blobs,
    write_names,
    write_numbers,
    write_spread,
    write_table,
    write_texts,
)
from crdt.errors import DecodeError
from crdt.hlc import STAMP_MAX, Origin, Stamp
from crdt.key_hash import KeyHasher
from crdt.rows import ROWS_MAX, Key, Rows
from crdt.version_vector import VersionVector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: The first byte of an encoded packed delta: version 3, and the mark of hashed keys.
PACKED_VERSION: Final = 0x83
#: An encoded packed delta may have this many bytes, unless the caller of `decode` says otherwise.
PACKED_SIZE_MAX: Final = 1 << 30

_HASH_SIZE: Final = 16
_FIELDS: Final = (
    "count",
    "secret",
    "hashes",
    "stamps",
    "origins",
    "epochs",
    "statuses",
    "holders",
    "ids",
    "values",
)
_DELTA_FIELDS: Final = ("base", "new", "clock", "rows")


class PackedRows:
    """A batch of n rows in columns; whoever holds one does not change it.

    Attributes:
        keys: uint64[n, 2], hashes.
        stamps: uint64[n].
        origins: Each origin once.
        origin_of: int64[n], places in ``origins``.
        epochs: uint64[n].
        statuses: uint8[n].
        holders: Each holder once, "" for nobody.
        holder_of: int64[n], places in ``holders``.
        ids: n full keys, None where left out; None if all are.
        values: n byte strings, None where empty; None if all are.
        fingerprint: That of the secret behind the hashes.
    """

    __slots__ = (
        "epochs",
        "fingerprint",
        "holder_of",
        "holders",
        "ids",
        "keys",
        "origin_of",
        "origins",
        "stamps",
        "statuses",
        "values",
    )

    def __init__(  # noqa: PLR0913  # one for each column
        self,
        *,
        keys: NDArray[np.uint64],
        stamps: NDArray[np.uint64],
        origins: tuple[str, ...],
        origin_of: NDArray[np.int64],
        epochs: NDArray[np.uint64],
        statuses: NDArray[np.uint8],
        holders: tuple[str, ...],
        holder_of: NDArray[np.int64],
        ids: NDArray[np.object_] | None,
        values: NDArray[np.object_] | None,
        fingerprint: bytes,
    ) -> None:
        self.keys = keys
        self.stamps = stamps
        self.origins = origins
        self.origin_of = origin_of
        self.epochs = epochs
        self.statuses = statuses
        self.holders = holders
        self.holder_of = holder_of
        self.ids = ids
        self.values = values
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.stamps)

    def __eq__(self, other: object) -> bool:
        """Do both say the same of the same rows, in the same order?"""
        if not isinstance(other, PackedRows):
            return NotImplemented
        if not len(self) or not len(other):
            return len(self) == len(other)
        return (
            self.fingerprint == other.fingerprint
            and np.array_equal(self.keys, other.keys)
            and np.array_equal(self.stamps, other.stamps)
            and np.array_equal(self.epochs, other.epochs)
            and np.array_equal(self.statuses, other.statuses)
            and _named(self.origins, self.origin_of) == _named(other.origins, other.origin_of)
            and _named(self.holders, self.holder_of) == _named(other.holders, other.holder_of)
            and _listed(self.ids) == _listed(other.ids)
            and _listed(self.values) == _listed(other.values)
        )

    #: Batches of rows have no hash.
    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def empty() -> PackedRows:
        """The batch of no rows: one for all, since nobody changes it."""
        return _NO_ROWS

    @classmethod
    def of(cls, rows: Rows, hasher: KeyHasher) -> Self:
        """The batch of these rows, with their full keys."""
        origins, origin_of = _factored(rows.origins)
        holders, holder_of = _factored(rows.holders)
        return cls(
            keys=hasher.hash_many(rows.keys),
            stamps=rows.stamps,
            origins=origins,
            origin_of=origin_of,
            epochs=rows.epochs,
            statuses=rows.statuses,
            holders=holders,
            holder_of=holder_of,
            ids=_objects(rows.keys),
            values=_objects([value or None for value in rows.values]) if any(rows.values) else None,
            fingerprint=hasher.fingerprint,
        )

    def take(self, places: NDArray[np.intp]) -> PackedRows:
        """The rows at these places."""
        return PackedRows(
            keys=self.keys.take(places, axis=0),
            stamps=self.stamps.take(places),
            origins=self.origins,
            origin_of=self.origin_of.take(places),
            epochs=self.epochs.take(places),
            statuses=self.statuses.take(places),
            holders=self.holders,
            holder_of=self.holder_of.take(places),
            ids=None if self.ids is None else self.ids.take(places),
            values=None if self.values is None else self.values.take(places),
            fingerprint=self.fingerprint,
        )

    def with_ids(self, places: NDArray[np.int64], keys: NDArray[np.object_]) -> PackedRows:
        """The same rows, with the full keys of those at these places."""
        ids = np.full(len(self), None, dtype=np.object_) if self.ids is None else self.ids.copy()
        ids[places] = keys
        fields = {name: getattr(self, name) for name in PackedRows.__slots__}
        return PackedRows(**fields | {"ids": ids})

    def places_of(self, hasher: KeyHasher, keys: Sequence[Key]) -> NDArray[np.int64]:
        """Where the rows of a few keys are, ascending."""
        words = hasher.hash_many(keys)
        return np.flatnonzero((self.keys[:, None] == words[None]).all(axis=2).any(axis=1))

    def greatest_places(self) -> NDArray[np.int64]:
        """Of each hash the place of the greatest row, ascending.

        Looks at each row in Python: only for batches in which hashes repeat.
        """
        place_of: dict[tuple[int, int], int] = {}
        for place, (topic_word, word) in enumerate(self.keys.tolist()):
            held = place_of.setdefault((topic_word, word), place)
            if held != place and self.order_at(held) < self.order_at(place):
                place_of[topic_word, word] = place
        return np.array(sorted(place_of.values()), dtype=np.int64)

    def order_at(self, place: int) -> tuple[int, int, str]:
        """What decides between this row and another of its key: the greater wins."""
        return (
            int(self.epochs[place]),
            int(self.stamps[place]),
            self.origins[int(self.origin_of[place])],
        )

    def to_wire(self) -> dict[str, object] | None:
        """A plain dict of columns, ready for MessagePack, in the order of the batch.

        None if there are no rows, as in most messages.
        """
        if not len(self):
            return None
        return {
            "count": len(self),
            "secret": self.fingerprint,
            "hashes": self.keys.astype("<u8", copy=False).tobytes(),
            "stamps": write_spread(self.stamps),
            "origins": write_names(*_used(self.origins, self.origin_of)),
            "epochs": write_spread(self.epochs),
            "statuses": write_numbers(self.statuses),
            "holders": write_names(*_used(self.holders, self.holder_of)),
            "ids": _write_ids(self.ids),
            "values": _write_values(self.values),
        }

    @classmethod
    def from_wire(cls, obj: object) -> PackedRows:
        """The batch that `to_wire` gave ``obj`` for.

        Raises:
            DecodeError: ``obj`` is no such dict.  Hashes may repeat: a map finds that out.
        """
        if obj is None:
            return _NO_ROWS
        fields = read_map(obj, _FIELDS, "packed")
        count = read_count(fields["count"], ROWS_MAX, "packed.count")
        hashes, secret = fields["hashes"], fields["secret"]
        if not isinstance(hashes, bytes) or len(hashes) != _HASH_SIZE * count:
            raise DecodeError("packed.hashes", f"expected {_HASH_SIZE * count} bytes")
        if not isinstance(secret, bytes):
            raise DecodeError("packed.secret", "expected bytes")
        stamps = read_spread(fields["stamps"], count, "packed.stamps")
        if not stamps.min(initial=STAMP_MAX):
            raise DecodeError("packed.stamps", "a stamp is zero, which names no write")
        statuses = read_narrow(fields["statuses"], count, "packed.statuses")
        if count and int(statuses.max()) > np.iinfo(np.uint8).max:
            raise DecodeError("packed.statuses", "a status has more than 8 bits")
        origins, origin_of = read_names(fields["origins"], count, "packed.origins")
        holders, holder_of = read_names(fields["holders"], count, "packed.holders")
        return cls(
            keys=np.frombuffer(hashes, dtype="<u8").astype(np.uint64, copy=False).reshape(count, 2),
            stamps=stamps,
            origins=origins,
            origin_of=origin_of,
            epochs=read_spread(fields["epochs"], count, "packed.epochs"),
            statuses=statuses.astype(np.uint8),
            holders=holders,
            holder_of=holder_of,
            ids=_read_ids(fields["ids"], count),
            values=_read_values(fields["values"], count),
            fingerprint=secret,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PackedDelta:
    """As `crdt.delta.Delta`, with packed rows."""

    base: VersionVector
    new: VersionVector
    rows: PackedRows
    clock: Stamp

    @classmethod
    def nothing(cls, clock: Stamp) -> Self:
        """A delta that only tells the time."""
        return cls(VersionVector(), VersionVector(), _NO_ROWS, clock)

    def __eq__(self, other: object) -> bool:
        """Do both say the same, with their rows in the same order?"""
        if not isinstance(other, PackedDelta):
            return NotImplemented
        return (
            self.base == other.base
            and self.new == other.new
            and self.clock == other.clock
            and self.rows == other.rows
        )

    #: Batches of rows have no hash.
    __hash__ = None  # type: ignore[assignment]

    def to_wire(self) -> dict[str, object]:
        """A plain dict, ready for MessagePack."""
        return {
            "base": self.base.to_wire(),
            "new": self.new.to_wire(),
            "clock": int(self.clock),
            "rows": self.rows.to_wire(),
        }

    @classmethod
    def from_wire(cls, obj: object) -> Self:
        """The delta that `to_wire` gave ``obj`` for.

        Raises:
            DecodeError: ``obj`` is no such dict.
        """
        fields = read_map(obj, _DELTA_FIELDS, "packed delta")
        return cls(
            base=VersionVector.from_wire(fields["base"]),
            new=VersionVector.from_wire(fields["new"]),
            rows=PackedRows.from_wire(fields["rows"]),
            clock=Stamp(read_count(fields["clock"], STAMP_MAX, "packed delta.clock")),
        )

    def encode(self) -> bytes:
        """The delta as bytes."""
        return encode_map(self.to_wire(), version=PACKED_VERSION, what="packed delta")

    @classmethod
    def decode(cls, data: bytes, *, size_max: int = PACKED_SIZE_MAX) -> Self:
        """The delta that `encode` gave ``data`` for.

        Takes time and memory in proportion to ``data``, whatever it says.

        Raises:
            DecodeError: ``data`` is anything else, or longer than ``size_max``.
        """
        return cls.from_wire(
            decode_map(data, version=PACKED_VERSION, size_max=size_max, what="packed delta")
        )


def _named(names: tuple[str, ...], index: NDArray[np.int64]) -> list[str]:
    """The name of each row."""
    return [names[place] for place in index.tolist()]


def _listed(column: NDArray[np.object_] | None) -> list[object] | None:
    """A column of objects, None if it has none."""
    items = [] if column is None else [item or None for item in column.tolist()]
    return items if any(items) else None


def _factored(names: Sequence[Origin] | Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    place_of: dict[str, int] = {}
    places = [place_of.setdefault(name, len(place_of)) for name in names]
    return tuple(place_of), np.array(places, dtype=np.int64)


def _used(
    names: tuple[str, ...], index: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Without the names that no row has, if there are more names than rows could have."""
    if len(names) <= len(index):
        return names, index
    return _factored([names[place] for place in index.tolist()])


def _objects(items: Sequence[object]) -> NDArray[np.object_]:
    """A column of objects; `np.array` would make a table of tuples of one length."""
    return np.fromiter(items, dtype=np.object_, count=len(items))


def _write_ids(ids: NDArray[np.object_] | None) -> dict[str, object] | None:
    if ids is None:
        return None
    places: list[int] = []
    keys: list[Key] = []
    for place, key in enumerate(ids.tolist()):
        if key is not None:
            places.append(place)
            keys.append(key)
    return {
        "count": len(keys),
        "places": write_numbers(places),
        "topics": write_table([topic for topic, _, _ in keys]),
        "keys": write_texts([key for _, key, _ in keys]),
        "sessions": write_texts([session for _, _, session in keys]),
    }


def _read_ids(obj: object, count: int) -> NDArray[np.object_] | None:
    if obj is None:
        return None
    fields = read_map(obj, ("count", "places", "topics", "keys", "sessions"), "packed.ids")
    size = read_count(fields["count"], count, "packed.ids.count")
    keys = list(
        zip(
            read_table(fields["topics"], size, "packed.ids.topics"),
            read_texts(fields["keys"], size, "packed.ids.keys"),
            read_texts(fields["sessions"], size, "packed.ids.sessions"),
            strict=True,
        )
    )
    places = _read_places(fields["places"], size, count, "packed.ids.places")
    return _spread_out(keys, places, count)


def _write_values(values: NDArray[np.object_] | None) -> dict[str, object] | None:
    if values is None:
        return None
    places: list[int] = []
    blobs: list[bytes] = []
    for place, blob in enumerate(values.tolist()):
        if blob:
            places.append(place)
            blobs.append(blob)
    return {"count": len(blobs), "places": write_numbers(places), "blobs": write_blobs(blobs)}


def _read_values(obj: object, count: int) -> NDArray[np.object_] | None:
    if obj is None:
        return None
    fields = read_map(obj, ("count", "places", "blobs"), "packed.values")
    size = read_count(fields["count"], count, "packed.values.count")
    blobs = read_blobs(fields["blobs"], size, "packed.values.blobs")
    places = _read_places(fields["places"], size, count, "packed.values.places")
    return _spread_out([blob or None for blob in blobs], places, count)


def _read_places(obj: object, size: int, count: int, where: str) -> NDArray[np.int64]:
    places = read_numbers(obj, size, where)
    if size and (int(places[-1]) >= count or (places[1:] <= places[:-1]).any()):
        raise DecodeError(where, f"they do not ascend below {count}")
    return places.view(np.int64)


def _spread_out(
    items: Sequence[object], places: NDArray[np.int64], count: int
) -> NDArray[np.object_] | None:
    if not items:
        return None
    column = np.full(count, None, dtype=np.object_)
    column[places] = _objects(items)
    return column


_NO_ROWS: Final = PackedRows.of(Rows.empty(), KeyHasher())
