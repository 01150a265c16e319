"""Those who only watch: many topics over one stream, and one word from which to go on."""

from __future__ import annotations

from crdt import Origin, Stamp, VersionVector
from presence_actors.core.cursors import read_cursor, write_cursor
from presence_actors.core.effects import CloseClient, Deliver, GatewayEffect, Mark
from presence_actors.core.events import ClientConnected, ClientSent
from presence_actors.core.ids import ConnectionId, Namespace, UserId
from presence_actors.core.instants import Now, WallMs
from presence_actors.core.limits import EVENT_ID_CHARACTERS_MAX
from presence_actors.core.marks import INTERVAL_MS, Marks, mark_for
from presence_actors.core.vocabulary import (
    Bye,
    Diff,
    Hello,
    Identity,
    Pong,
    Set,
    Snap,
    StatusFrame,
    Sub,
)
from tests.unit.core.building import SHARD, WALL, at
from tests.unit.core.gateway_stage import KNOBS, Stage, told

WATCHER = ConnectionId(900)


def watches(stage: Stage, sub: Sub, *, expires: int | None = None) -> list[GatewayEffect]:
    """Somebody opens a stream; all that follows until the first tick is over."""
    end = None if expires is None else WallMs(WALL + expires)
    identity = Identity(Namespace("default"), UserId("app"), end)
    first = stage.happens(ClientConnected(WATCHER, identity, watches_only=True))
    return first + stage.happens(ClientSent(WATCHER, sub)) + stage.ticks()


def marks(effects: list[GatewayEffect]) -> list[Mark]:
    """The marks among the effects."""
    return [effect for effect in effects if isinstance(effect, Mark)]


def test_a_watcher_hears_of_its_topics_and_is_nobody_itself() -> None:
    """No session, no entry: a program that watches is not online."""
    stage = Stage()
    heard = told(watches(stage, Sub(topics=["room:lobby"], users=["alice"])), WATCHER)
    assert [type(message) for message in heard] == [Snap, StatusFrame]
    assert stage.machine.inspect().sessions == 0
    assert stage.replica.rows == {}
    alice = stage.connects()
    effects = stage.says(alice, Hello()) + stage.says(alice, Set(topic="room:lobby"))
    heard = told(effects + stage.ticks(), WATCHER)
    assert [type(message) for message in heard] == [StatusFrame, Diff]


def test_the_mark_comes_behind_all_frames_of_its_tick() -> None:
    """A stream that breaks between two frames resumes before both."""
    stage = Stage()
    effects = watches(stage, Sub(topics=["room:lobby", "room:design"], users=["alice"]))
    kinds = [
        type(effect)
        for effect in effects
        if isinstance(effect, Mark)
        or (isinstance(effect, Deliver) and WATCHER in effect.connections)
    ]
    assert kinds == [Deliver, Deliver, Deliver, Mark]


