"""What the map costs, against a dict of tuples and, where installed, loro, pycrdt and Redis.

    python -m benchmarks.bench_store [--entries N ...] [--quick] [--json FILE] [--plot FILE]

CPU time on one core; both sides of each ratio in the same run, on the same rows.  A figure
is the median of several repeats after a warm-up.  A ratio is the baseline over ours: machines and
neighbours make figures move by some 30 %, ratios by half of that.
"""

import argparse
import gc
import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.store_load import (
    EPOCH,
    HOLDERS,
    ORIGINS,
    WALL_MS,
    Dict,
    Load,
    dict_apply,
    dict_blob,
    dict_missing,
    dict_renew,
    dict_run_out,
    dict_write,
    fill,
    key_bytes,
    our_map,
)
from benchmarks.store_peers import loro_figures, pycrdt_figures, redis_figures
from crdt import (
    Delta,
    KeyHasher,
    LWWMap,
    Origin,
    PackedDelta,
    PackedRows,
    Row,
    Rows,
    Stamp,
    VersionVector,
)
from crdt.key_index import KeyIndex

BATCH = 10_000
MISSING = 1_000
REPEATS = 7
SCANS = 3
#: Other stores are measured at as many entries at most.
OTHERS_MAX = 1_000_000
QUICK = (20_000,)
FULL = (100_000, 1_000_000, 10_000_000)
MINE = Origin(ORIGINS[0])


class Result(msgspec.Struct, frozen=True):
    """One operation at one size; without a baseline there is none to compare with."""

    name: str
    n: int
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None


def cpu(run: Callable[[], object]) -> float:
    """CPU nanoseconds of a call."""
    start = time.process_time_ns()
    run()
    return float(time.process_time_ns() - start)


def median(measure: Callable[[], float], repeats: int = REPEATS) -> float:
    """The median of several, after one that does not count."""
    measure()
    return statistics.median(measure() for _ in range(repeats))


