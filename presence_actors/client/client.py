"""The asyncio client: a session machine, its socket, and what waits for answers.

Everything that needs a decision is decided by `core.session`; here are only futures and streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self, assert_never

from presence_actors.client.connector import ENCODINGS, Connector, gateway_url
from presence_actors.client.events import (
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
    translate,
)
from presence_actors.client.room import Room, Watch
from presence_actors.client.stream import EventStream
from presence_actors.config import Knobs
from presence_actors.core.chance import Rng
from presence_actors.core.effects import (
    CloseConnection,
    OpenConnection,
    Resolve,
    Say,
    SessionEffect,
    Tell,
)
from presence_actors.core.events import AppAsked, DeadlineReached, SessionEvent
from presence_actors.core.ids import RequestId
from presence_actors.core.session import Phase, SessionMachine, SessionView
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    Err,
    ErrorCode,
    Hello,
    Intent,
    KeyRange,
    Ok,
    Set,
    Sub,
    Unsub,
)
from presence_actors.errors import (
    GatewayBusy,
    PresenceError,
    RemoteProtocolError,
    SessionLost,
    Unavailable,
    UsageError,
)
from presence_actors.runtime.host import MachineHost
from presence_actors.wire.identifiers import USER, identifier
from presence_actors.wire.native import FrameRefused, decode_client, encode_client, room_topic

__all__ = ["PresenceClient", "connect"]

#: Names in one `sub`: with the longest names it stays below the frame limit.
_NAMES_PER_SUB_MAX: Final = 50

#: How long a join waits for one's own entry to appear.
_OWN_ENTRY_S: Final = 0.5

_UNAUTHORIZED: Final = 4401


def connect(  # noqa: PLR0913  # named, each with a default
    urls: str | Iterable[str],
    token: str,
    *,
    device: str = "desktop",
    status: str = "online",
    encoding: str = "json",
    knobs: Knobs | None = None,
    timeout_s: float = 10.0,
    request_timeout_s: float = 30.0,
    rng: Rng | None = None,
) -> PresenceClient:
    """A client of a presence cluster, to be used with ``async with``.

    Args:
        urls: One gateway or several, such as ``ws://127.0.0.1:4000``. Others are learnt from the
            first. After a loss the next one continues the session, and nobody hears of it.
        token: Who the client is: a signed token, or ``dev:NAME`` at an open gateway on loopback.
        device: What it runs on: ``desktop``, ``mobile``, ``web`` or a word of your own.
        status: What the device shows at first: ``online``, ``away`` or ``dnd``.
        encoding: Of the frames: ``json``, or ``msgpack``, which is a quarter smaller.
        knobs: Waits between attempts to reconnect.
        timeout_s: How long the first connection may take; later ones are tried for ever.
        request_timeout_s: How long a gateway may take to answer.
        rng: Where the spread of waits comes from.

    Raises:
        UsageError: An address, the token, the device, the status or the encoding cannot be used.
    """
    return PresenceClient(
        [urls] if isinstance(urls, str) else list(urls),
        token,
        device=device,
        status=status,
        encoding=encoding,
        knobs=knobs if knobs is not None else Knobs(),
        timeout_s=timeout_s,
        request_timeout_s=request_timeout_s,
        rng=rng if rng is not None else random.Random(),  # noqa: S311  # spreads waits
    )


class PresenceClient:
    """One device of one user, connected. Made by `connect`; used from one event loop.

    Leaving the context says goodbye: others see this device leave at once. A device whose
    connection is lost stays visible for a grace, in which it usually comes back.
    """

    def __init__(  # noqa: PLR0913  # those of `connect`
        self,
        urls: list[str],
        token: str,
        *,
        device: str,
        status: str,
        encoding: str,
        knobs: Knobs,
        timeout_s: float,
        request_timeout_s: float,
        rng: Rng,
    ) -> None:
        if not urls:
            raise UsageError("no gateway is given", remedy="give at least one, ws://HOST:PORT")
        # In the spelling in which gateways tell of each other, so that none is tried twice.
        addresses = [gateway_url(url) for url in urls]
        if not token:
            raise UsageError("the token is empty", remedy="`presence token NAME` makes one")
        if encoding not in ENCODINGS:
            raise UsageError(
                f"encoding is {encoding!r}", remedy=f"give one of {', '.join(ENCODINGS)}"
            )
        _checked(Hello(token=token, device=device, status=status))
        self.urls = urls
        #: The decisions; only for reading.
        self.machine = SessionMachine(
            addresses, token, device=device, knobs=knobs, rng=rng, status=status
        )
        self._timeout_s = timeout_s
        self._request_timeout_s = request_timeout_s
        self._host: MachineHost[SessionEvent, SessionEffect] = MachineHost(
            self.machine,
            carry_out=self._carry_out,
            deadline_reached=DeadlineReached(),
            on_broken=self._on_broken,
            name="client",
        )
        self._connector = Connector(self._host.post, encoding=encoding)
        self._answers: dict[RequestId, asyncio.Future[Ok | Err]] = {}
        self._next_request = 1
        #: Who waits until something is known: called after every event, True once it is.
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._rooms: dict[str, Room] = {}
        self._watches: list[Watch] = []
        self._streams: weakref.WeakSet[EventStream[Event]] = weakref.WeakSet()
        self._error: Exception | None = None
        self._is_closing = False

    # --- life -----------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect; returns when the session stands.

        Raises:
            UsageError: The token was refused.
            Unavailable: No gateway welcomed the client in time.
        """
        self._host.start()
        try:
            await self._until(
                lambda: self.connected, self._timeout_s, "connecting to a presence gateway"
            )
        except BaseException as error:
            failure = self._connector.failure
            await self.abandon()
            if isinstance(error, Unavailable) and failure:
                raise Unavailable(what=failure, where=", ".join(self.urls)) from error
            raise
        return self

    async def close(self) -> None:
        """Say goodbye and close: others see this device leave now."""
        if not self._is_closing:
            self._is_closing = True
            self._host.post(AppAsked(request=RequestId(0), message=Bye()))
            await self._connector.settle()
        await self.abandon()

    async def abandon(self) -> None:
        """Be gone without a word, as a killed process is: others see it after the grace."""
        self._is_closing = True
        self._host.close()
        await self._connector.abandon()
        self._finish(None)

    async def drop(self) -> None:
        """Cut the connection as a broken network does. The client comes back by itself."""
        await self._connector.drop()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- what it is -----------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the session stands now; if not, it is being restored."""
        return self.machine.inspect().phase is Phase.STANDING

    @property
    def user(self) -> str | None:
        """Who this client is, as the gateway read it from the token."""
        return self.machine.inspect().user

    @property
    def session(self) -> str | None:
        """The id of the session; the same through all reconnects within the grace."""
        return self.machine.inspect().session

    def inspect(self) -> SessionView:
        """The state of the session, for people and metrics."""
        return self.machine.inspect()

    # --- what it does ---------------------------------------------------------------------------

    async def join(
        self, room: str, meta: Mapping[str, object] | None = None, *, status: str | None = None
    ) -> Room:
        """Be in a room and watch it; returns when it is known who is there.

        Raises:
            UsageError: The name or the meta cannot be used, or the gateway refused.
            Unavailable: The gateway did not answer in time.
        """
        topic = _topic(room)
        await self.ask(Set(topic=topic, meta=dict(meta or {}), status=status))
        known = topic in self._rooms
        found = await self._watched_room(topic, self._rooms[topic].keys if known else None)
        # One's own entry takes a way of its own and may come a moment after the first snapshot. An
        # invisible user's never comes, so this is not waited for longer than a moment.
        with contextlib.suppress(Unavailable):
            await self._until(
                lambda: self.user in self.machine.who(topic), _OWN_ENTRY_S, "the own entry"
            )
        if not known:
            found.stream.clear()
        return found

    async def observe(self, room: str, *, keys: tuple[str, str | None] | None = None) -> Room:
        """Watch a room without being in it; returns when it is known who is there.

        With `keys` only users from the first name on and before the second one; to look at others,
        observe again: who is not among these leaves without a reason.
        """
        part = keys and KeyRange(start=keys[0], end=keys[1])
        return await self._watched_room(_topic(room), part)

    async def watch(self, users: Iterable[str]) -> Watch:
        """Watch users, wherever they are; returns when it is known what each shows."""
        watch = Watch(self)
        self._watches.append(watch)
        try:
            await self.watch_more(watch, users)
        except BaseException:
            self._watches.remove(watch)
            raise
        watch.stream.clear()
        return watch

    async def set_status(self, status: str) -> None:
        """Show this on this device, in all rooms: ``online``, ``away`` or ``dnd``."""
        await self.ask(Set(status=status))

    async def set_intent(
        self,
        status: str = "",
        *,
        text: str = "",
        emoji: str = "",
        until: int | dt.datetime | None = None,
    ) -> None:
        """Show this on all devices of the user, also when none is connected.

        Args:
            status: ``away``, ``dnd``, ``invisible``, or nothing to take the choice back.
            text: A few words beside it.
            emoji: A sign beside it.
            until: When the choice ends by itself: a time with its zone, or milliseconds since 1970.
        """
        if isinstance(until, dt.datetime):
            if until.tzinfo is None:
                raise UsageError(
                    f"until = {until}: has no time zone",
                    remedy="use datetime.now(datetime.UTC) + timedelta(...)",
                )
            until = int(until.timestamp() * 1000)
        await self.ask(Intent(status=status, text=text, emoji=emoji, until=until))

    def events(self) -> EventStream[Event]:
        """Everything that this client hears from now on, for one more reader."""
        stream: EventStream[Event] = EventStream("all events")
        if self._host.stopped:
            stream.close(self._error)
        self._streams.add(stream)
        return stream

    # --- requests -------------------------------------------------------------------------------

    async def ask(self, message: ClientMessage) -> Ok:
        """The gateway's answer; asked again by itself if the connection is lost meanwhile.

        Raises:
            UsageError: It is not allowed or not possible; nothing happened.
            Unavailable: No answer in time: it may happen, or not.
            SessionLost: The session has ended.
        """
        message = _checked(message)
        if self._host.stopped:
            raise self._error or UsageError(
                "the client is closed", remedy="use it within `async with connect(...)`"
            )
        request, self._next_request = RequestId(self._next_request), self._next_request + 1
        future: asyncio.Future[Ok | Err] = asyncio.get_running_loop().create_future()
        self._answers[request] = future
        what = type(message).__name__.lower()
        try:
            self._host.post(AppAsked(request=request, message=message))
            async with asyncio.timeout(self._request_timeout_s):
                answer = await future
        except TimeoutError as error:
            raise Unavailable(
                what=f"{what} had no answer in {self._request_timeout_s:g} s",
                where=self.machine.inspect().url,
            ) from error
        finally:
            self._answers.pop(request, None)
        if isinstance(answer, Err):
            raise self._refusal(answer, what)
        return answer

    async def watch_more(self, watch: Watch, users: Iterable[str]) -> None:
        """Watch more users for a watch; returns when it is known what each shows."""
        names = [_user(user) for user in ([users] if isinstance(users, str) else users)]
        for start in range(0, len(names), _NAMES_PER_SUB_MAX):
            await self.ask(Sub(users=names[start : start + _NAMES_PER_SUB_MAX]))
        watch.include(names)
        await self._until(
            lambda: self.machine.statuses.keys() >= set(names),
            self._request_timeout_s,
            "the status of every watched user",
        )

    async def forget(self, held: Room | Watch) -> None:
        """Deliver to it no more, and stop watching what nobody else watches."""
        held.stream.close()
        if isinstance(held, Room):
            if self._rooms.get(held.topic) is held:
                del self._rooms[held.topic]
                await self.ask(Unsub(topics=[held.topic]))
            return
        if held in self._watches:
            self._watches.remove(held)
            others = {user for watch in self._watches for user in watch.users}
            users = [user for user in held.users if user not in others]
            for start in range(0, len(users), _NAMES_PER_SUB_MAX):
                await self.ask(Unsub(users=users[start : start + _NAMES_PER_SUB_MAX]))

    async def _watched_room(self, topic: str, keys: KeyRange | None = None) -> Room:
        known = self._rooms.get(topic)
        if known is not None and known.keys == keys:
            return known
        await self.ask(Sub(topics=[topic], keys=keys))
        await self._until(
            lambda: self.machine.is_synced(topic),
            self._request_timeout_s,
            f"the snapshot of {topic}",
        )
        self._rooms.setdefault(topic, Room(self, topic)).keys = keys
        return self._rooms[topic]

    def _refusal(self, error: Err, what: str) -> PresenceError:
        where = self.machine.inspect().url
        match error.code:
            case ErrorCode.RATE_LIMITED:
                return GatewayBusy(
                    what=f"{what}: {error.message}",
                    where=where,
                    retry_after_ms=error.retry_after_ms,
                )
            case ErrorCode.UNAVAILABLE:
                if isinstance(self._error, PresenceError):
                    return self._error
                return Unavailable(
                    what=f"{what}: {error.message}",
                    where=where,
                    retry_after_ms=error.retry_after_ms,
                )
            case ErrorCode.UNKNOWN_TYPE | ErrorCode.BAD_VERSION:
                return RemoteProtocolError(peer=where, code=error.code, reason=error.message)
            case _:
                return UsageError(f"{what}: {error.message}")

    async def _until(self, is_so: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until something is so."""
        if is_so():
            return
        if self._error is not None:
            raise self._error
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[future] = is_so
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError as error:
            raise Unavailable(
                what=f"{what} did not come in {timeout_s:g} s", where=", ".join(self.urls)
            ) from error
        finally:
            self._waiters.pop(future, None)

    # --- what the machine wants -----------------------------------------------------------------

    def _carry_out(self, effect: SessionEffect) -> None:
        match effect:
            case OpenConnection(url=url):
                self._connector.open(url)
            case CloseConnection(code=code, reason=reason):
                self._connector.close(code, reason)
            case Say(message=message):
                self._connector.say(message)
            case Resolve(request=request, answer=answer):
                future = self._answers.pop(request, None)
                if future is not None and not future.done():
                    future.set_result(answer)
            case Tell(event=told):
                self._deliver(translate(told))
            case never:
                assert_never(never)

    def _deliver(self, event: Event) -> None:
        for stream in list(self._streams):
            stream.put(event)
        self._route(event)
        for future, is_so in list(self._waiters.items()):
            if not future.done() and is_so():
                future.set_result(None)

    def _route(self, event: Event) -> None:
        """Hand an event to the room or the watches that it concerns."""
        match event:
            case Join() | Update() | Leave() | View() | Snapshot() | Count():
                room = self._rooms.get(event.topic)
                if room is not None:
                    room.stream.put(event)
            case Refused():
                room = self._rooms.pop(event.topic, None)
                if room is not None:
                    room.stream.put(event)
                    room.stream.close()
            case Lagging():
                pass  # It concerns all of them; who reads `events` hears of it.
            case Status():
                for watch in self._watches:
                    if watch.has(event.user):
                        watch.stream.put(event)
            case Ended(code=code, reason=reason):
                self._on_ended(code, reason)
            case Connected() | Interrupted():
                pass
            case never:
                assert_never(never)

    def _on_ended(self, code: int, reason: str) -> None:
        if self._is_closing:
            return
        view = self.machine.inspect()
        error: PresenceError
        if view.session is not None:
            error = SessionLost(session=view.session, reason=reason)
        elif code == _UNAUTHORIZED:
            error = UsageError(
                f"{view.url} refused the token: {reason}",
                remedy="`presence token NAME` makes one that is signed with the gateway's key",
            )
        else:
            error = RemoteProtocolError(peer=view.url, code=str(code), reason=reason)
        self._finish(error)

    def _on_broken(self, error: Exception) -> None:
        self._connector.close(1011, "the client broke")
        self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        """Nothing more will come: end every stream, and everybody who waits."""
        self._error = self._error or error
        reason = self._error or UsageError("the client was closed while this call waited")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(reason)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(reason)
        for stream in list(self._streams):
            stream.close(self._error)
        for room in self._rooms.values():
            room.stream.close(self._error)
        for watch in self._watches:
            watch.stream.close(self._error)


def _checked(message: ClientMessage) -> ClientMessage:
    """The message as a gateway will read it; what a gateway would refuse is refused here."""
    try:
        read = decode_client(encode_client(message))
    except FrameRefused as error:
        raise UsageError(error.message) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"meta cannot be written as JSON: {error}") from error
    return message if read is None else read


def _topic(room: str) -> str:
    try:
        return room_topic(room)
    except FrameRefused as error:
        raise UsageError(error.message) from error


def _user(user: str) -> str:
    try:
        return identifier(user.removeprefix(USER), what="user")
    except FrameRefused as error:
        raise UsageError(error.message) from error
