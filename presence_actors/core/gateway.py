"""One gateway: clients on one side, replicas on the other.

The way of a heartbeat usually ends here: it renews one lease in a table. The way of a change: the
client's frame changes its `Session`, the entry goes with others of the shard to the replica that
the gateway is attached to, comes back as a changed row like anybody's, and on the next tick one
frame per topic goes to all subscribers.

Rules:

* The gateway is the holder of its sessions: only it ends them, with a reason.
* A lost connection is nobody's business for `grace_connection_ms`; `bye` is.
* A row of ours that was beaten: by our own resume number, it is refuted; by a greater one, the
  session lives elsewhere now, and it is given up without a word.
* A replica that is silent for `peer_silence_ms` is left for another one, which gets everything the
  gateway holds, and a cursor, so that only the difference comes back.
* Nothing here waits for a shard: a topic that does not come is shown as `starting`.
"""

from __future__ import annotations

from crdt import Origin, Row, Stamp, epoch_resume
from presence_actors.config import Knobs
from presence_actors.core.attaching import Attachments
from presence_actors.core.chance import Rng
from presence_actors.core.cursors import read_cursor
from presence_actors.core.effects import Answer, CloseClient, Deliver, GatewayEffect, Send
from presence_actors.core.epochs import refuting_epoch
from presence_actors.core.events import (
    ClientConnected,
    ClientDisconnected,
    ClientRefused,
    ClientSent,
    ClusterChanged,
    DeadlineReached,
    DrainRequested,
    GatewayEvent,
    MessagesReceived,
    QueryReceived,
)
from presence_actors.core.ids import (
    ConnectionId,
    NodeId,
    NodeName,
    RequestId,
    SessionId,
    Topic,
    name_of,
    user_topic,
)
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import (
    BAD_FRAMES_MAX,
    RESUME_MAX,
    ROOMS_PER_SESSION_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
)
from presence_actors.core.messages import (
    DURABLE,
    Attached,
    BeatAck,
    Detached,
    PeerMessage,
    Segment,
)
from presence_actors.core.sessions import (
    Connection,
    Session,
    SessionKey,
    merge_patch,
    session_start,
)
from presence_actors.core.shard_link import ShardLink
from presence_actors.core.status import intent_of
from presence_actors.core.values import (
    INTENT_KEY,
    EntryStatus,
    IntentStatus,
    IntentValue,
    LeaveReason,
    Meta,
    encode_value,
)
from presence_actors.core.views import AttachmentView, GatewayView
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Identity,
    Intent,
    Ok,
    Patch,
    Ping,
    Pong,
    ServerMessage,
    Set,
    Sub,
    Unset,
    Unsub,
    Welcome,
)
from presence_actors.core.watching import Watching
from presence_actors.errors import InvariantBroken

__all__ = ["GatewayMachine"]

_CLOSE_BAD = 4400
_CLOSE_UNAUTHORIZED = 4401
_CLOSE_REPLACED = 4409
_CLOSE_IDLE = 4508
_CLOSE_DRAIN = 1012


class _Query:
    """Somebody polls and waits for topics to load."""

    __slots__ = ("request", "topics", "until", "users")

    def __init__(self, event: QueryReceived, until: Instant) -> None:
        self.request = event.request
        self.topics = [Topic(f"{event.namespace}/{name}") for name in event.topics]
        self.users = [user_topic(event.namespace, user) for user in event.users]
        self.until = until


