"""What clients say to each other: who hears it, what goes on, and what is refused."""

from __future__ import annotations

from presence_actors.core.effects import Deliver, GatewayEffect, PassOn, Send
from presence_actors.core.events import (
    BroadcastPosted,
    ClientLagging,
    ClientSent,
    DeadlineReached,
    MessagesReceived,
)
from presence_actors.core.ids import ConnectionId, ShardId
from presence_actors.core.limits import (
    BROADCAST_BYTES_PER_SECOND_MAX,
    BROADCASTS_PER_SECOND_MAX,
    CLIENT_FRAME_BYTES_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
)
from presence_actors.core.messages import Broadcasts, Said
from presence_actors.core.vocabulary import Broadcast, Err, ErrorCode, Listen, Ok, Unlisten
from tests.unit.core.building import LOBBY, SHARD, at
from tests.unit.core.gateway_stage import Stage, only, told

HELLO = Said(LOBBY, "hello", b'{"n":1}')
WORD = Broadcast(topic="room:lobby", event="hello", payload=b'{"n":1}')


def listening(stage: Stage, user: str) -> ConnectionId:
    """Somebody who was told that it listens in the lobby."""
    connection = stage.enters(user, session=f"of {user}")
    effects = stage.says(connection, Listen(id=1, topic="room:lobby")) + stage.ticks()
    assert told(effects, connection)[-1] == Ok(id=1)
    return connection


def sent(stage: Stage, *events: object) -> list[Broadcasts]:
    """The broadcasts that go to the replica after these events, and within a flush."""
    effects: list[GatewayEffect] = []
    for event in events:
        effects += stage.machine.handle(event, at(stage.at))  # type: ignore[arg-type]
    stage.at += stage.knobs.flush_ms
    effects += stage.machine.handle(DeadlineReached(), at(stage.at))
    return [
        message
        for effect in effects
        if isinstance(effect, Send)
        for message in effect.messages
        if isinstance(message, Broadcasts)
    ]


def test_those_who_listen_here_hear_it_at_once_and_the_sender_does_not() -> None:
    """It is in the lobby, and says nothing of who is there."""
    stage = Stage()
    alice, bob = listening(stage, "alice"), listening(stage, "bob")
    assert stage.says(alice, WORD) == [PassOn([bob], HELLO)]


def test_a_sender_may_hear_itself_and_have_an_answer() -> None:
    """The answer says that it was taken; others may not even be there."""
    stage = Stage()
    alice = listening(stage, "alice")
    word = Broadcast(topic="room:lobby", event="hello", payload=b'{"n":1}', echo=True, id=7)
    assert stage.says(alice, word) == [PassOn([alice], HELLO), Deliver([alice], Ok(id=7))]


def test_whoever_only_watches_hears_nothing_that_is_said() -> None:
    """A native client that has the room as a subscriber, say."""
    stage = Stage()
    alice = listening(stage, "alice")
    stage.enters("bob", session="of bob")
    assert stage.says(alice, WORD) == []


def test_what_is_said_within_a_flush_goes_on_as_one_message() -> None:
    """To the replica that serves the shard, in the order in which it was said."""
    stage = Stage()
    alice = listening(stage, "alice")
    more = Broadcast(topic="room:lobby", event="stroke", payload=b"\x00", binary=True)
    said = sent(stage, ClientSent(alice, WORD), ClientSent(alice, more))
    assert said == [Broadcasts(SHARD, [HELLO, Said(LOBBY, "stroke", b"\x00", binary=True)])]


def test_what_was_said_elsewhere_is_heard_from_our_replica_alone() -> None:
    """Another one's word may be one that we have heard already."""
    stage = Stage()
    alice = listening(stage, "alice")
    message = Broadcasts(SHARD, [HELLO])
    assert stage.hears(message) == [PassOn([alice], HELLO)]
    other = stage.other.node
    assert stage.happens(MessagesReceived(other, [message])) == []


def test_a_listener_is_told_so_when_the_replica_knows_of_the_room() -> None:
    """From then on it hears what is said anywhere; a shard without a replica makes it wait."""
    stage = Stage()
    stage.replica.loads = False
    alice = stage.enters("alice")
    assert stage.says(alice, Listen(id=1, topic="room:den")) == []
    assert told(stage.ticks(), alice) == []
    late = stage.passes(stage.knobs.snapshot_wait_ms)
    assert told(late, alice) == [Ok(id=1)]


