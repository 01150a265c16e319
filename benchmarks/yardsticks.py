"""What a heartbeat costs where nothing is done with it: measured in the same run, for ratios."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
from multiprocessing.connection import Connection
from typing import Literal, cast

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from presence_actors.wire.native import SUBPROTOCOL

__all__ = ["Kind", "Yardstick", "counting_server", "echo_server"]

Kind = Literal["counting", "echo"]

_BACKLOG = 4_096
_PING = msgspec.json.Decoder(dict[str, object])


async def counting_server(listener: socket.socket) -> None:
    """An aiohttp server that counts heartbeats and answers them, and knows nothing of presence."""
    pings = 0

    async def handle(request: web.Request) -> web.WebSocketResponse:
        nonlocal pings
        answers = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False)
        await answers.prepare(request)
        async for message in answers:
            if message.type is WSMsgType.TEXT:
                ping = _PING.decode(message.data)
                pings += 1
                await answers.send_str(f'{{"type":"pong","t":{ping["t"]}}}')
        return answers

    application = web.Application()
    application.add_routes([web.get("/ws", handle)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    await asyncio.Event().wait()


class _Echo(asyncio.Protocol):
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)


async def echo_server(listener: socket.socket) -> None:
    """The least that asyncio can do: send back what came."""
    server = await asyncio.get_running_loop().create_server(_Echo, sock=listener, backlog=_BACKLOG)
    await server.serve_forever()


def _serve(pipe: Connection, kind: Kind) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    pipe.send(listener.getsockname()[1])
    uvloop.run(counting_server(listener) if kind == "counting" else echo_server(listener))


class Yardstick:
    """A server in a process of its own."""

    def __init__(self, kind: Kind) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, kind), daemon=True)
        self._process.start()
        self.port: int = ours.recv()
        assert self._process.pid is not None
        self.process_id = self._process.pid

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()
