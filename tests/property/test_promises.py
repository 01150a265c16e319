"""One message that promises for both maps: it says and does what two deltas would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import Origin, VersionVector
from presence_actors.config import Knobs
from presence_actors.core import gossip as module
from presence_actors.core.gossip import Gossip
from presence_actors.core.ids import NodeId
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    GossipDelta,
    GossipPromise,
    HolderReport,
)
from tests.unit.core.building import (
    G0,
    NOTHING,
    SHARD,
    W0,
    W1,
    W2,
    at,
    entry,
    life,
    map_of,
    name,
    stamp,
)
from tests.unit.core.replica_stage import Said, Stage, gossip

#: Lives that are heard of; of that of w2 an older one was there.
ORIGINS = (W0, W1, W2, life("a/w2", 2))


@st.composite
def vectors(draw: st.DrawFn) -> VersionVector:
    """What somebody has seen; some of it is too far ahead, and some from before the horizon."""
    times = st.sampled_from([0, 1, 50, 900, 1_000_000])
    return VersionVector(
        {Origin(one): stamp(draw(times)) for one in ORIGINS if draw(st.booleans())}
    )


def rounds(
    *,
    told: tuple[VersionVector | None, VersionVector | None],
    withheld: list[Origin],
    silent: bool,
    idle: bool,
) -> list[GossipDelta | GossipPromise]:
    """What a replica with an entry says to a peer that has told what it has seen, in two rounds."""
    rounds = Gossip(W0, SHARD, Knobs(), at(0))
    rounds.note_peers([name(W1)], at(0))
    peer = rounds.heed(W1, at(0), ready=True)
    assert peer is not None
    for flow, seen in zip(peer.flows, told, strict=True):
        if seen is not None:
            flow.note_seen(seen)
    maps = (map_of(entry(origin=W2, written=7)), map_of())
    later = Knobs().peer_silence_ms if silent else 1
    return [
        message
        for now in (later, later + 1)
        for _, message in rounds.round(
            maps, (withheld, []), stamp(9), [], HolderBook(), at(now), idle=idle, ready=True
        )
    ]


@given(
    told=st.tuples(st.none() | vectors(), st.none() | vectors()),
    withheld=st.sampled_from([[], [Origin(W2)]]),
    silent=st.booleans(),
    idle=st.booleans(),
)
def test_one_message_says_what_two_deltas_said(
    told: tuple[VersionVector | None, VersionVector | None],
    withheld: list[Origin],
    *,
    silent: bool,
    idle: bool,
) -> None:
    """Greeting or promise, whatever is withheld, beside transfers and between them."""
    said = rounds(told=told, withheld=withheld, silent=silent, idle=idle)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_in_one", lambda deltas: deltas)
        apart = rounds(told=told, withheld=withheld, silent=silent, idle=idle)
    together = [
        delta
        for message in said
        for delta in (
            [message]
            if isinstance(message, GossipDelta)
            else [message.of(PRESENCE), message.of(DURABLE)]
        )
    ]
    assert together == apart


def told_of(stage: Stage, said: Said) -> tuple[object, ...]:
    """All that can be seen of a replica and of what it says."""
    return (said, stage.machine.inspect(), stage.machine.maps()[DURABLE].vector, stage.reports)


@given(data=st.data())
def test_one_message_does_what_two_deltas_did(data: st.DataObject) -> None:
    """Whatever it claims: it is taken or refused map by map, presence first."""
    promise = GossipPromise(
        shard=SHARD,
        sender=data.draw(st.sampled_from([W1, life("a/w1", 2), W2])),
        receiver=data.draw(st.sampled_from([None, W0, life("a/w0", 2)])),
        clock=stamp(data.draw(st.sampled_from([0, 1_000, 1_000_000]))),
        bases=data.draw(st.tuples(vectors(), vectors())),
        seen=data.draw(st.tuples(vectors(), vectors())),
        stretches=data.draw(st.sampled_from([((0, 0), (0, 0)), ((0, 3), (2, 2))])),
        ready=data.draw(st.booleans()),
        holders=data.draw(st.sampled_from([[], [HolderReport(G0, None)]])),
    )
    one, two = (Stage(peers=[W1], first=False) for _ in range(2))
    for stage in (one, two):
        stage.hears(W1, gossip(entry(origin=W2, written=3), seen=NOTHING, ready=False))
    at_once = told_of(one, one.hears(promise.sender, promise))
    deltas = [promise.of(which) for which in (PRESENCE, DURABLE)]
    assert told_of(two, two.hears(promise.sender, *deltas)) == at_once
    later = 1_000
    assert told_of(one, one.passes(later)) == told_of(two, two.passes(later))


def test_a_peer_that_has_caught_up_makes_ready_by_one_promise() -> None:
    """Both maps count, and one message speaks of both."""
    stage = Stage(peers=[W1], first=False)
    entries = gossip(entry(origin=W1, written=3))
    stage.hears(W1, entries)
    vector = entries.delta.new
    assert not stage.machine.is_ready
    stage.hears(W1, promise_of(W1, vector))
    assert stage.machine.is_ready


def promise_of(sender: NodeId, seen: VersionVector) -> GossipPromise:
    """A peer has seen this of entries, and no choices."""
    return GossipPromise(
        shard=SHARD,
        sender=sender,
        receiver=W0,
        clock=stamp(9),
        bases=(seen, NOTHING),
        seen=(seen, NOTHING),
        stretches=((0, 0), (0, 0)),
        ready=True,
        holders=[],
    )
