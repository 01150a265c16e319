"""When, with whom, how much: flows towards a peer, and the rounds of a replica."""

from __future__ import annotations

import pytest

from crdt import LWWMap, Origin, PackedDelta, PackedRows, Stamp, VersionVector
from presence_actors.config import Knobs
from presence_actors.core import gossip as module
from presence_actors.core.gossip import Flow, Gossip, Peer
from presence_actors.core.ids import NodeId
from presence_actors.core.instants import Instant
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    GossipAck,
    GossipDelta,
    GossipPromise,
    PeerMessage,
)
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
    keys_of,
    life,
    map_of,
    name,
    stamp,
)

KNOBS = Knobs()
CLOCK = stamp(0)
PEOPLE = [entry(f"user{number}", written=number + 1) for number in range(5)]


def step(flow: Flow, source: LWWMap, now: int = 0) -> tuple[PackedDelta, int] | None:
    """What the flow would send now."""
    found = flow.next_delta(
        source,
        frozenset(),
        clock=CLOCK,
        now=Instant(now),
        repeat_at=Instant(now + 500),
        greet=False,
    )
    return None if found is None else found[:2]


def sent(flow: Flow, source: LWWMap, now: int = 0) -> tuple[PackedDelta, int]:
    """What the flow sends now."""
    found = step(flow, source, now)
    assert found is not None
    return found


def users(delta: PackedDelta) -> list[str]:
    """Whom a delta is about; it names them all."""
    return [key[1] for key in keys_of(delta) if key is not None]


@pytest.fixture
def flow() -> Flow:
    """Towards a peer that knows nothing."""
    found = Flow()
    found.note_seen(NOTHING)
    return found


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GOSSIP_ROWS_MAX", 2)


# A flow.


def test_a_peer_of_which_nothing_is_known_is_greeted_without_rows() -> None:
    """What it lacks cannot be said yet."""
    delta, transfer = sent(Flow(), map_of(*PEOPLE))
    assert (len(delta.rows), delta.base, delta.new, transfer) == (0, NOTHING, NOTHING, 0)
    assert delta.clock == CLOCK


def test_a_peer_gets_what_it_has_not_seen(flow: Flow) -> None:
    """Up to our vector, from its own."""
    source = map_of(*PEOPLE)
    seen = VersionVector({PEOPLE[0].origin: stamp(3)})
    flow.note_seen(seen)
    delta, transfer = sent(flow, source)
    assert (users(delta), delta.base, delta.new, transfer) == (
        ["user3", "user4"],
        seen,
        source.vector,
        1,
    )


def test_the_next_delta_waits_for_the_answer_but_not_for_ever(flow: Flow) -> None:
    """Without an answer it is repeated, under a new number."""
    source = map_of(*PEOPLE)
    sent(flow, source)
    assert step(flow, source, 499) is None
    delta, transfer = sent(flow, source, 500)
    assert (len(delta.rows), transfer) == (5, 2)


def test_after_the_answer_only_what_changed_since_is_sent(flow: Flow) -> None:
    """And while nothing did, a promise that wants no answer."""
    source = map_of(*PEOPLE)
    _, transfer = sent(flow, source)
    assert flow.lags(source)
    flow.note_seen(source.vector)
    assert flow.note_answer(transfer, accepted=True)
    assert not flow.lags(source)
    delta, number = sent(flow, source)
    assert (len(delta.rows), number, delta.new) == (0, 0, source.vector)
    source.apply(delta_of(entry("carol", written=9), base=source.vector), wall_ms=WALL)
    assert flow.lags(source)
    assert users(sent(flow, source)[0]) == ["carol"]


def test_an_answer_to_nothing_is_no_answer(flow: Flow) -> None:
    """Neither to what was never sent nor to what was answered before."""
    source = map_of(*PEOPLE)
    assert not flow.note_answer(1, accepted=True)
    sent(flow, source)
    assert not flow.note_answer(2, accepted=True)
    assert flow.note_answer(1, accepted=True)
    assert not flow.note_answer(1, accepted=True)


def test_a_refused_delta_is_made_again(flow: Flow) -> None:
    """From what the peer says that it has seen."""
    source = map_of(*PEOPLE)
    _, transfer = sent(flow, source)
    flow.note_seen(VersionVector({PEOPLE[0].origin: stamp(4)}))
    assert flow.note_answer(transfer, accepted=False)
    assert flow.lags(source)
    assert users(sent(flow, source)[0]) == ["user4"]