class GatewayMachine:
    """Decides for one gateway; never acts."""

    def __init__(
        self,
        node: NodeId,
        *,
        shards: int,
        replicas: int,
        knobs: Knobs,
        rng: Rng,
        url: str,
        now: Now,
        host: str = "",
    ) -> None:
        self._node = node
        self._knobs = knobs
        self._rng = rng
        self._url = url
        self._gateways: dict[NodeName, str] = {}
        self._attachments = Attachments(
            node, host=host, shards=shards, replicas=replicas, knobs=knobs, now=now
        )
        self._watching = Watching(node, self._attachments, knobs)
        self._connections: dict[ConnectionId, Connection] = {}
        self._sessions: dict[SessionKey, Session] = {}
        #: {user's topic: sessions of that user here}.
        self._by_user: dict[Topic, dict[SessionKey, None]] = {}
        self._leases: LeaseTable[ConnectionId] = LeaseTable()
        self._tokens: LeaseTable[ConnectionId] = LeaseTable()
        #: Sessions without a connection, until their grace ends.
        self._lingering: LeaseTable[SessionKey] = LeaseTable()
        #: Sessions whose user's intent is not known yet, until we wait no longer.
        self._unannounced: LeaseTable[SessionKey] = LeaseTable()
        self._queries: list[_Query] = []
        #: {request of ours: who asked, under which id}.
        self._asked: dict[RequestId, tuple[ConnectionId, int | str]] = {}
        self._last_request = 0
        self._heartbeats = 0
        self._changes = 0
        self._now = now
        self._out: list[GatewayEffect] = []

    # The contract.

    def handle(self, event: GatewayEvent, now: Now) -> list[GatewayEffect]:
        """Takes in one event; what is to be done about it."""
        self._now = now
        match event:
            case ClientSent(connection=connection, message=message):
                self._on_client(connection, message)
            case MessagesReceived(sender=sender, messages=messages):
                for peer_message in messages:
                    self._on_message(sender, peer_message)
            case ClientConnected(connection=connection, identity=identity):
                self._on_connected(connection, identity)
            case ClientDisconnected():
                self._on_disconnected(event.connection, orderly=event.orderly)
            case ClientRefused(connection=connection):
                self._on_refused(connection)
            case QueryReceived():
                self._on_query(event)
            case ClusterChanged():
                self._gateways = dict(sorted(event.gateways.items()))
                self._attachments.note_cluster(event, now)
            case DrainRequested(reason=reason):
                self._on_drain(reason)
            case DeadlineReached():
                pass
        self._run_due()
        out, self._out = self._out, []
        return out

    def deadline(self) -> Instant | None:
        """The earliest of leases, beats, flushes and ticks."""
        instants = [
            self._attachments.deadline(),
            self._watching.deadline(),
            self._leases.deadline(),
            self._tokens.deadline(),
            self._lingering.deadline(),
            self._unannounced.deadline(),
            min((query.until for query in self._queries), default=None),
        ]
        return min((instant for instant in instants if instant is not None), default=None)

    def check(self) -> None:
        """Raises `InvariantBroken` if the parts contradict each other."""
        for connection_id, connection in self._connections.items():
            if connection.session is None:
                continue
            session = self._sessions.get(connection.session)
            if session is None or session.connection != connection_id:
                raise InvariantBroken(f"{self._node}: connection {connection_id} without session")
        for key, session in self._sessions.items():
            if session.connection is None and key not in self._lingering:
                raise InvariantBroken(f"{self._node}: session {key} lives without a lease")
            if session.connection is not None and session.connection not in self._leases:
                raise InvariantBroken(f"{self._node}: connection of {key} lives without a lease")

    def inspect(self) -> GatewayView:
        """A picture for people and metrics."""
        return GatewayView(
            node=self._node,
            ready=self.ready,
            connections=len(self._connections),
            sessions=len(self._sessions),
            lingering=len(self._lingering),
            subscriptions=self._watching.subscriptions,
            topics=len(self._watching),
            attachments=[
                AttachmentView(
                    shard=link.shard,
                    worker=link.worker,
                    node=link.node,
                    number=link.number,
                    attached=link.attached,
                    ready=link.reach.ready,
                )
                for link in self._attachments
            ],
            heartbeats=self._heartbeats,
            changes_in=self._changes,
            frames_out=self._watching.frames,
            deliveries_out=self._watching.deliveries,
        )

    @property
    def ready(self) -> bool:
        """Whether every shard is attached to a replica that may vouch for absence."""
        return self._attachments.is_ready

    # Connections.

    def _on_connected(self, connection_id: ConnectionId, identity: Identity) -> None:
        self._connections[connection_id] = Connection(identity)
        self._renew(connection_id)
        if identity.expires is not None:
            left = max(0, identity.expires - self._now.wall)
            self._tokens.renew(connection_id, self._in(left))

    def _on_disconnected(self, connection_id: ConnectionId, *, orderly: bool) -> None:
        connection = self._connections.pop(connection_id, None)
        self._leases.release(connection_id)
        self._tokens.release(connection_id)
        if connection is None:
            return
        for topic in connection.topics:
            self._watching.unsubscribe(topic, connection_id, self._now)
        session = self._session_of(connection)
        if session is None or session.connection != connection_id:
            return
        session.connection = None
        if orderly or connection.said_bye:
            self._end_session(session, LeaveReason.LEFT)
        else:
            self._lingering.renew(session.key, self._in(self._knobs.grace_connection_ms))

    def _on_refused(self, connection_id: ConnectionId) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        self._renew(connection_id)
        connection.bad_frames += 1
        if connection.bad_frames > BAD_FRAMES_MAX:
            self._close(connection_id, _CLOSE_BAD, "too many bad frames")

    def _close(self, connection_id: ConnectionId, code: int, reason: str) -> None:
        """Closes a connection and treats it as lost at once; what the driver says later is late."""
        self._out.append(CloseClient(connection_id, code, reason))
        self._on_disconnected(connection_id, orderly=False)

    def _renew(self, connection_id: ConnectionId) -> None:
        self._leases.renew(connection_id, self._in(self._knobs.client_lease_ms))

    def _session_of(self, connection: Connection) -> Session | None:
        return None if connection.session is None else self._sessions.get(connection.session)

    # What clients say.

    def _on_client(self, connection_id: ConnectionId, message: ClientMessage) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        self._renew(connection_id)
        if isinstance(message, Hello):
            self._on_hello(connection_id, connection, message)
            return
        session = self._session_of(connection)
        if session is None:
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, "say hello first")
            return
        match message:
            case Ping(t=t):
                self._heartbeats += 1
                self._tell(connection_id, Pong(t=t, server_ms=self._now.wall))
            case Set():
                self._on_set(connection_id, session, message)
            case Patch():
                self._on_patch(connection_id, session, message)
            case Unset():
                self._on_unset(connection_id, session, message)
            case Sub():
                self._on_sub(connection_id, connection, message)
            case Unsub():
                self._on_unsub(connection_id, connection, message)
            case Intent():
                self._on_intent(connection_id, session, message)
            case Bye():
                connection.said_bye = True
                self._on_disconnected(connection_id, orderly=True)

    def _on_hello(self, connection_id: ConnectionId, connection: Connection, hello: Hello) -> None:
        status = EntryStatus.of(hello.status)
        if connection.session is not None:
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, "hello was said already")
            return
        if status is None or not 0 <= hello.resume <= RESUME_MAX:
            words = "status must be online, away or dnd, and resume a small count"
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, words)
            self._close(connection_id, _CLOSE_BAD, "bad hello")
            return
        identity = connection.identity
        session_id = hello.session or self._mint_session()
        key = (str(identity.namespace), str(identity.user), str(session_id))
        session = self._sessions.get(key)
        resumed = session is not None
        if session is None:
            start = session_start(session_id)
            since = start if start is not None and start <= self._now.wall else self._now.wall
            session = Session(
                identity,
                session_id,
                resume=hello.resume,
                status=status,
                device=hello.device,
                since=since,
            )
            self._admit(session)
        elif hello.resume < session.resume:
            self._close(connection_id, _CLOSE_REPLACED, "this session has been resumed since")
            return
        if session.connection is not None:
            self._close(session.connection, _CLOSE_REPLACED, "replaced by a newer connection")
        self._lingering.release(key)
        changed = (session.resume, session.status, session.device, session.replaced) != (
            hello.resume,
            status,
            hello.device,
            False,
        )
        session.resume, session.status, session.device = hello.resume, status, hello.device
        session.replaced = False
        session.connection = connection_id
        connection.session = key
        if resumed and (changed or session.topic not in session.entries):
            self._hold(session, session.topic, session.since, {})
            self._rewrite(session)
        self._tell(connection_id, self._welcome(session))

    def _welcome(self, session: Session) -> Welcome:
        knobs = self._knobs
        return Welcome(
            session=session.session,
            user=session.user,
            resume=session.resume,
            since=session.since,
            heartbeat_ms=knobs.heartbeat_ms,
            lease_ms=knobs.client_lease_ms,
            grace_ms=knobs.grace_connection_ms,
            grace_gateway_ms=knobs.grace_gateway_ms,
            server_ms=self._now.wall,
            gateway=name_of(self._node),
            gateways=list(self._gateways.values()),
        )

    def _mint_session(self) -> SessionId:
        """A session id: its start, so that this survives any gateway, and 96 random bits."""
        return SessionId(f"{self._now.wall:012x}-{self._rng.getrandbits(96):024x}")

    def _on_set(self, connection_id: ConnectionId, session: Session, message: Set) -> None:
        if message.status is not None:
            status = EntryStatus.of(message.status)
            if status is None:
                words = f"status {message.status!r} must be online, away or dnd"
                self._refuse(connection_id, message.id, ErrorCode.BAD_FRAME, words)
                return
            if status != session.status:
                session.status = status
                self._rewrite(session)
        since: WallMs | None = None
        if message.topic is not None:
            topic = self._room(connection_id, session, message.topic, message.id)
            if topic is None:
                return
            if topic not in session.entries and len(session.entries) > ROOMS_PER_SESSION_MAX:
                words = f"a session may be in {ROOMS_PER_SESSION_MAX} rooms; leave one first"
                self._refuse(connection_id, message.id, ErrorCode.TOO_MANY, words)
                return
            known = message.since if message.since is not None else self._now.wall
            start = WallMs(min(max(known, session.since), self._now.wall))
            since = self._hold(session, topic, start, message.meta or {})
        self._accept(connection_id, message.id, since)

    def _on_patch(self, connection_id: ConnectionId, session: Session, message: Patch) -> None:
        topic = self._room(connection_id, session, message.topic, message.id)
        if topic is None:
            return
        held = session.entries.get(topic)
        if held is None:
            self._refuse_not_joined(connection_id, message.id, message.topic)
            return
        since = self._hold(session, topic, held.since, merge_patch(held.meta, message.meta))
        self._accept(connection_id, message.id, since)

    def _on_unset(self, connection_id: ConnectionId, session: Session, message: Unset) -> None:
        topic = self._room(connection_id, session, message.topic, message.id)
        if topic is None:
            return
        if topic not in session.entries:
            self._refuse_not_joined(connection_id, message.id, message.topic)
            return
        self._end_entry(session, topic, LeaveReason.LEFT)
        self._accept(connection_id, message.id, None)

    def _on_sub(self, connection_id: ConnectionId, connection: Connection, message: Sub) -> None:
        names = [*message.topics, *(f"user:{user}" for user in message.users)]
        namespace = connection.identity.namespace
        topics = [Topic(f"{namespace}/{name}") for name in names]
        fresh = sum(topic not in connection.topics for topic in topics)
        if len(connection.topics) + fresh > SUBSCRIPTIONS_PER_CONNECTION_MAX:
            words = f"a connection may watch {SUBSCRIPTIONS_PER_CONNECTION_MAX} topics and users"
            self._refuse(connection_id, message.id, ErrorCode.TOO_MANY, words)
            return
        cursors = read_cursor(message.cursor)
        self._accept(connection_id, message.id, None)
        for topic in topics:
            connection.topics[topic] = None
            cursor = cursors.get(self._attachments.of(topic).shard)
            self._watching.subscribe(topic, connection_id, cursor, self._now)

    def _on_unsub(
        self, connection_id: ConnectionId, connection: Connection, message: Unsub
    ) -> None:
        names = [*message.topics, *(f"user:{user}" for user in message.users)]
        for name in names:
            topic = Topic(f"{connection.identity.namespace}/{name}")
            connection.topics.pop(topic, None)
            self._watching.unsubscribe(topic, connection_id, self._now)
        self._accept(connection_id, message.id, None)

    def _on_intent(self, connection_id: ConnectionId, session: Session, message: Intent) -> None:
        """The user's choice goes to the durable map; `ok` comes when a replica has it."""
        words = {status.value for status in IntentStatus} | {"online"}
        if message.status not in words:
            listed = ", ".join(sorted(word for word in words if word))
            text = f"intent {message.status!r} must be one of {listed}, or empty for none"
            self._refuse(connection_id, message.id, ErrorCode.BAD_FRAME, text)
            return
        status = "" if message.status == "online" else message.status
        until = None if message.until is None else WallMs(message.until)
        value = IntentValue(status, message.text, message.emoji, until)
        request: RequestId | None = None
        if message.id is not None:
            self._last_request += 1
            request = RequestId(self._last_request)
            self._asked[request] = (connection_id, message.id)
        row = Row(
            key=(session.topic, session.user, INTENT_KEY),
            stamp=Stamp(0),
            origin=Origin(""),
            epoch=0,
            status=1,
            holder="",
            value=encode_value(value),
        )
        self._attachments.of(session.topic).write_durable(row, request, self._flush_due())
        self._hide(session.topic, hidden=status == IntentStatus.INVISIBLE)

    def _room(
        self,
        connection_id: ConnectionId,
        session: Session,
        name: str,
        request: int | str | None,
    ) -> Topic | None:
        if name.startswith("user:"):
            words = f"{name} can be watched, not joined: the gateway alone writes it"
            self._refuse(connection_id, request, ErrorCode.FORBIDDEN, words)
            return None
        return Topic(f"{session.namespace}/{name}")

    # Sessions and their entries.

    def _admit(self, session: Session) -> None:
        """A session begins here; its entries wait until its user's intent is known.

        Somebody invisible must not be seen for the time of a round trip.
        """
        self._sessions[session.key] = session
        self._by_user.setdefault(session.topic, {})[session.key] = None
        view = self._watching.want(session.topic, self._now)
        view.pins += 1
        self._hold(session, session.topic, session.since, {})
        if view.loaded:
            self._announce(session, hidden=self._is_hidden(session.topic))
        else:
            self._unannounced.renew(session.key, self._in(self._knobs.snapshot_wait_ms))

    def _announce(self, session: Session, *, hidden: bool) -> None:
        self._unannounced.release(session.key)
        session.announced = True
        session.hidden = hidden
        self._rewrite(session)

    def _hold(self, session: Session, topic: Topic, since: WallMs, meta: Meta) -> WallMs:
        """The session is in the topic with this meta; since when."""
        link = self._attachments.of(topic)
        held = session.hold(topic, attachment=link.number, since=since, meta=meta)
        self._write(session, topic)
        return held.since

    def _rewrite(self, session: Session) -> None:
        """Something changed that all entries of the session carry."""
        for topic in session.entries:
            session.raise_epoch(topic, attachment=self._attachments.of(topic).number)
            self._write(session, topic)

    def _write(self, session: Session, topic: Topic) -> None:
        if session.announced:
            self._changes += 1
            link = self._attachments.of(topic)
            link.write(session.row(topic, self._node), self._flush_due())

    def _end_entry(self, session: Session, topic: Topic, reason: LeaveReason) -> None:
        if session.announced:
            row = session.end_row(topic, self._node, reason)
            self._attachments.of(topic).write(row, self._flush_due())
        del session.entries[topic]

    def _end_session(self, session: Session, reason: LeaveReason) -> None:
        for topic in list(session.entries):
            self._end_entry(session, topic, reason)
        self._forget_session(session)

    def _forget_session(self, session: Session) -> None:
        del self._sessions[session.key]
        self._lingering.release(session.key)
        self._unannounced.release(session.key)
        others = self._by_user[session.topic]
        del others[session.key]
        if not others:
            del self._by_user[session.topic]
        view = self._watching.get(session.topic)
        if view is not None:
            view.pins -= 1
            self._watching.settle(view, self._now)

    def _is_hidden(self, topic: Topic) -> bool:
        view = self._watching.get(topic)
        durable = () if view is None else view.rows[DURABLE].values()
        return intent_of(durable, self._now.wall).status == IntentStatus.INVISIBLE

    def _hide(self, topic: Topic, *, hidden: bool) -> None:
        """The user's choice changed: its entries carry a flag that every view obeys."""
        for key in self._by_user.get(topic, ()):
            session = self._sessions[key]
            if not session.announced:
                self._announce(session, hidden=hidden)
            elif session.hidden != hidden:
                session.hidden = hidden
                self._rewrite(session)

    # What replicas say.

    def _on_message(self, sender: NodeId, message: PeerMessage) -> None:
        now = self._now
        match message:
            case BeatAck():
                self._attachments.note_beat_ack(message, now)
            case Attached():
                self._attachments.note_heard(sender, now)
                self._attachments.note_attached(message, now)
            case Detached():
                self._attachments.note_detached(message, now)
            case Segment():
                self._attachments.note_heard(sender, now)
                self._on_segment(sender, message)
            case _:
                pass  # Meant for a worker.

    def _on_segment(self, sender: NodeId, segment: Segment) -> None:
        link = self._attachments.at(segment.shard)
        if link is None or link.node != sender or link.number != segment.number:
            return
        changed, done = link.receive(segment, self._in(self._knobs.resend_ms))
        for request in done:
            asked = self._asked.pop(request, None)
            if asked is not None and asked[0] in self._connections:
                self._tell(asked[0], Ok(id=asked[1]))
        if segment.body is not None:
            link.want_acknowledgement(self._flush_due())
        if changed is None:
            return
        for view in self._watching.merge(link, changed, self._now):
            self._hide(view.topic, hidden=self._is_hidden(view.topic))
        for row in changed.defeats:
            self._on_defeat(row)

    def _on_defeat(self, row: Row) -> None:
        """A row of ours was beaten; see the rules above."""
        topic, user, session_id = row.key
        namespace = topic.partition("/")[0]
        session = self._sessions.get((namespace, user, session_id))
        held = None if session is None else session.entries.get(Topic(topic))
        if session is None or held is None or row.epoch < held.epoch:
            return
        ours, theirs = epoch_resume(held.epoch), epoch_resume(row.epoch)
        if theirs < ours or (row.live and row.holder == self._node):
            return
        if theirs == ours:
            held.epoch = refuting_epoch(held.epoch, beaten=row.epoch)
            self._write(session, Topic(topic))
            return
        del session.entries[Topic(topic)]
        self._give_up(session)

    def _give_up(self, session: Session) -> None:
        """The client has resumed elsewhere.

        What it has not announced there yet is kept for the grace, so that nobody sees it leave
        and come back.
        """
        if session.connection is not None:
            connection_id = session.connection
            self._close(connection_id, _CLOSE_REPLACED, "the session was resumed elsewhere")
        if not session.entries:
            self._forget_session(session)
        elif not session.replaced:
            session.replaced = True
            self._lingering.renew(session.key, self._in(self._knobs.grace_connection_ms))

    # Polling and draining.

    def _on_query(self, event: QueryReceived) -> None:
        query = _Query(event, self._in(self._knobs.snapshot_wait_ms))
        for topic in (*query.topics, *query.users):
            self._watching.settle(self._watching.want(topic, self._now), self._now)
        self._queries.append(query)

    def _answer_queries(self) -> None:
        waiting: list[_Query] = []
        for query in self._queries:
            rooms = [self._watching.want(topic, self._now) for topic in query.topics]
            users = [self._watching.want(topic, self._now) for topic in query.users]
            settled = all(self._watching.is_settled(view) for view in (*rooms, *users))
            if not settled and self._now.instant < query.until:
                waiting.append(query)
                continue
            for view in (*rooms, *users):
                self._watching.settle(view, self._now)
            self._out.append(
                Answer(
                    query.request,
                    [self._watching.answer(view) for view in rooms],
                    [self._watching.status(view, self._now) for view in users],
                )
            )
        self._queries = waiting

    def _on_drain(self, reason: str) -> None:
        connections = list(self._connections)
        others = [url for name, url in self._gateways.items() if name != name_of(self._node)]
        jitter = self._knobs.reconnect_jitter_ms
        goaway = Goaway(reason=reason, jitter_ms=jitter, gateways=others)
        if connections:
            self._out.append(Deliver(connections, goaway))
        for connection_id in connections:
            self._close(connection_id, _CLOSE_DRAIN, reason)

    # What falls due.

    def _run_due(self) -> None:
        now = self._now
        self._run_leases()
        self._out.extend(self._attachments.take_beats(now))
        for link in self._attachments.take_lost(now):
            self._attach(link)
        for link in self._attachments.take_reach_changes(now):
            self._watching.doubt(link.shard, now)
        self._out.extend(self._watching.run_due(now))
        if self._queries:
            self._answer_queries()
        for worker, messages in self._attachments.take_messages(now).items():
            self._out.append(Send(worker, messages))

    def _run_leases(self) -> None:
        now = self._now.instant
        for connection_id in self._leases.take_expired(now):
            self._close(connection_id, _CLOSE_IDLE, "no heartbeat within the lease")
        for connection_id in self._tokens.take_expired(now):
            words = "the token has expired: connect with a new one"
            self._refuse(connection_id, None, ErrorCode.TOKEN_EXPIRED, words)
            self._close(connection_id, _CLOSE_UNAUTHORIZED, "token expired")
        for key in self._lingering.take_expired(now):
            session = self._sessions[key]
            replaced = session.replaced
            self._end_session(session, LeaveReason.REPLACED if replaced else LeaveReason.TIMEOUT)
        for key in self._unannounced.take_expired(now):
            session = self._sessions[key]
            self._announce(session, hidden=self._is_hidden(session.topic))

    def _attach(self, link: ShardLink) -> None:
        """Announces to a new replica all that this gateway holds in the shard."""
        rows: list[Row] = []
        for session in self._sessions.values():
            if not session.announced:
                continue
            for topic in session.entries:
                if self._attachments.of(topic) is link:
                    session.raise_epoch(topic, attachment=link.number)
                    rows.append(session.row(topic, self._node))
        loaded, unloaded = self._watching.topics_of(link.shard)
        repeat_at = self._in(self._knobs.resend_ms)
        attach = link.attach(self._node, rows, loaded, unloaded, repeat_at)
        if link.worker is not None:
            self._out.append(Send(link.worker, [attach]))

    # Small things.

    def _tell(self, connection_id: ConnectionId, message: ServerMessage) -> None:
        self._out.append(Deliver([connection_id], message))

    def _accept(
        self, connection_id: ConnectionId, request: int | str | None, since: WallMs | None
    ) -> None:
        if request is not None:
            self._tell(connection_id, Ok(id=request, since=since))

    def _refuse(
        self,
        connection_id: ConnectionId,
        request: int | str | None,
        code: ErrorCode,
        message: str,
    ) -> None:
        self._tell(connection_id, Err(code=code, message=message, id=request))

    def _refuse_not_joined(
        self, connection_id: ConnectionId, request: int | str | None, name: str
    ) -> None:
        words = f"not in {name}: say set first"
        self._refuse(connection_id, request, ErrorCode.NOT_JOINED, words)

    def _in(self, span_ms: int) -> Instant:
        return Instant(self._now.instant + span_ms)

    def _flush_due(self) -> Instant:
        return self._in(self._knobs.flush_ms)