def test_who_resumes_from_a_mark_gets_what_it_missed_and_nothing_else() -> None:
    """Of two rooms, the one that changed."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    sub = Sub(topics=["room:lobby", "room:design"])
    (mark,) = marks(watches(stage, sub))
    stage.loses(WATCHER)
    stage.says(alice, Set(topic="room:design", meta={"a": 1}))
    stage.ticks()
    again = watches(stage, Sub(topics=sub.topics, cursor=mark.cursor))
    heard = told(again, WATCHER)
    assert all(isinstance(message, Diff) and message.resumed for message in heard)
    changed = [message for message in heard if isinstance(message, Diff) and message.updates]
    assert [(diff.topic, [entry.key for entry in diff.updates]) for diff in changed] == [
        ("room:design", ["alice"])
    ]


def test_a_mark_says_nothing_of_a_shard_of_which_a_topic_has_not_come() -> None:
    """Else that topic would be taken for known at the next gateway."""
    stage = Stage()
    alice = stage.enters()
    watches(stage, Sub(topics=["room:lobby"]))
    stage.passes(INTERVAL_MS)
    stage.replica.loads = False
    stage.happens(ClientSent(WATCHER, Sub(topics=["room:slow"])))
    effects = stage.says(alice, Set(topic="room:lobby"))
    (mark,) = marks(effects + stage.ticks())
    assert read_cursor(mark.cursor) == {}


def test_marks_come_no_more_often_than_they_help() -> None:
    """Each second at most; whoever resumes from an older one hears some things twice."""
    stage = Stage()
    watches(stage, Sub(topics=["room:lobby"]))
    alice = stage.enters()
    effects: list[GatewayEffect] = []
    for turn in range(10):
        effects += stage.says(alice, Set(topic="room:lobby", meta={"turn": turn}))
        effects += stage.ticks()
    assert len(told(effects, WATCHER)) == 10
    assert marks(effects) == []
    stage.passes(INTERVAL_MS)
    stage.says(alice, Set(topic="room:lobby", meta={"turn": 10}))
    assert len(marks(stage.ticks())) == 1


def test_a_mark_that_fits_into_no_header_is_not_told() -> None:
    """Whoever resumes without one gets everything again."""
    assert mark_for(WATCHER, "x" * EVENT_ID_CHARACTERS_MAX) is not None
    assert mark_for(WATCHER, "x" * (EVENT_ID_CHARACTERS_MAX + 1)) is None


def test_nobody_else_is_told_marks() -> None:
    """Who speaks the native protocol finds cursors in its frames."""
    marks_of = Marks()
    frame = Deliver([ConnectionId(1)], Pong(t=None, server_ms=WallMs(WALL)))
    assert marks_of.take_due([frame], at(0)) == []
    marks_of.note_watcher(WATCHER)
    assert marks_of.take_due([frame], at(0)) == []
    both = Deliver([ConnectionId(1), WATCHER], frame.message)
    assert marks_of.take_due([both, both], at(0)) == [WATCHER]
    marks_of.forget(WATCHER)
    later = Now(at(0).instant, at(0).wall)
    assert marks_of.take_due([both], later) == []


def test_the_silence_of_a_watcher_means_nothing() -> None:
    """It cannot speak. Whether its line lives, the edge sees."""
    stage = Stage()
    watches(stage, Sub(topics=["room:lobby"]))
    assert not [
        effect
        for effect in stage.passes(10 * KNOBS.client_lease_ms)
        if isinstance(effect, CloseClient)
    ]
    assert stage.machine.inspect().connections == 1


def test_a_watcher_is_heard_in_nothing_but_what_it_wants_to_watch() -> None:
    """Whatever a driver makes up, nobody comes online by it."""
    stage = Stage()
    watches(stage, Sub(topics=["room:lobby"]))
    for message in (Hello(), Set(topic="room:lobby"), Bye()):
        assert stage.happens(ClientSent(WATCHER, message)) == []
    assert stage.machine.inspect().sessions == 0


def test_a_stream_ends_with_its_token() -> None:
    """With the same code as a socket."""
    stage = Stage()
    watches(stage, Sub(topics=["room:lobby"]), expires=60_000)
    (closing,) = [effect for effect in stage.passes(60_000) if isinstance(effect, CloseClient)]
    assert (closing.connection, closing.code) == (WATCHER, 4401)
    assert stage.machine.inspect().subscriptions == 0


def test_a_mark_does_not_fall_behind_what_was_seen_at_another_gateway() -> None:
    """Else the next one would not know that the reader may know entries that it does not."""
    stage = Stage()
    elsewhere = VersionVector({Origin("a/w9/01"): Stamp(7)})
    sub = Sub(topics=["room:lobby"], cursor=write_cursor({SHARD: elsewhere}))
    (mark,) = marks(watches(stage, sub))
    assert read_cursor(mark.cursor)[SHARD].dominates(elsewhere)
