"""Messages between machines: nouns, batches, nothing that knows how it is carried.

Four conversations:

* replica and replica: `GossipDelta` carries an interval of writes of one map of one shard, or the
  promise that there are none, and `GossipPromise` that promise for both maps; `GossipAck` says what
  has been seen and asks for repair.
* gateway and replica: an *attachment* per shard. `Attach` opens it with everything the gateway
  holds; after that both sides send numbered `Segment`s that are repeated until acknowledged, the
  gateway's with `Operations`, the replica's with `Changed`. `Detached` ends it.
* gateway and worker: `Beat` and `BeatAck`, one per pair whatever the number of shards and sessions.

* gateway and replica, replica and replica: `Broadcasts`, what clients say to each other. It is no
  state: said once, repeated never, and heard by whom it reaches.
* worker and worker of another zone: `ZoneReport`, who is where.

Messages of one turn to one node travel in one frame (`wire.peer`).
"""

from __future__ import annotations

import msgspec

from crdt import PackedDelta, PackedRows, Rows, Stamp, VersionVector
from presence_actors.core.ids import NodeId, NodeName, ShardId, Topic, ZoneId
from presence_actors.core.instants import WallMs

__all__ = [
    "DURABLE",
    "PRESENCE",
    "Attach",
    "Attached",
    "Beat",
    "BeatAck",
    "Broadcasts",
    "Changed",
    "Detached",
    "GossipAck",
    "GossipDelta",
    "GossipPromise",
    "HolderReport",
    "Operations",
    "PeerMessage",
    "Reach",
    "Said",
    "Segment",
    "Worker",
    "ZoneReport",
]

#: The two maps of a shard, by their number on the wire.
PRESENCE = 0
DURABLE = 1


class Worker(msgspec.Struct, frozen=True, array_like=True):
    """A worker of a zone: a process that owns replicas of several shards."""

    name: NodeName
    #: The Ray node that it runs on: replicas of a shard go to different ones.
    host: str
    #: Where its peer links listen, for workers of other zones.
    address: tuple[str, int] | None = None


class ZoneReport(msgspec.Struct, frozen=True, tag=True):
    """The workers of a zone, as its supervisor knew them; of two the greater version is newer."""

    zone: ZoneId
    version: int
    workers: list[Worker]


class HolderReport(msgspec.Struct, frozen=True, array_like=True):
    """What a replica knows of a gateway that is attached to it."""

    gateway: NodeId
    #: None while it beats; else the wall time at which it was last heard.
    silent_since: WallMs | None


class GossipDelta(msgspec.Struct, frozen=True, tag=True):
    """An interval of one map of one shard; the parts of one transfer are answered one by one.

    `receiver` is the life it was made for: a part that arrives at a later life, which does not
    have the parts before it, must not count. A greeting (first contact) has none, and no rows.
    """

    shard: ShardId
    sender: NodeId
    receiver: NodeId | None
    map: int
    delta: PackedDelta
    #: Grows with every delta that wants an answer; 0 for a promise, which wants none.
    transfer: int
    #: What the sender itself has seen, and heard of within the horizon: an acknowledgement that
    #: costs nothing.
    seen: VersionVector
    #: False while the sender has not synchronised since its start: it may not vouch for absence.
    ready: bool
    holders: list[HolderReport]
    #: From where to where in the sender's change log the rows are: parts that follow one another
    #: without a gap, from 0, bring all rows of an origin.
    stretch: tuple[int, int] = (0, 0)


class GossipPromise(msgspec.Struct, frozen=True, tag=True):
    """Two deltas without rows that want no answer, one of each map: all that an idle replica says.

    A greeting if it has no receiver. Else each leads to what the sender has seen, and says so once.
    """

    shard: ShardId
    sender: NodeId
    receiver: NodeId | None
    clock: Stamp
    #: Of each map, as in `GossipDelta`; a greeting has no bases.
    bases: tuple[VersionVector, VersionVector]
    seen: tuple[VersionVector, VersionVector]
    stretches: tuple[tuple[int, int], tuple[int, int]]
    ready: bool
    holders: list[HolderReport]

    def of(self, which: int) -> GossipDelta:
        """What it says of one map."""
        seen = self.seen[which]
        return GossipDelta(
            shard=self.shard,
            sender=self.sender,
            receiver=self.receiver,
            map=which,
            delta=PackedDelta.nothing(self.clock)
            if self.receiver is None
            else PackedDelta(self.bases[which], seen, PackedRows.empty(), self.clock),
            transfer=0,
            seen=seen,
            ready=self.ready,
            holders=self.holders,
            stretch=self.stretches[which],
        )


class GossipAck(msgspec.Struct, frozen=True, tag=True):
    """What the receiver of a delta has seen after it; `accepted` False asks for another base."""

    shard: ShardId
    sender: NodeId
    receiver: NodeId
    map: int
    transfer: int
    accepted: bool
    seen: VersionVector


