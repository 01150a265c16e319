"""The client's side of a session, as transcripts: what happens, and exactly what is done then."""

from __future__ import annotations

from presence_actors.config import Knobs
from presence_actors.core.effects import (
    CloseConnection,
    InterruptionHappened,
    JoinHappened,
    OpenConnection,
    Resolve,
    Say,
    SessionEffect,
    SessionEnded,
    SnapshotCame,
    Tell,
    WelcomeHappened,
)
from presence_actors.core.events import (
    AppAsked,
    ConnectFailed,
    ConnectionLost,
    ConnectionOpened,
    DeadlineReached,
    ServerSent,
    SessionEvent,
)
from presence_actors.core.ids import RequestId, SessionId, UserId
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.orders import REQUESTS_PENDING_MAX
from presence_actors.core.session import Phase, SessionMachine
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    Diff,
    Entry,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Intent,
    Ok,
    Patch,
    Ping,
    Pong,
    ServerMessage,
    Set,
    Snap,
    Sub,
    Unset,
    Welcome,
)

SINCE = WallMs(1_000)
KNOBS = Knobs()


class Chance:
    """Always the same chance, so that waits can be told in advance."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        """The value."""
        return self.value

    def getrandbits(self, k: int, /) -> int:
        """No bits."""
        return 0 * k


class Talk:
    """A session machine, and a clock that goes where a test wants it."""

    def __init__(self, *urls: str, chance: float = 0.5) -> None:
        self.chance = Chance(chance)
        self.at = 1_000
        self.machine = SessionMachine(
            list(urls or ("ws://a",)),
            "dev:alice",
            device="desktop",
            knobs=KNOBS,
            rng=self.chance,
        )

    def happens(self, event: SessionEvent) -> list[SessionEffect]:
        """One event, now."""
        effects = self.machine.handle(event, Now(Instant(self.at), WallMs(self.at)))
        self.machine.check()
        return effects

    def hears(self, message: ServerMessage) -> list[SessionEffect]:
        """A frame from the gateway."""
        return self.happens(ServerSent(message))

    def asks(self, request: int, message: ClientMessage) -> list[SessionEffect]:
        """A request of the application."""
        return self.happens(AppAsked(RequestId(request), message))

    def waits(self) -> list[SessionEffect]:
        """Until the machine wants to be woken, and does so."""
        deadline = self.machine.deadline()
        assert deadline is not None
        self.at = max(self.at, deadline)
        return self.happens(DeadlineReached())

    def dials(self) -> Hello:
        """The next attempt, up to the hello."""
        (opened,) = self.waits()
        assert isinstance(opened, OpenConnection)
        (said,) = self.happens(ConnectionOpened(opened.url))
        assert isinstance(said, Say)
        assert isinstance(said.message, Hello)
        return said.message

    def stands(self, *gateways: str) -> list[SessionEffect]:
        """The next attempt, up to the welcome and what follows from it."""
        hello = self.dials()
        return self.hears(welcome(hello.resume, *gateways))


def welcome(resume: int, *gateways: str, session: str = "s1") -> Welcome:
    """The session stands."""
    return Welcome(
        session=SessionId(session),
        user=UserId("alice"),
        resume=resume,
        since=SINCE,
        heartbeat_ms=25_000,
        lease_ms=60_000,
        grace_ms=15_000,
        grace_gateway_ms=30_000,
        server_ms=SINCE,
        gateway="a/g0",
        gateways=list(gateways),
    )


def entry(ref: str, mood: str = "") -> Entry:
    """One device in a room."""
    return Entry(
        ref=ref, key=UserId(ref), status="online", device="web", since=SINCE, meta={"mood": mood}
    )


def said(effects: list[SessionEffect]) -> list[ClientMessage]:
    """The frames among the effects."""
    return [effect.message for effect in effects if isinstance(effect, Say)]


def interruption_ms(effects: list[SessionEffect]) -> int:
    """How long the machine waits after a loss."""
    (told,) = [effect.event for effect in effects if isinstance(effect, Tell)]
    assert isinstance(told, InterruptionHappened)
    return told.retry_ms


def test_the_first_connection_says_hello_and_tells_of_the_welcome() -> None:
    """Woken at once: open, hello without a session, welcome, first beat within its spread."""
    talk = Talk("ws://a", "ws://b")
    assert talk.waits() == [OpenConnection("ws://a")]
    assert talk.happens(ConnectionOpened("ws://a")) == [
        Say(Hello(token="dev:alice", device="desktop", status="online"))
    ]
    assert talk.hears(welcome(0)) == [Tell(WelcomeHappened("a/g0", resumed=False))]
    assert talk.machine.deadline() == talk.at + 25_000
    assert talk.machine.inspect().phase is Phase.STANDING


def test_each_attempt_to_resume_has_a_greater_number() -> None:
    """An attempt that got no welcome counts, too: its gateway may have taken the session."""
    talk = Talk("ws://a", "ws://b")
    talk.stands()
    talk.happens(ConnectionLost(1006, ""))
    hello = talk.dials()
    assert (hello.session, hello.resume) == ("s1", 1)
    talk.happens(ConnectionLost(1006, ""))
    assert talk.dials().resume == 2


def test_a_beat_is_sent_only_when_nothing_else_was_said() -> None:
    """Any frame moves the next ping away; a ping comes with a spread of a fifth."""
    talk = Talk(chance=0.0)
    talk.stands()
    talk.at += 10_000
    talk.asks(1, Set(status="away"))
    assert talk.machine.deadline() == talk.at + 20_000
    assert talk.waits() == [Say(Ping(t=talk.at))]
    talk.at += 30
    assert talk.hears(Pong(t=talk.at - 30, server_ms=SINCE)) == []
    assert talk.machine.inspect().rtt_ms == 30


def test_a_silent_gateway_is_left_when_the_lease_is_over() -> None:
    """Beats go out, nothing comes in: closed after the lease, and the next gateway is dialled."""
    talk = Talk("ws://a", "ws://b", chance=0.5)
    talk.stands()
    start = talk.at
    assert [type(effect) for effect in talk.waits() + talk.waits()] == [Say, Say]
    effects = talk.waits()
    assert talk.at == start + 60_000
    reason = "ws://a said nothing for 60000 ms"
    assert effects == [
        CloseConnection(4000, reason),
        Tell(InterruptionHappened(reason, retry_ms=500)),
    ]
    assert talk.waits() == [OpenConnection("ws://b")]


def test_all_gateways_are_tried_once_within_the_grace() -> None:
    """With the worst luck, and each attempt running into its time-out."""
    urls = [f"ws://g{number}" for number in range(10)]
    talk = Talk(*urls, chance=0.999)
    talk.stands()
    talk.happens(ConnectionLost(1006, ""))
    start = talk.at
    tried: list[str] = []
    while len(tried) < len(urls):
        opened = [effect for effect in talk.waits() if isinstance(effect, OpenConnection)]
        tried.extend(effect.url for effect in opened)
    assert sorted(tried) == urls
    assert talk.at - start <= 15_000


def test_waits_grow_after_the_first_round_up_to_their_limit() -> None:
    """Two quick attempts with two gateways, then twice as long each time, at most a minute."""
    talk = Talk("ws://a", "ws://b", chance=0.999)
    bounds = []
    for _ in range(12):
        (opened,) = talk.waits()
        assert isinstance(opened, OpenConnection)
        talk.happens(ConnectFailed(opened.url, "refused"))
        deadline = talk.machine.deadline()
        assert deadline is not None
        bounds.append(round((deadline - talk.at) / 1000))
    assert bounds == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]


def test_a_gateway_that_welcomes_and_breaks_is_not_dialled_ever_faster() -> None:
    """Each short connection doubles the next wait; one that stood for a while ends that."""
    talk = Talk("ws://a", chance=0.5)
    waits = []
    for _ in range(4):
        talk.stands()
        waits.append(interruption_ms(talk.happens(ConnectionLost(1011, "broke"))))
    assert waits == [500, 1_000, 2_000, 4_000]
    talk.stands()
    talk.at += 6_000
    assert interruption_ms(talk.happens(ConnectionLost(1011, "broke"))) == 500


def test_a_gateway_that_ends_says_when_to_come_back_and_where() -> None:
    """After a time of its own, and the spread; other gateways are known from then on."""
    talk = Talk("ws://a", chance=0.5)
    talk.stands()
    goaway = Goaway(reason="end", retry_in_ms=3_000, jitter_ms=8_000, gateways=["ws://b"])
    assert talk.hears(goaway) == []
    assert interruption_ms(talk.happens(ConnectionLost(1012, "drain"))) == 3_000 + 4_000
    assert talk.waits() == [OpenConnection("ws://b")]


def test_a_close_with_1012_alone_is_spread_over_the_knob() -> None:
    """Without a `goaway` nobody said how many others there are."""
    talk = Talk("ws://a", chance=0.5)
    talk.stands()
    assert interruption_ms(talk.happens(ConnectionLost(1012, ""))) == 5_000


def test_retry_after_is_a_least_wait() -> None:
    """The gateway is at a limit and says when to come back."""
    talk = Talk("ws://a", chance=0.5)
    talk.dials()
    busy = Err(code=ErrorCode.UNAVAILABLE, message="too many hellos", retry_after_ms=20_000)
    assert talk.hears(busy) == [CloseConnection(4000, "too many hellos")]
    deadline = talk.machine.deadline()
    assert deadline is not None
    assert deadline - talk.at >= 20_000


def test_a_close_code_of_the_44xx_is_final() -> None:
    """Whoever waits is told, the application too, and nothing is ever said again."""
    talk = Talk()
    talk.stands()
    talk.asks(7, Set(status="away"))
    words = "the session has ended: taken over"
    assert talk.happens(ConnectionLost(4409, "taken over")) == [
        Resolve(RequestId(7), Err(id=1, code=ErrorCode.UNAVAILABLE, message=words)),
        Tell(SessionEnded(4409, "taken over")),
    ]
    assert talk.machine.deadline() is None
    (resolved,) = talk.asks(8, Set(status="away"))
    assert isinstance(resolved, Resolve)
    assert isinstance(resolved.answer, Err)
    assert talk.happens(ConnectionOpened("ws://a")) == []


def test_a_close_code_of_the_45xx_is_tried_again() -> None:
    """Too slow, idle, slow down: the session lives on."""
    talk = Talk()
    talk.stands()
    assert interruption_ms(talk.happens(ConnectionLost(4513, "too slow"))) == 500


def test_a_refused_token_ends_the_session() -> None:
    """Neither a wrong token nor an expired one gets better by waiting."""
    talk = Talk()
    talk.dials()
    assert talk.hears(Err(code=ErrorCode.UNAUTHORIZED, message="not valid")) == [
        CloseConnection(4401, "unauthorized"),
        Tell(SessionEnded(4401, "not valid")),
    ]


def test_what_is_wanted_is_said_again_rooms_first_then_what_is_watched() -> None:
    """Order: rooms with `since`, then subs, rooms of one cursor together, then users."""
    talk = Talk("ws://a", "ws://b")
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={"a": 1}))
    talk.asks(2, Sub(topics=["room:lobby", "room:design"]))
    talk.asks(3, Sub(users=["bob"]))
    talk.asks(4, Patch(topic="room:lobby", meta={"b": 2}))
    for answered in (1, 2, 3, 4):
        talk.hears(Ok(id=answered, since=WallMs(77)))
    talk.hears(Snap(topic="room:lobby", state=[entry("x")], cursor="c1"))
    talk.happens(ConnectionLost(1006, ""))
    assert said(talk.stands()) == [
        Set(id=5, topic="room:lobby", meta={"a": 1, "b": 2}, since=WallMs(77)),
        Sub(id=6, topics=["room:lobby"], cursor="c1"),
        Sub(id=7, topics=["room:design"]),
        Sub(id=8, users=["bob"]),
    ]


def test_requests_without_an_answer_are_folded_and_each_is_answered() -> None:
    """A join and two changes on a connection that breaks: one frame on the next, three answers."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={"a": 1}))
    talk.asks(2, Patch(topic="room:lobby", meta={"b": 2}))
    talk.happens(ConnectionLost(1006, ""))
    talk.asks(3, Patch(topic="room:lobby", meta={"a": None}))
    assert talk.machine.meta("room:lobby") == {"b": 2}
    assert said(talk.stands()) == [Set(id=4, topic="room:lobby", meta={"b": 2})]
    done = Ok(id=4, since=WallMs(5))
    assert talk.hears(done) == [Resolve(RequestId(number), done) for number in (1, 2, 3)]


