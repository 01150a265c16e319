"""A gateway's side of one attachment: what gathers, what is sent, what comes back after a break."""

from __future__ import annotations

from crdt import Origin, Row, Rows, Stamp, VersionVector, epoch_resume
from presence_actors.core.epochs import entry_epoch
from presence_actors.core.ids import NodeId, RequestId, ShardId, Topic, ZoneId
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.limits import SEGMENTS_UNACKNOWLEDGED_MAX
from presence_actors.core.messages import Attach, Changed, Operations, Reach, Segment
from presence_actors.core.shard_link import ShardLink
from tests.unit.core.building import (
    G0,
    LOBBY,
    SHARD,
    W0,
    W1,
    at,
    end,
    entry,
    intent,
    name,
    stamp,
    unstamped,
)
from tests.unit.core.gateway_stage import NOT_READY

RESEND = 500
OTHER = Topic("default/room:other")
ALICE, BOB = unstamped(entry("alice")), unstamped(entry("bob"))
CHOICE = unstamped(intent("alice", status="dnd"))
NEWER_CHOICE = unstamped(intent("alice", status="away"))
EMPTY = Rows.empty()


def lost_link() -> ShardLink:
    """A link that was just made."""
    return ShardLink(SHARD, at(0))


def attaching_link(*held: Row) -> ShardLink:
    """A link that has announced itself to W0 and waits for the answer."""
    link = lost_link()
    link.choose(name(W0), W0)
    link.attach(G0, held, [], [], Instant(RESEND))
    return link


def attached_link() -> ShardLink:
    """A link that is attached to W0 since instant 0 and has nothing to say."""
    link = attaching_link()
    link.note_attached(at(0))
    link.hear(NOT_READY)
    assert sent(link, 0) == []
    return link


def sent(link: ShardLink, instant: int) -> list[Segment]:
    """What goes out at an instant."""
    return link.take_segments(G0, Instant(instant), repeat_ms=RESEND)


def bodies(segments: list[Segment]) -> list[Operations]:
    """The operations of segments that have some."""
    return [segment.body for segment in segments if isinstance(segment.body, Operations)]


def operations(*rows: Row, durable: list[Row] | None = None) -> Operations:
    """A body of rows."""
    return Operations(rows=Rows.of(rows), durable=Rows.of(durable or []), watch=[], unwatch=[])


def changed(*rows: Row, upto: int = 0) -> Changed:
    """News from the replica."""
    seen = VersionVector({Origin(W0): stamp(upto)})
    return Changed(Rows.of(rows), EMPTY, (seen, seen), [], EMPTY, None)


def moved(row: Row, attachment: int) -> Row:
    """The row under the number of a later attempt to attach."""
    return row._replace(epoch=entry_epoch(resume=epoch_resume(row.epoch), attachment=attachment))


def received(
    link: ShardLink, *, sequence: int = 0, ack: int = 0, body: Changed | None = None
) -> tuple[Changed | None, list[RequestId]]:
    """What a segment of the replica brings."""
    segment = Segment(ShardId(0), W0, G0, link.number, sequence, ack, body)
    return link.receive(segment, Instant(2 * RESEND))


# ---------------------------------------------------------------------------------------- gathering


def test_only_the_newest_version_of_each_row_goes_out_when_its_time_has_come() -> None:
    """In the order of the last change; the first change sets the time."""
    link = attached_link()
    link.write(ALICE, Instant(5))
    link.write(BOB, Instant(9))
    link.write(ALICE._replace(status=3), Instant(9))
    assert link.deadline() == 5
    assert sent(link, 4) == []
    assert sent(link, 5) == [
        Segment(SHARD, G0, W0, 1, 1, 0, operations(BOB, ALICE._replace(status=3)))
    ]
    assert sent(link, 5) == []


def test_a_topic_that_is_wanted_and_given_up_within_one_flush_is_only_given_up() -> None:
    """And the other way round."""
    link = attached_link()
    link.watch(LOBBY, Instant(5))
    link.unwatch(LOBBY, Instant(5))
    link.unwatch(OTHER, Instant(5))
    link.watch(OTHER, Instant(5))
    assert bodies(sent(link, 5)) == [Operations(EMPTY, EMPTY, [OTHER], [LOBBY])]


