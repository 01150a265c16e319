"""The connections for which something was gathered in this turn of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Final

from presence_actors.edge.client import Client
from presence_actors.edge.ring import ARENA_BYTES, SendRing, find_ring

__all__ = ["Flushes"]

_log = logging.getLogger(__name__)

#: Connections that are written to in one turn of the loop, some 10 us for each, so that heartbeats
#: and peer links get their turn between two slices of a large fan-out.
_PER_TURN: Final = 250
#: For fewer a ring costs more than it saves.
_RING_FROM: Final = 8


class Flushes:
    """Writes to each of them once, in the turns that follow, in slices.

    Args:
        counts: Where it says how many were written to together.
        rings: Whether a slice may go to the kernel in one call, if it offers that.
    """

    def __init__(self, counts: Counter[str], *, rings: bool) -> None:
        self._counts = counts
        self._dirty: list[Client] = []
        self._flushing = False
        self._rings = rings
        self._ring: SendRing | None = None

    def add(self, client: Client) -> None:
        """Something was gathered for it, for the first time since it was last written to."""
        client.dirty = True
        self._dirty.append(client)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Give the ring back; what comes now goes without."""
        self._rings = False
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _flush(self) -> None:
        slice_, self._dirty = self._dirty[:_PER_TURN], self._dirty[_PER_TURN:]
        ring = self._ring_for(len(slice_))
        if ring is not None:
            self._flush_together(slice_, ring)
        else:
            for client in slice_:
                client.dirty = False
                client.conn.flush()
        if self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._flushing = False

    def _ring_for(self, count: int) -> SendRing | None:
        if count < _RING_FROM or not self._rings:
            return None
        if self._ring is None:
            # Here, since a ring belongs to the thread that first uses it.
            self._ring = find_ring()
            self._rings = self._ring is not None
        return self._ring

    def _flush_together(self, clients: list[Client], ring: SendRing) -> None:
        """Most of them are told the same, so a frame stands in the arena once for all of these."""
        batch = _Batch(ring)
        last, offset = b"", 0
        for client in clients:
            client.dirty = False
            frame = client.conn.take()
            if frame is None:
                client.conn.flush()
                continue
            if frame is not last:
                last, offset = frame, batch.place(frame)
            batch.clients.append(client)
            batch.offsets.append(offset)
            batch.lengths.append(len(frame))
        batch.send()
        self._counts["sent_together"] += batch.sent
        if ring.broken is not None:
            _log.warning("each send is a system call of its own from now on: %s", ring.broken)
            self.close()


class _Batch:
    """What goes to the kernel with one call."""

    def __init__(self, ring: SendRing) -> None:
        self._ring = ring
        self._used = 0
        #: n of each: who is told, and where in the arena it stands.
        self.clients: list[Client] = []
        self.offsets: list[int] = []
        self.lengths: list[int] = []
        #: How many frames went out.
        self.sent = 0

    def place(self, frame: bytes) -> int:
        """Where the frame stands in the arena; if there is no room, the rest is sent first."""
        if self._used + len(frame) > ARENA_BYTES:
            self.send()
        offset, self._used = self._used, self._used + len(frame)
        self._ring.arena[offset : self._used] = frame
        return offset

    def send(self) -> None:
        """Send what there is; what a socket does not take is for its transport to keep."""
        if not self.clients:
            return
        descriptors = [client.conn.descriptor for client in self.clients]
        results = self._ring.send(descriptors, self.offsets, self.lengths)
        if results != self.lengths:
            everything = zip(self.clients, self.offsets, self.lengths, results, strict=True)
            for client, offset, length, taken in everything:
                if taken != length:
                    rest = self._ring.arena[offset + max(0, taken) : offset + length]
                    client.conn.send_rest(bytes(rest))
        self.sent += len(results)
        self.clients, self.offsets, self.lengths, self._used = [], [], [], 0
