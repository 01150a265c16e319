"""The load: many clients in a process of its own, told what to do through a pipe.

Changes and heartbeats come at times fixed beforehand, whatever the service does (an open loop),
and latency counts from those times: a service that stalls cannot hide it by slowing the load down.
How late the load itself was is reported beside, and so is its own CPU.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from array import array
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any, Final, assert_never

import msgspec
import uvloop

from benchmarks.websocket_client import Socket, client_frame, open_plain, open_websocket
from presence_actors.core.vocabulary import Hello, Patch, Set, Sub
from presence_actors.wire.native import SUBPROTOCOL, encode_client

__all__ = [
    "ChangeLoad",
    "Command",
    "Connect",
    "HeartbeatLoad",
    "Idle",
    "Load",
    "Result",
    "Saturate",
]

#: Connections that are made at the same time: a gateway takes 100 strangers of one address.
_CONNECTING_MAX: Final = 40
_CONNECT_S: Final = 120.0
#: How long after the last change deliveries may still come.
_SETTLE_S: Final = 2.0
_SETTLE_STEP_S: Final = 0.02
_ANSWER_S: Final = 300.0


class Connect(msgspec.Struct, frozen=True, tag=True):
    """Connect clients, turn about to these ports. In rooms of `room_size`, if that is not 0."""

    ports: list[int]
    clients: int
    room_size: int = 0
    #: Without a WebSocket: to an echo.
    plain: bool = False


class Idle(msgspec.Struct, frozen=True, tag=True):
    """Do nothing for a while."""

    seconds: float


class ChangeLoad(msgspec.Struct, frozen=True, tag=True):
    """Change metas, each client in its turn, so many a second."""

    rate: float
    seconds: float


class HeartbeatLoad(msgspec.Struct, frozen=True, tag=True):
    """Send heartbeats, each client of one port in its turn, so many a second."""

    port: int
    rate: float
    seconds: float


class Saturate(msgspec.Struct, frozen=True, tag=True):
    """Heartbeats as fast as they are answered, one of each client of one port under way."""

    port: int
    seconds: float


Command = Connect | Idle | ChangeLoad | HeartbeatLoad | Saturate


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command."""

    seconds: float
    cpu_s: float
    sent: int = 0
    #: Answers, or deliveries of changes.
    received: int = 0
    expected: int = 0
    frames: int = 0
    #: From the time at which it was to be sent until it was received, in nanoseconds.
    latencies: bytes = b""
    #: How late it was sent, in nanoseconds.
    lags: bytes = b""


class _Meta(msgspec.Struct):
    at: int = 0


class _Entry(msgspec.Struct):
    meta: _Meta


class _Diff(msgspec.Struct):
    updates: list[_Entry] = []


class _Pong(msgspec.Struct):
    t: int


_DIFF: Final = msgspec.json.Decoder(_Diff)
_PONG: Final = msgspec.json.Decoder(_Pong)
_DIFF_START: Final = b'{"type":"diff"'
_PONG_START: Final = b'{"type":"pong"'
_PING_START: Final = b'{"type":"ping"'
_SNAP_START: Final = b'{"type":"snap"'
_ERR_START: Final = b'{"type":"err"'
_PING: Final = client_frame(b'{"type":"ping","t":1}')


def _frame(message: Hello | Set | Sub | Patch) -> bytes:
    return client_frame(encode_client(message).encode())


class _Client:
    """One connection, and the room it is in."""

    __slots__ = ("crowd", "port", "ready", "socket", "topic")

    def __init__(self, crowd: _Crowd, *, port: int, topic: str | None) -> None:
        self.crowd = crowd
        self.port = port
        self.topic = topic
        self.socket: Socket | None = None
        self.ready = asyncio.Event()

    async def connect(self, index: int, *, plain: bool) -> None:
        opened = (
            open_plain(self.port, on_frame=self._on_frame, on_lost=self._on_lost)
            if plain
            else open_websocket(
                self.port,
                subprotocol=SUBPROTOCOL,
                on_frame=self._on_frame,
                on_lost=self._on_lost,
            )
        )
        self.socket = await opened
        if self.topic is None:
            return
        self.send(_frame(Hello(token=f"dev:user-{index}")))
        self.send(_frame(Set(topic=self.topic, meta={"mood": "measured", "at": 0})))
        self.send(_frame(Sub(topics=[self.topic])))
        await self.ready.wait()

    def send(self, frame: bytes) -> None:
        assert self.socket is not None
        self.socket.send(frame)

    def _on_frame(self, payload: bytes) -> None:
        crowd = self.crowd
        if payload.startswith(_DIFF_START):
            now = time.monotonic_ns()
            crowd.frames += 1
            for entry in _DIFF.decode(payload).updates:
                if entry.meta.at:
                    crowd.latencies.append(now - entry.meta.at)
        elif payload.startswith((_PONG_START, _PING_START)):
            crowd.on_answer(self, payload)
        elif payload.startswith(_SNAP_START):
            self.ready.set()
        elif payload.startswith(_ERR_START):
            self.crowd.fail(payload.decode())

    def _on_lost(self, reason: str) -> None:
        if not self.crowd.is_closing:
            self.crowd.fail(f"a connection to port {self.port}: {reason}")


