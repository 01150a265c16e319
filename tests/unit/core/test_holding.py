"""What a gateway holds: graces, resumptions, what users chose, and the defence of entries."""

from __future__ import annotations

import pytest

from crdt import Row
from presence_actors.config import Knobs
from presence_actors.core.attaching import Attachments
from presence_actors.core.effects import CloseClient
from presence_actors.core.epochs import entry_epoch, refuting_epoch
from presence_actors.core.holding import Holding
from presence_actors.core.ids import Namespace, SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.placement import shard_of
from presence_actors.core.sessions import mint_session
from presence_actors.core.values import (
    HIDDEN,
    UNSURE,
    EntryStatus,
    decode_end,
    decode_entry,
    entry_status,
    is_hidden,
)
from presence_actors.core.vocabulary import (
    Bye,
    CloseCode,
    Err,
    ErrorCode,
    Hello,
    Identity,
    Intent,
    Ok,
    Patch,
    Ping,
    Pong,
    Set,
    StatusFrame,
    Sub,
    Welcome,
)
from presence_actors.core.watching import Watching
from presence_actors.errors import InvariantBroken
from tests.unit.core.building import G0, G1, LOBBY, WALL, at, end, entry, intent
from tests.unit.core.gateway_stage import ALL_HEARD, KNOBS, Stage, closed, only, told

OWN = "default/user:alice"
S1 = SessionId("s1")


def ends(stage: Stage) -> list[tuple[str, str]]:
    """The ends that replicas were told of: topic and reason."""
    written = [row for replica in stage.replicas.values() for row in replica.written]
    return [(row.key[0], decode_end(row.value).reason) for row in written if not row.live]


def last_row(stage: Stage, topic: str = LOBBY) -> Row:
    """The newest version of Alice's entry that the replica has."""
    return stage.replica.rows[topic, "alice", "s1"]


def refused(code: ErrorCode, message: str, request: int | None = None) -> Err:
    """A refusal."""
    return Err(code=code, message=message, id=request)


# -------------------------------------------------------------------------- graces and resumptions


def test_a_lost_connection_is_nobodys_business_until_its_grace_is_over() -> None:
    """Then its entries end by time-out."""
    stage = Stage()
    watcher = stage.enters("bob")
    stage.says(watcher, Sub(users=["alice"]))
    alice = stage.enters()
    stage.ticks()
    assert stage.loses(alice) == []
    assert stage.machine.inspect().lingering == 1
    stage.says(watcher, Ping())
    assert stage.passes(KNOBS.grace_connection_ms - 1) == []
    assert ends(stage) == []
    shown = only(stage.ticks(), watcher)
    assert ends(stage) == [(OWN, "timeout")]
    assert isinstance(shown, StatusFrame)
    assert (shown.status, shown.reason) == ("offline", "timeout")


