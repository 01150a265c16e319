"""Leases: beliefs with an end.

A `LeaseTable` holds, per key, the instant at which the belief ends. Renewing is one dictionary
write, because it happens with every heartbeat; a heap remembers *some* instant at or before the
true end of each key and is put right only when that comes. So the cost of sorting follows the
number of keys and their lease time, not the number of heartbeats.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from presence_actors.core.instants import Instant

__all__ = ["LeaseTable"]

K = TypeVar("K", bound=int | str | tuple[str, ...])


class LeaseTable(Generic[K]):
    """All live leases, by key.

    >>> table: LeaseTable[str] = LeaseTable()
    >>> table.renew("alice", Instant(100))
    >>> table.renew("alice", Instant(200))
    >>> table.take_expired(Instant(150)), table.take_expired(Instant(200))
    ([], ['alice'])
    """

    __slots__ = ("_ends", "_heap")

    def __init__(self) -> None:
        #: {key: end}. All and only live leases.
        self._ends: dict[K, Instant] = {}
        #: For each live key at least one item at or before its end; others are leftovers.
        self._heap: list[tuple[Instant, K]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, key: K) -> bool:
        return key in self._ends

    def end_of(self, key: K) -> Instant | None:
        """When the lease of `key` ends, or None if there is none."""
        return self._ends.get(key)

    def renew(self, key: K, until: Instant) -> None:
        """Grants or moves a lease."""
        known = self._ends.get(key)
        self._ends[key] = until
        if known is None or until < known:
            heapq.heappush(self._heap, (until, key))

    def release(self, key: K) -> None:
        """Ends a lease without ceremony."""
        self._ends.pop(key, None)
        if len(self._heap) > 2 * len(self._ends) + 64:
            self._heap = [(end, key) for key, end in self._ends.items()]
            heapq.heapify(self._heap)

    def take_expired(self, now: Instant) -> list[K]:
        """The keys whose lease has run out, earliest first; they are no longer in the table."""
        expired: list[K] = []
        # Most tables have nothing most of the time.
        if not self._heap or self._heap[0][0] > now:
            return expired
        while self._heap and self._heap[0][0] <= now:
            known, key = heapq.heappop(self._heap)
            end = self._ends.get(key)
            if end is None:
                continue
            if end > known:
                # Even one that is over goes back, to its place among the others that are.
                heapq.heappush(self._heap, (end, key))
            else:
                del self._ends[key]
                expired.append(key)
        return expired

    def put_right(self, now: Instant) -> None:
        """Lets nothing stand at or before `now` that was renewed to later."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            known, key = heap[0]
            end = self._ends.get(key)
            if end is None:
                heapq.heappop(heap)
            elif end > known:
                heapq.heapreplace(heap, (end, key))
            else:
                return

    def deadline(self) -> Instant | None:
        """An instant at or before the next end; None if there is no lease."""
        heap = self._heap
        while heap and heap[0][1] not in self._ends:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
