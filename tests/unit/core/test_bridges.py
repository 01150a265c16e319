"""Who speaks for a zone, to whom, and of whose gateways."""

from __future__ import annotations

from collections.abc import Sequence

from crdt import LWWMap
from presence_actors.config import Knobs
from presence_actors.core.gossip import Gossip
from presence_actors.core.ids import NodeId, NodeName
from presence_actors.core.instants import WallMs
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import GossipDelta, GossipPromise, HolderReport
from tests.unit.core.building import G0, G1, SHARD, at, stamp

KNOBS = Knobs()
CLOCK = stamp(0)
OF_THREE_ZONES = ("a/w0", "a/w1", "a/w2", "b/w0", "b/w1", "c/w0")


def between_zones(own: str, *heard: str) -> Gossip:
    """A replica in the middle of three zones, which has just heard these."""
    gossip = Gossip(NodeId(f"{own}/01"), SHARD, KNOBS, at(0))
    gossip.note_peers((NodeName(peer) for peer in OF_THREE_ZONES if peer != own), at(0))
    for peer in heard:
        hear(gossip, peer, 0)
    return gossip


def hear(gossip: Gossip, peer: str, ms: int) -> None:
    """A peer says something."""
    assert gossip.heed(NodeId(f"{peer}/01"), at(ms), ready=True) is not None


def idle_round(
    gossip: Gossip, ms: int, *, holders: Sequence[HolderReport] = (), book: HolderBook | None = None
) -> list[tuple[NodeName, GossipDelta | GossipPromise]]:
    """What an idle round says, and to whom."""
    maps = (LWWMap(drift_ms_max=KNOBS.drift_ms_max), LWWMap(drift_ms_max=KNOBS.drift_ms_max))
    known = book or HolderBook()
    return gossip.round(maps, ((), ()), CLOCK, list(holders), known, at(ms), idle=True, ready=True)


def spoken_to(gossip: Gossip, ms: int = 0) -> list[str]:
    """Whom an idle round reaches."""
    return sorted({str(to) for to, _ in idle_round(gossip, ms)})


def test_a_bridge_speaks_of_the_gateways_of_its_whole_zone_and_at_home_of_its_own() -> None:
    """What is silent here may beat at a neighbour, whom no other zone hears."""
    gossip = between_zones("a/w0", "a/w1", "a/w2", "b/w0", "c/w0")
    ours = [HolderReport(G0, WallMs(10))]
    book = HolderBook()
    book.note(NodeName("a/w0"), ours)
    book.note(NodeName("a/w1"), [HolderReport(G0, None), HolderReport(G1, WallMs(20))])
    book.note(NodeName("b/w0"), [HolderReport(NodeId("b/g0/01"), None)])
    said = {str(to): one.holders for to, one in idle_round(gossip, 0, holders=ours, book=book)}
    assert said["a/w1"] == said["a/w2"] == ours
    assert said["b/w0"] == said["c/w0"] == [HolderReport(G0, None), HolderReport(G1, WallMs(20))]


def test_the_smallest_name_that_lives_speaks_for_its_zone() -> None:
    """The others of its zone hear of other zones from it."""
    assert between_zones("a/w0", "a/w1", "a/w2").is_bridge(at(0))
    assert not between_zones("a/w1", "a/w0", "a/w2").is_bridge(at(0))
    assert spoken_to(between_zones("a/w1", "a/w0", "b/w0")) == ["a/w0", "a/w2"]


def test_when_the_bridge_falls_silent_the_next_one_speaks() -> None:
    """Until it is heard again."""
    gossip = between_zones("a/w1", "a/w0", "a/w2")
    silent = KNOBS.peer_silence_ms
    assert gossip.is_bridge(at(silent))
    hear(gossip, "a/w0", silent + 1)
    assert not gossip.is_bridge(at(silent + 1))


def test_a_bridge_speaks_to_the_bridge_of_each_other_zone() -> None:
    """The smallest name that was heard, and one link carries it all."""
    gossip = between_zones("a/w0", "a/w1", "a/w2", "b/w0", "b/w1", "c/w0")
    assert spoken_to(gossip) == ["a/w1", "a/w2", "b/w0", "c/w0"]
    gossip = between_zones("a/w0", "a/w1", "a/w2", "b/w1", "c/w0")
    assert spoken_to(gossip) == ["a/w1", "a/w2", "b/w1", "c/w0"]


def test_while_nobody_of_a_zone_is_heard_all_there_are_spoken_to() -> None:
    """Who speaks for it is known once one of them has answered."""
    gossip = between_zones("a/w0", "a/w1", "a/w2", "c/w0")
    assert spoken_to(gossip) == ["a/w1", "a/w2", "b/w0", "b/w1", "c/w0"]
    hear(gossip, "b/w1", 1)
    assert spoken_to(gossip, 1) == ["a/w1", "a/w2", "b/w1", "c/w0"]


def test_peers_of_other_zones_do_not_decide_whether_all_have_started_together() -> None:
    """A zone that is cut off from all others must be able to start."""
    gossip = between_zones("a/w0")
    assert not gossip.all_started_anew()
    for peer in ("a/w1", "a/w2"):
        assert gossip.heed(NodeId(f"{peer}/01"), at(0), ready=False) is not None
    assert gossip.all_started_anew()
