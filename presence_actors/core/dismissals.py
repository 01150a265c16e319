"""Dismissals: ends of sessions that others than their holder want.

Only its holder ends an entry, since only it knows whether the device is still there. So whoever
wants a session ended (an app server that kicks, a device that says goodbye at another gateway) asks
its holder, wherever that is, and it may be behind a cut. The request therefore travels as data: a
removed row in the topic of the user, under a key that no session can have, with the reason. Every
gateway that holds a session of the user watches that topic; it ends those that the dismissal means.

::

    app server --DELETE--> g0 --row--> w0 --gossip--> w1 --row--> g1: ends the session, with reason
                          <----- ok, when w0 has it

It means sessions that began until a certain time, so it cannot hit whoever comes back later,
however late it arrives. That time is the wall clock of the gateway that was asked, or the newest
beginning of a session that it saw, if a faster clock gave that one. Sessions that it did not see
are judged by two clocks, so one that began within `drift_ms_max` of the act may be spared, or hit.

As a removed row it is forgotten with other ends, after the horizon.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from crdt import REMOVED, Origin, Row, Stamp
from presence_actors.core.ids import SessionId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import LeaveReason

__all__ = ["Dismissal", "dismissal_row", "dismissals_in", "is_dismissal", "meant_by"]

#: No id of a session has a control character (`wire.identifiers`).
_MARK: Final = "\x1fdismissed"


class Dismissal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The value of such a row; its beginning is that of an `EndValue`."""

    reason: str
    hidden: bool
    #: Sessions that began later are not meant.
    until: WallMs
    #: The public name of one entry of the session; None: all sessions.
    ref: str | None = None
    #: Why, in words for the user.
    text: str = ""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Dismissal)


def dismissal_row(
    topic: Topic,
    user: UserId,
    *,
    reason: LeaveReason,
    until: WallMs,
    ref: str | None = None,
    text: str = "",
) -> Row:
    """The dismissal as an unstamped row."""
    key = _MARK if ref is None else f"{_MARK}/{ref}"
    value = Dismissal(reason, hidden=False, until=until, ref=ref, text=text)
    return Row(
        key=(topic, user, key),
        stamp=Stamp(0),
        origin=Origin(""),
        epoch=0,
        status=REMOVED,
        holder="",
        value=_ENCODER.encode(value),
    )


def is_dismissal(row: Row) -> bool:
    """Whether this is one."""
    return row.key[2].startswith(_MARK)


def dismissals_in(rows: Iterable[Row]) -> list[Dismissal]:
    """Those among the rows of a user's topic."""
    return [_DECODER.decode(row.value) for row in rows if is_dismissal(row)]


def meant_by(
    dismissals: Iterable[Dismissal],
    topics: Iterable[Topic],
    user: UserId,
    session: SessionId,
    *,
    since: WallMs,
) -> Dismissal | None:
    """The first of these that means a session which began then and is in these topics."""
    refs: set[str] | None = None
    for dismissal in dismissals:
        if since > dismissal.until:
            continue
        if refs is None:
            refs = {entry_ref((topic, user, session)) for topic in topics}
        if dismissal.ref is None or dismissal.ref in refs:
            return dismissal
    return None
