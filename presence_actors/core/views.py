"""Read-only pictures of the machines, for people and metrics."""

from __future__ import annotations

import msgspec

from presence_actors.core.ids import NodeId, NodeName, ShardId
from presence_actors.core.messages import HolderReport

__all__ = [
    "AttachmentView",
    "GatewayView",
    "PeerLag",
    "ReplicaView",
    "WorkerView",
]


class PeerLag(msgspec.Struct, frozen=True):
    """What a replica knows of another one of its shard."""

    name: NodeName
    node: NodeId | None
    ready: bool
    #: How old its newest word is; None if it was never heard.
    lag_ms: int | None


class ReplicaView(msgspec.Struct, frozen=True):
    """One replica."""

    shard: ShardId
    ready: bool
    entries: int
    rows: int
    durable: int
    topics_watched: int
    gateways: list[HolderReport]
    peers: list[PeerLag]
    digest: str
    deltas_refused: int


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
    heartbeats: int
    changes_in: int
    frames_out: int
    deliveries_out: int
