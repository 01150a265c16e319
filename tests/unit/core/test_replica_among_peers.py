"""One replica among its peers: gossip, readiness, what was left behind, whom it can hear."""

from __future__ import annotations

import msgspec
import pytest

from crdt import KeyHasher, LWWMap, Origin, VersionVector
from presence_actors.core.events import ClusterChanged, DeadlineReached, Worker
from presence_actors.core.ids import NodeId, Topic, name_of, user_topic
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attached,
    Beat,
    Broadcasts,
    Changed,
    GossipAck,
    GossipDelta,
    HolderReport,
    Reach,
    Segment,
)
from presence_actors.core.messages import Said as Word
from presence_actors.core.values import decode_end
from presence_actors.core.views import PeerLag
from presence_actors.errors import InvariantBroken
from tests.unit.core.building import (
    G0,
    G1,
    LOBBY,
    NOTHING,
    SHARD,
    W0,
    W1,
    W2,
    WALL,
    at,
    delta_of,
    end,
    entry,
    intent,
    keys_of,
    life,
    stamp,
)
from tests.unit.core.replica_stage import KNOBS, Said, Stage, attach, gossip, operations

ALICE = user_topic("default", "alice")
HOME = entry(topic=ALICE)
W0_LATER = life("a/w0", 2)
G0_LATER = life("a/g0", 2)


def deltas(said: Said, which: int = PRESENCE) -> list[GossipDelta]:
    """What goes to peers of one map."""
    return [
        message for _, message in said if isinstance(message, GossipDelta) and message.map == which
    ]


def acks(said: Said) -> list[GossipAck]:
    """Answers to peers."""
    return [message for _, message in said if isinstance(message, GossipAck)]


def reaches(stage: Stage, instant: int) -> dict[int, Reach]:
    """What G0, which beats, hears of whom nobody hears until an instant, by number of segment.

    It acknowledges nothing, so that it hears all of it again and again.
    """
    return {
        message.sequence: message.body.reach
        for to, message in stage.passes(instant, beating=[G0])
        if isinstance(message, Segment)
        and isinstance(message.body, Changed)
        and message.body.reach is not None
        and to == name_of(G0)
    }


# --- gossip


def test_a_delta_is_answered_with_what_has_been_seen() -> None:
    """The rows are here then."""
    stage = Stage(peers=[W1])
    theirs = entry(origin=W1)
    said = stage.hears(W1, gossip(theirs, transfer=4))
    seen = stage.machine.maps()[PRESENCE].vector
    assert seen.covers(Origin(W1), theirs.stamp)
    assert said == [(name_of(W1), GossipAck(SHARD, W0, W1, PRESENCE, 4, accepted=True, seen=seen))]
    assert stage.entry(theirs) == theirs


def test_a_promise_that_is_accepted_wants_no_answer_and_one_that_is_not_gets_one() -> None:
    """The peer must learn that it builds on what we have not seen."""
    stage = Stage(peers=[W1])
    assert acks(stage.hears(W1, gossip(transfer=0))) == []
    base = VersionVector({Origin(W1): stamp(5)})
    (answer,) = acks(stage.hears(W1, gossip(transfer=0, base=base)))
    assert (answer.accepted, answer.transfer) == (False, 0)
    assert Origin(W1) not in answer.seen


def test_what_is_not_for_this_life_or_not_from_a_peer_changes_nothing() -> None:
    """A late last part must not count at a life that lacks the parts before it."""
    stage = Stage(peers=[W1])
    stranger = gossip(entry(origin=W2), sender=W2)
    assert stage.hears(W2, stranger) == []
    for_another = gossip(entry(origin=W1), receiver=life("a/w0", 9))
    assert acks(stage.hears(W1, for_another)) == []
    assert len(stage.machine.maps()[PRESENCE]) == 0


def test_a_write_reaches_the_peers_within_the_gossip_interval_and_once() -> None:
    """As soon as it is answered, nothing more is sent."""
    stage = Stage(peers=[W1])
    stage.hears(W1, gossip(transfer=0))
    stage.passes(100)
    stage.hears(G0, attach(HOME))
    (sent,) = deltas(stage.passes(100 + KNOBS.gossip_interval_ms))
    assert keys_of(sent.delta) == [HOME.key]
    assert (sent.receiver, sent.ready) == (W1, True)
    stage.hears(W1, GossipAck(SHARD, W1, W0, PRESENCE, sent.transfer, accepted=True, seen=NOTHING))
    assert {len(one.delta.rows) for one in deltas(stage.passes(2_000))} == {0}


