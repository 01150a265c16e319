"""What a replica knows: two maps, one clock that stamps both, and who was heard."""

from __future__ import annotations

import numpy as np
import pytest

from crdt import (
    Changes,
    HybridClock,
    Origin,
    PackedDelta,
    Row,
    Rows,
    Stamp,
    VersionVector,
    pack_stamp,
)
from crdt.hlc import COUNTER_MAX
from presence_actors.config import Knobs
from presence_actors.core.ids import name_of
from presence_actors.core.limits import DROPPED_ROWS_MAX
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.news import Audience, MergedBatch, news_of
from presence_actors.core.renewal import Renewal
from presence_actors.core.store import PLAIN_ROWS_MAX, ShardStore, horizon_of
from presence_actors.errors import InvariantBroken
from tests.unit.core.building import (
    HASHER,
    NOTHING,
    W0,
    W1,
    W2,
    WALL,
    at,
    end,
    entry,
    intent,
    life,
    packed_of,
    stamp,
    unstamped,
)

HORIZON = horizon_of(Knobs())
DRIFT_MS = HORIZON.drift_ms_max


def store() -> ShardStore:
    """The store of W0, with nothing in it."""
    return ShardStore(W0, horizon=HORIZON, hasher=HASHER)


# --- writing


def test_what_is_written_is_stamped_as_ours_in_order() -> None:
    """The gateway's rows come without a stamp and without an origin."""
    mine = store()
    rows = [unstamped(entry(session=session)) for session in ("s1", "s2")]
    changes = mine.write(PRESENCE, rows, at(100))
    assert changes is not None
    assert [(row.origin, row.stamp) for row in changes.rows] == [
        (Origin(W0), stamp(100, 0)),
        (Origin(W0), stamp(100, 1)),
    ]
    assert mine.vectors == (VersionVector({Origin(W0): stamp(100, 1)}), NOTHING)
    mine.check()


def test_of_rows_of_one_key_the_last_is_written() -> None:
    """One batch has one version of each key, in the place of the last."""
    mine = store()
    early, late = entry(device="phone"), entry(device="web")
    other = entry(session="s2")
    changes = mine.write(PRESENCE, [unstamped(row) for row in (early, other, late)], at(0))
    assert changes is not None
    assert [(row.key[2], row.value) for row in changes.rows] == [
        ("s2", other.value),
        ("s1", late.value),
    ]


def test_nothing_to_write_is_no_change_at_all() -> None:
    """Not even the clock moves."""
    mine = store()
    assert mine.write(PRESENCE, [], at(100)) is None
    assert mine.clock.last == 0


def test_both_maps_are_stamped_by_one_clock() -> None:
    """A stamp names one write of this origin, whichever map it is in."""
    mine = store()
    mine.write(PRESENCE, [unstamped(entry())], at(100))
    mine.write(DURABLE, [unstamped(intent())], at(100))
    origin = Origin(W0)
    assert mine.presence.vector[origin] < mine.durable.vector[origin]


def test_a_clock_far_behind_what_was_seen_does_not_stamp() -> None:
    """Its stamps would be refused by those whose clocks are right; it stamps when it is near."""
    mine = store()
    mine.merge(PRESENCE, packed_of(entry(written=10_000, origin=W1)), at(10_000))
    assert not mine.is_clock_usable(at(10_000, wall=WALL + 7_999))
    row = unstamped(entry(session="s2"))
    assert mine.write(PRESENCE, [row], at(10_001, wall=WALL + 7_999)) is None
    mine.promise(at(10_001, wall=WALL + 7_999))
    assert Origin(W0) not in mine.presence.vector
    assert mine.write(PRESENCE, [row], at(10_002, wall=WALL + 8_001)) is not None


def test_a_clock_at_the_edge_of_the_drift_bound_does_not_stamp() -> None:
    """Its next stamp could carry beyond the bound; a millisecond later there is room."""
    mine = store()
    edge = pack_stamp(WALL + DRIFT_MS, COUNTER_MAX)
    mine.merge(PRESENCE, packed_of(clock=edge), at(0))
    rows = [unstamped(entry(session=session)) for session in ("s1", "s2")]
    assert not mine.is_clock_usable(at(0))
    assert mine.write(PRESENCE, rows, at(0)) is None
    assert mine.write(PRESENCE, rows, at(1)) is not None
    mine.check()


