"""What a gateway's driver knows of one connection."""

from __future__ import annotations

import asyncio

from presence_actors.core.ids import ConnectionId
from presence_actors.core.vocabulary import Identity
from presence_actors.edge.conn import Adapter, Conn, Dialog

__all__ = ["Client"]


class Client:
    """One connection and what the driver knows of it."""

    __slots__ = (
        "adapter",
        "address",
        "authorization",
        "bad_frames",
        "conn",
        "deadline",
        "dialog",
        "dirty",
        "excused",
        "id",
        "identity",
        "known",
        "lagging",
        "leaving",
        "pending",
        "unheard",
    )

    def __init__(
        self,
        id: ConnectionId,  # noqa: A002  # what it is
        conn: Conn,
        *,
        address: str,
        adapter: Adapter | None = None,
        authorization: str | None = None,
        dialog: Dialog | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.id = id
        self.conn = conn
        #: What it speaks: a protocol shared with others, or else a dialog of its own.
        self.adapter = adapter
        self.dialog = dialog
        self.address = address
        #: The token of the Authorization header, until `hello` has used it.
        self.authorization = authorization
        #: Who it is, where that was known before its first frame.
        self.identity = identity
        self.bad_frames = 0
        #: The timer for `hello`, until it was said.
        self.deadline: asyncio.TimerHandle | None = None
        #: Whether it has not said who it is, and counts as such.
        self.pending = True
        #: What it has said and was not heard yet, until it is its turn.
        self.unheard: list[str | bytes] | None = None
        #: Whether the machine knows it.
        self.known = False
        #: Whether it is being closed: no frame in or out any more.
        self.leaving = False
        #: Whether the machine was told that it is behind with reading.
        self.lagging = False
        #: While anything waits for it: the least that did since it was last shown all.
        self.excused: int | None = None
        #: Whether something was gathered for it in this turn.
        self.dirty = False

    @property
    def shared(self) -> Adapter:
        """The protocol of a connection without a dialog."""
        if self.adapter is None:
            raise TypeError("a connection with a dialog has no adapter")
        return self.adapter
