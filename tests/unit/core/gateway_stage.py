"""A gateway machine, a clock, and as much of a replica as a gateway needs, written by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from crdt import Origin, Row, Rows, Stamp, VersionVector
from crdt.hlc import pack_stamp
from presence_actors.config import Knobs
from presence_actors.core.effects import CloseClient, Deliver, GatewayEffect, Send
from presence_actors.core.events import (
    ClientConnected,
    ClientDisconnected,
    ClientSent,
    ClusterChanged,
    DeadlineReached,
    GatewayEvent,
    GuestConnected,
    MessagesReceived,
    Worker,
)
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import ConnectionId, Namespace, NodeId, SessionId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.messages import (
    Attach,
    Attached,
    Beat,
    BeatAck,
    Changed,
    Operations,
    PeerMessage,
    Reach,
    Segment,
)
from presence_actors.core.values import settle_status
from presence_actors.core.vocabulary import (
    ClientMessage,
    Err,
    Hello,
    Identity,
    ServerMessage,
    Talk,
    Welcome,
)
from tests.unit.core.building import G0, SHARD, W0, W1, WALL, at, name

__all__ = ["ALL_HEARD", "KNOBS", "NOT_READY", "Replica", "Stage", "closed", "only", "told"]

KNOBS: Final = Knobs()
ALL_HEARD: Final = Reach(ready=True, origins={}, holders={}, zones={})
NOT_READY: Final = Reach(ready=False, origins={}, holders={}, zones={})


class Replica:
    """Stamps what it is told, and says at once whatever changed in the topics that are watched."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        #: Whether anything reaches it.
        self.is_there = True
        #: Whether it answers an announcement and loads the topics that are asked for.
        self.attaches = True
        self.loads = True
        #: Whether it may vouch for absence.
        self.ready = True
        self.number = 0
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.durable: dict[tuple[str, str, str], Row] = {}
        #: The newest of what the gateway wrote, as it came, and all of it in order, as it is kept.
        self.heard: dict[tuple[str, str, str], Row] = {}
        self.written: list[Row] = []
        self.chosen: list[Row] = []
        self.attachments: list[Attach] = []
        self.beats: list[Beat] = []
        self.topics: dict[Topic, None] = {}
        self.clock: int = pack_stamp(WALL, 0)
        #: How many of its segments the gateway has, as far as it was told.
        self.acknowledged = 0
        self._sent = 0
        self._received = 0

    @property
    def vector(self) -> VersionVector:
        """All it has stamped."""
        return VersionVector({Origin(self.node): Stamp(self.clock)})

    def hears(self, messages: Iterable[PeerMessage]) -> list[PeerMessage]:
        """The answers to messages of the gateway."""
        answers: list[PeerMessage] = []
        for message in messages:
            match message:
                case Beat():
                    self.beats.append(message)
                    answers.append(BeatAck(self.node, [SHARD] if self.ready else []))
                case Attach():
                    self.attachments.append(message)
                    answers.extend(self._attach(message) if self.attaches else [])
                case Segment(body=Operations() as body, sequence=sequence):
                    self._received = sequence
                    self.acknowledged = message.ack
                    answers.append(self._operate(body))
                case Segment(ack=ack):
                    self.acknowledged = ack
                case _:
                    pass
        return answers

    def _attach(self, message: Attach) -> list[PeerMessage]:
        self.number = message.number
        self._sent = self._received = 0
        self.topics = dict.fromkeys(message.topics)
        self.heard.update((row.key, row) for row in message.rows)
        rows = [self.stamped(row) for row in message.rows]
        self.written.extend(rows)
        reach = ALL_HEARD if self.ready else NOT_READY
        attached = Attached(SHARD, self.node, G0, self.number)
        told = [row for row in self.rows.values() if row.key[0] in self.topics]
        return [attached, self.says(*told, reach=reach)]

    def _operate(self, body: Operations) -> Segment:
        self.heard.update((row.key, row) for row in body.rows)
        rows = [self.stamped(row) for row in (*body.rows, *body.dismissals)]
        durable = [self.stamped(row, durable=True) for row in body.durable]
        self.written.extend(rows)
        self.chosen.extend(durable)
        loaded = list(body.watch) if self.loads else []
        for topic in body.unwatch:
            self.topics.pop(topic, None)
        rows = [row for row in rows if row.key[0] in self.topics]
        durable = [row for row in durable if row.key[0] in self.topics]
        self.topics.update(dict.fromkeys(loaded))
        rows += [row for row in self.rows.values() if row.key[0] in loaded]
        durable += [row for row in self.durable.values() if row.key[0] in loaded]
        if not (rows or durable or loaded):
            return Segment(SHARD, self.node, G0, self.number, self._sent, self._received, None)
        return self.says(*rows, durable=durable, loaded=loaded)

    def stamped(self, row: Row, *, durable: bool = False) -> Row:
        """The row as it is kept from now on."""
        self.clock += 1
        rows = self.durable if durable else self.rows
        held = rows.get(row.key)
        status = settle_status(row.status, held.status if held is not None and held.live else None)
        kept = row._replace(stamp=Stamp(self.clock), origin=Origin(self.node), status=status)
        rows[kept.key] = kept
        return kept

    def says(
        self,
        *rows: Row,
        durable: Iterable[Row] = (),
        loaded: Iterable[str] = (),
        defeats: Iterable[Row] = (),
        reach: Reach | None = None,
    ) -> Segment:
        """The next segment of its stream."""
        self._sent += 1
        body = Changed(
            Rows.of({row.key: row for row in rows}.values()),
            Rows.of(durable),
            (self.vector, self.vector),
            [Topic(topic) for topic in loaded],
            Rows.of(defeats),
            reach,
        )
        return Segment(SHARD, self.node, G0, self.number, self._sent, self._received, body)


