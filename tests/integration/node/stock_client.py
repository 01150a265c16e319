"""Stock clients in processes of their own, and what stands in front of a cluster."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

FOLDER = Path(__file__).parents[2] / "node"
#: The bound of each step that has no tighter one of its own.
STEP_SECONDS = 15.0

Told = dict[str, Any]


class StockClient:
    """An unmodified client of npm, steered over a pipe; remembers all that its handlers were told.

    Args:
        package: As tests/node/package.json calls it: `phoenix-1-7`, `realtime-2-99`.
        url: Of the socket, without `/websocket`.
        params: Of the socket; see tests/node/phoenix_client.cjs and supabase_client.cjs.
    """

    def __init__(self, package: str, url: str, **params: Any) -> None:
        self._arguments = (package, url, json.dumps(params))
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._ids = itertools.count(1)
        self.heard: list[Told] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            *_script_of(self._arguments[0]),
            *self._arguments,
            cwd=FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.heard.append(json.loads(line))
            self._news.set()

    def stop_reading(self) -> None:
        """Its whole process stands still, and reads nothing, until `read_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def read_on(self) -> None:
        """It goes on where it stood."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def order(self, order: str, **more: Any) -> int:
        """Have the client do something; the id of its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._ids)
        line = json.dumps({"order": order, "id": number, **more})
        self._process.stdin.write(line.encode() + b"\n")
        return number

    async def until(self, what: str, look: Callable[[], Any]) -> Any:
        """What `look` gives as soon as it gives something; looked at whenever there is news."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not (found := look()):
                    self._news.clear()
                    await self._news.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"in vain: {what}; heard {self.heard[-12:]}") from None

    async def connect(self) -> Self:
        """Connect, and return when the socket is open."""
        opened = len(self.of("open"))
        self.order("connect")
        await self.until("the socket opens", lambda: len(self.of("open")) > opened)
        return self

    async def answer(self, number: int) -> Told:
        """The answer to an order."""
        found: Told = await self.until(
            f"an answer to {number}",
            lambda: next((told for told in self.heard if told.get("id") == number), None),
        )
        return found

    async def join(self, topic: str, **params: Any) -> Told:
        """Join a channel, and return the answer."""
        return await self.answer(self.order("join", topic=topic, params=params))

    async def push(self, topic: str, name: str, payload: object) -> Told:
        """Push an event, and return the answer."""
        return await self.answer(self.order("push", topic=topic, name=name, payload=payload))

    async def leave(self, topic: str) -> Told:
        """Leave a channel, and return the answer."""
        return await self.answer(self.order("leave", topic=topic))

    async def listed(self, topic: str) -> dict[str, list[dict[str, Any]]]:
        """Who is there, as the client's own `Presence` says."""
        found: dict[str, list[dict[str, Any]]] = (
            await self.answer(self.order("list", topic=topic))
        )["presences"]
        return found

    def of(self, *events: str, key: str | None = None) -> list[Told]:
        """What was told of these kinds, oldest first; about one key, if it is given."""
        return [
            told
            for told in self.heard
            if told["event"] in events and (key is None or told.get("key") == key)
        ]

    async def until_listed(self, topic: str, **keys: int) -> None:
        """Return once these, and nobody else, are there, each with so many metas."""
        seen: dict[str, int] = {}
        for _ in range(200):
            mark = len(self.heard)
            seen = {key: len(metas) for key, metas in (await self.listed(topic)).items()}
            if seen == keys:
                return
            # Something about presence must come before it can differ.
            await self.until(f"{keys} instead of {seen}", partial(self._is_beyond, mark + 1))
        raise AssertionError(f"in vain: {keys}; there are {seen}")

    def _is_beyond(self, mark: int) -> bool:
        return len(self.heard) > mark


def _script_of(package: str) -> list[str]:
    """The program that steers a package, and what Node.js must be told for it."""
    if not package.startswith("realtime"):
        return ["phoenix_client.cjs"]
    # Version 2.10 knows the global WebSocket only, which Node 20 hides.
    return ["--no-warnings", "--experimental-websocket", "supabase_client.cjs"]


class Balancer:
    """One address in front of several gateways: a connection goes to the first that takes it.

    Args:
        urls: Of the gateways, in the order in which they are tried.
        sockets: Whether it lets WebSockets through.
    """

    def __init__(self, urls: list[str], *, sockets: bool = True) -> None:
        self._sockets = sockets
        #: In the order in which they are tried.
        self.gateways = [(parts.hostname, parts.port) for parts in map(urlsplit, urls)]
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    @property
    def url(self) -> str:
        """Of the Phoenix socket behind it."""
        return f"{self.base}/socket"

    @property
    def base(self) -> str:
        """Of whatever is behind it."""
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for gateway in list(self.gateways):
            try:
                back_reader, back_writer = await asyncio.open_connection(*gateway)
                break
            except OSError:
                # One that is back soon is not gone back to: who polls has its session elsewhere.
                self.gateways.remove(gateway)
                self.gateways.append(gateway)
        else:
            writer.transport.abort()
            return
        if not self._sockets:
            head = await reader.read(1 << 16)
            if b"upgrade: websocket" in head.lower():
                writer.transport.abort()
                back_writer.transport.abort()
                return
            back_writer.write(head)
        for source, sink, other in (
            (reader, back_writer, writer),
            (back_reader, writer, back_writer),
        ):
            pump = asyncio.create_task(_pump(source, sink, other))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, other: asyncio.StreamWriter
) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        # Lost on one side is lost on the other, without a goodbye.
        sink.transport.abort()
        other.transport.abort()
