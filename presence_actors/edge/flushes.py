"""The connections for which something was gathered in this turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Final

from presence_actors.edge.client import Client

__all__ = ["Flushes"]

#: Connections that are written to in one turn of the loop: a system call each, of some 10 us, so
#: that heartbeats and peer links get their turn between two slices of a large fan-out.
_PER_TURN: Final = 250


class Flushes:
    """Writes to each of them once, in the turns that follow, in slices."""

    def __init__(self) -> None:
        self._dirty: list[Client] = []
        self._flushing = False

    def add(self, client: Client) -> None:
        """Something was gathered for it, for the first time since it was last written to."""
        client.dirty = True
        self._dirty.append(client)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        slice_, self._dirty = self._dirty[:_PER_TURN], self._dirty[_PER_TURN:]
        for client in slice_:
            client.dirty = False
            client.conn.flush()
        if self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._flushing = False