@pytest.mark.usefixtures("_small_parts")
def test_all_parts_but_the_last_leave_the_vector_where_it_is(flow: Flow) -> None:
    """A receiver of some of them must not claim the others."""
    source = map_of(*PEOPLE)
    told: list[str] = []
    ends: list[VersionVector] = []
    for _ in range(3):
        delta, transfer = sent(flow, source)
        told += users(delta)
        ends.append(delta.new)
        assert delta.base == NOTHING
        assert flow.note_answer(transfer, accepted=True)
    assert told == [f"user{number}" for number in range(5)]
    assert ends == [NOTHING, NOTHING, source.vector]


@pytest.mark.usefixtures("_small_parts")
def test_a_row_that_changes_between_parts_comes_in_a_later_one(flow: Flow) -> None:
    """The newest version of it only, and before the vector that covers it."""
    source = map_of(*PEOPLE)
    first, transfer = sent(flow, source)
    assert users(first) == ["user0", "user1"]
    flow.note_answer(transfer, accepted=True)
    source.apply(delta_of(entry("user0", written=20), base=source.vector), wall_ms=WALL)
    rest: list[str] = []
    while True:
        delta, transfer = sent(flow, source)
        rest += users(delta)
        flow.note_answer(transfer, accepted=True)
        if delta.new == source.vector:
            break
    assert rest == ["user2", "user3", "user4", "user0"]


@pytest.mark.usefixtures("_small_parts")
def test_parts_get_on_even_if_each_answer_comes_after_the_repetition(flow: Flow) -> None:
    """A late answer to an earlier copy counts, or a slow link would stay at the first part."""
    source = map_of(*PEOPLE)
    told: list[list[str]] = []
    for round_ in range(6):
        delta, transfer = sent(flow, source, round_ * 1_000)
        told.append(users(delta))
        again, _ = sent(flow, source, round_ * 1_000 + 500)
        assert users(again) == users(delta)
        assert flow.note_answer(transfer, accepted=True)
        if delta.new == source.vector:
            break
    assert told == [["user0", "user1"], ["user2", "user3"], ["user4"]]


def crowd(count: int) -> LWWMap:
    """A map of so many entries, more than the birth of an entry is rounded by."""
    return map_of(*(entry(f"user{number}", written=number + 1) for number in range(count)))


def change(source: LWWMap, user: str, written: int) -> None:
    """An entry that has been there for long changes."""
    source.apply(delta_of(entry(user, written=written), base=source.vector), wall_ms=WALL)


def test_full_keys_are_left_out_once_a_peer_got_a_transfer_to_its_end(flow: Flow) -> None:
    """It knows every entry by its hash then; of one that is new the key goes along."""
    source = crowd(2_000)
    delta, transfer = sent(flow, source)
    assert None not in keys_of(delta)
    flow.note_seen(source.vector)
    flow.note_answer(transfer, accepted=True)
    change(source, "user0", 3_000)
    change(source, "carol", 3_001)
    assert [key and key[1] for key in keys_of(sent(flow, source)[0])] == [None, "carol"]


def test_a_peer_that_refuses_gets_all_keys_again(flow: Flow) -> None:
    """It may have forgotten an entry that it knew."""
    source = crowd(2_000)
    _, transfer = sent(flow, source)
    flow.note_seen(source.vector)
    flow.note_answer(transfer, accepted=True)
    change(source, "user0", 3_000)
    delta, transfer = sent(flow, source)
    assert keys_of(delta) == [None]
    flow.begin_again()
    flow.note_answer(transfer, accepted=False)
    assert users(sent(flow, source)[0]) == ["user0"]


