"""The map, call by call."""

from collections.abc import Callable

import pytest

from crdt import (
    REMOVED,
    BaseNotSeen,
    CrdtError,
    Delta,
    Key,
    LWWMap,
    Origin,
    Row,
    Rows,
    Stamp,
    StampTooFar,
    VersionVector,
    pack_stamp,
)

A, B = Origin("a"), Origin("b")
ALICE: Key = ("room:lobby", "alice", "s1")
BOB: Key = ("room:lobby", "bob", "s2")
HOME: Key = ("user:alice", "alice", "s1")
NOW_MS = 1000


def new_map() -> LWWMap:
    """An empty map with a drift bound of 100 ms."""
    return LWWMap(drift_ms_max=100)


def row_of(
    key: Key, stamp: int, *, origin: Origin = A, epoch: int = 0, status: int = 1, holder: str = "g"
) -> Row:
    """A row; its value tells its stamp."""
    return Row(key, Stamp(stamp), origin, epoch, status, holder, str(stamp).encode())


def delta_of(*rows: Row, base: VersionVector | None = None, new: int = 0) -> Delta:
    """A delta of some rows, which covers those of origin "a" up to ``new``."""
    return Delta(base or VersionVector(), VersionVector({A: Stamp(new)}), Rows.of(rows), Stamp(0))


def map_of(*rows: Row, new: int = 0) -> LWWMap:
    """A map with these rows."""
    presences = new_map()
    presences.apply(delta_of(*rows, new=new), wall_ms=NOW_MS)
    return presences


def put(presences: LWWMap, *keys: Key, stamps: list[int], status: int = 1) -> Delta:
    """A delta that writes keys as origin "a"."""
    count = len(keys)
    return presences.put(
        keys=keys,
        epochs=[0] * count,
        statuses=[status] * count,
        holders=["g"] * count,
        values=[b""] * count,
        origin=A,
        stamps=[Stamp(stamp) for stamp in stamps],
    )


def test_put_makes_a_delta_and_changes_nothing() -> None:
    """Only apply changes the map, and it takes the delta of a local write like any other."""
    presences = new_map()
    delta = put(presences, ALICE, BOB, stamps=[5, 6])
    assert (len(presences), presences.vector, presences.log_position) == (0, VersionVector(), 0)
    assert (delta.base, delta.new) == (VersionVector(), VersionVector({A: Stamp(6)}))
    assert delta.clock == 6
    changes = presences.apply(delta, wall_ms=NOW_MS)
    assert (changes.rows, changes.previous) == (delta.rows, [None, None])
    assert (len(presences), presences.vector) == (2, delta.new)


def test_the_next_put_builds_on_the_last() -> None:
    """Only the component of its own origin is its base."""
    presences = map_of(row_of(BOB, 9, origin=B), new=5)
    delta = put(presences, ALICE, stamps=[7])
    assert (delta.base, delta.new) == (VersionVector({A: Stamp(5)}), VersionVector({A: Stamp(7)}))


def test_a_put_of_nothing_is_a_delta_of_nothing() -> None:
    """It claims no more than was seen."""
    presences = map_of(new=5)
    delta = put(presences, stamps=[])
    assert (len(delta.rows), delta.base, delta.new) == (0, presences.vector, presences.vector)


@pytest.mark.parametrize("stamps", [[5, 6], [7, 7], [8, 7]])
def test_stamps_that_do_not_ascend_from_what_was_seen_are_refused(stamps: list[int]) -> None:
    """A stamp that the vector covers would be skipped by everybody."""
    presences = map_of(new=5)
    with pytest.raises(CrdtError, match="does not exceed"):
        put(presences, ALICE, BOB, stamps=stamps)


def test_a_put_of_uneven_columns_is_refused() -> None:
    """One stamp for each key."""
    with pytest.raises(CrdtError, match="length"):
        put(new_map(), ALICE, BOB, stamps=[5])


def test_a_put_of_half_a_surrogate_pair_is_refused() -> None:
    """It could never be sent, and would hold up all that is sent with it."""
    with pytest.raises(CrdtError, match="Unicode"):
        put(new_map(), ("room:\ud800", "k", "s"), stamps=[5])


