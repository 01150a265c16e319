"""The client for programs without an event loop: the same names, and each call waits.

::

    from presence_actors.client import blocking

    with blocking.connect("ws://127.0.0.1:4000", "dev:alice") as client:
        room = client.join("lobby", meta={"mood": "curious"})
        print(room.who())
        for event in room:
            print(event)

Behind each client is a thread with an event loop, in which the asyncio client lives; it beats and
reconnects there while the program does something else. All calls may come from any thread, and
several at once. Each stream has one reader at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from presence_actors.client import client as asyncio_client
from presence_actors.client import room as asyncio_room
from presence_actors.client import stream as asyncio_stream
from presence_actors.client.events import Event, RoomEvent, Status
from presence_actors.config import Knobs
from presence_actors.core.session import SessionView
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import Entry, ViewFrame
from presence_actors.errors import UsageError

__all__ = ["EventStream", "PresenceClient", "Room", "Watch", "connect"]

E = TypeVar("E")
T = TypeVar("T")


def connect(
    urls: str | Iterable[str],
    token: str,
    *,
    device: str = "desktop",
    status: str = "online",
    encoding: str = "json",
    knobs: Knobs | None = None,
    timeout_s: float = 10.0,
    request_timeout_s: float = 30.0,
) -> PresenceClient:
    """A client of a presence cluster, to be used with ``with``; see `presence_actors.connect`.

    Raises:
        UsageError: An address, the token, the device, the status or the encoding cannot be used.
    """
    return PresenceClient(
        asyncio_client.connect(
            urls,
            token,
            device=device,
            status=status,
            encoding=encoding,
            knobs=knobs,
            timeout_s=timeout_s,
            request_timeout_s=request_timeout_s,
        )
    )


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that forgets to close its client can end nevertheless.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="presence-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises; an interrupted wait cancels it.

        Raises:
            UsageError: The loop has ended, or waits for itself.
        """
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            work.close()
            raise UsageError(
                "the client is closed", remedy="use it within `with blocking.connect(...)`"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def call(self, read: Callable[[], T]) -> T:
        """What a function gives that must not be disturbed."""

        async def reading() -> T:
            return read()

        return self.run(reading())

    def end(self) -> None:
        """Stop, and return when the thread is gone. Idempotent."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class EventStream(Generic[E]):
    """An iterator over events that waits for the next one; ends when the client closes."""

    def __init__(self, loop: _Loop, stream: asyncio_stream.EventStream[E]) -> None:
        self._loop = loop
        self._stream = stream

    def get(self, timeout_s: float | None = None) -> E:
        """The next event.

        Raises:
            TimeoutError: None came in time; it will be given next time.
            StopIteration: The stream has ended.
            UsageError: The reader fell behind, or another reader is at it.
        """
        try:
            return self._loop.run(self._next(timeout_s))
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self, timeout_s: float | None) -> E:
        async with asyncio.timeout(timeout_s):
            return await anext(self._stream)

    def __iter__(self) -> Iterator[E]:
        return self

    def __next__(self) -> E:
        return self.get()


class Room:
    """A room that this client is in, or only observes; see `presence_actors.Room`."""

    def __init__(self, loop: _Loop, room: asyncio_room.Room) -> None:
        self._loop = loop
        self._room = room
        #: The room's full name, such as ``room:lobby``.
        self.topic = room.topic
        self.stream: EventStream[RoomEvent] = EventStream(loop, room.stream)

    def who(self) -> dict[str, list[Entry]]:
        """The users in the room, by name, each with their devices."""
        return self._loop.call(self._room.who)

    @property
    def entries(self) -> dict[str, Entry]:
        """Every device in the room, by its ref."""
        return self._loop.call(lambda: self._room.entries)

    @property
    def view(self) -> ViewFrame:
        """How much of the truth `who` can hold now, and which entries are in doubt."""
        return self._loop.call(lambda: self._room.view)

    @property
    def meta(self) -> Meta | None:
        """What this device shows in the room; None if it is not in it."""
        return self._loop.call(lambda: self._room.meta)

    def update(self, **fields: object) -> None:
        """Change fields of what this device shows here; None removes a field."""
        self._loop.run(self._room.update(**fields))

    def replace(self, meta: Mapping[str, object]) -> None:
        """Show this here, and nothing of what was shown before."""
        self._loop.run(self._room.replace(meta))

    def leave(self) -> None:
        """Leave at once, without grace, and stop watching the room."""
        self._loop.run(self._room.leave())

    def __iter__(self) -> Iterator[RoomEvent]:
        return self.stream


class Watch:
    """Users that are watched, wherever they are; see `presence_actors.Watch`."""

    def __init__(self, loop: _Loop, watch: asyncio_room.Watch) -> None:
        self._loop = loop
        self._watch = watch
        self.stream: EventStream[Status] = EventStream(loop, watch.stream)

    @property
    def users(self) -> list[str]:
        """Whom this watches."""
        return self._loop.call(lambda: self._watch.users)

    @property
    def statuses(self) -> dict[str, Status]:
        """What each of the users shows now."""
        return self._loop.call(lambda: self._watch.statuses)

    def add(self, users: Iterable[str]) -> Self:
        """Watch these, too."""
        self._loop.run(self._watch.add(users))
        return self

    def close(self) -> None:
        """Watch them no more."""
        self._loop.run(self._watch.close())

    def __iter__(self) -> Iterator[Status]:
        return self.stream


class PresenceClient:
    """One device of one user, connected. Made by `connect`.

    Leaving the context says goodbye: others see this device leave at once.
    """

    def __init__(self, client: asyncio_client.PresenceClient) -> None:
        self._client = client
        self._opened: _Loop | None = None
        self._lock = threading.Lock()

    def open(self) -> Self:
        """Connect; returns when the session stands.

        Raises:
            UsageError: The token was refused, or the client was opened before.
            Unavailable: No gateway welcomed the client in time.
        """
        with self._lock:
            if self._opened is not None:
                raise UsageError(
                    "the client was opened before", remedy="make a new one with connect()"
                )
            self._opened = _Loop()
        try:
            self._opened.run(self._client.open())
        except BaseException:
            self._opened.end()
            raise
        return self

    def close(self) -> None:
        """Say goodbye and close: others see this device leave now. Idempotent."""
        self._end(self._client.close)

    def abandon(self) -> None:
        """Be gone without a word, as a killed process is: others see it after the grace."""
        self._end(self._client.abandon)

    def _end(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = self._opened
        if loop is None:
            return
        with self._lock, contextlib.suppress(UsageError):
            try:
                loop.run(end())
            finally:
                loop.end()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether the session stands now; if not, it is being restored."""
        return self._loop.call(lambda: self._client.connected)

    @property
    def user(self) -> str | None:
        """Who this client is, as the gateway read it from the token."""
        return self._loop.call(lambda: self._client.user)

    @property
    def session(self) -> str | None:
        """The id of the session; the same through all reconnects within the grace."""
        return self._loop.call(lambda: self._client.session)

    def inspect(self) -> SessionView:
        """The state of the session, for people and metrics."""
        return self._loop.call(self._client.inspect)

    def join(
        self, room: str, meta: Mapping[str, object] | None = None, *, status: str | None = None
    ) -> Room:
        """Be in a room and watch it; returns when it is known who is there."""
        return Room(self._loop, self._loop.run(self._client.join(room, meta, status=status)))

    def observe(self, room: str, *, keys: tuple[str, str | None] | None = None) -> Room:
        """Watch a room without being in it; returns when it is known who is there.

        With `keys`, only users from the first name on, and before the second one.
        """
        return Room(self._loop, self._loop.run(self._client.observe(room, keys=keys)))

    def watch(self, users: Iterable[str]) -> Watch:
        """Watch users, wherever they are; returns when it is known what each shows."""
        return Watch(self._loop, self._loop.run(self._client.watch(users)))

    def set_status(self, status: str) -> None:
        """Show this on this device, in all rooms: ``online``, ``away`` or ``dnd``."""
        self._loop.run(self._client.set_status(status))

    def set_intent(
        self,
        status: str = "",
        *,
        text: str = "",
        emoji: str = "",
        until: int | dt.datetime | None = None,
    ) -> None:
        """Show this on all devices of the user; see `presence_actors.PresenceClient`."""
        self._loop.run(self._client.set_intent(status, text=text, emoji=emoji, until=until))

    def events(self) -> EventStream[Event]:
        """Everything that this client hears from now on, for one more reader."""
        return EventStream(self._loop, self._loop.call(self._client.events))

    @property
    def _loop(self) -> _Loop:
        if self._opened is None:
            raise UsageError(
                "the client is not open", remedy="use it within `with blocking.connect(...)`"
            )
        return self._opened
