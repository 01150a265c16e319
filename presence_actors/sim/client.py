"""A client in the simulated world: its session machine, and what it tells its application."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

from presence_actors.core.effects import (
    CloseConnection,
    OpenConnection,
    Presence,
    Resolve,
    Say,
    SessionEffect,
    Tell,
)
from presence_actors.core.events import AppAsked, ConnectionLost, DeadlineReached, SessionEvent
from presence_actors.core.ids import ConnectionId, NodeName, RequestId
from presence_actors.core.instants import Instant, Now
from presence_actors.core.session import SessionMachine
from presence_actors.core.vocabulary import Bye, ClientMessage, Err, Ok
from presence_actors.wire.native import encode_client

__all__ = ["Client", "Outside"]

_LOST: Final = 1006


class Outside(Protocol):
    """What a client needs of the world."""

    events_handled: int
    check_every: int
    instant: Instant

    @property
    def now(self) -> Now:
        """The virtual time."""
        ...

    @property
    def elapsed_ms(self) -> int:
        """Virtual milliseconds since the start."""
        ...

    def at(self, instant: Instant, action: Callable[[], None]) -> None:
        """Does `action` then."""
        ...

    def dial(self, client: Client, url: str) -> None:
        """The client opens a connection."""
        ...

    def hang_up(self, client: Client) -> None:
        """The client's side of the connection closes."""
        ...

    def say(self, client: Client, frame: str, *, bye: bool) -> None:
        """A frame from the client to its gateway."""
        ...


class Client:
    """A client: its session machine, and what it told its application."""

    def __init__(self, world: Outside, name: str, machine: SessionMachine) -> None:
        self._world = world
        self.name = name
        self.machine = machine
        #: [(virtual milliseconds, what happened)].
        self.told: list[tuple[int, Presence]] = []
        self.answers: dict[RequestId, Ok | Err] = {}
        #: When each of these came, in virtual milliseconds.
        self.answered_ms: dict[RequestId, int] = {}
        self.frozen = False
        #: Whether there is a way to any gateway.
        self.reachable = True
        #: What reached the device while it slept, in order.
        self._asleep: list[Callable[[], None]] = []
        self.closed = False
        self._requests = count(1)
        self._wake_at: Instant | None = None
        #: How many events it has handled since its machine was checked.
        self._unchecked = 0
        #: The gateway and the connection to it, while there is one.
        self.link: tuple[NodeName, ConnectionId] | None = None
        #: Grows with each connection, so that late frames of an old one are known.
        self.dial = 0

    def ask(self, message: ClientMessage) -> RequestId:
        """The application wants something; the answer will be in `answers`."""
        request = RequestId(next(self._requests))
        self.post(AppAsked(request, message))
        return request

    def post(self, event: SessionEvent) -> None:
        """An event for the session machine, now."""
        if self.closed:
            return
        self._world.events_handled += 1
        for effect in self.machine.handle(event, self._world.now):
            self._carry_out(effect)
        self._unchecked += 1
        if self._unchecked >= self._world.check_every:
            self._unchecked = 0
            self.machine.check()
        self._rewake()

    def _rewake(self) -> None:
        deadline = self.machine.deadline()
        if deadline is None or self.closed:
            return
        wake_at, instant = self._wake_at, self._world.instant
        if wake_at is None or deadline < wake_at or wake_at <= instant:
            self._wake_at = max(instant, deadline)
            self._world.at(self._wake_at, self._wake)

    def _wake(self) -> None:
        deadline = self.machine.deadline()
        if self.closed or deadline is None or self.frozen:
            return
        if deadline <= self._world.instant:
            self._wake_at = None
            self.post(DeadlineReached())
        else:
            self._rewake()

    def _carry_out(self, effect: SessionEffect) -> None:
        match effect:
            case OpenConnection(url=url):
                self._world.dial(self, url)
            case CloseConnection():
                self._world.hang_up(self)
            case Say(message=message):
                self._world.say(self, encode_client(message), bye=isinstance(message, Bye))
            case Resolve(request=request, answer=answer):
                self.answers[request] = answer
                self.answered_ms[request] = self._world.elapsed_ms
            case Tell(event=event):
                self.told.append((self._world.elapsed_ms, event))

    def freeze(self) -> None:
        """The device sleeps: the connection stays, what comes in waits, nothing goes out."""
        self.frozen = True

    def thaw(self) -> None:
        """It wakes up, and finds what came in meanwhile."""
        self.frozen = False
        waiting, self._asleep = self._asleep, []
        for action in waiting:
            action()
        self._wake_at = None
        self._rewake()

    def meet(self, action: Callable[[], None]) -> None:
        """Something reaches the device: now, or when it wakes up."""
        if self.frozen:
            self._asleep.append(action)
        else:
            action()

    def tear(self) -> ConnectionId | None:
        """Its end of the wire is gone; the connection, if there was one."""
        if self.link is None:
            return None
        (_, connection), self.link = self.link, None
        self.dial += 1
        self.meet(lambda: self.post(ConnectionLost(_LOST, "the wire is torn")))
        return connection

    def vanish(self) -> None:
        """The process is gone without a word, for good."""
        self._world.hang_up(self)
        self.closed = True