def test_a_promise_moves_the_vector_without_rows() -> None:
    """And never back."""
    presences = map_of(row_of(ALICE, 5), new=5)
    promise = presences.promise(A, Stamp(9))
    assert presences.vector[A] == 5
    assert len(presences.apply(promise, wall_ms=NOW_MS)) == 0
    assert presences.vector[A] == 9
    with pytest.raises(CrdtError, match="below 9"):
        presences.promise(A, Stamp(8))


def test_apply_reports_what_changed_and_what_it_replaced() -> None:
    """A new version, and a key that was unknown."""
    presences = map_of(row_of(ALICE, 5), new=5)
    changes = presences.apply(delta_of(row_of(BOB, 7), row_of(ALICE, 6), new=7), wall_ms=NOW_MS)
    assert list(changes.rows) == [row_of(BOB, 7), row_of(ALICE, 6)]
    assert changes.previous == [None, row_of(ALICE, 5)]
    assert (len(changes), len(changes.lost), len(changes.winners)) == (2, 0, 0)


def test_apply_reports_rows_that_lost_beside_those_that_beat_them() -> None:
    """So that a home can tell the holder that somebody wrote about its session."""
    held = row_of(ALICE, 5, epoch=2)
    presences = map_of(held, row_of(BOB, 6, origin=B))
    late = row_of(ALICE, 9, epoch=1, origin=B)
    changes = presences.apply(delta_of(late, row_of(BOB, 6, origin=B)), wall_ms=NOW_MS)
    assert (list(changes.lost), list(changes.winners)) == ([late], [held])
    assert (len(changes), presences.get(ALICE)) == (0, held)


def test_of_one_key_twice_in_a_batch_the_greatest_wins() -> None:
    """Whatever their order, and one change is reported."""
    first, second = row_of(ALICE, 5), row_of(ALICE, 6)
    for pair in ([first, second], [second, first]):
        presences = new_map()
        changes = presences.apply(delta_of(*pair, row_of(BOB, 7), new=7), wall_ms=NOW_MS)
        assert [row.stamp for row in changes.rows] == [6, 7]
        assert (len(changes.lost), presences.log_position) == (0, 2)


def test_a_tombstone_is_a_row_that_is_not_live() -> None:
    """It is found by its key and counted in the total only."""
    presences = map_of(row_of(ALICE, 5), row_of(BOB, 6), new=6)
    presences.apply(put(presences, ALICE, stamps=[7], status=REMOVED), wall_ms=NOW_MS)
    assert (len(presences), presences.rows_total) == (1, 2)
    row = presences.get(ALICE)
    assert row is not None
    assert not row.live
    assert presences.get(HOME) is None
    assert [row.key for row in presences.live_rows()] == [BOB]
    assert [row.key for row in presences.all_rows()] == [ALICE, BOB]


def test_a_topic_gives_live_rows_or_what_a_vector_lacks() -> None:
    """A snapshot has no tombstones; a difference has, and leaves out what was seen."""
    gone = row_of(BOB, 6, status=REMOVED)
    presences = map_of(row_of(ALICE, 5), gone, row_of(HOME, 7), new=7)
    assert list(presences.topic_rows("room:lobby")) == [row_of(ALICE, 5)]
    seen = VersionVector({A: Stamp(5)})
    assert list(presences.topic_rows("room:lobby", beyond=seen)) == [gone]
    assert len(presences.topic_rows("room:lobby", beyond=presences.vector)) == 0
    assert len(presences.topic_rows("room:other", beyond=VersionVector())) == 0


def test_holders_and_origins_find_their_live_rows() -> None:
    """A row that changes hands leaves its old holder; a removed one leaves both."""
    presences = map_of(row_of(ALICE, 5, holder="g1"), row_of(BOB, 6, holder="g1"))
    presences.apply(
        delta_of(
            row_of(ALICE, 7, origin=B, holder="g2"),
            row_of(BOB, 8, status=REMOVED, holder="g1"),
            row_of(HOME, 9, holder=""),
        ),
        wall_ms=NOW_MS,
    )
    assert len(presences.holder_rows("g1")) == 0
    assert [row.key for row in presences.holder_rows("g2")] == [ALICE]
    assert len(presences.holder_rows("")) == 0
    assert [row.key for row in presences.origin_rows(B)] == [ALICE]
    assert [row.key for row in presences.origin_rows(A)] == [HOME]


