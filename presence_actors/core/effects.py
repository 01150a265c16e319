"""What comes out of the machines: imperatives, data, in order. Drivers carry them out."""

from __future__ import annotations

import msgspec

from presence_actors.core.ids import ConnectionId, NodeId, NodeName, RequestId, ShardId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.messages import PeerMessage, Said
from presence_actors.core.vocabulary import (
    ClientMessage,
    Entry,
    Err,
    ErrorCode,
    Leave,
    Ok,
    Quality,
    ServerMessage,
    StatusFrame,
    UserStatus,
)

__all__ = [
    "Acted",
    "Answer",
    "CloseClient",
    "CloseConnection",
    "CountHappened",
    "Deliver",
    "Dial",
    "GatewayEffect",
    "InterruptionHappened",
    "JoinHappened",
    "LagHappened",
    "LeaveHappened",
    "Mark",
    "Notify",
    "OpenConnection",
    "PassOn",
    "Presence",
    "RefusalHappened",
    "ReplicaEffect",
    "Report",
    "Resolve",
    "Say",
    "Send",
    "SessionEffect",
    "SessionEnded",
    "SnapshotCame",
    "StatusHappened",
    "Tell",
    "TopicAnswer",
    "UpdateHappened",
    "ViewHappened",
    "WelcomeHappened",
    "WorkerEffect",
]


class Send(msgspec.Struct, frozen=True, tag=True):
    """Send messages to a node, in one frame. May be lost; the machines cope."""

    to: NodeName
    messages: list[PeerMessage]


class Dial(msgspec.Struct, frozen=True, tag=True):
    """Keep links to these workers of other zones, beside those of our own; replaces the last."""

    targets: dict[NodeName, tuple[str, int]]


class Report(msgspec.Struct, frozen=True, tag=True):
    """Tell the operator of a fault that only people can mend: for the log, once as it begins."""

    #: What happened, in one word.
    event: str
    peer: NodeId
    reason: str