def test_a_replica_is_asked_once_what_it_has_seen() -> None:
    """Though there is nothing else to say."""
    link = attached_link()
    link.ask_seen(Instant(5))
    assert bodies(sent(link, 5)) == [Operations(EMPTY, EMPTY, [], [], ask_seen=True)]
    assert sent(link, 9) == []


def test_a_dismissal_goes_out_and_is_answered_when_a_replica_has_it() -> None:
    """Beside a row of the same key, which it does not replace."""
    link = attached_link()
    link.write(ALICE, Instant(5))
    link.dismiss(unstamped(end(entry("alice"), written=2)), RequestId(7), Instant(5))
    (body,) = bodies(sent(link, 5))
    assert body.rows == Rows.of([ALICE])
    assert body.dismissals == Rows.of([unstamped(end(entry("alice"), written=2))])
    assert received(link, ack=0)[1] == []
    assert received(link, ack=1)[1] == [7]


def test_a_dismissal_that_the_old_replica_did_not_acknowledge_goes_to_the_next() -> None:
    """And its answer waits for that one."""
    link = attached_link()
    link.dismiss(unstamped(end(entry("alice"), written=2)), RequestId(7), Instant(5))
    assert len(bodies(sent(link, 5))) == 1
    link.detach(at(10))
    link.choose(name(W1), W1)
    link.attach(G0, [], [], [], Instant(RESEND))
    link.note_attached(at(20))
    (body,) = bodies(sent(link, 20))
    assert body.dismissals == Rows.of([unstamped(end(entry("alice"), written=2))])


def test_what_is_only_in_the_announcement_is_confirmed_by_a_segment_behind_it() -> None:
    """Else an answer would wait until somebody else has something to say."""
    link = attached_link()
    link.write(ALICE, Instant(5))
    link.confirm(RequestId(7), Instant(5))
    assert len(bodies(sent(link, 5))) == 1
    link.detach(at(10))
    link.choose(name(W1), W1)
    link.attach(G0, [ALICE], [], [], Instant(RESEND))
    link.note_attached(at(20))
    (behind,) = sent(link, 20)
    assert behind.sequence == 1
    answer = Segment(ShardId(0), W1, G0, link.number, 0, 1, None)
    assert link.receive(answer, Instant(2 * RESEND))[1] == [7]
    assert sent(link, 30) == []


def test_nothing_goes_out_while_no_replica_is_attached() -> None:
    """It gathers, and nothing is due but the announcement."""
    link = lost_link()
    link.write(ALICE, Instant(5))
    assert link.deadline() is None
    assert sent(link, 100) == []
    waiting = attaching_link()
    waiting.write(ALICE, Instant(5))
    assert waiting.deadline() == RESEND
    assert sent(waiting, 100) == []


def test_a_full_window_gathers_until_the_replica_has_caught_up() -> None:
    """Then the newest of each row goes in one segment."""
    link = attached_link()
    for number in range(SEGMENTS_UNACKNOWLEDGED_MAX):
        link.write(ALICE._replace(value=b"%d" % number), Instant(number))
        assert len(sent(link, number)) == 1
    for value in (b"a", b"b"):
        link.write(ALICE._replace(value=value), Instant(20))
        assert sent(link, 20) == []
    assert link.deadline() == RESEND  # Only the repetition is due.
    received(link, ack=3)
    assert link.deadline() == 20
    assert bodies(sent(link, 21)) == [operations(ALICE._replace(value=b"b"))]


# -------------------------------------------------------------------------------------- the stream


def test_what_is_not_acknowledged_is_sent_again_under_its_number() -> None:
    """All of it, from the oldest on."""
    link = attached_link()
    link.write(ALICE, Instant(5))
    first = sent(link, 5)
    link.write(BOB, Instant(6))
    second = sent(link, 6)
    assert link.deadline() == 5 + RESEND
    assert sent(link, 4 + RESEND) == []
    assert sent(link, 5 + RESEND) == [*first, *second]
    received(link, ack=2)
    assert link.deadline() is None


def test_news_are_taken_in_their_order_and_once() -> None:
    """A gap waits for the repetition; a repeated segment brings nothing."""
    link = attached_link()
    first, second = changed(entry("alice"), upto=1), changed(entry("bob"), upto=2)
    assert received(link, sequence=2, body=second) == (None, [])
    assert link.vectors[0].get(Origin(W0)) == 0
    assert received(link, sequence=1, body=first) == (first, [])
    assert received(link, sequence=2, body=second) == (second, [])
    assert received(link, sequence=1, body=first) == (None, [])
    assert link.vectors[0] == link.vectors[1] == VersionVector({Origin(W0): stamp(2)})


