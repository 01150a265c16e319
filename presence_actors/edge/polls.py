"""Requests that wait for the machine's answer: bounded in number and in time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from presence_actors.core.effects import Acted, Answer
from presence_actors.core.ids import RequestId
from presence_actors.edge.limits import EdgeLimits
from presence_actors.errors import GatewayBusy, Unavailable

__all__ = ["Polls"]

_RETRY_MS = 1_000

Kind = TypeVar("Kind", Answer, Acted)


class Polls:
    """Who waits for which answer."""

    def __init__(self) -> None:
        self._waiting: dict[RequestId, asyncio.Future[Answer | Acted]] = {}
        self._ids = itertools.count(1)
        #: How many wait: for what is known, and for news.
        self._counts = Counter[bool]()

    async def ask(
        self,
        kind: type[Kind],
        post: Callable[[RequestId], None],
        *,
        stopped: bool,
        limits: EdgeLimits,
        wait_ms: int = 0,
    ) -> Kind:
        """The answer, of this kind, to what `post` asks for under the number that it is given.

        `wait_ms` is how long it may wait for news; whoever does so is counted apart.

        Raises:
            GatewayBusy: Too many wait already.
            Unavailable: No answer in time, or the gateway is stopping.
        """
        if stopped:
            raise _unavailable("the gateway is stopping")
        most = limits.long_polls_max if wait_ms else limits.queries_max
        if self._counts[wait_ms > 0] >= most:
            raise GatewayBusy(
                what=f"{most} polls wait already",
                where="the gateway",
                retry_after_ms=_RETRY_MS,
            )
        request = RequestId(next(self._ids))
        answer: asyncio.Future[Answer | Acted] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answer
        self._counts[wait_ms > 0] += 1
        try:
            post(request)
            async with asyncio.timeout((wait_ms + limits.query_ms) / 1_000):
                answered = await answer
        except TimeoutError as error:
            raise _unavailable(f"no answer within {wait_ms + limits.query_ms} ms") from error
        finally:
            self._counts[wait_ms > 0] -= 1
            del self._waiting[request]
        if not isinstance(answered, kind):
            raise TypeError(answered)
        return answered

    def answered(self, answer: Answer | Acted) -> None:
        """An answer has come; one that comes too late is dropped."""
        waiting = self._waiting.get(answer.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def stop(self, reason: str) -> None:
        """Nobody gets an answer any more."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_unavailable(reason))


def _unavailable(what: str) -> Unavailable:
    return Unavailable(what=what, where="the gateway", retry_after_ms=_RETRY_MS)