def test_a_change_that_a_peer_tells_reaches_those_that_watch() -> None:
    """Entries and choices alike."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(topics=[LOBBY, ALICE]))
    stage.flushes()
    theirs = entry(origin=W1, holder=life("a/g7"))
    stage.hears(W1, gossip(theirs), gossip(intent(origin=W1), which=DURABLE))
    (told,) = stage.flushes()
    assert (list(told.rows), list(told.durable)) == ([theirs], [intent(origin=W1)])


def without_keys(message: GossipDelta) -> GossipDelta:
    """As a peer sends it that takes the entries for known here."""
    message.delta.rows.ids = None
    return message


def test_an_entry_that_is_not_known_is_asked_for_and_never_guessed() -> None:
    """The refusal makes the sender begin again, with full keys; it is no fault to report."""
    stage = Stage(peers=[W1])
    theirs = entry(origin=W1, holder=life("a/g7"))
    (answer,) = acks(stage.hears(W1, without_keys(gossip(theirs))))
    assert (answer.accepted, W1 in answer.seen) == (False, False)
    assert stage.machine.maps()[PRESENCE].rows_total == 0
    (answer,) = acks(stage.hears(W1, gossip(theirs)))
    assert answer.accepted
    newer = theirs._replace(stamp=stamp(5))
    (answer,) = acks(stage.hears(W1, without_keys(gossip(newer))))
    assert answer.accepted
    assert stage.entry(theirs) == newer
    assert (stage.reports, stage.machine.inspect().deltas_refused) == ([], 0)


def test_of_a_crowd_that_comes_at_once_watchers_hear_of_theirs() -> None:
    """And a gateway that has lost entries to it hears who beat them; all of it is held."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(HOME, topics=[LOBBY]))
    stage.flushes()
    crowd = [
        entry(f"user{number}", topic=f"default/room:{number}", origin=W1, written=2 + number)
        for number in range(100)
    ]
    strangers = [row._replace(holder=life("a/g7")) for row in crowd]
    bob = entry("bob", origin=W1, written=200, holder=life("a/g7"))
    resumed = HOME._replace(
        stamp=stamp(201), origin=Origin(W1), holder=life("a/g7"), epoch=HOME.epoch + (1 << 32)
    )
    stage.hears(W1, gossip(*strangers, bob, resumed))
    (told,) = stage.flushes()
    assert list(told.rows) == [bob]
    assert list(told.defeats) == [resumed]
    assert len(stage.machine.maps()[PRESENCE]) == 102