def test_a_topic_from_a_replica_that_is_behind_is_partial_until_that_has_caught_up() -> None:
    """Another one showed us to have seen more, of topics that we did not ask it for."""
    link = attached_link()
    received(link, sequence=1, body=changed(upto=5))
    link.note_loaded(LOBBY, known=False)
    link.detach(at(10))
    link.choose(name(W0), W0)
    link.attach(G0, [], [LOBBY], [], Instant(RESEND))
    link.note_attached(at(10))
    received(link, sequence=1, body=changed(upto=3))
    for topic, known in ((LOBBY, True), (OTHER, False)):
        link.note_loaded(topic, known=known)
    assert [link.is_partial(topic) for topic in (LOBBY, OTHER)] == [False, True]
    received(link, sequence=2, body=changed(upto=5))
    assert not link.is_partial(OTHER)


def test_a_partial_topic_stays_so_until_the_next_replica_has_told_all_of_it() -> None:
    """That it has caught up says nothing of a topic that it has not been asked for yet."""
    link = attached_link()
    received(link, sequence=1, body=changed(upto=5))
    link.choose(name(W0), W0)
    received(link, sequence=1, body=changed(upto=3))
    link.note_loaded(OTHER, known=False)
    link.choose(name(W0), W0)
    received(link, sequence=1, body=changed(upto=6))
    assert link.is_partial(OTHER)
    link.note_loaded(OTHER, known=True)
    assert not link.is_partial(OTHER)


def test_what_came_in_is_acknowledged_without_news_of_our_own() -> None:
    """Under the number of our last segment; once."""
    link = attached_link()
    received(link, sequence=1, body=changed())
    link.want_acknowledgement(Instant(5))
    assert sent(link, 5) == [Segment(SHARD, G0, W0, 1, 0, 1, None)]
    assert link.deadline() is None
    link.want_acknowledgement(Instant(9))
    assert sent(link, 9) == []


def test_a_segment_with_news_acknowledges_on_its_way() -> None:
    """So that two that talk need no further frames."""
    link = attached_link()
    received(link, sequence=1, body=changed())
    link.want_acknowledgement(Instant(5))
    link.write(ALICE, Instant(5))
    assert [segment.ack for segment in sent(link, 5)] == [1]


def test_a_full_window_does_not_keep_an_acknowledgement_back() -> None:
    """It goes alone, and what gathered stays due."""
    link = attached_link()
    for number in range(SEGMENTS_UNACKNOWLEDGED_MAX):
        link.write(ALICE._replace(value=b"%d" % number), Instant(number))
        sent(link, number)
    link.write(BOB, Instant(20))
    received(link, sequence=1, body=changed())
    full = SEGMENTS_UNACKNOWLEDGED_MAX
    assert sent(link, 20) == [Segment(SHARD, G0, W0, 1, full, 1, None)]
    received(link, ack=full)
    assert bodies(sent(link, 21)) == [operations(BOB)]


# ------------------------------------------------------------------------------------------ choices


def test_a_request_is_done_when_the_replica_has_its_record() -> None:
    """Not when it is sent, and only once."""
    link = attached_link()
    link.write_durable(CHOICE, RequestId(1), Instant(5))
    link.write_durable(NEWER_CHOICE, RequestId(2), Instant(5))
    assert received(link, ack=9) == (None, [])
    assert bodies(sent(link, 5)) == [operations(durable=[NEWER_CHOICE])]
    link.write_durable(CHOICE, RequestId(3), Instant(9))
    link.write_durable(CHOICE, None, Instant(9))
    sent(link, 9)
    assert received(link, ack=1) == (None, [RequestId(1), RequestId(2)])
    assert received(link, ack=1) == (None, [])
    assert received(link, ack=2) == (None, [RequestId(3)])


