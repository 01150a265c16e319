"""`presence sim`: whole clusters under a virtual clock, each from one seed, broken in every way.

Each process runs whole seeds, so what a seed does never depends on how many there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from presence_actors.config import parse_duration
from presence_actors.errors import ConfigError, UsageError
from presence_actors.runtime.collector import tune_collector

if TYPE_CHECKING:
    from presence_actors.sim.availability import Tallies
    from presence_actors.sim.run import Verdict
    from presence_actors.sim.swarm import Options

_LINES_SHOWN: Final = 60
_MS_PER_HOUR: Final = 3_600_000

_out = Console(highlight=False, markup=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

LEGEND: Final = """\
time line, one line for each thing that happens; times are virtual milliseconds
  USER/N ...   device N, which is of that user, does something
  app server   what it asks for, and whether it takes in what it is told
  ! ...        a fault begins or ends, or the core heals
  * ...        a promise is broken: which, when, and what is wrong
  a/w0, a/g1   worker 0 and gateway 1 of zone a"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(sim)


def sim(  # noqa: PLR0913  # each is an option
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run.")] = 20,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Run this one, and tell of it.")] = None,
    seeds_from: Annotated[
        Path | None, typer.Option(help="Run the seeds of a file: one a line, then anything.")
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="Draw faults of one kind only; `swarm` for all.")
    ] = "swarm",
    swarm: Annotated[bool, typer.Option("--swarm", help="The same as --scenario swarm.")] = False,
    topology: Annotated[str | None, typer.Option(help="Cut links in this shape only.")] = None,
    span: Annotated[
        str, typer.Option("--for", help="Virtual time of each run, such as 24h.")
    ] = "5m",
    trace: Annotated[bool, typer.Option("--trace", help="Print the time line of --seed.")] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Make a failure smaller before showing it.")
    ] = False,
    faults: Annotated[
        str | None, typer.Option(help="Keep only these faults of the plan, such as 0,3.")
    ] = None,
    people: Annotated[int | None, typer.Option(min=1, help="Keep only so many people.")] = None,
    gateways: Annotated[
        int | None, typer.Option(min=1, max=9, help="So many gateways in each zone.")
    ] = None,
    hosts: Annotated[
        int | None, typer.Option(min=1, help="Keep only so many hosts of the plan.")
    ] = None,
    app: Annotated[
        bool | None, typer.Option(help="With or without an app server that acts; else as drawn.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many processes.")] = 1,
    file: Annotated[
        Path | None, typer.Option("--json", help="Write what came out into this file.")
    ] = None,
) -> None:
    """Break simulated clusters, and say whether every promise held."""
    from presence_actors.sim.swarm import Options, draw_plan

    if swarm and scenario != "swarm":
        raise UsageError("--swarm with another --scenario", remedy="give one of them")
    span_ms = parse_duration("--for", span)
    if span_ms <= 0:
        raise ConfigError("--for", span, "must be longer than nothing")
    options = Options(
        scenario=scenario,
        topology=topology,
        span_ms=span_ms,
        faults=_numbers(faults),
        people=people,
        gateways=gateways,
        hosts=hosts,
        app=app,
    )
    chosen = _chosen(seeds, first_seed, seed, seeds_from)
    # Before anything has run: not each seed has a cluster that can take what is asked for.
    for one in chosen[:1] if topology is None and hosts is None else chosen:
        draw_plan(one, options)
    if trace and seed is None:
        raise UsageError("--trace without --seed", remedy="say which seed to trace")
    if trace:
        _print_trace(chosen[0], options)
    _require_writable(file)
    summary = _run_all(chosen, options, jobs)
    _report(summary, options, file=file, shrinks=shrink)


def _require_writable(file: Path | None) -> None:
    """Before anything has run: hours later it would be a pity."""
    if file is None:
        return
    try:
        file.touch()
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error}") from error


def _report(summary: Summary, options: Options, *, file: Path | None, shrinks: bool) -> None:
    from presence_actors.sim.availability import tally_lines

    if file is not None:
        file.write_text(json.dumps(summary.as_json(), indent=1) + "\n", encoding="utf-8")
    for verdict in summary.failed:
        _print_failure(verdict, options, shrinks=shrinks)
    _out.print(str(summary))
    for line in tally_lines(summary.operations):
        _out.print(line)
    if summary.failed:
        raise typer.Exit(1)


@dataclass(slots=True)
class Summary:
    """What came out of many runs."""

    seeds: int = 0
    virtual_ms: int = 0
    unknown: int = 0
    failed: list[Verdict] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_trace: str = ""
    operations: Tallies = field(default_factory=dict)
    #: For machines: what became of each run.
    runs: list[tuple[int, dict[str, object]]] = field(default_factory=list)

    def take(self, verdict: Verdict) -> None:
        """One more run."""
        from presence_actors.sim.availability import merge_tallies

        self.seeds += 1
        self.virtual_ms += verdict.virtual_ms
        self.unknown += verdict.outcome == "unknown"
        if verdict.violation is not None:
            self.failed.append(verdict)
        self.faults.update(verdict.faults)
        self.cells.update(verdict.cells)
        self.last_trace = verdict.trace_hash
        merge_tallies(self.operations, verdict.operations)
        told = _tallies_json(verdict.operations)
        outcome = str(verdict.outcome)
        self.runs.append(
            (verdict.seed, {"seed": verdict.seed, "outcome": outcome, "operations": told})
        )

    def as_json(self) -> dict[str, object]:
        """For machines."""
        from presence_actors.sim.plan import PLAN_VERSION

        cells: dict[str, dict[str, int]] = {}
        for (row, column), count in sorted(self.cells.items()):
            cells.setdefault(row, {})[column] = count
        return {
            "plan_version": PLAN_VERSION,
            "seeds": self.seeds,
            "failures": [
                {"seed": one.seed, "violation": str(one.violation)} for one in self.failed
            ],
            "unknown": self.unknown,
            "virtual_hours": round(self.virtual_ms / _MS_PER_HOUR, 3),
            "faults": dict(sorted(self.faults.items())),
            "cells": cells,
            "operations": _tallies_json(self.operations),
            "runs": [run for _, run in sorted(self.runs, key=lambda one: one[0])],
        }

    def __str__(self) -> str:
        words = (
            f"{self.seeds} seeds, {len(self.failed)} failures, {self.unknown} unknown, "
            f"{self.virtual_ms / _MS_PER_HOUR:.1f} virtual hours, "
            f"{self.faults.total()} faults took effect, {len(self.cells)} cells reached"
        )
        return f"{words}; trace {self.last_trace}" if self.seeds == 1 else words


