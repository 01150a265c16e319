"""How the demo looks: a live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from typing import Final, Protocol

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from presence_actors.core.vocabulary import UserStatus
from presence_actors.demo.scene import Line, Person, Scene

__all__ = ["ClusterPicture", "PlainScreen", "Screen", "TableScreen", "people_table"]

_STATUS_STYLES: Final = {
    UserStatus.ONLINE: "green",
    UserStatus.AWAY: "yellow",
    UserStatus.DND: "red",
    UserStatus.OFFLINE: "bright_black",
    UserStatus.UNREACHABLE: "magenta",
    UserStatus.UNKNOWN: "blue",
}
_KIND_STYLES: Final = {
    "join": "green",
    "leave": "red",
    "update": "cyan",
    "status": "yellow",
    "lost": "magenta",
    "note": "bold",
}
_MARKS: Final = {"join": "+", "leave": "-", "update": "~", "status": "=", "lost": "!", "note": "*"}
#: {column: its least width}
_COLUMNS: Final = {
    "person": 9,
    "status": 11,
    "devices": 14,
    "rooms": 12,
    "since": 10,
    "last event": 12,
}
#: Lines of the terminal that are not people: header, head of the table, log.
_LOG_LINES: Final = 8
_OTHER_LINES: Final = _LOG_LINES + 8
_ROWS_MIN: Final = 4
#: How often plain output says how the cluster is.
_PICTURE_S: Final = 5.0


class ClusterPicture(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster in a few numbers, as its operator sees it."""

    workers: int
    workers_up: int
    gateways: int
    gateways_up: int
    shards: int
    replicas: int
    replicas_ready: int
    sessions: int

    def __str__(self) -> str:
        return (
            f"workers {self.workers_up}/{self.workers}, gateways {self.gateways_up}/"
            f"{self.gateways}, {self.shards} shards, replicas ready {self.replicas_ready}/"
            f"{self.replicas}, {self.sessions} sessions"
        )


class Screen(Protocol):
    """Where the show is seen."""

    def start(self) -> None:
        """Begin."""
        ...

    def line(self, line: Line) -> None:
        """A line was added to the log."""
        ...

    def draw(self, scene: Scene, picture: ClusterPicture | None, at_s: float) -> None:
        """Time has passed."""
        ...

    def stop(self) -> None:
        """End, and leave the terminal as it was."""
        ...


class PlainScreen:
    """One line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def start(self) -> None:
        """Nothing to prepare."""

    def line(self, line: Line) -> None:
        """Print it."""
        self._print(line)

    def draw(self, scene: Scene, picture: ClusterPicture | None, at_s: float) -> None:
        """Say now and then how the cluster is."""
        if picture is not None and at_s >= self._next_s:
            self._next_s = at_s + _PICTURE_S
            rate = scene.events_per_second(at_s)
            self._print(Line(at_s, f"{picture}, {rate:.1f} events/s", "note"))

    def stop(self) -> None:
        """Nothing to put back."""

    def _print(self, line: Line) -> None:
        self._console.print(_line_text(line), soft_wrap=True)


class TableScreen:
    """A table of people that follows what happens.

    Args:
        console: The terminal.
        title: What stands above everything, such as where the page is.
        for_s: How long the show is, if it ends by itself.
    """

    def __init__(self, console: Console, *, title: str, for_s: float | None) -> None:
        self._console = console
        self._title = title
        self._for_s = for_s
        self._live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False)

    def start(self) -> None:
        """Take the whole terminal."""
        self._live.start()

    def line(self, line: Line) -> None:
        """Nothing yet: the next drawing shows the log."""

    def draw(self, scene: Scene, picture: ClusterPicture | None, at_s: float) -> None:
        """Draw everything anew."""
        rows = max(_ROWS_MIN, self._console.size.height - _OTHER_LINES)
        parts: list[RenderableType] = [
            self._header(scene, picture, at_s),
            people_table(scene, rows=rows),
            Text(""),
        ]
        parts.extend(_line_text(line) for line in list(scene.lines)[-_LOG_LINES:])
        self._live.update(Group(*parts), refresh=True)

    def stop(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _header(self, scene: Scene, picture: ClusterPicture | None, at_s: float) -> Text:
        end = "Ctrl-C ends it" if self._for_s is None else f"of {self._for_s:.0f} s"
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("presence", style="bold")
        text.append(f"  {at_s:.0f} s, {end}  ")
        text.append(f"{self._title}\n", style="bold cyan")
        text.append(str(picture) if picture is not None else "...")
        text.append(f", {scene.events_per_second(at_s):.1f} events/s\n")
        return text


def people_table(scene: Scene, *, rows: int | None = None) -> Table:
    """Who is here; of more people than rows, those to whom something happened last."""
    names = list(scene.people)
    hidden = 0
    if rows is not None and len(names) > rows:
        hidden = len(names) - (rows - 1)
        latest = sorted(names, key=lambda name: -scene.people[name].changed_s)[: rows - 1]
        names = [name for name in names if name in set(latest)]
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    # What is cut on a narrow terminal is the end of texts, never a name or a word of status.
    for column, width in _COLUMNS.items():
        table.add_column(column, no_wrap=True, min_width=width)
    now_ms = time.time() * 1_000
    for name in names:
        table.add_row(*_row(name, scene.people[name], now_ms))
    if hidden:
        table.add_row(Text(f"and {hidden} more", style="bright_black"))
    return table


def _row(name: str, person: Person, now_ms: float) -> list[Text]:
    last = Text(person.last, style=_KIND_STYLES.get(person.last_kind, ""))
    status = person.status
    if status is None:
        return [Text(name), Text(""), Text(""), Text(""), Text(""), last]
    style = _STATUS_STYLES[status.status]
    shown = Text(status.status.value, style=style)
    if status.text and status.status is not UserStatus.OFFLINE:
        shown.append(f' "{status.text}"', style="italic")
    return [
        Text(name, style="" if status.devices else "bright_black"),
        shown,
        Text(", ".join(status.devices)),
        Text(", ".join(person.rooms)),
        Text(_since(person, now_ms)),
        last,
    ]


def _since(person: Person, now_ms: float) -> str:
    status = person.status
    if status is None:
        return ""
    if status.as_of is not None:
        return f"as of {_ago(status.as_of, now_ms)} ago"
    if status.since is not None:
        return _ago(status.since, now_ms)
    if status.last_seen is not None:
        return f"seen {_ago(status.last_seen, now_ms)} ago"
    return ""


def _ago(then_ms: float, now_ms: float) -> str:
    seconds = max(0, round((now_ms - then_ms) / 1_000))
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60} s"  # noqa: PLR2004


def _line_text(line: Line) -> Text:
    text = Text(f"{line.at_s:6.1f} ", style="bright_black", no_wrap=True, overflow="ellipsis")
    text.append(f"{_MARKS[line.kind]} {line.text}", style=_KIND_STYLES[line.kind])
    return text
