"""Those who poll: an answer as soon as the topics are known, and never late."""

from __future__ import annotations

from typing import Any

import pytest

from crdt import Origin, Stamp, VersionVector
from presence_actors.core.cursors import mark_of, read_cursor, read_mark, write_cursor
from presence_actors.core.effects import Answer, GatewayEffect, TopicAnswer
from presence_actors.core.events import QueryReceived
from presence_actors.core.ids import RequestId, SessionId, UserId, ZoneId
from presence_actors.core.instants import WallMs
from presence_actors.core.messages import Reach
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.vocabulary import (
    Bye,
    Entry,
    Hello,
    Quality,
    Set,
    StatusFrame,
    UserStatus,
    ViewFrame,
)
from tests.unit.core.building import LOBBY, SHARD, WALL
from tests.unit.core.gateway_stage import ALL_HEARD, KNOBS, Stage


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
    seen = ViewFrame(scope="room:lobby", quality=Quality.COMPLETE)
    statuses = [
        StatusFrame(
            user=UserId("alice"), status=UserStatus.ONLINE, devices=["desktop"], since=since
        ),
        StatusFrame(user=UserId("bob"), status=UserStatus.OFFLINE),
    ]
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
                cursor=write_cursor({SHARD: stage.replica.vector}, mark=mark_of(seen)),
            )
        ],
        statuses,
        f"~{mark_of(*statuses)}",
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


# --------------------------------------------------------------------------------- waiting for news


def asks_for_lobby(stage: Stage, *, request: int = 1, **more: Any) -> Answer | None:
    """The answer to a question about the lobby, if it comes at once."""
    query = QueryReceived(RequestId(request), "default", ["room:lobby"], [], **more)
    found = answers(stage.happens(query))
    return found[0] if found else None


def knows_lobby(stage: Stage) -> str:
    """The cursor of somebody who has seen the lobby."""
    query = QueryReceived(RequestId(99), "default", ["room:lobby"], [])
    (answer,) = answers(stage.happens(query) + stage.ticks())
    cursor = answer.topics[0].cursor
    assert cursor is not None
    return cursor


def test_whoever_waits_with_a_cursor_is_answered_by_the_next_change_and_gets_only_that() -> None:
    """Alice comes, then she goes; each is one answer, and in between nothing is said."""
    stage = Stage()
    bob = stage.enters("bob", session="s2")
    stage.says(bob, Set(topic="room:lobby"))
    cursor = knows_lobby(stage)
    assert asks_for_lobby(stage, cursor=cursor, wait_ms=20_000) is None
    assert answers(stage.passes(5_000)) == []
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby", meta={"a": 1}))
    (came,) = answers(stage.ticks())
    (room,) = came.topics
    assert (room.resumed, [entry.key for entry in room.entries]) == (True, ["alice"])
    assert asks_for_lobby(stage, request=2, cursor=room.cursor, wait_ms=20_000) is None
    stage.says(alice, Bye())
    stage.loses(alice, orderly=True)
    (gone,) = answers(stage.ticks())
    assert [(leave.key, leave.reason) for leave in gone.topics[0].leaves] == [("alice", "left")]
    assert gone.topics[0].entries == []