# --- merging


def test_a_merged_delta_moves_vector_and_clock() -> None:
    """Whatever is stamped next comes after what was seen."""
    mine = store()
    theirs = entry(origin=W1, written=500)
    changes = mine.merge(PRESENCE, packed_of(theirs), at(0))
    assert isinstance(changes, Changes)
    assert list(changes.rows) == [theirs]
    assert mine.clock.last == stamp(500)
    mine.check()


def test_a_delta_on_a_base_that_was_not_seen_changes_nothing() -> None:
    """The peer is to send from another base; it is no fault of its clock."""
    mine = store()
    base = VersionVector({Origin(W1): stamp(3)})
    assert mine.merge(PRESENCE, packed_of(entry(origin=W1, written=4), base=base), at(10)) is None
    assert len(mine.presence) == 0
    assert mine.deltas_refused == 0


def test_a_packed_of_a_clock_too_far_ahead_is_refused_and_counted() -> None:
    """One clock far ahead would win every race, and drag all others along."""
    mine = store()
    ahead = pack_stamp(WALL + DRIFT_MS + 1, 0)
    assert mine.merge(PRESENCE, packed_of(entry(origin=W1), clock=ahead), at(0)) is None
    assert len(mine.presence) == 0
    assert mine.clock.last == 0
    assert mine.deltas_refused == 1


# --- who is there


def test_origins_are_those_of_live_entries_only() -> None:
    """Sorted; with the end of its last entry an origin goes."""
    mine = store()
    first, second = entry(origin=W2, session="s1"), entry(origin=W1, session="s2")
    mine.merge(PRESENCE, packed_of(first, second), at(10))
    assert mine.origins() == [Origin(W1), Origin(W2)]
    mine.merge(PRESENCE, packed_of(end(second, written=2)), at(10))
    assert mine.origins() == [Origin(W2)]
    mine.check()


def test_an_entry_that_another_origin_takes_over_counts_for_that_one() -> None:
    """A session that moved has one home."""
    mine = store()
    mine.merge(PRESENCE, packed_of(entry(origin=W1)), at(10))
    mine.merge(PRESENCE, packed_of(entry(origin=W2, written=2, resume=1)), at(10))
    assert mine.origins() == [Origin(W2)]


def test_silent_origins_come_with_their_last_word_and_without_ourselves() -> None:
    """A peer counts even without an entry here: it may have taken some in since."""
    mine = store()
    mine.merge(PRESENCE, packed_of(entry(origin=W1, written=100)), at(100))
    mine.write(PRESENCE, [unstamped(entry(session="s2"))], at(100))
    assert mine.silent_origins([W2], at(3_099), after_ms=3_000) == {}
    assert mine.silent_origins([W2], at(3_100), after_ms=3_000) == {W1: WALL + 100}
    assert mine.silent_origins([W2], at(6_099), after_ms=3_000) == {W1: WALL + 100, W2: 0}


def test_an_old_life_of_a_peer_is_not_waited_for_once_a_new_one_is_heard_through_others() -> None:
    """Between zones only bridges speak, so the others never hear from a new life itself.

    Found by seed 102 of `presence sim`, 2026-11-24: rooms stayed `partial` for good.
    """
    mine = store()
    old, new = life("a/w2"), life("a/w2", 9)
    mine.silent_origins([old], at(0), after_ms=3_000)
    assert mine.silent_origins([old], at(4_000), after_ms=3_000) == {old: 0}
    mine.merge(PRESENCE, packed_of(entry(origin=new, written=4_000)), at(4_000))
    assert mine.silent_origins([old], at(4_000), after_ms=3_000) == {}


