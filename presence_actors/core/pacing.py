"""Clients that read more slowly than news come: a ladder, each step of which is told.

::

    every difference --behind--> nothing, until all is read --> a snapshot, differences again
                                   |                              |
                                   | `LAG_MS_MAX`                 | again within `LAG_MEMORY_MS`
                                   v                              v
                                 closed, resumable <--behind-- counts --`LAG_MEMORY_MS`--> all

So what waits for one client is bounded whatever happens around it, and nobody else waits for it.
How far it is behind with reading is seen by the driver.
"""

from __future__ import annotations

import enum
from collections import Counter

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import LAG_MEMORY_MS, LAG_MS_MAX

__all__ = ["LagStep", "Pacing"]


class LagStep(enum.StrEnum):
    """What a client that was behind gets from now on."""

    #: One snapshot of each room in place of what it missed, and differences from there on.
    SNAPSHOT = "snapshot"
    #: How many are in each room, and no more.
    COUNTS = "counts"
    #: Everything again, after it has kept up for a while with the counts.
    WHOLE = "whole"


class Pacing:
    """Who is behind, who was, and who gets counts only."""

    def __init__(self) -> None:
        #: Those that are told nothing until they have read all: when they are given up.
        self._held: LeaseTable[ConnectionId] = LeaseTable()
        #: Those that were behind a while ago: until when that counts.
        self._remembered: LeaseTable[ConnectionId] = LeaseTable()
        self._counting: dict[ConnectionId, None] = {}
        #: How often each step was taken, by its name; `closed` is the last one.
        self.taken: Counter[str] = Counter()

    def is_held(self, connection: ConnectionId) -> bool:
        """Whether it is told nothing now."""
        return connection in self._held

    def is_counting(self, connection: ConnectionId) -> bool:
        """Whether it gets counts only."""
        return connection in self._counting

    def note_lag(self, connection: ConnectionId, now: Instant) -> bool:
        """It is behind. False: it was behind with counts only, and must be closed."""
        if connection in self._counting:
            self.taken["closed"] += 1
            return False
        if connection not in self._held:
            self._held.renew(connection, Instant(now + LAG_MS_MAX))
            self.taken["held"] += 1
        return True

    def note_caught_up(self, connection: ConnectionId, now: Instant) -> tuple[LagStep, int] | None:
        """It has read all: what it gets now, and for how many ms it was behind."""
        end = self._held.end_of(connection)
        if end is None:
            return None
        self._held.release(connection)
        again = connection in self._remembered
        self._remembered.renew(connection, Instant(now + LAG_MEMORY_MS))
        step = LagStep.COUNTS if again else LagStep.SNAPSHOT
        if again:
            self._counting[connection] = None
        self.taken[step] += 1
        return step, now - (end - LAG_MS_MAX)

    def forget(self, connection: ConnectionId) -> None:
        """It is gone."""
        self._held.release(connection)
        self._remembered.release(connection)
        self._counting.pop(connection, None)

    def deadline(self) -> Instant | None:
        """When the next one is given up, or has kept up for long enough."""
        held, remembered = self._held.deadline(), self._remembered.deadline()
        if held is None or remembered is None:
            return remembered if held is None else held
        return min(held, remembered)

    def take_lost(self, now: Instant) -> list[ConnectionId]:
        """Those that have not caught up in time, and must be closed."""
        lost = self._held.take_expired(now)
        if lost:
            self.taken["closed"] += len(lost)
        return lost

    def take_recovered(self, now: Instant) -> list[ConnectionId]:
        """Those with counts only that have kept up for long enough to get everything again."""
        recovered: list[ConnectionId] = []
        for connection in self._remembered.take_expired(now):
            if connection in self._counting:
                del self._counting[connection]
                recovered.append(connection)
        if recovered:
            self.taken[LagStep.WHOLE] += len(recovered)
        return recovered
