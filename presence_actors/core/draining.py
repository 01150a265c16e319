"""Emptying a gateway: whom to send away, and when, so that they do not come back all at once.

A gateway that is being emptied, or is empty, takes nobody in until it is told to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant

__all__ = ["RETURN_STEP_MS", "Draining", "returns"]

#: Those whose time comes within one step go together: one frame, encoded once.
_STEP_MS: Final = 50
#: The same for those who are told when to come back; within the step they spread by chance.
RETURN_STEP_MS: Final = 50


def returns(
    connections: Sequence[ConnectionId], *, within_ms: int
) -> Iterator[tuple[int, list[ConnectionId]]]:
    """Who may come back after how many ms: evenly within this time, one step after the other.

    >>> list(returns([ConnectionId(1), ConnectionId(2)], within_ms=RETURN_STEP_MS))
    [(0, [1, 2])]
    >>> list(returns([ConnectionId(1), ConnectionId(2)], within_ms=20 * RETURN_STEP_MS))
    [(0, [1]), (500, [2])]
    """
    steps = max(1, within_ms // RETURN_STEP_MS)
    groups: dict[int, list[ConnectionId]] = {}
    for index, connection in enumerate(connections):
        groups.setdefault(index * steps // len(connections), []).append(connection)
    for step, group in groups.items():
        yield step * RETURN_STEP_MS, group


class Draining:
    """Who is still to be sent away from a gateway, and why.

    >>> draining = Draining()
    >>> draining.begin([ConnectionId(1), ConnectionId(2)], "deploy", spread_ms=100, now=Instant(0))
    >>> draining.take_due(Instant(0)), draining.deadline(), draining.take_due(Instant(50))
    ([1], 50, [2])
    """

    def __init__(self) -> None:
        #: Why; None if the gateway is not being emptied.
        self.reason: str | None = None
        self.spread_ms = 0
        self._waiting: deque[tuple[Instant, ConnectionId]] = deque()

    def begin(
        self, connections: Sequence[ConnectionId], reason: str, *, spread_ms: int, now: Instant
    ) -> None:
        """Each of these gets its time, evenly over the spread."""
        self.reason, self.spread_ms = reason, spread_ms
        count = max(1, len(connections))
        self._waiting = deque(
            (Instant(now + index * spread_ms // count), connection)
            for index, connection in enumerate(connections)
        )

    def end(self) -> None:
        """The gateway takes clients in again, and sends nobody away any more."""
        self.reason = None
        self._waiting.clear()

    def deadline(self) -> Instant | None:
        """When the next ones are to be sent away."""
        return self._waiting[0][0] if self._waiting else None

    def take_due(self, now: Instant) -> list[ConnectionId]:
        """Whose time has come, and those whose time comes within the same step."""
        due: list[ConnectionId] = []
        if not self._waiting or self._waiting[0][0] > now:
            return due
        until = now if self.spread_ms == 0 else now + _STEP_MS - 1
        while self._waiting and self._waiting[0][0] <= until:
            due.append(self._waiting.popleft()[1])
        return due
