"""Clients that read more slowly than news come: a ladder, each step of which is told.

::

    every difference --behind--> nothing, until all is read --> a snapshot, differences again
                                   |                              |
                                   | `LAG_MS_MAX`                 | again within `LAG_MEMORY_MS`
                                   v                              v
                                 closed, resumable <--behind-- counts --`LAG_MEMORY_MS`--> all

So what waits for one client is bounded whatever happens around it, and nobody else waits for it.
How far it is behind with reading is seen by the driver.

Stock clients know no counts. In their place they get the whole state of a room once in a while,
from which they make the difference themselves. To be behind with a state is no reason to close: the
next one waits until it is read.

A lag of less than `LAG_BRIEF_MS` leads no further down: every reader stalls now and then.
"""

from __future__ import annotations

import enum
from collections import Counter

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import LAG_BRIEF_MS, LAG_MEMORY_MS, LAG_MS_MAX, LAG_STATE_MS

__all__ = ["LagStep", "Pacing"]


class LagStep(enum.StrEnum):
    """What a client that was behind gets from now on."""

    #: One snapshot of each room in place of what it missed, and differences from there on.
    SNAPSHOT = "snapshot"
    #: How many are in each room, and no more.
    COUNTS = "counts"
    #: For clients that know no counts: each room that changed, whole, once in `LAG_STATE_MS`.
    SPARSE = "sparse"
    #: Everything again, after it has kept up for a while with those.
    WHOLE = "whole"


class Pacing:
    """Who is behind, who was, and who gets less than everything."""

    def __init__(self) -> None:
        #: Those that are told nothing until they have read all: when they are given up.
        self._held: LeaseTable[ConnectionId] = LeaseTable()
        #: Those that were behind a while ago: until when that counts.
        self._remembered: LeaseTable[ConnectionId] = LeaseTable()
        self._counting: dict[ConnectionId, None] = {}
        self._sparse: dict[ConnectionId, None] = {}
        #: When those with states only get the next ones.
        self._next_states: LeaseTable[ConnectionId] = LeaseTable()
        #: How often each step was taken, by its name; `closed` is the last one.
        self.taken: Counter[str] = Counter()

    def is_held(self, connection: ConnectionId) -> bool:
        """Whether it is told nothing now."""
        return connection in self._held

    def is_counting(self, connection: ConnectionId) -> bool:
        """Whether it gets counts only."""
        return connection in self._counting

    def is_sparse(self, connection: ConnectionId) -> bool:
        """Whether it gets states only."""
        return connection in self._sparse

    def note_lag(self, connection: ConnectionId, now: Instant) -> bool:
        """It is behind. False: it was behind with counts only, and must be closed."""
        if connection in self._counting:
            self.taken["closed"] += 1
            return False
        if connection not in self._held:
            self._held.renew(connection, Instant(now + LAG_MS_MAX))
            self.taken["held"] += 1
        if connection in self._sparse:
            # It does not keep up while it is behind.
            self._remembered.renew(connection, Instant(now + LAG_MEMORY_MS))
        return True

    def note_caught_up(
        self, connection: ConnectionId, now: Instant, *, knows_counts: bool = True
    ) -> tuple[LagStep, int] | None:
        """It has read all: what it gets from now on, if that is new, and how long it took."""
        end = self._held.end_of(connection)
        if end is None:
            return None
        self._held.release(connection)
        behind_ms = now - (end - LAG_MS_MAX)
        again = connection in self._remembered
        if behind_ms >= LAG_BRIEF_MS or connection in self._sparse:
            self._remembered.renew(connection, Instant(now + LAG_MEMORY_MS))
        else:
            again = False
        if connection in self._sparse:
            if connection not in self._next_states:
                self._next_states.renew(connection, now)
            return None
        step = LagStep.SNAPSHOT
        if again and knows_counts:
            step = LagStep.COUNTS
            self._counting[connection] = None
        elif again:
            step = LagStep.SPARSE
            self._sparse[connection] = None
            self._next_states.renew(connection, Instant(now + LAG_STATE_MS))
        self.taken[step] += 1
        return step, behind_ms

    def forget(self, connection: ConnectionId) -> None:
        """It is gone."""
        for leases in (self._held, self._remembered, self._next_states):
            leases.release(connection)
        self._counting.pop(connection, None)
        self._sparse.pop(connection, None)

    def deadline(self) -> Instant | None:
        """When the next one is given up, gets a state, or has kept up for long enough."""
        tables = (self._held, self._remembered, self._next_states)
        ends = [end for end in (leases.deadline() for leases in tables) if end is not None]
        return min(ends, default=None)

    def take_lost(self, now: Instant) -> list[ConnectionId]:
        """Those that have not caught up in time, and must be closed."""
        lost = self._held.take_expired(now)
        if lost:
            self.taken["closed"] += len(lost)
        return lost

    def take_due_states(self, now: Instant) -> list[ConnectionId]:
        """Those with states only whose rooms are to be shown now: nothing waits for them."""
        due: list[ConnectionId] = []
        for connection in self._next_states.take_expired(now):
            if connection not in self._held:
                self._next_states.renew(connection, Instant(now + LAG_STATE_MS))
                due.append(connection)
        return due

    def take_recovered(self, now: Instant) -> list[ConnectionId]:
        """Those with less than everything that have kept up for long enough to get it again."""
        recovered: list[ConnectionId] = []
        for connection in self._remembered.take_expired(now):
            if connection in self._counting or connection in self._sparse:
                self._counting.pop(connection, None)
                self._sparse.pop(connection, None)
                self._next_states.release(connection)
                recovered.append(connection)
        if recovered:
            self.taken[LagStep.WHOLE] += len(recovered)
        return recovered
