"""A gateway's attachments: whom it turns to, whom it leaves, and when."""

from __future__ import annotations

import pytest

from crdt import Rows
from presence_actors.core.attaching import Attachments
from presence_actors.core.effects import Send
from presence_actors.core.events import ClusterChanged, Worker
from presence_actors.core.ids import NodeId, NodeName, ShardId, Topic, ZoneId
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.messages import (
    Attach,
    Attached,
    Beat,
    BeatAck,
    Detached,
    Operations,
    PeerMessage,
    Segment,
)
from presence_actors.core.placement import shard_of
from presence_actors.core.shard_link import ShardLink
from presence_actors.core.views import AttachmentView, ZoneView
from tests.unit.core.building import G0, G1, LOBBY, SHARD, W0, W1, WALL, at, entry, life, name
from tests.unit.core.gateway_stage import ALL_HEARD, KNOBS, NOT_READY, Stage

BEAT = KNOBS.gateway_beat_ms
SILENCE = KNOBS.peer_silence_ms
NOBODY = NodeId("")


class Trial:
    """Attachments of one gateway, whose machine calls them as below."""

    def __init__(self, gateway: NodeId = G0, *, host: str = "", shards: int = 1) -> None:
        self.gateway = gateway
        self.at = 0
        self.attachments = Attachments(
            gateway, host=host, shards=shards, replicas=2, knobs=KNOBS, now=at(0)
        )
        self.cluster({"a/w0": "h0", "a/w1": "h1"})

    def cluster(self, hosts: dict[str, str]) -> None:
        """These workers on these hosts, and the gateways g0 and g1."""
        workers = [Worker(NodeName(worker), host) for worker, host in hosts.items()]
        gateways = {name(G0): "ws://g0", name(G1): "ws://g1"}
        self.attachments.note_cluster(ClusterChanged(workers, gateways), at(self.at))

    def runs(self, instant: int, *, may_leave: bool = True) -> list[Send]:
        """The beats that are due, after which every lost link is announced to whom it chose."""
        self.at = instant
        beats = self.attachments.take_beats(at(instant), may_leave=may_leave)
        for link in self.attachments.take_lost(at(instant)):
            link.attach(self.gateway, [], [], [], Instant(instant + KNOBS.resend_ms))
        return beats

    def looks_twice(self, instant: int) -> list[Send]:
        """As `runs`, and again when a worker that was silent then is looked at once more."""
        self.runs(instant)
        return self.runs(instant + BEAT // 4)

    def acks(self, *nodes: NodeId, ready: tuple[NodeId, ...] = (W0, W1)) -> None:
        """These workers answer, some of them as ready."""
        for node in nodes:
            shards = [ShardId(0), ShardId(1)] if node in ready else []
            self.attachments.note_beat_ack(BeatAck(node, shards), at(self.at))

    def attached(self, **fields: object) -> ShardLink | None:
        """The replica that was chosen takes the announcement; some field may be off."""
        link = self.link
        true = {"shard": SHARD, "worker": link.node, "gateway": self.gateway, "number": link.number}
        message = Attached(**(true | fields))  # type: ignore[arg-type]
        return self.attachments.note_attached(message, at(self.at))

    def messages(self, instant: int) -> dict[NodeName, list[PeerMessage]]:
        """What goes to the workers beside beats."""
        self.at = instant
        return self.attachments.take_messages(at(instant))

    @property
    def link(self) -> ShardLink:
        """The first link."""
        return next(iter(self.attachments))

    def chosen(self) -> NodeId | None:
        """To whom it leads."""
        return self.link.node


B = ZoneId("b")


def standing(node: NodeId = W0) -> Trial:
    """Attached since instant 0, and both workers answer."""
    trial = Trial()
    trial.runs(0)
    trial.acks(W0, W1, ready=(node,))
    trial.runs(0)
    assert trial.attached() is trial.link
    assert trial.chosen() == node
    return trial


# -------------------------------------------------------------------------------------------- beats


def test_beats_go_to_all_workers_at_once_and_then_at_intervals() -> None:
    """A worker of which no life is known is asked by name only."""
    trial = Trial()
    beat = Beat(G0, NOBODY, {})
    assert trial.runs(0) == [Send(name(W0), [beat]), Send(name(W1), [beat])]
    assert trial.runs(BEAT - 1) == []
    assert len(trial.runs(BEAT)) == 2
    assert trial.attachments.deadline() == 2 * BEAT


def test_a_beat_names_the_life_and_the_attachments_that_it_is_for() -> None:
    """So either side notices when the other has forgotten."""
    trial = standing()
    assert trial.runs(BEAT) == [
        Send(name(W0), [Beat(G0, W0, {SHARD: 1})]),
        Send(name(W1), [Beat(G0, W1, {})]),
    ]


def test_a_change_of_the_cluster_is_followed_by_beats_at_once() -> None:
    """A new worker need not wait to be known."""
    trial = standing()
    trial.cluster({"a/w0": "h0", "a/w1": "h1", "a/w2": "h2"})
    assert [beat.to for beat in trial.runs(1)] == ["a/w0", "a/w1", "a/w2"]


# ----------------------------------------------------------------------------------------- choosing


def test_nobody_is_chosen_before_it_was_heard() -> None:
    """An attempt that nobody can answer would only cost a number."""
    trial = Trial()
    trial.runs(0)
    assert trial.chosen() is None
    assert trial.messages(10) == {}


@pytest.mark.parametrize(("gateway", "first", "second"), [(G0, W0, W1), (G1, W1, W0)])
def test_each_gateway_begins_at_another_worker_and_waits_a_little_for_it(
    gateway: NodeId, first: NodeId, second: NodeId
) -> None:
    """Not all shall run to the first one that answers; but nobody is waited for in vain."""
    trial = Trial(gateway)
    trial.runs(0)
    trial.acks(second)
    trial.runs(10)
    assert trial.chosen() is None
    trial.acks(first)
    trial.runs(20)
    assert trial.chosen() == first
    trial = Trial(gateway)
    trial.runs(0)
    trial.acks(second)
    trial.runs(SILENCE - 1)
    assert trial.chosen() is None
    trial.acks(second)
    trial.runs(SILENCE)
    assert trial.chosen() == second


def test_a_gateway_that_the_cluster_does_not_list_begins_at_the_first() -> None:
    """It may have been started a moment ago."""
    trial = Trial(life("a/g9"))
    assert trial.link.candidates == ["a/w0", "a/w1"]


def test_a_replica_on_our_own_machine_is_liked_better() -> None:
    """What goes between the two does not cross a network."""
    assert Trial(host="h1").link.candidates == ["a/w1", "a/w0"]


def test_a_replica_that_may_vouch_for_absence_is_preferred_to_one_that_may_not() -> None:
    """However much we like the other; without any, one that may not is better than none."""
    trial = Trial()
    trial.runs(0)
    trial.acks(W0, W1, ready=(W1,))
    trial.runs(0)
    assert trial.chosen() == W1
    trial = Trial()
    trial.runs(0)
    trial.acks(W0, W1, ready=())
    trial.runs(0)
    assert trial.chosen() == W0


# ------------------------------------------------------------------------------------------ leaving


def test_a_silent_worker_is_left_for_one_that_answers() -> None:
    """At the second look at its silence."""
    trial = standing()
    trial.runs(BEAT)
    trial.acks(W1)
    trial.runs(SILENCE - 1)
    assert trial.chosen() == W0
    trial.acks(W1)
    trial.looks_twice(SILENCE)
    assert (trial.chosen(), trial.link.number, trial.link.attached) == (W1, 2, False)


def test_a_worker_whose_word_waited_unread_is_not_left() -> None:
    """A gateway that was not let run finds everybody silent at its first look."""
    trial = standing()
    trial.runs(SILENCE)
    assert trial.chosen() == W0
    trial.acks(W0)
    trial.runs(SILENCE + BEAT // 4)
    trial.runs(2 * SILENCE)
    assert trial.chosen() == W0, "the next silence is looked at for the first time again"
    trial.runs(2 * SILENCE + BEAT // 4)
    assert trial.chosen() is None


def test_nobody_is_left_while_we_may_not_judge() -> None:
    """After a pause everybody looks silent."""
    trial = standing()
    beats = trial.runs(10 * SILENCE, may_leave=False)
    assert trial.chosen() == W0
    assert beats[0] == Send(name(W0), [Beat(G0, W0, {SHARD: 1})])


def test_if_all_are_silent_there_is_nobody_to_turn_to_until_one_answers() -> None:
    """What gathers meanwhile waits."""
    trial = standing()
    trial.looks_twice(SILENCE)
    assert trial.chosen() is None
    trial.acks(W1)
    trial.runs(trial.at + 1)
    assert trial.chosen() == W1


def test_anything_that_comes_from_a_worker_is_a_sign_of_its_life() -> None:
    """From this life, not from another one or from nobody we know."""
    trial = standing()
    trial.at = SILENCE - 1
    trial.attachments.note_heard(W0, at(trial.at))
    trial.runs(SILENCE)
    assert trial.chosen() == W0
    for stranger in (life("a/w0", 9), life("a/w7")):
        trial.attachments.note_heard(stranger, at(2 * SILENCE - 1))
    trial.looks_twice(2 * SILENCE)
    assert trial.chosen() is None


def test_a_replica_whose_news_come_is_not_left_although_its_answers_are_lost() -> None:
    """And what came is acknowledged within a flush."""
    stage = Stage()
    replica = stage.replica
    replica.is_there = False
    for _ in range(5):
        stage.passes(SILENCE // 2)
        stage.hears(replica.says())
    assert stage.replica is replica
    replica.is_there = True
    stage.hears(replica.says())
    stage.passes(KNOBS.flush_ms)
    assert replica.acknowledged == 7


def test_a_replica_that_may_not_vouch_is_left_for_one_that_may() -> None:
    """But not for one that we only like better."""
    trial = standing(W1)
    trial.acks(W0, W1)
    trial.runs(BEAT)
    assert trial.chosen() == W1
    trial.acks(W0, W1, ready=(W0,))
    trial.runs(2 * BEAT)
    assert trial.chosen() == W0


def test_a_worker_that_answers_as_a_newer_life_is_attached_to_anew() -> None:
    """It has forgotten us."""
    trial = standing()
    newer = life("a/w0", 2)
    trial.acks(newer, ready=(newer,))
    assert trial.chosen() is None
    trial.runs(1)
    assert (trial.chosen(), trial.link.number) == (newer, 2)


def test_a_late_word_of_an_older_life_is_passed_over_unless_the_newer_one_is_silent() -> None:
    """Then the clock of the newest life's machine is behind, and it is the older one by name."""
    trial = Trial()
    trial.runs(0)
    newer, older = life("a/w0", 2), life("a/w0", 1)
    trial.acks(newer, W1, ready=(newer,))
    trial.runs(0)
    trial.acks(older)
    assert trial.chosen() == newer
    trial.at = SILENCE
    trial.acks(older)
    trial.runs(SILENCE)
    assert trial.chosen() == older


def test_a_worker_that_the_cluster_does_not_have_is_not_listened_to() -> None:
    """Its answer may have been on the way when it was taken out."""
    trial = Trial()
    trial.acks(life("a/w7"))
    trial.runs(0)
    assert trial.chosen() is None


def test_a_worker_that_leaves_the_cluster_is_left_at_once() -> None:
    """And what was known of it is forgotten; who stays is not left."""
    trial = standing()
    trial.cluster({"a/w0": "h0"})
    assert trial.chosen() == W0
    trial.cluster({"a/w1": "h1"})
    assert trial.chosen() is None
    trial.cluster({"a/w0": "h0"})
    trial.runs(1)
    assert trial.chosen() is None
    trial.cluster({})
    assert trial.link.candidates == []
    assert trial.runs(2) == []


# -------------------------------------------------------------------------------------- the answers


@pytest.mark.parametrize(
    "strange",
    [{"shard": 5}, {"shard": -1}, {"worker": W1}, {"gateway": G1}, {"number": 2}],
)
def test_an_answer_that_is_not_for_this_attempt_attaches_nothing(
    strange: dict[str, object],
) -> None:
    """Another shard, another replica, another life of ours, another attempt."""
    trial = Trial()
    trial.runs(0)
    trial.acks(W0)
    trial.runs(0)
    assert trial.attached(**strange) is None
    assert not trial.link.attached
    assert trial.attached() is trial.link
    assert trial.link.attached


@pytest.mark.parametrize("strange", [{"shard": 5}, {"gateway": G1}, {"number": 9}])
def test_an_attachment_ends_when_its_replica_does_not_know_it(strange: dict[str, object]) -> None:
    """It is tried again; a word about another one changes nothing."""
    trial = standing()
    true: dict[str, object] = {"shard": SHARD, "worker": W0, "gateway": G0, "number": 1}
    off = Detached(**(true | strange))  # type: ignore[arg-type]
    trial.attachments.note_detached(off, at(1))
    assert trial.link.attached
    trial.attachments.note_detached(Detached(SHARD, W0, G0, 1), at(1))
    assert trial.chosen() is None
    trial.attachments.note_detached(Detached(SHARD, W0, G0, 1), at(1))
    trial.runs(2)
    assert (trial.chosen(), trial.link.number) == (W0, 2)


def test_a_gateway_that_its_replica_does_not_know_attaches_again() -> None:
    """Under a new number, with all that it holds."""
    stage = Stage()
    stage.enters()
    replica = stage.replica
    assert stage.hears(Detached(SHARD, replica.node, G0, replica.number)) == []
    again = stage.replica.attachments[-1]
    assert (again.number, len(again.rows)) == (2, 1)
    assert stage.machine.ready


def test_an_unanswered_announcement_is_repeated_and_a_segment_sent_when_it_is_answered() -> None:
    """Each in its time, to the worker that was chosen."""
    trial = Trial()
    trial.runs(0)
    trial.acks(W0)
    trial.runs(0)
    assert trial.messages(KNOBS.resend_ms - 1) == {}
    (repeated,) = trial.messages(KNOBS.resend_ms)[name(W0)]
    assert isinstance(repeated, Attach)
    assert repeated.number == 1
    assert trial.messages(KNOBS.resend_ms + 1) == {}
    trial.attached()
    assert trial.messages(trial.at) == {}
    trial.link.write(entry(), Instant(trial.at + KNOBS.flush_ms))
    assert trial.messages(trial.at) == {}
    trial.link.write(entry("bob"), Instant(trial.at + KNOBS.flush_ms))
    sent = trial.messages(trial.at + KNOBS.flush_ms)
    body = Operations(Rows.of([entry(), entry("bob")]), Rows.empty(), [], [])
    assert sent == {name(W0): [Segment(SHARD, G0, W0, 1, 1, 0, body)]}


# -------------------------------------------------------------------------------------- the picture


def test_a_link_is_cut_off_when_it_has_been_lost_for_too_long() -> None:
    """Told once, and once when a replica has said what it can hear; until then it vouches for none.

    The last sign is that of its last replica.
    """
    trial = standing()
    trial.link.hear(ALL_HEARD)
    trial.runs(BEAT)
    trial.at = BEAT
    trial.acks(W0)
    trial.looks_twice(BEAT + SILENCE)
    lost = trial.at
    assert trial.chosen() is None
    after = KNOBS.unreachable_after_ms
    assert trial.attachments.take_reach_changes(at(lost + after - 1)) == []
    assert trial.attachments.take_reach_changes(at(lost + after)) == [trial.link]
    assert trial.link.cut_off
    assert trial.link.heard_wall <= WALL + BEAT
    assert trial.attachments.take_reach_changes(at(lost + after + 1)) == []
    trial.at = lost + after + 2
    trial.acks(W0)
    trial.runs(trial.at)
    assert trial.attachments.take_reach_changes(at(trial.at)) == []
    trial.attached()
    assert trial.attachments.take_reach_changes(at(trial.at)) == []
    trial.link.hear(NOT_READY)
    assert trial.attachments.take_reach_changes(at(trial.at)) == [trial.link]
    assert not trial.link.cut_off


def test_the_last_sign_of_a_replica_is_kept_by_the_wall_clock() -> None:
    """It is shown to people once the replica is silent."""
    trial = standing()
    trial.at = 300
    trial.acks(W0)
    trial.runs(BEAT)
    assert trial.link.heard_wall == WALL + 300


def test_a_topic_is_asked_for_at_the_link_of_its_shard() -> None:
    """There is none beyond the last shard."""
    attachments = Trial(shards=8).attachments
    topics = [LOBBY, Topic("default/user:alice"), Topic("other/room:lobby")]
    assert [attachments.of(topic).shard for topic in topics] == [
        shard_of(topic, shards=8) for topic in topics
    ]
    assert attachments.at(ShardId(7)) is list(attachments)[7]
    assert attachments.at(ShardId(8)) is None
    assert attachments.at(ShardId(-1)) is None


def test_all_shards_must_be_attached_to_ready_replicas_for_the_gateway_to_be_ready() -> None:
    """One without is one too few; the picture shows each."""
    trial = Trial(shards=2)
    trial.runs(0)
    trial.acks(W0)
    trial.runs(0)
    trial.attached()
    first, second = trial.attachments
    first.hear(ALL_HEARD)
    trial.attached(shard=ShardId(1), number=second.number)
    before = trial.attachments.is_ready
    second.hear(ALL_HEARD)
    assert [before, trial.attachments.is_ready] == [False, True]
    assert trial.attachments.inspect() == [
        AttachmentView(
            ShardId(shard), name(W0), W0, 1, attached=True, ready=True, since=at(0).instant
        )
        for shard in (0, 1)
    ]


def test_the_next_thing_to_do_is_a_beat_or_what_a_link_has() -> None:
    """Whichever comes first."""
    trial = standing()
    assert trial.messages(0) == {}
    assert trial.attachments.deadline() == BEAT
    trial.link.write(entry(), Instant(7))
    assert trial.attachments.deadline() == 7


# ---------------------------------------------------------------------------------- other zones


def test_the_lag_of_another_zone_is_that_of_the_worker_that_is_worst_off() -> None:
    """It grows while nothing comes; from three seconds on the zone is silent."""
    trial = standing()
    trial.at = 1_000
    for node, lag_ms in ((W0, 200), (W1, 700)):
        trial.attachments.note_beat_ack(BeatAck(node, [], {B: lag_ms}), at(1_000))
    assert trial.attachments.zones(at(1_100)) == [
        ZoneView(B, lag_ms=800, heard=WallMs(at(300).wall), silent=False)
    ]
    trial.attachments.note_beat_ack(BeatAck(W0, [], {B: 2_600}), at(1_500))
    (view,) = trial.attachments.zones(at(1_500 + KNOBS.unreachable_after_ms - 2_600))
    assert (view.lag_ms, view.silent) == (KNOBS.unreachable_after_ms, True)


def test_a_zone_that_one_of_our_workers_has_never_heard_is_silent() -> None:
    """There is no time that could be said."""
    trial = standing()
    trial.attachments.note_beat_ack(BeatAck(W0, [], {B: 200}), at(0))
    trial.attachments.note_beat_ack(BeatAck(W1, [], {B: None}), at(0))
    assert trial.attachments.zones(at(0)) == [ZoneView(B, lag_ms=None, heard=None, silent=True)]


def test_a_worker_that_is_silent_itself_says_nothing_of_zones() -> None:
    """What it said last would age, and the zone seem silent."""
    trial = standing()
    trial.attachments.note_beat_ack(BeatAck(W0, [], {B: 100}), at(0))
    trial.attachments.note_beat_ack(BeatAck(W1, [], {B: 100}), at(5_000))
    (view,) = trial.attachments.zones(at(5_000))
    assert view.lag_ms == 100


def test_a_gateway_whose_links_stand_has_nothing_due_before_its_deadline() -> None:
    """A lost link wants to be looked at with each event: any may bring a replica to turn to."""
    trial = standing()
    settled = [trial.attachments.is_settled]
    trial.link.hear(ALL_HEARD)
    settled.append(trial.attachments.is_settled)
    trial.looks_twice(BEAT + SILENCE)
    settled.append(trial.attachments.is_settled)
    assert settled == [False, True, False]
