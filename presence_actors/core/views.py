"""Read-only pictures of the machines, for people and metrics."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from presence_actors.core.ids import NodeId, NodeName, ShardId, UserId, ZoneId, zone_of
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.messages import HolderReport

__all__ = [
    "AttachmentView",
    "DeadNotice",
    "GatewayView",
    "NoticesView",
    "PeerLag",
    "ReplicaView",
    "WorkerView",
    "ZoneView",
    "zone_lags",
]


class PeerLag(msgspec.Struct, frozen=True):
    """What a replica knows of another one of its shard."""

    name: NodeName
    node: NodeId | None
    ready: bool
    #: How old its newest word is; None if it was never heard.
    lag_ms: int | None


class DeadNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice that no app server took."""

    id: str
    namespace: str
    user: UserId
    status: str
    at: WallMs
    #: Why the last attempt failed.
    reason: str


class NoticesView(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica tells app servers."""

    #: Users to be looked at or told of.
    waiting: int
    #: Notices that were taken, attempts that failed, and notices that died.
    sent: int
    failed: int
    dead_total: int
    #: The last of the dead.
    dead: list[DeadNotice]


class ReplicaView(msgspec.Struct, frozen=True):
    """One replica."""

    shard: ShardId
    ready: bool
    entries: int
    #: Entries, and ends that are still kept.
    rows: int
    #: Lives of replicas that are known.
    origins: int
    durable: int
    topics_watched: int
    gateways: list[HolderReport]
    peers: list[PeerLag]
    digest: str
    deltas_refused: int
    #: None if app servers are not told of anything.
    notices: NoticesView | None = None


class WorkerView(msgspec.Struct, frozen=True):
    """One worker: a process with the replicas of several shards."""

    node: NodeId
    ready: bool
    replicas: list[ReplicaView]


class AttachmentView(msgspec.Struct, frozen=True):
    """A gateway's attachment to one shard."""

    shard: ShardId
    worker: NodeName | None
    node: NodeId | None
    number: int
    attached: bool
    ready: bool
    #: When the replica took the announcement.
    since: Instant | None = None


class ZoneView(msgspec.Struct, frozen=True):
    """Another zone, as a gateway knows it from the workers of its own."""

    zone: ZoneId
    #: How old the newest word from it is, and when that came; None if some shard never heard it.
    lag_ms: int | None
    heard: WallMs | None
    #: Whether that is so long ago that its people show as unreachable.
    silent: bool


class GatewayView(msgspec.Struct, frozen=True):
    """One gateway."""

    node: NodeId
    ready: bool
    connections: int
    sessions: int
    lingering: int
    subscriptions: int
    topics: int
    attachments: list[AttachmentView]
    zones: list[ZoneView]
    heartbeats: int
    changes_in: int
    frames_out: int
    deliveries_out: int
    #: Why it is being emptied, or is empty and takes nobody in; None if it is not.
    draining: str | None = None
    #: How often slow clients were held, got a snapshot, counts, everything again, or were closed.
    lags: dict[str, int] = {}
    #: How many broadcasts were said here, came from elsewhere, were refused, and were not sent on.
    broadcasts: dict[str, int] = {}


def zone_lags(own: ZoneId, shards: Iterable[Iterable[PeerLag]]) -> dict[ZoneId, int | None]:
    """How old the newest word from each other zone is, of the shard that is worst off.

    None for a zone of which some shard has never heard.

    Args:
        own: The zone that asks.
        shards: For each shard, what a replica of ours knows of the others.
    """
    worst: dict[ZoneId, int | None] = {}
    for peers in shards:
        newest: dict[ZoneId, int | None] = {}
        for peer in peers:
            zone = zone_of(peer.name)
            if zone != own:
                known = [lag for lag in (newest.get(zone), peer.lag_ms) if lag is not None]
                newest[zone] = min(known, default=None)
        for zone, lag in newest.items():
            before = worst.get(zone, 0)
            worst[zone] = None if lag is None or before is None else max(lag, before)
    return dict(sorted(worst.items()))