def test_a_crowd_that_names_a_gateway_which_knows_nothing_of_it_ends() -> None:
    """Whatever merge brings it, be it of many rows at once."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach())
    crowd = [
        entry(f"user{number}", topic=f"default/room:{number}", origin=W1, written=2 + number)
        for number in range(50)
    ]
    stage.hears(W1, gossip(*crowd))
    assert all(stage.ended(row) for row in crowd)


def test_hashes_under_another_secret_are_refused_and_reported_once() -> None:
    """By name, with what to do; nothing has changed, and the next good delta is taken."""
    stage = Stage(peers=[W1])
    foreign = LWWMap(drift_ms_max=0, hasher=KeyHasher(b"of another cluster"))
    bad = msgspec.structs.replace(
        gossip(entry(origin=W1)), delta=foreign.pack(delta_of(entry(origin=W1)))
    )
    for _ in range(3):
        (answer,) = acks(stage.hears(W1, bad))
        assert not answer.accepted
    (report,) = stage.reports
    assert (report.event, report.peer) == ("DeltaRefused", W1)
    assert "give every zone of the cluster the same secret" in report.reason
    assert stage.machine.inspect().deltas_refused == 3
    assert stage.machine.maps()[PRESENCE].rows_total == 0
    stage.hears(W1, gossip(entry(origin=W1, holder=life("a/g7"))))
    stage.hears(W1, bad)
    assert len(stage.reports) == 2


# --- readiness


def ready_after(*messages: GossipDelta) -> bool:
    """Whether a newcomer may vouch for absence when it has got these."""
    stage = Stage(first=False, peers=[W1])
    for message in messages:
        stage.hears(message.sender, message)
    return stage.machine.is_ready


def test_a_newcomer_is_ready_when_it_has_both_maps_of_a_ready_peer() -> None:
    """One of them is not enough."""
    entries, records = gossip(entry(origin=W1)), gossip(which=DURABLE)
    assert not ready_after(entries)
    assert not ready_after(records, records)
    assert ready_after(entries, records)
    assert ready_after(entries, records, entries)


@pytest.mark.parametrize(
    "entries",
    [
        gossip(receiver=None),
        gossip(ready=False),
        gossip(seen=VersionVector({Origin(W2): stamp(9)})),
        gossip(base=VersionVector({Origin(W1): stamp(9)})),
    ],
    ids=["a greeting", "of an unready peer", "with parts to come", "refused"],
)
def test_what_a_newcomer_may_lack_something_after_does_not_make_it_ready(
    entries: GossipDelta,
) -> None:
    """Absence of data is never an offline."""
    assert not ready_after(entries, gossip(which=DURABLE))


def test_replicas_that_have_all_started_anew_are_ready_after_their_grace() -> None:
    """There is nobody who knows more; the gateways have announced what they hold."""
    stage = Stage(first=False, peers=[W1])
    stage.hears(W1, gossip(ready=False))
    stage.passes(KNOBS.startup_grace_ms - 1)
    early = stage.machine.is_ready
    stage.passes(KNOBS.startup_grace_ms + KNOBS.gossip_idle_ms)
    assert (early, stage.machine.is_ready) == (False, True)


def test_a_newcomer_that_hears_no_peer_is_never_ready() -> None:
    """The peer may live behind a cut, and know what we do not."""
    stage = Stage(first=False, peers=[W1])
    stage.passes(10 * KNOBS.startup_grace_ms)
    assert not stage.machine.is_ready


def test_gateways_hear_when_their_replica_may_vouch() -> None:
    """What was unknown becomes offline then, or online."""
    stage = Stage(first=False, peers=[W1])
    stage.hears(G0, attach())
    stage.hears(W1, gossip(), gossip(which=DURABLE))
    assert [reach.ready for reach in reaches(stage, 600).values()] == [False, True]


# --- entries of old lives


def left_behind(*, first: bool = True, origin: NodeId = W0) -> Stage:
    """The second life of W0, which gets from W1 an entry that nobody announced again."""
    stage = Stage(node=W0_LATER, first=first, peers=[W1])
    stage.hears(W1, gossip(HOME._replace(origin=Origin(origin)), receiver=W0_LATER))
    return stage


def hear_of(stage: Stage, instant: int, *, silent_since: int | None = None) -> None:
    """Time passes, and every half second W1 says that G0 beats, or since when it is silent."""
    report = HolderReport(G0, None if silent_since is None else at(silent_since).wall)
    while stage.at < instant:
        stage.hears(W1, gossip(receiver=W0_LATER, transfer=0, holders=[report]))
        stage.passes(min(stage.at + 500, instant))


def test_an_entry_of_an_old_life_ends_after_the_grace_if_its_gateway_started_anew() -> None:
    """Whoever had it has had the time to come back."""
    stage = left_behind()
    stage.hears(G0_LATER, Beat(G0_LATER, W0_LATER, {}))
    stage.passes(KNOBS.grace_gateway_ms - 1)
    assert not stage.ended(HOME)
    stage.passes(KNOBS.grace_gateway_ms + KNOBS.gossip_idle_ms)
    assert stage.ended(HOME)
    held = stage.entry(HOME)
    assert held is not None
    assert decode_end(held.value).reason == "gateway_lost"


def test_a_newer_life_of_a_gateway_may_be_known_by_hearsay() -> None:
    """A peer reports it, and it never came here."""
    stage = left_behind()
    report = HolderReport(G0_LATER, None)
    stage.hears(W1, gossip(receiver=W0_LATER, transfer=0, holders=[report]))
    stage.passes(KNOBS.grace_gateway_ms + KNOBS.gossip_idle_ms)
    assert stage.ended(HOME)


def test_an_entry_of_an_old_life_ends_after_the_longest_wait_if_nobody_hears_its_gateway() -> None:
    """Not after the grace: the gateway may be cut off."""
    stage = left_behind()
    hear_of(stage, KNOBS.unreachable_ms_max - 1, silent_since=0)
    assert not stage.ended(HOME)
    hear_of(stage, KNOBS.unreachable_ms_max + KNOBS.gossip_idle_ms, silent_since=0)
    assert stage.ended(HOME)


def test_an_entry_of_an_old_life_stays_while_somebody_hears_its_gateway() -> None:
    """It will be announced again, or end by its holder's word."""
    stage = left_behind()
    hear_of(stage, KNOBS.unreachable_ms_max + 5_000)
    assert not stage.ended(HOME)