def test_who_comes_back_within_the_grace_was_never_away() -> None:
    """No end is written, and the session, its start and its rooms are those of before."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby", meta={"a": 1}))
    since = decode_entry(last_row(stage, OWN).value).since
    stage.loses(alice)
    stage.passes(KNOBS.grace_connection_ms - 1)
    alice = stage.enters(resume=1)
    stage.passes(KNOBS.grace_connection_ms)
    assert ends(stage) == []
    assert decode_entry(last_row(stage).value).meta == {"a": 1}
    assert decode_entry(last_row(stage, OWN).value).since == since
    assert stage.says(alice, Patch(id=1, topic="room:lobby", meta={"b": 2})) != []


def test_a_newer_connection_of_a_session_replaces_the_older_one() -> None:
    """Which is told so, finally."""
    stage = Stage()
    old = stage.enters()
    new = stage.connects()
    effects = stage.says(new, Hello(session=S1, resume=1))
    assert closed(effects) == [
        CloseClient(old, CloseCode.REPLACED, "replaced by a newer connection")
    ]
    assert isinstance(only(effects, new), Welcome)
    assert stage.loses(old) == []
    assert stage.machine.inspect().lingering == 0


def test_an_older_connection_does_not_replace_a_newer_one() -> None:
    """Its hello was on the way for long; the newer one stays."""
    stage = Stage()
    new = stage.enters(resume=2)
    old = stage.connects()
    assert stage.says(old, Hello(session=S1, resume=1)) == [
        CloseClient(old, CloseCode.REPLACED, "this session has been resumed since")
    ]
    assert isinstance(only(stage.says(new, Ping()), new), Pong)


def test_a_session_that_was_resumed_at_another_gateway_is_given_up() -> None:
    """Its connection is closed finally, and no end is written."""
    stage = Stage()
    alice = stage.enters()
    winner = entry(topic=OWN, resume=1, holder=G1, written=900)
    effects = stage.hears(stage.replica.says(defeats=[winner]))
    assert effects == [CloseClient(alice, CloseCode.REPLACED, "the session was resumed elsewhere")]
    stage.passes(2 * KNOBS.grace_connection_ms)
    assert ends(stage) == []
    assert stage.machine.inspect().sessions == 0


def test_a_lingering_session_that_was_resumed_elsewhere_is_given_up_without_a_word() -> None:
    """There is no connection to close."""
    stage = Stage()
    stage.loses(stage.enters())
    winner = entry(topic=OWN, resume=1, holder=G1, written=900)
    assert stage.hears(stage.replica.says(defeats=[winner])) == []
    assert stage.machine.inspect().sessions == 0


def test_a_choice_is_answered_when_a_replica_has_it() -> None:
    """So that ok means that it survives this gateway."""
    stage = Stage()
    alice = stage.enters()
    assert stage.says(alice, Intent(id=1, status="dnd")) == []
    assert stage.replica.chosen == []
    assert told(stage.ticks(), alice) == [Ok(id=1)]
    assert len(stage.replica.chosen) == 1


def test_a_choice_whose_client_has_gone_is_kept_without_an_answer() -> None:
    """The replica gets it all the same."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Intent(id=1, status="dnd"))
    stage.loses(alice)
    assert stage.ticks() == []
    assert len(stage.replica.chosen) == 1


def test_an_unknown_choice_is_refused() -> None:
    """Nothing is written."""
    stage = Stage()
    alice = stage.enters()
    words = "intent 'lost' must be one of online, away, dnd, invisible, or empty for none"
    message = Intent(id=1, status="lost")
    assert stage.refuses(alice, message) == refused(ErrorCode.BAD_FRAME, words, 1)


@pytest.mark.parametrize(("left_ms", "hidden"), [(0, False), (1_000, True)])
def test_a_choice_that_has_ended_already_hides_nobody(left_ms: int, hidden: bool) -> None:
    """Found on 2026-11-24: its user was hidden until the replica had answered."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Intent(id=1, status="invisible", until=WALL + stage.at + left_ms))
    stage.ticks()
    written = [is_hidden(row.status) for row in stage.replica.written]
    assert written == [False, *([True] if hidden else [])]


def test_who_becomes_invisible_is_hidden_in_all_entries_before_the_replica_has_the_choice() -> None:
    """And visible again when the choice is taken back."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.says(alice, Intent(status="invisible"))
    stage.ticks()
    assert [is_hidden(last_row(stage, topic).status) for topic in (OWN, LOBBY)] == [True, True]
    stage.says(alice, Intent(status=""))
    stage.ticks()
    assert [is_hidden(last_row(stage, topic).status) for topic in (OWN, LOBBY)] == [False, False]


# ----------------------------------------------------------------------- before the choice is known


def told_row(stage: Stage, topic: str = OWN) -> Row:
    """The newest row of Alice's that went out, with the flags that it went out with."""
    return stage.replica.heard[topic, "alice", "s1"]