def test_a_status_asked_for_between_connections_goes_into_the_hello() -> None:
    """And the request is answered by a frame of its own."""
    talk = Talk()
    talk.stands()
    talk.happens(ConnectionLost(1006, ""))
    talk.asks(1, Set(status="away"))
    hello = talk.dials()
    assert hello.status == "away"
    assert said(talk.hears(welcome(hello.resume))) == [Set(id=2, status="away")]


def test_a_room_left_between_connections_is_left_on_the_next_one() -> None:
    """The other requests for it are told that it was left before they were answered."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={}))
    talk.hears(Ok(id=1, since=SINCE))
    talk.happens(ConnectionLost(1006, ""))
    talk.asks(2, Patch(topic="room:lobby", meta={"a": 1}))
    talk.asks(3, Unset(topic="room:lobby"))
    effects = talk.stands()
    assert said(effects) == [
        Set(id=4, topic="room:lobby", meta={}, since=SINCE),
        Unset(id=5, topic="room:lobby"),
    ]
    (resolved,) = [effect for effect in effects if isinstance(effect, Resolve)]
    assert resolved.request == 2
    assert isinstance(resolved.answer, Err)
    assert resolved.answer.code is ErrorCode.NOT_JOINED
    assert talk.hears(Ok(id=4, since=SINCE)) == []
    assert talk.hears(Ok(id=5)) == [Resolve(RequestId(3), Ok(id=5))]


def test_a_leave_whose_answer_was_lost_is_done_when_it_was_done_before() -> None:
    """The second saying finds nobody in the room: that is what was wanted."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={}))
    talk.hears(Ok(id=1, since=SINCE))
    talk.asks(2, Unset(topic="room:lobby"))
    talk.happens(ConnectionLost(1006, ""))
    assert said(talk.stands()) == [Unset(id=3, topic="room:lobby")]
    (resolved,) = talk.hears(Err(id=3, code=ErrorCode.NOT_JOINED, message="not joined"))
    assert resolved == Resolve(RequestId(2), Ok(id=3))


