"""Who can be heard."""

from __future__ import annotations

from crdt import Origin, VersionVector
from presence_actors.core.ids import NodeId
from presence_actors.core.instants import WallMs
from presence_actors.core.membership import GatewayLives, HeardOrigins, HolderBook
from presence_actors.core.messages import HolderReport
from tests.unit.core.building import G0, G1, NOTHING, W0, W1, W2, at, life, name, stamp

ORIGIN = Origin(W1)


def vector(instant: int) -> VersionVector:
    """A vector that has seen W1 up to then."""
    return VersionVector({ORIGIN: stamp(instant)})


def heard() -> HeardOrigins:
    """Nobody heard yet; clocks differ by 100 ms at most."""
    return HeardOrigins(drift_ms_max=100)


def test_an_origin_that_was_never_heard_is_silent() -> None:
    """Whatever the time."""
    assert heard().is_silent(ORIGIN, at(0), after_ms=1_000)


def test_an_origin_is_silent_when_its_component_has_not_advanced_for_so_long() -> None:
    """Not before, and not after the next advance."""
    found = heard()
    found.note(NOTHING, vector(10), at(20))
    assert not found.is_silent(ORIGIN, at(1_019), after_ms=1_000)
    assert found.is_silent(ORIGIN, at(1_020), after_ms=1_000)
    found.note(vector(10), vector(1_015), at(1_030))
    assert not found.is_silent(ORIGIN, at(1_030), after_ms=1_000)


def test_a_component_that_does_not_advance_is_no_word() -> None:
    """What is told again proves nothing."""
    found = heard()
    found.note(NOTHING, vector(10), at(20))
    found.note(vector(10), vector(10), at(2_000))
    assert found.is_silent(ORIGIN, at(2_000), after_ms=1_000)


def test_old_news_were_heard_when_they_were_new() -> None:
    """A replica that fills itself does not take the long dead for living."""
    found = heard()
    found.note(NOTHING, vector(10), at(5_000))
    assert found.is_silent(ORIGIN, at(5_000), after_ms=1_000)
    assert not found.is_silent(ORIGIN, at(5_000), after_ms=6_000)


def test_a_little_age_is_what_clocks_may_differ_by() -> None:
    """Within the drift bound it counts as new."""
    found = heard()
    found.note(NOTHING, vector(400), at(500))
    assert not found.is_silent(ORIGIN, at(1_499), after_ms=1_000)


def test_older_news_never_make_an_origin_less_heard() -> None:
    """The latest sign counts."""
    found = heard()
    found.meet(ORIGIN, at(9_000))
    found.note(NOTHING, vector(5_000), at(9_001))
    assert not found.is_silent(ORIGIN, at(9_999), after_ms=1_000)


def test_the_silence_of_somebody_just_met_counts_from_then() -> None:
    """Meeting again changes nothing."""
    found = heard()
    found.meet(ORIGIN, at(100))
    found.meet(ORIGIN, at(900))
    assert not found.is_silent(ORIGIN, at(1_099), after_ms=1_000)
    assert found.is_silent(ORIGIN, at(1_100), after_ms=1_000)


def silent(gateway: NodeId, since: int) -> HolderReport:
    """This gateway has been silent since then."""
    return HolderReport(gateway, WallMs(since))


def test_a_gateway_is_silent_only_if_nobody_hears_it() -> None:
    """It may have moved; the newest sign of all counts."""
    book = HolderBook()
    book.note(name(W0), [silent(G0, 10), HolderReport(G1, None)])
    book.note(name(W1), [silent(G0, 30), silent(G1, 5)])
    assert book.silent() == {G0: 30}
    assert book.is_beating(G1)
    assert not book.is_beating(G0)
    assert book.gateways() == [G0, G1]


def test_a_report_replaces_what_the_same_replica_said_before() -> None:
    """Also by leaving a gateway out."""
    book = HolderBook()
    book.note(name(W0), [silent(G0, 10)])
    book.note(name(W0), [HolderReport(G1, None)])
    assert book.silent() == {}
    assert book.gateways() == [G1]


def test_what_a_silent_replica_said_is_no_longer_known() -> None:
    """Neither that a gateway beats nor that it does not."""
    book = HolderBook()
    book.note(name(W0), [HolderReport(G0, None), silent(G1, 5)])
    book.forget(name(W0))
    book.forget(name(W1))
    assert not book.is_beating(G0)
    assert book.silent() == {}


def test_who_is_no_replica_any_more_has_no_say() -> None:
    """A worker that left the cluster cannot keep a gateway alive by its last report."""
    book = HolderBook()
    book.note(name(W0), [HolderReport(G0, None)])
    book.note(name(W1), [silent(G0, 5)])
    book.keep_only([name(W1), name(W2)])
    assert book.silent() == {G0: 5}


def test_an_older_life_of_a_gateway_is_dead() -> None:
    """The newest is not, nor is one of another place."""
    lives = GatewayLives()
    old, new = life("a/g0", 1), life("a/g0", 2)
    assert lives.note(old)
    assert not lives.is_dead(old)
    assert lives.note(new)
    assert not lives.note(old)
    assert lives.is_dead(old)
    assert not lives.is_dead(new)
    assert not lives.is_dead(G1)