class _Crowd:
    """All clients of this process."""

    def __init__(self) -> None:
        self.clients: list[_Client] = []
        self.latencies = array("q")
        self.frames = 0
        self.answers = 0
        self.is_closing = False
        #: While saturating: until when an answer is followed by the next heartbeat.
        self._until_ns = 0
        self._room_size = 0
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def obey(self, command: Command) -> Result:
        """Do it; a lost connection or a refusal ends everything."""
        task = asyncio.create_task(self._obey(command))
        waiting: list[asyncio.Future[Any]] = [task, self._failed]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            task.cancel()
            self._failed.result()
        return task.result()

    def fail(self, reason: str) -> None:
        """A load that lost a client measures something else than it says."""
        if not self._failed.done():
            self._failed.set_exception(RuntimeError(reason))

    def on_answer(self, client: _Client, payload: bytes) -> None:
        """A heartbeat was answered."""
        self.answers += 1
        if not self._until_ns:
            self.latencies.append(time.monotonic_ns() - _PONG.decode(payload).t)
        elif time.monotonic_ns() < self._until_ns:
            client.send(_PING)

    def close(self) -> None:
        """Cut all connections."""
        self.is_closing = True
        for client in self.clients:
            if client.socket is not None:
                client.socket.close()

    async def _obey(self, command: Command) -> Result:
        self.latencies, lags = array("q"), array("q")
        self.frames = self.answers = 0
        sent = expected = 0
        started, cpu = time.monotonic(), time.process_time()
        match command:
            case Connect():
                await self._connect(command)
                sent = expected = command.clients
                self.answers = len(self.clients)
            case Idle(seconds=seconds):
                await asyncio.sleep(seconds)
            case ChangeLoad():
                sent = await self._change(command, lags)
                expected = sent * self._room_size
            case HeartbeatLoad():
                sent = expected = await self._beat(command, lags)
            case Saturate():
                sent = expected = await self._saturate(command)
            case never:
                assert_never(never)
        took, cpu_s = time.monotonic() - started, time.process_time() - cpu
        if isinstance(command, ChangeLoad | HeartbeatLoad):
            await self._settle(expected)
        return Result(
            seconds=took,
            cpu_s=cpu_s,
            sent=sent,
            received=self.answers or len(self.latencies),
            expected=expected,
            frames=self.frames,
            latencies=self.latencies.tobytes(),
            lags=lags.tobytes(),
        )

    async def _connect(self, command: Connect) -> None:
        size = self._room_size = command.room_size
        gate = asyncio.Semaphore(_CONNECTING_MAX)

        async def one(index: int) -> None:
            # Neighbours in a room are at different gateways.
            topic = f"room:bench-{index // size}" if size else None
            port = command.ports[index % len(command.ports)]
            client = _Client(self, port=port, topic=topic)
            async with gate:
                await client.connect(index, plain=command.plain)
            self.clients.append(client)

        async with asyncio.timeout(_CONNECT_S):
            await asyncio.gather(*(one(index) for index in range(command.clients)))

    async def _change(self, load: ChangeLoad, lags: array[int]) -> int:
        sent = 0
        async for due in _schedule(load.rate, load.seconds, lags):
            client = self.clients[sent % len(self.clients)]
            assert client.topic is not None
            client.send(_frame(Patch(topic=client.topic, meta={"at": due, "sequence": sent})))
            sent += 1
        return sent

    async def _beat(self, load: HeartbeatLoad, lags: array[int]) -> int:
        clients = [client for client in self.clients if client.port == load.port]
        sent = 0
        async for due in _schedule(load.rate, load.seconds, lags):
            client = clients[sent % len(clients)]
            client.send(client_frame(b'{"type":"ping","t":%d}' % due))
            sent += 1
        return sent

    async def _saturate(self, command: Saturate) -> int:
        self._until_ns = time.monotonic_ns() + round(command.seconds * 1e9)
        for client in self.clients:
            if client.port == command.port:
                client.send(_PING)
        await asyncio.sleep(command.seconds)
        answers = self.answers
        # Those under way come in before anything else is measured.
        await asyncio.sleep(_SETTLE_S / 4)
        self._until_ns = 0
        self.answers = answers
        return answers

    async def _settle(self, expected: int) -> None:
        for _ in range(round(_SETTLE_S / _SETTLE_STEP_S)):
            if len(self.latencies) >= expected:
                return
            await asyncio.sleep(_SETTLE_STEP_S)


async def _schedule(rate: float, seconds: float, lags: array[int]) -> AsyncIterator[int]:
    """The times at which something is to be sent, each as soon as it has come."""
    start = time.monotonic_ns()
    for index in range(round(rate * seconds)):
        due = start + round(index * 1e9 / rate)
        while (left := due - time.monotonic_ns()) > 0:  # noqa: ASYNC110  # a clock is no event
            await asyncio.sleep(left / 1e9)
        lags.append(time.monotonic_ns() - due)
        yield due


def _serve(pipe: Connection) -> None:
    """The load's process: obey until the pipe closes."""
    # Ctrl-C is for whoever started it, and ends it through the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def serve() -> None:
        crowd = _Crowd()
        while True:
            try:
                command: Command = await asyncio.to_thread(pipe.recv)
            except EOFError:
                break
            try:
                pipe.send(await crowd.obey(command))
            except Exception as error:  # noqa: BLE001  # told to the other process
                pipe.send(error)
                break
        crowd.close()

    uvloop.run(serve())


class Load:
    """The load's process, as whoever measures holds it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self, command: Command) -> Result:
        """Have it done.

        Raises:
            RuntimeError: A client was lost or refused, or nothing came back.
        """
        self._pipe.send(command)
        if not self._pipe.poll(_ANSWER_S):
            raise RuntimeError(f"the load did not answer to {type(command).__name__}")
        answer: Result | Exception = self._pipe.recv()
        if isinstance(answer, Result):
            return answer
        raise RuntimeError(f"the load failed: {answer!r}") from answer

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
