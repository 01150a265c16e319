"""Presence as lines and tables for people: what `presence watch`, `join` and `who` print."""

import json
import time
import unicodedata
from collections.abc import Iterable, Mapping

import msgspec
from rich.table import Table

from presence_actors.client import (
    Connected,
    Count,
    Ended,
    Event,
    Interrupted,
    Join,
    Lagging,
    Leave,
    Refused,
    Snapshot,
    Status,
    Update,
    View,
)
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import Entry

__all__ = ["clean", "clock", "entries_table", "line_of", "statuses_table"]


def clean(text: str) -> str:
    """The text without anything that could steer a terminal: others chose these words."""
    return "".join(
        character if unicodedata.category(character)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def clock(wall_ms: int | None) -> str:
    """A time of this day, or with its date if it is of another one; in the local zone."""
    if wall_ms is None:
        return ""
    then = time.localtime(wall_ms / 1000)
    today = time.strftime("%F") == time.strftime("%F", then)
    return time.strftime("%T" if today else "%F %T", then)


def line_of(event: Event) -> str | None:  # noqa: PLR0911  # one line for each kind of event
    """One line about what happened, or None if people need not hear of it."""
    match event:
        case Join(entry=entry):
            return f"+ {_entry_words(entry)}"
        case Update(entry=entry):
            return f"~ {_entry_words(entry)}"
        case Leave(entry=entry, reason=reason):
            return clean(f"- {entry.key} ({entry.device})  {reason or 'reason unknown'}")
        case View(quality=quality, silent=silent, unreachable=unreachable):
            parts = [f"? the view of {event.topic} is {quality}"]
            parts.extend(["silent: " + ", ".join(silent)] if silent else [])
            parts.extend([f"{len(unreachable)} entries unreachable"] if unreachable else [])
            return clean("  ".join(parts))
        case Status():
            return clean(f"  {event.user} is {'  '.join(_status_words(event))}")
        case Interrupted(reason=reason):
            return clean(f"! the connection is lost ({reason}); coming back")
        case Connected(gateway=gateway):
            return clean(f"! connected to {gateway}")
        case Count(topic=topic, users=users, devices=devices):
            return clean(f"  {topic}: {users} users on {devices} devices")
        case Lagging(step=step, behind_ms=behind_ms):
            return clean(f"! too slow to read for {behind_ms} ms: {step}")
        case Refused(topic=topic, message=message):
            return clean(f"! {topic} is no longer granted: {message}")
        case Snapshot() | Ended():
            return None


def statuses_table(statuses: Mapping[str, Status]) -> Table:
    """Users and what they show."""
    table = _table("user", "status", "devices", "since", "")
    for user, status in statuses.items():
        words = _status_words(status)
        table.add_row(
            clean(user),
            words[0],
            clean(", ".join(status.devices)),
            clock(status.since),
            clean("  ".join(words[1:])),
        )
    return table


def entries_table(entries: Iterable[Entry], unreachable: Iterable[str] = ()) -> Table:
    """The devices in a room."""
    doubtful = set(unreachable)
    table = _table("user", "status", "device", "since", "meta")
    for entry in sorted(entries, key=lambda entry: (entry.key, entry.since, entry.ref)):
        table.add_row(
            clean(entry.key),
            "unreachable" if entry.ref in doubtful else entry.status,
            clean(entry.device),
            clock(entry.since),
            clean(_meta_words(entry.meta)),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _entry_words(entry: Entry) -> str:
    return clean(
        f"{entry.key} ({entry.device}) is {entry.status}  {_meta_words(entry.meta)}".rstrip()
    )


def _meta_words(meta: Meta) -> str:
    return json.dumps(msgspec.to_builtins(meta), ensure_ascii=False) if meta else ""


def _status_words(status: Status) -> list[str]:
    words = [status.status.value]
    words.extend([f'{status.emoji} "{status.text}"'.strip()] if status.text else [])
    words.extend([status.emoji] if status.emoji and not status.text else [])
    words.extend([f"as of {clock(status.as_of)}"] if status.as_of is not None else [])
    if status.last_seen is not None and not status.devices:
        words.append(f"last seen {clock(status.last_seen)}")
    return words
