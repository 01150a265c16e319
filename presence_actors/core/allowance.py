"""So much in a second, and so much at once, and no more: a token bucket, without a timer.

What clients say to each other goes over the same sockets and links as presence. It is bounded where
it comes in, for each client, and where it goes out, for each node, so that presence has room
whatever is said.
"""

from __future__ import annotations

from collections.abc import Iterable

from presence_actors.core.instants import Instant
from presence_actors.core.messages import Said

__all__ = ["Allowance", "size_of"]

#: What one broadcast costs besides its texts: a frame, an entry in a list.
_OVERHEAD_BYTES = 32


def size_of(said: Iterable[Said]) -> int:
    """About how many bytes these take on a link."""
    return sum(_OVERHEAD_BYTES + len(one.topic) + len(one.event) + len(one.payload) for one in said)


class Allowance:
    """What may still be spent.

    Args:
        per_second: What comes back in a second, and may be spent at once after a pause.
    """

    __slots__ = ("_at", "_per_second", "_spent")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        #: In thousandths, and when that was so.
        self._spent = 0
        self._at = Instant(0)

    def take(self, amount: int, now: Instant) -> bool:
        """Spend it, if there is so much; nothing otherwise."""
        spent = max(0, self._spent - (now - self._at) * self._per_second)
        self._at = now
        self._spent = spent
        if spent + amount * 1_000 > self._per_second * 1_000:
            return False
        self._spent += amount * 1_000
        return True
