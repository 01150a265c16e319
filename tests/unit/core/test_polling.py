"""Those who poll: an answer as soon as the topics are known, and never late."""

from __future__ import annotations

from presence_actors.core.cursors import write_cursor
from presence_actors.core.effects import Answer, GatewayEffect, TopicAnswer
from presence_actors.core.events import QueryReceived
from presence_actors.core.ids import RequestId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.vocabulary import Entry, Quality, Set, StatusFrame, UserStatus
from tests.unit.core.building import LOBBY, SHARD, WALL
from tests.unit.core.gateway_stage import KNOBS, Stage


def asks(stage: Stage, *users: str, request: int = 1) -> list[GatewayEffect]:
    """Somebody asks for the lobby and for users."""
    found = [UserId(user) for user in users]
    return stage.happens(QueryReceived(RequestId(request), "default", ["room:lobby"], found))


def answers(effects: list[GatewayEffect]) -> list[Answer]:
    """The answers among the effects."""
    return [effect for effect in effects if isinstance(effect, Answer)]


def test_a_query_is_answered_when_all_its_topics_are_known() -> None:
    """The room with its cursor, and what the users show."""
    stage = Stage()
    since = WallMs(WALL + stage.at)
    alice = stage.enters()
    joined = WallMs(WALL + stage.at)
    stage.says(alice, Set(topic="room:lobby", meta={"a": 1}))
    stage.ticks()
    assert asks(stage, "alice", "bob") == []
    (answer,) = answers(stage.ticks())
    here = Entry(
        ref=entry_ref((LOBBY, "alice", "s1")),
        key=UserId("alice"),
        status="online",
        device="desktop",
        since=joined,
        meta={"a": 1},
    )
    assert answer == Answer(
        RequestId(1),
        [
            TopicAnswer(
                topic="room:lobby",
                quality=Quality.COMPLETE,
                silent=[],
                as_of=None,
                entries=[here],
                unreachable=[],
                cursor=write_cursor({SHARD: stage.replica.vector}),
            )
        ],
        [
            StatusFrame(
                user=UserId("alice"), status=UserStatus.ONLINE, devices=["desktop"], since=since
            ),
            StatusFrame(user=UserId("bob"), status=UserStatus.OFFLINE),
        ],
    )


def test_a_query_for_topics_that_are_known_is_answered_at_once() -> None:
    """The next poll of the same topics is cheap, as long as they are kept warm."""
    stage = Stage()
    asks(stage)
    stage.ticks()
    stage.passes(KNOBS.interest_linger_ms // 2)
    assert [answer.request for answer in answers(asks(stage, request=2))] == [2]


def test_a_query_for_topics_that_do_not_come_says_so_in_time() -> None:
    """A room that is starting, and a user of whom nothing is known."""
    stage = Stage()
    stage.replica.loads = False
    asks(stage, "bob")
    assert answers(stage.passes(KNOBS.snapshot_wait_ms - 1)) == []
    (answer,) = answers(stage.passes(1))
    assert [(topic.quality, topic.entries) for topic in answer.topics] == [(Quality.STARTING, [])]
    assert [status.status for status in answer.users] == [UserStatus.UNKNOWN]


def test_what_changed_and_is_not_told_yet_is_waited_for() -> None:
    """An answer never contradicts what subscribers hear on the same tick."""
    stage = Stage()
    asks(stage)
    stage.ticks()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.passes(2 * KNOBS.flush_ms)
    assert answers(asks(stage, request=2)) == []
    (answer,) = answers(stage.ticks())
    assert [entry.key for entry in answer.topics[0].entries] == ["alice"]


def test_a_query_for_nothing_is_answered_with_nothing() -> None:
    """There is nothing to wait for."""
    stage = Stage(cluster=False)
    query = QueryReceived(RequestId(3), "default", [], [])
    assert stage.happens(query) == [Answer(RequestId(3), [], [])]


def test_topics_that_only_a_query_wanted_are_forgotten_after_a_while() -> None:
    """A poller does not have to say that it is done."""
    stage = Stage()
    asks(stage, "bob")
    stage.ticks()
    assert stage.machine.inspect().topics == 2
    assert stage.replica.topics == {LOBBY: None, "default/user:bob": None}
    stage.passes(KNOBS.interest_linger_ms + KNOBS.flush_ms)
    assert stage.machine.inspect().topics == 0
    assert stage.replica.topics == {}
