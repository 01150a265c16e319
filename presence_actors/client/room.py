"""What an application holds of a room and of a list of watched users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, Self

from presence_actors.client.events import RoomEvent, Status, status_of
from presence_actors.client.stream import EventStream
from presence_actors.core.session import SessionMachine
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import (
    Entry,
    KeyRange,
    Ok,
    Patch,
    Set,
    Unset,
    Unsub,
    ViewFrame,
)
from presence_actors.errors import UsageError

__all__ = ["Room", "Watch"]


class Session(Protocol):
    """What rooms and watches need of their client."""

    machine: SessionMachine

    async def ask(self, message: Set | Patch | Unset | Unsub) -> Ok:
        """The answer of the gateway, or the error that it means."""
        ...

    async def watch_more(self, watch: Watch, users: Iterable[str]) -> None:
        """Watch more users for a watch."""
        ...

    async def forget(self, held: Room | Watch) -> None:
        """Deliver to it no more, and stop watching what nobody else watches."""
        ...


class Room:
    """A room that this client is in, or only observes.

    Iterate over it to hear what changes after `join` (or `observe`) returned: an endless stream for
    one reader, which ends when the room is left or the client closes. It is unbroken over
    reconnects: only net changes come.
    """

    def __init__(self, session: Session, topic: str) -> None:
        self._session = session
        #: The room's full name, such as ``room:lobby``.
        self.topic = topic
        #: Of which users alone something is wanted.
        self.keys: KeyRange | None = None
        self.stream: EventStream[RoomEvent] = EventStream(topic)

    def who(self) -> dict[str, list[Entry]]:
        """The users in the room, by name, each with their devices."""
        return {
            str(user): entries for user, entries in self._session.machine.who(self.topic).items()
        }

    @property
    def entries(self) -> dict[str, Entry]:
        """Every device in the room, by its ref."""
        return self._session.machine.entries(self.topic)

    @property
    def view(self) -> ViewFrame:
        """How much of the truth `who` can hold now, and which entries are in doubt."""
        return self._session.machine.view(self.topic)

    @property
    def meta(self) -> Meta | None:
        """What this device shows in the room; None if it is not in it."""
        return self._session.machine.meta(self.topic)

    async def update(self, **fields: object) -> None:
        """Change fields of what this device shows here; None removes a field.

        Raises:
            UsageError: The room is not joined, or the meta is too large.
        """
        self._require_joined()
        await self._session.ask(Patch(topic=self.topic, meta=fields))

    async def replace(self, meta: Mapping[str, object]) -> None:
        """Show this here, and nothing of what was shown before."""
        self._require_joined()
        await self._session.ask(Set(topic=self.topic, meta=dict(meta)))

    async def leave(self) -> None:
        """Leave at once, without grace, and stop watching the room."""
        if self.meta is not None:
            await self._session.ask(Unset(topic=self.topic))
        await self._session.forget(self)

    def __aiter__(self) -> EventStream[RoomEvent]:
        return self.stream

    def _require_joined(self) -> None:
        if self.meta is None:
            raise UsageError(
                f"{self.topic} is not joined", remedy="call client.join() before you change it"
            )


class Watch:
    """Users that are watched, wherever they are. Iterate over it to hear their changes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._users: dict[str, None] = {}
        self.stream: EventStream[Status] = EventStream("watched users")

    @property
    def users(self) -> list[str]:
        """Whom this watches."""
        return list(self._users)

    @property
    def statuses(self) -> dict[str, Status]:
        """What each of the users shows now."""
        known = self._session.machine.statuses
        return {user: status_of(known[user]) for user in self._users if user in known}

    def has(self, user: str) -> bool:
        """Whether this watches the user."""
        return user in self._users

    def include(self, users: Iterable[str]) -> None:
        """Count these among the users; the client has seen to the rest."""
        self._users.update(dict.fromkeys(users))

    async def add(self, users: Iterable[str]) -> Self:
        """Watch these, too."""
        await self._session.watch_more(self, users)
        return self

    async def close(self) -> None:
        """Watch them no more."""
        await self._session.forget(self)

    def __aiter__(self) -> EventStream[Status]:
        return self.stream
