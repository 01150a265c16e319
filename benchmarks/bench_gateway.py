"""What a gateway costs: for each delivery, heartbeat and connection, beside servers that do less.

    python -m benchmarks.bench_gateway [--quick] [--json FILE]

A real gateway, a loop of send(2) in C and `ws` of npm take turns under the same clients; then a
cluster on Ray. README.md beside this file says what each figure is. Nothing is left running.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.gateway_in_cluster import cluster_rows
from benchmarks.gateway_rows import Row
from benchmarks.gateway_sections import FULL, QUICK, SECTIONS, Bench
from benchmarks.raw_servers import make_node_server, make_send_loop
from presence_actors.errors import PresenceError


def print_rows(rows: list[Row], console: Console) -> None:
    """A table for people."""
    table = Table(title="One gateway", title_justify="left")
    table.add_column("figure")
    for column in ("value", "unit", "yardstick", "its value", "ratio", "aim", ""):
        table.add_column(column, justify="left" if column in ("unit", "yardstick", "") else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.value:,.3g}" if abs(row.value) < 100 else f"{row.value:,.0f}",
            row.unit,
            row.yardstick or "",
            "" if row.baseline is None else f"{row.baseline:,.3g}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.aim is None else f"<= {row.aim.most:g}",
            {None: "", True: "met", False: "MISSED"}[row.is_met],
        )
    console.print(table)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a minute and a half, with fewer clients"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", help="sections whose name contains this")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    console = Console(highlight=False)
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="presence-bench-") as scraps,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("yardsticks are made", total=len(SECTIONS) + 2)
        contestants = {}
        for name, made in (
            ("C send loop", make_send_loop(Path(scraps))),
            ("Node ws", make_node_server(Path(scraps))),
        ):
            if isinstance(made, str):
                console.print(f"without the yardstick {name}: {made}")
            else:
                contestants[name] = made
        bench = Bench(plan, lambda what: progress.update(task, description=what), contestants)
        for section in SECTIONS:
            progress.advance(task)
            if options.only is None or options.only in section.__name__:
                section(bench)
        progress.advance(task)
        if plan.cluster_clients and (options.only is None or options.only in "cluster"):
            bench.rows.extend(cluster_rows(plan, bench.tell))
    print_rows(bench.rows, console)
    if options.json is not None:
        options.json.write_bytes(
            msgspec.json.format(msgspec.json.encode([row.as_json() for row in bench.rows])) + b"\n"
        )


if __name__ == "__main__":
    try:
        main()
    except PresenceError as error:
        sys.exit(f"bench_gateway: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
