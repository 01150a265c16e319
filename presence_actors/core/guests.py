"""Guests: clients that remember no session of ours, such as stock Phoenix clients.

Such a client says the same of itself whenever it comes, so its session id is *derived*: from its
*family* (a digest of what it says) and a slot. Several tabs of one user may be of one family; each
takes a slot of its own. Since the id is the same at every gateway, a client that comes back
anywhere carries its entries on, and nobody hears of the interruption.

Three rules keep this sound without asking any other gateway:

* Whoever comes takes a slot that is not taken *here*, with a resume number from the wall clock:
  one that was in the room with an equal meta, as far as the room is known here, else the lowest. If
  the slot's last holder is dead or silent, that is all there is to it.
* If it is not (two tabs at two gateways), the other gateway is told that its row was beaten, and
  *moves* its own client into a slot that nobody holds: no connection is closed, and what watchers
  see is one device more, which is the truth.
* Two that took a slot in the same quarter of a second have equal resume numbers. Then the one whose
  row was beaten moves; refuting, as holders of their own sessions do, would never end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import Final

from crdt import Row, epoch_resume
from presence_actors.core.ids import SessionId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import RESUME_MAX
from presence_actors.core.messages import PRESENCE
from presence_actors.core.sessions import Session
from presence_actors.core.topic_view import TopicView
from presence_actors.core.values import Device, Meta, decode_entry

__all__ = [
    "adoptable",
    "guest_resume",
    "guest_session",
    "likely_slot",
    "row_in",
    "since_in",
    "slots",
]

#: Slots of a family in which a room is searched for somebody who comes back. Whoever was in a
#: higher one may get another one of that user.
SLOTS_LOOKED_AT: Final = 16

_GUEST: Final = "guest"
IsFree = Callable[[SessionId], bool]

#: Start of the count, 1 January 2023, and its unit: 31 bits last until 2040.
_RESUME_START_MS: Final = 1_672_531_200_000
_RESUME_UNIT_MS: Final = 250


def guest_session(family: str, slot: int) -> SessionId:
    """The session id of a slot of a family.

    >>> guest_session("6d0f", 2)
    'guest-6d0f-2'
    """
    return SessionId(f"{_GUEST}-{family}-{slot}")


def slots(family: str) -> Iterable[SessionId]:
    """The session ids of a family, lowest slot first, without end."""
    return (guest_session(family, slot) for slot in count())


def guest_resume(wall: WallMs, *, known: int | None) -> int:
    """The resume number of an attempt now: greater than the one that is known.

    >>> guest_resume(WallMs(1_672_531_201_000), known=None)
    4
    >>> guest_resume(WallMs(1_672_531_201_000), known=4)
    5
    """
    counted = max(0, (wall - _RESUME_START_MS) // _RESUME_UNIT_MS)
    return min(max(counted, 0 if known is None else known + 1), RESUME_MAX)


def adoptable(
    sessions: Iterable[Session], *, family: str, device: Device, topic: Topic, meta: Meta
) -> Session | None:
    """Whose session somebody who comes back carries on, if there is one in its grace here.

    One of the same family, best of all one that was in the room with an equal meta; else any guest
    on the same kind of device that was in the room with an equal meta: to watchers they are one.
    """
    best: Session | None = None
    best_rank = 0
    for session in sessions:
        if session.family is None or session.connection is not None or session.replaced:
            continue
        held = session.entries.get(topic)
        alike = held is not None and held.meta == meta and session.device == device
        rank = 2 * (session.family == family) + alike
        if rank > best_rank:
            best, best_rank = session, rank
    return best


def likely_slot(
    view: TopicView | None, *, user: UserId, family: str, meta: Meta, is_free: IsFree
) -> SessionId | None:
    """The slot of a family that was in a room, best of all with an equal meta; None without one."""
    found: SessionId | None = None
    for name in islice(slots(family), SLOTS_LOOKED_AT):
        row = row_in(view, user, name)
        if row is None or not row.live or not is_free(name):
            continue
        if decode_entry(row.value).meta == meta:
            return name
        found = found or name
    return found


def row_in(view: TopicView | None, user: UserId, name: SessionId) -> Row | None:
    """The row of a user's session in a topic, as far as it is known here."""
    return None if view is None else view.rows[PRESENCE].get((view.topic, user, name))


def since_in(view: TopicView | None, session: Session) -> WallMs | None:
    """Since when the session has been in a topic, if it is known to be there already."""
    row = row_in(view, session.user, session.session)
    if row is None or not row.live or epoch_resume(row.epoch) > session.resume:
        return None
    return decode_entry(row.value).since
