"""The horizon: what may be forgotten, and the shortest histories that go wrong with less."""

from dataclasses import dataclass, field, replace

import pytest

from crdt import REMOVED, CrdtError, Delta, Key, LWWMap, Origin, Row, Rows, Stamp, VersionVector
from crdt.hlc import pack_stamp, stamp_wall
from crdt.horizon import HeardOrigins, Horizon

H = Origin("home/w/1")
KEY: Key = ("room:lobby", "alice", "s1")
OTHER: Key = ("room:lobby", "bob", "s2")
NOTHING = VersionVector()
HORIZON = Horizon(
    horizon_ms=1000,
    client_lease_ms=100,
    gateway_lease_ms=10,
    graces_ms=50,
    unreachable_ms_max=200,
    drift_ms_max=20,
    margin_ms=10,
)


def at(wall_ms: int) -> Stamp:
    """The first stamp of a millisecond."""
    return pack_stamp(wall_ms, 0)


def row(key: Key, wall_ms: int, *, status: int = 1, origin: Origin = H, epoch: int = 0) -> Row:
    """A write at a time."""
    return Row(key, at(wall_ms), origin, epoch, status, "g", b"")


@dataclass
class Replica:
    """A map, and when it heard whom; one clock for everything."""

    retention_ms: int = HORIZON.retention_ms
    map: LWWMap = field(default_factory=lambda: LWWMap(drift_ms_max=20))
    heard: HeardOrigins = field(default_factory=lambda: HeardOrigins(HORIZON))

    def take(self, delta: Delta, now: int, whole: tuple[Origin, ...] = ()) -> None:
        """Merge, and note who was heard."""
        before = self.map.vector
        self.map.apply(delta, wall_ms=now, whole=whole)
        self.heard.note(before, self.map.vector, instant_ms=now, wall_ms=now)

    def hear(self, *rows: Row, now: int) -> None:
        """The home writes, or only says that it lives."""
        self.take(Delta(NOTHING, VersionVector({H: at(now)}), Rows.of(rows), at(now)), now)

    def believed(self, now: int) -> VersionVector:
        """What counts of the vector."""
        return self.heard.believed(self.map.vector, instant_ms=now)

    def sync(self, sender: "Replica", now: int) -> None:
        """Take from a peer what it lacks, origins beyond the horizon as a whole."""
        base, new = self.believed(now), sender.believed(now)
        rows, _, _ = sender.map.missing(base)
        spoken_for = [place for place, origin in enumerate(rows.origins) if new[origin]]
        delta = Delta(base, new, rows.take(spoken_for), at(now))
        whole = self.heard.whole(base, new, self.map.vector, instant_ms=now)
        self.take(delta, now, tuple(whole))

    def forget(self, now: int) -> None:
        """Drop tombstones that are old enough."""
        self.map.columns.drop_tombstones(at(max(0, now - self.retention_ms)))


def test_a_horizon_shorter_than_what_a_home_keeps_alive_is_refused() -> None:
    """The safety inequality; at its bound it is taken."""
    spans = {
        "client_lease_ms": 100,
        "gateway_lease_ms": 10,
        "graces_ms": 50,
        "unreachable_ms_max": 200,
        "drift_ms_max": 20,
        "margin_ms": 10,
    }
    assert Horizon(horizon_ms=410, **spans).retention_ms == 410 + 400
    with pytest.raises(CrdtError, match="409 ms are less than the 410 ms"):
        Horizon(horizon_ms=409, **spans)
    with pytest.raises(CrdtError, match="graces_ms: it is -1"):
        Horizon(horizon_ms=1000, **(spans | {"graces_ms": -1}))


