"""The map in columns, call by call; see also `tests/property/test_columnar_map.py`."""

import numpy as np
import pytest
from numpy.typing import NDArray

from crdt import (
    REMOVED,
    BaseNotSeen,
    ColumnarMap,
    CrdtError,
    Delta,
    Key,
    KeyCollision,
    KeyHasher,
    KeysUnknown,
    LWWMap,
    Origin,
    PackedDelta,
    Row,
    Rows,
    SecretDiffers,
    Stamp,
    StampTooFar,
    VersionVector,
    pack_stamp,
)
from crdt.entries import ORIGINS_MAX

A, B = Origin("a"), Origin("b")
KEYS: list[Key] = [(f"room:{number % 3}", f"user-{number}", "s") for number in range(30)]
NOW_MS = 1000
NOTHING = VersionVector()


class OneHash(KeyHasher):
    """Every key has the same hash."""

    __slots__ = ()

    def words_of(self, key: Key) -> tuple[int, int]:
        """The same."""
        del key
        return 1, 2


def new_map(hasher: KeyHasher | None = None) -> LWWMap:
    """An empty map."""
    return LWWMap(drift_ms_max=100, hasher=hasher)


def row_of(key: Key, stamp: int, *, origin: Origin = A, holder: str = "g", epoch: int = 0) -> Row:
    """A row."""
    return Row(key, Stamp(stamp), origin, epoch, 1, holder, b"")


def delta_of(*rows: Row, base: VersionVector = NOTHING, new: int = 0) -> Delta:
    """A delta that covers those of origin "a" up to ``new``."""
    return Delta(base, VersionVector({A: Stamp(new)}), Rows.of(rows), Stamp(0))


def full_map(count: int = 30) -> LWWMap:
    """A map with that many rows, stamped from 1."""
    presences = new_map()
    rows = [row_of(key, stamp) for stamp, key in enumerate(KEYS[:count], 1)]
    presences.apply(delta_of(*rows, new=count), wall_ms=NOW_MS)
    return presences


def stripped(delta: PackedDelta) -> PackedDelta:
    """A packed delta without full keys."""
    rows = delta.rows
    fields = {name: getattr(rows, name) for name in rows.__slots__} | {"ids": None}
    return PackedDelta(delta.base, delta.new, type(rows)(**fields), delta.clock)


def rows_of(columns: ColumnarMap, *keys: Key) -> NDArray[np.int64]:
    """Row numbers."""
    return columns.find(columns.hasher.hash_many(keys))


def test_two_keys_with_one_hash_are_never_merged() -> None:
    """By rows or in columns, beside each other or one after the other; the map is unchanged."""
    presences = new_map(OneHash())
    one, other = row_of(KEYS[0], 1), row_of(KEYS[1], 2)
    both = delta_of(one, other, new=2)
    for take in (
        lambda: presences.apply(both, wall_ms=NOW_MS),
        lambda: presences.columns.apply(presences.pack(both), wall_ms=NOW_MS),
    ):
        with pytest.raises(KeyCollision):
            take()
        assert (presences.rows_total, presences.vector) == (0, NOTHING)
    presences.apply(delta_of(one, new=1), wall_ms=NOW_MS)
    for take in (
        lambda: presences.apply(delta_of(other, new=2), wall_ms=NOW_MS),
        lambda: presences.columns.apply(presences.pack(delta_of(other, new=2)), wall_ms=NOW_MS),
    ):
        with pytest.raises(KeyCollision) as caught:
            take()
        assert (caught.value.held, caught.value.other) == (KEYS[0], KEYS[1])
    assert (presences.get(KEYS[0]), presences.get(KEYS[1])) == (one, None)
    assert presences.vector == VersionVector({A: Stamp(1)})


