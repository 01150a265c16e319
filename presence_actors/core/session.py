"""The client's side of a session: connect, beat, notice a loss, come back, say everything again.

A session outlives its connections::

    waiting --dial--> connecting --opened, hello--> greeting --welcome--> standing
       ^                  |                             |                    |
       +------------------+-----------------------------+------- lost -------+

Rules:

* Each attempt to resume carries a number greater than any before, so that two gateways which both
  believe to hold the session can tell who came later.
* After a loss the next gateway is tried almost at once, and each known gateway once within the
  grace, so that nobody hears of the interruption. After that the waits grow. All waits are drawn
  at random up to their bound: clients that lost the same gateway must not return in one moment.
* Clients that are sent away (`goaway`, close 1012) come back when they are told, or spread.
* Close codes 44xx are final; everything else is tried again. `retry_after_ms` is a least wait.
* What was asked but not answered is said again; all of it is idempotent.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from presence_actors.config import Knobs
from presence_actors.core.chance import Rng
from presence_actors.core.effects import (
    CloseConnection,
    InterruptionHappened,
    LagHappened,
    OpenConnection,
    Presence,
    Resolve,
    Say,
    SessionEffect,
    SessionEnded,
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
from presence_actors.core.ids import SessionId, UserId
from presence_actors.core.instants import Instant, Now
from presence_actors.core.limits import RESUME_MAX
from presence_actors.core.orders import REQUESTS_PENDING_MAX, Orders
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import (
    Bye,
    Count,
    Diff,
    Entry,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Intent,
    Lag,
    Ok,
    Patch,
    Ping,
    Pong,
    ServerMessage,
    Set,
    Snap,
    StatusFrame,
    Unset,
    ViewFrame,
    Welcome,
)
from presence_actors.core.watched import Watched
from presence_actors.errors import InvariantBroken

__all__ = ["Phase", "SessionMachine", "SessionView"]

#: The first wait after a loss is at most this, and a tenth of the grace.
_QUICK_MS_MAX: Final = 1_000
#: How long an attempt may take until the welcome; doubled with each round through all gateways,
#: since a gateway in a storm is slow, and giving up on it would feed the storm.
_GREETING_MS_MAX: Final = 5_000
_GREETING_MS_LIMIT: Final = 20_000
#: A connection that stood for so long was a good one: the waits begin anew.
_STEADY_MS: Final = 5_000
#: Gateways of which the welcome may tell. Beyond: ignored.
_GATEWAYS_MAX: Final = 64
#: A standing order that was refused for now is said again after this, if nothing else was told.
_AGAIN_MS: Final = 1_000

#: Close codes.
_NORMAL: Final = 1000
_TOO_BIG: Final = 1009
_DRAINED: Final = 1012
_FINAL_FIRST: Final = 4400
_FINAL_END: Final = 4500
#: What this side closes with when it gives a connection up, and comes back.
_GIVEN_UP: Final = 4000

_FATAL: Final = {
    ErrorCode.BAD_VERSION: 4400,
    ErrorCode.UNAUTHORIZED: 4401,
    ErrorCode.TOKEN_EXPIRED: 4401,
}


class Phase(enum.StrEnum):
    """Where a session is in the life of its connections."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    GREETING = "greeting"
    STANDING = "standing"
    ENDED = "ended"


class SessionView(msgspec.Struct, frozen=True):
    """A session, for people and metrics."""

    phase: Phase
    url: str
    urls: list[str]
    session: SessionId | None
    user: UserId | None
    resume: int
    attempts: int
    rooms: list[str]
    topics: int
    users: int
    entries: int
    pending: int
    rtt_ms: int | None