@pytest.mark.parametrize("kept_ms", [HORIZON.retention_ms, HORIZON.horizon_ms // 2])
def test_a_tombstone_dropped_before_a_third_replica_speaks_for_its_home_leaves_a_ghost(
    kept_ms: int,
) -> None:
    """With less than the retention, a row that ended comes back and stays for ever.

    ::

        home  --write at 10--> x, y          (x is cut off)
        home  --remove at 20--> y            y drops the tombstone after ``kept_ms``
        x     --within its horizon--> z, fresh: the row
        y     --beyond the component that z got--> z: the tombstone, if it is still there
    """
    x, y, z = Replica(), Replica(kept_ms), Replica()
    for replica in (x, y):
        replica.hear(row(KEY, 10), now=10)
    y.hear(row(KEY, 20, status=REMOVED), now=20)
    now = 10 + HORIZON.horizon_ms - 1
    for moment in (600, now):
        y.hear(now=moment)
        y.forget(moment)
    z.sync(x, now)
    assert z.map.get(KEY) == row(KEY, 10)
    z.sync(y, now)
    ghost = z.map.get(KEY)
    assert ghost is not None
    assert ghost.live == (kept_ms < HORIZON.retention_ms)
    assert z.map.vector == y.map.vector


@pytest.mark.parametrize("kept_ms", [HORIZON.retention_ms, HORIZON.horizon_ms])
def test_a_home_that_keeps_a_replaced_row_alive_needs_the_client_lease_in_the_retention(
    kept_ms: int,
) -> None:
    """The end must outlast the holder that does not know of it yet.

    ::

        home  --keeps the row of its holder alive, last at ``horizon``--> x
        other replica ended it at 10 (epoch above); y drops that after ``kept_ms``
        x     --the row, written again within the client lease--> y
    """
    y = Replica(kept_ms)
    ended = row(KEY, 10, status=REMOVED, origin=Origin("other/w/1"), epoch=1 << 32)
    y.take(Delta(NOTHING, VersionVector({ended.origin: at(10)}), Rows.of([ended]), at(10)), 10)
    # The old holder was attached to its home behind a cut, and gives up within the client lease.
    now = 10 + HORIZON.horizon_ms + HORIZON.client_lease_ms // 2
    y.forget(now)
    y.hear(row(KEY, now, epoch=0), now=now)
    held = y.map.get(KEY)
    assert held is not None
    assert held.live == (kept_ms < HORIZON.retention_ms)


def test_an_origin_unheard_for_longer_than_the_horizon_is_replaced_as_a_whole() -> None:
    """What ended meanwhile is gone though its tombstone is, too; what was written later is spared.

    ::

        home  --two rows--> x, y     (x is cut off for longer than a tombstone is kept)
        home  --one ends, one stays, one more--> y
        y     --all rows of the home--> x
    """
    x, y = Replica(), Replica()
    for replica in (x, y):
        replica.hear(row(KEY, 10), row(OTHER, 11), now=11)
    third: Key = ("room:lobby", "carol", "s3")
    y.hear(row(KEY, 20, status=REMOVED), row(third, 21), now=21)
    now = 21 + HORIZON.retention_ms + 1
    y.hear(now=now - 5)
    y.forget(now)
    assert y.map.get(KEY) is None
    later = row(("room:lobby", "dora", "s4"), now)
    x.map.apply(Delta(NOTHING, NOTHING, Rows.of([later]), at(now)), wall_ms=now)
    assert x.heard.beyond(x.map.vector, instant_ms=now) == [H]
    x.sync(y, now)
    assert [held.key for held in x.map.live_rows()] == [OTHER, third, later.key]
    assert x.map.vector == y.map.vector


def test_who_has_not_heard_an_origin_within_the_horizon_does_not_speak_for_it() -> None:
    """Else its old rows would come to somebody who has no way to know that they ended."""
    x, z = Replica(), Replica()
    x.hear(row(KEY, 10), now=10)
    now = 10 + HORIZON.horizon_ms
    z.sync(x, now)
    assert (z.map.rows_total, z.map.vector) == (0, NOTHING)


def test_an_origin_is_not_replaced_by_what_somebody_has_seen_less_of() -> None:
    """It would take away what is newer; it waits for a better peer."""
    x, y = Replica(), Replica()
    y.hear(row(KEY, 10), now=10)
    x.hear(row(KEY, 20, status=REMOVED), now=20)
    with pytest.raises(CrdtError, match="seen here up to"):
        x.map.apply(y.map.state(), wall_ms=30, whole=[H])
    assert x.heard.whole(NOTHING, y.map.vector, x.map.vector, instant_ms=5000) == []


def test_a_component_that_comes_late_was_heard_when_it_was_new() -> None:
    """What a third one relays after a cut does not make a silent origin look alive."""
    replica = Replica()
    state = Delta(NOTHING, VersionVector({H: at(10)}), Rows.empty(), at(10))
    replica.take(state, 900)
    assert replica.heard.beyond(replica.map.vector, instant_ms=1009) == []
    assert replica.heard.beyond(replica.map.vector, instant_ms=1010) == [H]
    replica.heard.keep_only([])
    assert replica.heard.beyond(replica.map.vector, instant_ms=900) == [H]


def test_a_dead_origin_goes_with_its_rows_and_its_component() -> None:
    """Not before the last row is gone; the number that it had is used again."""
    replica = Replica()
    replica.hear(row(KEY, 10), row(OTHER, 11), now=11)
    columns = replica.map.columns
    assert columns.forget_origins([H]) == []
    assert columns.drop_origin(H, limit=1) == 1
    assert columns.drop_origin(H) == 1
    assert columns.forget_origins([H, Origin("stranger")]) == [H, Origin("stranger")]
    assert (replica.map.vector, replica.map.rows_total) == (NOTHING, 0)
    assert columns.entries.origins.number(Origin("new")) == 1


def test_what_may_be_dropped_is_older_than_the_retention() -> None:
    """And never before the beginning of time."""
    assert stamp_wall(HORIZON.drop_before(5000)) == 5000 - HORIZON.retention_ms
    assert HORIZON.drop_before(10) == 0


@pytest.mark.parametrize(
    ("name", "horizon_by", "retention_by"),
    [
        ("client_lease_ms", 1, 1),
        ("gateway_lease_ms", 1, 0),
        ("graces_ms", 1, 1),
        ("unreachable_ms_max", 1, 1),
        ("drift_ms_max", 2, 2),
        ("margin_ms", 1, 1),
    ],
)
def test_each_span_lengthens_the_least_horizon_and_the_retention(
    name: str, horizon_by: int, retention_by: int
) -> None:
    """None of them may be left out of the inequality: a longer span needs a longer horizon."""
    least = replace(HORIZON, horizon_ms=100 + 10 + 50 + 200 + 2 * 20 + 10)
    with pytest.raises(CrdtError):
        replace(least, horizon_ms=least.horizon_ms - 1)
    longer = {name: getattr(least, name) + 1}
    enough = least.horizon_ms + horizon_by
    with pytest.raises(CrdtError):
        replace(least, **longer, horizon_ms=enough - 1)
    beyond = replace(least, **longer, horizon_ms=enough).retention_ms - enough
    assert beyond == least.retention_ms - least.horizon_ms + retention_by


def seen_at(wall_ms: int) -> VersionVector:
    """A vector that has seen the home up to then."""
    return VersionVector({H: at(wall_ms)})


def test_an_origin_that_was_never_heard_is_silent() -> None:
    """Whatever the time."""
    assert HeardOrigins(HORIZON).is_silent(H, instant_ms=0, after_ms=1_000)


def test_an_origin_is_silent_when_its_component_has_not_advanced_for_so_long() -> None:
    """Not before, and not after the next advance."""
    found = HeardOrigins(HORIZON)
    found.note(NOTHING, seen_at(10), instant_ms=20, wall_ms=20)
    assert not found.is_silent(H, instant_ms=1_019, after_ms=1_000)
    assert found.is_silent(H, instant_ms=1_020, after_ms=1_000)
    found.note(seen_at(10), seen_at(1_015), instant_ms=1_030, wall_ms=1_030)
    assert not found.is_silent(H, instant_ms=1_030, after_ms=1_000)


def test_a_component_that_does_not_advance_is_no_word() -> None:
    """What is told again proves nothing."""
    found = HeardOrigins(HORIZON)
    found.note(NOTHING, seen_at(10), instant_ms=20, wall_ms=20)
    found.note(seen_at(10), seen_at(10), instant_ms=2_000, wall_ms=2_000)
    assert found.is_silent(H, instant_ms=2_000, after_ms=1_000)


def test_old_news_were_heard_when_they_were_new() -> None:
    """A replica that fills itself does not take the long dead for living."""
    found = HeardOrigins(HORIZON)
    found.note(NOTHING, seen_at(10), instant_ms=5_000, wall_ms=5_000)
    assert found.is_silent(H, instant_ms=5_000, after_ms=1_000)
    assert not found.is_silent(H, instant_ms=5_000, after_ms=6_000)


def test_a_little_age_is_what_clocks_may_differ_by() -> None:
    """Within the drift bound it counts as new."""
    found = HeardOrigins(HORIZON)
    found.note(NOTHING, seen_at(480), instant_ms=500, wall_ms=500)
    assert not found.is_silent(H, instant_ms=1_499, after_ms=1_000)


def test_older_news_never_make_an_origin_less_heard() -> None:
    """The latest sign counts."""
    found = HeardOrigins(HORIZON)
    found.meet(H, instant_ms=9_000)
    found.note(NOTHING, seen_at(5_000), instant_ms=9_001, wall_ms=9_001)
    assert not found.is_silent(H, instant_ms=9_999, after_ms=1_000)


def test_the_silence_of_somebody_just_met_counts_from_then() -> None:
    """Meeting again changes nothing."""
    found = HeardOrigins(HORIZON)
    found.meet(H, instant_ms=100)
    found.meet(H, instant_ms=900)
    assert not found.is_silent(H, instant_ms=1_099, after_ms=1_000)
    assert found.is_silent(H, instant_ms=1_100, after_ms=1_000)
