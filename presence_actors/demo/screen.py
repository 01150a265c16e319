"""How the demo looks: a live table on a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from presence_actors.core.vocabulary import UserStatus
from presence_actors.demo.scene import Line, Person, Scene
from presence_actors.demo.zones import ZonePicture

__all__ = ["PlainScreen", "Screen", "TableScreen", "people_table"]

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
#: Least widths of columns.
_PERSON_WIDTH: Final = 9
_ZONE_WIDTH: Final = 4
_STATUS_WIDTH: Final = 11
_COLUMNS: Final = {"devices": 14, "rooms": 12, "since": 14, "last event": 12}
#: Lines of the terminal that are not people: header, head of the table, log.
_LOG_LINES: Final = 8
_OTHER_LINES: Final = _LOG_LINES + 7
_ROWS_MIN: Final = 4
#: How often plain output says how the cluster is.
_PICTURE_S: Final = 5.0


class Screen(Protocol):
    """Where the show is seen."""

    def start(self) -> None:
        """Begin."""
        ...

    def line(self, line: Line) -> None:
        """A line was added to the log."""
        ...

    def draw(
        self, scenes: Sequence[Scene], pictures: Mapping[str, ZonePicture], at_s: float
    ) -> None:
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

    def draw(
        self, scenes: Sequence[Scene], pictures: Mapping[str, ZonePicture], at_s: float
    ) -> None:
        """Say now and then how the zones are."""
        if pictures and at_s >= self._next_s:
            self._next_s = at_s + _PICTURE_S
            for zone, picture in pictures.items():
                self._print(Line(at_s, f"zone {zone}: {picture}", "note"))
            rate = scenes[0].events_per_second(at_s)
            self._print(Line(at_s, f"{rate:.1f} events/s", "note"))

    def stop(self) -> None:
        """Nothing to put back."""

    def _print(self, line: Line) -> None:
        self._console.print(_line_text(line), soft_wrap=True)


class TableScreen:
    """A table of people that follows what happens.

    Args:
        console: The terminal.
        title: What stands above everything, such as where the page is.
        homes: The zone of each person.
        for_s: How long the show is, if it ends by itself.
    """

    def __init__(
        self, console: Console, *, title: str, homes: Mapping[str, str], for_s: float | None
    ) -> None:
        self._console = console
        self._title = title
        self._homes = homes
        self._for_s = for_s
        self._live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False)

    def start(self) -> None:
        """Take the whole terminal."""
        self._live.start()

    def line(self, line: Line) -> None:
        """Nothing yet: the next drawing shows the log."""

    def draw(
        self, scenes: Sequence[Scene], pictures: Mapping[str, ZonePicture], at_s: float
    ) -> None:
        """Draw everything anew."""
        rows = max(_ROWS_MIN, self._console.size.height - _OTHER_LINES - len(scenes))
        parts: list[RenderableType] = [
            self._header(scenes, pictures, at_s),
            people_table(scenes, self._homes, rows=rows),
            Text(""),
        ]
        parts.extend(_line_text(line) for line in list(scenes[0].lines)[-_LOG_LINES:])
        self._live.update(Group(*parts), refresh=True)

    def stop(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _header(
        self, scenes: Sequence[Scene], pictures: Mapping[str, ZonePicture], at_s: float
    ) -> Text:
        end = "Ctrl-C ends it" if self._for_s is None else f"of {self._for_s:.0f} s"
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("presence", style="bold")
        rate = scenes[0].events_per_second(at_s)
        text.append(f"  {at_s:.0f} s, {end}, {rate:.1f} events/s  ")
        text.append(f"{self._title}\n", style="bold cyan")
        for scene in scenes:
            text.append(f"zone {scene.zone}  ", style="bold")
            text.append(f"{pictures.get(scene.zone, '...')}\n")
        return text


def people_table(
    scenes: Sequence[Scene], homes: Mapping[str, str], *, rows: int | None = None
) -> Table:
    """Who is here, as each zone sees it; of more people than rows, those with the latest news.

    Args:
        scenes: What was seen in each zone; the first one counts for the rest of a row.
        homes: The zone of each person.
        rows: How many there may be.
    """
    scene = scenes[0]
    names = list(scene.people)
    hidden = 0
    if rows is not None and len(names) > rows:
        hidden = len(names) - (rows - 1)
        latest = sorted(names, key=lambda name: -scene.people[name].changed_s)[: rows - 1]
        names = [name for name in names if name in set(latest)]
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    # What is cut on a narrow terminal is the end of texts, never a name or a word of status.
    table.add_column("person", no_wrap=True, min_width=_PERSON_WIDTH)
    several = len(scenes) > 1
    if several:
        table.add_column("zone", no_wrap=True, min_width=_ZONE_WIDTH)
    for one in scenes:
        head = f"seen in {one.zone}" if several else "status"
        table.add_column(head, no_wrap=True, min_width=_STATUS_WIDTH)
    for column, width in _COLUMNS.items():
        table.add_column(column, no_wrap=True, min_width=width)
    now_ms = time.time() * 1_000
    for name in names:
        person = scene.people[name]
        table.add_row(
            Text(name, style="" if person.status and person.status.devices else "bright_black"),
            *([Text(homes.get(name, ""))] if several else []),
            *(_status_text(one.people[name], with_text=one is scene) for one in scenes),
            *_rest_of_row(person, now_ms),
        )
    if hidden:
        table.add_row(Text(f"and {hidden} more", style="bright_black"))
    return table


def _status_text(person: Person, *, with_text: bool) -> Text:
    status = person.status
    if status is None:
        return Text("")
    shown = Text(status.status.value, style=_STATUS_STYLES[status.status])
    if status.text and with_text and status.status is not UserStatus.OFFLINE:
        shown.append(f' "{status.text}"', style="italic")
    return shown


def _rest_of_row(person: Person, now_ms: float) -> list[Text]:
    devices = [] if person.status is None else person.status.devices
    return [
        Text(", ".join(devices)),
        Text(", ".join(person.rooms)),
        Text(_since(person, now_ms)),
        Text(person.last, style=_KIND_STYLES.get(person.last_kind, "")),
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
