"""Rules of the map, each with the shortest history that goes wrong without it."""

from itertools import permutations

import pytest

from crdt import (
    REMOVED,
    BaseNotSeen,
    Delta,
    HybridClock,
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


OTHER_OF_A, OTHER_OF_B = write(A, 1, key=OTHER), write(B, 1, key=OTHER)


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


def test_a_promise_after_a_lost_delta_covers_nothing_either() -> None:
    """An idle origin advances by deltas without rows, and they have a base like any other.

    ::

        A  writes KEY --(lost)--    is idle, from 1 to 9 --> B: covers 1, never received
    """
    receiver = new_map()
    with pytest.raises(BaseNotSeen, match=r"a up to 1 \(seen 0\)"):
        receiver.apply(delta(vector(a=1), vector(a=9)), wall_ms=WALL_MS)
    assert receiver.vector == NOTHING


@pytest.mark.parametrize("every", [2, 3, 5, 7])
@pytest.mark.parametrize("lost", range(7))
def test_the_loss_of_one_delta_of_every_few_claims_nothing(every: int, lost: int) -> None:
    """Wherever one of every few deltas is lost, the vector covers only what is there.

    ::

        a  --1--2--X--4--5--X--7-->   what follows a loss is refused, and comes with the repair
    """
    rows = [write(A, n + 1, key=("room:lobby", f"user{n}", "s")) for n in range(14)]
    presences = new_map()
    refused = 0
    for number, row in enumerate(rows):
        if number % every == lost % every:
            continue
        sent = delta(vector(a=number), vector(a=number + 1), row)
        try:
            presences.apply(sent, wall_ms=WALL_MS)
        except BaseNotSeen:
            refused += 1
        assert all(
            presences.get(other.key) == other
            for other in rows
            if other.stamp <= presences.vector[A]
        )
    assert refused
    seen = int(presences.vector[A])
    repair = delta(vector(a=seen), vector(a=len(rows)), *rows[seen:])
    presences.apply(repair, wall_ms=WALL_MS)
    assert all(presences.get(row.key) == row for row in rows)


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


def test_rule_1_a_tie_decided_by_local_numbers_would_differ_between_replicas() -> None:
    """Replicas number origins in the order in which they met them; names are the same everywhere.

    ::

        x  hears of b, then of a: numbers b 1, a 2
        y  hears of a, then of b: numbers a 1, b 2
    """
    tie = [write(A, 5), write(B, 5)]
    winners, numbers = set(), set()
    for arrival in ([OTHER_OF_B, OTHER_OF_A], [OTHER_OF_A, OTHER_OF_B]):
        presences = new_map()
        for row in [*arrival, *tie]:
            presences.apply(delta(NOTHING, NOTHING, row), wall_ms=WALL_MS)
        numbers.add(tuple(presences.columns.entries.origins.find(origin) for origin in (A, B)))
        winners.add(presences.get(KEY))
    assert len(numbers) == 2
    assert winners == {tie[1]}


def test_rule_2_a_delta_beyond_what_was_seen_would_hide_the_lost_one() -> None:
    """In columns as by rows: the base of the second one was never reached."""
    second = delta(vector(a=1), vector(a=2), write(A, 2, key=OTHER))
    presences = new_map()
    with pytest.raises(BaseNotSeen):
        presences.columns.apply(presences.pack(second), wall_ms=WALL_MS)
    assert (presences.vector, presences.rows_total) == (NOTHING, 0)


@pytest.mark.parametrize("observes", [True, False])
def test_rule_3_a_clock_that_no_message_pushes_writes_below_a_forgotten_tombstone(
    *, observes: bool
) -> None:
    """Each message carries the sender's clock and moves the receiver's, rows or not.

    ::

        r0  --write, remove--> r1 has both; r0 forgets the tombstone
        r0  --full state (no rows)--> r2, fresh, its clock 400 ms behind
        r2  --write of the same key--> r0 takes it, r1 has a greater tombstone: they differ
    """
    gone = write(A, pack_stamp(900, 0), status=REMOVED)
    r0, r1, r2 = new_map(), new_map(), new_map()
    for replica in (r0, r1):
        replica.apply(delta(NOTHING, VersionVector({A: gone.stamp}), gone), wall_ms=WALL_MS)
    r0.columns.drop_tombstones(pack_stamp(901, 0))
    state = r0.state().with_clock(gone.stamp)
    clock = HybridClock(drift_ms_max=1000)
    r2.apply(state, wall_ms=500)
    if observes:
        clock.observe(state.clock, 500)
    written = write(B, clock.tick(500))
    news = delta(NOTHING, VersionVector({B: written.stamp}), written)
    for replica in (r0, r1):
        replica.apply(news, wall_ms=WALL_MS)
    assert r0.vector == r1.vector
    assert (r0.get(KEY) == r1.get(KEY)) == observes


def test_rule_4_a_late_message_would_bring_back_what_was_removed_and_forgotten() -> None:
    """Rows that the vector covers are skipped before anything else, in columns, too."""
    presences = new_map()
    late = delta(NOTHING, vector(a=1), write(A, 1))
    presences.apply(late, wall_ms=WALL_MS)
    presences.apply(delta(vector(a=1), vector(a=2), write(A, 2, status=REMOVED)), wall_ms=WALL_MS)
    assert presences.columns.drop_tombstones(Stamp(3)) == 1
    presences.apply(late, wall_ms=WALL_MS)
    presences.columns.apply(presences.pack(late), wall_ms=WALL_MS)
    assert presences.get(KEY) is None


def test_rule_5_a_vector_that_moved_with_a_first_part_would_claim_what_died_with_the_sender() -> (
    None
):
    """Parts carry rows above the vector; only the last one moves it.

    ::

        sender    --part 1 of 2--> receiver        dies
        receiver  claims nothing of it: a third one, who has all, sends both rows
    """
    sender, receiver = new_map(), new_map()
    rows = [write(A, 1), write(A, 2, key=OTHER)]
    sender.apply(delta(NOTHING, vector(a=2), *rows), wall_ms=WALL_MS)
    part, reached, complete = sender.missing(receiver.vector, limit=1)
    assert (len(part), complete) == (1, False)
    receiver.apply(Delta(NOTHING, NOTHING, part, Stamp(0)), wall_ms=WALL_MS)
    assert (receiver.vector, receiver.columns.uncovered_count()) == (NOTHING, 1)
    rest, _, _ = sender.missing(receiver.vector)
    assert list(rest) == rows
    # Had the vector moved with the first part, nothing would ever be sent again.
    assert len(sender.missing(vector(a=2), after=reached)[0]) == 0


@pytest.mark.parametrize("sends_what_is_above", [False, True])
def test_a_target_fixed_when_the_parts_began_would_claim_what_was_never_sent(
    *, sends_what_is_above: bool
) -> None:
    """Of a row that changes while parts are under way, the old version is gone for ever.

    So the last part claims what has been seen when it is sent, not when the first one was.

    ::

        sender    alice@1 bob@2   --part 1: alice-->     bob@3     --the rest, up to 2-->
        receiver  claims 1 and 2; another one that claims just those has bob@2: they differ
    """
    sender, receiver, other = new_map(), new_map(), new_map()
    rows = [write(A, 1), write(A, 2, key=OTHER)]
    for replica in (sender, other):
        replica.apply(delta(NOTHING, vector(a=2), *rows), wall_ms=WALL_MS)
    target = sender.vector
    first, reached, _ = sender.missing(receiver.vector, limit=1)
    receiver.apply(Delta(NOTHING, NOTHING, first, Stamp(0)), wall_ms=WALL_MS)
    sender.apply(delta(vector(a=2), vector(a=3), write(A, 3, key=OTHER)), wall_ms=WALL_MS)
    rest, _, complete = sender.missing(receiver.vector, after=reached)
    assert complete

    fixed = [row for row in rest if sends_what_is_above or target.covers(row.origin, row.stamp)]
    wrong, right = new_map(), receiver
    wrong.apply(Delta(NOTHING, target, Rows.of([*first, *fixed]), Stamp(0)), wall_ms=WALL_MS)
    assert wrong.vector == other.vector
    covered = [row for row in wrong.all_rows() if target.covers(row.origin, row.stamp)]
    assert covered == rows[:1], "equal vectors, and not the same rows below them"

    right.apply(Delta(NOTHING, sender.vector, rest, Stamp(0)), wall_ms=WALL_MS)
    assert right.vector == sender.vector
    assert list(right.all_rows()) == list(sender.all_rows())


def test_rule_6_a_restart_under_the_old_name_would_write_what_all_skip() -> None:
    """A start without memory is a new origin: its first stamps are nobody's."""
    peer = new_map()
    peer.apply(delta(NOTHING, vector(a=5), write(A, 5)), wall_ms=WALL_MS)
    again = write(A, 3, key=OTHER)
    assert len(peer.apply(delta(NOTHING, vector(a=3), again), wall_ms=WALL_MS)) == 0
    fresh = again._replace(origin=Origin("a/2"))
    new = VersionVector({fresh.origin: fresh.stamp})
    assert len(peer.apply(delta(NOTHING, new, fresh), wall_ms=WALL_MS)) == 1
