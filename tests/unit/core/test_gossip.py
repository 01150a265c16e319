"""When, with whom, how much: one map of one shard towards one peer, and what came back."""

from __future__ import annotations

from crdt import Delta, LWWMap, Stamp, VersionVector
from presence_actors.config import Knobs
from presence_actors.core.gossip import Flow, Gossip, Peer
from presence_actors.core.ids import NodeId, name_of
from presence_actors.core.instants import Instant
from presence_actors.core.limits import GOSSIP_ROWS_MAX
from presence_actors.core.messages import PRESENCE, GossipAck, GossipDelta
from tests.unit.core.building import (
    NOTHING,
    SHARD,
    W0,
    W1,
    W2,
    WALL,
    at,
    delta_of,
    entry,
    life,
    map_of,
)

KNOBS = Knobs()
CLOCK = Stamp(7)


def step(flow: Flow, source: LWWMap, now: int = 0, *, greet: bool = False) -> object:
    """What the flow sends now; an answer is waited for 500 ms."""
    return flow.next_delta(
        source, clock=CLOCK, now=Instant(now), repeat_at=Instant(now + 500), greet=greet
    )


def flow_to_newcomer() -> Flow:
    """A flow to a peer that said that it has seen nothing."""
    flow = Flow()
    flow.note_seen(NOTHING)
    return flow


# --- one flow


def test_before_a_peer_has_spoken_it_gets_greetings_only() -> None:
    """What it has is not known, so rows would be guesses."""
    assert step(Flow(), map_of(entry())) == (Delta.nothing(CLOCK), 0)


def test_a_peer_gets_what_it_lacks_and_nothing_more_until_it_answers() -> None:
    """Stop and wait; after the time for an answer it is sent again, under another number."""
    flow, source = flow_to_newcomer(), map_of(entry())
    delta = Delta(NOTHING, source.vector, source.all_rows(), CLOCK)
    assert step(flow, source) == (delta, 1)
    assert step(flow, source, 499) is None
    assert step(flow, source, 500) == (delta, 2)


def test_an_accepted_delta_leaves_the_peer_without_a_lag() -> None:
    """Until something changes."""
    flow, source = flow_to_newcomer(), map_of(entry())
    lags = [flow.lags(source)]
    step(flow, source)
    lags.append(flow.lags(source))
    assert flow.note_answer(1, accepted=True)
    lags.append(flow.lags(source))
    source.apply(delta_of(entry(session="s2", written=2)), wall_ms=WALL)
    lags.append(flow.lags(source))
    assert lags == [True, True, False, True]


def test_an_answer_to_an_earlier_attempt_is_not_the_awaited_one() -> None:
    """What that attempt reached may have been less; an answer counts once."""
    flow, source = flow_to_newcomer(), map_of(entry())
    step(flow, source)
    step(flow, source, 500)
    assert not flow.note_answer(1, accepted=True)
    assert flow.lags(source)
    assert flow.note_answer(2, accepted=True)
    assert not flow.note_answer(2, accepted=True)


def test_a_refused_delta_is_made_again_from_what_the_peer_has_seen() -> None:
    """At once, without waiting for the time of an answer."""
    flow, source = flow_to_newcomer(), map_of(entry())
    step(flow, source)
    assert flow.note_answer(1, accepted=False)
    assert step(flow, source, 1) == (Delta(NOTHING, source.vector, source.all_rows(), CLOCK), 2)


def test_what_a_peer_has_seen_never_shrinks() -> None:
    """An old message tells an old vector."""
    flow, source = Flow(), map_of(entry())
    flow.note_seen(source.vector)
    flow.note_seen(NOTHING)
    assert flow.acked == source.vector


def test_where_there_is_nothing_to_say_a_promise_is_made_that_wants_no_answer() -> None:
    """It carries the vector, and the peer lags no more."""
    flow, source = Flow(), map_of(entry())
    flow.note_seen(source.vector)
    assert step(flow, source) == (Delta(source.vector, source.vector, delta_of().rows, CLOCK), 0)
    assert not flow.lags(source)


def test_a_large_state_goes_in_parts_and_only_the_last_moves_the_vector() -> None:
    """A receiver of half of it must not claim the rest."""
    rows = [entry(session=f"s{n:05}", written=n + 1) for n in range(GOSSIP_ROWS_MAX + 1)]
    source = map_of(*rows)
    flow = flow_to_newcomer()
    first, number = flow.next_delta(
        source, clock=CLOCK, now=Instant(0), repeat_at=Instant(500), greet=False
    ) or (None, 0)
    assert first is not None
    assert (len(first.rows), first.new, number) == (GOSSIP_ROWS_MAX, NOTHING, 1)
    flow.note_answer(1, accepted=True)
    assert flow.lags(source)
    last = Delta(NOTHING, source.vector, delta_of(rows[-1]).rows, CLOCK)
    assert step(flow, source) == (last, 2)


