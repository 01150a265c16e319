"""`presence retire-zone | cut | heal`: what concerns two zones."""

from typing import TYPE_CHECKING, Annotated

import typer

from presence_actors.cli.cluster import Address, Zone, attach, report_untold, say, state_dir_of
from presence_actors.errors import UsageError

if TYPE_CHECKING:
    from presence_actors.actors.state import ClusterState


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(name="retire-zone")(retire_zone)
    app.command()(cut)
    app.command()(heal)


def retire_zone(
    retired: Annotated[str, typer.Argument(metavar="ZONE", help="The zone to give up.")],
    *,
    zone: Zone = "a",
    address: Address = None,
    undo: Annotated[bool, typer.Option("--undo", help="Expect it again.")] = False,
) -> None:
    """Give up a zone that will not come back: its people leave."""
    cluster = attach(zone, address)
    if undo:
        report_untold(cluster.restore_zone(retired))
        say(f"zone {zone} expects zone {retired} again")
        return
    known = cluster.other_zones()
    report_untold(cluster.retire_zone(retired))
    say(f"zone {retired} is retired in zone {zone}: its people leave")
    if retired not in known:
        say(f"(zone {zone} does not know it; known: {', '.join(known) or 'none'})")


def cut(
    source: Annotated[str, typer.Argument(help="A zone of this machine, such as a.")],
    target: Annotated[str, typer.Argument(help="Another one.")],
) -> None:
    """Cut two zones of this machine apart, silently (both up --faults)."""
    _require_faults(source)
    theirs = _require_faults(target)
    cluster = attach(source, None)
    report_untold(cluster.cut_zone(target, theirs.config.workers))
    say(f"zones {source} and {target} are cut apart; join them again: presence heal")


def heal() -> None:
    """End all faults in all zones of this machine that take any (up --faults)."""
    from presence_actors.actors.joining import zones_of
    from presence_actors.actors.state import states_folder

    healed: list[str] = []
    for folder in zones_of(states_folder()):
        state = folder.read()
        if state is None or not state.config.faults:
            continue
        cluster = attach(state.config.zone, None)
        report_untold(cluster.heal())
        # A process is attached to one Ray at a time.
        cluster.disconnect()
        healed.append(state.config.zone)
    if not healed:
        raise UsageError(
            "no cluster of this machine takes faults", remedy="start one with: presence up --faults"
        )
    say(f"healed: {', '.join(healed)}")


def _require_faults(zone: str) -> "ClusterState":
    from presence_actors.actors.state import StateFolder

    state = StateFolder(state_dir_of(zone)).read()
    if state is None:
        raise UsageError(
            f"no zone {zone} was started on this machine",
            remedy=f"start it with: presence up --faults --zone {zone}",
        )
    if not state.config.faults:
        raise UsageError(
            f"zone {zone} takes no faults", remedy="start it with: presence up --faults"
        )
    return state
