"""Who speaks for a zone to another one, and to whom."""

from __future__ import annotations

from crdt import LWWMap, Stamp
from presence_actors.config import Knobs
from presence_actors.core.gossip import Gossip
from presence_actors.core.ids import NodeId, NodeName, ShardId
from presence_actors.core.instants import Instant, Now, WallMs

KNOBS = Knobs()
NAMES = ("a/w0", "a/w1", "a/w2", "b/w0", "b/w1", "c/w0")
START = 10_000


def at(ms: int) -> Now:
    """So long after the start."""
    return Now(Instant(START + ms), WallMs(START + ms))


def gossip_of(name: str, *heard: str) -> Gossip:
    """A replica in the middle of three zones, which has just heard these."""
    gossip = Gossip(NodeId(f"{name}/01"), ShardId(0), KNOBS, at(0))
    gossip.note_peers((NodeName(peer) for peer in NAMES if peer != name), at(0))
    for peer in heard:
        hear(gossip, peer, 0)
    return gossip


def hear(gossip: Gossip, name: str, ms: int) -> None:
    """A peer says something."""
    assert gossip.heed(NodeId(f"{name}/01"), at(ms), ready=True) is not None


def spoken_to(gossip: Gossip, ms: int = 0) -> list[str]:
    """Whom an idle round reaches."""
    maps = (LWWMap(drift_ms_max=KNOBS.drift_ms_max), LWWMap(drift_ms_max=KNOBS.drift_ms_max))
    messages = gossip.round(maps, Stamp(1), [], at(ms), idle=True, ready=True)
    return sorted({str(name) for name, _ in messages})


def test_the_smallest_name_that_lives_speaks_for_its_zone() -> None:
    """The others of its zone hear of other zones from it."""
    assert gossip_of("a/w0", "a/w1", "a/w2").is_bridge(at(0))
    assert not gossip_of("a/w1", "a/w0", "a/w2").is_bridge(at(0))
    assert spoken_to(gossip_of("a/w1", "a/w0", "b/w0")) == ["a/w0", "a/w2"]


def test_when_the_bridge_falls_silent_the_next_one_speaks() -> None:
    """Until it is heard again."""
    gossip = gossip_of("a/w1", "a/w0", "a/w2")
    silent = KNOBS.peer_silence_ms
    assert gossip.is_bridge(at(silent))
    hear(gossip, "a/w0", silent + 1)
    assert not gossip.is_bridge(at(silent + 1))


def test_a_bridge_speaks_to_the_bridge_of_each_other_zone() -> None:
    """The smallest name that was heard, and one link carries it all."""
    gossip = gossip_of("a/w0", "a/w1", "a/w2", "b/w0", "b/w1", "c/w0")
    assert spoken_to(gossip) == ["a/w1", "a/w2", "b/w0", "c/w0"]
    gossip = gossip_of("a/w0", "a/w1", "a/w2", "b/w1", "c/w0")
    assert spoken_to(gossip) == ["a/w1", "a/w2", "b/w1", "c/w0"]


def test_while_nobody_of_a_zone_is_heard_all_there_are_spoken_to() -> None:
    """Who speaks for it is known once one of them has answered."""
    gossip = gossip_of("a/w0", "a/w1", "a/w2", "c/w0")
    assert spoken_to(gossip) == ["a/w1", "a/w2", "b/w0", "b/w1", "c/w0"]
    hear(gossip, "b/w1", 1)
    assert spoken_to(gossip, 1) == ["a/w1", "a/w2", "b/w1", "c/w0"]


def test_peers_of_other_zones_do_not_decide_whether_all_have_started_together() -> None:
    """A zone that is cut off from all others must be able to start."""
    gossip = gossip_of("a/w0")
    assert not gossip.all_started_anew()
    for peer in ("a/w1", "a/w2"):
        assert gossip.heed(NodeId(f"{peer}/01"), at(0), ready=False) is not None
    assert gossip.all_started_anew()
