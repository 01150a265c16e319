"""Small things that transcripts of the core are made of."""

from __future__ import annotations

from typing import Final

from crdt import (
    Delta,
    Key,
    KeyHasher,
    LWWMap,
    Origin,
    PackedDelta,
    Row,
    Rows,
    Stamp,
    VersionVector,
)
from crdt.hlc import pack_stamp
from presence_actors.core.epochs import entry_epoch
from presence_actors.core.ids import NodeId, NodeName, SessionId, ShardId, Topic, UserId
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.values import (
    INTENT_KEY,
    LAST_SEEN_KEY,
    EndValue,
    EntryStatus,
    EntryValue,
    IntentValue,
    LastSeenValue,
    encode_value,
    pack_status,
)

__all__ = [
    "G0",
    "G1",
    "HASHER",
    "LOBBY",
    "NOTHING",
    "SHARD",
    "W0",
    "W1",
    "W2",
    "WALL",
    "at",
    "delta_of",
    "end",
    "entry",
    "intent",
    "keys_of",
    "last_seen",
    "life",
    "map_of",
    "name",
    "packed_of",
    "session",
    "stamp",
    "unstamped",
    "user",
]

#: The wall time at instant 0.
WALL: Final = 1_000_000
SHARD: Final = ShardId(0)
LOBBY: Final = Topic("default/room:lobby")
NOTHING: Final = VersionVector()
#: That of the cluster.
HASHER: Final = KeyHasher(b"of the cluster")


def life(name: str, number: int = 1) -> NodeId:
    """The numbered life of a process."""
    return NodeId(f"{name}/{number:028x}")


W0: Final = life("a/w0")
W1: Final = life("a/w1")
W2: Final = life("a/w2")
G0: Final = life("a/g0")
G1: Final = life("a/g1")


def name(node: NodeId) -> NodeName:
    """The place of a node."""
    return NodeName(node.rpartition("/")[0])


def at(instant: int, *, wall: int | None = None) -> Now:
    """A moment, `instant` milliseconds after the start."""
    return Now(Instant(instant), WallMs(WALL + instant if wall is None else wall))


def stamp(instant: int, counter: int = 0) -> Stamp:
    """The stamp of a moment."""
    return pack_stamp(WALL + instant, counter)


def entry(  # noqa: PLR0913 - a row has that many parts, and each test names those it is about
    user: str = "alice",
    *,
    topic: str = LOBBY,
    session: str = "s1",
    written: int = 1,
    origin: NodeId = W0,
    holder: NodeId = G0,
    resume: int = 0,
    attachment: int = 1,
    status: EntryStatus = EntryStatus.ONLINE,
    hidden: bool = False,
    device: str = "desktop",
    since: int = 0,
    meta: dict[str, object] | None = None,
) -> Row:
    """A live row as a replica holds it."""
    return Row(
        key=(topic, user, session),
        stamp=stamp(written),
        origin=Origin(origin),
        epoch=entry_epoch(resume=resume, attachment=attachment),
        status=pack_status(status, hidden=hidden),
        holder=holder,
        value=encode_value(EntryValue(WallMs(WALL + since), device, meta or {})),
    )


def end(of: Row, *, written: int, reason: str = "left", origin: NodeId | None = None) -> Row:
    """The tombstone of a row, under the same epoch."""
    return of._replace(
        stamp=stamp(written),
        origin=of.origin if origin is None else Origin(origin),
        status=0,
        value=encode_value(EndValue(reason)),
    )


def unstamped(row: Row) -> Row:
    """The row as a gateway writes it."""
    return row._replace(stamp=Stamp(0), origin=Origin(""))


def intent(
    user: str = "alice",
    *,
    status: str = "",
    text: str = "",
    until: int | None = None,
    written: int = 1,
    origin: NodeId = W0,
    epoch: int = 0,
) -> Row:
    """What a user chose."""
    value = IntentValue(status, text, "", None if until is None else WallMs(WALL + until))
    key = (f"default/user:{user}", user, INTENT_KEY)
    return Row(key, stamp(written), Origin(origin), epoch, 1, "", encode_value(value))


def last_seen(user: str = "alice", *, when: int, written: int = 1, origin: NodeId = W0) -> Row:
    """When the last device of a user went."""
    key = (f"default/user:{user}", user, LAST_SEEN_KEY)
    value = encode_value(LastSeenValue(WallMs(WALL + when)))
    return Row(key, stamp(written), Origin(origin), 0, 1, "", value)


def delta_of(
    *rows: Row,
    base: VersionVector = NOTHING,
    new: VersionVector | None = None,
    clock: Stamp | None = None,
) -> Delta:
    """A delta that leads from `base` to what the rows are stamped with."""
    reached = base
    for row in rows:
        reached = reached.with_component(row.origin, row.stamp)
    greatest = max((row.stamp for row in rows), default=Stamp(0))
    return Delta(
        base, reached if new is None else new, Rows.of(rows), greatest if clock is None else clock
    )


def packed_of(
    *rows: Row,
    base: VersionVector = NOTHING,
    new: VersionVector | None = None,
    clock: Stamp | None = None,
) -> PackedDelta:
    """The same as it goes from replica to replica, with the full keys."""
    return map_of().pack(delta_of(*rows, base=base, new=new, clock=clock))


def keys_of(delta: PackedDelta) -> list[Key | None]:
    """The full keys of its rows, None where they are left out."""
    ids = delta.rows.ids
    return [None] * len(delta.rows) if ids is None else ids.tolist()


def map_of(*rows: Row, drift_ms_max: int = 1_000_000) -> LWWMap:
    """A map that has seen these rows."""
    found = LWWMap(drift_ms_max=drift_ms_max, hasher=HASHER)
    if rows:
        found.apply(delta_of(*rows), wall_ms=WALL)
    return found


def user(text: str) -> UserId:
    """A user's id."""
    return UserId(text)


def session(text: str) -> SessionId:
    """A session's id."""
    return SessionId(text)
