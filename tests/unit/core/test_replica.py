"""One replica of one shard, as transcripts: what it hears, and what it keeps and says then."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from crdt import Changes, Origin, Row, Rows, epoch_move, epoch_resume
from presence_actors.core.events import DeadlineReached
from presence_actors.core.ids import NodeId, name_of, user_topic
from presence_actors.core.instants import Now
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attached,
    Beat,
    BeatAck,
    Operations,
    PeerMessage,
    Reach,
    Segment,
)
from presence_actors.core.store import ShardStore
from presence_actors.core.values import (
    LAST_SEEN_KEY,
    EndValue,
    EntryStatus,
    decode_end,
    decode_last_seen,
    pack_status,
)
from tests.unit.core.building import (
    G0,
    G1,
    LOBBY,
    SHARD,
    W0,
    W1,
    WALL,
    end,
    entry,
    intent,
    last_seen,
    life,
    stamp,
)
from tests.unit.core.replica_stage import (
    KNOBS,
    Said,
    Stage,
    attach,
    bodies,
    detached,
    gossip,
    operations,
)

ALICE = user_topic("default", "alice")
HOME = entry(topic=ALICE)
G0_LATER = life("a/g0", 2)


def attached(gateway: NodeId = G0, number: int = 1) -> tuple[str, PeerMessage]:
    """The attachment stands."""
    return name_of(gateway), Attached(SHARD, W0, gateway, number)


def segment(number: int, sequence: int, *, ack: int = 0) -> Segment:
    """A segment of G0 without a body."""
    return Segment(SHARD, G0, W0, number, sequence, ack, None)


def reason_of(stage: Stage) -> str:
    """Why the entry of HOME's key ended."""
    held = stage.entry(HOME)
    assert held is not None
    return decode_end(held.value).reason


# --- attaching


def test_an_announcement_is_written_and_answered_with_what_is_there() -> None:
    """The attachment stands at once; the topics follow complete, with whom nobody can hear."""
    stage = Stage()
    assert stage.hears(G0, attach(entry(), topics=[LOBBY])) == [attached()]
    held = stage.entry(entry())
    assert held is not None
    assert (held.origin, held.holder) == (Origin(W0), G0)
    (told,) = stage.flushes()
    assert (list(told.rows), told.loaded) == ([held], [LOBBY])
    assert told.reach == Reach(ready=True, origins={}, holders={}, zones={})
    assert told.vectors == tuple(source.vector for source in stage.machine.maps())


def test_an_announcement_that_is_repeated_is_answered_again_and_changes_nothing() -> None:
    """Its answer was lost; what was gathered since counts."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.operates(end(HOME, written=2))
    assert stage.hears(G0, attach(HOME)) == [attached()]
    assert stage.ended(HOME)


def test_an_announcement_older_than_the_attachment_is_passed_over() -> None:
    """It was under way too long."""
    stage = Stage()
    stage.hears(G0, attach(HOME, number=2))
    assert stage.hears(G0, attach(number=1)) == []
    assert not stage.ended(HOME)


def test_what_an_announcement_does_not_hold_any_more_ends_as_left() -> None:
    """The gateway ended it while it could not tell us."""
    stage = Stage()
    stage.hears(G0, attach(HOME, entry(session="s2")))
    stage.hears(G0, attach(entry(session="s2"), number=2))
    assert stage.ended(HOME)
    assert reason_of(stage) == "left"
    assert not stage.ended(entry(session="s2"))


def test_an_end_that_an_announcement_tells_is_written_with_its_reason() -> None:
    """Tombstones are announced, too, until the replica has them."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.hears(G0, attach(end(HOME, written=2, reason="timeout"), number=2))
    assert stage.ended(HOME)
    assert reason_of(stage) == "timeout"