def test_an_entry_that_changed_late_has_its_key_in_the_part_that_brings_it(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came before the end of the first part, but was not in it: the peer does not know it.

    Without, the peer refused the second part, and the first one was sent again, for ever.
    """
    monkeypatch.setattr(module, "GOSSIP_ROWS_MAX", 1_500)
    source = crowd(2_000)
    change(source, "user0", 3_000)
    first, transfer = sent(flow, source)
    assert users(first)[0] == "user1"
    flow.note_answer(transfer, accepted=True)
    second, _ = sent(flow, source)
    assert users(second)[-1] == "user0"
    assert None not in keys_of(second)


def test_unanswered_transfers_are_bounded(flow: Flow) -> None:
    """The oldest are forgotten."""
    source = map_of(*PEOPLE)
    for round_ in range(100):
        sent(flow, source, round_ * 500)
    assert len(flow._reached) <= 16
    assert not flow.note_answer(1, accepted=True)
    assert flow.note_answer(100, accepted=True)


def test_a_flow_that_broke_off_begins_at_once(flow: Flow) -> None:
    """Without waiting for the answer that was due."""
    source = map_of(*PEOPLE)
    sent(flow, source)
    flow.break_off()
    assert len(sent(flow, source, 1)[0].rows) == 5


def test_what_a_peer_has_seen_never_shrinks(flow: Flow) -> None:
    """An old message says less than a new one."""
    flow.note_seen(VersionVector({PEOPLE[0].origin: stamp(3)}))
    flow.note_seen(VersionVector({PEOPLE[0].origin: stamp(1)}))
    assert flow.acked == VersionVector({PEOPLE[0].origin: stamp(3)})


# A peer.


def test_a_new_life_of_a_peer_knows_nothing_of_what_the_old_one_was_told() -> None:
    """Echoes of its own rows among it."""
    peer = Peer()
    peer.note(W1, Instant(5), ready=True)
    peer.flows[PRESENCE].note_seen(VersionVector({Origin(W1): Stamp(9)}))
    peer.note(W1, Instant(6), ready=True)
    assert peer.flows[PRESENCE].acked is not None
    peer.note(life("a/w1", 2), Instant(7), ready=False)
    assert peer.flows[PRESENCE].acked is None
    assert (peer.ready, peer.heard) == (False, 7)


def test_a_peer_is_silent_before_it_was_heard_and_after_a_while() -> None:
    """At the very instant, not before."""
    peer = Peer()
    silent = [peer.is_silent(Instant(0), 1_000)]
    peer.note(W1, Instant(5), ready=True)
    silent += [peer.is_silent(Instant(1_004), 1_000), peer.is_silent(Instant(1_005), 1_000)]
    assert silent == [True, False, True]


# Rounds.


class Replica:
    """The gossip of W0, with a map that everybody lacks."""

    def __init__(self) -> None:
        self.gossip = Gossip(W0, SHARD, KNOBS, at(0))
        self.gossip.note_peers([name(W1), name(W2)], at(0))
        self.maps = (map_of(*PEOPLE), map_of())

    def round(self, now: int, *, idle: bool = False) -> list[tuple[str, PeerMessage]]:
        """One round."""
        return [
            (str(to), message)
            for to, message in self.gossip.round(
                self.maps,
                ((), ()),
                CLOCK,
                [],
                HolderBook(),
                at(now),
                idle=idle,
                ready=True,
            )
        ]

    def hear(self, node: NodeId, now: int) -> Peer:
        """The peer speaks, and knows nothing."""
        peer = self.gossip.heed(node, at(now), ready=True)
        assert peer is not None
        for flow in peer.flows:
            flow.note_seen(NOTHING)
        return peer


def test_silent_peers_are_only_greeted_and_only_when_idle() -> None:
    """A greeting names no life and has no rows."""
    replica = Replica()
    assert replica.round(0) == []
    greeting = GossipPromise(
        shard=SHARD,
        sender=W0,
        receiver=None,
        clock=CLOCK,
        bases=(NOTHING, NOTHING),
        seen=(replica.maps[PRESENCE].vector, NOTHING),
        stretches=((0, 0), (0, 0)),
        ready=True,
        holders=[],
    )
    assert replica.round(0, idle=True) == [("a/w1", greeting), ("a/w2", greeting)]
    assert [greeting.of(which).delta for which in (PRESENCE, DURABLE)] == [
        PackedDelta.nothing(CLOCK)
    ] * 2


def test_two_maps_that_only_promise_do_so_in_one_message() -> None:
    """From what the peer has seen of each to what we have seen of it."""
    replica = Replica()
    vector = replica.maps[PRESENCE].vector
    peer = replica.hear(W1, 0)
    peer.flows[PRESENCE].note_seen(vector)
    ((_, promise),) = [one for one in replica.round(0, idle=True) if one[0] == "a/w1"]
    assert isinstance(promise, GossipPromise)
    assert (promise.receiver, promise.bases, promise.seen) == (
        W1,
        (vector, NOTHING),
        (vector, NOTHING),
    )
    assert promise.of(PRESENCE) == GossipDelta(
        shard=SHARD,
        sender=W0,
        receiver=W1,
        map=PRESENCE,
        delta=PackedDelta(vector, vector, PackedRows.empty(), CLOCK),
        transfer=0,
        seen=vector,
        ready=True,
        holders=[],
        stretch=(0, replica.maps[PRESENCE].log_position),
    )
    assert promise.of(DURABLE).map == DURABLE


def test_a_map_that_has_rows_to_send_goes_apart_from_the_other() -> None:
    """What wants an answer does, and what waits for one says nothing meanwhile."""
    replica = Replica()
    replica.hear(W1, 0)
    first = [one for to, one in replica.round(0, idle=True) if to == "a/w1"]
    assert [
        (type(one), one.map, one.transfer) for one in first if isinstance(one, GossipDelta)
    ] == [
        (GossipDelta, PRESENCE, 1),
        (GossipDelta, DURABLE, 0),
    ]
    second = [one for to, one in replica.round(1, idle=True) if to == "a/w1"]
    assert [one.map for one in second if isinstance(one, GossipDelta)] == [DURABLE]


def test_a_greeting_of_one_map_goes_apart_from_a_promise_of_the_other() -> None:
    """The peer has told what it has seen of one of them only."""
    replica = Replica()
    peer = replica.gossip.heed(W1, at(0), ready=True)
    assert peer is not None
    peer.flows[PRESENCE].note_seen(replica.maps[PRESENCE].vector)
    said = [one for to, one in replica.round(0, idle=True) if to == "a/w1"]
    assert [(one.map, one.receiver) for one in said if isinstance(one, GossipDelta)] == [
        (PRESENCE, W1),
        (DURABLE, None),
    ]


def test_a_peer_that_was_heard_gets_what_it_lacks_at_once() -> None:
    """The map that has nothing for it waits for an idle round."""
    replica = Replica()
    replica.hear(W1, 0)
    ((to, message),) = replica.round(0)
    assert isinstance(message, GossipDelta)
    assert (to, message.map, message.receiver, len(message.delta.rows)) == (
        "a/w1",
        PRESENCE,
        W1,
        5,
    )
    assert message.seen == replica.maps[PRESENCE].vector


def test_an_old_life_of_a_peer_and_a_stranger_are_not_heeded() -> None:
    """A late word of the past must not undo the present."""
    replica = Replica()
    replica.hear(life("a/w1", 2), 0)
    assert replica.gossip.heed(W1, at(1), ready=True) is None
    assert replica.gossip.heed(life("a/w9"), at(1), ready=True) is None


def test_a_life_that_sorts_before_a_silent_one_is_the_new_one() -> None:
    """The clock of its machine is behind."""
    replica = Replica()
    replica.hear(life("a/w1", 2), 0)
    later = at(KNOBS.peer_silence_ms)
    peer = replica.gossip.heed(W1, later, ready=False)
    assert peer is not None
    assert peer.node == W1


def ack(sender: NodeId, receiver: NodeId, *, accepted: bool = True) -> GossipAck:
    """An answer to the first transfer."""
    return GossipAck(
        shard=SHARD,
        sender=sender,
        receiver=receiver,
        map=PRESENCE,
        transfer=1,
        accepted=accepted,
        seen=NOTHING,
    )


@pytest.mark.parametrize(
    "message", [ack(life("a/w1", 9), W0), ack(W1, life("a/w0", 9)), ack(life("a/w9"), W0)]
)
def test_answers_of_other_lives_count_nothing(message: GossipAck) -> None:
    """Neither of another sender nor to another receiver."""
    replica = Replica()
    replica.hear(W1, 0)
    replica.round(0)
    replica.gossip.note_ack(message, at(5))
    assert replica.round(5) == []
    replica.gossip.note_ack(ack(W1, W0), at(6))
    assert replica.gossip.next_round <= 6 + KNOBS.gossip_interval_ms


def test_rounds_come_soon_after_a_change_and_slowly_without() -> None:
    """Each idle round sets the next one."""
    gossip = Gossip(W0, SHARD, KNOBS, at(0))
    assert gossip.is_idle_round(at(0))
    assert gossip.next_round == KNOBS.gossip_idle_ms
    gossip.want_round(at(10))
    assert gossip.next_round == 10 + KNOBS.gossip_interval_ms
    assert not gossip.is_idle_round(at(30))
    assert gossip.next_round == KNOBS.gossip_idle_ms


def test_who_is_no_replica_any_more_is_forgotten_and_who_stays_is_kept() -> None:
    """With what is known of it."""
    replica = Replica()
    peer = replica.hear(W1, 0)
    replica.gossip.note_peers([name(W1)], at(1))
    assert list(replica.gossip) == [(name(W1), peer)]


def test_all_started_anew_only_if_each_was_heard_and_none_may_vouch() -> None:
    """Or if there is nobody else."""
    replica = Replica()
    assert not replica.gossip.all_started_anew()
    replica.gossip.heed(W1, at(0), ready=False)
    replica.gossip.heed(W2, at(0), ready=False)
    anew = [replica.gossip.all_started_anew()]
    replica.gossip.heed(W2, at(0), ready=True)
    anew.append(replica.gossip.all_started_anew())
    replica.gossip.note_peers([], at(0))
    anew.append(replica.gossip.all_started_anew())
    assert anew == [True, False, True]


def test_peers_are_silent_by_name() -> None:
    """Also those that were never heard."""
    replica = Replica()
    replica.hear(W1, 0)
    assert replica.gossip.silent_peers(at(10)) == [name(W2)]
    assert replica.gossip.silent_peers(at(KNOBS.peer_silence_ms)) == [name(W1), name(W2)]
