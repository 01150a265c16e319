"""A gateway made of a few dictionaries, for clients to be tested against.

Several gateways share one `World`, as the gateways of a cluster do. Each keeps what it heard, and
does what a test tells it: refuse, go away, close, fall silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec
import pytest
from aiohttp import WSMsgType, web

from presence_actors.core.effects import TopicAnswer
from presence_actors.core.ids import SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.orders import merge_patch
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    Diff,
    Entry,
    Err,
    ErrorCode,
    Hello,
    Intent,
    Leave,
    Ok,
    Patch,
    Ping,
    Pong,
    Quality,
    ServerMessage,
    Set,
    Snap,
    StatusFrame,
    Sub,
    Unset,
    Unsub,
    UserStatus,
    Welcome,
)
from presence_actors.wire.native import SUBPROTOCOL, decode_client, encode_server

SINCE: Final = WallMs(1_700_000_000_000)


class World:
    """What all gateways know: who is in which room, what users show, and all connections."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, Entry]] = {}
        self.intents: dict[str, Intent] = {}
        #: What each live device shows: user, device, status.
        self.devices: dict[str, tuple[str, str, str]] = {}
        self.connections: list[Connection] = []
        self.sessions = itertools.count(1)

    def put(self, topic: str, entry: Entry) -> None:
        """Have an entry in a room, and tell everybody."""
        room = self.rooms.setdefault(topic, {})
        before = room.get(entry.ref)
        room[entry.ref] = entry
        if before is None:
            self.tell(topic, Diff(topic=topic, joins=[entry]))
        elif before != entry:
            self.tell(topic, Diff(topic=topic, updates=[entry]))

    def remove(self, topic: str, ref: str, reason: str) -> None:
        """Have an entry no more, and tell everybody."""
        entry = self.rooms.get(topic, {}).pop(ref, None)
        if entry is not None:
            self.tell(
                topic, Diff(topic=topic, leaves=[Leave(ref=ref, key=entry.key, reason=reason)])
            )

    def tell(self, topic: str, message: ServerMessage) -> None:
        """Say it to everybody who watches the topic."""
        for connection in self.connections:
            if topic in connection.topics:
                connection.say(message)

    def status(self, user: str) -> StatusFrame:
        """What a user shows."""
        intent = self.intents.get(user, Intent())
        live = [
            (device, status) for owner, device, status in self.devices.values() if owner == user
        ]
        best = [
            word for word in ("dnd", "online", "away") if word in {status for _, status in live}
        ]
        return StatusFrame(
            user=UserId(user),
            status=UserStatus((intent.status or best[0]) if live else "offline"),
            devices=sorted(device for device, _ in live),
            text=intent.text,
        )

    def show(self, user: str) -> None:
        """Tell everybody who watches the user."""
        for connection in self.connections:
            if user in connection.users:
                connection.say(self.status(user))


