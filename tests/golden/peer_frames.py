"""What the golden peer frames say; see `tests.golden.frames`."""

from typing import Final

from crdt import Delta, KeyHasher, LWWMap, Origin, PackedDelta, Row, Rows, Stamp, VersionVector
from presence_actors.core.dismissals import dismissal_row
from presence_actors.core.ids import NodeId, ShardId, Topic, UserId, ZoneId, name_of
from presence_actors.core.instants import WallMs
from presence_actors.core.messages import (
    DURABLE,
    PRESENCE,
    Attach,
    Attached,
    Beat,
    BeatAck,
    Broadcasts,
    Changed,
    Detached,
    GossipAck,
    GossipDelta,
    GossipPromise,
    HolderReport,
    Operations,
    PeerMessage,
    Reach,
    Said,
    Segment,
    Worker,
    ZoneReport,
)
from presence_actors.core.values import LeaveReason

WORKER: Final = NodeId("a/w0/019abc0000000123456789abcdef")
OTHER: Final = NodeId("a/w1/019abc0000010123456789abcdef")
GATEWAY: Final = NodeId("a/g0/019abc0000020123456789abcdef")
SHARD: Final = ShardId(7)
LOBBY: Final = Topic("default/room:lobby")

ORIGIN: Final = Origin(WORKER)
SEEN: Final = VersionVector({ORIGIN: Stamp(115_605_504_000_000_001)})
ALICE: Final = Row(
    key=(LOBBY, "alice", "f2c1a9d07b6e4f53"),
    stamp=Stamp(115_605_504_000_000_001),
    origin=ORIGIN,
    epoch=(2 << 32) | 1,
    status=2,
    holder=GATEWAY,
    value=b"\x93\x01\xa7desktop\x80",
)
BOB_GONE: Final = ALICE._replace(
    key=(LOBBY, "bob", "0"), stamp=Stamp(115_605_504_000_000_000), status=0, value=b"\x91\xa4left"
)
UNSTAMPED: Final = ALICE._replace(stamp=Stamp(0), origin=Origin(""))

#: Hashes keys as the cluster does.
HASHED: Final = LWWMap(drift_ms_max=0, hasher=KeyHasher(b"of the golden frames"))

#: One frame for each kind of message, and one with several.
PEER: Final[dict[str, list[PeerMessage]]] = {
    "empty": [],
    "gossip-delta": [
        GossipDelta(
            shard=SHARD,
            sender=WORKER,
            receiver=OTHER,
            map=PRESENCE,
            delta=HASHED.pack(
                Delta(VersionVector(), SEEN, Rows.of([ALICE, BOB_GONE]), SEEN[ORIGIN])
            ),
            transfer=3,
            seen=SEEN,
            ready=True,
            holders=[
                HolderReport(GATEWAY, None),
                HolderReport(NodeId("a/g1/00"), WallMs(1_764_000_000_000)),
            ],
        )
    ],
    "gossip-greeting": [
        GossipDelta(
            shard=SHARD,
            sender=WORKER,
            receiver=None,
            map=DURABLE,
            delta=PackedDelta.nothing(SEEN[ORIGIN]),
            transfer=1,
            seen=VersionVector(),
            ready=False,
            holders=[],
        )
    ],
    "gossip-promise": [
        GossipPromise(
            shard=SHARD,
            sender=WORKER,
            receiver=OTHER,
            clock=SEEN[ORIGIN],
            bases=(SEEN, VersionVector()),
            seen=(SEEN, SEEN),
            stretches=((4, 5), (0, 0)),
            ready=True,
            holders=[HolderReport(GATEWAY, None)],
        )
    ],
    "gossip-ack": [
        GossipAck(
            shard=SHARD,
            sender=OTHER,
            receiver=WORKER,
            map=PRESENCE,
            transfer=3,
            accepted=True,
            seen=SEEN,
        )
    ],
    "beat": [Beat(gateway=GATEWAY, worker=WORKER, attachments={SHARD: 1, ShardId(8): 2})],
    "beat-ack": [BeatAck(worker=WORKER, ready=[SHARD])],
    "attach": [
        Attach(
            shard=SHARD,
            gateway=GATEWAY,
            number=1,
            rows=Rows.of([UNSTAMPED]),
            topics=[LOBBY],
            cursors=(SEEN, VersionVector()),
            beaten=Rows.of([ALICE]),
        )
    ],
    "attached": [Attached(shard=SHARD, worker=WORKER, gateway=GATEWAY, number=1)],
    "detached": [Detached(shard=SHARD, worker=WORKER, gateway=GATEWAY, number=1)],
    "segment-operations": [
        Segment(
            shard=SHARD,
            sender=GATEWAY,
            receiver=WORKER,
            number=1,
            sequence=5,
            ack=4,
            body=Operations(
                rows=Rows.of([UNSTAMPED]), durable=Rows.empty(), watch=[LOBBY], unwatch=[]
            ),
        )
    ],
    "segment-dismissals": [
        Segment(
            shard=SHARD,
            sender=GATEWAY,
            receiver=WORKER,
            number=1,
            sequence=6,
            ack=4,
            body=Operations(
                rows=Rows.empty(),
                durable=Rows.empty(),
                watch=[],
                unwatch=[],
                dismissals=Rows.of(
                    [
                        dismissal_row(
                            Topic("default/user:alice"),
                            UserId("alice"),
                            reason=LeaveReason.KICKED,
                            until=WallMs(1_764_000_000_000),
                            text="spam",
                        )
                    ]
                ),
            ),
        )
    ],
    "segment-changed": [
        Segment(
            shard=SHARD,
            sender=WORKER,
            receiver=GATEWAY,
            number=1,
            sequence=9,
            ack=5,
            body=Changed(
                rows=Rows.of([ALICE]),
                durable=Rows.empty(),
                vectors=(SEEN, VersionVector()),
                loaded=[LOBBY],
                defeats=Rows.empty(),
                reach=Reach(
                    ready=True,
                    origins={OTHER: WallMs(1_764_000_000_000)},
                    holders={},
                    zones={ZoneId("b"): WallMs(1_764_000_000_000)},
                ),
            ),
        )
    ],
    "segment-ack": [
        Segment(
            shard=SHARD,
            sender=WORKER,
            receiver=GATEWAY,
            number=1,
            sequence=9,
            ack=6,
            body=None,
        )
    ],
    "broadcasts": [
        Broadcasts(
            shard=SHARD,
            said=[
                Said(LOBBY, "cursor", b'{"x":3}'),
                Said(LOBBY, "stroke", b"\x00\xff", binary=True),
            ],
        )
    ],
    "zone-report": [
        ZoneReport(
            zone=ZoneId("a"),
            version=1_764_000_000_000,
            workers=[
                Worker(name_of(WORKER), "ray-node", ("127.0.0.1", 4050)),
                Worker(name_of(OTHER), "ray-node"),
            ],
        )
    ],
    "several": [
        BeatAck(worker=WORKER, ready=[]),
        Attached(shard=SHARD, worker=WORKER, gateway=GATEWAY, number=1),
    ],
}
