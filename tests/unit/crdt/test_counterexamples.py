"""Rules of the map, each with the shortest history that goes wrong without it."""

from itertools import permutations

import pytest

from crdt import (
    REMOVED,
    BaseNotSeen,
    Delta,
    Key,
    LWWMap,
    Order,
    Origin,
    Row,
    Rows,
    Stamp,
    VersionVector,
    pack_epoch,
    pack_stamp,
)

A, B, C = Origin("a"), Origin("b"), Origin("c")
KEY: Key = ("room:lobby", "alice", "s1")
OTHER: Key = ("room:lobby", "bob", "s2")
WALL_MS = 1000
NOTHING = VersionVector()


def new_map() -> LWWMap:
    """An empty map that refuses no stamp used here."""
    return LWWMap(drift_ms_max=1000)


def vector(**components: int) -> VersionVector:
    """A vector by the names of its origins."""
    return VersionVector({Origin(name): Stamp(stamp) for name, stamp in components.items()})


def write(
    origin: Origin, stamp: int, *, key: Key = KEY, epoch: int = 0, holder: str = "", status: int = 1
) -> Row:
    """One write."""
    return Row(key, Stamp(stamp), origin, epoch, status, holder, b"")


def delta(base: VersionVector, new: VersionVector, *rows: Row) -> Delta:
    """A delta; its clock says nothing."""
    return Delta(base, new, Rows.of(rows), Stamp(0))


def winners_in_every_order(rows: list[Row]) -> set[Row | None]:
    """Which rows remain when these arrive one by one, over all orders of arrival."""
    winners = set()
    for arrival in permutations(rows):
        presences = new_map()
        for row in arrival:
            presences.apply(delta(NOTHING, NOTHING, row), wall_ms=WALL_MS)
        winners.add(presences.get(KEY))
    return winners


def test_vector_dominance_else_wall_clock_is_not_associative() -> None:
    """Two newer-by-vector-else-by-wall rules make a cycle; (epoch, stamp, origin) makes none.

    ::

        A  --wall 5: writes a
        B      sees a; slow clock, wall 3: writes b      so b beats a by its vector
        C      sees neither; wall 4: writes c            so c beats b, and a beats c, by the wall
    """
    seen_by = {"a": vector(a=1), "b": vector(a=1, b=1), "c": vector(c=1)}
    wall_of = {"a": 5, "b": 3, "c": 4}

    def newer(left: str, right: str) -> str:
        order = seen_by[left].compare(seen_by[right])
        if order is Order.CONCURRENT:
            return max(left, right, key=lambda name: wall_of[name])
        return left if order is Order.AFTER else right

    assert (newer("a", "b"), newer("b", "c"), newer("c", "a")) == ("b", "c", "a")
    assert newer(newer("a", "b"), "c") == "c"
    assert newer("a", newer("b", "c")) == "a"

    # The hybrid clock of B has seen a, so b is stamped after a though B's wall clock is behind.
    a = write(A, pack_stamp(5, 0))
    b = write(B, pack_stamp(5, 1))
    c = write(C, pack_stamp(4, 0))
    assert winners_in_every_order([a, b, c]) == {b}


def test_a_tie_is_decided_by_the_name_of_the_origin() -> None:
    """Equal epochs and stamps: the greater origin wins everywhere, whoever came first."""
    tied = [write(A, 7), write(C, 7), write(B, 7)]
    assert winners_in_every_order(tied) == {write(C, 7)}


def test_one_integer_as_epoch_lets_a_cut_off_holder_beat_the_client() -> None:
    """A cut-off old holder that moved often does not beat the client's new one.

    ::

        old gateway  holds s1 --(cut off)-- moves 5 times: epochs 1, 2, 3, 4, 5
        client       resumes at the new gateway; knows of no move: epoch 1
        heal: 5 > 1, so the old gateway, which has no client any more, would have the session
    """
    moves = 5
    assert moves > 0 + 1
    old = write(A, 900, epoch=pack_epoch(0, moves), holder="old")
    new = write(B, 100, epoch=pack_epoch(1, 0), holder="new")
    assert winners_in_every_order([old, new]) == {new}


