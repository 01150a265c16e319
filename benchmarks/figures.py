"""What every benchmark gives: a list of figures, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

__all__ = ["Figure", "print_figures", "write_figures"]


class Figure(msgspec.Struct, frozen=True):
    """One measured number."""

    name: str
    #: How many observations it rests on.
    n: int
    value: float
    unit: str
    #: The same of the yardstick, measured in the same run.
    baseline: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the yardstick it is."""
        return self.value / self.baseline if self.baseline else None


class _Row(msgspec.Struct):
    name: str
    n: int
    value: float
    unit: str
    baseline: float | None
    ratio: float | None


def write_figures(figures: Iterable[Figure], path: Path) -> None:
    """Write them as a list of `{name, n, value, unit, baseline, ratio}`."""
    rows = [
        _Row(figure.name, figure.n, figure.value, figure.unit, figure.baseline, figure.ratio)
        for figure in figures
    ]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


def print_figures(title: str, figures: Iterable[Figure], console: Console) -> None:
    """Print them as a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for column in ("value", "unit", "baseline", "ratio", "n"):
        table.add_column(column, justify="left" if column == "unit" else "right")
    for figure in figures:
        baseline = "" if figure.baseline is None else _number(figure.baseline)
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(
            figure.name, _number(figure.value), figure.unit, baseline, ratio, f"{figure.n:,}"
        )
    console.print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