def test_an_entry_waits_until_its_users_choice_is_known() -> None:
    """Somebody invisible must not be seen for the time of a round trip."""
    stage = Stage()
    stage.replica.loads = False
    alice = stage.connects()
    stage.says(alice, Hello(session=S1))
    stage.says(alice, Set(topic="room:lobby"))
    stage.passes(KNOBS.snapshot_wait_ms - 1)
    assert stage.replica.written == []
    stage.hears(stage.replica.says(loaded=[OWN]))
    stage.ticks()
    assert [row.key[0] for row in stage.replica.written] == [OWN, LOBBY]
    assert not told_row(stage).status & (HIDDEN | UNSURE)


def test_an_entry_goes_out_as_unsure_when_the_choice_does_not_come_in_time() -> None:
    """The replica keeps to what was seen of the session before; and it is sure afterwards."""
    stage = Stage()
    stage.replica.loads = False
    stage.says(stage.connects(), Hello(session=S1))
    stage.passes(KNOBS.snapshot_wait_ms + KNOBS.flush_ms)
    assert told_row(stage).status & UNSURE
    assert is_hidden(last_row(stage, OWN).status)
    stage.hears(stage.replica.says(loaded=[OWN]))
    stage.ticks()
    assert not told_row(stage).status & UNSURE
    assert not is_hidden(last_row(stage, OWN).status)


def test_a_replica_that_may_not_vouch_for_absence_leaves_the_choice_unknown() -> None:
    """Its missing record proves nothing until it is ready."""
    stage = Stage(ready=False)
    stage.says(stage.connects(), Hello(session=S1))
    stage.passes(KNOBS.snapshot_wait_ms + KNOBS.flush_ms)
    assert told_row(stage).status & UNSURE
    stage.hears(stage.replica.says(reach=ALL_HEARD))
    stage.ticks()
    assert not told_row(stage).status & UNSURE


def test_who_is_known_to_be_invisible_enters_hidden() -> None:
    """In the first row that goes out."""
    stage = Stage()
    stage.replica.stamped(intent("alice", status="invisible"), durable=True)
    stage.enters()
    (row,) = stage.replica.written
    assert row.status & HIDDEN
    assert not told_row(stage).status & UNSURE


