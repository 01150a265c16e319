"""Chance, handed in: the part of `random.Random` that machines use."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Rng"]


class Rng(Protocol):
    """A source of chance; `random.Random` is one, and a seeded one makes a run repeatable."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """An integer of `k` random bits."""
        ...