def test_a_truncated_delta_with_a_lowered_vector_claims_what_it_never_sent() -> None:
    """Why a large delta goes in parts that move no vector before the last.

    ::

        A  writes KEY at 1, OTHER at 2, KEY at 3         C  has heard of 1 only
        A  --rows up to 2, vector lowered to 2--> B      (KEY at 3 did not fit; A ends)
        C  tells B what B lacks: nothing, since B covers 1.  B has no KEY, for ever.
    """
    sender, third = new_map(), new_map()
    first = delta(NOTHING, vector(a=1), write(A, 1))
    sender.apply(first, wall_ms=WALL_MS)
    third.apply(first, wall_ms=WALL_MS)
    sender.apply(
        delta(vector(a=1), vector(a=3), write(A, 2, key=OTHER), write(A, 3)), wall_ms=WALL_MS
    )

    lowered = new_map()
    part = [row for row in sender.all_rows() if row.stamp <= 2]
    lowered.apply(delta(NOTHING, vector(a=2), *part), wall_ms=WALL_MS)
    assert len(third.missing(lowered.vector)[0]) == 0
    assert lowered.get(KEY) is None

    in_parts = new_map()
    rows, _, complete = sender.missing(NOTHING, limit=1)
    assert not complete
    in_parts.apply(Delta(NOTHING, NOTHING, rows, Stamp(0)), wall_ms=WALL_MS)
    assert in_parts.get(OTHER) == write(A, 2, key=OTHER)
    in_parts.apply(
        delta(in_parts.vector, third.vector, *third.missing(in_parts.vector)[0]), wall_ms=WALL_MS
    )
    assert in_parts.get(KEY) == write(A, 1)


def test_a_lost_delta_is_not_covered_by_the_next() -> None:
    """A delta whose base was not seen is refused.

    ::

        A  writes KEY --(lost)--    writes OTHER, from 1 to 2 --> B: covers 1, never received
    """
    receiver = new_map()
    second = delta(vector(a=1), vector(a=2), write(A, 2, key=OTHER))
    with pytest.raises(BaseNotSeen, match=r"a up to 1 \(seen 0\)"):
        receiver.apply(second, wall_ms=WALL_MS)
    assert (receiver.rows_total, receiver.vector) == (0, NOTHING)


def test_a_row_that_comes_to_be_covered_takes_a_new_place_in_the_log() -> None:
    """Else a peer that got to the same vector by another way is told that it has seen the row.

    ::

        A  has X at 2, stray: the first part of something that C wrote
        A  --all of the log up to p1--> (lost);  B reaches A's vector through others
        A  gets the last part: its vector covers X, and no row has changed
        A  --what changed after p1--> B: covers X, and must have X in it
    """
    sender, receiver = new_map(), new_map()
    own = delta(NOTHING, vector(a=1), write(A, 1, key=OTHER))
    stray = write(C, 2)
    sender.apply(own, wall_ms=WALL_MS)
    sender.apply(delta(NOTHING, NOTHING, stray), wall_ms=WALL_MS)
    base, position = sender.vector, sender.log_position
    receiver.apply(own, wall_ms=WALL_MS)
    assert receiver.vector.dominates(base)

    changes = sender.apply(delta(NOTHING, vector(c=2)), wall_ms=WALL_MS)
    assert len(changes) == 0
    rows, _, _ = sender.missing(base, after=position)
    receiver.apply(Delta(base, sender.vector, rows, Stamp(0)), wall_ms=WALL_MS)
    assert receiver.get(KEY) == stray
    assert receiver.digest() == sender.digest()


def test_a_removal_beats_the_write_that_it_saw_whatever_the_clocks() -> None:
    """The remover's wall clock is behind, its stamp is not."""
    written = write(A, pack_stamp(500, 0))
    removed = write(B, pack_stamp(500, 1), status=REMOVED)
    assert winners_in_every_order([written, removed]) == {removed}