def test_whoever_waits_in_vain_is_told_so_when_the_time_is_over() -> None:
    """With a cursor to go on from, and with no entry said again."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    cursor = knows_lobby(stage)
    assert asks_for_lobby(stage, cursor=cursor, wait_ms=5_000) is None
    assert answers(stage.passes(4_999)) == []
    (answer,) = answers(stage.passes(1))
    (room,) = answer.topics
    assert (room.resumed, room.entries, room.leaves) == (True, [], [])
    assert room.cursor is not None


def test_who_missed_something_does_not_wait() -> None:
    """The change came between two polls."""
    stage = Stage()
    cursor = knows_lobby(stage)
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    answer = asks_for_lobby(stage, cursor=cursor, wait_ms=20_000)
    assert answer is not None
    assert [entry.key for entry in answer.topics[0].entries] == ["alice"]


@pytest.mark.parametrize("cursor", ["", "garbage", "~", "~00"])
def test_a_cursor_that_cannot_be_read_gets_the_whole_room_at_once(cursor: str) -> None:
    """It is a hint, and no more."""
    stage = Stage()
    knows_lobby(stage)
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    stage.ticks()
    answer = asks_for_lobby(stage, cursor=cursor, wait_ms=20_000)
    assert answer is not None
    (room,) = answer.topics
    assert (room.resumed, [entry.key for entry in room.entries]) == (False, ["alice"])


def test_whom_a_view_cannot_hear_is_news_to_whoever_waits() -> None:
    """No row tells it: the mark of the cursor does. When all can be heard again, that is news."""
    stage = Stage()
    alice = stage.enters()
    stage.says(alice, Set(topic="room:lobby"))
    cursor = knows_lobby(stage)
    assert asks_for_lobby(stage, cursor=cursor, wait_ms=20_000) is None
    silent = Reach(ready=True, origins={}, holders={}, zones={ZoneId("b"): WallMs(WALL)})
    stage.hears(stage.replica.says(reach=silent))
    (answer,) = answers(stage.ticks())
    (room,) = answer.topics
    assert (room.quality, room.silent, room.as_of) == (Quality.PARTIAL, ["b"], WALL)
    assert (room.resumed, room.entries) == (True, [])
    assert read_mark(room.cursor) != read_mark(cursor)
    assert asks_for_lobby(stage, request=2, cursor=room.cursor, wait_ms=20_000) is None
    stage.hears(stage.replica.says(reach=ALL_HEARD))
    (healed,) = answers(stage.ticks())
    assert (healed.topics[0].quality, healed.topics[0].silent) == (Quality.COMPLETE, [])


def test_whoever_waits_for_users_is_answered_when_one_shows_something_else() -> None:
    """The answer is all of them."""
    stage = Stage()
    people = [UserId("alice"), UserId("bob")]
    first = stage.happens(QueryReceived(RequestId(1), "default", [], people))
    (before,) = answers(first + stage.ticks())
    again = QueryReceived(RequestId(2), "default", [], people, cursor=before.cursor, wait_ms=20_000)
    assert answers(stage.happens(again)) == []
    stage.says(stage.connects(), Hello(session=SessionId("s1")))
    (after,) = answers(stage.ticks())
    assert [user.status for user in after.users] == [UserStatus.ONLINE, UserStatus.OFFLINE]
    assert after.cursor != before.cursor


def test_what_is_waited_for_is_kept_and_then_forgotten() -> None:
    """For as long as somebody waits, and the usual while."""
    stage = Stage()
    cursor = knows_lobby(stage)
    wait_ms = 3 * KNOBS.interest_linger_ms
    assert asks_for_lobby(stage, cursor=cursor, wait_ms=wait_ms) is None
    stage.passes(wait_ms - 1)
    assert stage.machine.inspect().topics == 1
    stage.passes(1)
    stage.passes(KNOBS.interest_linger_ms + KNOBS.flush_ms)
    assert stage.machine.inspect().topics == 0
    assert stage.machine.deadline() is not None


# ----------------------------------------------------------------------------- pages, and staleness


def test_pages_add_up_to_the_room_and_each_entry_that_stays_is_in_one() -> None:
    """While others come and go; what the pages miss comes with the cursor of the first."""
    stage = Stage()
    for index in range(7):
        someone = stage.enters(f"u{index}", session=f"s{index}")
        stage.says(someone, Set(topic="room:lobby"))
    knows_lobby(stage)
    seen: list[str] = []
    after, cursor = "", None
    for request in range(10):
        answer = asks_for_lobby(stage, request=request, limit=3, after=after)
        assert answer is not None
        (page,) = answer.topics
        cursor = cursor or page.cursor
        seen += [entry.ref for entry in page.entries]
        if page.next is None:
            break
        after = page.next
        late = stage.enters(f"late{request}", session=f"late{request}")
        stage.says(late, Set(topic="room:lobby"))
        stage.ticks()
    assert seen == sorted(dict.fromkeys(seen))
    at_first = {entry_ref((LOBBY, f"u{index}", f"s{index}")) for index in range(7)}
    assert at_first <= set(seen)
    since = asks_for_lobby(stage, request=11, cursor=cursor)
    assert since is not None
    both = set(seen) | {entry.ref for entry in since.topics[0].entries}
    assert both == at_first | {
        entry_ref((LOBBY, f"late{request}", f"late{request}")) for request in range(2)
    }


def test_more_news_than_a_page_holds_is_a_page_of_the_whole() -> None:
    """Differences have no pages."""
    stage = Stage()
    cursor = knows_lobby(stage)
    for index in range(3):
        someone = stage.enters(f"u{index}", session=f"s{index}")
        stage.says(someone, Set(topic="room:lobby"))
    stage.ticks()
    answer = asks_for_lobby(stage, cursor=cursor, limit=2)
    assert answer is not None
    (room,) = answer.topics
    assert (room.resumed, len(room.entries), room.next) == (False, 2, room.entries[1].ref)


@pytest.mark.parametrize(("age_ms", "stale"), [(1_000, False), (1_001, True)])
def test_an_answer_says_whether_it_is_older_than_was_asked_for(age_ms: int, *, stale: bool) -> None:
    """The age is that of the oldest part: of a zone that cannot be heard."""
    stage = Stage()
    knows_lobby(stage)
    at = WallMs(WALL + stage.at)
    silent = Reach(ready=True, origins={}, holders={}, zones={ZoneId("b"): at})
    stage.hears(stage.replica.says(reach=silent))
    stage.ticks()
    stage.passes(at + age_ms - WALL - stage.at)
    answer = asks_for_lobby(stage, max_staleness_ms=1_000)
    assert answer is not None
    assert answer.stale is stale


def test_what_is_not_known_at_all_is_older_than_anything() -> None:
    """A room that has not come, and a user of whom nothing is known."""
    stage = Stage()
    stage.replica.loads = False
    query = QueryReceived(RequestId(1), "default", ["room:lobby"], [], max_staleness_ms=3_600_000)
    (room,) = answers(stage.happens(query) + stage.passes(KNOBS.snapshot_wait_ms))
    assert room.stale
    query = QueryReceived(RequestId(2), "default", [], [UserId("bob")], max_staleness_ms=3_600_000)
    (user,) = answers(stage.happens(query) + stage.passes(KNOBS.snapshot_wait_ms))
    assert user.stale


def test_the_cursor_of_a_difference_does_not_fall_behind_what_was_seen_elsewhere() -> None:
    """Else another gateway would not know that its bearer may know entries that it does not."""
    stage = Stage()
    knows_lobby(stage)
    elsewhere = VersionVector({Origin("a/w9/01"): Stamp(7)})
    for request, cursor in enumerate((write_cursor({SHARD: elsewhere}), None)):
        answer = asks_for_lobby(stage, request=request, cursor=cursor)
        assert answer is not None
        (room,) = answer.topics
        seen = read_cursor(room.cursor)[SHARD]
        assert room.resumed is (cursor is not None)
        assert seen.dominates(elsewhere) is room.resumed
