"""A Phoenix dialog at work in a test: frames as values, and a machine that grants everything."""

from __future__ import annotations

import json
from typing import Any, Final

from presence_actors.core.ids import Namespace, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import (
    Broadcast,
    ClientMessage,
    Diff,
    Entry,
    Leave,
    Listen,
    Ok,
    ServerMessage,
    Set,
    Snap,
    Sub,
    Talk,
    Unset,
)
from presence_actors.edge.conn import Dialog
from presence_actors.wire.phoenix import PhoenixDialog
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.turns import Turn

__all__ = ["LOBBY", "NAMESPACE", "Line", "diff", "entry", "frames_of", "line", "snap"]

NAMESPACE: Final = Namespace("default")
LOBBY: Final = "room:lobby"


def entry(user: str, ref: str = "", *, status: str = "online", **meta: object) -> Entry:
    """Somebody's device in a room."""
    return Entry(
        ref=ref or f"{user}-1",
        key=UserId(user),
        status=status,
        device="web",
        since=WallMs(1_764_000_000_000),
        meta=dict(meta),
    )


def snap(*state: Entry) -> Snap:
    """Who is in the lobby."""
    return Snap(topic=LOBBY, state=list(state))


def diff(
    joins: tuple[Entry, ...] = (),
    updates: tuple[Entry, ...] = (),
    leaves: tuple[Entry, ...] = (),
) -> Diff:
    """What changed in the lobby."""
    return Diff(
        topic=LOBBY,
        joins=list(joins),
        updates=list(updates),
        leaves=[Leave(ref=gone.ref, key=gone.key, reason="left") for gone in leaves],
    )


def frames_of(turn: Turn) -> list[Any]:
    """The frames of a turn, decoded."""
    return [json.loads(frame) for frame in turn.frames]


class Line:
    """One connection, and what its gateway would be told."""

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog

    def say(self, *frame: object) -> Turn:
        """One frame in: as the fields of version 2, or as the one object of version 1."""
        parts = list(frame)
        return self.dialog.receive(json.dumps(parts[0] if isinstance(parts[0], dict) else parts))

    def answers(self, *frame: object) -> list[Any]:
        """The frames that come back, after a machine has granted what was asked."""
        turn = self.say(*frame)
        frames = frames_of(turn)
        for message in turn.messages:
            frames += self.grant(message)
        return frames

    def grant(self, message: ClientMessage | Talk) -> list[Any]:
        """The frames that come of a machine's ok."""
        if isinstance(message, Set | Sub | Unset | Listen | Broadcast) and message.id is not None:
            return self.hear(Ok(id=message.id))
        return []

    def hear(self, message: ServerMessage) -> list[Any]:
        """The frames that come of a machine's message."""
        return frames_of(self.dialog.hear(message))

    def joined(self, topic: str = LOBBY, ref: str = "3", **params: object) -> Line:
        """The same, in a room."""
        assert [frame[3] for frame in self.answers(ref, ref, topic, "phx_join", params)] == [
            "phx_reply"
        ]
        return self


def line(version: Version = Version.V2, *, rooms: Rooms | None = None, **params: str) -> Line:
    """A new connection."""
    return Line(
        PhoenixDialog(
            version=version,
            namespace=NAMESPACE,
            params=params,
            rooms=Rooms() if rooms is None else rooms,
        )
    )