def test_an_announcement_that_the_gateway_has_moved_on_from_is_refused() -> None:
    """Its set is old: what is missing from it must not end."""
    stage = Stage(peers=[W1])
    stage.hears(W1, gossip(entry(attachment=2, origin=W1, topic=ALICE)))
    assert stage.hears(G0, attach(number=1)) == [detached()]
    assert not stage.ended(HOME)


# --- the stream of a gateway


def test_operations_are_written_in_order_once_and_acknowledged() -> None:
    """A repeated segment is acknowledged again and not carried out."""
    stage = Stage()
    stage.hears(G0, attach())
    stage.flushes()
    said = stage.operates(entry())
    assert said == []
    acknowledged = Segment(SHARD, W0, G0, 1, 1, 1, None)
    assert stage.passes(stage.at + KNOBS.flush_ms) == [(name_of(G0), acknowledged)]
    held = stage.entry(entry())
    again = Segment(SHARD, G0, W0, 1, 1, 0, operations(entry()))
    stage.hears(G0, again)
    assert (name_of(G0), acknowledged) in stage.passes(stage.at + KNOBS.flush_ms)
    assert stage.entry(entry()) == held


def test_a_segment_beyond_a_gap_is_neither_carried_out_nor_acknowledged() -> None:
    """What is missing before it comes again, and then it does."""
    stage = Stage()
    stage.hears(G0, attach())
    stage.flushes()
    stage.hears(G0, Segment(SHARD, G0, W0, 1, 2, 99, operations(HOME)))
    assert stage.entry(HOME) is None
    assert stage.passes(stage.at + KNOBS.flush_ms) == []


def test_a_segment_of_an_attachment_that_is_not_there_is_answered_with_its_end() -> None:
    """One of an older attachment than ours is only late."""
    stage = Stage()
    assert stage.hears(G0, segment(1, 0)) == [detached()]
    stage.hears(G0, attach(number=2))
    assert stage.hears(G0, segment(1, 0)) == []
    assert stage.hears(G0, segment(3, 0)) == [detached(number=3)]


def test_an_acknowledgement_alone_ends_the_repetition() -> None:
    """Without one, the segment comes again and again."""
    stage = Stage()
    stage.hears(G0, attach(topics=[LOBBY]))
    assert len(bodies(stage.passes(KNOBS.flush_ms + 2 * KNOBS.resend_ms))) == 3
    stage.hears(G0, segment(1, 0, ack=1))
    assert bodies(stage.passes(stage.at + 2 * KNOBS.resend_ms)) == []


def test_changes_reach_a_gateway_while_it_watches_their_topic() -> None:
    """From the whole topic on, until it does not watch it any more."""
    stage = Stage()
    stage.hears(G0, attach(entry()))
    stage.hears(G1, attach(gateway=G1))
    stage.flushes()
    stage.operates(watch=[LOBBY], gateway=G1)
    (whole,) = stage.flushes()
    assert ([row.key for row in whole.rows], whole.loaded) == ([entry().key], [LOBBY])
    stage.operates(end(entry(), written=2))
    (change,) = stage.flushes()
    assert ([row.live for row in change.rows], change.loaded) == ([False], [])
    stage.operates(unwatch=[LOBBY], gateway=G1)
    stage.operates(entry(session="s2"))
    assert stage.flushes() == []


# --- beats


@pytest.mark.parametrize(
    ("beat", "answer"),
    [
        (Beat(G0, W0, {SHARD: 2}), []),
        (Beat(G0, W0, {}), []),
        (Beat(G0, W0, {SHARD: 1}), []),
        (Beat(G0, W0, {SHARD: 3}), [detached(number=3)]),
        (Beat(G0, life("a/w0", 9), {SHARD: 2}), [detached(number=2)]),
        (Beat(G1, W0, {SHARD: 2}), [detached(G1, number=2)]),
    ],
    ids=["ours", "another shard", "late", "unknown number", "another life", "not attached"],
)
def test_a_beat_is_answered_only_if_it_speaks_of_an_attachment_that_is_not_there(
    beat: Beat, answer: Said
) -> None:
    """So either side notices when the other has forgotten; the attachment here is number 2."""
    stage = Stage()
    stage.hears(G0, attach(number=2))
    assert stage.hears(beat.gateway, beat) == answer