def test_the_log_is_read_in_parts() -> None:
    """From position to position, in the order of latest changes."""
    presences = map_of(row_of(ALICE, 5), row_of(BOB, 6), row_of(HOME, 7), new=7)
    presences.apply(put(presences, ALICE, stamps=[8]), wall_ms=NOW_MS)
    nothing = VersionVector()
    rows, position, complete = presences.missing(nothing, limit=2)
    assert ([row.key for row in rows], position, complete) == ([BOB, HOME], 3, False)
    rows, position, complete = presences.missing(nothing, after=position, limit=2)
    assert ([row.key for row in rows], position, complete) == ([ALICE], 4, True)
    assert presences.missing(nothing, after=position) == (Rows.empty(), 4, True)


def test_the_log_leaves_out_what_was_seen() -> None:
    """And a limit counts only what is taken."""
    presences = map_of(row_of(ALICE, 5), row_of(BOB, 6), row_of(HOME, 7, origin=B), new=6)
    rows, position, complete = presences.missing(VersionVector({A: Stamp(6)}), limit=1)
    assert ([row.key for row in rows], position, complete) == ([HOME], 3, True)
    with pytest.raises(CrdtError, match="limit is 0"):
        presences.missing(VersionVector(), limit=0)


def test_a_base_that_was_not_seen_is_refused_and_nothing_changes() -> None:
    """Else a lost delta would count as seen, and its rows would never be sent again."""
    presences = map_of(row_of(ALICE, 5), new=5)
    before = presences.state().encode()
    delta = delta_of(row_of(BOB, 8), base=VersionVector({A: Stamp(7)}), new=8)
    with pytest.raises(BaseNotSeen) as caught:
        presences.apply(delta, wall_ms=NOW_MS)
    assert (caught.value.base, caught.value.seen) == (delta.base, presences.vector)
    assert (presences.state().encode(), presences.log_position) == (before, 1)


FAR = pack_stamp(NOW_MS + 101, 0)
NEAR = pack_stamp(NOW_MS + 100, 9)


@pytest.mark.parametrize(
    "delta_at",
    [
        lambda stamp: delta_of(row_of(ALICE, 5), new=5).with_clock(stamp),
        lambda stamp: delta_of(row_of(ALICE, 5), row_of(BOB, stamp), new=5),
        lambda stamp: delta_of(row_of(ALICE, 5), new=stamp),
    ],
    ids=["clock", "row", "component"],
)
def test_far_future_stamp_refuses_the_whole_delta_and_moves_nothing(
    delta_at: Callable[[Stamp], Delta],
) -> None:
    """In the clock, in any row, or in a component; at the bound it is still taken."""
    presences = new_map()
    with pytest.raises(StampTooFar) as caught:
        presences.apply(delta_at(FAR), wall_ms=NOW_MS)
    assert (caught.value.stamp, caught.value.drift_ms_max) == (FAR, 100)
    assert (presences.rows_total, presences.vector, presences.log_position) == (
        0,
        VersionVector(),
        0,
    )
    assert len(presences.apply(delta_at(NEAR), wall_ms=NOW_MS)) >= 1


def test_pruning_forgets_tombstones_alone() -> None:
    """Counted where there was one; gone from the topic and the log."""
    presences = map_of(row_of(ALICE, 5, status=REMOVED), row_of(BOB, 6), new=6)
    assert presences.prune([ALICE, HOME, ALICE]) == 1
    assert (presences.get(ALICE), presences.rows_total, len(presences)) == (None, 1, 1)
    assert [row.key for row in presences.missing(VersionVector())[0]] == [BOB]
    assert [row.key for row in presences.topic_rows("room:lobby", beyond=VersionVector())] == [BOB]


def test_a_row_pruned_before_its_last_part_is_not_missed_when_that_comes() -> None:
    """The vector moves over what is no longer there."""
    presences = map_of(row_of(ALICE, 5, status=REMOVED), row_of(BOB, 6))
    assert presences.prune([ALICE]) == 1
    assert len(presences.apply(delta_of(new=6), wall_ms=NOW_MS)) == 0
    assert [row.key for row in presences.missing(VersionVector())[0]] == [BOB]


def test_pruning_refuses_a_live_row_and_forgets_nothing() -> None:
    """The tombstones beside it stay, too."""
    presences = map_of(row_of(ALICE, 5, status=REMOVED), row_of(BOB, 6), new=6)
    with pytest.raises(CrdtError, match="live"):
        presences.prune([ALICE, BOB])
    assert presences.rows_total == 2