class Beat(msgspec.Struct, frozen=True, tag=True):
    """A gateway's sign of life to one worker, for all shards attached there.

    `worker` is the life that the gateway believes it is attached to; `attachments` maps shard to
    attachment number, so either side notices when the other has forgotten.
    """

    gateway: NodeId
    worker: NodeId
    attachments: dict[ShardId, int]


class BeatAck(msgspec.Struct, frozen=True, tag=True):
    """A worker's answer: its life, and which of its shards may vouch for absence.

    `lags` has the other zones, each with the age in milliseconds of the newest word from there, of
    the shard that is worst off; None if one has never heard.
    """

    worker: NodeId
    ready: list[ShardId]
    lags: dict[ZoneId, int | None] = {}


class Attach(msgspec.Struct, frozen=True, tag=True):
    """Opens an attachment: the complete set of rows that the gateway holds in this shard.

    Rows come unstamped (stamp 0): the replica stamps them.
    """

    shard: ShardId
    gateway: NodeId
    number: int
    rows: Rows
    topics: list[Topic]
    #: What the gateway has seen of this shard; only the difference comes back.
    cursors: tuple[VersionVector, VersionVector]
    #: Stamped rows of sessions that went on elsewhere: what is missing from `rows` because of them
    #: has not ended.
    beaten: Rows = msgspec.field(default_factory=Rows.empty)


class Attached(msgspec.Struct, frozen=True, tag=True):
    """The attachment stands. `gateway` is the life that it was made for, as in what follows."""

    shard: ShardId
    worker: NodeId
    gateway: NodeId
    number: int


class Detached(msgspec.Struct, frozen=True, tag=True):
    """The replica does not have this attachment (any more): attach again."""

    shard: ShardId
    worker: NodeId
    gateway: NodeId
    number: int


class Operations(msgspec.Struct, frozen=True, tag=True):
    """What a gateway asks of a replica, in order: rows to stamp, topics to watch or forget.

    `witnessed` are rows that another replica stamped and showed to this gateway, and that this one
    had not seen when the gateway came: their home may have died before it told anybody else.
    """

    rows: Rows
    durable: Rows
    watch: list[Topic]
    unwatch: list[Topic]
    witnessed: Rows = msgspec.field(default_factory=Rows.empty)
    #: The same of what users chose: a gateway would obey it for good, and nobody else know of it.
    witnessed_durable: Rows = msgspec.field(default_factory=Rows.empty)
    #: Removed rows that ask the holders of sessions to end these (`core.dismissals`).
    dismissals: Rows = msgspec.field(default_factory=Rows.empty)
    #: Whether to say what the replica has seen, even if nothing that is watched has changed.
    ask_seen: bool = False


class Reach(msgspec.Struct, frozen=True, array_like=True):
    """Whom the replica cannot hear, as a whole; each with the wall time of the last sign."""

    ready: bool
    origins: dict[NodeId, WallMs]
    holders: dict[NodeId, WallMs]
    #: Zones of which nothing at all can be heard: of absence there nobody here can speak.
    zones: dict[ZoneId, WallMs]


class Changed(msgspec.Struct, frozen=True, tag=True):
    """What changed on the replica in the topics that the gateway watches."""

    rows: Rows
    durable: Rows
    vectors: tuple[VersionVector, VersionVector]
    #: Topics that are complete from here on: the rows before and in this message are all there is.
    loaded: list[Topic]
    #: Rows that beat a row this gateway holds: it must refute them, or give the session up.
    defeats: Rows
    #: None where nothing changed in it.
    reach: Reach | None
    #: Live rows that were forgotten without an end, since their origin was replaced or is dead.
    gone: Rows = msgspec.field(default_factory=Rows.empty)
    #: Loaded topics of which all earlier rows count no more: the cursor was too old.
    anew: list[Topic] = []


class Segment(msgspec.Struct, frozen=True, tag=True):
    """One numbered piece of an attachment's stream in either direction; `ack` is cumulative.

    Without a body it only acknowledges (and has the number of the last one sent). It names the life
    that it is for: frames travel by name, and a new life counts its attachments from 1 again.
    """

    shard: ShardId
    sender: NodeId
    receiver: NodeId
    number: int
    sequence: int
    ack: int
    body: Operations | Changed | None


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a client said in a room, word for word: JSON, or any bytes if `binary`."""

    topic: Topic
    event: str
    payload: bytes
    binary: bool = False


class Broadcasts(msgspec.Struct, frozen=True, tag=True):
    """What clients said in rooms of a shard. A gateway tells its replica, which tells the others.

    Nobody answers, and nobody repeats: what is lost on the way is lost.
    """

    shard: ShardId
    said: list[Said]


PeerMessage = (
    GossipDelta
    | GossipPromise
    | GossipAck
    | Beat
    | BeatAck
    | Attach
    | Attached
    | Detached
    | Segment
    | Broadcasts
    | ZoneReport
)
