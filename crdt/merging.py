"""The merge of a batch in columns: which rows of it win, and what that does to the entries.

The rules are those of `crdt.lww_map`; this is how they are kept for ten thousand rows at a time.
`plan` finds out and changes nothing, so that a refusal changes nothing; `carry_out` then cannot
fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from crdt.entries import ORIGINS_MAX, Entries
from crdt.errors import CrdtError, KeyCollision, KeysUnknown
from crdt.hlc import Origin
from crdt.ordering import repeats
from crdt.row_table import HOLDER_SHIFT, ORIGIN_SHIFT, absent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crdt.changes import Replaced
    from crdt.packed_rows import PackedRows
    from crdt.version_vector import VersionVector

_NOTHING = np.empty(0, dtype=np.int64)
Item = TypeVar("Item", np.int64, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a batch will change.

    Attributes:
        batch: The rows that count: not covered, and if they came twice, once.
        places: Where in the batch that came each of them was; None if they are all of it.
        rows: The row of each in the map; 0 where it will be a new one.
        win: Places of those that win.
        lost: Places of those that lost.
    """

    batch: PackedRows
    places: NDArray[np.int64] | None
    rows: NDArray[np.int64]
    win: NDArray[np.int64]
    lost: NDArray[np.int64]


def seen_of(vector: VersionVector, origins: Sequence[str]) -> NDArray[np.uint64]:
    """The components of some origins."""
    return np.array([vector[Origin(origin)] for origin in origins], dtype=np.uint64)


def plan(
    entries: Entries,
    batch: PackedRows,
    seen: VersionVector,
    *,
    ids_kept: bool,
    once: bool = False,
) -> Plan:
    """What of a batch is not covered by ``seen``, and of that what wins.

    Args:
        entries: What is held.
        batch: What came.
        seen: What does not count.
        ids_kept: Whether full keys are.
        once: Whether of rows of one key only the greatest counts, even of a known one: what loses
            has consequences then.

    Raises:
        CrdtError: A stamp is zero, which names no write.
        KeyCollision: Two keys have one hash.
        KeysUnknown: Full keys are kept, and one of a new entry did not come.
        DecodeError: One of them came with the hash of another one.
    """
    if not batch.stamps.min(initial=1):
        raise CrdtError("LWWMap.apply", "a stamp is zero", "stamp rows before they are merged")
    places: NDArray[np.int64] | None = None
    if seen and len(batch):
        fresh = batch.stamps > seen_of(seen, batch.origins).take(batch.origin_of)
        if not fresh.all():
            places = np.flatnonzero(fresh)
            batch = batch.take(places)
    rows, stamps, epochs = entries.look_up(batch.keys)
    missing = np.flatnonzero(rows == 0)
    suspects = batch.keys if once else _at(batch.keys, missing)
    if len(suspects) > 1 and repeats(suspects[:, 1].copy()):
        _require_one_key_each(batch)
        kept = batch.greatest_places()
        places = kept if places is None else places.take(kept)
        batch = batch.take(kept)
        rows, stamps, epochs = rows.take(kept), stamps.take(kept), epochs.take(kept)
        missing = np.flatnonzero(rows == 0)
    if ids_kept:
        _require_keys(entries, batch, rows, missing)
    win, lost = _compare(entries, batch, rows, stamps, epochs)
    return Plan(batch, places, rows, win, lost)


def carry_out(
    entries: Entries, planned: Plan, *, tell_replaced: bool = False
) -> tuple[NDArray[np.int64], Plan, int, Replaced | None]:
    """Make the rows that win the ones held.

    Returns:
        Their rows; the plan with each row winning once; the count of new rows; and what they
        replaced, if that is to be told.
    """
    batch, rows, win = planned.batch, planned.rows, planned.win
    if not len(win):
        return _NOTHING, planned, 0, None
    missing = np.flatnonzero(rows == 0)
    if len(missing):
        ids = None if batch.ids is None else batch.ids.take(missing)
        rows[missing] = entries.add(_at(batch.keys, missing), ids)
    rows_won = _at(rows, win)
    if not entries.log.append(rows_won, new_count=len(missing)):
        win = _once_each(batch, win, rows_won)
        rows_won = rows.take(win)
        entries.log.append(rows_won, new_count=len(missing))
    replaced = entries.to_be_replaced(rows_won) if tell_replaced else None
    marks, given = _marks_of(entries, batch)
    stamps, epochs, values = batch.stamps, batch.epochs, batch.values
    if len(win) < len(batch):
        stamps, epochs, marks = stamps.take(win), epochs.take(win), marks.take(win)
        values = None if values is None else values.take(win)
    entries.put(rows_won, stamps, epochs, marks)
    entries.table.set_values(rows_won, values)
    entries.forget_unused_holders(given)
    planned = Plan(planned.batch, planned.places, rows, win, planned.lost)
    return rows_won, planned, len(missing), replaced


