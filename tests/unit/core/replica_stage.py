"""One replica under test, with a peer and gateways that a transcript speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crdt import Row, Rows, VersionVector
from presence_actors.config import Knobs
from presence_actors.core.effects import Notify, Report, Send
from presence_actors.core.events import (
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    ReplicaEvent,
    Worker,
)
from presence_actors.core.ids import NodeId, NodeName, Topic, name_of
from presence_actors.core.messages import (
    PRESENCE,
    Attach,
    Beat,
    Changed,
    Detached,
    GossipDelta,
    HolderReport,
    Operations,
    PeerMessage,
    Segment,
)
from presence_actors.core.replica import ReplicaMachine
from tests.unit.core.building import G0, HASHER, NOTHING, SHARD, W0, W1, at, packed_of, unstamped

__all__ = ["KNOBS", "Said", "Stage", "attach", "bodies", "detached", "gossip", "operations"]

KNOBS: Final = Knobs()
#: What a replica says: to whom, and what.
Said = list[tuple[NodeName, PeerMessage]]


class Stage:
    """A replica of W0, a clock that goes where a test wants it, and the numbers of segments."""

    def __init__(
        self,
        *,
        node: NodeId = W0,
        first: bool = True,
        peers: Sequence[NodeId] = (),
        speaks: bool = False,
    ) -> None:
        self.at = 0
        #: What the operator was told.
        self.reports: list[Report] = []
        self.node = node
        self.machine = ReplicaMachine(
            node,
            SHARD,
            replicas=1 + len(peers),
            knobs=KNOBS,
            hasher=HASHER,
            first=first,
            now=at(0),
            speaks=speaks,
        )
        self._sequences: dict[NodeId, int] = {}
        #: What app servers were told.
        self.told: list[Notify] = []
        names = [name_of(node), *map(name_of, peers)]
        self.happens(ClusterChanged([Worker(name, f"host of {name}") for name in names]))

    def happens(self, event: ReplicaEvent, *, wall: int | None = None) -> Said:
        """One event, now."""
        effects = self.machine.handle(event, at(self.at, wall=wall))
        self.machine.check()
        self.reports += [effect for effect in effects if isinstance(effect, Report)]
        self.told += [effect for effect in effects if isinstance(effect, Notify)]
        sends = [effect for effect in effects if isinstance(effect, Send)]
        return [(send.to, message) for send in sends for message in send.messages]

    def hears(self, sender: NodeId, *messages: PeerMessage, wall: int | None = None) -> Said:
        """One frame."""
        return self.happens(MessagesReceived(sender, list(messages)), wall=wall)

    def passes(self, instant: int, *, beating: Sequence[NodeId] = ()) -> Said:
        """Time passes, and the replica is woken whenever it wants to be.

        Gateways that beat are attached for the first time; they beat before each wake-up.
        """
        said: Said = []
        while self.machine.deadline() <= instant:
            self.at = max(self.at, self.machine.deadline())
            for gateway in beating:
                said += self.hears(gateway, Beat(gateway, self.node, {SHARD: 1}))
            said += self.happens(DeadlineReached())
        self.at = instant
        return said

    def flushes(self) -> list[Changed]:
        """What gateways are told until everything has been flushed."""
        return bodies(self.passes(self.at + KNOBS.flush_ms))

    def operates(
        self,
        *rows: Row,
        durable: Sequence[Row] = (),
        watch: Sequence[Topic] = (),
        unwatch: Sequence[Topic] = (),
        gateway: NodeId = G0,
    ) -> Said:
        """The next segment of a gateway's first attachment; it has all that was sent to it."""
        self._sequences[gateway] = sequence = self._sequences.get(gateway, 0) + 1
        body = operations(*rows, durable=durable, watch=watch, unwatch=unwatch)
        return self.hears(gateway, Segment(SHARD, gateway, self.node, 1, sequence, 99, body))

    def entry(self, row: Row) -> Row | None:
        """What the presence map holds of the key of a row."""
        return self.machine.maps()[0].get(row.key)

    def record(self, row: Row) -> Row | None:
        """What the durable map holds of the key of a row."""
        return self.machine.maps()[1].get(row.key)

    def ended(self, row: Row) -> bool:
        """Whether the entry is known and over."""
        held = self.entry(row)
        assert held is not None
        return not held.live


def operations(
    *rows: Row,
    durable: Sequence[Row] = (),
    watch: Sequence[Topic] = (),
    unwatch: Sequence[Topic] = (),
) -> Operations:
    """What a gateway asks for; it stamps nothing."""
    return Operations(
        Rows.of(map(unstamped, rows)), Rows.of(map(unstamped, durable)), list(watch), list(unwatch)
    )


def attach(
    *rows: Row, gateway: NodeId = G0, number: int = 1, topics: Sequence[Topic] = ()
) -> Attach:
    """A gateway announces everything that it holds."""
    return Attach(
        SHARD, gateway, number, Rows.of(map(unstamped, rows)), list(topics), (NOTHING, NOTHING)
    )


def detached(gateway: NodeId = G0, *, number: int = 1) -> tuple[NodeName, PeerMessage]:
    """The replica of W0 does not have this attachment."""
    return name_of(gateway), Detached(SHARD, W0, gateway, number)


def gossip(
    *rows: Row,
    which: int = PRESENCE,
    sender: NodeId = W1,
    receiver: NodeId | None = W0,
    base: VersionVector = NOTHING,
    transfer: int = 1,
    seen: VersionVector = NOTHING,
    ready: bool = True,
    holders: Sequence[HolderReport] = (),
) -> GossipDelta:
    """What a peer sends."""
    return GossipDelta(
        shard=SHARD,
        sender=sender,
        receiver=receiver,
        map=which,
        delta=packed_of(*rows, base=base),
        transfer=transfer,
        seen=seen,
        ready=ready,
        holders=list(holders),
    )


def bodies(said: Said) -> list[Changed]:
    """What gateways are told."""
    return [
        message.body
        for _, message in said
        if isinstance(message, Segment) and isinstance(message.body, Changed)
    ]
