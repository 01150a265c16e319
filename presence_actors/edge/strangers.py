"""Connections that have not said who they are: how many, for how long, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from presence_actors.edge.admission import is_loopback
from presence_actors.edge.client import Client
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.turnstile import Turnstile

__all__ = ["Strangers"]

#: Frames of one of them that wait for its turn. Beyond: its turn is now.
_UNHEARD_MAX: Final = 16


class Strangers:
    """Who is connected and not known yet.

    Args:
        turnstile: Gives each his turn.
        hear: Takes a frame when it is its turn.
    """

    def __init__(self, turnstile: Turnstile, hear: Callable[[Client, str | bytes], None]) -> None:
        self._turnstile = turnstile
        self._hear = hear
        self._per_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._per_address.total()

    def refusal(self, address: str, limits: EdgeLimits) -> str | None:
        """Why there can be no further one of this address, or None."""
        most = limits.unauthenticated_per_address_max
        if self._per_address[address] >= most and not is_loopback(address):
            return "too many connections of this address have not said hello yet"
        if len(self) >= limits.unauthenticated_max:
            return "too many connections have not said hello yet"
        return None

    def note(self, client: Client) -> None:
        """One more, which has yet to say hello."""
        self._per_address[client.address] += 1

    def expect(self, client: Client, within_ms: int, missed: Callable[[Client], None]) -> None:
        """It says something within this time; what waits for its turn was said in time."""
        if client.deadline is not None:
            client.deadline.cancel()
        client.deadline = asyncio.get_running_loop().call_later(
            within_ms / 1_000, self._missed, client, within_ms, missed
        )

    def settle(self, client: Client) -> None:
        """It is none of those any more. Idempotent."""
        if client.deadline is not None:
            client.deadline.cancel()
            client.deadline = None
        if client.pending:
            client.pending = False
            self._per_address[client.address] -= 1
            if self._per_address[client.address] <= 0:
                del self._per_address[client.address]

    def received(self, client: Client, frame: str | bytes) -> None:
        """A frame of one of them, which is heard when it is its turn, behind its earlier ones."""
        if client.unheard:
            client.unheard.append(frame)
            if len(client.unheard) >= _UNHEARD_MAX:
                self._hear_all(client)
        else:
            client.unheard = [frame]
            self._turnstile.add(partial(self._hear_all, client))

    def _hear_all(self, client: Client) -> None:
        frames, client.unheard = client.unheard, None
        for frame in frames or ():
            self._hear(client, frame)

    def _missed(self, client: Client, within_ms: int, missed: Callable[[Client], None]) -> None:
        client.deadline = None
        if client.unheard:
            self.expect(client, within_ms, missed)
        else:
            missed(client)