def test_full_keys_go_only_to_whom_they_may_be_unknown() -> None:
    """A peer that has all up to a position gets hashes of those entries, and keys of later ones."""
    sender, receiver = full_map(10), full_map(10)
    after = sender.log_position
    for _ in range(1100):
        sender.columns.write(
            rows_of(sender.columns, KEYS[0]),
            np.array([2], dtype=np.uint8),
            origin=A,
            first_stamp=Stamp(sender.vector[A] + 1),
        )
    after = sender.log_position
    fresh = row_of(KEYS[20], sender.vector[A] + 1)
    sender.apply(delta_of(fresh, new=fresh.stamp), wall_ms=NOW_MS)
    packed, _, _ = sender.columns.missing(receiver.vector)
    assert packed.ids is not None
    assert packed.ids.tolist() == [KEYS[0], KEYS[20]]
    old, _, _ = sender.columns.missing(receiver.vector, after=after - 1)
    assert old.ids is not None
    assert old.ids.tolist() == [None, KEYS[20]]
    delta = PackedDelta(receiver.vector, sender.vector, old, Stamp(0))
    merged = receiver.columns.apply(delta, wall_ms=NOW_MS)
    assert (len(merged), merged.new_count) == (2, 1)
    assert receiver.digest() == sender.digest()


@pytest.mark.parametrize("limit", [None, 30, 29])
def test_what_a_peer_has_seen_of_many_changes_is_left_out(limit: int | None) -> None:
    """All, some or none of them; whether they are read before or after that is known."""
    sender = full_map(30)
    for seen in (0, 17, 29, 30):
        vector = VersionVector({A: Stamp(seen)})
        packed, position, complete = sender.columns.missing(vector, limit=limit)
        expected = list(range(seen + 1, 31))[:limit]
        assert packed.stamps.tolist() == expected
        assert packed.ids is not None
        assert packed.ids.tolist() == KEYS[seen:30][:limit]
        assert (position, complete) == (30, True) if expected[-1:] != [29] else (29, False)


def test_a_lower_row_in_place_of_a_dropped_one_keeps_its_known_key() -> None:
    """Who replaces an origin may leave out the keys that he was told of; nothing is refused.

    Before, such a row was refused when others came with theirs, and what was held was lost
    (2026-11-24).
    """
    presences = new_map()
    held = [row_of(KEYS[number], 5 + number, epoch=9) for number in range(20)]
    covered = row_of(KEYS[29], 4, origin=B)
    presences.apply(delta_of(*held, new=40), wall_ms=NOW_MS)
    presences.apply(
        Delta(NOTHING, VersionVector({B: Stamp(4)}), Rows.of([covered]), Stamp(0)), wall_ms=NOW_MS
    )
    rows = [covered, row_of(KEYS[3], 6, origin=B), *(row_of(key, 41) for key in KEYS[20:28])]
    new = VersionVector({A: Stamp(41), B: Stamp(6)})
    packed = presences.pack(Delta(NOTHING, new, Rows.of(rows), Stamp(0)))
    assert packed.rows.ids is not None
    packed.rows.ids[1] = None
    merged = presences.columns.apply(packed, wall_ms=NOW_MS, whole=[A], tell_replaced=True)
    assert (len(merged), merged.dropped_count) == (9, 20)
    assert merged.dropped is not None
    assert sorted(merged.dropped) == sorted(held)
    assert presences.get(KEYS[3]) == rows[1]
    assert sorted(presences.all_rows()) == sorted(rows)


def test_of_a_row_that_comes_twice_in_a_replacement_only_the_greatest_counts() -> None:
    """The lower one took the held one away, which the greater one would only have beaten.

    Found by the machine of `tests/property/test_columnar_map.py`, 2026-11-24.
    """
    by_row, in_columns = new_map(), new_map()
    held = delta_of(*(row_of(key, 20) for key in KEYS), new=20)
    low, high = row_of(KEYS[3], 10), row_of(KEYS[3], 30, origin=B)
    delta = Delta(NOTHING, NOTHING, Rows.of([low, high]), Stamp(0))
    seen = VersionVector({A: Stamp(20)})
    for presences in (by_row, in_columns):
        presences.apply(held, wall_ms=NOW_MS)
    changes = by_row.apply(delta, wall_ms=NOW_MS, anew=seen)
    merged = in_columns.columns.apply(in_columns.pack(delta), wall_ms=NOW_MS, anew=seen)
    assert list(changes.rows) == [high]
    assert (len(merged), len(merged.lost), merged.dropped_count) == (1, 0, 0)
    assert (list(changes.dropped), list(changes.lost)) == ([], [])
    assert by_row.all_rows() == in_columns.all_rows()


