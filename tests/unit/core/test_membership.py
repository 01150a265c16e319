"""Who can be heard."""

from __future__ import annotations

from presence_actors.core.ids import NodeId
from presence_actors.core.instants import WallMs
from presence_actors.core.membership import GatewayLives, HolderBook
from presence_actors.core.messages import HolderReport
from tests.unit.core.building import G0, G1, W0, W1, W2, life, name


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


def test_several_replicas_speak_of_their_gateways_in_one_voice() -> None:
    """A gateway beats if one of them hears it; else its newest sign counts."""
    book = HolderBook()
    book.note(name(W0), [silent(G0, 10), silent(G1, 40)])
    book.note(name(W1), [silent(G0, 30), HolderReport(G1, None)])
    book.note(name(W2), [HolderReport(G0, None)])
    assert book.summary([name(W0), name(W1)]) == [silent(G0, 30), HolderReport(G1, None)]
    assert book.summary([name(W1), name(W0)]) == book.summary([name(W0), name(W1)])
    assert book.summary([name(W0)]) == [silent(G0, 10), silent(G1, 40)]
    assert book.summary([]) == []


def test_a_report_says_whether_it_is_news() -> None:
    """Most say the same again; not to somebody who has forgotten it."""
    book = HolderBook()
    assert book.note(name(W0), [silent(G0, 10)])
    assert not book.note(name(W0), [silent(G0, 10)])
    assert book.note(name(W0), [silent(G0, 20)])
    book.forget(name(W0))
    assert book.note(name(W0), [silent(G0, 20)])
    assert book.silent() == {G0: 20}


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
