"""A gateway whose machine follows a script, and clients of it, for the stories of this folder."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from presence_actors.config import SocketLibrary
from presence_actors.core.effects import Acted, Answer, Deliver, GatewayEffect, TopicAnswer
from presence_actors.core.events import (
    ActRequested,
    ClientConnected,
    ClientSent,
    DrainRequested,
    GatewayEvent,
    QueryReceived,
)
from presence_actors.core.ids import ConnectionId, NodeName, SessionId
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.messages import PeerMessage
from presence_actors.core.vocabulary import (
    ClientMessage,
    Err,
    Hello,
    Ok,
    Ping,
    Pong,
    Quality,
    ServerMessage,
    Set,
    StatusFrame,
    Sub,
    Talk,
    Unset,
    UserStatus,
    Welcome,
)
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.server import EdgeServer
from presence_actors.edge.tokens import TokenVerifier
from presence_actors.wire.native import SUBPROTOCOL, encode_client

KEY = b"k" * 32
#: The bound of each step that has no tighter one of its own.
STEP_SECONDS = 10.0
#: The library that a gateway serves its sockets with, unless a story says otherwise.
SOCKETS: ContextVar[SocketLibrary] = ContextVar("SOCKETS", default=SocketLibrary.PICOWS)

Story = Callable[[], Coroutine[Any, Any, None]]
Play = Callable[[Story], None]
Kind = TypeVar("Kind")


class State(msgspec.Struct, frozen=True):
    """What the scripted machine says of itself."""

    ready: bool
    why: str = "scripted"


class ScriptedMachine:
    """Answers as a gateway's machine would where that is obvious, and records what it was told.

    `say` has it give any effects: they come out when it handles a `DrainRequested`.
    """

    def __init__(self) -> None:
        self.events: list[GatewayEvent] = []
        self.ready = True
        #: Whether queries stay without an answer.
        self.mute = False
        #: Whether answers are older than was asked for.
        self.stale = False
        #: What acts are refused with.
        self.refusal: Err | None = None
        #: Whether the next event breaks it.
        self.broken = False
        self._script: list[GatewayEffect] = []
        self._told = asyncio.Event()

    def handle(self, event: GatewayEvent, now: Now) -> list[GatewayEffect]:
        """Record the event; answer it."""
        if self.broken:
            raise ZeroDivisionError("as the script has it")
        self.events.append(event)
        self._told.set()
        match event:
            case DrainRequested():
                script, self._script = self._script, []
                return script
            case ClientSent(connection, message):
                answer = _answer(message, now)
                return [] if answer is None else [Deliver([connection], answer)]
            case QueryReceived():
                return [] if self.mute else [_answer_to(event, stale=self.stale)]
            case ActRequested(request=request):
                return [] if self.mute else [Acted(request, now.wall, self.refusal)]
        return []

    def deadline(self) -> Instant | None:
        """Never: it has no time of its own."""
        return None

    def inspect(self) -> State:
        """As little as a machine may say."""
        return State(self.ready)

    def told(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Kind], count: int = 1) -> Kind:
        """The so-many-th event of a kind, as soon as there is one."""
        async with asyncio.timeout(STEP_SECONDS):
            while len(self.told(kind)) < count:
                self._told.clear()
                await self._told.wait()
        return self.told(kind)[count - 1]

    def script(self, *effects: GatewayEffect) -> None:
        """What the next `DrainRequested` is answered with."""
        self._script.extend(effects)


def _answer(message: ClientMessage | Talk, now: Now) -> ServerMessage | None:
    match message:
        case Hello():
            return Welcome(
                session=SessionId("s1"),
                user="alice",  # type: ignore[arg-type]
                resume=message.resume,
                since=now.wall,
                heartbeat_ms=25_000,
                lease_ms=60_000,
                grace_ms=15_000,
                grace_gateway_ms=30_000,
                server_ms=now.wall,
                gateway="a/g0",
            )
        case Ping():
            return Pong(t=message.t, server_ms=now.wall)
        case Set(id=int() as request) | Sub(id=int() as request) | Unset(id=int() as request):
            return Ok(id=request)
    return None


def _answer_to(query: QueryReceived, *, stale: bool) -> Answer:
    return Answer(
        query.request,
        [
            TopicAnswer(
                topic=topic,
                quality=Quality.COMPLETE,
                silent=[],
                as_of=None,
                entries=[],
                unreachable=[],
                cursor=None,
            )
            for topic in query.topics
        ],
        [
            StatusFrame(user=user, status=UserStatus.OFFLINE, last_seen=WallMs(1))
            for user in query.users
        ],
        stale=stale,
    )


class Client:
    """A client by hand: says what it is told to, and hands over what it hears."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, frame: str | ClientMessage) -> None:
        """Send one frame."""
        await self.socket.send_str(frame if isinstance(frame, str) else encode_client(frame))

    async def hear(self) -> dict[str, Any]:
        """The next frame."""
        heard = await self.socket.receive(STEP_SECONDS)
        assert heard.type is aiohttp.WSMsgType.TEXT, heard
        frame = msgspec.json.decode(heard.data)
        assert isinstance(frame, dict)
        return frame

    async def end(self) -> tuple[int | None, str]:
        """The code and the reason that the gateway closes with, whatever comes before."""
        while True:
            heard = await self.socket.receive(STEP_SECONDS)
            if heard.type is not aiohttp.WSMsgType.TEXT:
                return self.socket.close_code, str(heard.extra)

    async def is_served(self) -> bool:
        """Whether the next that it hears is the answer to a ping: nothing has come before."""
        await self.say(Ping(t=77))
        return await self.hear() == {"type": "pong", "t": 77, "server_ms": ANY_NUMBER}