def test_a_late_message_does_not_bring_back_what_was_pruned() -> None:
    """Rows that the vector covers are skipped before anything else."""
    late = delta_of(row_of(ALICE, 5), new=5)
    presences = map_of(row_of(ALICE, 6, status=REMOVED), new=6)
    presences.prune([ALICE])
    changes = presences.apply(late, wall_ms=NOW_MS)
    assert (len(changes), len(changes.lost), presences.rows_total) == (0, 0, 0)


def test_a_full_state_rebuilds_the_map() -> None:
    """Rows, tombstones and vector; its clock is the greatest stamp in it."""
    presences = map_of(row_of(ALICE, 5), row_of(BOB, 9, origin=B, status=REMOVED), new=6)
    state = presences.state()
    assert (state.base, state.new, state.clock) == (VersionVector(), presences.vector, 9)
    copy = new_map()
    copy.apply(Delta.decode(state.encode()), wall_ms=NOW_MS)
    assert copy.state() == state
    assert copy.digest() == presences.digest()
    assert new_map().state().clock == 0


def test_a_digest_leaves_the_vector_out() -> None:
    """An idle origin's promise does not make states look different; a row does."""
    presences = map_of(row_of(ALICE, 5), new=5)
    digest = presences.digest()
    presences.apply(presences.promise(A, Stamp(9)), wall_ms=NOW_MS)
    assert presences.digest() == digest
    presences.apply(put(presences, BOB, stamps=[10]), wall_ms=NOW_MS)
    assert presences.digest() != digest


def test_a_map_with_a_drift_bound_below_zero_is_refused() -> None:
    """It would refuse its own writes."""
    with pytest.raises(CrdtError, match="drift_ms_max is -1"):
        LWWMap(drift_ms_max=-1)


def test_a_map_contains_what_it_has_a_row_of() -> None:
    """A tombstone is a row, too; what was never heard of is not there."""
    presences = map_of(row_of(ALICE, 1), row_of(BOB, 2, status=REMOVED))
    assert [key in presences for key in (ALICE, BOB, HOME)] == [True, True, False]


def test_a_promise_moves_the_vector_and_one_with_an_unseen_base_is_refused() -> None:
    """A delta without rows takes a short way, under the same rules."""
    presences = map_of(row_of(ALICE, 1), new=1)
    changes = presences.apply(delta_of(base=VersionVector({A: Stamp(1)}), new=5), wall_ms=NOW_MS)
    assert len(changes) == 0
    assert presences.vector == VersionVector({A: Stamp(5)})
    with pytest.raises(BaseNotSeen):
        presences.apply(delta_of(base=VersionVector({A: Stamp(9)}), new=10), wall_ms=NOW_MS)
    far = pack_stamp(NOW_MS + 101, 0)
    with pytest.raises(StampTooFar):
        presences.apply(delta_of(new=far), wall_ms=NOW_MS)
    assert presences.vector == VersionVector({A: Stamp(5)})


def test_all_keys_are_those_of_rows_and_of_tombstones() -> None:
    """Nobody who has many to ask for need ask one by one."""
    assert new_map().keys() == frozenset()
    presences = map_of(row_of(ALICE, 1), row_of(BOB, 2, status=REMOVED))
    assert presences.keys() == {ALICE, BOB}
    assert presences.prune([BOB]) == 1
    assert presences.keys() == {ALICE}


def test_a_promise_on_its_short_way_does_what_apply_does() -> None:
    """It moves the vector and nothing else, and is refused for the same reasons."""
    short, long = map_of(row_of(ALICE, 1), new=1), map_of(row_of(ALICE, 1), new=1)
    promise = delta_of(base=long.vector, new=7)
    packed = short.pack(promise)
    assert len(short.take_promise(packed, wall_ms=NOW_MS)) == 0
    long.apply(promise, wall_ms=NOW_MS)
    assert (short.vector, short.all_rows()) == (long.vector, long.all_rows())
    unseen = short.pack(delta_of(base=VersionVector({B: Stamp(1)}), new=8))
    with pytest.raises(BaseNotSeen):
        short.take_promise(unseen, wall_ms=NOW_MS)
    early = short.pack(delta_of(new=pack_stamp(NOW_MS + 101, 0)))
    with pytest.raises(StampTooFar):
        short.take_promise(early, wall_ms=NOW_MS)