def test_only_the_last_of_several_choices_is_said() -> None:
    """Two intents between connections: the later one, and both are answered."""
    talk = Talk()
    talk.asks(1, Intent(status="away"))
    talk.asks(2, Intent(status="dnd"))
    assert said(talk.stands()) == [Intent(id=3, status="dnd")]
    assert [type(effect) for effect in talk.hears(Ok(id=3))] == [Resolve, Resolve]


def test_a_refused_join_is_not_said_again() -> None:
    """The gateway refused it: the room is not remembered."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={}))
    refused = Err(id=1, code=ErrorCode.FORBIDDEN, message="no")
    assert talk.hears(refused) == [Resolve(RequestId(1), refused)]
    talk.happens(ConnectionLost(1006, ""))
    assert said(talk.stands()) == []


def test_a_refused_change_leaves_the_room_as_it_was() -> None:
    """What is said again is what the gateway accepted last."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={"a": 1}))
    talk.hears(Ok(id=1, since=SINCE))
    talk.asks(2, Patch(topic="room:lobby", meta={"b": "too long"}))
    talk.hears(Err(id=2, code=ErrorCode.TOO_LONG, message="too long"))
    assert talk.machine.meta("room:lobby") == {"a": 1}


def test_a_room_refused_for_now_is_said_again_after_a_while() -> None:
    """After a reconnect in a storm the gateway may be at its rate: the room is not given up."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={"a": 1}))
    talk.hears(Ok(id=1, since=SINCE))
    talk.happens(ConnectionLost(1006, ""))
    (again,) = said(talk.stands())
    busy = Err(id=2, code=ErrorCode.RATE_LIMITED, message="slow down", retry_after_ms=3_000)
    assert talk.hears(busy) == []
    start = talk.at
    assert said(talk.waits()) == [again]
    assert talk.at == start + 3_000


def test_a_frame_that_is_too_big_is_not_said_again() -> None:
    """Close 1009: said again it would end the next connection, too."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Set(topic="room:lobby", meta={"a": "x" * 70_000}))
    effects = talk.happens(ConnectionLost(1009, "too big"))
    (resolved,) = [effect for effect in effects if isinstance(effect, Resolve)]
    assert isinstance(resolved.answer, Err)
    assert resolved.answer.code is ErrorCode.TOO_BIG
    assert said(talk.stands()) == []