class Connection:
    """One client as a gateway sees it."""

    def __init__(self, gateway: Gateway, socket: web.WebSocketResponse) -> None:
        self.gateway = gateway
        self.world = gateway.world
        self.socket = socket
        self.user = UserId("")
        self.session = SessionId("")
        self.hello = Hello()
        self.topics: set[str] = set()
        self.users: set[str] = set()
        self.outbox: asyncio.Queue[ServerMessage] = asyncio.Queue()

    def say(self, message: ServerMessage) -> None:
        """Send it in its turn."""
        self.outbox.put_nowait(message)

    async def write(self) -> None:
        """Send what is said."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self.socket.send_str(encode_server(await self.outbox.get()))

    def entry(self, topic: str) -> Entry | None:
        """The entry of this session in a room."""
        return self.world.rooms.get(topic, {}).get(f"{self.session}/{topic}")

    def hear(self, message: ClientMessage) -> None:
        """Do what the client asks."""
        self.gateway.heard.append(message)
        self.gateway.changed()
        if self.gateway.is_silent:
            return
        refusal = self.gateway.refusals.get(type(message))
        identifier = getattr(message, "id", None) or 0
        if refusal is not None:
            self.say(Err(id=identifier, code=refusal, message=f"refused: {refusal}"))
            return
        match message:
            case Hello():
                self.greet(message)
            case Ping(t=sent):
                self.say(Pong(t=sent, server_ms=SINCE))
            case Sub():
                self.topics.update(message.topics)
                self.users.update(message.users)
                self.say(Ok(id=identifier))
                for topic in message.topics:
                    entries = list(self.world.rooms.get(topic, {}).values())
                    self.say(Snap(topic=topic, state=entries, cursor=f"cursor {topic}"))
                for user in message.users:
                    self.say(self.world.status(user))
            case Unsub():
                self.topics.difference_update(message.topics)
                self.users.difference_update(message.users)
                self.say(Ok(id=identifier))
            case Bye():
                self.leave("left")
            case Intent():
                self.world.intents[self.user] = message
                self.world.show(self.user)
                self.say(Ok(id=identifier))
            case Set() | Patch() | Unset():
                self.change(message, identifier)

    def greet(self, hello: Hello) -> None:
        """Welcome a client, new or come back."""
        self.hello = hello
        token = hello.token or ""
        if not token.startswith("dev:"):
            self.say(Err(code=ErrorCode.UNAUTHORIZED, message="the token is not valid"))
            return
        self.user = UserId(token.removeprefix("dev:"))
        self.session = hello.session or SessionId(f"s{next(self.world.sessions)}")
        self.world.devices[self.session] = (self.user, hello.device, hello.status)
        self.world.show(self.user)
        self.say(
            Welcome(
                session=self.session,
                user=self.user,
                resume=hello.resume,
                since=SINCE,
                heartbeat_ms=self.gateway.heartbeat_ms,
                lease_ms=3 * self.gateway.heartbeat_ms,
                grace_ms=1_000,
                grace_gateway_ms=1_000,
                server_ms=SINCE,
                gateway=self.gateway.name,
                gateways=self.gateway.others,
            )
        )

    def change(self, message: Set | Patch | Unset, identifier: int | str) -> None:
        """Change what this session shows in a room, or in all."""
        if isinstance(message, Set) and message.topic is None:
            for topic in self.world.rooms:
                entry = self.entry(topic)
                if entry is not None:
                    self.put(topic, entry.meta, message.status)
            shown = message.status or "online"
            self.world.devices[self.session] = (self.user, self.hello.device, shown)
            self.world.show(self.user)
            self.say(Ok(id=identifier))
            return
        topic = message.topic or ""
        entry = self.entry(topic)
        if entry is None and not isinstance(message, Set):
            self.say(Err(id=identifier, code=ErrorCode.NOT_JOINED, message=f"{topic}: not joined"))
            return
        if isinstance(message, Unset):
            self.world.remove(topic, f"{self.session}/{topic}", "left")
        elif isinstance(message, Patch):
            self.put(topic, merge_patch(entry.meta if entry else {}, message.meta), None)
        else:
            self.put(topic, message.meta or {}, message.status)
        self.say(Ok(id=identifier, since=SINCE))

    def put(self, topic: str, meta: dict[str, object], status: str | None) -> None:
        """Have this entry in the room."""
        before = self.entry(topic)
        shown = status or (before.status if before else self.hello.status)
        self.world.put(
            topic,
            Entry(
                ref=f"{self.session}/{topic}",
                key=self.user,
                status=shown,
                device=self.hello.device,
                since=SINCE,
                meta=meta,
            ),
        )

    def leave(self, reason: str) -> None:
        """End everything of this session."""
        for topic in self.world.rooms:
            self.world.remove(topic, f"{self.session}/{topic}", reason)
        self.world.devices.pop(self.session, None)
        self.world.show(self.user)


class Gateway:
    """One gateway on loopback."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.url = ""
        self.others: list[str] = []
        self.heartbeat_ms = 10_000
        self.heard: list[ClientMessage] = []
        self.refusals: dict[type, ErrorCode] = {}
        self.is_silent = False
        #: Entries in one answer over HTTP.
        self.page_size = 1_000
        self.connections: list[Connection] = []
        self._waiters: list[asyncio.Event] = []
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Serve on a port of loopback."""
        application = web.Application()
        application.router.add_get("/ws", self._serve)
        application.router.add_get("/v1/topics/{topic}", self._topic)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self.close_all(1012, "going away")
            await self._runner.cleanup()
            self._runner = None

    async def close_all(self, code: int, reason: str) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            await connection.socket.close(code=code, message=reason.encode())

    def changed(self) -> None:
        """Something was heard, or somebody came or went."""
        for waiter in self._waiters:
            waiter.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something about this gateway is so."""
        waiter = asyncio.Event()
        self._waiters.append(waiter)
        async with asyncio.timeout(20):
            while not is_so():
                waiter.clear()
                await waiter.wait()
        self._waiters.remove(waiter)

    def heard_of(self, kind: type) -> list[ClientMessage]:
        """What was heard of one kind."""
        return [message for message in self.heard if isinstance(message, kind)]

    async def _topic(self, request: web.Request) -> web.Response:
        topic = request.match_info["topic"]
        if request.headers.get("Authorization", "Bearer dev:").startswith("Bearer dev:"):
            after = request.query.get("page", "")
            room = self.world.rooms.get(topic, {}).values()
            entries = sorted(
                (entry for entry in room if entry.ref > after), key=lambda entry: entry.ref
            )
            page = entries[: self.page_size]
            answer = TopicAnswer(
                topic=topic,
                quality=Quality.PARTIAL,
                silent=["b/w0"],
                as_of=None,
                entries=page,
                unreachable=[],
                cursor=None,
                next=page[-1].ref if len(entries) > len(page) else None,
            )
            return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
        return web.json_response({"code": "unauthorized", "message": "not valid"}, status=401)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), timeout=1.0)
        await socket.prepare(request)
        connection = Connection(self, socket)
        self.connections.append(connection)
        self.world.connections.append(connection)
        writer = asyncio.create_task(connection.write())
        self.changed()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    decoded = decode_client(message.data)
                    if decoded is not None:
                        connection.hear(decoded)
        finally:
            writer.cancel()
            self.connections.remove(connection)
            self.world.connections.remove(connection)
            self.changed()
        return socket


Cluster = Callable[[int], AbstractAsyncContextManager[list[Gateway]]]


@pytest.fixture
def cluster() -> Cluster:
    """Starts so many gateways of one world, and stops them at the end."""

    @asynccontextmanager
    async def start(count: int) -> AsyncIterator[list[Gateway]]:
        world = World()
        gateways = [Gateway(world, f"a/g{index}") for index in range(count)]
        try:
            for gateway in gateways:
                await gateway.start()
            yield gateways
        finally:
            for gateway in gateways:
                await gateway.stop()

    return start