class Stage:
    """One gateway of one shard with two replicas; every answer of a replica comes at once."""

    def __init__(self, knobs: Knobs = KNOBS, *, ready: bool = True, cluster: bool = True) -> None:
        self.knobs = knobs
        self.at = 0
        self.replicas = {name(node): Replica(node) for node in (W0, W1)}
        for replica in self.replicas.values():
            replica.ready = ready
        self.rng = random.Random(7)
        self.machine = GatewayMachine(
            G0, shards=1, replicas=2, knobs=knobs, rng=self.rng, now=at(0)
        )
        self.connections = 0
        if cluster:
            workers = [Worker(worker, worker) for worker in self.replicas]
            urls = {name(G0): "ws://g0", name(NodeId("a/g1/0")): "ws://g1"}
            assert self.happens(ClusterChanged(workers, urls)) == []
            self.passes(2 * knobs.flush_ms)

    @property
    def replica(self) -> Replica:
        """The replica that the gateway is attached to."""
        (view,) = self.machine.inspect().attachments
        assert view.worker is not None
        return self.replicas[view.worker]

    @property
    def other(self) -> Replica:
        """The other one."""
        (found,) = [one for one in self.replicas.values() if one is not self.replica]
        return found

    # Time and events.

    def happens(self, event: GatewayEvent) -> list[GatewayEffect]:
        """One event, now, with what replicas answer; all that is not for replicas."""
        effects: list[GatewayEffect] = []
        for effect in self.machine.handle(event, at(self.at)):
            self.machine.check()
            if not isinstance(effect, Send):
                effects.append(effect)
                continue
            replica = self.replicas[effect.to]
            answers = replica.hears(effect.messages) if replica.is_there else []
            if answers:
                effects.extend(self.happens(MessagesReceived(replica.node, answers)))
        return effects

    def passes(self, span_ms: int) -> list[GatewayEffect]:
        """All that falls due within this time."""
        end = self.at + span_ms
        effects: list[GatewayEffect] = []
        while (due := self.machine.deadline()) is not None and due <= end:
            self.at = max(self.at, due)
            effects.extend(self.happens(DeadlineReached()))
        self.at = end
        return effects

    def ticks(self) -> list[GatewayEffect]:
        """Until everything that was said has gone to the replica and come back on a tick."""
        return self.passes(2 * self.knobs.flush_ms + self.knobs.gateway_tick_ms)

    def hears(self, *messages: PeerMessage) -> list[GatewayEffect]:
        """Messages of the replica."""
        return self.happens(MessagesReceived(self.replica.node, list(messages)))

    # Clients.

    def connects(self, user: str = "alice", *, expires: int | None = None) -> ConnectionId:
        """A connection that has not said hello."""
        self.connections += 1
        connection = ConnectionId(self.connections)
        end = None if expires is None else WallMs(WALL + expires)
        identity = Identity(Namespace("default"), UserId(user), end)
        assert self.happens(ClientConnected(connection, identity)) == []
        return connection

    def says(self, connection: ConnectionId, message: ClientMessage | Talk) -> list[GatewayEffect]:
        """What follows at once from a frame of a client."""
        return self.happens(ClientSent(connection, message))

    def enters(
        self, user: str = "alice", *, session: str = "s1", resume: int = 0, status: str = "online"
    ) -> ConnectionId:
        """A connection whose session stands and whose entry is known to the replica."""
        connection = self.connects(user)
        hello = Hello(session=SessionId(session), resume=resume, status=status)
        effects = self.says(connection, hello)
        assert isinstance(only(effects, connection), Welcome)
        self.ticks()
        return connection

    def seats(self, user: str) -> ConnectionId:
        """A stock client that has been introduced, and whose entry is known to the replica."""
        self.connections += 1
        connection = ConnectionId(self.connections)
        identity = Identity(Namespace("default"), UserId(user))
        self.happens(GuestConnected(connection, identity, "family", "web", "room:lobby", {}))
        self.ticks()
        return connection

    def refuses(self, connection: ConnectionId, message: ClientMessage | Talk) -> Err:
        """The refusal of a frame, with nothing else to be seen of it."""
        (effect,) = self.says(connection, message)
        assert isinstance(effect, Deliver)
        assert effect.connections == [connection]
        assert isinstance(effect.message, Err)
        return effect.message

    def loses(self, connection: ConnectionId, *, orderly: bool = False) -> list[GatewayEffect]:
        """The connection is gone."""
        return self.happens(ClientDisconnected(connection, orderly=orderly))


def told(effects: Iterable[GatewayEffect], connection: ConnectionId) -> list[ServerMessage]:
    """What one client hears."""
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Deliver) and connection in effect.connections
    ]


def only(effects: Iterable[GatewayEffect], connection: ConnectionId) -> ServerMessage:
    """The one thing that a client hears."""
    (message,) = told(effects, connection)
    return message


def closed(effects: Iterable[GatewayEffect]) -> list[CloseClient]:
    """The connections that are to be closed."""
    return [effect for effect in effects if isinstance(effect, CloseClient)]