class Bench:
    """Our map and the dict, both full of the same rows."""

    def __init__(self, entries: int) -> None:
        self.n = entries
        self.results: list[Result] = []
        self.load = Load(entries)
        self.parts = self.load.parts(entries)
        self.ours = LWWMap(drift_ms_max=0)
        self.theirs: Dict = {}
        #: The vector of the dict: the newest stamp of each origin.
        self.seen = [0] * len(ORIGINS)

    def note(self, name: str, value: float, unit: str, baseline: float | None = None) -> None:
        """A figure is known."""
        ratio = None if baseline is None else baseline / value
        self.results.append(Result(name, self.n, value, unit, baseline, ratio))

    def keys(self, count: int) -> tuple[Any, Any]:
        """Rows of our map, each once, and their keys."""
        rows = self.load.rng.choice(self.n, count, replace=False) + 1
        return rows, self.ours.columns.entries.table.keys_of(rows)

    def bootstrap(self) -> None:
        """An empty replica takes a full state; then both are full."""
        times = []
        for _ in range(SCANS):
            del self.ours
            gc.collect()
            self.ours = our_map(self.n)
            times.append(cpu(lambda: fill(self.ours, self.parts)) / self.n)
        blobs = [dict_blob(PackedDelta.decode(part).rows) for part in self.parts]
        self.parts.clear()
        baselines = []
        for _ in range(SCANS):
            self.theirs, self.seen = {}, [0] * len(ORIGINS)
            took = sum(cpu(partial(dict_apply, self.theirs, self.seen, blob)) for blob in blobs)
            baselines.append(took / self.n)
        self.note("bootstrap", statistics.median(times), "ns/row", statistics.median(baselines))

    def renew_by_handle(self) -> None:
        """Ten thousand leases, generations checked; the dict by id."""

        def ours() -> float:
            rows, _ = self.keys(BATCH)
            handles = self.ours.columns.handles(rows)
            return cpu(lambda: self.ours.columns.renew(handles, 1 << 30)) / BATCH

        def theirs() -> float:
            keys = key_bytes(self.keys(BATCH)[1])
            return cpu(lambda: dict_renew(self.theirs, keys, 1 << 30)) / BATCH

        self.note("renew_by_handle", median(ours), "ns/row", median(theirs))

    def write_local(self) -> None:
        """Ten thousand new statuses by key."""
        statuses = np.full(BATCH, 2, dtype=np.uint8)

        def ours() -> float:
            _, keys = self.keys(BATCH)
            first = Stamp(self.load.stamp + 1)
            self.load.stamp += BATCH
            columns = self.ours.columns
            return (
                cpu(
                    lambda: columns.write(
                        columns.find(keys), statuses, origin=MINE, first_stamp=first
                    )
                )
                / BATCH
            )

        def theirs() -> float:
            keys = key_bytes(self.keys(BATCH)[1])
            return cpu(lambda: dict_write(self.theirs, keys, 2, self.load.stamp)) / BATCH

        self.note("write_local", median(ours), "ns/row", median(theirs))

    def batch(self) -> PackedRows:
        """Ten thousand rows: 90 % newer versions of known entries, 5 % new, 5 % older."""
        load = self.load
        newer = load.rows(
            np.concatenate([self.keys(BATCH * 9 // 10)[1], load.new_keys(BATCH // 20)])
        )
        older = load.rows(self.keys(BATCH // 20)[1], older=True)
        _, first = np.unique(
            np.concatenate([newer.keys[:, 1], older.keys[:, 1]]), return_index=True
        )
        first.sort()
        return PackedRows(
            keys=np.concatenate([newer.keys, older.keys]),
            stamps=np.concatenate([newer.stamps, older.stamps]),
            origins=ORIGINS,
            origin_of=np.concatenate([newer.origin_of, older.origin_of]),
            epochs=np.full(len(newer) + len(older), EPOCH, dtype=np.uint64),
            statuses=np.concatenate([newer.statuses, older.statuses]),
            holders=HOLDERS,
            holder_of=np.concatenate([newer.holder_of, older.holder_of]),
            ids=None,
            values=None,
            fingerprint=newer.fingerprint,
        ).take(first)

    def apply_delta(self) -> None:
        """A delta from the wire: decode, merge, indexes, log; and what the wire itself costs."""
        deltas = [self.load.delta(self.batch()) for _ in range(2 * REPEATS)]
        encoded = [delta.encode() for delta in deltas]
        blobs = [dict_blob(delta.rows) for delta in deltas]
        count = len(deltas[0].rows)
        wire = median(lambda: cpu(deltas[0].encode)) + median(
            lambda: cpu(lambda: PackedDelta.decode(encoded[0]))
        )
        apply = self.ours.columns.apply_encoded
        ours = [cpu(partial(apply, blob, wall_ms=WALL_MS)) for blob in encoded]
        theirs = [cpu(partial(dict_apply, self.theirs, self.seen, blob)) for blob in blobs]
        self.note(
            "apply_delta",
            statistics.median(ours[1:]) / count,
            "ns/row",
            statistics.median(theirs[1:]) / count,
        )
        self.note("wire_encode_decode", wire / count, "ns/row")
        self.note("wire_bytes", len(encoded[0]) / count, "B/row", len(blobs[0]) / count)

    def extract_missing_1k(self) -> None:
        """What a peer lacks that has all but a thousand rows: extract and encode."""
        columns = self.ours.columns

        def ours() -> float:
            seen, after = self.ours.vector, self.ours.log_position
            rows, _ = self.keys(MISSING)
            first = Stamp(self.load.stamp + 1)
            self.load.stamp += MISSING
            columns.write(rows, np.ones(MISSING, np.uint8), origin=MINE, first_stamp=first)

            def extract() -> bytes:
                packed, _, _ = columns.missing(seen, after=after)
                return PackedDelta(seen, columns.vector, packed, first).encode()

            return cpu(extract)

        _, keys = self.keys(MISSING)
        seen = [self.load.stamp] * len(ORIGINS)
        dict_write(self.theirs, key_bytes(keys), 1, self.load.stamp + 1)
        theirs = statistics.median(
            cpu(lambda: dict_missing(self.theirs, seen)) for _ in range(SCANS)
        )
        self.note("extract_missing_1k", median(ours, 31) / 1e3, "us", theirs / 1e3)

    def expiry_scan(self) -> None:
        """Which leases have run out: none."""
        columns = self.ours.columns
        rows = columns.entries.table.rows()
        columns.renew(columns.handles(rows), 1 << 36)
        theirs = statistics.median(cpu(lambda: dict_run_out(self.theirs, -1)) for _ in range(SCANS))
        self.note(
            "expiry_scan",
            median(lambda: cpu(lambda: columns.run_out(1000))) / 1e6,
            "ms",
            theirs / 1e6,
        )

    def bytes_per_entry(self) -> None:
        """Growth of the resident size, each in a process of its own."""
        self.note("bytes_per_entry", memory("ours", self.n), "B", memory("dict", self.n))

    def one_row(self) -> None:
        """Calls with one row, with full keys."""
        presences = LWWMap(drift_ms_max=0, hasher=KeyHasher(b"secret"))
        count = 2_000
        keys = [(f"room:{number % 200}", f"user-{number}", "s") for number in range(count)]
        deltas = [
            Delta(
                VersionVector(),
                VersionVector({MINE: Stamp(self.load.stamp + number)}),
                Rows.of([Row(key, Stamp(self.load.stamp + number), MINE, 0, 1, "g", b"value")]),
                Stamp(self.load.stamp + number),
            )
            for number, key in enumerate(keys * 2, 1)
        ]

        def apply() -> float:
            nonlocal presences
            presences = LWWMap(drift_ms_max=0, hasher=KeyHasher(b"secret"))
            return cpu(lambda: [presences.apply(delta, wall_ms=WALL_MS) for delta in deltas])

        self.note("one_row_apply", median(apply) / len(deltas) / 1e3, "us")
        get = median(lambda: cpu(lambda: [presences.get(key) for key in keys]))
        self.note("one_row_get", get / count / 1e3, "us")

    def growth_pause(self) -> None:
        """The longest call while a map grows from nothing, without room in advance."""
        presences = LWWMap(drift_ms_max=0, ids_kept=False)
        sizes = [BATCH] * (self.n // BATCH)
        parts = [self.load.delta(self.load.rows(self.load.new_keys(size))) for size in sizes]
        apply = presences.columns.apply
        # Else the collector walks through the dict now and then, and that counts as ours.
        gc.collect()
        gc.freeze()
        pauses = [cpu(partial(apply, part, wall_ms=WALL_MS)) for part in parts]
        gc.unfreeze()
        self.note("growth_pause", max(pauses) / 1e6, "ms")

    def turnover(self) -> None:
        """A look-up after every key was deleted and replaced twenty times, over a fresh one."""
        load, n = self.load, self.n
        keys = np.zeros((n + 1, 2), dtype=np.uint64)
        keys[1:] = load.new_keys(n)
        every = np.arange(1, n + 1)
        index = KeyIndex(keys, capacity=n)
        index.insert(keys[1:], every)

        def look_up() -> float:
            query = keys.take(load.rng.integers(1, n + 1, BATCH), axis=0)
            return cpu(lambda: index.find(query)) / BATCH

        fresh = median(look_up, 31)
        turns = 20
        share = max(1, n // 10)
        for turn in range(turns * n // share):
            rows = every[turn % 10 * share : turn % 10 * share + share]
            index.delete(keys.take(rows, axis=0), rows)
            keys[rows] = load.new_keys(len(rows))
            index.insert(keys.take(rows, axis=0), rows)
        self.note("index_after_turnovers", median(look_up, 31), "ns/row", fresh)

    def steps(self, *, quick: bool) -> list[Callable[[], None]]:
        """All measurements, in their order."""
        steps = [
            self.bootstrap,
            self.renew_by_handle,
            self.write_local,
            self.apply_delta,
            self.extract_missing_1k,
            self.expiry_scan,
            self.one_row,
            self.growth_pause,
            self.bytes_per_entry,
        ]
        # Twenty turnovers of ten million are minutes, and say no more than of one million.
        return steps if self.n > 1_000_000 or quick else [*steps, self.turnover]


def memory(kind: str, entries: int) -> float:
    """Bytes for each entry, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.store_memory", kind, str(entries)]
    # Else what the warm-up frees is used again, and does not count.
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def peers(entries: int, *, quick: bool) -> list[tuple[str, float, str]]:
    """Figures of other stores that are installed."""
    figures = loro_figures(entries) + pycrdt_figures() + redis_figures(entries)
    if importlib.util.find_spec("loro") is not None and not quick:
        figures.append(("loro_bytes_per_entry", memory("loro", entries), "B"))
    return figures


def table_of(results: list[Result]) -> Table:
    """The figures for a terminal."""
    table = Table(title="The map in columns against a dict of tuples (CPU time, one core)")
    for column in ("operation", "entries", "ours", "unit", "dict", "ratio"):
        table.add_column(column, justify="left" if column in {"operation", "unit"} else "right")
    for result in results:
        baseline = "" if result.baseline is None else f"{result.baseline:,.1f}"
        ratio = "" if result.ratio is None else f"{result.ratio:,.1f}x"
        table.add_row(
            result.name, f"{result.n:,}", f"{result.value:,.2f}", result.unit, baseline, ratio
        )
    return table


def plot(results: list[Result], path: Path) -> None:
    """Ratios by operation and size, as bars."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit('--plot needs matplotlib: pip install -e ".[bench]"')
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    compared = [result for result in results if result.ratio is not None]
    names = list(dict.fromkeys(result.name for result in compared))
    sizes = sorted({result.n for result in compared})
    figure, axes = pyplot.subplots(figsize=(10, 5), layout="constrained")
    width = 0.8 / len(sizes)
    for place, size in enumerate(sizes):
        ratio_of = {result.name: result.ratio for result in compared if result.n == size}
        heights = [ratio_of.get(name) or 0 for name in names]
        axes.barh(
            [at + place * width for at in range(len(names))],
            heights,
            width,
            label=f"{size:,} entries",
        )
    axes.set_yticks([at + 0.4 - width / 2 for at in range(len(names))], names)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times cheaper than a dict of tuples")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, nargs="+", metavar="N", help="sizes of the map")
    parser.add_argument("--quick", action="store_true", help="small and under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios there")
    options = parser.parse_args()
    sizes = options.entries or (QUICK if options.quick else FULL)
    if min(sizes) < BATCH:
        parser.error(f"--entries must be {BATCH:,} or more: that is how many a batch has")
    console = Console()
    results: list[Result] = []
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("filling", total=None)
        for size in sizes:
            progress.update(task, description=f"filling with {size:,}")
            bench = Bench(size)
            steps = bench.steps(quick=options.quick)
            progress.update(task, total=len(steps) + 1, completed=1)
            for step in steps:
                progress.update(task, description=f"{step.__name__}, {size:,}")
                step()
                progress.advance(task)
            results += bench.results
            del bench, steps
            gc.collect()
        progress.update(task, description="other stores", total=1, completed=0)
        foreign = peers(min(OTHERS_MAX, max(sizes)), quick=options.quick)
    results += [
        Result(name, min(OTHERS_MAX, max(sizes)), value, unit) for name, value, unit in foreign
    ]
    console.print(table_of(results))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