class Notify(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Tell an app server that a user shows something else; answered by `NoticeAnswered`."""

    shard: ShardId
    #: The same at every replica that tells the same.
    id: str
    namespace: str
    user: UserId
    status: UserStatus
    #: What was told before; the same again where that may not have been heard.
    previous: UserStatus
    #: Of what is told of this user: a greater one is newer.
    number: int
    #: When the newest change was made that led to this.
    at: WallMs


# --- gateway ------------------------------------------------------------------------------------


class Deliver(msgspec.Struct, frozen=True, tag=True):
    """Send one message to many clients: encode it once per protocol."""

    connections: list[ConnectionId]
    message: ServerMessage


class PassOn(msgspec.Struct, frozen=True, tag=True):
    """Let clients hear what another one said. Who is behind with reading misses it."""

    connections: list[ConnectionId]
    said: Said


class Mark(msgspec.Struct, frozen=True, tag=True):
    """Tell a client that only watches from where it may go on, at any gateway."""

    connection: ConnectionId
    cursor: str


class CloseClient(msgspec.Struct, frozen=True, tag=True):
    """Close a client's connection with a WebSocket code (never 1000)."""

    connection: ConnectionId
    code: int
    reason: str


class TopicAnswer(msgspec.Struct, frozen=True):
    """A room for somebody who polls: a page of it or, if `resumed`, what changed since a cursor."""

    topic: str
    quality: Quality
    silent: list[str]
    #: The age of the oldest part: since when somebody who may know better cannot be heard.
    as_of: WallMs | None
    entries: list[Entry]
    unreachable: list[str]
    cursor: str | None
    #: Entries that are gone since the cursor.
    leaves: list[Leave] = []
    resumed: bool = False
    #: If `resumed`: the exclusive or of all refs. A picture with another one is to be asked anew.
    check: str | None = None
    #: What to ask for the next page with; None on the last one.
    next: str | None = None


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The answer to a `QueryReceived`."""

    request: RequestId
    topics: list[TopicAnswer]
    users: list[StatusFrame]
    #: Stands for what the users show: a query with it may wait until they show something else.
    cursor: str | None = None
    #: Whether part of it is older than was asked for.
    stale: bool = False


class Acted(msgspec.Struct, frozen=True, tag=True):
    """The answer to an `ActRequested`: a replica has it, or it was refused and has not happened."""

    request: RequestId
    #: Until when sessions were kicked; since when the device has been here.
    at: WallMs | None = None
    refusal: Err | None = None


# --- client session -----------------------------------------------------------------------------


class OpenConnection(msgspec.Struct, frozen=True, tag=True):
    """Open a WebSocket to this gateway."""

    url: str


class CloseConnection(msgspec.Struct, frozen=True, tag=True):
    """Close the WebSocket."""

    code: int
    reason: str


class Say(msgspec.Struct, frozen=True, tag=True):
    """Send a frame to the gateway."""

    message: ClientMessage


class Resolve(msgspec.Struct, frozen=True, tag=True):
    """The answer to what the application asked."""

    request: RequestId
    answer: Ok | Err


class WelcomeHappened(msgspec.Struct, frozen=True, tag=True):
    """The session stands (again)."""

    gateway: str
    resumed: bool


class InterruptionHappened(msgspec.Struct, frozen=True, tag=True):
    """The connection was lost; what is known stays as it is until the session stands again."""

    reason: str
    #: When the first attempt to come back is made.
    retry_ms: int


class JoinHappened(msgspec.Struct, frozen=True, tag=True):
    """Somebody's device came into a room."""

    topic: str
    entry: Entry


class UpdateHappened(msgspec.Struct, frozen=True, tag=True):
    """An entry changed."""

    topic: str
    entry: Entry
    previous: Entry


class LeaveHappened(msgspec.Struct, frozen=True, tag=True):
    """Somebody's device left a room."""

    topic: str
    entry: Entry
    reason: str


class SnapshotCame(msgspec.Struct, frozen=True, tag=True):
    """A room's whole state is known (again); the net events of it were told just before."""

    topic: str


class CountHappened(msgspec.Struct, frozen=True, tag=True):
    """Of this room it is only known how many are in it."""

    topic: str
    users: int
    devices: int


class LagHappened(msgspec.Struct, frozen=True, tag=True):
    """This client was behind with reading: what its gateway sends from now on."""

    step: str
    behind_ms: int


class StatusHappened(msgspec.Struct, frozen=True, tag=True):
    """A watched user shows something else."""

    status: StatusFrame
    previous: UserStatus | None


class ViewHappened(msgspec.Struct, frozen=True, tag=True):
    """More or less of a room's truth can be seen."""

    topic: str
    quality: Quality
    silent: list[str]
    as_of: WallMs | None
    unreachable: list[str]


class RefusalHappened(msgspec.Struct, frozen=True, tag=True):
    """After a reconnect a gateway no longer grants what it had granted before."""

    #: The room or the user; it is neither joined nor watched any more.
    topic: str
    code: ErrorCode
    message: str


class SessionEnded(msgspec.Struct, frozen=True, tag=True):
    """The session is over and will not be tried again."""

    code: int
    reason: str


Presence = (
    WelcomeHappened
    | InterruptionHappened
    | JoinHappened
    | UpdateHappened
    | LeaveHappened
    | SnapshotCame
    | CountHappened
    | LagHappened
    | StatusHappened
    | ViewHappened
    | RefusalHappened
    | SessionEnded
)


class Tell(msgspec.Struct, frozen=True, tag=True):
    """Tell the application."""

    event: Presence


ReplicaEffect = Send | Report | Notify
WorkerEffect = Send | Report | Dial | Notify
GatewayEffect = Send | Deliver | PassOn | Mark | CloseClient | Answer | Acted
SessionEffect = OpenConnection | CloseConnection | Say | Resolve | Tell
