"""What goes between processes once the core is on its own: what its repair costs, and what goes on.

Of a row only its own columns are counted: the envelope of a message is the same for any number of
rows. A row is *needed* by whoever did not hold that write at the heal, or no longer counts its
origin, since that was not heard for the horizon: then all rows of the origin come once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from crdt import Origin, PackedRows, VersionVector
from presence_actors.core.ids import NodeId, NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attach,
    Attached,
    Detached,
    GossipAck,
    GossipDelta,
    GossipPromise,
    PeerMessage,
)
from presence_actors.core.replica import ReplicaMachine

__all__ = ["Meter", "Sent", "row_sizes"]

#: Hash, stamp, epoch and status, and where origin and holder stand.
_FIXED_BYTES: Final = 16 + 8 + 8 + 1 + 2 * 2

#: (life of a worker, shard, map).
_Place = tuple[NodeId, int, int]
_Dot = tuple[str, int]


def row_sizes(rows: PackedRows) -> list[int]:
    """The bytes of each row's own columns."""
    sizes = [_FIXED_BYTES] * len(rows)
    for column in (rows.ids, rows.values):
        if column is not None:
            for place, item in enumerate(column.tolist()):
                parts = (item,) if isinstance(item, bytes | None) else item
                sizes[place] += sum(len(part or b"") for part in parts)
    return sizes


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that says that something is not settled."""

    at: Instant
    sender: NodeName
    what: str


@dataclass(slots=True)
class Meter:
    """Listens to everything between these processes."""

    members: frozenset[NodeName]
    #: {place: the writes that were held there}, and the origins that its vector had.
    held: dict[_Place, frozenset[_Dot]] = field(default_factory=dict)
    origins: dict[_Place, frozenset[str]] = field(default_factory=dict)
    #: {place: the origins of these that it has said not to count}.
    lapsed: dict[_Place, set[str]] = field(default_factory=dict)
    #: {(shard, map): bytes of rows that went, and of those that had to}.
    sent_bytes: dict[tuple[int, int], int] = field(default_factory=dict)
    needed_bytes: dict[tuple[int, int], int] = field(default_factory=dict)
    unsettled: list[Sent] = field(default_factory=list)
    _counted: set[tuple[_Place, _Dot]] = field(default_factory=set)

    def note_held(self, replicas: Iterable[tuple[NodeName, ReplicaMachine]]) -> None:
        """What is held now is what a repair need not bring."""
        for _, replica in replicas:
            for which, source in enumerate(replica.maps()):
                place = (replica.node, int(replica.shard), which)
                self.held[place] = frozenset((row.origin, row.stamp) for row in source.all_rows())
                self.origins[place] = frozenset(origin for origin, _ in source.vector.items())

    def note(
        self, now: Instant, sender: NodeName, to: NodeName, messages: list[PeerMessage]
    ) -> None:
        """Messages that one process sends to another."""
        if sender not in self.members or to not in self.members:
            return
        for message in messages:
            match message:
                case GossipDelta():
                    self._note_seen(message, message.map, message.seen)
                    self._note_rows(message)
                case GossipPromise():
                    for which in (PRESENCE, DURABLE):
                        self._note_seen(message, which, message.seen[which])
                case GossipAck():
                    self._note_seen(message, message.map, message.seen)
                    if not message.accepted:
                        what = f"refuses deltas of map {message.map} of shard {message.shard}"
                        self.unsettled.append(Sent(now, sender, what))
                case Attach() | Attached() | Detached():
                    self.unsettled.append(Sent(now, sender, f"sends {type(message).__name__}"))
                case _:
                    pass

    def _note_seen(
        self, message: GossipDelta | GossipPromise | GossipAck, which: int, seen: VersionVector
    ) -> None:
        place = (message.sender, int(message.shard), which)
        known = self.origins.get(place)
        if known is not None:
            self.lapsed.setdefault(place, set()).update(known - seen.origins())

    def _note_rows(self, message: GossipDelta) -> None:
        rows = message.delta.rows
        if message.receiver is None or not len(rows):
            return
        group = (int(message.shard), message.map)
        place = (message.receiver, *group)
        held, lapsed = self.held.get(place, frozenset()), self.lapsed.get(place, set())
        for size, stamp, number in zip(
            row_sizes(rows), rows.stamps.tolist(), rows.origin_of.tolist(), strict=True
        ):
            origin = Origin(rows.origins[number])
            dot = (origin, stamp)
            self.sent_bytes[group] = self.sent_bytes.get(group, 0) + size
            needed = dot not in held or origin in lapsed
            if needed and (place, dot) not in self._counted:
                self._counted.add((place, dot))
                self.needed_bytes[group] = self.needed_bytes.get(group, 0) + size
