"""Rows: versions of entries, in batches of columns.

A row says who (``origin``) wrote what (``status``, ``holder``, ``value``) about which entry
(``key``), when (``stamp``), and with what right (``epoch``).  (origin, stamp) names the write: two
rows that share both are the same row.

Of two rows of one key the one with the greater `Row.order` wins.  The epoch comes first, since it
is raised only by the side that has the right to: whatever an old holder wrote in the meantime is
beaten, whatever the clocks said.  It is a pair (resume, move), compared in that order, in one
integer.  With a single count of both, a cut-off old holder that moved often would beat the client's
new one (shown in the tests).

A batch travels and is stored as columns, since what is done for each row in Python is what costs.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import numpy as np

from crdt.columns import (
    read_blobs,
    read_count,
    read_map,
    read_numbers,
    read_spread,
    read_table,
    read_texts,
    write_blobs,
    write_numbers,
    write_spread,
    write_table,
    write_texts,
)
from crdt.errors import CrdtError, DecodeError
from crdt.hlc import Origin, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

#: (topic, key, session); only the topic means anything here, and only to the index of topics.
Key: TypeAlias = tuple[str, str, str]

#: The status of a tombstone.  All others are live and mean nothing here.
REMOVED: Final = 0

EPOCH_PART_MAX: Final = (1 << 32) - 1
#: More rows than one message may hold; a sender makes parts long before.
ROWS_MAX: Final = 1 << 26

_FIELDS: Final = (
    "count",
    "topics",
    "keys",
    "sessions",
    "stamps",
    "origins",
    "epochs",
    "statuses",
    "holders",
    "values",
)


def pack_epoch(resume: int, move: int) -> int:
    """The epoch of a session's ``resume``-th resumption and its gateway's ``move``-th move.

    >>> pack_epoch(1, 0) > pack_epoch(0, 99)
    True
    """
    if not (0 <= resume <= EPOCH_PART_MAX and 0 <= move <= EPOCH_PART_MAX):
        raise CrdtError(
            "pack_epoch", f"resume is {resume}, move is {move}", "give numbers of 32 bits"
        )
    return resume << 32 | move


def epoch_resume(epoch: int) -> int:
    """How often the client had tried to resume the session."""
    return epoch >> 32


def epoch_move(epoch: int) -> int:
    """How often the gateway had attached elsewhere, or refuted, since that resumption."""
    return epoch & EPOCH_PART_MAX


class Row(NamedTuple):
    """One version of one entry."""

    key: Key
    stamp: Stamp
    origin: Origin
    epoch: int
    status: int
    holder: str
    value: bytes

    @property
    def order(self) -> tuple[int, Stamp, Origin]:
        """What decides between two versions of one entry: the greater wins.  A total order."""
        return (self.epoch, self.stamp, self.origin)

    @property
    def live(self) -> bool:
        """Is the entry there, as opposed to removed?"""
        return self.status != REMOVED


class Rows:
    """A batch of n rows as columns; whoever holds one does not change it.

    >>> row = Row(("room:lobby", "alice", "s1"), Stamp(65536), Origin("eu/w1/1"), 0, 1, "g1", b"")
    >>> rows = Rows.of([row])
    >>> len(rows), rows.row(0) == row, rows.stamps.dtype
    (1, True, dtype('uint64'))
    >>> Rows.from_wire(rows.to_wire()) == rows
    True

    Attributes:
        keys: n keys, (topic, key, session) each.
        stamps: uint64[n].
        origins: n origins; (origin, stamp) names the write.
        epochs: uint64[n], resume << 32 | move.
        statuses: uint8[n]; `REMOVED` is a tombstone, all else is opaque.
        holders: n names of who holds the entry, "" for nobody.
        values: n opaque byte strings.
    """

    __slots__ = ("epochs", "holders", "keys", "origins", "stamps", "statuses", "values")

    def __init__(
        self,
        *,
        keys: Sequence[Key],
        stamps: NDArray[np.uint64] | Sequence[int],
        origins: Sequence[Origin],
        epochs: NDArray[np.uint64] | Sequence[int],
        statuses: NDArray[np.uint8] | Sequence[int],
        holders: Sequence[str],
        values: Sequence[bytes],
    ) -> None:
        self.keys: list[Key] = list(keys)
        self.origins: list[Origin] = list(origins)
        self.holders: list[str] = list(holders)
        self.values: list[bytes] = list(values)
        try:
            self.stamps: NDArray[np.uint64] = np.asarray(stamps, dtype=np.uint64)
            self.epochs: NDArray[np.uint64] = np.asarray(epochs, dtype=np.uint64)
            self.statuses: NDArray[np.uint8] = np.asarray(statuses, dtype=np.uint8)
        except (OverflowError, TypeError, ValueError) as error:
            raise CrdtError(
                "Rows",
                f"a number does not fit its column ({error})",
                "give stamps and epochs of 64 bits and statuses of 8, unsigned",
            ) from error
        if not (
            len(self.keys)
            == len(self.stamps)
            == len(self.origins)
            == len(self.epochs)
            == len(self.statuses)
            == len(self.holders)
            == len(self.values)
        ):
            sizes = {name: len(getattr(self, name)) for name in self.__slots__}
            raise CrdtError("Rows", f"columns differ in length: {sizes}", "give one item for a row")

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Rows:
        """The batch of these rows, in their order."""
        columns = list(zip(*rows, strict=True))
        if not columns:
            return _NO_ROWS
        keys, stamps, origins, epochs, statuses, holders, values = columns
        return cls(
            keys=keys,
            stamps=stamps,
            origins=origins,
            epochs=epochs,
            statuses=statuses,
            holders=holders,
            values=values,
        )

    @staticmethod
    def empty() -> Rows:
        """The batch of no rows: one for all, since nobody changes it."""
        return _NO_ROWS

    @classmethod
    def concat(cls, *batches: Rows) -> Self:
        """The rows of all batches, one batch after the other."""
        return cls(
            keys=list(chain.from_iterable(rows.keys for rows in batches)),
            stamps=np.concatenate([_NO_NUMBERS, *(rows.stamps for rows in batches)]),
            origins=list(chain.from_iterable(rows.origins for rows in batches)),
            epochs=np.concatenate([_NO_NUMBERS, *(rows.epochs for rows in batches)]),
            statuses=np.concatenate(
                [_NO_NUMBERS.astype(np.uint8), *(rows.statuses for rows in batches)]
            ),
            holders=list(chain.from_iterable(rows.holders for rows in batches)),
            values=list(chain.from_iterable(rows.values for rows in batches)),
        )

    def take(self, indices: Sequence[int] | NDArray[np.intp]) -> Rows:
        """The rows at these indices, in the order of the indices."""
        places = np.asarray(indices, dtype=np.intp)
        listed = places.tolist()
        return Rows(
            keys=[self.keys[index] for index in listed],
            stamps=self.stamps.take(places),
            origins=[self.origins[index] for index in listed],
            epochs=self.epochs.take(places),
            statuses=self.statuses.take(places),
            holders=[self.holders[index] for index in listed],
            values=[self.values[index] for index in listed],
        )

    def row(self, index: int) -> Row:
        """One row of the batch."""
        return Row(
            self.keys[index],
            Stamp(int(self.stamps[index])),
            self.origins[index],
            int(self.epochs[index]),
            int(self.statuses[index]),
            self.holders[index],
            self.values[index],
        )

    def canonical(self) -> Rows:
        """These rows sorted by key, of each key only the greatest: what an `apply` would keep."""
        if all(left < right for left, right in pairwise(self.keys)):
            return self
        greatest: dict[Key, Row] = {}
        for row in self:
            rival = greatest.get(row.key)
            if rival is None or rival.order < row.order:
                greatest[row.key] = row
        return Rows.of(greatest[key] for key in sorted(greatest))

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Row]:
        return map(
            Row,
            self.keys,
            self.stamps.tolist(),
            self.origins,
            self.epochs.tolist(),
            self.statuses.tolist(),
            self.holders,
            self.values,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rows):
            return NotImplemented
        return (
            self.keys == other.keys
            and np.array_equal(self.stamps, other.stamps)
            and self.origins == other.origins
            and np.array_equal(self.epochs, other.epochs)
            and np.array_equal(self.statuses, other.statuses)
            and self.holders == other.holders
            and self.values == other.values
        )

    #: Arrays have no hash, and a batch is no key of anything.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Rows.of({list(self)!r})"

    def to_wire(self) -> dict[str, object]:
        """A plain dict of columns, ready for MessagePack, in the order of the batch."""
        return _columns_of(self) if self.keys else dict(_NO_COLUMNS)

    @classmethod
    def from_wire(cls, obj: object, *, unstamped: bool = False) -> Rows:
        """The batch that `to_wire` gave ``obj`` for.

        Args:
            obj: The dict.
            unstamped: Whether rows may have stamp zero: ones that somebody has yet to stamp.

        Raises:
            DecodeError: A field is missing or of the wrong type or length, an index points beyond
                its table, a number does not fit, a stamp is zero, or a key comes twice.
        """
        if _is_no_columns(obj):
            return _NO_ROWS
        fields = read_map(obj, _FIELDS, "rows")
        count = read_count(fields["count"], ROWS_MAX, "rows.count")
        keys: list[Key] = list(
            zip(
                read_table(fields["topics"], count, "rows.topics"),
                read_texts(fields["keys"], count, "rows.keys"),
                read_texts(fields["sessions"], count, "rows.sessions"),
                strict=True,
            )
        )
        if len(set(keys)) < count:
            raise DecodeError("rows.keys", "a key comes twice")
        stamps = read_spread(fields["stamps"], count, "rows.stamps")
        if count and not unstamped and not stamps.all():
            raise DecodeError("rows.stamps", "a stamp is zero, which names no write")
        statuses = read_numbers(fields["statuses"], count, "rows.statuses")
        if count and int(statuses.max()) > np.iinfo(np.uint8).max:
            raise DecodeError("rows.statuses", "a status has more than 8 bits")
        return cls(
            keys=keys,
            stamps=stamps,
            origins=[Origin(text) for text in read_table(fields["origins"], count, "rows.origins")],
            epochs=read_spread(fields["epochs"], count, "rows.epochs"),
            statuses=statuses.astype(np.uint8),
            holders=read_table(fields["holders"], count, "rows.holders"),
            values=read_blobs(fields["values"], count, "rows.values"),
        )


def _columns_of(rows: Rows) -> dict[str, object]:
    return {
        "count": len(rows),
        "topics": write_table([topic for topic, _, _ in rows.keys]),
        "keys": write_texts([key for _, key, _ in rows.keys]),
        "sessions": write_texts([session for _, _, session in rows.keys]),
        "stamps": write_spread(rows.stamps),
        "origins": write_table(rows.origins),
        "epochs": write_spread(rows.epochs),
        "statuses": write_numbers(rows.statuses),
        "holders": write_table(rows.holders),
        "values": write_blobs(rows.values),
    }


def _is_no_columns(obj: object) -> bool:
    """Is this exactly what an empty batch is on the wire?"""
    if obj != _NO_COLUMNS or not isinstance(obj, dict):
        return False
    # To `==` False and 0.0 are zeros, too, but they are no counts.
    numbers = [obj["count"], *(obj[name]["count"] for name in ("topics", "origins", "holders"))]
    numbers += [obj[name]["least"] for name in ("stamps", "epochs")]
    return all(type(number) is int for number in numbers)


def require_unicode(rows: Rows) -> None:
    """Refuse half a surrogate pair here, at the origin: no message that holds it can be sent."""
    try:
        for parts in zip(*rows.keys, strict=True):
            "".join(parts).encode()
        "".join(rows.holders).encode()
        "".join(rows.origins[:1]).encode()
    except UnicodeEncodeError as error:
        raise CrdtError(
            "LWWMap.put",
            f"a key, holder or origin is no valid Unicode ({error.reason})",
            "refuse such strings where they come in",
        ) from error


_NO_NUMBERS: Final = np.empty(0, dtype=np.uint64)
#: Most batches in messages are empty: one object for all of them, here and on the wire.
_NO_ROWS: Final = Rows(
    keys=(), stamps=(), origins=(), epochs=(), statuses=(), holders=(), values=()
)
_NO_COLUMNS: Final = _columns_of(_NO_ROWS)
