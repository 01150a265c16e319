"""Events for one reader, bounded: a reader that falls far behind is told so, never lied to."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, Self, TypeVar

from presence_actors.errors import UsageError

__all__ = ["EVENTS_MAX", "EventStream"]

#: Events that wait for one reader. Beyond: all of them are dropped, and the reader is told.
EVENTS_MAX: Final = 10_000

E = TypeVar("E")


class EventStream(Generic[E]):
    """An asynchronous iterator over events. One reader at a time.

    A reader that lets more than `EVENTS_MAX` events wait gets a `UsageError` instead of them. What
    `who()` or `statuses` say is right nevertheless: read those, and go on iterating.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._waiting: deque[E] = deque()
        self._lost = 0
        self._reader: asyncio.Future[None] | None = None
        self._is_closed = False
        self._error: Exception | None = None

    def put(self, event: E) -> None:
        """Hand an event to the reader; never blocks."""
        if self._is_closed:
            return
        if self._lost or len(self._waiting) >= EVENTS_MAX:
            self._lost += len(self._waiting) + 1
            self._waiting.clear()
        else:
            self._waiting.append(event)
        self._wake()

    def clear(self) -> None:
        """Forget what waits: the reader has read the whole state by other means."""
        self._waiting.clear()
        self._lost = 0

    def close(self, error: Exception | None = None) -> None:
        """No more events: after those that wait, iterating ends, or raises `error`."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                raise UsageError(
                    f"{self._what}: the reader fell behind, and {lost} events were dropped",
                    remedy="read the present state and go on iterating; do slow work elsewhere",
                )
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._more()

    async def _more(self) -> None:
        if self._reader is not None:
            raise UsageError(
                f"{self._what}: two readers at once", remedy="give each reader a stream of its own"
            )
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