def test_the_newest_record_that_no_replica_has_confirmed_can_be_asked_for() -> None:
    """Gathered or on its way; none once it is confirmed."""
    link = attached_link()
    assert link.unacknowledged(CHOICE.key) is None
    link.write_durable(CHOICE, None, Instant(5))
    assert link.unacknowledged(CHOICE.key) == CHOICE
    sent(link, 5)
    assert link.unacknowledged(CHOICE.key) == CHOICE
    link.write_durable(NEWER_CHOICE, None, Instant(6))
    assert link.unacknowledged(CHOICE.key) == NEWER_CHOICE
    sent(link, 6)
    assert link.unacknowledged(CHOICE.key) == NEWER_CHOICE
    assert link.unacknowledged(intent("bob").key) is None
    received(link, ack=2)
    assert link.unacknowledged(CHOICE.key) is None


# ---------------------------------------------------------------------------------------- attaching


def test_an_announcement_has_all_that_is_held_and_ends_that_may_not_have_been_heard_of() -> None:
    """A live row that gathered meanwhile is among what is held."""
    link = lost_link()
    link.write(ALICE, Instant(5))
    gone = end(BOB, written=0)._replace(stamp=BOB.stamp)
    link.write(gone, Instant(5))
    link.watch(LOBBY, Instant(5))
    link.choose(name(W0), W0)
    held = ALICE._replace(epoch=99)
    attach = link.attach(G0, [held], [OTHER], [LOBBY], Instant(RESEND))
    none = VersionVector()
    assert attach == Attach(SHARD, G0, 1, Rows.of([held, gone]), [OTHER], (none, none))
    link.note_attached(at(7))
    # The rows went with the announcement; the topic that is not known yet is asked for behind it.
    assert bodies(sent(link, 7)) == [Operations(EMPTY, EMPTY, [LOBBY], [])]


def test_an_announcement_has_what_beat_entries_that_were_given_up() -> None:
    """But not what the gateway holds again, nor what it has written over since."""
    link = lost_link()
    elsewhere = ALICE._replace(stamp=Stamp(99), origin=Origin(W1), epoch=77, holder="a/g9/1")
    link.note_beaten(elsewhere)
    link.note_beaten(elsewhere._replace(key=BOB.key))
    link.choose(name(W0), W0)
    attach = link.attach(G0, [BOB], [], [], Instant(RESEND))
    assert list(attach.beaten) == [elsewhere]
    # Remembered for the next replica, too, until the entry is ours again.
    link.choose(name(W1), W1)
    assert list(link.attach(G0, [BOB], [], [], Instant(RESEND)).beaten) == [elsewhere]
    link.write(ALICE, Instant(5))
    link.choose(name(W0), W0)
    assert not list(link.attach(G0, [BOB], [], [], Instant(RESEND)).beaten)


def test_of_entries_given_up_a_bounded_number_is_remembered() -> None:
    """The newest ones."""
    link = lost_link()
    for number in range(4_100):
        link.note_beaten(ALICE._replace(key=(*ALICE.key[:2], f"s{number}")))
    link.choose(name(W0), W0)
    kept = list(link.attach(G0, [], [], [], Instant(RESEND)).beaten)
    assert [row.key[2] for row in (kept[0], kept[-1])] == ["s4", "s4099"]


def test_an_announcement_is_repeated_unchanged_until_it_is_answered() -> None:
    """What came up since goes behind it: the replica may have taken the first one already."""
    link = attaching_link(ALICE)
    link.write(BOB, Instant(5))
    repeated = link.take_repeated_attach(Instant(RESEND), repeat_at=Instant(2 * RESEND))
    assert repeated is not None
    assert repeated.rows == Rows.of([ALICE])
    assert link.take_repeated_attach(Instant(RESEND), repeat_at=Instant(9_999)) is None
    link.note_attached(at(RESEND))
    assert link.take_repeated_attach(Instant(9_999), repeat_at=Instant(9_999)) is None
    assert bodies(sent(link, RESEND)) == [operations(BOB)]


def test_each_attempt_has_a_greater_number_and_fresh_streams() -> None:
    """So that nothing of an older one can be taken for it."""
    link = attached_link()
    link.write(ALICE, Instant(5))
    sent(link, 5)
    received(link, sequence=1, body=changed(upto=3))
    link.detach(at(10))
    link.choose(name(W1), W1)
    attach = link.attach(G0, [ALICE], [], [], Instant(RESEND))
    assert (attach.number, attach.cursors) == (2, link.vectors)
    link.note_attached(at(11))
    link.write(BOB, Instant(12))
    assert [(segment.receiver, segment.sequence, segment.ack) for segment in sent(link, 12)] == [
        (W1, 1, 0)
    ]


