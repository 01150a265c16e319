"""What outlived who it belongs to."""

from __future__ import annotations

from crdt import Row
from presence_actors.config import Knobs
from presence_actors.core.fanout import Attached
from presence_actors.core.ids import NodeId, ZoneId, name_of
from presence_actors.core.instants import WallMs
from presence_actors.core.leftovers import Leftovers
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import PRESENCE, HolderReport
from presence_actors.core.store import ShardStore, horizon_of
from tests.unit.core.building import G0, G1, HASHER, W0, W1, WALL, at, entry, life, packed_of

KNOBS = Knobs()
LATER, FAR = life("a/w0", 2), life("b/w0")
OURS, OLD, THEIRS, ABROAD = (
    entry(user, origin=origin, holder=G0, written=number)
    for number, (user, origin) in enumerate(
        [("alice", LATER), ("bob", W0), ("carol", W1), ("dave", FAR)], start=1
    )
)


class Scene:
    """A later life of W0, which knows entries of four origins."""

    def __init__(self) -> None:
        self.store = ShardStore(LATER, horizon=horizon_of(KNOBS), hasher=HASHER)
        self.store.merge(PRESENCE, packed_of(OURS, OLD, THEIRS, ABROAD), at(10))
        self.attached, self.holders = Attached(KNOBS), HolderBook()
        self.leftovers = Leftovers(
            LATER,
            self.store,
            attached=self.attached,
            holders=self.holders,
            knobs=KNOBS,
            started=WallMs(WALL),
        )

    def old(self, ready_for_ms: int) -> list[Row]:
        """What is left of old lives, so long after the readiness of this one."""
        return self.leftovers.of_old_lives(at(10), ready_for_ms=ready_for_ms)


def test_of_a_gateway_that_is_given_up_only_our_own_entries_are_ours_to_end() -> None:
    """The others have replicas of their own."""
    scene = Scene()
    assert scene.leftovers.of_gateway(G0) == [OURS]
    assert scene.leftovers.of_gateway(G1) == []


def test_what_an_old_life_left_ends_when_its_gateway_is_known_dead_and_the_grace_is_over() -> None:
    """Or, if nobody hears the gateway, when that has lasted as long as can be waited."""
    scene = Scene()
    assert scene.old(KNOBS.unreachable_ms_max - 1) == []
    assert scene.old(KNOBS.unreachable_ms_max) == [OLD]
    scene.attached.note_life(NodeId(life("a/g0", 2)))
    assert scene.old(KNOBS.grace_gateway_ms - 1) == []
    assert scene.old(KNOBS.grace_gateway_ms) == [OLD]


def test_what_an_old_life_left_stays_while_anybody_hears_its_gateway() -> None:
    """It may be attached there."""
    scene = Scene()
    scene.holders.note(name_of(W1), [HolderReport(G0, None)])
    assert scene.old(KNOBS.unreachable_ms_max) == []


def test_entries_of_zones_are_found_by_their_home() -> None:
    """Whoever holds them."""
    scene = Scene()
    assert scene.leftovers.of_zones([ZoneId("b")]) == [ABROAD]
    assert scene.leftovers.of_zones([]) == []


def test_who_cannot_be_heard_is_told_apart_from_who_can() -> None:
    """Homes, holders and zones, each after a silence of its own."""
    scene = Scene()
    first = scene.leftovers.reach(at(10), ready=True, peers=[W1], zones=[ZoneId("b")])
    assert (first.ready, first.origins, first.holders, first.zones) == (True, {}, {}, {})
    scene.holders.note(name_of(W1), [HolderReport(G1, WallMs(WALL))])
    silent = at(
        10 + max(KNOBS.unreachable_after_ms, KNOBS.gateway_lease_ms + KNOBS.grace_gateway_ms)
    )
    found = scene.leftovers.reach(silent, ready=False, peers=[W1], zones=[ZoneId("b")])
    assert not found.ready
    assert set(found.origins) == {W0, W1, FAR}
    assert set(found.holders) == {G1}
    assert set(found.zones) == {ZoneId("b")}