def test_a_promise_makes_silence_tell() -> None:
    """An idle origin is heard by its promises: rows or not, in both maps."""
    theirs = ShardStore(W1, horizon=HORIZON, hasher=HASHER)
    theirs.promise(at(5_000))
    mine = store()
    mine.merge(PRESENCE, packed_of(entry(origin=W1, written=100)), at(100))
    assert mine.is_silent(Origin(W1), at(5_000), after_ms=3_000)
    mine.merge(PRESENCE, theirs.presence.pack(theirs.presence.state()), at(5_000))
    assert not mine.is_silent(Origin(W1), at(5_000), after_ms=3_000)
    assert theirs.durable.vector == theirs.presence.vector


def test_the_age_of_a_word_is_counted_by_wall_clocks_and_never_negative() -> None:
    """Nobody was heard: no age. A word from a clock ahead of ours has age 0."""
    mine = store()
    assert mine.word_age_ms(name_of(W1), at(0)) is None
    mine.merge(PRESENCE, packed_of(entry(origin=W1, written=100)), at(0))
    assert mine.word_age_ms(name_of(W1), at(0)) == 0
    assert mine.word_age_ms(name_of(W1), at(350)) == 250


# --- invariants


def test_a_count_that_has_gone_wrong_is_found() -> None:
    """Origins would be asked for that have nothing, or not asked for."""
    mine = store()
    mine.write(PRESENCE, [unstamped(entry())], at(0))
    mine._live_by_origin["a/w9/1"] += 1
    with pytest.raises(InvariantBroken, match="live rows by origin"):
        mine.check()


def test_a_clock_behind_its_own_stamps_is_found() -> None:
    """It would give out a stamp twice."""
    mine = store()
    mine.write(PRESENCE, [unstamped(entry())], at(0))
    mine.clock = HybridClock(drift_ms_max=DRIFT_MS, last=Stamp(1))
    with pytest.raises(InvariantBroken, match="behind its own stamps"):
        mine.check()


# --- the horizon

HOUR = HORIZON.horizon_ms


def test_an_end_is_forgotten_after_its_retention_and_what_lives_is_not() -> None:
    """A little before it is still there."""
    mine = store()
    mine.write(PRESENCE, [unstamped(entry()), unstamped(entry(session="s2"))], at(0))
    mine.write(PRESENCE, [unstamped(end(entry(), written=1))], at(1))
    mine.forget(at(HORIZON.retention_ms), peers=[], retired=[])
    assert mine.presence.rows_total == 2
    mine.forget(at(HORIZON.retention_ms + 2), peers=[], retired=[])
    assert (mine.presence.rows_total, len(mine.presence)) == (1, 1)
    mine.check()


def test_of_an_origin_that_was_not_heard_within_the_horizon_nothing_is_told() -> None:
    """Its rows stay; our own component always counts."""
    mine = store()
    mine.write(PRESENCE, [unstamped(entry(session="s2"))], at(0))
    mine.merge(PRESENCE, packed_of(entry(origin=W1, written=100)), at(100))
    assert mine.believed(PRESENCE, at(99 + HOUR)) == mine.presence.vector
    assert list(mine.believed(PRESENCE, at(100 + HOUR)).to_wire()) == [W0]
    assert len(mine.presence) == 2


def test_what_builds_on_an_origin_beyond_the_horizon_is_refused() -> None:
    """Ends between may be forgotten; nothing changes."""
    mine = store()
    row = entry(origin=W1, written=100)
    mine.merge(PRESENCE, packed_of(row), at(100))
    late = packed_of(entry(origin=W1, written=101 + HOUR), base=mine.presence.vector)
    assert mine.merge(PRESENCE, late, at(101 + HOUR)) is None
    assert mine.presence.get(row.key) == row


def test_rows_that_went_with_an_origin_beyond_the_horizon_are_replaced_by_those_that_came() -> None:
    """Whoever has heard it tells all of it; what is missing has ended."""
    mine = store()
    mine.merge(PRESENCE, packed_of(entry(origin=W1, written=100)), at(100))
    new = packed_of(entry("bob", origin=W1, written=101 + HOUR))
    changes = mine.merge(PRESENCE, new, at(101 + HOUR), told=new.new)
    assert isinstance(changes, Changes)
    assert [row.key[1] for row in changes.dropped] == ["alice"]
    assert [row.key[1] for row in mine.presence.live_rows()] == ["bob"]
    mine.check()


