"""What a watcher was told, event by event: whether each could be so after those before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from presence_actors.core.effects import (
    JoinHappened,
    LeaveHappened,
    Presence,
    StatusHappened,
    UpdateHappened,
)
from presence_actors.core.vocabulary import Entry, StatusFrame
from presence_actors.sim.world import Client
from tests.simulation.short_knobs import KNOBS

__all__ = ["LATE_MS", "Parted", "Watcher", "number_of"]

#: Who became invisible while a watcher was away is gone for it within this: idle replicas have
#: promised then.
LATE_MS: Final = 2 * KNOBS.drift_ms_max + KNOBS.unreachable_after_ms + 1_500


@dataclass(slots=True)
class Parted:
    """What explains a leave: when an entry ended last, and when somebody last hid or came out."""

    gone_at: dict[str, int] = field(default_factory=dict)
    hid_at: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Watcher:
    """A watcher, and what it was told so far."""

    client: Client
    #: How many of its events were judged.
    judged: int = 0
    shown: set[str] = field(default_factory=set)
    #: The newest number of each entry that was ever told.
    newest: dict[str, int] = field(default_factory=dict)
    joined_at: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, object] = field(default_factory=dict)
    #: Cursors of earlier times, by room.
    cursors: dict[str, list[str]] = field(default_factory=dict)

    def doubled(self, event: Presence, at: int, parted: Parted) -> str:
        """What is wrong with an event that came then; empty if nothing is."""
        match event:
            case JoinHappened(entry=entry):
                if entry.ref in self.shown:
                    return "joins once more"
                self.joined_at[entry.ref] = at
                hid = at - parted.hid_at.get(entry.key, -LATE_MS) < LATE_MS
                return self._older(entry, least=0 if hid else 1)
            case UpdateHappened(entry=entry):
                if entry.ref not in self.shown:
                    return "changes, and never joined"
                return self._older(entry, least=1)
            case LeaveHappened(entry=entry):
                if entry.ref not in self.shown:
                    return "leaves, and was not there"
                self.shown.discard(entry.ref)
                gone = max(parted.gone_at.get(entry.ref, -1), parted.hid_at.get(entry.key, -1))
                if gone < self.joined_at[entry.ref] - LATE_MS:
                    return "leaves, and did not go"
            case StatusHappened(status=frame):
                return self._shown_again(frame)
            case _:
                pass
        return ""

    def _shown_again(self, frame: StatusFrame) -> str:
        before = self.texts.get(frame.user, 0)
        number = int(frame.text or before)
        self.texts[frame.user] = max(before, number)
        shown = (frame.status, frame.devices, frame.text)
        if shown == self.statuses.get(frame.user):
            return "shows what it showed before"
        self.statuses[frame.user] = shown
        return "chooses what it chose before" if number < before else ""

    def _older(self, entry: Entry, *, least: int) -> str:
        before, number = self.newest.get(entry.ref, 0), number_of(entry.meta)
        self.shown.add(entry.ref)
        self.newest[entry.ref] = max(number, before)
        return f"was {before} already" if number < before + least else ""


def number_of(meta: dict[str, object]) -> int:
    """The number that an entry shows."""
    number = meta["n"]
    assert isinstance(number, int)
    return number