def test_messages_for_a_gateway_do_no_harm() -> None:
    """A peer of another mind is passed over."""
    assert Stage().hears(W1, BeatAck(W1, [])) == []


# --- who has the right to a key


def test_a_row_that_comes_too_late_is_refused_and_told_what_beat_it() -> None:
    """The client has resumed at another gateway since."""
    stage = Stage()
    newer = entry(resume=1, holder=G1, topic=ALICE)
    stage.hears(G1, attach(newer, gateway=G1))
    stage.hears(G0, attach(HOME))
    (told,) = stage.flushes()[-1:]
    assert [row.holder for row in told.defeats] == [G1]
    assert stage.entry(HOME) == told.defeats.row(0)


def test_a_row_of_the_same_epoch_does_not_bring_back_what_has_ended() -> None:
    """Only a greater move refutes an end; the end is told."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.operates(end(HOME, written=2))
    stage.flushes()
    stage.operates(HOME)
    (told,) = stage.flushes()
    assert [row.live for row in told.defeats] == [False]
    stage.operates(HOME._replace(epoch=HOME.epoch + 1))
    assert not stage.ended(HOME)


def test_an_end_that_comes_too_late_ends_nothing_and_needs_no_word() -> None:
    """Its gateway no longer holds the session anyway."""
    stage = Stage()
    stage.hears(G1, attach(entry(resume=1, holder=G1, topic=ALICE), gateway=G1))
    stage.hears(G0, attach())
    stage.flushes()
    stage.operates(end(HOME, written=2))
    assert not stage.ended(HOME)
    assert stage.flushes() == []


def test_a_second_end_of_an_entry_leaves_the_first() -> None:
    """Subscribers hear one reason."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.operates(end(HOME, written=2, reason="timeout"))
    stage.operates(end(HOME._replace(epoch=HOME.epoch + 1), written=3, reason="left"))
    assert reason_of(stage) == "timeout"


def test_an_end_of_what_was_never_heard_of_is_kept() -> None:
    """The row it ends may come later, by another way."""
    stage = Stage()
    stage.hears(G0, attach())
    stage.operates(end(HOME, written=2))
    assert stage.ended(HOME)


def test_a_gateway_whose_session_another_one_takes_over_is_told() -> None:
    """Once: it no longer holds the key then."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.hears(G1, attach(gateway=G1))
    stage.flushes()
    stage.operates(entry(resume=1, holder=G1, topic=ALICE), gateway=G1)
    (told,) = stage.flushes()
    assert [(row.key, row.holder) for row in told.defeats] == [(HOME.key, G1)]
    stage.operates(entry(resume=2, holder=G1, topic=ALICE), gateway=G1)
    assert stage.flushes() == []


def test_an_entry_that_comes_back_to_a_gateway_that_had_lost_it_ends_as_left() -> None:
    """The gateway no longer holds it here, and has not announced it again."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(HOME))
    stage.hears(W1, gossip(entry(resume=1, holder=G1, origin=W1, topic=ALICE)))
    back = entry(resume=2, origin=W1, topic=ALICE, written=2)
    stage.hears(W1, gossip(back))
    assert stage.ended(HOME)
    assert reason_of(stage) == "left"