def test_too_many_requests_are_refused_at_once() -> None:
    """The one beyond the limit; those before it wait on."""
    talk = Talk()
    for number in range(REQUESTS_PENDING_MAX):
        assert talk.asks(number, Set(status="away")) == []
    (resolved,) = talk.asks(9_999, Set(status="away"))
    assert isinstance(resolved, Resolve)
    assert isinstance(resolved.answer, Err)
    assert resolved.answer.code is ErrorCode.TOO_MANY


def test_bye_leaves_at_once_and_ends_the_session() -> None:
    """Said, closed in an orderly way, answered, and over."""
    talk = Talk()
    talk.stands()
    assert talk.asks(1, Bye()) == [
        Say(Bye()),
        CloseConnection(1000, "bye"),
        Resolve(RequestId(1), Ok(id=0)),
        Tell(SessionEnded(1000, "the client left")),
    ]


def test_a_room_that_looks_the_same_after_an_interruption_causes_no_event() -> None:
    """The snapshot of the next gateway equals what is held: only that it came is told."""
    talk = Talk("ws://a", "ws://b")
    talk.stands()
    talk.asks(1, Sub(topics=["room:lobby"]))
    snap = Snap(topic="room:lobby", state=[entry("x"), entry("y")], cursor="c")
    assert talk.hears(snap) == [
        Tell(JoinHappened("room:lobby", entry("x"))),
        Tell(JoinHappened("room:lobby", entry("y"))),
        Tell(SnapshotCame("room:lobby")),
    ]
    talk.happens(ConnectionLost(1006, ""))
    assert sorted(talk.machine.who("room:lobby")) == ["x", "y"]
    talk.stands()
    assert talk.hears(snap) == [Tell(SnapshotCame("room:lobby"))]
    resumed = Diff(topic="room:lobby", updates=[entry("x")], resumed=True)
    assert talk.hears(resumed) == [Tell(SnapshotCame("room:lobby"))]


