"""Hubs on loopback for the stories of this folder, and what they told their hosts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

from presence_actors.core.ids import NodeId
from presence_actors.links.connection import LinkInfo
from presence_actors.links.faults import LinkFaults
from presence_actors.links.hub import LinkHub
from presence_actors.links.limits import LinkLimits

SECRET = b"a secret of the whole cluster"
#: The bound of each step that has no tighter one of its own.
STEP_SECONDS = 5.0

Story = Callable[[], Coroutine[Any, Any, None]]
Play = Callable[[Story], None]


class Node:
    """One hub, and everything that it told its host."""

    def __init__(
        self,
        node: str,
        *,
        secret: bytes = SECRET,
        port: int = 0,
        shards: int = 0,
        limits: LinkLimits | None = None,
        faults: LinkFaults | None = None,
    ) -> None:
        self.frames: asyncio.Queue[tuple[NodeId, bytes]] = asyncio.Queue()
        self.changes: asyncio.Queue[tuple[NodeId, bool, str]] = asyncio.Queue()
        #: Codes of the attempts to dial that came to nothing.
        self.failures: asyncio.Queue[str] = asyncio.Queue()
        self.port = port
        self.hub = LinkHub(
            node=NodeId(node),
            role="worker",
            cluster="demo",
            secret=secret,
            host="127.0.0.1",
            port=port,
            shards=shards,
            on_frame=lambda peer, payload: self.frames.put_nowait((peer, payload)),
            on_link=lambda *change: self.changes.put_nowait(change),
            limits=limits,
            faults=faults,
        )
        report = self.hub._report

        def note(name: str, code: str, reason: str) -> None:
            report(name, code, reason)
            self.failures.put_nowait(code)

        self.hub._report = note  # type: ignore[method-assign]

    async def __aenter__(self) -> Self:
        self.port = await self.hub.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        async with asyncio.timeout(STEP_SECONDS):
            await self.hub.close()

    @property
    def address(self) -> tuple[str, int]:
        """Where to dial this node."""
        return ("127.0.0.1", self.port)

    async def frame(self, seconds: float = STEP_SECONDS) -> tuple[NodeId, bytes]:
        """The next frame that comes in."""
        async with asyncio.timeout(seconds):
            return await self.frames.get()

    async def change(self, seconds: float = STEP_SECONDS) -> tuple[NodeId, bool, str]:
        """The next opening or loss."""
        async with asyncio.timeout(seconds):
            return await self.changes.get()

    async def failure(self) -> str:
        """The code of the next attempt that comes to nothing."""
        async with asyncio.timeout(STEP_SECONDS):
            return await self.failures.get()

    def info(self, name: str) -> LinkInfo:
        """What the hub says of one peer."""
        return next(info for info in self.hub.links() if info.name == name)


@asynccontextmanager
async def linked_pair(
    faults: LinkFaults | None = None, limits: LinkLimits | None = None
) -> AsyncIterator[tuple[Node, Node]]:
    """`a/w0`, which dials and has the faults, and `a/w1`, with an open link between them."""
    async with (
        Node("a/w1/01", limits=limits) as other,
        Node("a/w0/01", faults=faults, limits=limits) as one,
    ):
        one.hub.set_targets({"a/w1": other.address})
        assert await one.change() == ("a/w1/01", True, "open")
        assert await other.change() == ("a/w0/01", True, "open")
        yield one, other