def test_a_choice_that_was_made_elsewhere_hides_the_entries_here() -> None:
    """And when it ends by itself, they show again."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    until = stage.at + 5_000
    chosen = stage.replica.stamped(intent(status="invisible", until=until), durable=True)
    stage.hears(stage.replica.says(durable=[chosen]))
    stage.ticks()
    assert [is_hidden(last_row(stage, topic).status) for topic in (OWN, LOBBY)] == [True, True]
    stage.passes(5_000)
    stage.ticks()
    assert [is_hidden(last_row(stage, topic).status) for topic in (OWN, LOBBY)] == [False, False]


def test_a_choice_that_is_on_its_way_counts_for_a_second_device() -> None:
    """Before any replica has confirmed it."""
    stage = Stage()
    alice = stage.enters()
    stage.replica.is_there = False
    stage.says(alice, Intent(status="invisible"))
    stage.passes(KNOBS.flush_ms)
    stage.says(stage.connects(), Hello(session=SessionId("s2")))
    stage.replica.is_there = True
    stage.passes(KNOBS.resend_ms)
    assert is_hidden(stage.replica.rows[OWN, "alice", "s2"].status)


def test_a_session_that_ends_before_it_was_announced_leaves_nothing_behind() -> None:
    """Nobody heard of it, so nobody hears of its end."""
    stage = Stage()
    stage.replica.loads = False
    alice = stage.connects()
    stage.says(alice, Hello(session=S1))
    stage.says(alice, Bye())
    stage.passes(2 * KNOBS.snapshot_wait_ms)
    assert stage.replica.written == []
    assert stage.machine.inspect().sessions == 0


def test_the_choice_of_one_user_is_no_business_of_another() -> None:
    """Nor that of somebody who has no session here."""
    stage = Stage()
    stage.enters()
    bob = stage.enters("bob")
    stage.says(bob, Sub(users=["carol"]))
    stage.ticks()
    before = stage.machine.inspect().changes_in
    for user in ("bob", "carol"):
        chosen = stage.replica.stamped(intent(user, status="away"), durable=True)
        stage.hears(stage.replica.says(durable=[chosen]))
    stage.ticks()
    assert stage.machine.inspect().changes_in == before


# ------------------------------------------------------------------------------------------ defence


def test_a_row_that_was_beaten_under_our_own_resumption_is_refuted() -> None:
    """By the smallest epoch that is greater; the session lives here and nobody sees a change."""
    stage = Stage()
    stage.enters(resume=1)
    ended = end(entry(topic=OWN, resume=1, attachment=4), written=900, reason="gateway_lost")
    assert stage.hears(stage.replica.says(defeats=[ended])) == []
    stage.ticks()
    row = last_row(stage, OWN)
    assert (row.live, row.epoch) == (True, refuting_epoch(ended.epoch, beaten=ended.epoch))


@pytest.mark.parametrize(
    "winner",
    [
        entry("bob", topic=OWN, written=900, holder=G1),
        entry(topic="default/room:other", resume=2, written=900, holder=G1),
        entry(topic=OWN, resume=1, attachment=0, written=900, holder=G1),
        entry(topic=OWN, resume=1, attachment=9, written=900, holder=G0),
        entry(topic=OWN, session="s2", resume=2, written=900, holder=G1),
    ],
    ids=["another user", "another topic", "a smaller epoch", "our own row", "another session"],
)
def test_a_defeat_that_is_none_of_ours_changes_nothing(winner: Row) -> None:
    """It was late, or is about something that we do not hold."""
    stage = Stage()
    stage.enters(resume=1)
    before = stage.machine.inspect()
    assert stage.hears(stage.replica.says(defeats=[winner])) == []
    after = stage.machine.inspect()
    assert (after.sessions, after.changes_in) == (before.sessions, before.changes_in)


def test_a_replaced_session_keeps_what_it_has_not_announced_elsewhere_for_the_grace() -> None:
    """Nobody sees it leave and come back; what never came ends with the reason."""
    stage = Stage()
    alice = stage.enters()
    for room in ("room:lobby", "room:other", "room:third"):
        stage.says(alice, Set(topic=room))
    stage.ticks()
    winners = [entry(topic=topic, resume=1, holder=G1, written=900) for topic in (OWN, LOBBY)]
    effects = stage.hears(stage.replica.says(defeats=winners))
    assert [close.code for close in closed(effects)] == [CloseCode.REPLACED]
    assert stage.machine.inspect().lingering == 1
    later = entry(topic="default/room:other", resume=1, holder=G1, written=901)
    assert stage.hears(stage.replica.says(defeats=[later])) == []
    stage.passes(KNOBS.grace_connection_ms + KNOBS.flush_ms)
    assert ends(stage) == [("default/room:third", "replaced")]
    assert stage.machine.inspect().sessions == 0


def test_a_replaced_session_that_comes_back_announces_itself_again() -> None:
    """With the entry of its user's topic, which it had lost, under the new resumption.

    A room comes with it when the client says it again: it may have left it elsewhere.
    """
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    winner = entry(topic=OWN, resume=1, holder=G1, written=900)
    stage.hears(stage.replica.says(defeats=[winner]))
    back = stage.enters(resume=2)
    old, new = (entry_epoch(resume=resume, attachment=1) for resume in (0, 2))
    assert [last_row(stage, topic).epoch for topic in (OWN, LOBBY)] == [new, old]
    stage.says(back, Set(topic="room:lobby"))
    stage.ticks()
    assert [last_row(stage, topic).epoch for topic in (OWN, LOBBY)] == [new, new]
    stage.passes(2 * KNOBS.grace_connection_ms)
    assert ends(stage) == []


def test_a_room_that_a_client_does_not_say_again_after_being_elsewhere_ends() -> None:
    """After the grace, as left; who cannot have been elsewhere keeps its rooms."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    stage.loses(alice)
    again = stage.enters(resume=1)
    stage.passes(KNOBS.grace_connection_ms + KNOBS.flush_ms)
    assert ends(stage) == []
    stage.loses(again)
    stage.enters(resume=3)
    stage.passes(KNOBS.grace_connection_ms + KNOBS.flush_ms)
    assert ends(stage) == [(LOBBY, "left")]
    assert stage.machine.inspect().sessions == 1