def _at(column: NDArray[Item], places: NDArray[np.int64]) -> NDArray[Item]:
    """What a column has at ascending places; the column itself if they are all of it."""
    return column if len(places) == len(column) else column.take(places, axis=0)


def _marks_of(entries: Entries, batch: PackedRows) -> tuple[NDArray[np.uint64], list[int]]:
    """The marks of a batch, and the numbers that were given to its holders now."""
    # One by one: an origin may have any name, even that of nobody's holder.
    origins = [entries.origins.number(Origin(name)) << ORIGIN_SHIFT for name in batch.origins]
    numbers, given = entries.holders.numbers(batch.holders)
    holders = [number << HOLDER_SHIFT for number in numbers]
    marks = np.array(origins, dtype=np.uint64).take(batch.origin_of)
    marks |= np.array(holders, dtype=np.uint64).take(batch.holder_of)
    marks |= batch.statuses
    return marks, given


def require_origins(entries: Entries, origins: Sequence[str]) -> None:
    """Raise if there are more origins than the column of them has numbers for."""
    fresh = sum(1 for origin in origins if not entries.origins.find(Origin(origin)))
    if fresh and len(entries.origins) - 1 + fresh > ORIGINS_MAX:
        raise CrdtError(
            "LWWMap.apply",
            f"there would be more than {ORIGINS_MAX} origins",
            "forget origins that are dead and of which no row is left (`LWWMap.forget_origins`)",
        )


def _compare(
    entries: Entries,
    batch: PackedRows,
    rows: NDArray[np.int64],
    stamps: NDArray[np.uint64],
    epochs: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the rows that win against what is held, and of those that lose."""
    newer = batch.stamps > stamps
    same_epoch = batch.epochs == epochs
    newer &= same_epoch
    newer |= batch.epochs > epochs
    if newer.all():
        return np.arange(len(rows)), _NOTHING
    ties = np.flatnonzero(same_epoch & (batch.stamps == stamps))
    equal = np.zeros(len(rows), dtype=np.bool_)
    for place in ties.tolist():
        mine = entries.origins[entries.table.origins_at[rows[place]]]
        theirs = batch.origins[int(batch.origin_of[place])]
        newer[place] = theirs > mine
        equal[place] = theirs == mine
    # What is not known here has stamp 0 in row 0, and so never loses.
    return np.flatnonzero(newer), np.flatnonzero(~newer & ~equal)


def _require_keys(
    entries: Entries,
    batch: PackedRows,
    rows: NDArray[np.int64],
    missing: NDArray[np.int64],
) -> None:
    """Each new entry has its full key, and no known one has another."""
    ids = batch.ids
    if len(missing):
        unknown = len(missing)
        if ids is not None:
            unknown = int(np.count_nonzero(absent(ids.take(missing))))
        if unknown or ids is None:
            raise KeysUnknown(unknown)
        entries.require_own_hashes(batch.keys.take(missing, axis=0), ids.take(missing))
    held_ids = entries.table.ids
    if ids is None or held_ids is None or len(missing) == len(rows):
        return
    given = np.flatnonzero(~absent(ids) & (rows > 0))
    held = held_ids.take(rows.take(given)).tolist()
    for mine, theirs in zip(held, ids.take(given).tolist(), strict=True):
        if mine is not None and mine != theirs:
            raise KeyCollision(mine, theirs)


def _require_one_key_each(batch: PackedRows) -> None:
    if batch.ids is None:
        return
    key_of: dict[tuple[int, int], object] = {}
    for words, key in zip(batch.keys.tolist(), batch.ids.tolist(), strict=True):
        held = key_of.setdefault((words[0], words[1]), key)
        if key is not None and held is not None and held != key:
            raise KeyCollision(held, key)  # type: ignore[arg-type]


def _once_each(
    batch: PackedRows, places: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of these places, for each row that of the greatest."""
    place_of: dict[int, int] = {}
    for place, row in zip(places.tolist(), rows.tolist(), strict=True):
        held = place_of.setdefault(row, place)
        if held != place and batch.order_at(held) < batch.order_at(place):
            place_of[row] = place
    return np.array(sorted(place_of.values()), dtype=np.int64)
