"""A row of the gateway's benchmark: a value, what it is compared with, and what is aimed at."""

from __future__ import annotations

import msgspec

__all__ = ["Aim", "Row"]


class Aim(msgspec.Struct, frozen=True):
    """The most that the ratio may be; or the value, where there is no yardstick."""

    most: float


class Row(msgspec.Struct, frozen=True):
    """One figure; in JSON with its ratio and whether the aim is met."""

    name: str
    n: int
    value: float
    unit: str
    yardstick: str | None = None
    baseline: float | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the yardstick it is."""
        return self.value / self.baseline if self.baseline else None

    @property
    def is_met(self) -> bool | None:
        """Whether what is aimed at is reached; None without an aim, or without its yardstick."""
        if self.aim is None:
            return None
        measured = self.ratio if self.yardstick is not None else self.value
        return None if measured is None else measured <= self.aim.most

    def as_json(self) -> dict[str, object]:
        """Name, value, unit, yardstick, ratio, aim."""
        return {
            "name": self.name,
            "n": self.n,
            "value": self.value,
            "unit": self.unit,
            "yardstick": self.yardstick,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "aim": None if self.aim is None else self.aim.most,
            "met": self.is_met,
        }
