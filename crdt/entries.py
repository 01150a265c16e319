"""What a map holds: the rows in columns, with the indexes that find them and the log of changes.

This module stores; it decides nothing.  `crdt.lww_map` says which version stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from crdt.change_log import ChangeLog
from crdt.changes import Replaced
from crdt.errors import CrdtError, DecodeError, KeyCollision
from crdt.group_index import GroupIndex
from crdt.hlc import Origin
from crdt.key_index import KeyIndex
from crdt.names import Names
from crdt.packed_rows import PackedRows
from crdt.records import passes, run_of
from crdt.row_table import HEAD_WORDS, HOLDER_SHIFT, ORIGIN_SHIFT, STAMP_WORD, RowTable
from crdt.rows import REMOVED, Key, Row, Rows
from crdt.topic_index import TopicIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crdt.key_hash import KeyHasher, Words

#: As many numbers as the column of origins has.
ORIGINS_MAX: Final = (1 << 16) - 1
#: Births are positions of the log >> this, rounded up: an entry is never older than it says.
BIRTH_SHIFT: Final = 10
_HOLDER_MASK: Final = np.uint64((1 << 64) - (1 << HOLDER_SHIFT))
_BELOW_HOLDER: Final = ~_HOLDER_MASK
_HOLDER_SHIFT: Final = np.uint64(HOLDER_SHIFT)
_STATUS_MASK: Final = np.uint64((1 << 8) - 1)
#: As few rows as this are read one by one: a gather costs a microsecond whatever it brings.
_FEW: Final = 64


class Entries:
    """Rows by key, by topic, by holder, and in the order of their changes.

    Attributes:
        table: The columns.
        log: All and only the rows in use.
        origins: Numbers for origins.
        holders: Numbers for holders.
        live_count: The count of rows that are no tombstones.
    """

    __slots__ = (
        "_by_holder",
        "_hasher",
        "_index",
        "_topics",
        "holders",
        "live_count",
        "log",
        "origins",
        "table",
    )

    def __init__(self, hasher: KeyHasher, *, capacity: int = 0) -> None:
        self._hasher = hasher
        self.table = RowTable(capacity=capacity)
        rows = self.table.capacity
        self.log = ChangeLog(rows=rows * 9 // 8)
        self.origins = Names[Origin](Origin(""))
        self.holders = Names[str]("")
        self.live_count = 0
        self._index = KeyIndex(self.table.heads, words=STAMP_WORD, capacity=capacity)
        self._topics = TopicIndex(rows=rows * 5 // 4)
        self._by_holder = GroupIndex(rows=rows * 11 // 8, groups=16)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def nbytes(self) -> int:
        """The size of all columns and indexes, without what objects refer to."""
        parts = (self.table, self.log, self._index, self._topics, self._by_holder)
        return sum(part.nbytes for part in parts)

    def reserve(self, count: int) -> None:
        """Make room for ``count`` rows more."""
        if self.table.reserve(count):
            self._index.use(self.table.heads)
        # By what is needed, not by what the table has room for: then they do not all grow in the
        # same call, since they began at different sizes.
        rows = self.table.end + count
        if rows > self.log.capacity:
            self.log.reserve(rows * 3 // 2)
        if rows > self._topics.capacity:
            self._topics.reserve(rows * 3 // 2)
        if rows > self._by_holder.capacity:
            self._by_holder.reserve(rows=rows * 3 // 2)

    # Finding.

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each hashed key; 0 where there is none."""
        return self._index.find(keys)

    def look_up(
        self, keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
        """As `find`, with the stamp and the epoch held of each; zeros where there is none."""
        rows, (stamps, epochs) = self._index.find_records(keys)
        return rows, stamps, epochs

    def find_words(self, words: Words) -> int:
        """The row of a hashed key; 0 if there is none."""
        return self._index.find_one(*words)

    def find_key(self, key: Key) -> int:
        """The row of a key; 0 if there is none, or only another key with the same hash."""
        first, last = self._hasher.words_of(key)
        row = self._index.find_one(first, last)
        ids = self.table.ids
        if ids is None or not row:
            return row
        held = ids[row]
        return row if held is None or held == key else 0

    def require_same(self, row: int, key: Key) -> None:
        """Raise `KeyCollision` if the row is that of another key with the same hash."""
        held: Key | None = None if self.table.ids is None else self.table.ids[row]
        if held is not None and held != key:
            raise KeyCollision(held, key)

    def topic_rows(self, topic: str) -> list[int]:
        """The rows of a topic with the tombstones, in no order."""
        rows = self._topics.rows_of(self._hasher.topic_word(topic))
        ids = self.table.ids
        if ids is None:
            return rows
        # Another topic may have the same hash.
        return [row for row in rows if ids[row] is None or ids[row][0] == topic]

    def holder_rows(self, holder: str) -> list[int]:
        """The live rows that somebody holds, in no order."""
        return self.live_of(self._by_holder.rows_of(self.holders.find(holder)))

    def live_of(self, rows: list[int]) -> list[int]:
        """Those of these rows that are no tombstones."""
        statuses = self.table.statuses_at
        return [row for row in rows if statuses[row] != REMOVED]

    # Reading.

    def row(self, row: int) -> Row:
        """One row, with its full key."""
        table = self.table
        key: Key | None = None if table.ids is None else table.ids[row]
        if key is None:
            raise _id_missing()
        values = table.values
        # `Row` would unpack all this once more, which is a sixth of a single read.
        return tuple.__new__(
            Row,
            (
                key,
                table.stamps_at[row],
                self.origins.names[table.origins_at[row]],
                table.epochs_at[row],
                table.statuses_at[row],
                self.holders.names[table.holders_at[row]],
                b"" if values is None else values[row] or b"",
            ),
        )

    def rows(self, rows: NDArray[np.int64]) -> Rows:
        """These rows, with their full keys."""
        table = self.table
        if len(rows) <= _FEW:
            return self._few(rows.tolist()) if len(rows) else Rows.empty()
        keys = [] if table.ids is None else table.ids.take(rows).tolist()
        if len(keys) < len(rows) or None in keys:
            raise _id_missing()
        return Rows(
            keys=keys,
            stamps=table.stamps.take(rows),
            origins=[self.origins[number] for number in table.origins.take(rows).tolist()],
            epochs=table.epochs.take(rows),
            statuses=table.statuses.take(rows),
            holders=[self.holders[number] for number in table.holders.take(rows).tolist()],
            values=table.values_of(rows),
        )

    def sorted_rows(self, rows: list[int]) -> Rows:
        """These rows, sorted by key."""
        ids = self.table.ids
        if ids is not None and len(rows) > 1:
            keys = {row: ids[row] for row in rows}
            if None in keys.values():
                raise _id_missing()
            rows = sorted(rows, key=keys.__getitem__)
        if len(rows) <= _FEW:
            return self._few(rows)
        return self.rows(np.array(rows, dtype=np.int64))

    def _few(self, rows: list[int]) -> Rows:
        table, origins, holders = self.table, self.origins.names, self.holders.names
        stamps, epochs, statuses = table.stamps_at, table.epochs_at, table.statuses_at
        origin_of, holder_of, ids, values = (
            table.origins_at,
            table.holders_at,
            table.ids,
            table.values,
        )
        keys: list[Key] = [] if ids is None else [ids[row] for row in rows]
        if len(keys) < len(rows) or None in keys:
            raise _id_missing()
        return Rows(
            keys=keys,
            stamps=[stamps[row] for row in rows],
            origins=[origins[origin_of[row]] for row in rows],
            epochs=[epochs[row] for row in rows],
            statuses=[statuses[row] for row in rows],
            holders=[holders[holder_of[row]] for row in rows],
            values=[b""] * len(rows) if values is None else [values[row] or b"" for row in rows],
        )

    def packed(self, rows: NDArray[np.int64], *, known: int) -> PackedRows:
        """These rows in columns, for somebody who knows the entries that came up to a position.

        Full keys are left out of those.
        """
        if not len(rows):
            return PackedRows.empty()
        table = self.table
        heads = table.heads.take(rows, axis=0, mode="clip")
        statuses, origins, origin_of, holders, holder_of = self._told_apart(rows)
        ids: NDArray[np.object_] | None = None
        if table.ids is not None:
            strange = table.births.take(rows) > known >> BIRTH_SHIFT
            if strange.any():
                ids = table.ids.take(rows)
                ids[~strange] = None
        # Columns for themselves: what comes next looks at each of them several times.
        keys = heads.view(np.complex128)[:, 0].copy()
        return PackedRows(
            keys=keys.view(np.uint64).reshape(len(rows), STAMP_WORD),
            stamps=heads[:, STAMP_WORD].copy(),
            origins=origins,
            origin_of=origin_of,
            epochs=heads[:, STAMP_WORD + 1].copy(),
            statuses=statuses,
            holders=holders,
            holder_of=holder_of,
            ids=ids,
            values=None if table.values is None else table.values.take(rows),
            fingerprint=self._hasher.fingerprint,
        )

    def to_be_replaced(self, rows: NDArray[np.int64]) -> Replaced:
        """What the versions of these rows are, before they change."""
        return Replaced(*self._told_apart(rows))

    def _told_apart(
        self, rows: NDArray[np.int64]
    ) -> tuple[
        NDArray[np.uint8], tuple[str, ...], NDArray[np.int64], tuple[str, ...], NDArray[np.int64]
    ]:
        """What the marks of rows say: statuses, origins and holders, as in `PackedRows`."""
        marks = self.table.marks.take(rows, mode="clip")
        of_origins = marks.view("<u2")[ORIGIN_SHIFT // 16 :: 4].astype(np.int64)
        of_holders = marks.view("<u4")[HOLDER_SHIFT // 32 :: 2].astype(np.int64)
        return (
            marks.astype(np.uint8),
            *_numbered(self.origins, of_origins),
            *_numbered(self.holders, of_holders),
        )

    def require_own_hashes(self, keys: NDArray[np.uint64], ids: NDArray[np.object_]) -> None:
        """Raise if one of these full keys came with a hash that is not its own."""
        strange = np.flatnonzero((self._hasher.hash_many(ids.tolist()) != keys).any(axis=1))
        if len(strange):
            raise DecodeError("packed.ids", f"{ids[strange[0]]} came with the hash of another key")

    # One row.

    def put_one(self, row: int, words: Words, written: Row, origin: int) -> int:
        """Store a version in its row, or in a new one if that is 0; the row."""
        new = not row
        if new:
            row = self._add_one(words, written.key)
        table = self.table
        holder = self.holders.number(written.holder) if written.holder else 0
        held_holder = table.holders_at[row]
        if holder != held_holder:
            if held_holder:
                self._by_holder.remove_one(row, held_holder)
            if holder:
                if holder >= len(self.holders) - 1:
                    self._by_holder.reserve(groups=2 * len(self.holders))
                self._by_holder.add_one(row, holder)
            table.holders_at[row] = holder
            if held_holder and self._by_holder.is_empty(held_holder):
                self.holders.forget(held_holder)
        self.live_count += (written.status != REMOVED) - (table.statuses_at[row] != REMOVED)
        table.stamps_at[row] = written.stamp
        table.epochs_at[row] = written.epoch
        table.origins_at[row] = origin
        table.statuses_at[row] = written.status
        table.set_value(row, written.value)
        self.log.append_one(row)
        return row

    def _add_one(self, words: Words, key: Key) -> int:
        self.reserve(1)
        table = self.table
        row = table.take_one()
        place = HEAD_WORDS * row
        table.head_at[place], table.head_at[place + 1] = words
        self._index.insert_one(words[1], row)
        table.topics[row] = self._topics.add_one(row, words[0])
        self.note_birth(row, 1)
        table.set_id(row, key)
        return row

    # Batches.

    def add(self, keys: NDArray[np.uint64], ids: NDArray[np.object_] | None) -> NDArray[np.int64]:
        """New rows for keys that differ and are not there; `put` comes next."""
        count = len(keys)
        self.reserve(count)
        table = self.table
        rows = table.take(count)
        table.put_keys(rows, keys)
        self._index.insert(keys, rows)
        table.topics[rows] = self._topics.add(rows, np.ascontiguousarray(keys[:, 0]))
        self.note_birth(rows, count)
        if ids is not None:
            table.set_ids(rows, ids)
        return rows

    def note_birth(self, rows: int | NDArray[np.int64], count: int) -> None:
        """The next ``count`` positions are those of these rows, and nobody has them yet."""
        self.table.births[rows] = (self.log.position + count >> BIRTH_SHIFT) + 1

    def put(
        self,
        rows: NDArray[np.int64],
        stamps: NDArray[np.uint64],
        epochs: NDArray[np.uint64],
        marks: NDArray[np.uint64],
    ) -> None:
        """Store versions of rows, each once: who holds them, whether they live."""
        table = self.table
        held = np.empty(len(rows), dtype=np.uint64)
        for part in passes(len(rows)):
            places = rows[part]
            table.put_versions(places, stamps[part], epochs[part])
            table.marks.take(places, mode="clip", out=held[part])
            table.marks[run_of(places) or places] = marks[part]
        self._count_live(rows, held, marks)
        changed = np.flatnonzero((held ^ marks) > _BELOW_HOLDER)
        if len(changed):
            held, marks = held.take(changed), marks.take(changed)
            self._change_holders(
                rows.take(changed),
                (held >> _HOLDER_SHIFT).view(np.int64),
                (marks >> _HOLDER_SHIFT).view(np.int64),
            )

    def put_statuses(
        self,
        rows: NDArray[np.int64],
        stamps: NDArray[np.uint64],
        origin: int,
        statuses: NDArray[np.uint8],
    ) -> None:
        """Store statuses of rows, each once, and who stamped them."""
        table = self.table
        held = np.empty(len(rows), dtype=np.uint64)
        marks = statuses.astype(np.uint64)
        marks |= np.uint64(origin << ORIGIN_SHIFT)
        for part in passes(len(rows)):
            places = rows[part]
            table.put_versions(places, stamps[part], None)
            after = marks[part]
            after |= table.marks.take(places, mode="clip", out=held[part]) & _HOLDER_MASK
            table.marks[places] = after
        self._count_live(rows, held, marks)

    def _count_live(
        self, rows: NDArray[np.int64], held: NDArray[np.uint64], marks: NDArray[np.uint64]
    ) -> None:
        """These rows had marks and have others: what follows from their statuses."""
        live = marks & _STATUS_MASK
        live_count = int(np.count_nonzero(live))
        self.live_count += live_count - int(np.count_nonzero(held & _STATUS_MASK))
        if live_count < len(rows):
            self.table.end_leases(rows[live == REMOVED])

    def put_holders(self, rows: NDArray[np.int64], holders: NDArray[np.int64]) -> None:
        """Store who holds these rows, by number."""
        held = self.table.holders.take(rows).astype(np.int64)
        self.table.holders[rows] = holders
        self._change_holders(rows, held, holders)

    def _change_holders(
        self, rows: NDArray[np.int64], held: NDArray[np.int64], holders: NDArray[np.int64]
    ) -> None:
        """These rows had holders and have others now, or nobody."""
        self._by_holder.reserve(groups=len(self.holders) + 1)
        left = np.flatnonzero(held)
        if len(left):
            self._leave_holders(rows.take(left), held.take(left), keep=holders)
        taken = np.flatnonzero(holders)
        if len(taken) < len(rows):
            rows, holders = rows.take(taken), holders.take(taken)
        self._by_holder.add(rows, holders)

    def _leave_holders(
        self, rows: NDArray[np.int64], groups: NDArray[np.int64], *, keep: NDArray[np.int64]
    ) -> None:
        self._by_holder.remove(rows, groups)
        for number in np.setdiff1d(self._by_holder.empty_of(groups), keep).tolist():
            self.holders.forget(number)

    def forget_unused_holders(self, numbers: list[int]) -> None:
        """Take back numbers that were given to holders of rows which then lost."""
        self._by_holder.reserve(groups=len(self.holders) + 1)
        for number in numbers:
            if number and self.holders[number] and self._by_holder.is_empty(number):
                self.holders.forget(number)

    def drop(self, rows: NDArray[np.int64]) -> None:
        """Forget rows altogether."""
        if not len(rows):
            return
        table = self.table
        self.live_count -= int(np.count_nonzero(table.statuses.take(rows)))
        held = table.holders.take(rows).astype(np.int64)
        taken = np.flatnonzero(held)
        if len(taken):
            nobody = np.empty(0, dtype=np.int64)
            self._leave_holders(rows.take(taken), held.take(taken), keep=nobody)
        self._topics.remove(rows, table.topics.take(rows).astype(np.int64))
        self._index.delete(table.keys_of(rows), rows)
        self.log.discard(rows)
        table.free(rows)


def _numbered(
    names: Names[Origin] | Names[str], numbers: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names of these numbers, each once, and which of them belongs to each."""
    if not len(numbers):
        return (), numbers
    used = np.bincount(numbers).nonzero()[0]
    named = names.names
    found = tuple([named[number] for number in used.tolist()])
    first, last = int(used[0]), int(used[-1])
    if last == first + len(used) - 1:
        # They are without gaps, as most are.
        return found, numbers - first
    place = np.zeros(last + 1, dtype=np.int64)
    place[used] = np.arange(len(used))
    return found, place.take(numbers)


def _id_missing() -> CrdtError:
    return CrdtError(
        "LWWMap",
        "the full key of a row is not known here, only its hash",
        "read such rows in columns, or give full keys with the rows",
    )