def test_a_peer_that_fell_silent_is_greeted_and_begins_again_when_it_is_heard() -> None:
    """Its answer is not waited for any more."""
    flow, source = flow_to_newcomer(), map_of(entry())
    step(flow, source)
    flow.break_off()
    assert step(flow, source, 1, greet=True) == (Delta.nothing(CLOCK), 0)
    assert step(flow, source, 2) == (Delta(NOTHING, source.vector, source.all_rows(), CLOCK), 2)


# --- one peer


def test_a_new_life_of_a_peer_knows_nothing_of_what_the_old_one_was_told() -> None:
    """Its flows begin anew; those of the same life go on."""
    peer = Peer()
    peer.note(W1, Instant(0), ready=True)
    flows = peer.flows
    peer.note(W1, Instant(5), ready=False)
    assert peer.flows is flows
    assert (peer.heard, peer.ready) == (5, False)
    peer.note(life("a/w1", 2), Instant(6), ready=False)
    assert peer.flows is not flows


def test_a_peer_that_was_never_heard_is_silent() -> None:
    """One that was heard is so only after the time."""
    peer = Peer()
    silent = [peer.is_silent(Instant(0), 1_000)]
    peer.note(W1, Instant(100), ready=True)
    silent += [peer.is_silent(Instant(now), 1_000) for now in (1_099, 1_100)]
    assert silent == [True, False, True]


# --- all peers


def gossip_with(*peers: NodeId) -> Gossip:
    """The gossip of W0 with these peers, none of them heard; its first idle round is over."""
    gossip = Gossip(W0, SHARD, KNOBS, at(0))
    gossip.note_peers(map(name_of, peers), at(0))
    assert gossip.is_idle_round(at(0))
    return gossip


def peer_of(gossip: Gossip, node: NodeId) -> Peer:
    """What the gossip knows of one peer."""
    return dict(gossip)[name_of(node)]


def ack(
    seen: VersionVector = NOTHING,
    *,
    sender: NodeId = W1,
    receiver: NodeId = W0,
    transfer: int = 1,
    accepted: bool = True,
) -> GossipAck:
    """The answer of a peer."""
    return GossipAck(SHARD, sender, receiver, PRESENCE, transfer, accepted, seen)


def speak(
    gossip: Gossip, source: LWWMap, now: int, *, idle: bool = False
) -> list[tuple[str, GossipDelta]]:
    """One round."""
    return list(gossip.round((source, map_of()), CLOCK, [], at(now), idle=idle, ready=True))


def test_a_round_follows_a_change_at_the_gossip_interval_and_an_idle_one_at_its_own() -> None:
    """Another change does not put off what is due."""
    gossip = gossip_with(W1)
    assert gossip.next_round == KNOBS.gossip_idle_ms
    gossip.want_round(at(10))
    gossip.want_round(at(20))
    assert gossip.next_round == 10 + KNOBS.gossip_interval_ms
    assert not gossip.is_idle_round(at(30))
    assert gossip.next_round == KNOBS.gossip_idle_ms
    assert gossip.is_idle_round(at(KNOBS.gossip_idle_ms))
    assert gossip.next_round == 2 * KNOBS.gossip_idle_ms


def test_strangers_are_not_heeded() -> None:
    """Only replicas of the shard have a say."""
    assert gossip_with(W1).heed(W2, at(0), ready=True) is None


def test_a_peer_that_is_heard_first_gets_a_round_soon() -> None:
    """A known one does not hurry anything."""
    gossip = gossip_with(W1)
    assert gossip.heed(W1, at(0), ready=True) is not None
    assert gossip.next_round == KNOBS.gossip_interval_ms
    gossip.is_idle_round(at(20))
    gossip.heed(W1, at(20), ready=True)
    assert gossip.next_round == KNOBS.gossip_idle_ms


def test_an_old_life_is_not_heeded_while_the_new_one_speaks() -> None:
    """Its words were under way too long."""
    gossip = gossip_with(W1)
    gossip.heed(life("a/w1", 2), at(0), ready=True)
    assert gossip.heed(W1, at(KNOBS.peer_silence_ms - 1), ready=True) is None
    assert peer_of(gossip, W1).node == life("a/w1", 2)


def test_a_life_that_only_looks_old_is_heeded_once_the_other_is_silent() -> None:
    """The machine of the new life has a clock that is behind."""
    gossip = gossip_with(W1)
    gossip.heed(life("a/w1", 2), at(0), ready=True)
    assert gossip.heed(W1, at(KNOBS.peer_silence_ms), ready=True) is not None
    assert peer_of(gossip, W1).node == W1