def test_what_was_done_elsewhere_before_a_client_came_back_does_not_close_it() -> None:
    """Another gateway says late that it had the session meanwhile: only that room is lost."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    stage.loses(alice)
    stage.enters(resume=3)
    meanwhile = end(entry(resume=2, holder=G1, written=900), written=901)
    effects = stage.hears(stage.replica.says(defeats=[meanwhile]))
    assert closed(effects) == []
    stage.passes(KNOBS.grace_connection_ms + KNOBS.flush_ms)
    assert ends(stage) == []
    assert stage.machine.inspect().connections == 1


def test_all_that_is_held_is_announced_to_the_next_replica_under_its_number() -> None:
    """Sessions that wait for their user's choice are not."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    left, stage.replica.is_there = stage.replica, False
    for replica in stage.replicas.values():
        replica.loads = False
    stage.passes(KNOBS.peer_silence_ms)
    stage.says(stage.connects("bob"), Hello())
    stage.passes(KNOBS.gateway_beat_ms + KNOBS.gateway_beat_ms // 2)
    assert stage.replica is not left
    (attach,) = stage.replica.attachments
    assert [(row.key[:2], row.epoch) for row in attach.rows] == [
        ((topic, "alice"), entry_epoch(resume=0, attachment=attach.number))
        for topic in (OWN, LOBBY)
    ]


# -------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(("began", "since"), [(-500, -500), (9_999, 10)])
def test_a_session_began_when_its_id_says_but_not_in_the_future(began: int, since: int) -> None:
    """It survives any gateway, and no clock of another machine is believed blindly."""
    stage = Stage()
    assert stage.at == 10
    session = mint_session(WallMs(WALL + began), stage.rng)
    alice = stage.connects()
    welcome = only(stage.says(alice, Hello(session=session)), alice)
    assert isinstance(welcome, Welcome)
    assert welcome.since == WALL + since


def test_who_resumes_without_any_change_writes_nothing() -> None:
    """The same number again, after a connection that never got its welcome."""
    stage = Stage()
    stage.loses(stage.enters(resume=1))
    before = stage.machine.inspect().changes_in
    stage.enters(resume=1)
    assert stage.machine.inspect().changes_in == before
    stage.enters(resume=1, status="away")
    assert stage.machine.inspect().changes_in == before + 1
    assert entry_status(last_row(stage, OWN).status).word == "away"


def test_a_session_without_connection_and_without_grace_is_a_contradiction() -> None:
    """It would live for ever."""
    stage = Stage(Knobs(grace_connection_ms=10))
    stage.loses(stage.enters())
    (session,) = stage.machine._holding
    stage.machine._holding._lingering.release(session.key)
    with pytest.raises(InvariantBroken, match="lives without a lease"):
        stage.machine.check()


def test_a_replica_is_told_what_is_held_in_its_shard_and_nothing_else() -> None:
    """The user's topic and a room live in different shards."""
    attachments = Attachments(G0, host="", shards=8, replicas=1, knobs=KNOBS, now=at(0))
    holding = Holding(G0, attachments, Watching(G0, attachments, KNOBS), KNOBS)
    identity = Identity(Namespace("default"), UserId("alice"))
    session = holding.admit(identity, Hello(), S1, EntryStatus.ONLINE, at(0))
    holding.hold(session, LOBBY, WallMs(WALL), {}, at(0))
    holding.run_due(at(KNOBS.snapshot_wait_ms))
    found = {row.key[0]: link.shard for link in attachments for row in holding.rows_of(link)}
    assert found == {topic: shard_of(topic, shards=8) for topic in (session.topic, LOBBY)}
    assert len(set(found.values())) == 2
