"""What happened in a run: what people asked and were answered, and who was really there.

Truth comes from here, never from the system: a `Life` knows when its device came, when it went and
how, and when it could be heard. An operation that was not answered is `info`: it may have happened.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from presence_actors.core.acts import Act
from presence_actors.core.effects import InterruptionHappened, WelcomeHappened
from presence_actors.core.ids import RequestId
from presence_actors.core.session import Phase
from presence_actors.core.vocabulary import ClientMessage, Err, Intent
from presence_actors.sim.plan import Persona
from presence_actors.sim.world import Client

__all__ = ["Asked", "Gone", "History", "Kicked", "Life", "Op", "Outcome"]

_LINES_MAX: Final = 20_000


class Outcome(enum.StrEnum):
    """What became of an operation."""

    OK = "ok"
    FAILED = "failed"
    #: No answer came: it may have happened or not.
    INFO = "info"


class Gone(enum.StrEnum):
    """How a device went for good."""

    #: It said goodbye.
    BYE = "bye"
    #: It fell silent without a word.
    VANISHED = "vanished"
    #: The gateway told it that its session is over.
    ENDED = "ended"


@dataclass(slots=True, eq=False)
class Asked:
    """Something that somebody asked for: a device, or an app server over HTTP."""

    message: ClientMessage | Act
    request: RequestId
    invoked_ms: int
    answered_ms: int | None = None
    outcome: Outcome = Outcome.INFO


@dataclass(slots=True, eq=False)
class Op(Asked):
    """Something that a device asked for."""

    #: How long the answer took. What is above was seen when somebody looked.
    took_ms: int | None = None
    #: Whether the device had no connection meanwhile.
    was_interrupted: bool = False


@dataclass(slots=True, eq=False)
class Life:
    """One device from its arrival to its end."""

    persona: Persona
    client: Client
    number: int
    began_ms: int
    gone_ms: int | None = None
    gone: Gone | None = None
    #: Since when it could not be heard (asleep, without a connection); None while it can.
    down_since_ms: int | None = None
    #: When it was heard again last.
    up_since_ms: int | None = None
    #: When it fell silent before it was heard again last.
    lost_ms: int | None = None
    ops: list[Op] = field(default_factory=list)
    #: Those by which its user chose what is shown.
    choices: list[Asked] = field(default_factory=list)
    #: What of `client.told` was taken in.
    read: int = 0
    _open: list[Op] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The device for people."""
        return f"{self.persona.user}/{self.number}"

    @property
    def is_there(self) -> bool:
        """Whether it has not gone for good."""
        return self.gone_ms is None

    @property
    def is_up(self) -> bool:
        """Whether its session stands and it can be heard."""
        return self.gone_ms is None and self.up_since_ms is not None and self.down_since_ms is None

    @property
    def waits_since_ms(self) -> int | None:
        """When it asked for what it has waited for longest; None if it waits for nothing."""
        return self._open[0].invoked_ms if self._open else None

    @property
    def session(self) -> str | None:
        """The name of its session, once it has one."""
        session = self.client.machine.session
        return None if session is None else str(session)

    def ask(self, message: ClientMessage, now_ms: int) -> None:
        """Its application wants something."""
        op = Op(message, self.client.ask(message), now_ms, was_interrupted=not self.is_up)
        self.ops.append(op)
        if isinstance(message, Intent):
            self.choices.append(op)
        self._open.append(op)
        self.settle(now_ms)

    def go(self, gone: Gone, now_ms: int) -> None:
        """It goes for good."""
        if self.gone_ms is None:
            self.gone_ms, self.gone = now_ms, gone
            self.down(now_ms)

    def down(self, now_ms: int) -> None:
        """It can no longer be heard."""
        if self.down_since_ms is None:
            self.down_since_ms = now_ms
            for op in self._open:
                op.was_interrupted = True

    def wake(self, now_ms: int) -> None:
        """It is awake again, and perhaps never lost its connection."""
        if self.is_there and self.client.machine.phase is Phase.STANDING:
            self._up(now_ms)

    def _up(self, at_ms: int) -> None:
        self.lost_ms = self.down_since_ms
        self.down_since_ms, self.up_since_ms = None, at_ms

    def settle(self, now_ms: int) -> None:
        """Takes in what was answered and told since."""
        if self._open:
            self._settle_ops(now_ms)
        told = self.client.told
        while self.read < len(told):
            at_ms, event = told[self.read]
            self.read += 1
            match event:
                case WelcomeHappened():
                    self._up(at_ms)
                case InterruptionHappened():
                    self.down(at_ms)
                case _:
                    pass
        if self.client.machine.phase is Phase.ENDED:
            self.go(Gone.ENDED, now_ms)
        elif self.client.frozen:
            self.down(now_ms)

    def _settle_ops(self, now_ms: int) -> None:
        waiting: list[Op] = []
        for op in self._open:
            answer = self.client.answers.pop(op.request, None)
            if answer is None:
                waiting.append(op)
                continue
            op.answered_ms = now_ms
            op.took_ms = self.client.answered_ms.pop(op.request) - op.invoked_ms
            op.outcome = Outcome.FAILED if isinstance(answer, Err) else Outcome.OK
        self._open = waiting