def test_a_peer_that_was_never_heard_is_greeted_in_idle_rounds_only() -> None:
    """With both maps, for no life in particular, and without rows."""
    gossip, source = gossip_with(W1), map_of(entry())
    assert speak(gossip, source, 20) == []
    greetings = speak(gossip, source, 250, idle=True)
    assert [(name, said.map, said.receiver, said.transfer) for name, said in greetings] == [
        ("a/w1", 0, None, 0),
        ("a/w1", 1, None, 0),
    ]
    assert all(said.delta == Delta.nothing(CLOCK) for _, said in greetings)
    assert greetings[0][1].seen == source.vector


def test_a_heard_peer_gets_rows_in_any_round_and_promises_in_idle_ones() -> None:
    """The message names the life that it was made for; nothing goes twice before its answer."""
    gossip, source = gossip_with(W1), map_of(entry())
    gossip.heed(W1, at(0), ready=True)
    for flow in peer_of(gossip, W1).flows:
        flow.note_seen(NOTHING)
    (said,) = speak(gossip, source, 20)
    assert (said[0], said[1].receiver, said[1].map, said[1].transfer) == ("a/w1", W1, 0, 1)
    assert said[1].delta.rows == source.all_rows()
    assert [(other.map, other.transfer) for _, other in speak(gossip, source, 30, idle=True)] == [
        (1, 0)
    ]


def test_an_accepted_answer_asks_for_what_has_gathered_meanwhile() -> None:
    """The next round is near, and the peer's vector is known."""
    gossip, source = gossip_with(W1), map_of(entry())
    gossip.heed(W1, at(0), ready=True).flows[PRESENCE].note_seen(NOTHING)  # type: ignore[union-attr]
    speak(gossip, source, 20)
    gossip.is_idle_round(at(20))
    gossip.note_ack(ack(source.vector), at(30))
    assert gossip.next_round == 30 + KNOBS.gossip_interval_ms
    assert peer_of(gossip, W1).flows[PRESENCE].acked == source.vector
    assert peer_of(gossip, W1).heard == 30


def test_a_refusal_waits_for_the_next_round_and_tells_what_was_seen() -> None:
    """A peer that refuses for ever must not make us hurry for ever."""
    gossip, source = gossip_with(W1), map_of(entry())
    gossip.heed(W1, at(0), ready=True).flows[PRESENCE].note_seen(NOTHING)  # type: ignore[union-attr]
    speak(gossip, source, 20)
    gossip.is_idle_round(at(20))
    gossip.note_ack(ack(source.vector, accepted=False), at(30))
    assert gossip.next_round == KNOBS.gossip_idle_ms
    assert peer_of(gossip, W1).flows[PRESENCE].acked == source.vector


def test_answers_of_strangers_of_other_lives_and_for_other_lives_do_not_count() -> None:
    """They speak of what somebody else has."""
    gossip, source = gossip_with(W1), map_of(entry())
    gossip.heed(W1, at(0), ready=True)
    gossip.note_ack(ack(source.vector, sender=W2), at(30))
    gossip.note_ack(ack(source.vector, sender=life("a/w1", 2)), at(30))
    gossip.note_ack(ack(source.vector, receiver=life("a/w0", 2)), at(30))
    assert peer_of(gossip, W1).flows[PRESENCE].acked is None
    assert peer_of(gossip, W1).heard == 0


def test_peers_that_stay_keep_what_is_known_of_them() -> None:
    """Only who goes is forgotten."""
    gossip = gossip_with(W1, W2)
    gossip.heed(W1, at(0), ready=True)
    known = peer_of(gossip, W1)
    gossip.note_peers([name_of(W1)], at(5))
    assert [(name, peer is known) for name, peer in gossip] == [("a/w1", True)]
    assert gossip.next_round == 5


def test_silent_peers_are_those_of_whom_nothing_was_heard_for_long_or_ever() -> None:
    """In the order of their names."""
    gossip = gossip_with(W2, W1)
    assert gossip.silent_peers(at(0)) == ["a/w1", "a/w2"]
    gossip.heed(W1, at(0), ready=True)
    assert gossip.silent_peers(at(0)) == ["a/w2"]
    assert gossip.silent_peers(at(KNOBS.peer_silence_ms)) == ["a/w1", "a/w2"]


def test_all_have_started_anew_only_if_all_were_heard_and_none_may_vouch() -> None:
    """One that was not heard may know what we do not; without peers there is nobody to ask."""
    gossip = gossip_with(W1, W2)
    gossip.heed(W1, at(0), ready=False)
    anew = [gossip.all_started_anew()]
    gossip.heed(W2, at(0), ready=False)
    anew.append(gossip.all_started_anew())
    gossip.heed(W2, at(1), ready=True)
    anew.append(gossip.all_started_anew())
    anew.append(gossip_with().all_started_anew())
    assert anew == [False, True, False, True]