def test_a_holder_is_told_of_an_end_that_a_peer_wrote_in_its_place() -> None:
    """It lives, so it will refute it."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach(HOME))
    stage.flushes()
    lost = end(HOME, written=9, reason="gateway_lost", origin=W1)._replace(holder="")
    stage.hears(W1, gossip(lost))
    assert stage.ended(HOME)
    (told,) = stage.flushes()
    assert list(told.defeats) == [lost]


def test_all_entries_of_a_gateway_that_is_given_up_end_in_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of them: a write for each would hold everything else up for as many."""
    stage = Stage()
    rows = [entry(f"u{number}") for number in range(40)]
    stage.hears(G0, attach(*rows))
    written: list[int] = []
    write = ShardStore.write

    def counted(self: ShardStore, which: int, rows: Sequence[Row], now: Now) -> Changes | None:
        if which == PRESENCE:
            written.append(len(rows))
        return write(self, which, rows, now)

    monkeypatch.setattr(ShardStore, "write", counted)
    stage.passes(KNOBS.gateway_lease_ms + KNOBS.unreachable_ms_max + 1_000)
    assert all(stage.ended(row) for row in rows)
    assert written == [40]


def test_an_entry_that_its_attached_gateway_does_not_know_ends_as_left() -> None:
    """The gateway has announced everything that it holds."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach())
    stage.hears(W1, gossip(HOME._replace(origin=Origin(W1))))
    assert stage.ended(HOME)
    assert reason_of(stage) == "left"


def test_an_entry_written_under_a_later_attachment_ends_our_own() -> None:
    """The gateway has attached elsewhere since: what it holds we no longer know."""
    stage = Stage(peers=[W1])
    stage.hears(G0, attach())
    stage.hears(W1, gossip(entry(attachment=2, origin=W1, topic=ALICE)))
    assert not stage.ended(HOME)
    assert stage.hears(G0, Beat(G0, W0, {SHARD: 1})) == [detached()]


def test_an_entry_of_unsure_visibility_takes_over_what_is_held() -> None:
    """And is hidden where nothing live is held."""
    unsure = pack_status(EntryStatus.AWAY, unsure=True)
    stage = Stage()
    unheard, over = entry(session="s2"), entry(session="s3")
    stage.hears(G0, attach(HOME, over, unheard._replace(status=unsure)))
    stage.operates(HOME._replace(status=unsure), end(over, written=2))
    stage.operates(over._replace(status=unsure, epoch=over.epoch + 1))
    shown: list[int] = []
    for row in (HOME, unheard, over):
        held = stage.entry(row)
        assert held is not None
        shown.append(held.status)
    hidden = pack_status(EntryStatus.AWAY, hidden=True)
    assert shown == [EntryStatus.AWAY, hidden, hidden]


# --- the durable map


def test_of_two_choices_the_private_one_takes_the_greater_epoch() -> None:
    """`invisible` takes the epoch it saw + 1, all others the epoch they saw."""
    stage = Stage()
    stage.hears(G0, attach())
    turns: list[int] = []
    for status in ("dnd", "invisible", "", "invisible"):
        stage.operates(durable=[intent(status=status)])
        held = stage.record(intent())
        assert held is not None
        turns.append(epoch_resume(held.epoch))
        assert epoch_move(held.epoch) == 0
    assert turns == [0, 1, 1, 2]


def test_a_last_seen_record_of_a_gateway_is_no_choice() -> None:
    """It keeps its epoch, whatever its value may look like."""
    stage = Stage()
    stage.hears(G0, attach())
    stage.operates(durable=[last_seen(when=5)])
    held = stage.record(last_seen(when=0))
    assert held is not None
    assert (held.epoch, decode_last_seen(held.value).at) == (0, WALL + 5)


def test_when_a_device_goes_it_is_remembered_when() -> None:
    """In the user's own topic only: leaving a room is no going away."""
    stage = Stage()
    stage.hears(G0, attach(HOME, entry()))
    stage.passes(1_000)
    stage.operates(end(entry(), written=2))
    assert len(stage.machine.maps()[DURABLE]) == 0
    stage.operates(end(HOME, written=2))
    held = stage.machine.maps()[DURABLE].get((ALICE, "alice", LAST_SEEN_KEY))
    assert held is not None
    assert decode_last_seen(held.value).at == WALL + 1_000