class SessionMachine:
    """Decides for one client; a driver opens the sockets and carries the frames.

    Topics are spelt in full (``room:lobby``). After `CloseConnection` the driver reports nothing
    more of that connection.

    Args:
        urls: The gateways to try, in this order; the welcome adds others.
        token: Who the client is.
        device: What the session runs on.
        knobs: Leases and waits; those of the gateway win where `welcome` tells them.
        rng: Spreads beats and waits.
        status: The status of the device at first.
    """

    def __init__(
        self,
        urls: list[str],
        token: str,
        *,
        device: str,
        knobs: Knobs,
        rng: Rng,
        status: str = "online",
    ) -> None:
        self._given = list(urls)
        self._learnt: list[str] = []
        self._token = token
        self._device = device
        self._knobs = knobs
        self._rng = rng
        self._orders = Orders(status)
        self._watched = Watched()

        self._phase = Phase.WAITING
        self._url = urls[0]
        #: When to dial, give up greeting, beat, or say again what was refused for now.
        self._dial_at = Instant(0)
        self._give_up_at = Instant(0)
        self._beat_at = Instant(0)
        self._again_at: Instant | None = None
        self._heard_at = Instant(0)
        #: When the application last said something: nobody else knows whether the device is used.
        self._used_at: Instant | None = None
        self._standing_since = Instant(0)
        #: Attempts since the last connection that was a good one.
        self._attempts = 0

        self._session: SessionId | None = None
        self._user: UserId | None = None
        self._resume = 0
        self._status_told = status
        self._heartbeat_ms = knobs.heartbeat_ms
        self._lease_ms = knobs.client_lease_ms
        self._grace_ms = knobs.grace_connection_ms
        self._rtt_ms: int | None = None

        #: What the gateway said last before it closes.
        self._goaway: Goaway | None = None
        self._error: Err | None = None

    # --- the door -------------------------------------------------------------------------------

    def handle(self, event: SessionEvent, now: Now) -> list[SessionEffect]:
        """Take one event; return what is to be done."""
        if self._phase is Phase.ENDED:
            return self._after_end(event)
        match event:
            case ConnectionOpened(url=url):
                return self._on_opened(url, now)
            case ConnectFailed(url=url, reason=reason):
                if self._phase is not Phase.CONNECTING or url != self._url:
                    return []
                return self._lose(now, reason)
            case ConnectionLost(code=code, reason=reason):
                return self._on_lost(code, reason, now)
            case ServerSent(message=message):
                return self._on_message(message, now)
            case AppAsked():
                return self._on_asked(event, now)
            case DeadlineReached():
                return self._on_deadline(now)

    def deadline(self) -> Instant | None:
        """When to wake the machine."""
        match self._phase:
            case Phase.WAITING:
                return self._dial_at
            case Phase.CONNECTING | Phase.GREETING:
                return self._give_up_at
            case Phase.STANDING:
                instants = [self._beat_at, Instant(self._heard_at + self._lease_ms)]
                if self._again_at is not None:
                    instants.append(self._again_at)
                return min(instants)
            case Phase.ENDED:
                return None

    def check(self) -> None:
        """Raise if the machine finds itself wrong."""
        if self._orders.pending > REQUESTS_PENDING_MAX:
            raise InvariantBroken(f"{self._orders.pending} requests are pending")
        if self._phase is Phase.STANDING and self._session is None:
            raise InvariantBroken("a session stands without a name")
        if self._phase is Phase.ENDED and self._orders.pending:
            raise InvariantBroken(f"{self._orders.pending} requests wait for a session that ended")
        if self._url not in self._urls():
            raise InvariantBroken(f"{self._url} is none of the known gateways")

    def inspect(self) -> SessionView:
        """A picture for people and metrics."""
        return SessionView(
            phase=self._phase,
            url=self._url,
            urls=self._urls(),
            session=self._session,
            user=self._user,
            resume=self._resume,
            attempts=self._attempts,
            rooms=self._orders.rooms,
            topics=len(self._watched.topics),
            users=len(self._watched.users),
            entries=self._watched.entries_count(),
            pending=self._orders.pending,
            rtt_ms=self._rtt_ms,
        )

    # --- what the application may read ----------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where the session is in the life of its connections."""
        return self._phase

    @property
    def session(self) -> SessionId | None:
        """The session's name, once a gateway has given it one."""
        return self._session

    @property
    def rooms(self) -> list[str]:
        """The rooms that the session is in, or has asked to be in."""
        return self._orders.rooms

    def who(self, topic: str) -> dict[UserId, list[Entry]]:
        """The users in a watched room, each with their devices."""
        return self._watched.who(topic)

    def entries(self, topic: str) -> dict[str, Entry]:
        """The entries of a watched room by their refs."""
        return self._watched.entries(topic)

    @property
    def statuses(self) -> dict[str, StatusFrame]:
        """What each watched user shows, as far as it is known."""
        return self._watched.statuses

    def view(self, topic: str) -> ViewFrame:
        """How much of a watched room's truth can be seen."""
        return self._watched.view(topic)

    def is_synced(self, topic: str) -> bool:
        """Whether a watched room's picture was confirmed on the present connection."""
        return self._watched.is_synced(topic)

    def meta(self, topic: str) -> Meta | None:
        """What this session shows in a room; None if it is not in it."""
        return self._orders.meta(topic)

    # --- connections ----------------------------------------------------------------------------

    def _on_opened(self, url: str, now: Now) -> list[SessionEffect]:
        if self._phase is not Phase.CONNECTING or url != self._url:
            return []
        self._phase = Phase.GREETING
        self._heard_at = now.instant
        self._status_told = self._orders.status
        if self._resume >= RESUME_MAX:
            self._session, self._resume = None, 0
        if self._session is not None:
            self._resume += 1
        if self._used_at is None:
            self._used_at = now.instant
        return [
            Say(
                message=Hello(
                    token=self._token,
                    session=self._session,
                    resume=self._resume,
                    device=self._device,
                    status=self._status_told,
                    idle_ms=now.instant - self._used_at,
                )
            )
        ]

    def _on_lost(self, code: int, reason: str, now: Now) -> list[SessionEffect]:
        if self._phase not in (Phase.GREETING, Phase.STANDING):
            return []
        words = self._error.message if self._error is not None else reason
        if _FINAL_FIRST <= code < _FINAL_END:
            return self._end(code, words or f"closed with {code}")
        effects: list[SessionEffect] = []
        if code == _TOO_BIG:
            # Said again, it would end the next connection, too.
            effects = self._orders.fail_said(
                ErrorCode.TOO_BIG, words or "a frame was too big for the gateway", self._watched
            )
        drained = code == _DRAINED or self._goaway is not None
        return [*effects, *self._lose(now, words or f"closed with {code}", drained=drained)]

    def _lose(self, now: Now, reason: str, *, drained: bool = False) -> list[SessionEffect]:
        """The connection, or the attempt, is over: arrange for the next one."""
        stood = self._phase is Phase.STANDING
        if stood and now.instant - self._standing_since >= min(_STEADY_MS, self._heartbeat_ms):
            self._attempts = 0
        # An attempt that led to a connection is held against the gateway only from the second on.
        failures = self._attempts - 1 if stood else self._attempts
        wait_ms = self._wait_ms(failures, drained=drained)
        urls = self._urls()
        self._url = urls[(urls.index(self._url) + 1) % len(urls)]
        self._phase = Phase.WAITING
        self._dial_at = Instant(now.instant + wait_ms)
        self._again_at = None
        self._goaway = None
        self._error = None
        self._orders.lapse()
        self._watched.lapse()
        return [Tell(event=InterruptionHappened(reason=reason, retry_ms=wait_ms))] if stood else []

    def _wait_ms(self, failures: int, *, drained: bool) -> int:
        count = len(self._urls())
        quick_ms = max(1, min(_QUICK_MS_MAX, self._grace_ms // 10, self._grace_ms // (2 * count)))
        least_ms = (self._error.retry_after_ms or 0) if self._error is not None else 0
        if drained:
            bound_ms = min(self._knobs.reconnect_jitter_ms, self._grace_ms * 2 // 3)
            if self._goaway is not None:
                least_ms = max(least_ms, self._goaway.retry_in_ms)
                bound_ms = min(bound_ms, self._goaway.jitter_ms)
        else:
            doublings = max(0, min(failures - count + 1, 30))
            bound_ms = min(quick_ms << doublings, self._knobs.reconnect_ms_max)
        return least_ms + int(self._rng.random() * max(bound_ms, quick_ms))

    def _give_up(self, now: Now, reason: str) -> list[SessionEffect]:
        """Close a connection from which nothing good comes any more, and arrange the next."""
        return [CloseConnection(code=_GIVEN_UP, reason=reason), *self._lose(now, reason)]

    def _end(self, code: int, reason: str) -> list[SessionEffect]:
        self._phase = Phase.ENDED
        ended = SessionEnded(code=code, reason=reason)
        return [*self._orders.end(f"the session has ended: {reason}"), Tell(event=ended)]

    def _after_end(self, event: SessionEvent) -> list[SessionEffect]:
        if not isinstance(event, AppAsked):
            return []
        error = Err(code=ErrorCode.UNAVAILABLE, message="the session has ended: start a new one")
        return [Resolve(request=event.request, answer=error)]

    def _on_deadline(self, now: Now) -> list[SessionEffect]:
        if self._phase is Phase.WAITING and now.instant >= self._dial_at:
            count = len(self._urls())
            greeting_ms = max(100, min(_GREETING_MS_MAX, self._grace_ms // (2 * count)))
            greeting_ms = min(greeting_ms << min(self._attempts // count, 10), _GREETING_MS_LIMIT)
            self._phase = Phase.CONNECTING
            self._attempts += 1
            self._give_up_at = Instant(now.instant + greeting_ms)
            return [OpenConnection(url=self._url)]
        if self._phase in (Phase.CONNECTING, Phase.GREETING) and now.instant >= self._give_up_at:
            return self._give_up(now, f"{self._url} gave no welcome in time")
        if self._phase is not Phase.STANDING:
            return []
        if now.instant >= self._heard_at + self._lease_ms:
            return self._give_up(now, f"{self._url} said nothing for {self._lease_ms} ms")
        effects: list[SessionEffect] = []
        if self._again_at is not None and now.instant >= self._again_at:
            self._again_at = None
            effects.extend(self._orders.say_unsaid())
        if now.instant >= self._beat_at:
            effects.append(Say(message=Ping(t=now.instant)))
        return self._saying(effects, now)

    def _saying(self, effects: list[SessionEffect], now: Now) -> list[SessionEffect]:
        """These effects; if any is a frame, the next beat has time again."""
        if any(isinstance(effect, Say) for effect in effects):
            spread = 0.8 + 0.4 * self._rng.random()
            self._beat_at = Instant(now.instant + max(1, int(self._heartbeat_ms * spread)))
        return effects

    # --- frames ---------------------------------------------------------------------------------

    def _on_message(self, message: ServerMessage, now: Now) -> list[SessionEffect]:
        if self._phase not in (Phase.GREETING, Phase.STANDING):
            return []
        self._heard_at = now.instant
        match message:
            case Welcome():
                return self._on_welcome(message, now)
            case Ok():
                return self._on_answer(message, now)
            case Err():
                return self._on_error(message, now)
            case Goaway():
                self._goaway = message
                if message.gateways:
                    self._learn(message.gateways)
                return []
            case Pong(t=sent):
                if isinstance(sent, int):
                    self._rtt_ms = now.instant - sent
                return []
            case picture:
                return self._on_picture(picture, now)

    def _on_picture(
        self, message: Snap | Diff | Count | Lag | StatusFrame | ViewFrame, now: Now
    ) -> list[SessionEffect]:
        events: list[Presence]
        match message:
            case Snap():
                if self._watched.is_torn(message):
                    return self._give_up(now, f"{self._url} left out a part of {message.topic}")
                events = self._watched.take_snap(message)
            case Diff():
                events = self._watched.take_diff(message)
                if self._watched.is_wrong(message):
                    again = self._orders.look_again(message.topic, self._watched)
                    return [*(Tell(event=event) for event in events), *self._saying(again, now)]
            case Count():
                events = self._watched.take_count(message)
            case Lag():
                events = [LagHappened(message.step, message.behind_ms)]
            case StatusFrame():
                events = self._watched.take_status(message)
            case ViewFrame():
                events = self._watched.take_view(message)
        return [Tell(event=event) for event in events]

    def _on_welcome(self, welcome: Welcome, now: Now) -> list[SessionEffect]:
        if self._phase is not Phase.GREETING:
            return []
        resumed = self._session == welcome.session
        self._phase = Phase.STANDING
        self._standing_since = now.instant
        self._error = None
        self._session = welcome.session
        self._user = welcome.user
        self._resume = max(self._resume, welcome.resume) if resumed else welcome.resume
        self._heartbeat_ms = welcome.heartbeat_ms
        self._lease_ms = welcome.lease_ms
        self._grace_ms = welcome.grace_ms
        self._learn(welcome.gateways)
        spread = 0.8 + 0.4 * self._rng.random()
        self._beat_at = Instant(now.instant + max(1, int(self._heartbeat_ms * spread)))
        restated = self._orders.restate(
            self._watched, resumed=resumed, status_told=self._status_told
        )
        told = Tell(event=WelcomeHappened(gateway=welcome.gateway, resumed=resumed))
        return [told, *self._saying(restated, now)]

    def _on_answer(self, answer: Ok | Err, now: Now) -> list[SessionEffect]:
        effects, again_ms = self._orders.answer(answer, self._watched)
        if again_ms is not None:
            again_at = Instant(now.instant + max(again_ms, _AGAIN_MS))
            self._again_at = min(again_at, self._again_at or again_at)
        return effects

    def _on_error(self, error: Err, now: Now) -> list[SessionEffect]:
        if error.id is not None:
            return self._on_answer(error, now)
        self._error = error
        code = _FATAL.get(error.code)
        if code is not None:
            return [CloseConnection(code=code, reason=error.code), *self._end(code, error.message)]
        if self._phase is Phase.GREETING:
            return self._give_up(now, error.message)
        return []

    def _on_asked(self, asked: AppAsked, now: Now) -> list[SessionEffect]:
        if isinstance(asked.message, Set | Patch | Unset | Intent):
            self._used_at = now.instant
        match asked.message:
            case Bye():
                connected = self._phase in (Phase.GREETING, Phase.STANDING)
                said: list[SessionEffect] = (
                    [Say(message=Bye())] if self._phase is Phase.STANDING else []
                )
                if connected or self._phase is Phase.CONNECTING:
                    said.append(CloseConnection(code=_NORMAL, reason="bye"))
                answered = Resolve(request=asked.request, answer=Ok(id=0))
                return [*said, answered, *self._end(_NORMAL, "the client left")]
            case Hello() | Ping():
                error = Err(
                    code=ErrorCode.BAD_FRAME, message="the session says hello and ping by itself"
                )
                return [Resolve(request=asked.request, answer=error)]
            case order:
                effects = self._orders.take(
                    asked.request,
                    order,
                    self._watched,
                    connected=self._phase is Phase.STANDING,
                )
                return self._saying(effects, now)

    # --- gateways -------------------------------------------------------------------------------

    def _urls(self) -> list[str]:
        return list(dict.fromkeys([*self._given, *self._learnt, self._url]))

    def _learn(self, gateways: list[str]) -> None:
        """Replace what earlier gateways said of each other; the list that was given stays."""
        # Never from an encrypted connection to a plain one: the token would be readable.
        is_secure = self._given[0].startswith("wss:")
        self._learnt = [url for url in gateways if url.startswith("wss:") or not is_secure][
            :_GATEWAYS_MAX
        ]