def test_a_snapshot_with_a_missing_part_ends_the_connection() -> None:
    """It cannot be put together, and to guess would be to lie."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Sub(topics=["room:lobby"]))
    talk.hears(Snap(topic="room:lobby", state=[entry("x")], part=0, last=False))
    effects = talk.hears(Snap(topic="room:lobby", state=[entry("y")], part=2, last=True))
    assert effects[0] == CloseConnection(4000, "ws://a left out a part of room:lobby")
    assert talk.machine.who("room:lobby") == {}


def test_gateways_told_by_the_welcome_are_tried_after_the_given_ones() -> None:
    """And never a plain one when the given ones are encrypted: the token would be readable."""
    talk = Talk("ws://a")
    talk.stands("ws://b", "ws://c")
    assert talk.machine.inspect().urls == ["ws://a", "ws://b", "ws://c"]
    secure = Talk("wss://a")
    secure.stands("ws://b", "wss://c")
    assert secure.machine.inspect().urls == ["wss://a", "wss://c"]


def test_a_gateway_that_does_not_welcome_is_left() -> None:
    """It accepts and says nothing: the next one, before the grace is over."""
    talk = Talk("ws://a", "ws://b")
    talk.dials()
    assert talk.waits() == [CloseConnection(4000, "ws://a gave no welcome in time")]
    assert talk.waits() == [OpenConnection("ws://b")]


def test_stale_events_of_an_old_connection_change_nothing() -> None:
    """A loss that is told twice, a failure of another address."""
    talk = Talk("ws://a", "ws://b")
    talk.stands()
    talk.happens(ConnectionLost(1006, ""))
    deadline = talk.machine.deadline()
    assert talk.happens(ConnectionLost(1006, "")) == []
    assert talk.happens(ConnectFailed("ws://a", "refused")) == []
    assert talk.happens(ConnectionOpened("ws://a")) == []
    assert talk.machine.deadline() == deadline


def test_a_picture_that_is_wrong_is_asked_for_anew_as_a_whole() -> None:
    """Without a cursor: what is wrong is what the cursor says has been seen."""
    talk = Talk()
    talk.stands()
    talk.asks(1, Sub(topics=["room:lobby"]))
    talk.hears(Snap(topic="room:lobby", state=[], cursor="c"))
    assert talk.hears(Diff(topic="room:lobby", check="0")) == []
    (said,) = talk.hears(Diff(topic="room:lobby", check="a1"))
    assert isinstance(said, Say)
    assert isinstance(said.message, Sub)
    assert (said.message.topics, said.message.cursor) == (["room:lobby"], None)
