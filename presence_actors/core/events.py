"""What goes into the machines: past participles, each a fact that a driver reports.

Time is not in the events; it arrives beside them, as `Now`.
"""

from __future__ import annotations

import msgspec

from presence_actors.core.acts import Act
from presence_actors.core.ids import (
    ConnectionId,
    Namespace,
    NodeId,
    NodeName,
    RequestId,
    ShardId,
    UserId,
    ZoneId,
)
from presence_actors.core.limits import QUERY_ENTRIES_MAX
from presence_actors.core.messages import PeerMessage, Worker
from presence_actors.core.values import Device, Meta
from presence_actors.core.vocabulary import (
    Broadcast,
    ClientMessage,
    Identity,
    ServerMessage,
    Talk,
)

__all__ = [
    "ActRequested",
    "AppAsked",
    "BroadcastPosted",
    "ClientCaughtUp",
    "ClientConnected",
    "ClientDisconnected",
    "ClientLagging",
    "ClientRefused",
    "ClientSent",
    "ClusterChanged",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionOpened",
    "DeadlineReached",
    "DrainCancelled",
    "DrainRequested",
    "GatewayEvent",
    "GuestConnected",
    "MessagesReceived",
    "NoticeAnswered",
    "PeerLinked",
    "QueryReceived",
    "ReplicaEvent",
    "ServerSent",
    "SessionEvent",
    "TokenRenewed",
    "Worker",
    "WorkerEvent",
]


class DeadlineReached(msgspec.Struct, frozen=True, tag=True):
    """The instant that `deadline()` named has come."""


class ClusterChanged(msgspec.Struct, frozen=True, tag=True):
    """The workers of the cluster, as the supervisor knows them. Gateways: their public URLs."""

    workers: list[Worker]
    gateways: dict[NodeName, str] = {}
    #: Of the supervisor's directory; a greater one is newer.
    version: int = 0
    #: Zones that an operator has given up.
    retired: list[ZoneId] = []
    #: The workers of the other zones; a worker fills it in for its replicas.
    zones: dict[ZoneId, list[Worker]] = {}


class PeerLinked(msgspec.Struct, frozen=True, tag=True):
    """A peer link was opened."""

    node: NodeId


class MessagesReceived(msgspec.Struct, frozen=True, tag=True):
    """A peer frame came in."""

    sender: NodeId
    messages: list[PeerMessage]


class NoticeAnswered(msgspec.Struct, frozen=True, tag=True):
    """An app server took a notice, or did not; why not."""

    shard: ShardId
    id: str
    taken: bool
    reason: str = ""


# --- gateway ------------------------------------------------------------------------------------


class ClientConnected(msgspec.Struct, frozen=True, tag=True):
    """A client's first frame was read and its token verified."""

    connection: ConnectionId
    identity: Identity
    #: Whether it can hear and not speak: it carries no session, and its silence means nothing.
    watches_only: bool = False


class GuestConnected(msgspec.Struct, frozen=True, tag=True):
    """A client that remembers no session was let in; its first room tells which one it carries on.

    Takes the place of `ClientConnected` and `Hello`.
    """

    connection: ConnectionId
    identity: Identity
    #: A digest of what the client says of itself whenever it comes.
    family: str
    device: Device
    topic: str
    meta: Meta


class ClientSent(msgspec.Struct, frozen=True, tag=True):
    """A client said something; its `Hello` comes right after `ClientConnected`."""

    connection: ConnectionId
    message: ClientMessage | Talk


class ClientRefused(msgspec.Struct, frozen=True, tag=True):
    """The adapter could not read a frame; the connection is kept up to a limit."""

    connection: ConnectionId


class ClientDisconnected(msgspec.Struct, frozen=True, tag=True):
    """A client's connection is gone."""

    connection: ConnectionId
    #: True when the client closed it in an orderly way after `bye`; a lost one has its grace.
    orderly: bool = False


class ClientLagging(msgspec.Struct, frozen=True, tag=True):
    """A client is behind with reading."""

    connection: ConnectionId


class ClientCaughtUp(msgspec.Struct, frozen=True, tag=True):
    """A client that was behind has read everything that it was sent."""

    connection: ConnectionId


class QueryReceived(msgspec.Struct, frozen=True, tag=True):
    """Somebody polls: the entries of rooms, the statuses of users.

    With a cursor only what changed since then is asked for; with `wait_ms`, too, the answer may
    wait that long for something to change.
    """

    request: RequestId
    namespace: str
    topics: list[str]
    users: list[UserId]
    cursor: str | None = None
    wait_ms: int = 0
    #: A page of each room: so many entries, behind the entry with this ref.
    limit: int = QUERY_ENTRIES_MAX
    after: str = ""
    #: How old the oldest part of the answer may be.
    max_staleness_ms: int | None = None


class BroadcastPosted(msgspec.Struct, frozen=True, tag=True):
    """Somebody who has no connection says something in rooms of a namespace."""

    namespace: str
    broadcasts: list[Broadcast]


class TokenRenewed(msgspec.Struct, frozen=True, tag=True):
    """A client showed a newer token, of the same user: the connection may last as long as this."""

    connection: ConnectionId
    identity: Identity


class ActRequested(msgspec.Struct, frozen=True, tag=True):
    """Somebody wants something done over HTTP; whether they may was judged before."""

    request: RequestId
    namespace: Namespace
    act: Act


class DrainRequested(msgspec.Struct, frozen=True, tag=True):
    """The gateway is to be emptied: clients go elsewhere, nobody hears of it.

    It takes nobody in from then on.
    """

    reason: str
    #: Over which time its clients are sent away, evenly; 0: all at once.
    spread_ms: int = 0


class DrainCancelled(msgspec.Struct, frozen=True, tag=True):
    """The gateway may take clients in again."""


# --- client session -----------------------------------------------------------------------------


class ConnectionOpened(msgspec.Struct, frozen=True, tag=True):
    """The connection that was asked for is open."""

    url: str


class ConnectFailed(msgspec.Struct, frozen=True, tag=True):
    """It could not be opened."""

    url: str
    reason: str


class ConnectionLost(msgspec.Struct, frozen=True, tag=True):
    """It was open and is no longer."""

    code: int
    reason: str


class ServerSent(msgspec.Struct, frozen=True, tag=True):
    """A frame from the gateway."""

    message: ServerMessage


class AppAsked(msgspec.Struct, frozen=True, tag=True):
    """The application wants something; `request` comes back with the answer.

    `message` is what to say once; rooms joined and topics watched are remembered and said again
    after each reconnect.
    """

    request: RequestId
    message: ClientMessage


ReplicaEvent = MessagesReceived | ClusterChanged | NoticeAnswered | DeadlineReached
WorkerEvent = ReplicaEvent | PeerLinked
GatewayEvent = (
    ClientConnected
    | GuestConnected
    | ClientSent
    | ClientRefused
    | ClientDisconnected
    | ClientLagging
    | ClientCaughtUp
    | QueryReceived
    | BroadcastPosted
    | TokenRenewed
    | ActRequested
    | DrainRequested
    | DrainCancelled
    | MessagesReceived
    | ClusterChanged
    | DeadlineReached
)
SessionEvent = (
    ConnectionOpened | ConnectFailed | ConnectionLost | ServerSent | AppAsked | DeadlineReached
)