@pytest.mark.parametrize("size", [5, 30])
def test_an_origin_comes_whole_in_parts(size: int) -> None:
    """Nothing is dropped before the last; what came before it stays, and what lost does not."""
    by_row, in_columns = full_map(), full_map()
    again = [row_of(key, 40 + place) for place, key in enumerate(KEYS[:size], 1)]
    loser = row_of(KEYS[29], 29, origin=B)
    first = delta_of(*again[:-1], loser)
    for presences in (by_row, in_columns):
        assert len(presences.apply(delta_of(*again[:0], new=90), wall_ms=NOW_MS)) == 0
    by_row.apply(first, wall_ms=NOW_MS, anew=VersionVector({A: Stamp(20)}))
    merged = in_columns.columns.apply(
        in_columns.pack(first), wall_ms=NOW_MS, anew=VersionVector({A: Stamp(20)})
    )
    assert (len(merged), len(merged.lost), merged.dropped_count) == (size - 1, 1, 0)
    last = delta_of(again[-1], new=90)
    kept = by_row.columns.hasher.hash_many([row.key for row in again[:-1]])
    changes = by_row.apply(last, wall_ms=NOW_MS, whole=[A], kept=kept)
    merged = in_columns.columns.apply(
        in_columns.pack(last), wall_ms=NOW_MS, whole=[A], kept=kept, tell_replaced=True
    )
    assert list(changes.dropped) == list(merged.dropped or ())
    assert sorted(by_row.all_rows()) == sorted(in_columns.all_rows())
    assert {row.key for row in by_row.all_rows() if row.origin == A} == {r.key for r in again}


@pytest.mark.parametrize("in_columns", [False, True])
@pytest.mark.parametrize("seen", [4, 5])
def test_what_a_sender_has_seen_and_tells_a_lower_row_for_goes_at_once(
    seen: int, *, in_columns: bool
) -> None:
    """Else the lower row would lose, what is held go with the last part, and neither be there.

    The sender has forgotten how the entry ended that is held here; somebody began it anew since
    (2026-11-24).
    """
    presences = new_map()
    held, lower = row_of(KEYS[0], 5, epoch=9), row_of(KEYS[0], 50, origin=B)
    presences.apply(delta_of(held, new=5), wall_ms=NOW_MS)
    part, told = delta_of(lower), VersionVector({A: Stamp(seen)})
    if in_columns:
        packed = presences.pack(part)
        merged = presences.columns.apply(packed, wall_ms=NOW_MS, anew=told)
        counts = (len(merged), merged.dropped_count, len(merged.lost))
    else:
        changes = presences.apply(part, wall_ms=NOW_MS, anew=told)
        counts = (len(changes), len(changes.dropped), len(changes.lost))
    assert counts == ((1, 1, 0) if seen == 5 else (0, 0, 1))
    assert presences.get(KEYS[0]) == (lower if seen == 5 else held)


def test_an_entry_that_is_unknown_without_its_key_is_refused() -> None:
    """Nothing has changed; with full keys it is taken."""
    presences = full_map(1)
    packed = presences.pack(delta_of(row_of(KEYS[5], 40), new=40))
    with pytest.raises(KeysUnknown) as caught:
        presences.columns.apply(stripped(packed), wall_ms=NOW_MS)
    assert (caught.value.count, presences.rows_total, presences.vector[A]) == (1, 1, 1)
    presences.columns.apply(packed, wall_ms=NOW_MS)
    assert presences.rows_total == 2


def test_a_map_may_do_without_full_keys() -> None:
    """Its rows are read in columns; by rows only with a key at hand."""
    presences = LWWMap(drift_ms_max=100, ids_kept=False)
    packed = stripped(presences.pack(delta_of(row_of(KEYS[5], 4), new=4)))
    assert len(presences.columns.apply(packed, wall_ms=NOW_MS)) == 1
    assert len(presences) == 1
    for read in (presences.live_rows, lambda: presences.get(KEYS[5])):
        with pytest.raises(CrdtError, match="only its hash"):
            read()