def test_who_listens_no_more_hears_no_more() -> None:
    """Neither after `Unlisten` nor after the connection is gone."""
    stage = Stage()
    alice, bob, carl = (listening(stage, user) for user in ("alice", "bob", "carl"))
    stage.says(bob, Unlisten(topic="room:lobby"))
    stage.loses(carl)
    assert stage.says(alice, WORD) == []


def test_a_room_that_nobody_listens_in_is_wanted_no_longer() -> None:
    """Listening is interest; it ends like interest, after its linger."""
    stage = Stage()
    alice = listening(stage, "alice")
    assert LOBBY in stage.replica.topics
    stage.says(alice, Unlisten(topic="room:lobby"))
    stage.passes(stage.knobs.interest_linger_ms + 100)
    assert LOBBY not in stage.replica.topics


def test_too_many_a_second_are_refused_and_said_to_nobody() -> None:
    """Who asked for an answer gets one; presence of the same client goes on."""
    stage = Stage()
    alice, bob = listening(stage, "alice"), listening(stage, "bob")
    for _ in range(BROADCASTS_PER_SECOND_MAX):
        assert stage.says(alice, WORD) == [PassOn([bob], HELLO)]
    refusal = Broadcast(topic="room:lobby", event="hello", payload=b"1", id=9)
    answer = only(stage.says(alice, refusal), alice)
    assert isinstance(answer, Err)
    assert (answer.id, answer.code) == (9, ErrorCode.RATE_LIMITED)
    assert stage.says(alice, WORD) == []
    # Another one may, and so may she a second later.
    assert stage.says(bob, WORD) == [PassOn([alice], HELLO)]
    stage.passes(1_000)
    assert stage.says(alice, WORD) == [PassOn([bob], HELLO)]


def test_too_many_bytes_a_second_are_refused_too() -> None:
    """A few large ones are as bad as many small ones."""
    stage = Stage()
    alice, bob = listening(stage, "alice"), listening(stage, "bob")
    large = Broadcast(topic="room:lobby", event="x", payload=b"1" * CLIENT_FRAME_BYTES_MAX)
    heard = 0
    while stage.says(alice, large) != []:
        heard += 1
    assert 0 < heard <= BROADCAST_BYTES_PER_SECOND_MAX // CLIENT_FRAME_BYTES_MAX
    assert stage.machine.inspect().broadcasts == {"refused": 1, "said": heard}
    assert stage.says(bob, WORD) == [PassOn([alice], HELLO)]


def test_who_is_behind_with_reading_hears_nothing() -> None:
    """What is said is not worth a backlog, and never repeated."""
    stage = Stage()
    alice, bob = listening(stage, "alice"), listening(stage, "bob")
    stage.happens(ClientLagging(bob))
    assert stage.says(alice, WORD) == []


def test_without_a_replica_only_this_gateway_hears_it() -> None:
    """Nothing waits for a replica, so nothing old comes out when there is one again."""
    stage = Stage()
    alice, bob = listening(stage, "alice"), listening(stage, "bob")
    for replica in stage.replicas.values():
        replica.is_there = False
    stage.passes(3 * stage.knobs.peer_silence_ms)
    assert stage.says(alice, WORD) == [PassOn([bob], HELLO)]
    assert stage.machine.inspect().broadcasts["kept_here"] == 1
    for replica in stage.replicas.values():
        replica.is_there = True
    stage.passes(3 * stage.knobs.peer_silence_ms)
    assert sent(stage) == []


def test_who_has_no_connection_may_say_something_too() -> None:
    """An app server, over HTTP: all who listen in that namespace hear it."""
    stage = Stage()
    alice = listening(stage, "alice")
    assert stage.happens(BroadcastPosted("default", [WORD])) == [PassOn([alice], HELLO)]
    assert stage.happens(BroadcastPosted("elsewhere", [WORD])) == []


def test_a_connection_listens_in_so_many_rooms_and_no_more() -> None:
    """Everything has a limit."""
    stage = Stage()
    alice = stage.enters("alice")
    for number in range(SUBSCRIPTIONS_PER_CONNECTION_MAX):
        stage.says(alice, Listen(topic=f"room:{number}"))
    assert stage.refuses(alice, Listen(id=1, topic="room:more")).code is ErrorCode.TOO_MANY
    assert stage.says(alice, Listen(id=2, topic="room:7")) == []


def test_a_stranger_cannot_make_a_gateway_say_anything() -> None:
    """A shard that is none, or a worker that it is not attached to."""
    stage = Stage()
    listening(stage, "alice")
    assert stage.hears(Broadcasts(ShardId(99), [HELLO])) == []
