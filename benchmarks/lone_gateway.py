"""One real gateway with its own workers in one process: nothing else is in its CPU but they.

The workers' part of a change is small beside thousands of deliveries; heartbeats and connections
never come to them.
"""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import random
import signal
import sys
import termios
import time
from multiprocessing.connection import Connection
from typing import Any, Final

import uvloop

from crdt import KeyHasher
from presence_actors.config import Knobs
from presence_actors.core.effects import Send, WorkerEffect
from presence_actors.core.events import (
    ClientConnected,
    ClientSent,
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    WorkerEvent,
)
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import ConnectionId, NodeId, NodeName, UserId, mint_node_id
from presence_actors.core.messages import PeerMessage, Worker
from presence_actors.core.vocabulary import Hello, Identity, Patch, Set
from presence_actors.core.worker import WorkerMachine
from presence_actors.edge.conn import Conn
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.server import EdgeServer
from presence_actors.edge.tokens import DEFAULT_NAMESPACE, TokenVerifier
from presence_actors.runtime.clock import SystemClock
from presence_actors.runtime.collector import tune_collector
from presence_actors.runtime.host import MachineHost
from presence_actors.wire.peer import decode_frame, encode_frame

__all__ = ["LoneGateway"]

_SHARDS: Final = 4
_CLOCK: Final = SystemClock()
_HASHER: Final = KeyHasher.derived_from(b"the secret of a benchmark")
_WORKER: Final = NodeName("a/w0")
_GATEWAY: Final = NodeName("a/g0")
#: People without sockets do not beat, and must not be taken for dead within the run.
_KNOBS: Final = Knobs(client_lease_ms=900_000)
#: Connections of people who are not there: no socket has such a number.
_PAPER_FIRST: Final = 1 << 40
_ANSWER_S: Final = 300.0


