"""What an application wants of its session: standing orders, and requests that wait for an answer.

Rooms joined, the device's status and what is watched are *standing*: they hold until they are taken
back, and are said again on each new connection. A request is answered once. When a connection is
lost, requests without an answer are folded into what is said again, so that what the gateway hears
is the final wish and not its history, and each request still gets its own answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from presence_actors.core.effects import (
    Presence,
    RefusalHappened,
    Resolve,
    Say,
    SessionEffect,
    Tell,
)
from presence_actors.core.ids import RequestId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import ROOMS_PER_SESSION_MAX
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import (
    Err,
    ErrorCode,
    Intent,
    KeyRange,
    Ok,
    Patch,
    Set,
    Sub,
    Unset,
    Unsub,
)
from presence_actors.core.watched import Watched

__all__ = ["REQUESTS_PENDING_MAX", "Order", "Orders", "merge_patch"]

Order = Set | Patch | Unset | Sub | Unsub | Intent

#: Requests that wait for an answer. Beyond: `too_many`, at once.
REQUESTS_PENDING_MAX: Final = 1_000

#: Names in one repeated `sub`: with the longest names and cursor it stays below the frame limit.
_NAMES_PER_SUB_MAX: Final = 50

#: Refusals that mean "not now": a standing order is then said again later.
_PASSING: Final = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED})


@dataclass(slots=True)
class _Flight:
    """A message that has no answer yet."""

    message: Order
    requests: list[RequestId]
    #: Whether it was said on the present connection.
    said: bool = False
    #: Whether it was said at any time, so that a gateway may have done it.
    repeated: bool = False
    #: Whether it repeats what was granted before.
    standing: bool = False
    #: What this one, and none before it, asked to watch.
    new_topics: list[str] = field(default_factory=list)
    new_users: list[str] = field(default_factory=list)
    #: Of an `unset`: the room as it was.
    left: _Room | None = None


@dataclass(slots=True)
class _Room:
    """A room that the session is in, or has asked to be in."""

    #: What the gateway has accepted; None until it has accepted anything.
    meta: Meta | None = None
    #: When the entry began, from the first answer; told again by a session that resumes.
    since: WallMs | None = None


class Orders:
    """The standing orders and the pending requests of one session."""

    def __init__(self, status: str) -> None:
        self._rooms: dict[str, _Room] = {}
        self._status = status
        #: By the id that the frame carries, in the order of asking.
        self._flights: dict[int, _Flight] = {}
        self._next_id = 1

    @property
    def rooms(self) -> list[str]:
        """The rooms that the session is in, or has asked to be in."""
        return list(self._rooms)

    @property
    def status(self) -> str:
        """The status of the device: the last one that was asked for, with a room or without."""
        statuses = [
            flight.message.status
            for flight in self._flights.values()
            if isinstance(flight.message, Set)
        ]
        return next((status for status in reversed(statuses) if status), self._status)

    @property
    def pending(self) -> int:
        """How many requests wait for an answer."""
        return sum(len(flight.requests) for flight in self._flights.values())

    def meta(self, topic: str) -> Meta | None:
        """The meta that the session wants to show in a room; None if it is not in it."""
        room = self._rooms.get(topic)
        return None if room is None else self._wanted(topic, room, self._flights)

    def take(
        self, request: RequestId, message: Order, watched: Watched, *, connected: bool
    ) -> list[SessionEffect]:
        """Take a request: say it if there is a connection, else when there is one."""
        refusal = self._refusal(message, watched)
        if refusal is not None:
            return [Resolve(request=request, answer=refusal)]
        flight = _Flight(message, [request])
        effects: list[SessionEffect] = []
        match message:
            case Set(topic=str(topic)):
                self._rooms.setdefault(topic, _Room())
            case Unset(topic=topic):
                flight.left = self._rooms.pop(topic)
            case Sub(topics=topics, users=users):
                flight.new_topics, flight.new_users = watched.add(topics, users)
                watched.want(topics, counts=message.counts, keys=message.keys)
            case Unsub(topics=topics, users=users):
                watched.drop(topics, users)
            case _:
                pass
        identifier = self._launch(flight)
        if connected:
            effects.append(self._say(identifier, flight))
        return effects

    def answer(self, answer: Ok | Err, watched: Watched) -> tuple[list[SessionEffect], int | None]:
        """What an answer means; and, if it only means "not now", in how many ms to say it again."""
        flight = self._flights.get(answer.id) if isinstance(answer.id, int) else None
        if flight is None or not flight.said:
            return [], None
        if isinstance(answer, Err):
            if flight.standing and answer.code in _PASSING:
                flight.said = False
                return [], answer.retry_after_ms or 0
            if (
                flight.repeated
                and isinstance(flight.message, Unset)
                and answer.code is ErrorCode.NOT_JOINED
            ):
                # The first saying did it, and only its answer was lost.
                answer = Ok(id=answer.id or 0)
        events = self._settle(flight, answer, watched)
        self._flights = {key: kept for key, kept in self._flights.items() if kept is not flight}
        tells: list[SessionEffect] = [Tell(event=event) for event in events]
        return [*self._resolve(flight, answer), *tells], None

    def say_unsaid(self) -> list[SessionEffect]:
        """Say what was put off."""
        return [self._say(key, flight) for key, flight in self._flights.items() if not flight.said]

    def look_again(self, topic: str, watched: Watched) -> list[SessionEffect]:
        """Have the gateway tell anew all that is wanted of a room."""
        flight = _Flight(Sub(topics=[topic], keys=watched.keys(topic)), [], standing=True)
        return [self._say(self._launch(flight), flight)]

    def lapse(self) -> None:
        """The connection is gone, and with it every answer that was under way."""
        for flight in self._flights.values():
            flight.repeated = flight.repeated or flight.said
            flight.said = False

    def restate(self, watched: Watched, *, resumed: bool, status_told: str) -> list[SessionEffect]:
        """Say everything again on a new connection: status, rooms, what is watched, the rest.

        Args:
            watched: What is watched, with the cursors from which the gateway can continue.
            resumed: Whether the session is the one of before; a new one's entries begin now.
            status_told: The status that the new connection has already heard of.
        """
        status = self.status
        before, self._flights = self._flights, {}
        resolves: list[SessionEffect] = []
        for flight in before.values():
            done = self._done_by_restating(flight, watched)
            if done is not None:
                resolves.extend(self._resolve(flight, done))
        self._restate_status(before, status, status_told)
        for topic, room in self._rooms.items():
            if not resumed:
                room.since = None
            self._restate_room(topic, room, before)
        self._restate_subs(watched, before)
        for flight in before.values():
            if isinstance(flight.message, Unset) and flight.message.topic not in self._rooms:
                self._restate_unset(flight, flight.message, resumed=resumed)
        intents = [flight for flight in before.values() if isinstance(flight.message, Intent)]
        if intents:
            requests = [request for flight in intents for request in flight.requests]
            self._launch(_Flight(intents[-1].message, requests))
        return [*resolves, *self.say_unsaid()]

    def fail_said(self, code: ErrorCode, message: str, watched: Watched) -> list[SessionEffect]:
        """Give up what was said without an answer: one of these is what ended the connection."""
        effects: list[SessionEffect] = []
        for key, flight in list(self._flights.items()):
            if flight.said and not flight.standing:
                error = Err(id=key, code=code, message=message)
                # All requests are told, so that the events of losing a room say nothing new.
                self._settle(flight, error, watched)
                effects.extend(self._resolve(flight, error))
                del self._flights[key]
        return effects

    def end(self, message: str) -> list[SessionEffect]:
        """The session is over: nothing that waits will happen."""
        effects = [
            effect
            for key, flight in self._flights.items()
            for effect in self._resolve(
                flight, Err(id=key, code=ErrorCode.UNAVAILABLE, message=message)
            )
        ]
        self._flights = {}
        return effects

    # --- what an answer changes -----------------------------------------------------------------

    def _settle(self, flight: _Flight, answer: Ok | Err, watched: Watched) -> list[Presence]:
        message = flight.message
        if isinstance(message, Set) and isinstance(answer, Ok):
            self._status = message.status or self._status
        match message:
            case Set(topic=str(topic)) | Patch(topic=topic) if topic in self._rooms:
                return self._settle_room(topic, flight, answer)
            case Sub() if isinstance(answer, Err):
                topics = message.topics if flight.standing else flight.new_topics
                users = message.users if flight.standing else flight.new_users
                watched.drop(topics, users)
                if flight.standing:
                    names = [*topics, *(f"user:{user}" for user in users)]
                    return [RefusalHappened(name, answer.code, answer.message) for name in names]
            case _:
                pass
        return []

    def _settle_room(self, topic: str, flight: _Flight, answer: Ok | Err) -> list[Presence]:
        room = self._rooms[topic]
        message = flight.message
        if isinstance(answer, Ok):
            if isinstance(message, Set):
                room.meta = message.meta or {}
            elif isinstance(message, Patch):
                room.meta = merge_patch(room.meta or {}, message.meta)
            room.since = answer.since or room.since
            return []
        others = [
            other
            for other in self._flights.values()
            if other is not flight
            and isinstance(other.message, Set)
            and other.message.topic == topic
        ]
        if room.meta is None and not others:
            del self._rooms[topic]
        if not flight.standing:
            return []
        self._rooms.pop(topic, None)
        return [RefusalHappened(topic, answer.code, answer.message)]

    def _wanted(self, topic: str, room: _Room, flights: dict[int, _Flight]) -> Meta:
        """The meta that the room will have when all that waits is granted."""
        meta = room.meta or {}
        for flight in flights.values():
            match flight.message:
                case Set() as message if message.topic == topic:
                    meta = message.meta or {}
                case Patch() as message if message.topic == topic:
                    meta = merge_patch(meta, message.meta)
                case Unset() as message if message.topic == topic:
                    meta = {}
                case _:
                    pass
        return meta

    # --- saying again ---------------------------------------------------------------------------

    def _done_by_restating(self, flight: _Flight, watched: Watched) -> Ok | Err | None:
        """The answer to a request that needs no more saying; None if it does."""
        match flight.message:
            case Unsub():
                # A new connection watches only what it asks for.
                return Ok(id=0)
            case Sub() if not _still_watched(flight.message, watched):
                return Ok(id=0)
            case Unset(topic=topic) if topic in self._rooms:
                # Left and joined again in the meantime.
                return Ok(id=0)
            case Set(topic=str(topic)) | Patch(topic=topic) if topic not in self._rooms:
                return Err(
                    code=ErrorCode.NOT_JOINED,
                    message=f"{topic} was left before the gateway could answer",
                )
            case _:
                return None

    def _restate_status(self, before: dict[int, _Flight], status: str, status_told: str) -> None:
        requests = [
            request
            for flight in before.values()
            if isinstance(flight.message, Set) and flight.message.topic is None
            for request in flight.requests
        ]
        if requests or status != status_told:
            self._launch(_Flight(Set(status=status), requests))

    def _restate_room(self, topic: str, room: _Room, before: dict[int, _Flight]) -> None:
        requests = [
            request
            for flight in before.values()
            if isinstance(flight.message, Set | Patch) and flight.message.topic == topic
            for request in flight.requests
        ]
        # Without a status: that is the device's, and was told already.
        message = Set(topic=topic, meta=self._wanted(topic, room, before), since=room.since)
        self._launch(_Flight(message, requests, standing=room.meta is not None))

    def _restate_unset(self, flight: _Flight, unset: Unset, *, resumed: bool) -> None:
        """Leave on the new connection what was joined on another one.

        This gateway may know nothing of the room. If nobody was ever told to leave it, the gateway
        before holds the entry for the grace, so it is taken over, and ended at once.
        """
        left = flight.left
        if resumed and not flight.repeated and left is not None and left.meta is not None:
            taken = Set(topic=unset.topic, meta=left.meta, since=left.since)
            self._launch(_Flight(taken, []))
        # A new session is in no room, and to be in none is what is wanted.
        flight.repeated = True
        self._launch(flight)

    def _restate_subs(self, watched: Watched, before: dict[int, _Flight]) -> None:
        topics, users = set(watched.topics), set(watched.users)
        for flight in before.values():
            message = flight.message
            if not isinstance(message, Sub) or not flight.requests:
                continue
            # Asked for but perhaps never granted, so it stays a request of its own.
            wanted = _still_watched(message, watched)
            if wanted is not None:
                topics.difference_update(flight.new_topics)
                users.difference_update(flight.new_users)
                flight.message = wanted
                self._launch(flight)
        alike: dict[tuple[str | None, bool, KeyRange | None], list[str]] = {}
        for topic in watched.topics:
            if topic in topics:
                form = (watched.cursor(topic), watched.wants_counts(topic), watched.keys(topic))
                alike.setdefault(form, []).append(topic)
        for (cursor, counts, keys), group in alike.items():
            for part in _parts(group):
                sub = Sub(topics=part, cursor=cursor, counts=counts, keys=keys)
                self._launch(_Flight(sub, [], standing=True))
        for part in _parts([user for user in watched.users if user in users]):
            self._launch(_Flight(Sub(users=part), [], standing=True))

    # --- small parts ----------------------------------------------------------------------------

    def _refusal(self, message: Order, watched: Watched) -> Err | None:
        """Why a request cannot even be asked, or None."""
        if self.pending >= REQUESTS_PENDING_MAX:
            return Err(
                code=ErrorCode.TOO_MANY,
                message=f"{REQUESTS_PENDING_MAX} requests wait for an answer: wait for some first",
            )
        match message:
            case Set(topic=str(topic)) if (
                topic not in self._rooms and len(self._rooms) >= ROOMS_PER_SESSION_MAX
            ):
                return Err(
                    code=ErrorCode.TOO_MANY,
                    message=f"{topic}: this session is in {ROOMS_PER_SESSION_MAX} rooms: leave one",
                )
            case Patch(topic=topic) | Unset(topic=topic) if topic not in self._rooms:
                return Err(
                    code=ErrorCode.NOT_JOINED, message=f"{topic} is not joined: join it first"
                )
            case Sub(topics=topics, users=users) if not watched.has_space(topics, users):
                return Err(
                    code=ErrorCode.TOO_MANY,
                    message="too many rooms and users are watched: stop watching some",
                )
            case _:
                return None

    def _launch(self, flight: _Flight) -> int:
        identifier, self._next_id = self._next_id, self._next_id + 1
        self._flights[identifier] = flight
        return identifier

    def _say(self, identifier: int, flight: _Flight) -> Say:
        flight.said = True
        return Say(message=msgspec.structs.replace(flight.message, id=identifier))

    def _resolve(self, flight: _Flight, answer: Ok | Err) -> list[SessionEffect]:
        return [Resolve(request=request, answer=answer) for request in flight.requests]


def merge_patch(target: Meta, patch: Meta) -> Meta:
    """The target after a JSON merge patch (RFC 7396): null removes, objects merge, others replace.

    >>> merge_patch({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
    {'b': {'c': 2, 'd': 3}}
    """
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            inner = merged.get(key)
            merged[key] = merge_patch(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _still_watched(message: Sub, watched: Watched) -> Sub | None:
    topics = [topic for topic in message.topics if topic in watched.topics]
    users = [user for user in message.users if user in watched.users]
    if not (topics or users):
        return None
    return Sub(topics=topics, users=users, counts=message.counts, keys=message.keys)


def _parts(names: list[str]) -> list[list[str]]:
    return [
        names[start : start + _NAMES_PER_SUB_MAX]
        for start in range(0, len(names), _NAMES_PER_SUB_MAX)
    ]