class _AnyNumber:
    """Equal to every number."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float)

    __hash__ = None  # type: ignore[assignment]


ANY_NUMBER = _AnyNumber()


class Gateway:
    """A real server around a scripted machine."""

    def __init__(
        self, *, key: bytes | None = None, limits: EdgeLimits | None = None, **options: Any
    ) -> None:
        self.machine = ScriptedMachine()
        self.sent: list[tuple[NodeName, list[PeerMessage]]] = []
        self.broke: asyncio.Queue[Exception] = asyncio.Queue()
        self.driver = GatewayDriver(
            self.machine,
            verifier=TokenVerifier(key),
            send_peer=lambda to, messages: self.sent.append((to, messages)),
            on_broken=self.broke.put_nowait,
            limits=limits,
        )
        options.setdefault("sockets", SOCKETS.get())
        self.server = EdgeServer(self.driver, host="127.0.0.1", port=0, **options)
        self.port = 0
        #: What ends clients that are still there when the story is over.
        self.leftovers: list[Callable[[], object]] = []
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.port = await self.server.start()
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self.leftovers:
            end()
        await self.http.close()
        await self.server.stop()

    @property
    def http(self) -> aiohttp.ClientSession:
        """For requests of any kind."""
        assert self._session is not None
        return self._session

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self.port}"

    async def get(self, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON decoded) and headers of an answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.get(self.url + path, headers=names) as response:
            body: Any = await response.read()
            if response.content_type == "application/json":
                body = msgspec.json.decode(body)
            return response.status, body, dict(response.headers)

    async def connect(self, *, protocols: tuple[str, ...] = (SUBPROTOCOL,), **more: Any) -> Client:
        """A client that has said nothing yet."""
        return Client(
            await self.http.ws_connect(
                f"{self.url}/ws", protocols=protocols, max_msg_size=0, **more
            )
        )

    async def greet(
        self, name: str = "alice", *, token: str | None = None, **more: Any
    ) -> tuple[Client, ConnectionId]:
        """A client that was welcomed."""
        client = await self.connect(**more)
        await client.say(Hello(token=token or f"dev:{name}"))
        assert (await client.hear())["type"] == "welcome"
        return client, self.machine.told(ClientConnected)[-1].connection

    def perform(self, *effects: GatewayEffect) -> None:
        """Have the machine give these effects, in one turn."""
        self.machine.script(*effects)
        self.driver.host.post(DrainRequested("as the script has it"))

    async def refusal(self, **more: Any) -> int:
        """The status with which a connection is refused before it is one."""
        try:
            await self.connect(**more)
        except aiohttp.WSServerHandshakeError as error:
            return error.status
        return 101


@asynccontextmanager
async def witness(gateway: Gateway) -> AsyncIterator[Client]:
    """Another client, which must not notice anything."""
    other, _ = await gateway.greet("witness")
    yield other
    assert await other.is_served()
    await other.socket.close()