def test_a_dead_life_goes_with_its_rows_and_is_not_learnt_again() -> None:
    """Once another life of its worker was heard, and it was not for the horizon."""
    mine = store()
    old = packed_of(entry(origin=W1, written=100))
    mine.merge(PRESENCE, old, at(100))
    late = at(200 + HOUR)
    assert len(mine.forget(late, peers=[], retired=[])[0]) == 0
    newer = life(name_of(W1), 9)
    mine.merge(PRESENCE, packed_of(entry("bob", origin=newer, written=200 + HOUR)), late)
    gone, more = mine.forget(late, peers=[], retired=[])
    assert ([row.key[1] for row in gone], more) == (["alice"], False)
    assert Origin(W1) not in mine.presence.vector
    mine.merge(PRESENCE, old, late, told=old.new)
    assert Origin(W1) not in mine.presence.vector
    assert [row.key[1] for row in mine.presence.live_rows()] == ["bob"]
    mine.check()


def test_so_many_ends_go_in_one_step_and_the_rest_in_the_next() -> None:
    """A step is short, however much there is to forget."""
    mine = store()
    count = DROPPED_ROWS_MAX + 10
    rows = [entry(session=f"s{number}") for number in range(count)]
    mine.write(PRESENCE, [unstamped(row) for row in rows], at(0))
    mine.write(PRESENCE, [unstamped(end(row, written=1)) for row in rows], at(1))
    late = at(HORIZON.retention_ms + 5_000)
    assert mine.forget(late, peers=[], retired=[])[1]
    assert mine.presence.rows_total == 10
    assert not mine.forget(late, peers=[], retired=[])[1]
    assert mine.presence.rows_total == 0


def test_choices_are_never_forgotten() -> None:
    """The durable map has no horizon, whoever wrote it."""
    mine = store()
    mine.merge(DURABLE, packed_of(intent()), at(0))
    for number in (1, 2):
        mine.forget(at(number * 10 * HOUR), peers=[], retired=[])
    assert len(mine.durable) == 1


# --- origins of which only rows are held


def part_of(*rows: Row) -> PackedDelta:
    """A part that claims nothing yet: its last one may never come."""
    return packed_of(*rows, new=NOTHING)


HERS = Origin(W1)
OLD_ROW, NEW_ROW = entry("alice", origin=W1, written=0), entry("bob", origin=W1, written=5)


def with_a_part() -> ShardStore:
    """It has the first part of what a peer had that heard W1 at 100."""
    mine = store()
    mine.merge(PRESENCE, part_of(OLD_ROW), at(100), told=VersionVector({HERS: stamp(100)}))
    return mine


def test_an_origin_without_a_component_counts_from_what_its_first_teller_had_heard() -> None:
    """Later parts bring the first rows no news; and once it is heard, it is as any other."""
    mine = with_a_part()
    assert mine.bare_origins() == [HERS]
    mine.merge(PRESENCE, part_of(NEW_ROW), at(900), told=VersionVector({HERS: stamp(900)}))
    assert mine.beyond(PRESENCE, at(99 + HOUR)) == []
    assert mine.beyond(PRESENCE, at(100 + HOUR)) == [HERS]
    mine.merge(PRESENCE, packed_of(NEW_ROW, new=VersionVector({HERS: stamp(1_000)})), at(1_000))
    assert (mine.bare_origins(), mine.beyond(PRESENCE, at(999 + HOUR))) == ([], [])


def test_what_a_gateway_shows_of_an_origin_counts_from_its_stamp() -> None:
    """Nobody has said that he heard it later."""
    mine = store()
    mine.witness(PRESENCE, Rows.of([NEW_ROW]), at(50))
    assert mine.beyond(PRESENCE, at(4 + HOUR)) == []
    assert mine.beyond(PRESENCE, at(5 + HOUR)) == [HERS]