def test_what_was_not_acknowledged_gathers_again_when_the_replica_is_lost() -> None:
    """The newest version of each; ends go with the next announcement, records behind it."""
    link = attached_link()
    gone = end(ALICE, written=0)._replace(stamp=ALICE.stamp)
    link.write(ALICE, Instant(1))
    link.write_durable(CHOICE, RequestId(1), Instant(1))
    sent(link, 1)
    link.write(gone, Instant(2))
    sent(link, 2)
    link.write_durable(NEWER_CHOICE, RequestId(2), Instant(3))
    link.detach(at(10))
    assert (link.worker, link.node, link.attached, link.lost_at) == (None, None, False, 10)
    link.choose(name(W1), W1)
    announced = link.attach(G0, [BOB], [], [], Instant(RESEND)).rows
    assert announced == Rows.of([BOB, moved(gone, 2)])
    link.note_attached(at(11))
    assert bodies(sent(link, 11)) == [operations(durable=[NEWER_CHOICE])]
    assert received(link, ack=1)[1] == [RequestId(1), RequestId(2)]


def test_an_acknowledged_end_is_not_announced_again() -> None:
    """The replica had it; the complete set of what is held says the rest."""
    link = attached_link()
    link.write(end(ALICE, written=0), Instant(1))
    sent(link, 1)
    received(link, ack=1)
    link.detach(at(10))
    link.choose(name(W1), W1)
    assert link.attach(G0, [BOB], [], [], Instant(RESEND)).rows == Rows.of([BOB])


def test_the_ends_of_an_unanswered_announcement_go_into_the_next_one() -> None:
    """Nobody may have heard of them; its live rows are held anyway, or ended since."""
    link = lost_link()
    gone = end(ALICE, written=0)._replace(stamp=ALICE.stamp)
    link.write(gone, Instant(1))
    link.choose(name(W0), W0)
    link.attach(G0, [BOB], [], [], Instant(RESEND))
    link.detach(at(10))
    link.choose(name(W1), W1)
    assert link.attach(G0, [], [], [], Instant(RESEND)).rows == Rows.of([moved(gone, 2)])


def test_a_link_is_lost_since_the_first_break_not_the_last() -> None:
    """An attempt that fails does not make the silence shorter."""
    link = attached_link()
    link.detach(at(10))
    link.choose(name(W1), W1)
    link.detach(at(900))
    assert link.lost_at == 10


def test_a_link_is_lost_until_its_replica_has_said_what_it_can_hear() -> None:
    """What the last one said does not hold for this one."""
    link = attached_link()
    link.detach(at(10))
    link.choose(name(W1), W1)
    link.note_attached(at(20))
    assert (link.attached, link.lost_at) == (True, 10)
    link.hear(NOT_READY)
    assert (link.reach, link.lost_at) == (NOT_READY, None)


def test_the_silent_are_zones_and_replicas_of_other_ones_and_all_while_it_is_cut_off() -> None:
    """Of a zone that is silent as a whole, its replicas are not named as well."""
    link = attached_link()
    far, near = NodeId("b/w0/1"), NodeId("a/w9/1")
    silent = WallMs(7)
    origins = {far: silent, near: silent}
    link.hear(Reach(ready=True, origins=origins, holders={}, zones={ZoneId("b"): silent}))
    assert link.silent() == ["b", "a/w9"]
    link.candidates, link.cut_off = [name(W1), name(W0)], True
    assert link.silent() == ["a/w0", "a/w1", "a/w9", "b"]


def test_a_row_is_in_doubt_since_its_home_its_holder_or_the_replica_was_heard_last() -> None:
    """Where nothing is silent, not at all."""
    link = attached_link()
    row = entry("alice")
    assert link.doubt(row) is None
    link.hear(Reach(ready=True, origins={}, holders={NodeId(row.holder): WallMs(5)}, zones={}))
    assert link.doubt(row) == 5
    link.hear(Reach(ready=True, origins={NodeId(row.origin): WallMs(6)}, holders={}, zones={}))
    assert link.doubt(row) == 6
    link.cut_off, link.heard_wall = True, WallMs(9)
    assert link.doubt(row) == 9
