"""What a watching client of one zone has seen so far. Takes events; draws nothing."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Final

import msgspec

from presence_actors.client import (
    Connected,
    Count,
    Ended,
    Event,
    Interrupted,
    Join,
    Lagging,
    Leave,
    Refused,
    Snapshot,
    Status,
    Update,
    View,
)
from presence_actors.core.vocabulary import Entry, Quality, UserStatus

__all__ = ["LINES_MAX", "Line", "Person", "Scene"]

#: Lines of the log that are kept.
LINES_MAX: Final = 200
#: The rate of events is that of this time.
_RATE_S: Final = 5.0


class Line(msgspec.Struct, frozen=True):
    """One line of the log."""

    at_s: float
    text: str
    #: One of: join, leave, update, status, lost, note.
    kind: str


class Person(msgspec.Struct):
    """What is known of one person."""

    status: Status | None = None
    #: What was last known, while nothing is.
    known: UserStatus | None = None
    #: {ref: entry}, in whatever room.
    entries: dict[str, tuple[str, Entry]] = {}
    last: str = ""
    last_kind: str = ""
    #: When something last changed.
    changed_s: float = 0.0

    @property
    def rooms(self) -> list[str]:
        """The rooms that any device of the person is in."""
        return sorted({_short(topic) for topic, _ in self.entries.values()})


class Scene:
    """People as a client sees them, a log, and counts.

    Args:
        people: Who is watched.
        zone: Where the watching client is.
    """

    def __init__(self, people: list[str], zone: str) -> None:
        self.zone = zone
        self.people: dict[str, Person] = {name: Person() for name in people}
        self.lines: deque[Line] = deque(maxlen=LINES_MAX)
        self.joins = 0
        self.updates = 0
        self.leaves: Counter[str] = Counter()
        #: {room: zones that cannot be heard}
        self._silent: dict[str, list[str]] = {}
        self._times: deque[float] = deque()

    @property
    def silent(self) -> list[str]:
        """Zones that are not heard, as far as any room says."""
        return sorted({zone for zones in self._silent.values() for zone in zones})

    def take_status(self, status: Status) -> None:
        """Begin with this; nothing has happened yet."""
        person = self._person(status.user)
        person.status, person.known = status, status.status

    def take_entry(self, topic: str, entry: Entry) -> None:
        """Begin with this entry."""
        self._person(entry.key).entries[entry.ref] = (topic, entry)

    def handle(self, event: Event, at_s: float) -> Line | None:
        """Take an event; the line that it adds to the log, if it is worth one."""
        said = self._said(event)
        if isinstance(event, Join | Update | Leave | Status):
            self._times.append(at_s)
            self._person(event.user).changed_s = at_s
        if said is None:
            return None
        text, kind = said
        if isinstance(event, Join | Update | Leave | Status):
            person = self._person(event.user)
            person.last, person.last_kind = text, kind
            text = f"{event.user} {text}"
        return self.note(text, at_s, kind=kind)

    def note(self, text: str, at_s: float, *, kind: str = "note") -> Line:
        """Add a line of one's own to the log."""
        line = Line(at_s, text, kind)
        self.lines.append(line)
        return line

    def events_per_second(self, at_s: float) -> float:
        """How many changes of people came lately."""
        while self._times and self._times[0] < at_s - _RATE_S:
            self._times.popleft()
        return len(self._times) / max(1.0, min(_RATE_S, at_s))

    def _person(self, user: str) -> Person:
        return self.people.setdefault(user, Person())

    def _said(self, event: Event) -> tuple[str, str] | None:
        match event:
            case Join() | Update() | Leave():
                return self._on_room(event)
            case Status():
                return self._on_status(event)
            case View():
                return self._on_view(event)
            case Interrupted(reason=reason):
                return f"the watching client lost its connection ({reason})", "lost"
            case Connected(gateway=gateway):
                return f"the watching client is connected to {gateway}", "note"
            case Refused(topic=topic, message=message):
                return f"{topic} is refused: {message}", "lost"
            case Ended(reason=reason):
                return f"the watching client's session has ended: {reason}", "lost"
            case Snapshot() | Count() | Lagging():
                return None

    def _on_view(self, event: View) -> tuple[str, str] | None:
        before = self.silent
        self._silent[event.topic] = event.silent
        after = self.silent
        if before != after and after:
            since = "" if event.as_of is None else f" since {_clock(event.as_of)}"
            who = " and ".join(after)
            return f"zone {self.zone} has not heard {who}{since}: people there are in doubt", "lost"
        if before != after:
            return f"zone {self.zone} hears {' and '.join(before)} again", "note"
        if event.quality is Quality.STARTING:
            return f"the view of {_short(event.topic)} is starting", "lost"
        return None

    def _on_room(self, event: Join | Update | Leave) -> tuple[str, str] | None:
        entry, room = event.entry, _short(event.topic)
        entries = self._person(entry.key).entries
        if isinstance(event, Leave):
            entries.pop(entry.ref, None)
            reason = event.reason or "unknown"
            self.leaves[reason] += 1
            return f"({entry.device}) leaves {room}: {reason}", "leave"
        entries[entry.ref] = (event.topic, entry)
        if isinstance(event, Join):
            self.joins += 1
            return f"({entry.device}) joins {room}", "join"
        self.updates += 1
        if entry.meta == event.previous.meta:
            # The device's status: the person's own line says it once for all rooms.
            return None
        mood = entry.meta.get("mood", "")
        return f"({entry.device}) in {room}: {mood}", "update"

    def _on_status(self, event: Status) -> tuple[str, str] | None:
        person = self._person(event.user)
        before, person.status = person.status, event
        if event.status is UserStatus.UNREACHABLE:
            # One line says it of the whole zone.
            return None
        same = before is not None and (person.known, before.text) == (event.status, event.text)
        person.known = event.status
        if same:
            return None
        text = f' "{event.text}"' if event.text and event.status is not UserStatus.OFFLINE else ""
        reason = f": {event.reason}" if event.reason else ""
        return f"is {event.status.value}{text}{reason}", "status"


def _short(topic: str) -> str:
    return topic.removeprefix("room:")


def _clock(wall_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall_ms / 1_000))