def test_nobody_invisible_is_seen_going() -> None:
    """A time of going would tell, once the choice has ended, that somebody was there."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.operates(durable=[intent(status="invisible")])
    stage.operates(end(HOME, written=2))
    assert stage.record(last_seen(when=0)) is None


def test_an_end_in_the_place_of_a_holder_says_that_nobody_could_see_the_entry() -> None:
    """So that no later subscriber is told of it."""
    stage = Stage()
    stage.hears(G0, attach(entry(hidden=True)))
    stage.passes(KNOBS.gateway_lease_ms + KNOBS.unreachable_ms_max + KNOBS.gossip_idle_ms)
    held = stage.entry(entry())
    assert held is not None
    assert decode_end(held.value) == EndValue("gateway_lost", hidden=True)


def test_a_gateway_that_asks_is_told_what_the_replica_has_seen() -> None:
    """Though nothing that it watches has changed."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.passes(100)
    asked = Operations(Rows.empty(), Rows.empty(), [], [], ask_seen=True)
    stage.hears(G0, Segment(SHARD, G0, W0, 1, 1, 99, asked))
    (told,) = stage.flushes()
    assert len(told.rows) == 0
    assert told.vectors[PRESENCE] == stage.machine.maps()[PRESENCE].vector


# --- silent gateways


def test_entries_of_a_silent_gateway_end_only_after_the_longest_wait() -> None:
    """Until then nobody knows whether it is gone or cut off."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    until = KNOBS.gateway_lease_ms + KNOBS.unreachable_ms_max
    stage.passes(until - KNOBS.gossip_idle_ms)
    assert not stage.ended(HOME)
    stage.passes(until + KNOBS.gossip_idle_ms)
    assert stage.ended(HOME)
    assert reason_of(stage) == "gateway_lost"
    assert stage.machine.maps()[DURABLE].get((ALICE, "alice", LAST_SEEN_KEY)) is not None


def test_entries_of_a_gateway_that_has_started_anew_end_after_its_grace() -> None:
    """Whoever had resumed by then is held by somebody else."""
    stage = Stage()
    stage.hears(G0, attach(HOME, entry(session="s2")))
    stage.hears(G1, attach(gateway=G1))
    stage.operates(entry(session="s2", resume=1, holder=G1), gateway=G1)
    stage.hears(G0_LATER, Beat(G0_LATER, W0, {}))
    until = KNOBS.gateway_lease_ms + KNOBS.grace_gateway_ms
    stage.passes(until - KNOBS.gossip_idle_ms, beating=[G1])
    assert not stage.ended(HOME)
    stage.passes(until + KNOBS.gossip_idle_ms, beating=[G1])
    assert stage.ended(HOME)
    assert not stage.ended(entry(session="s2"))


def test_entries_that_another_replica_stamped_are_not_ours_to_end() -> None:
    """Their gateway has attached there, and its replica there will judge."""
    stage = Stage(peers=[W1])
    theirs = entry(session="s2", origin=W1)
    stage.hears(G0, attach(HOME, theirs))
    stage.hears(W1, gossip(theirs._replace(stamp=stamp(1_000))))
    stage.passes(KNOBS.gateway_lease_ms + KNOBS.unreachable_ms_max + 250)
    assert stage.ended(HOME)
    assert not stage.ended(theirs)


def test_a_gateway_that_beats_keeps_its_entries_for_ever() -> None:
    """However long it says nothing else."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.passes(2 * KNOBS.unreachable_ms_max, beating=[G0])
    assert not stage.ended(HOME)


def test_a_replica_that_wakes_up_late_judges_nobody_at_once() -> None:
    """The beats of its gateways wait unread."""
    stage = Stage()
    stage.hears(G0, attach(HOME))
    stage.passes(1_000, beating=[G0])
    stage.at += 10 * KNOBS.unreachable_ms_max
    stage.happens(DeadlineReached())
    assert not stage.ended(HOME)
    assert stage.hears(G0, Beat(G0, W0, {SHARD: 1})) == []
    stage.passes(stage.at + 1_000)
    assert not stage.ended(HOME)