def test_an_old_life_whose_clock_was_ahead_is_known_by_its_silence() -> None:
    """Its incarnation compares greater than ours."""
    stage = left_behind(origin=life("a/w0", 9))
    hear_of(stage, KNOBS.unreachable_ms_max + KNOBS.gossip_idle_ms, silent_since=0)
    assert stage.ended(HOME)


def test_entries_of_other_workers_are_not_ours_to_clear_away() -> None:
    """They come back and do it themselves."""
    stage = left_behind(origin=W1)
    hear_of(stage, KNOBS.unreachable_ms_max + 5_000, silent_since=0)
    assert not stage.ended(HOME)


def test_a_replica_that_may_not_vouch_clears_nothing_away() -> None:
    """It does not know yet what was announced elsewhere."""
    stage = left_behind(first=False)
    stage.hears(G0_LATER, Beat(G0_LATER, W0_LATER, {}))
    stage.passes(KNOBS.grace_gateway_ms + 5_000)
    assert not stage.machine.is_ready
    assert not stage.ended(HOME)


# --- whom nobody can hear


def test_gateways_hear_which_peers_are_silent_and_when_they_are_back() -> None:
    """With the wall time of the last word, which bounds how old what they show may be."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach())
    stage.hears(W1, gossip(entry(origin=W1, written=100)))
    found = reaches(stage, KNOBS.unreachable_after_ms + 500)
    stage.hears(W1, gossip(entry(origin=W1, written=stage.at, session="s2")))
    found |= reaches(stage, stage.at + 500)
    silent = {W1: WALL + 100}
    assert [reach.origins for reach in found.values()] == [{}, silent, {}]


def test_gateways_hear_of_a_silent_gateway_after_lease_and_grace() -> None:
    """A short silence is nobody's business."""
    stage = Stage(node=W0_LATER, peers=[W1])
    stage.hears(G0, attach(gateway=G0))
    other = life("a/g1")
    stage.hears(other, attach(gateway=other))
    until = KNOBS.gateway_lease_ms + KNOBS.grace_gateway_ms
    early = reaches(stage, until - 1)
    late = reaches(stage, until + 2 * KNOBS.gossip_idle_ms)
    assert [reach.holders for reach in early.values() if reach.holders] == []
    assert late[max(late)].holders == {other: WALL}


@pytest.mark.parametrize("leaves", [False, True], ids=["falls silent", "leaves the cluster"])
def test_a_peer_that_is_not_there_vouches_for_no_gateway(*, leaves: bool) -> None:
    """Its last report said that the gateway beats, and nobody would ever correct it."""
    stage = Stage(peers=[W1])
    other = life("a/g1")
    stage.hears(G0, attach())
    stage.hears(other, attach(gateway=other))
    stage.hears(W1, gossip(transfer=0, holders=[HolderReport(other, None)]))
    if leaves:
        stage.happens(ClusterChanged([Worker(name_of(W0), "host")]))
    found = reaches(stage, KNOBS.gateway_lease_ms + KNOBS.grace_gateway_ms + 500)
    assert found[max(found)].holders == {other: WALL}


# --- a clock that is far behind


def clock_ahead(written: int) -> GossipDelta:
    """A peer's entry with a stamp of that instant."""
    return gossip(entry(session="s9", origin=W1, written=written, holder=life("a/g7")))


def test_a_replica_whose_clock_is_far_behind_takes_no_gateway_in() -> None:
    """The gateway repeats itself, and is heard when the clock is right."""
    stage = Stage(peers=[W1])
    stage.hears(W1, clock_ahead(1_500))
    behind = WALL - 600
    assert not stage.machine.may_serve(at(0, wall=behind))
    assert stage.hears(G0, attach(HOME), wall=behind) == []
    assert stage.machine.may_serve(at(0))
    assert stage.hears(G0, attach(HOME)) == [(name_of(G0), Attached(SHARD, W0, G0, 1))]


def test_a_replica_whose_clock_is_far_behind_acknowledges_no_operations() -> None:
    """They would be lost; so they are carried out when they come again."""
    stage = Stage(peers=[W1])
    stage.hears(W1, clock_ahead(1_500))
    stage.hears(G0, attach())
    stage.flushes()
    segment = Segment(SHARD, G0, W0, 1, 1, 99, operations(HOME))
    stage.hears(G0, segment, wall=WALL - 600)
    assert stage.entry(HOME) is None
    assert stage.passes(stage.at + KNOBS.flush_ms) == []
    stage.hears(G0, segment)
    assert not stage.ended(HOME)


