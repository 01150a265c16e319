"""The command line: `presence --help`.

Each module of this package registers its commands. What they need (Ray, a server, a client) is
imported by the command that needs it, so that `--help` comes at once.
"""

import signal
import sys
from typing import Final

import typer

from presence_actors import demo
from presence_actors.cli import cluster, people, sim, zones
from presence_actors.errors import ConfigError, PresenceError, UsageError

#: For what the caller got wrong; 1 is for what went wrong.
_USAGE_STATUS: Final = 2
_INTERRUPTED_STATUS: Final = 130

app = typer.Typer(
    name="presence",
    help="Online presence on Ray: who is here, on which device, in which room.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cluster.register(app)
people.register(app)
zones.register(app)
sim.register(app)
demo.register(app)


def main() -> None:
    """Run a command; an expected failure is one line on standard error."""
    # Asked to end, end in order: what was started half is taken down again.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        app()
    except (ConfigError, UsageError) as error:
        _say(error)
        sys.exit(_USAGE_STATUS)
    except PresenceError as error:
        _say(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED_STATUS)


def _say(error: PresenceError) -> None:
    # One line whatever the error quotes.
    print("presence:", " ".join(str(error).split()), file=sys.stderr)  # noqa: T201
