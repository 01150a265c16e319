"""One direction of an attachment: numbered bodies, repeated until acknowledged, in order, once.

Links lose what was in flight when they break, so the machines repeat (go-back-N, the simplest
sliding window). A sender whose window is full makes no new segment: its owner keeps gathering, the
newest version of each row, so a slow or silent peer costs the rows in question and not a backlog.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from presence_actors.core.instants import Instant
from presence_actors.core.limits import SEGMENTS_UNACKNOWLEDGED_MAX

__all__ = ["ReceiveStream", "SendStream"]

Body = TypeVar("Body")


class SendStream(Generic[Body]):
    """What was sent and not yet acknowledged."""

    __slots__ = ("_repeat_at", "_unacknowledged", "last")

    def __init__(self) -> None:
        #: The number of the newest body; the first is 1.
        self.last = 0
        self._unacknowledged: deque[tuple[int, Body]] = deque()
        self._repeat_at: Instant | None = None

    @property
    def is_full(self) -> bool:
        """Whether the window is full: gather instead of sending."""
        return len(self._unacknowledged) >= SEGMENTS_UNACKNOWLEDGED_MAX

    @property
    def is_idle(self) -> bool:
        """Whether everything sent has been acknowledged."""
        return not self._unacknowledged

    def push(self, body: Body, *, repeat_at: Instant) -> int:
        """The number under which to send `body`."""
        self.last += 1
        self._unacknowledged.append((self.last, body))
        if self._repeat_at is None:
            self._repeat_at = repeat_at
        return self.last

    def acknowledge(self, upto: int, *, repeat_at: Instant) -> bool:
        """Forgets what the peer has; whether anything was news."""
        news = False
        while self._unacknowledged and self._unacknowledged[0][0] <= upto:
            self._unacknowledged.popleft()
            news = True
        if news:
            self._repeat_at = repeat_at if self._unacknowledged else None
        return news

    def take_due(self, now: Instant, *, repeat_at: Instant) -> list[tuple[int, Body]]:
        """Everything unacknowledged if its time has come, to be sent again."""
        if self._repeat_at is None or now < self._repeat_at:
            return []
        self._repeat_at = repeat_at
        return list(self._unacknowledged)

    def deadline(self) -> Instant | None:
        """When `take_due` has something next."""
        return self._repeat_at


class ReceiveStream:
    """What has come in, without gaps."""

    __slots__ = ("last", "owes_acknowledgement")

    def __init__(self) -> None:
        self.last = 0
        #: Whether something came in that the peer does not know we have.
        self.owes_acknowledgement = False

    def accept(self, sequence: int) -> bool:
        """Whether this is the next one. A repeated one owes an acknowledgement, too."""
        if sequence == self.last + 1:
            self.last = sequence
            self.owes_acknowledgement = True
            return True
        if sequence <= self.last:
            self.owes_acknowledgement = True
        return False

    def take_acknowledgement(self) -> int:
        """The number to acknowledge; nothing is owed afterwards."""
        self.owes_acknowledgement = False
        return self.last
