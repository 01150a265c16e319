"""Whoever comes or goes waits for his turn, so that those who stay are served in between.

What a connection costs once (a handshake, a hello, its end) is some tenths of a millisecond. After
a pause of the network thousands of such things come in within one turn of the loop. So only some of
them are done in each turn, in the order of their coming, and what the connected say goes between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Turnstile"]


class Turnstile:
    """So many go through in one turn of the loop: at once as long as nobody waits.

    Args:
        per_turn: How many.
    """

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        #: How many may still go in this turn.
        self._left = per_turn
        self._waiting: deque[Callable[[], None]] = deque()
        self._turning = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, go: Callable[[], None]) -> None:
        """One more, which goes behind all who wait."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        if self._left and not self._waiting:
            self._left -= 1
            go()
        else:
            self._waiting.append(go)

    def _turn(self) -> None:
        if self._left == self._per_turn:
            # Nobody came in the last turn.
            self._turning = False
            return
        asyncio.get_running_loop().call_soon(self._turn)
        self._left = self._per_turn
        while self._left and self._waiting:
            self._left -= 1
            self._waiting.popleft()()