def test_hashes_under_another_secret_are_refused() -> None:
    """They would never meet those of the same keys here."""
    presences = full_map(1)
    foreign = new_map(KeyHasher(b"other")).pack(delta_of(row_of(KEYS[5], 40), new=40))
    with pytest.raises(SecretDiffers, match="same secret"):
        presences.columns.apply(foreign, wall_ms=NOW_MS)
    assert (presences.rows_total, presences.vector[A]) == (1, 1)


def test_a_packed_delta_is_refused_for_the_same_reasons_as_any() -> None:
    """Too far ahead, or a base not seen; and the map stays as it was."""
    presences = full_map(3)
    far = pack_stamp(NOW_MS + 101, 0)
    for delta, error in (
        (delta_of(row_of(KEYS[5], far)), StampTooFar),
        (delta_of(new=far), StampTooFar),
        (delta_of(row_of(KEYS[5], 9), base=VersionVector({B: Stamp(1)})), BaseNotSeen),
    ):
        with pytest.raises(error):
            presences.columns.apply_encoded(presences.pack(delta).encode(), wall_ms=NOW_MS)
        assert (presences.rows_total, presences.log_position) == (3, 3)


def test_a_merge_says_what_changed_and_what_lost() -> None:
    """By places in the batch and by rows of the map."""
    presences = full_map(3)
    presences.apply(delta_of(row_of(KEYS[1], 50, epoch=9)), wall_ms=NOW_MS)
    batch = delta_of(
        row_of(KEYS[0], 3),
        row_of(KEYS[0], 60, origin=B),
        row_of(KEYS[1], 61, origin=B),
        row_of(KEYS[7], 62, origin=B),
    )
    merged = presences.columns.apply(presences.pack(batch), wall_ms=NOW_MS)
    assert (merged.places.tolist(), merged.new_count, merged.lost.tolist()) == ([1, 3], 1, [2])
    entries = presences.columns.entries
    assert [entries.row(int(row)).key for row in merged.rows] == [KEYS[0], KEYS[7]]
    assert [entries.row(int(row)) for row in merged.winners] == [row_of(KEYS[1], 50, epoch=9)]


def test_a_tie_in_a_batch_is_decided_by_the_name_of_the_origin() -> None:
    """Both ways; and the same row once more changes nothing."""
    presences = new_map()
    presences.apply(delta_of(row_of(KEYS[0], 5, origin=B)), wall_ms=NOW_MS)
    lower = presences.pack(delta_of(row_of(KEYS[0], 5)))
    assert len(presences.columns.apply(lower, wall_ms=NOW_MS)) == 0
    greater = presences.pack(delta_of(row_of(KEYS[0], 5, origin=Origin("c"))))
    assert len(presences.columns.apply(greater, wall_ms=NOW_MS)) == 1
    again = presences.columns.apply(greater, wall_ms=NOW_MS)
    assert (len(again), len(again.lost)) == (0, 0)


def test_a_local_write_takes_stamps_in_order_and_leaves_greater_ones() -> None:
    """Rows that are unknown are left out, and so is one that is held with a greater stamp."""
    presences = full_map(3)
    presences.apply(delta_of(row_of(KEYS[1], 99, origin=B)), wall_ms=NOW_MS)
    columns = presences.columns
    rows = rows_of(columns, KEYS[0], KEYS[1], KEYS[9])
    statuses = np.array([2, 2, 2], dtype=np.uint8)
    changed = columns.write(rows, statuses, origin=A, first_stamp=Stamp(10))
    assert changed.tolist() == rows[:1].tolist()
    assert presences.vector[A] == 12
    with pytest.raises(CrdtError, match="does not exceed 12"):
        columns.write(rows, statuses, origin=A, first_stamp=Stamp(12))
    assert not len(columns.write(rows[:0], statuses[:0], origin=A, first_stamp=Stamp(20)))