class _Here:
    """What runs in the gateway's process."""

    def __init__(self) -> None:
        self._posts: dict[NodeName, tuple[NodeId, MachineHost[Any, Any]]] = {}
        self._add_worker()
        node = _mint(_GATEWAY)
        self.machine = GatewayMachine(
            node,
            shards=_SHARDS,
            replicas=1,
            knobs=_KNOBS,
            rng=random.Random(1),
            now=_CLOCK.now(),
        )
        self.driver = GatewayDriver(
            self.machine,
            verifier=TokenVerifier(None),
            send_peer=lambda to, messages: self._send(node, to, messages),
            on_broken=_broken,
            name=node,
        )
        self._posts[_GATEWAY] = (node, self.driver.host)
        self.server = EdgeServer(self.driver, host="127.0.0.1", port=0)

    async def start(self) -> int:
        """Serve; returns the port once it is ready."""
        port = await self.server.start()
        changed = ClusterChanged(
            workers=[Worker(_WORKER, _WORKER, (_WORKER, 1))],
            gateways={_GATEWAY: f"ws://127.0.0.1:{port}"},
            version=1,
        )
        for _node, host in self._posts.values():
            host.post(changed)
        while not self.machine.ready:  # noqa: ASYNC110  # a picture
            await asyncio.sleep(0.02)
        tune_collector()
        return port

    # --- orders ---------------------------------------------------------------------------------

    async def watch_loop(self, *, seconds: float) -> float:
        """The longest that the loop was held within the next seconds, in milliseconds."""
        worst, until = 0.0, time.monotonic() + seconds
        while (before := time.monotonic()) < until:
            await asyncio.sleep(0)
            worst = max(worst, time.monotonic() - before)
        return worst * 1_000

    async def watch_unsent(self, *, seconds: float) -> tuple[int, int]:
        """The most that waited for one client within the next seconds: here, and in the kernel."""
        worst, kernel, until = 0, 0, time.monotonic() + seconds
        while time.monotonic() < until:
            clients = self.driver._clients.values()  # noqa: SLF001  # nobody else wants to know
            for client in clients:
                if client.conn.is_backed_up:
                    worst = max(worst, client.conn.unsent_bytes)
                    kernel = max(kernel, _unsent_in_kernel(client.conn))
            await asyncio.sleep(0.002)
        return worst, kernel

    async def counts(self) -> dict[str, int]:
        """What happened at the edge, and on the ladder for slow readers."""
        lags = {f"lag_{name}": count for name, count in self.machine.inspect().lags.items()}
        return {**self.driver.counts, **lags, "connections": self.driver.connections}

    async def drain(self, *, spread_ms: int) -> None:
        """Send all clients away, evenly."""
        self.driver.drain("measured", spread_ms=spread_ms)

    async def populate(self, *, topic: str, count: int) -> float:
        """So many people without sockets join the room; seconds."""
        started = time.monotonic()
        post = self.driver.host.post
        for number in range(count):
            connection = ConnectionId(_PAPER_FIRST + number)
            post(
                ClientConnected(connection, Identity(DEFAULT_NAMESPACE, UserId(f"paper-{number}")))
            )
            post(ClientSent(connection, Hello()))
            post(ClientSent(connection, Set(topic=topic, meta={"at": 0})))
            if number % 500 == 0:
                await asyncio.sleep(0)
        return time.monotonic() - started

    async def churn(self, *, topic: str, rate: float, seconds: float, people: int) -> int:
        """People without sockets change something, at this rate, one after the other."""
        start, count = time.monotonic_ns(), round(rate * seconds)
        for number in range(count):
            due = start + round(number * 1e9 / rate)
            if (left := due - time.monotonic_ns()) > 0:
                await asyncio.sleep(left / 1e9)
            connection = ConnectionId(_PAPER_FIRST + number % people)
            self.driver.host.post(ClientSent(connection, Patch(topic=topic, meta={"at": due})))
        return count

    # --- the worker -----------------------------------------------------------------------------

    def _add_worker(self) -> None:
        node = _mint(_WORKER)
        machine = WorkerMachine(
            node,
            shards=_SHARDS,
            replicas=1,
            knobs=_KNOBS,
            hasher=_HASHER,
            first=True,
            now=_CLOCK.now(),
        )

        def carry_out(effect: WorkerEffect) -> None:
            if isinstance(effect, Send):
                self._send(node, effect.to, effect.messages)

        host: MachineHost[WorkerEvent, WorkerEffect] = MachineHost(
            machine,
            carry_out=carry_out,
            deadline_reached=DeadlineReached(),
            on_broken=_broken,
            name=node,
        )
        self._posts[_WORKER] = (node, host)

    def _send(self, sender: NodeId, to: NodeName, messages: list[PeerMessage]) -> None:
        _node, host = self._posts[to]
        received = MessagesReceived(sender, decode_frame(encode_frame(messages), peer=sender))
        asyncio.get_running_loop().call_soon(host.post, received)


def _unsent_in_kernel(conn: Conn) -> int:
    """What its socket holds that the other side has not acknowledged."""
    wire: asyncio.Transport = conn._wire  # type: ignore[attr-defined]  # noqa: SLF001  # as above
    answer = fcntl.ioctl(wire.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def _mint(name: NodeName) -> NodeId:
    return mint_node_id(name, start_wall_ms=_CLOCK.now().wall, random_64=random.getrandbits(64))


def _broken(error: Exception) -> None:
    raise error


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def serve() -> None:
        here = _Here()
        pipe.send(await here.start())
        while True:
            try:
                order, arguments = await asyncio.to_thread(pipe.recv)
            except (EOFError, OSError):
                return
            try:
                pipe.send(await getattr(here, order)(**arguments))
            except Exception as error:  # noqa: BLE001  # told to the other process
                pipe.send(error)

    uvloop.run(serve())


class LoneGateway:
    """The gateway's process, as whoever measures holds it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.port: int = self.finish()
        assert self._process.pid is not None
        self.process_id = self._process.pid

    def start(self, order: str, **arguments: Any) -> None:  # noqa: ANN401  # of any order
        """Have an order begun; `finish` is when it is done."""
        self._pipe.send((order, arguments))

    def finish(self) -> Any:  # noqa: ANN401  # of any order
        """What came of it."""
        if not self._pipe.poll(_ANSWER_S):
            raise RuntimeError("the gateway did not answer")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise RuntimeError(f"the gateway failed: {answer!r}") from answer  # noqa: TRY004
        return answer

    def __call__(self, order: str, **arguments: Any) -> Any:  # noqa: ANN401  # of any order
        """Have an order carried out; see `_Here`."""
        self.start(order, **arguments)
        return self.finish()

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
