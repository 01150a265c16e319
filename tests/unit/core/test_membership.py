"""Who can be heard: origins by their vector components, gateways by their replicas' reports."""

from __future__ import annotations

from crdt import Origin, VersionVector, pack_stamp
from presence_actors.core.ids import NodeId, NodeName
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.membership import GatewayLives, HeardOrigins, HolderBook
from presence_actors.core.messages import HolderReport

WALL = 1_000_000
PEER = Origin("a/w1/01")
G0, G1 = NodeId("a/g0/01"), NodeId("a/g1/01")
W0, W1, W2 = NodeName("a/w0"), NodeName("a/w1"), NodeName("a/w2")
NOTHING = VersionVector()


def at(instant: int) -> Now:
    """A moment; the wall clock is far ahead of the monotonic one."""
    return Now(Instant(instant), WallMs(WALL + instant))


def seen(instant: int) -> VersionVector:
    """Everything that the peer wrote or promised until a moment."""
    return VersionVector({PEER: pack_stamp(WALL + instant, 0)})


def report(gateway: NodeId, silent_since: int | None = None) -> HolderReport:
    """What a replica says of a gateway."""
    return HolderReport(gateway, None if silent_since is None else WallMs(silent_since))


# --- origins


def test_an_origin_that_was_never_heard_is_silent() -> None:
    """Nothing is known of it."""
    heard = HeardOrigins(drift_ms_max=2_000)
    assert heard.is_silent(PEER, at(0), after_ms=3_000)


def test_an_origin_is_silent_once_its_component_has_stood_still_for_so_long() -> None:
    """Its last advance counts, to the millisecond."""
    heard = HeardOrigins(drift_ms_max=2_000)
    heard.note(NOTHING, seen(100), at(100))
    assert not heard.is_silent(PEER, at(3_099), after_ms=3_000)
    assert heard.is_silent(PEER, at(3_100), after_ms=3_000)


def test_a_vector_that_repeats_what_was_known_is_no_sign_of_life() -> None:
    """Only an advance is: anybody may repeat an old word."""
    heard = HeardOrigins(drift_ms_max=2_000)
    heard.note(NOTHING, seen(100), at(100))
    heard.note(seen(100), seen(100), at(3_000))
    assert heard.is_silent(PEER, at(3_100), after_ms=3_000)


def test_an_old_word_counts_for_when_it_was_new() -> None:
    """Full state after a start brings words of origins that are long gone."""
    heard = HeardOrigins(drift_ms_max=2_000)
    heard.note(NOTHING, seen(1_000), at(11_000))
    assert heard.is_silent(PEER, at(11_000), after_ms=3_000)
    assert not heard.is_silent(PEER, at(11_000), after_ms=10_001)


def test_a_difference_of_clocks_makes_no_word_old() -> None:
    """Within the drift bound a word counts for the moment at which it came."""
    heard = HeardOrigins(drift_ms_max=2_000)
    heard.note(NOTHING, seen(1_000), at(3_000))
    assert not heard.is_silent(PEER, at(5_999), after_ms=3_000)


def test_an_old_word_that_comes_late_takes_nothing_back() -> None:
    """An origin that was heard since stays heard."""
    heard = HeardOrigins(drift_ms_max=2_000)
    heard.meet(PEER, at(10_000))
    heard.note(NOTHING, seen(1_000), at(10_001))
    assert not heard.is_silent(PEER, at(12_999), after_ms=3_000)


def test_the_silence_of_somebody_new_counts_from_the_first_meeting() -> None:
    """And a second meeting is no sign of life."""
    heard = HeardOrigins(drift_ms_max=2_000)
    heard.meet(PEER, at(500))
    heard.meet(PEER, at(2_000))
    assert not heard.is_silent(PEER, at(3_499), after_ms=3_000)
    assert heard.is_silent(PEER, at(3_500), after_ms=3_000)


# --- gateways


def test_a_gateway_is_silent_only_if_nobody_hears_it() -> None:
    """It may have moved to another replica."""
    book = HolderBook()
    book.note(W0, [report(G0, 5), report(G1, 6)])
    book.note(W1, [report(G0)])
    assert book.silent() == {G1: 6}
    assert book.is_beating(G0)
    assert not book.is_beating(G1)
    assert not book.is_beating(NodeId("a/g2/01"))


def test_the_last_sign_of_a_silent_gateway_is_the_latest_that_anybody_got() -> None:
    """Replicas lose sight of it at different moments."""
    book = HolderBook()
    book.note(W0, [report(G0, 5)])
    book.note(W1, [report(G0, 9)])
    book.note(W2, [report(G0, 7)])
    assert book.silent() == {G0: 9}


def test_the_newest_report_of_a_replica_replaces_the_one_before() -> None:
    """What is not in it any more is not reported."""
    book = HolderBook()
    book.note(W0, [report(G0), report(G1)])
    book.note(W0, [report(G0, 5)])
    assert book.silent() == {G0: 5}
    assert book.gateways() == [G0]


def test_a_silent_reporter_vouches_for_nobody() -> None:
    """What it said is no longer known to be so; forgetting it twice does no harm."""
    book = HolderBook()
    book.note(W0, [report(G0)])
    book.note(W1, [report(G0, 5)])
    book.forget(W0)
    book.forget(W0)
    assert book.silent() == {G0: 5}


def test_reports_of_workers_that_are_no_replicas_any_more_are_dropped() -> None:
    """Nobody would ever correct them."""
    book = HolderBook()
    book.note(W0, [report(G0)])
    book.note(W1, [report(G1)])
    book.keep_only([W1, W2])
    assert book.gateways() == [G1]


def test_gateways_come_sorted_whoever_reported_them() -> None:
    """Equal inputs give equal outputs."""
    book = HolderBook()
    book.note(W1, [report(G1, 1), report(G0, 1)])
    assert book.gateways() == [G0, G1]
    assert list(book.silent()) == [G0, G1]


# --- lives


def test_a_newer_life_of_a_gateway_makes_the_older_one_dead() -> None:
    """And nobody else's."""
    lives = GatewayLives()
    assert lives.note(G0)
    assert not lives.is_dead(G0)
    assert lives.note(NodeId("a/g0/02"))
    assert lives.is_dead(G0)
    assert not lives.is_dead(NodeId("a/g0/02"))
    assert not lives.is_dead(G1)


def test_a_late_word_of_an_old_life_does_not_bring_it_back() -> None:
    """The newest life stays the newest, and may be noted again."""
    lives = GatewayLives()
    lives.note(NodeId("a/g0/02"))
    assert not lives.note(G0)
    assert lives.note(NodeId("a/g0/02"))
    assert lives.is_dead(G0)