def _tallies_json(tallies: Tallies) -> dict[str, object]:
    return {
        what: {str(side): tally.as_json() for side, tally in sorted(sides.items())}
        for what, sides in sorted(tallies.items())
    }


def _chosen(seeds: int, first_seed: int, seed: int | None, path: Path | None) -> list[int]:
    if seed is not None and path is not None:
        raise UsageError("--seed and --seeds-from", remedy="give one of them")
    if seed is not None:
        return [seed]
    return read_seeds(path) if path is not None else list(range(first_seed, first_seed + seeds))


def read_seeds(path: Path) -> list[int]:
    """The seeds of a file; comments begin with #.

    Raises:
        UsageError: The file cannot be read, or a line does not begin with a seed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    found: list[int] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not words[0].isascii() or not words[0].isdigit():
            raise UsageError(
                f"{path}:{number}: {words[0]!r} is no seed", remedy="begin each line with a number"
            )
        found.append(int(words[0]))
    if not found:
        raise UsageError(f"{path} has no seed", remedy="begin each line with a number")
    return found


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part for part in text.split(",") if part]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError("--faults", text, "must be numbers such as 0,3; empty for none")
    return tuple(int(part) for part in parts)


def recipe(seed: int, options: Options) -> str:
    """The line that repeats a run."""
    words = [f"presence sim --seed {seed}"]
    if options.scenario != "swarm":
        words.append(f"--scenario {options.scenario}")
    if options.topology is not None:
        words.append(f"--topology '{options.topology}'")
    if options.span_ms != 300_000:  # noqa: PLR2004  # the default
        words.append(f"--for {options.span_ms}ms")
    if options.faults is not None:
        words.append(f"--faults '{','.join(map(str, options.faults))}'")
    if options.people is not None:
        words.append(f"--people {options.people}")
    if options.gateways is not None:
        words.append(f"--gateways {options.gateways}")
    if options.hosts is not None:
        words.append(f"--hosts {options.hosts}")
    if options.app is not None:
        words.append("--app" if options.app else "--no-app")
    return " ".join(words)


def _print_trace(seed: int, options: Options) -> None:
    from presence_actors.sim.run import Run
    from presence_actors.sim.swarm import draw_plan

    run = Run(draw_plan(seed, options))
    run.execute()
    _out.print(LEGEND)
    for line in run.history.lines:
        _out.print(line)


def _print_failure(verdict: Verdict, options: Options, *, shrinks: bool) -> None:
    from presence_actors.sim.run import Run
    from presence_actors.sim.shrink import shrink
    from presence_actors.sim.swarm import draw_plan

    if shrinks:
        options = shrink(verdict, options)
    run = Run(draw_plan(verdict.seed, options))
    again = run.execute()
    _out.print(recipe(verdict.seed, options))
    for line in list(run.history.lines)[-_LINES_SHOWN:]:
        _out.print(line)
    _out.print(str(again.violation))


def _prepare() -> None:
    """A process that runs seeds and nothing else: its many small objects are in few cycles."""
    import presence_actors.sim.run  # noqa: F401  # what it brings along is there for good

    tune_collector()


def _run_one(work: tuple[int, Options]) -> Verdict:
    from presence_actors.sim.run import run_seed

    return run_seed(*work)


def _run_all(seeds: list[int], options: Options, jobs: int) -> Summary:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    summary = Summary()
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=_err,
        # Where nobody looks on it would cost a tenth of a core.
        auto_refresh=_err.is_terminal,
        refresh_per_second=4,
    )
    with bar, _verdicts([(seed, options) for seed in seeds], jobs) as verdicts:
        task = bar.add_task("", total=len(seeds))
        for verdict in verdicts:
            summary.take(verdict)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed or 0.0
            bar.update(task, advance=1, description=f"{speed:.1f} seeds/s  {summary}")
    summary.failed.sort(key=lambda verdict: verdict.seed)
    return summary


@contextmanager
def _verdicts(work: list[tuple[int, Options]], jobs: int) -> Iterator[Iterator[Verdict]]:
    """The verdicts as they come; no process is left when this is over."""
    if jobs == 1:
        yield map(_run_one, work)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    # Not a `Pool`: that waits for ever for what a process that died was to answer.
    pool = ProcessPoolExecutor(
        min(jobs, len(work)), multiprocessing.get_context("spawn"), initializer=_prepare
    )
    try:
        runs = [pool.submit(_run_one, one) for one in work]
        yield (run.result() for run in as_completed(runs))
    finally:
        pool.shutdown(cancel_futures=True)
