"""Standing orders, in the corners that a whole session's transcript does not reach."""

from __future__ import annotations

from presence_actors.core.effects import RefusalHappened, Resolve, Say, Tell
from presence_actors.core.ids import RequestId
from presence_actors.core.instants import WallMs
from presence_actors.core.orders import Orders, merge_patch
from presence_actors.core.vocabulary import (
    Err,
    ErrorCode,
    Ok,
    Patch,
    Set,
    Sub,
    Unset,
    Unsub,
)
from presence_actors.core.watched import Watched

SINCE = WallMs(9)


def restated(orders: Orders, watched: Watched) -> list[object]:
    """What is done on a new connection of the same session."""
    orders.lapse()
    return list(orders.restate(watched, resumed=True, status_told=orders.status))


def test_a_room_that_is_refused_after_a_reconnect_is_told_to_the_application() -> None:
    """Nobody waits for an answer, so it comes as an event, and the room is given up."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Set(topic="room:a", meta={}), watched, connected=True)
    orders.answer(Ok(id=1, since=SINCE), watched)
    assert restated(orders, watched) == [Say(Set(id=2, topic="room:a", meta={}, since=SINCE))]
    refused = Err(id=2, code=ErrorCode.FORBIDDEN, message="no more")
    told = Tell(RefusalHappened("room:a", ErrorCode.FORBIDDEN, "no more"))
    assert orders.answer(refused, watched) == ([told], None)
    assert orders.rooms == []


def test_a_subscription_that_is_refused_after_a_reconnect_is_told_for_each_name() -> None:
    """Rooms and users by their topics."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Sub(topics=["room:a"]), watched, connected=True)
    orders.take(RequestId(2), Sub(users=["bob"]), watched, connected=True)
    orders.answer(Ok(id=1), watched)
    orders.answer(Ok(id=2), watched)
    assert restated(orders, watched) == [
        Say(Sub(id=3, topics=["room:a"])),
        Say(Sub(id=4, users=["bob"])),
    ]
    refused = Err(id=4, code=ErrorCode.FORBIDDEN, message="no")
    told = Tell(RefusalHappened("user:bob", ErrorCode.FORBIDDEN, "no"))
    assert orders.answer(refused, watched) == ([told], None)
    assert (watched.topics, watched.users) == (["room:a"], [])


def test_a_refused_subscription_leaves_what_was_watched_before() -> None:
    """Only what the refused request added is dropped."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Sub(topics=["room:a"]), watched, connected=True)
    orders.take(RequestId(2), Sub(topics=["room:a", "room:b"]), watched, connected=True)
    orders.answer(Err(id=2, code=ErrorCode.FORBIDDEN, message="no"), watched)
    assert watched.topics == ["room:a"]


def test_a_room_left_and_joined_again_between_connections_is_only_joined() -> None:
    """The leave would undo the join if it were said after it."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Set(topic="room:a", meta={"n": 1}), watched, connected=True)
    orders.answer(Ok(id=1, since=SINCE), watched)
    orders.lapse()
    orders.take(RequestId(2), Unset(topic="room:a"), watched, connected=False)
    orders.take(RequestId(3), Set(topic="room:a", meta={"n": 2}), watched, connected=False)
    assert restated(orders, watched) == [
        Resolve(RequestId(2), Ok(id=0)),
        Say(Set(id=4, topic="room:a", meta={"n": 2})),
    ]


def test_a_room_left_between_connections_is_left_by_a_session_that_is_new() -> None:
    """It is in no room: what the gateway then refuses is what was wanted."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Set(topic="room:a", meta={}), watched, connected=True)
    orders.answer(Ok(id=1, since=SINCE), watched)
    orders.lapse()
    orders.take(RequestId(2), Unset(topic="room:a"), watched, connected=False)
    said = orders.restate(watched, resumed=False, status_told=orders.status)
    assert said == [Say(Unset(id=3, topic="room:a"))]
    refused = Err(id=3, code=ErrorCode.NOT_JOINED, message="not joined")
    assert orders.answer(refused, watched) == ([Resolve(RequestId(2), Ok(id=3))], None)


def test_what_is_watched_and_unwatched_between_connections_is_not_said() -> None:
    """Both requests are answered: a new connection watches only what it asks for."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Sub(users=["bob"]), watched, connected=False)
    orders.take(RequestId(2), Unsub(users=["bob"]), watched, connected=False)
    assert restated(orders, watched) == [
        Resolve(RequestId(1), Ok(id=0)),
        Resolve(RequestId(2), Ok(id=0)),
    ]


def test_many_names_are_said_in_frames_of_a_bounded_size() -> None:
    """A frame with all of them would be refused as too big."""
    orders, watched = Orders("online"), Watched()
    names = [f"user {number}" for number in range(120)]
    for start in range(0, 120, 40):
        batch = Sub(users=names[start : start + 40])
        orders.take(RequestId(start), batch, watched, connected=True)
        orders.answer(Ok(id=start // 40 + 1), watched)
    said = [effect.message for effect in restated(orders, watched) if isinstance(effect, Say)]
    sizes = [len(message.users) for message in said if isinstance(message, Sub)]
    assert sizes == [50, 50, 20]


def test_a_new_session_does_not_carry_the_begin_of_the_old_one() -> None:
    """Others saw the old one go."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Set(topic="room:a", meta={}), watched, connected=True)
    orders.answer(Ok(id=1, since=SINCE), watched)
    orders.lapse()
    assert orders.restate(watched, resumed=False, status_told="online") == [
        Say(Set(id=2, topic="room:a", meta={}))
    ]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    """An id never used, and one of the connection before."""
    orders, watched = Orders("online"), Watched()
    orders.take(RequestId(1), Set(status="away"), watched, connected=True)
    orders.lapse()
    assert orders.answer(Ok(id=1), watched) == ([], None)
    assert orders.answer(Ok(id="x"), watched) == ([], None)
    assert orders.pending == 1


def test_what_cannot_be_asked_is_refused_before_it_is_said() -> None:
    """A room that was not joined, one room too many."""
    orders, watched = Orders("online"), Watched()
    (refused,) = orders.take(RequestId(1), Patch(topic="room:a", meta={}), watched, connected=True)
    assert isinstance(refused, Resolve)
    assert isinstance(refused.answer, Err)
    assert refused.answer.code is ErrorCode.NOT_JOINED
    for number in range(100):
        message = Set(topic=f"room:{number}", meta={})
        orders.take(RequestId(number), message, watched, connected=True)
    (refused,) = orders.take(RequestId(1), Set(topic="room:b"), watched, connected=True)
    assert isinstance(refused, Resolve)
    assert isinstance(refused.answer, Err)
    assert refused.answer.code is ErrorCode.TOO_MANY


def test_a_merge_patch_follows_the_rfc() -> None:
    """The cases of RFC 7396, appendix A, whose target and patch are objects."""
    cases: list[tuple[dict[str, object], dict[str, object], dict[str, object]]] = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, {"a": {"b": None}}, {"a": {}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, result in cases:
        assert merge_patch(target, patch) == result