def test_rows_without_a_component_are_replaced_after_the_horizon_and_not_before() -> None:
    """Ends that came meanwhile are remembered by whoever tells the rest for that long."""
    for late, left in ((99 + HOUR, ["alice", "bob"]), (100 + HOUR, ["bob"])):
        mine = with_a_part()
        new = packed_of(NEW_ROW, new=VersionVector({HERS: stamp(late)}))
        changes = mine.merge(PRESENCE, new, at(late), told=new.new)
        assert isinstance(changes, Changes)
        assert [row.key[1] for row in mine.presence.live_rows()] == left
        mine.check()


def test_a_first_part_of_what_is_to_be_replaced_drops_nothing() -> None:
    """What is missing from it may come with the next one."""
    mine = with_a_part()
    late = 100 + HOUR
    told = VersionVector({HERS: stamp(late)})
    changes = mine.merge(PRESENCE, part_of(NEW_ROW), at(late), told=told, renewal=Renewal())
    assert isinstance(changes, Changes)
    assert len(changes.dropped) == 0
    assert [row.key[1] for row in mine.presence.live_rows()] == ["alice", "bob"]


@pytest.mark.parametrize("per_part", [5, 40])
def test_who_was_away_for_longer_than_the_horizon_gets_all_in_parts_few_or_many_rows_each(
    per_part: int,
) -> None:
    """What ended meanwhile goes with the last part and is told as gone, and the counts are right.

    W0 was cut off from W1 with 120 people there. A hundred and ten of them left, and ten came, and
    the ends are forgotten. W2 has heard all of it.
    """
    mine = store()
    people = [entry(f"user{number}", origin=W1, written=number) for number in range(120)]
    mine.merge(PRESENCE, packed_of(*people), at(200))
    late = at(200 + HOUR)
    assert mine.beyond(PRESENCE, late) == [HERS]
    theirs = [
        *people[:10],
        *(entry(f"guest{n}", origin=W1, written=300 + n) for n in range(100)),
        # Somebody went on at another worker, with what is held here still in his name.
        entry("user50", origin=W2, written=500, resume=1),
    ]
    told = VersionVector({HERS: stamp(HOUR), Origin(W2): stamp(HOUR)})
    renewal = Renewal()
    gone: list[str] = []
    for after in range(0, len(theirs), per_part):
        rows = theirs[after : after + per_part]
        is_last = after + per_part >= len(theirs)
        part = packed_of(*rows, new=told if is_last else NOTHING)
        for _ in range(2):
            stretch = (after, after + len(rows))
            changes = mine.merge(PRESENCE, part, late, told=told, stretch=stretch, renewal=renewal)
            assert isinstance(changes, MergedBatch if len(rows) > PLAIN_ROWS_MAX else Changes)
            news = news_of(changes, Audience(np.empty(0, dtype=np.uint64), frozenset()))
            gone += [row.key[1] for row in news.gone]
            assert is_last or not gone
            mine.check()
    assert sorted(gone) == sorted(row.key[1] for row in people[10:] if row.key[1] != "user50")
    assert sorted(mine.presence.live_rows()) == sorted(theirs)
    assert mine.origins() == [HERS, Origin(W2)]


def test_a_dead_origin_without_a_component_is_forgotten_after_the_horizon() -> None:
    """Its worker and its gateway died before anybody told the rest."""
    mine = with_a_part()
    newer = packed_of(entry("bob", origin=life(name_of(W1), 9), written=99 + HOUR))
    mine.merge(PRESENCE, newer, at(99 + HOUR))
    assert len(mine.forget(at(99 + HOUR), peers=[], retired=[])[0]) == 0
    gone, _ = mine.forget(at(100 + HOUR), peers=[], retired=[])
    assert [row.key[1] for row in gone] == ["alice"]
    assert mine.bare_origins() == []
    mine.check()


def test_the_last_word_of_an_origin_without_a_component_is_that_of_whoever_told_of_it() -> None:
    """Not the beginning of all clocks."""
    mine = with_a_part()
    assert mine.silent_origins([], at(9_000), after_ms=1_000) == {W1: WALL + 100}
