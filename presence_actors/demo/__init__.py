"""`presence demo`: two zones and a few dozen scripted people, live.

`script` decides what they do, `crowd` does it with real clients, `zones` are the clusters below,
`scene` is what one more client has seen of it, `screen` draws that, and `show` holds all together.
"""

import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from presence_actors.config import parse_duration
from presence_actors.demo.script import PEOPLE_MAX
from presence_actors.errors import ConfigError

__all__ = ["demo", "register"]

_SEEDS: Final = 10_000
#: More would be more than a machine of a few cores runs.
_ZONES_MAX: Final = 3
_PLAIN_WIDTH: Final = 120


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    *,
    duration: Annotated[
        str | None, typer.Option("--for", help="End after this, such as 20s. Default: Ctrl-C.")
    ] = None,
    people: Annotated[int, typer.Option(min=1, max=PEOPLE_MAX, help="How many come.")] = 36,
    port: Annotated[
        int, typer.Option(help="Of the first gateway; the others have the next ones.")
    ] = 4000,
    zones: Annotated[
        int, typer.Option(min=1, max=_ZONES_MAX, help="Clusters, joined to be one service.")
    ] = 2,
    seed: Annotated[int | None, typer.Option(help="The same people do the same again.")] = None,
    table: Annotated[bool, typer.Option(help="A live table, where it is a terminal.")] = True,
    drama: Annotated[bool, typer.Option(help="Cut the zones apart, kill a gateway.")] = True,
) -> None:
    """Start two zones and watch people come, idle, lose their connection and return."""
    for_s: float | None = None
    if duration is not None:
        for_s = parse_duration("--for", duration) / 1_000
        if for_s <= 0:
            raise ConfigError("--for", duration, "must be longer than nothing")
    from rich.console import Console  # noqa: PLC0415  # not for --help

    from presence_actors.demo.show import Plan, run  # noqa: PLC0415  # loads Ray

    plan = Plan(
        for_s=for_s,
        people=people,
        zones=zones,
        port=port,
        seed=secrets.randbelow(_SEEDS) if seed is None else seed,
        table=table and sys.stdout.isatty(),
        drama=drama,
    )
    # Of its own: Ray prints to `sys.stdout` that a gateway was killed, which is the show's to tell.
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        # Nobody's window is narrow: nothing need be cut.
        console.width = _PLAIN_WIDTH
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        run(plan, console)