def test_a_large_batch_in_which_a_row_comes_twice_is_written_and_logged() -> None:
    """The last of both counts, and whoever reads the log gets every row."""
    count = 12_000
    presences = LWWMap(drift_ms_max=100, ids_kept=False)
    columns = presences.columns
    keys = np.random.default_rng(1).integers(0, 1 << 63, (count, 2), dtype=np.uint64)
    batch = presences.pack(delta_of(*(row_of(KEYS[0], 1) for _ in range(count)))).rows
    fields = {name: getattr(batch, name) for name in batch.__slots__} | {"keys": keys, "ids": None}
    stamps = {"stamps": np.arange(1, count + 1, dtype=np.uint64)}
    whole = PackedDelta(NOTHING, NOTHING, type(batch)(**fields | stamps), Stamp(0))
    assert len(columns.apply(whole, wall_ms=NOW_MS)) == count
    position = columns.entries.log.position
    for twice in ((11_000, 11_500), (20, 11_900), (5, 9)):
        rows = columns.find(keys)
        rows[twice[1]] = rows[twice[0]]
        expected = np.delete(rows, twice[0]).tolist()
        first = Stamp(presences.vector[B] + 20_000)
        changed = columns.write(rows, np.ones(count, np.uint8), origin=B, first_stamp=first)
        assert changed.tolist() == expected
        found, position, _ = columns.missing_rows(VersionVector(), after=position)
        assert found.tolist() == expected


def test_a_gateway_that_dies_ends_its_rows_in_one_batch() -> None:
    """All of them, and no others; then nobody holds them."""
    presences = full_map(6)
    presences.apply(delta_of(row_of(KEYS[6], 7, holder="other"), new=7), wall_ms=NOW_MS)
    columns = presences.columns
    columns.renew(columns.handles(rows_of(columns, KEYS[0])), 1000)
    ended = columns.end_holder("g", origin=B, first_stamp=Stamp(20), value=b"lost")
    assert len(ended) == 6
    assert [row.key for row in presences.live_rows()] == [KEYS[6]]
    row = presences.get(KEYS[0])
    assert row is not None
    assert (row.status, row.holder, row.value, row.epoch) == (REMOVED, "", b"lost", 0)
    assert (len(presences.holder_rows("g")), len(columns.run_out(10**6))) == (0, 0)
    assert not len(columns.end_holder("nobody", origin=B, first_stamp=Stamp(90)))


def test_a_tombstone_that_came_since_the_last_look_is_dropped_at_its_time() -> None:
    """Who knows that nothing is old enough need not look again, until something has changed."""
    columns = full_map(6).columns
    ended = np.zeros(1, dtype=np.uint8)
    columns.write(rows_of(columns, KEYS[0]), ended, origin=B, first_stamp=Stamp(30))
    assert [columns.drop_tombstones(Stamp(30)) for _ in range(2)] == [0, 0]
    columns.write(rows_of(columns, KEYS[1]), ended, origin=Origin("c"), first_stamp=Stamp(25))
    assert [columns.drop_tombstones(Stamp(26)) for _ in range(2)] == [1, 0]
    assert [columns.drop_tombstones(Stamp(31)) for _ in range(2)] == [1, 0]


def test_tombstones_are_dropped_in_bounded_steps() -> None:
    """So that a pause is bounded, too."""
    presences = full_map(6)
    presences.columns.end_holder("g", origin=B, first_stamp=Stamp(20))
    assert presences.columns.drop_tombstones(Stamp(26), limit=4) == 4
    assert presences.columns.drop_tombstones(Stamp(25), limit=4) == 1
    assert presences.rows_total == 1


def test_more_origins_than_there_are_numbers_are_refused() -> None:
    """With the advice to forget dead ones; nothing has changed."""
    presences = full_map(1)
    for number in range(1, ORIGINS_MAX):
        presences.columns.entries.origins.number(Origin(f"o{number}"))
    for take in (
        lambda delta: presences.apply(delta, wall_ms=NOW_MS),
        lambda delta: presences.columns.apply(presences.pack(delta), wall_ms=NOW_MS),
    ):
        with pytest.raises(CrdtError, match="more than 65535 origins"):
            take(delta_of(row_of(KEYS[5], 9, origin=B)))
    assert presences.rows_total == 1


def test_room_in_advance_is_what_a_map_of_that_size_takes() -> None:
    """And a count below zero is refused."""
    assert LWWMap(drift_ms_max=0, capacity=10_000).nbytes > 700_000 > new_map().nbytes
    with pytest.raises(CrdtError, match="capacity is -1"):
        LWWMap(drift_ms_max=0, capacity=-1)