@dataclass(frozen=True, slots=True)
class Kicked:
    """Somebody was to be kicked."""

    user: str
    asked: Asked
    #: (device, session) of those who were there and are meant.
    sessions: frozenset[tuple[int, str]]
    #: The only device that is meant; None for all.
    only: int | None

    def may_mean(self, life: Life, *, margin_ms: int) -> bool:
        """Whether the device may be hit: it came before, or so soon after that clocks decide."""
        if life.persona.user != self.user or self.only not in (None, life.number):
            return False
        done_ms = self.asked.answered_ms
        return done_ms is None or life.began_ms <= done_ms + margin_ms


class History:
    """Everything that happened, for checkers; and the time line, for people."""

    def __init__(self) -> None:
        #: All devices that ever came, in order.
        self.lives: list[Life] = []
        self._by_user: dict[str, list[Life]] = {}
        #: What app servers chose for users, and whom they kicked.
        self._choices: dict[str, list[Asked]] = {}
        self.kicks: list[Kicked] = []
        #: The time line; the oldest lines of a very long run are gone.
        self.lines: deque[str] = deque(maxlen=_LINES_MAX)

    def add(self, life: Life) -> None:
        """Somebody came."""
        self.lives.append(life)
        self._by_user.setdefault(life.persona.user, []).append(life)

    def of_user(self, user: str) -> list[Life]:
        """All devices of a user."""
        return self._by_user.get(user, [])

    def add_choice(self, user: str, asked: Asked) -> None:
        """An app server chooses for a user what is shown."""
        self._choices.setdefault(user, []).append(asked)

    def add_kick(self, user: str, asked: Asked, one: tuple[int, str] | None) -> None:
        """An app server wants a user gone, or only this session of this device."""
        names = frozenset(
            (life.number, life.session)
            for life in self.of_user(user)
            if life.is_up
            and life.session is not None
            and one in (None, (life.number, life.session))
        )
        self.kicks.append(Kicked(user, asked, names, None if one is None else one[0]))

    def choices_of(self, user: str) -> list[Asked]:
        """All that was chosen for a user, in the order of asking."""
        found = [op for life in self.of_user(user) for op in life.choices]
        found += self._choices.get(user, ())
        found.sort(key=lambda op: op.invoked_ms)
        return found

    def say(self, now_ms: int, what: str) -> None:
        """A line of the time line."""
        self.lines.append(f"{now_ms:>9} {what}")

    def settle(self, now_ms: int) -> None:
        """Takes in what was answered and told to those who are there."""
        for life in self.lives:
            if life.gone_ms is None:
                life.settle(now_ms)