def test_a_replica_whose_clock_is_far_behind_ends_nothing() -> None:
    """What it cannot stamp it leaves for later, and forgets nothing of it."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(HOME))
    until = KNOBS.gateway_lease_ms + KNOBS.unreachable_ms_max
    stage.passes(until - 1)
    stage.hears(W1, clock_ahead(until + 1_500))
    stage.at = until + KNOBS.gossip_idle_ms
    stage.happens(DeadlineReached(), wall=WALL)
    assert not stage.ended(HOME)
    stage.passes(until + 3 * KNOBS.gossip_idle_ms)
    assert stage.ended(HOME)


# --- pictures and invariants


def test_a_picture_shows_what_is_here_and_who_was_heard() -> None:
    """For people and metrics; nothing decides by it."""
    stage = Stage(peers=[W1, W2])
    stage.hears(G0, attach(HOME, entry(session="s2"), topics=[LOBBY]))
    stage.operates(end(HOME, written=2))
    stage.hears(W1, gossip(transfer=0, ready=False))
    stage.hears(W1, gossip(entry(session="s9", origin=W1, written=50_000)))
    stage.hears(W1, clock_ahead(100))
    stage.at = 300
    stage.happens(DeadlineReached())
    view = stage.machine.inspect()
    assert (view.shard, view.ready, view.deltas_refused) == (SHARD, True, 1)
    assert (view.entries, view.rows, view.durable, view.topics_watched) == (2, 3, 1, 1)
    assert view.gateways == [HolderReport(G0, None)]
    assert view.peers == [
        PeerLag(name=name_of(W1), node=W1, ready=True, lag_ms=200),
        PeerLag(name=name_of(W2), node=None, ready=False, lag_ms=None),
    ]
    assert view.digest == stage.machine.maps()[PRESENCE].digest_of_live().hex()


def test_equal_histories_give_equal_digests_on_different_replicas() -> None:
    """That is how agreement is seen."""
    one, other = Stage(peers=[W2]), Stage(node=W1, peers=[W2])
    for stage in (one, other):
        stage.hears(W2, gossip(entry(origin=W2), sender=W2, receiver=stage.node))
    assert one.machine.inspect().digest == other.machine.inspect().digest


def test_a_key_that_is_announced_and_not_in_the_map_is_found() -> None:
    """It could never be told nor ended."""
    stage = Stage()
    stage.hears(G0, attach())
    attachment = stage.machine._attached.get(G0)
    assert attachment is not None
    attachment.keys[HOME.key] = None
    with pytest.raises(InvariantBroken, match="is not in the map"):
        stage.machine.check()


# --- what clients say to each other

SAYING = Broadcasts(
    SHARD, [Word(LOBBY, "hello", b"1"), Word(Topic("default/room:den"), "ho", b"2")]
)


def test_what_a_gateway_says_goes_to_the_peers_whole_and_to_the_gateways_that_watch() -> None:
    """Each of those hears what was said in rooms of its own; the one that said it, nothing."""
    stage = Stage(peers=[W1, W2])
    stage.hears(G0, attach(topics=[LOBBY]))
    stage.hears(G1, attach(gateway=G1, topics=[LOBBY]))
    before = stage.machine.maps()[PRESENCE].log_position
    assert stage.hears(G0, SAYING) == [
        (name_of(W1), SAYING),
        (name_of(W2), SAYING),
        (name_of(G1), Broadcasts(SHARD, SAYING.said[:1])),
    ]
    assert stage.machine.maps()[PRESENCE].log_position == before


def test_what_a_peer_passes_on_goes_to_gateways_and_no_further() -> None:
    """Else it would go round for ever."""
    stage = Stage(peers=[W1, W2])
    stage.hears(G0, attach(topics=[LOBBY]))
    assert stage.hears(W1, SAYING) == [(name_of(G0), Broadcasts(SHARD, SAYING.said[:1]))]


def test_what_a_stranger_says_is_passed_over() -> None:
    """A gateway that is not attached here, say: its own replica sees to it."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(topics=[LOBBY]))
    assert stage.hears(G1, SAYING) == []


def test_a_silent_gateway_is_not_talked_to() -> None:
    """Nobody would hear it, and it is not repeated."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(topics=[LOBBY]))
    stage.passes(KNOBS.gateway_lease_ms + 500)
    assert stage.hears(W1, SAYING) == []
