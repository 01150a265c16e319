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

from crdt import VersionVector
from presence_actors.config import Knobs
from presence_actors.core.acting import Acting
from presence_actors.core.amnesty import Amnesty
from presence_actors.core.attaching import Attachments
from presence_actors.core.broadcasting import Broadcasting
from presence_actors.core.chance import Rng
from presence_actors.core.choices import Choices, intent_trouble
from presence_actors.core.cursors import read_cursor
from presence_actors.core.draining import RETURN_STEP_MS, Draining, returns
from presence_actors.core.effects import CloseClient, Deliver, GatewayEffect, Send
from presence_actors.core.events import (
    ActRequested,
    BroadcastPosted,
    ClientCaughtUp,
    ClientConnected,
    ClientDisconnected,
    ClientLagging,
    ClientRefused,
    ClientSent,
    ClusterChanged,
    DeadlineReached,
    DrainCancelled,
    DrainRequested,
    GatewayEvent,
    GuestConnected,
    MessagesReceived,
    QueryReceived,
    TokenRenewed,
)
from presence_actors.core.holding import Holding
from presence_actors.core.ids import (
    ConnectionId,
    NodeId,
    NodeName,
    RequestId,
    Topic,
    name_of,
)
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import (
    BAD_FRAMES_MAX,
    GUEST_LEASE_MS_MIN,
    META_BYTES_MAX,
    RESUME_MAX,
    RETURNS_PER_SECOND,
    ROOMS_PER_SESSION_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
)
from presence_actors.core.marks import Marks, cursor_of, mark_for
from presence_actors.core.messages import (
    Attached,
    BeatAck,
    Broadcasts,
    Detached,
    PeerMessage,
    Segment,
)
from presence_actors.core.pacing import LagStep, Pacing
from presence_actors.core.polling import Polling
from presence_actors.core.sessions import (
    Connection,
    Session,
    Wanted,
    merge_patch,
    meta_size,
    mint_session,
    welcome_of,
)
from presence_actors.core.shard_link import ShardLink
from presence_actors.core.topic_view import TopicView
from presence_actors.core.values import (
    EntryStatus,
    LeaveReason,
)
from presence_actors.core.views import GatewayView
from presence_actors.core.vocabulary import (
    Broadcast,
    Bye,
    ClientMessage,
    CloseCode,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Identity,
    Intent,
    Lag,
    Listen,
    Ok,
    Patch,
    Ping,
    Pong,
    ServerMessage,
    Set,
    Sub,
    Talk,
    Unlisten,
    Unset,
    Unsub,
)
from presence_actors.core.watching import Watching
from presence_actors.errors import InvariantBroken

__all__ = ["GatewayMachine"]


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
        now: Now,
        host: str = "",
    ) -> None:
        self._node = node
        self._knobs = knobs
        self._rng = rng
        self._gateways: dict[NodeName, str] = {}
        self._attachments = Attachments(
            node, host=host, shards=shards, replicas=replicas, knobs=knobs, now=now
        )
        self._watching = Watching(node, self._attachments, knobs)
        self._connections: dict[ConnectionId, Connection] = {}
        self._holding = Holding(node, self._attachments, self._watching, knobs)
        self._leases: LeaseTable[ConnectionId] = LeaseTable()
        self._tokens: LeaseTable[ConnectionId] = LeaseTable()
        self._polling = Polling(self._watching, knobs)
        self._choices = Choices()
        self._acting = Acting(
            attachments=self._attachments,
            watching=self._watching,
            holding=self._holding,
            choices=self._choices,
            knobs=knobs,
        )
        self._draining = Draining()
        self._pacing = Pacing()
        self._marks = Marks()
        self._broadcasting = Broadcasting(self._attachments, self._watching, self._pacing, knobs)
        self._heartbeats = 0
        self._now = now
        self._due = now.instant
        self._amnesty = Amnesty(now.instant, stall_ms=knobs.stall_ms, span_ms=knobs.gateway_beat_ms)
        self._out: list[GatewayEffect] = []

    # The contract.

    def handle(self, event: GatewayEvent, now: Now) -> list[GatewayEffect]:
        """Takes in one event; what is to be done about it."""
        self._now = now
        self._amnesty.note(due=self._due, now=now.instant)
        if isinstance(event, ClientSent) and isinstance(event.message, Ping):
            # The most frequent event by far. It moves one lease further away and nothing else, so
            # nothing falls due by it that did not fall due before.
            self._on_ping(event.connection, event.message)
            if now.instant < self._due:
                return self._take_out()
        elif isinstance(event, DeadlineReached):
            self._leases.put_right(now.instant)
        else:
            self._take_in(event)
        # Most of what comes in makes nothing due; the answer to a beat never does.
        settled = self._attachments.is_settled
        if settled and now.instant < self._due and self._only_answers(event):
            return self._take_out()
        due = self._next_due()
        # Some things are done as soon as they can be, and not at any time: whoever waits says so.
        waits = not (settled and self._broadcasting.is_idle and self._acting.is_idle)
        if waits or due <= now.instant:
            self._run_due()
            due = self._next_due()
        elif self._attachments.deadline() <= now.instant:
            self._run_links()
        self._due = min(due, self._attachments.deadline())
        return self._take_out()

    def _only_answers(self, event: GatewayEvent) -> bool:
        if not isinstance(event, MessagesReceived):
            return False
        return len(event.messages) == 1 and isinstance(event.messages[0], BeatAck)

    def _take_in(self, event: GatewayEvent) -> None:
        match event:
            case ClientSent(connection=connection, message=message):
                self._on_client(connection, message)
            case MessagesReceived(sender=sender, messages=messages):
                for peer_message in messages:
                    self._on_message(sender, peer_message)
            case ClientConnected(connection=connection, identity=identity):
                self._on_connected(connection, identity, self._lease_of(event))
            case GuestConnected() | TokenRenewed():
                self._on_known(event)
            case ClientDisconnected():
                self._on_disconnected(event.connection, orderly=event.orderly)
            case ClientRefused() | ClientLagging() | ClientCaughtUp():
                self._on_reading(event)
            case QueryReceived() | ActRequested() | BroadcastPosted():
                self._on_posted(event)
            case ClusterChanged():
                self._gateways = dict(sorted(event.gateways.items()))
                self._attachments.note_cluster(event, self._now)
            case DrainRequested() | DrainCancelled():
                self._on_drain(event)
            case DeadlineReached():
                pass

    def deadline(self) -> Instant | None:
        """At or before the earliest of leases, beats, flushes and ticks."""
        return self._due

    def _take_out(self) -> list[GatewayEffect]:
        out, self._out = self._out, []
        return out

    def _next_due(self) -> Instant:
        """The earliest of all but what links have to send."""
        earliest = self._attachments.next_beat
        parts = (
            self._watching,
            self._polling,
            self._acting,
            self._draining,
            self._pacing,
            self._broadcasting,
        )
        for part in parts:
            instant = part.deadline()
            if instant is not None and instant < earliest:
                earliest = instant
        for leases in (self._leases, self._tokens, self._holding):
            lease = leases.deadline()
            if lease is not None and lease < earliest:
                # Nobody is judged before an amnesty ends.
                earliest = min(earliest, max(lease, self._amnesty.until))
        return earliest

    def check(self) -> None:
        """Raises `InvariantBroken` if the parts contradict each other."""
        for connection_id, connection in self._connections.items():
            if connection.session is None:
                continue
            session = self._holding.get(connection.session)
            if session is None or session.connection != connection_id:
                raise InvariantBroken(f"{self._node}: connection {connection_id} without session")
        self._holding.check()
        for session in self._holding:
            if session.connection is not None and session.connection not in self._leases:
                raise InvariantBroken(f"{self._node}: a connection lives without a lease")

    def inspect(self) -> GatewayView:
        """A picture for people and metrics."""
        return GatewayView(
            node=self._node,
            ready=self.ready,
            connections=len(self._connections),
            sessions=len(self._holding),
            lingering=self._holding.lingering,
            subscriptions=self._watching.subscriptions,
            topics=len(self._watching),
            attachments=self._attachments.inspect(),
            zones=self._attachments.zones(self._now),
            heartbeats=self._heartbeats,
            changes_in=self._holding.changes,
            frames_out=self._watching.frames,
            deliveries_out=self._watching.deliveries,
            draining=self._draining.reason,
            lags=dict(sorted(self._pacing.taken.items())),
            broadcasts=dict(sorted(self._broadcasting.counts.items())),
        )

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here: all shards may vouch, and it is not being emptied."""
        return self._attachments.is_ready and self._draining.reason is None

    # Connections.

    def _on_connected(
        self,
        connection_id: ConnectionId,
        identity: Identity,
        lease_ms: int | None,
        *,
        knows_counts: bool = True,
    ) -> None:
        if self._draining.reason is not None:
            self._send_away([connection_id])
            return
        self._connections[connection_id] = Connection(
            identity, lease_ms=lease_ms, knows_counts=knows_counts
        )
        self._renew(connection_id)
        if lease_ms is None:
            self._marks.note_watcher(connection_id)
        self._note_expiry(connection_id, identity)

    def _note_expiry(self, connection_id: ConnectionId, identity: Identity) -> None:
        if connection_id not in self._connections:
            return
        if identity.expires is None:
            self._tokens.release(connection_id)
        else:
            self._tokens.renew(connection_id, self._in(max(0, identity.expires - self._now.wall)))

    def _lease_of(self, event: ClientConnected) -> int | None:
        return None if event.watches_only else self._knobs.client_lease_ms

    def _on_known(self, guest: GuestConnected | TokenRenewed) -> None:
        if isinstance(guest, TokenRenewed):
            self._note_expiry(guest.connection, guest.identity)
            return
        lease_ms = max(self._knobs.client_lease_ms, GUEST_LEASE_MS_MIN)
        # What guests speak has words for who is in a room, and none for how many.
        self._on_connected(guest.connection, guest.identity, lease_ms, knows_counts=False)
        if guest.connection not in self._connections:
            return
        session = self._holding.seat(guest, self._now)
        self._connections[guest.connection].session = session.key
        self._dismiss(self._watching.get(session.topic))

    def _on_disconnected(self, connection_id: ConnectionId, *, orderly: bool) -> None:
        connection = self._connections.pop(connection_id, None)
        self._leases.release(connection_id)
        self._tokens.release(connection_id)
        self._choices.forget(connection_id)
        self._pacing.forget(connection_id)
        self._marks.forget(connection_id)
        if connection is None:
            return
        for topic in connection.topics:
            self._watching.unsubscribe(topic, connection_id, self._now)
        self._broadcasting.forget(connection_id, connection, self._now)
        session = self._session_of(connection)
        if session is None or session.connection != connection_id:
            return
        session.connection = None
        if orderly:
            self._holding.end(session, LeaveReason.LEFT, self._now)
        else:
            self._holding.linger(session, self._now)

    def _on_reading(self, event: ClientRefused | ClientLagging | ClientCaughtUp) -> None:
        match event:
            case ClientRefused(connection=connection):
                self._on_refused(connection)
            case ClientLagging(connection=connection):
                self._on_lag(connection)
            case ClientCaughtUp(connection=connection):
                self._on_caught_up(connection)

    def _on_refused(self, connection_id: ConnectionId) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        self._renew(connection_id)
        connection.bad_frames += 1
        if connection.bad_frames > BAD_FRAMES_MAX:
            self._close(connection_id, CloseCode.BAD, "too many bad frames")

    def _close(self, connection_id: ConnectionId, code: int, reason: str) -> None:
        """Closes a connection and treats it as lost at once; what the driver says later is late."""
        self._out.append(CloseClient(connection_id, code, reason))
        self._on_disconnected(connection_id, orderly=False)

    def _renew(self, connection_id: ConnectionId) -> None:
        lease_ms = self._connections[connection_id].lease_ms
        if lease_ms is not None:
            self._leases.renew(connection_id, self._in(lease_ms))

    def _session_of(self, connection: Connection) -> Session | None:
        return None if connection.session is None else self._holding.get(connection.session)

    # What clients say.

    def _on_client(self, connection_id: ConnectionId, message: ClientMessage | Talk) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        self._renew(connection_id)
        if connection.lease_ms is None:
            # All that whoever only watches can have said.
            if isinstance(message, Sub):
                self._on_sub(connection_id, connection, message)
            return
        if isinstance(message, Hello):
            self._on_hello(connection_id, connection, message)
            return
        session = self._session_of(connection)
        if session is None:
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, "say hello first")
            return
        # A `set` with `since` is what a client says again after it has reconnected.
        again = isinstance(message, Set) and message.since is not None
        if isinstance(message, Set | Patch | Unset | Intent) and not again:
            self._holding.note_use(session, self._now)
        self._on_request(connection_id, connection, session, message)

    def _on_request(
        self,
        connection_id: ConnectionId,
        connection: Connection,
        session: Session,
        message: ClientMessage | Talk,
    ) -> None:
        match message:
            case Ping():
                self._on_ping(connection_id, message)
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
            case Listen() | Unlisten() | Broadcast():
                told = self._broadcasting.take(connection_id, connection, message, self._now)
                self._out.extend(told)
            case Bye():
                self._on_disconnected(connection_id, orderly=True)
            case Hello():
                pass  # Heard before there was a session.

    def _on_ping(self, connection_id: ConnectionId, ping: Ping) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        self._renew(connection_id)
        if connection.session is None:
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, "say hello first")
            return
        self._heartbeats += 1
        self._tell(connection_id, Pong(t=ping.t, server_ms=self._now.wall))

    def _on_hello(self, connection_id: ConnectionId, connection: Connection, hello: Hello) -> None:
        status = EntryStatus.of(hello.status)
        if connection.session is not None:
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, "hello was said already")
            return
        if status is None or not 0 <= hello.resume <= RESUME_MAX:
            words = "status must be online, away or dnd, and resume a small count"
            self._refuse(connection_id, None, ErrorCode.BAD_FRAME, words)
            self._close(connection_id, CloseCode.BAD, "bad hello")
            return
        identity = connection.identity
        session_id = hello.session or mint_session(self._now.wall, self._rng)
        key = (str(identity.namespace), str(identity.user), str(session_id))
        session = self._holding.get(key)
        if session is None:
            session = self._holding.admit(identity, hello, session_id, status, self._now)
        elif hello.resume < session.resume:
            self._close(connection_id, CloseCode.REPLACED, "this session has been resumed since")
            return
        else:
            if session.connection is not None:
                self._close(
                    session.connection, CloseCode.REPLACED, "replaced by a newer connection"
                )
            self._holding.resume(session, hello, status, self._now)
        self._holding.connect(session, connection_id)
        connection.session = key
        welcome = welcome_of(
            session,
            self._knobs,
            gateway=name_of(self._node),
            gateways=list(self._gateways.values()),
            wall=self._now.wall,
        )
        self._tell(connection_id, welcome)
        self._dismiss(self._watching.get(session.topic))

    def _on_set(self, connection_id: ConnectionId, session: Session, message: Set) -> None:
        """All of it is granted, or nothing."""
        status = session.status if message.status is None else EntryStatus.of(message.status)
        if status is None:
            words = f"status {message.status!r} must be online, away or dnd"
            self._refuse(connection_id, message.id, ErrorCode.BAD_FRAME, words)
            return
        topic: Topic | None = None
        if message.topic is not None:
            topic = self._room(connection_id, session, message.topic, message.id)
            if topic is None:
                return
            if not self._holding.has_space(session, topic, self._now):
                words = f"a session may be in {ROOMS_PER_SESSION_MAX} rooms; leave one first"
                self._refuse(connection_id, message.id, ErrorCode.TOO_MANY, words)
                return
        if status != session.status:
            session.status = status
            self._holding.rewrite(session, self._now)
        since: WallMs | None = None
        if topic is not None:
            known = message.since if message.since is not None else self._now.wall
            start = WallMs(min(max(known, session.since), self._now.wall))
            since = self._holding.hold(session, topic, start, message.meta or {}, self._now)
        self._accept(connection_id, message.id, since)

    def _on_patch(self, connection_id: ConnectionId, session: Session, message: Patch) -> None:
        topic = self._room(connection_id, session, message.topic, message.id)
        if topic is None:
            return
        held = session.entries.get(topic)
        if held is None:
            words = f"not in {message.topic}: say set first"
            self._refuse(connection_id, message.id, ErrorCode.NOT_JOINED, words)
            return
        meta = merge_patch(held.meta, message.meta)
        size = meta_size(meta)
        if size > META_BYTES_MAX:
            words = f"meta would have {size} bytes; at most {META_BYTES_MAX} are allowed"
            self._refuse(connection_id, message.id, ErrorCode.TOO_LONG, words)
            return
        since = self._holding.hold(session, topic, held.since, meta, self._now)
        self._accept(connection_id, message.id, since)

    def _on_unset(self, connection_id: ConnectionId, session: Session, message: Unset) -> None:
        topic = self._room(connection_id, session, message.topic, message.id)
        if topic is None:
            return
        if topic not in session.entries:
            words = f"not in {message.topic}: say set first"
            self._refuse(connection_id, message.id, ErrorCode.NOT_JOINED, words)
            return
        self._holding.end_entry(session, topic, LeaveReason.LEFT, self._now)
        self._accept(connection_id, message.id, None)

    def _on_sub(self, connection_id: ConnectionId, connection: Connection, message: Sub) -> None:
        topics = connection.named(message)
        fresh = sum(topic not in connection.topics for topic in topics)
        if len(connection.topics) + fresh > SUBSCRIPTIONS_PER_CONNECTION_MAX:
            words = f"a connection may watch {SUBSCRIPTIONS_PER_CONNECTION_MAX} topics and users"
            self._refuse(connection_id, message.id, ErrorCode.TOO_MANY, words)
            return
        cursors = read_cursor(message.cursor, message.keys)
        wanted = Wanted(message.counts, message.keys)
        self._accept(connection_id, message.id, None)
        for topic in topics:
            connection.topics[topic] = wanted
            if self._pacing.is_held(connection_id):
                self._watching.hold(topic, connection_id, self._now)
                continue
            cursor = cursors.get(self._attachments.of(topic).shard)
            self._subscribe(topic, connection_id, cursor, wanted)

    def _on_lag(self, connection_id: ConnectionId) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        if not self._pacing.note_lag(connection_id, self._now.instant):
            self._close(connection_id, CloseCode.TOO_SLOW, "too slow to read even counts")
            return
        for topic in connection.topics:
            self._watching.hold(topic, connection_id, self._now)

    def _on_caught_up(self, connection_id: ConnectionId) -> None:
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        found = self._pacing.note_caught_up(
            connection_id, self._now.instant, knows_counts=connection.knows_counts
        )
        if found is not None:
            self._take_step(connection_id, *found)

    def _take_step(self, connection_id: ConnectionId, step: LagStep, behind_ms: int) -> None:
        """It is told which, and gets all that it watches anew, in that form."""
        self._tell(connection_id, Lag(step=step, behind_ms=behind_ms))
        for topic, wanted in self._connections[connection_id].topics.items():
            self._subscribe(topic, connection_id, None, wanted)

    def _subscribe(
        self,
        topic: Topic,
        connection_id: ConnectionId,
        cursor: VersionVector | None,
        wanted: Wanted,
    ) -> None:
        """What is wanted, or only counts or whole states if more was not read in time."""
        counts = wanted.counts or self._pacing.is_counting(connection_id)
        self._watching.subscribe(
            topic,
            connection_id,
            cursor,
            self._now,
            counts=counts,
            once=self._pacing.is_sparse(connection_id),
            keys=None if counts else wanted.keys,
        )

    def _on_unsub(
        self, connection_id: ConnectionId, connection: Connection, message: Unsub
    ) -> None:
        for topic in connection.named(message):
            connection.topics.pop(topic, None)
            self._watching.unsubscribe(topic, connection_id, self._now)
        self._accept(connection_id, message.id, None)

    def _on_intent(self, connection_id: ConnectionId, session: Session, message: Intent) -> None:
        """The user's choice goes to the durable map; `ok` comes when a replica has it."""
        trouble = intent_trouble(message)
        if trouble is not None:
            self._refuse(connection_id, message.id, ErrorCode.BAD_FRAME, trouble)
            return
        request = self._choices.ask(connection_id, message.id)
        self._acting.choose(session.topic, session.user, message, request, self._now)

    def _room(
        self, connection_id: ConnectionId, session: Session, name: str, request: int | str | None
    ) -> Topic | None:
        if name.startswith("user:"):
            words = f"{name} can be watched, not joined: the gateway alone writes it"
            self._refuse(connection_id, request, ErrorCode.FORBIDDEN, words)
            return None
        return Topic(f"{session.namespace}/{name}")

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
            case Broadcasts():
                self._out.extend(self._broadcasting.hear(sender, message))
            case _:
                pass  # Meant for a worker.

    def _on_segment(self, sender: NodeId, segment: Segment) -> None:
        link = self._attachments.at(segment.shard)
        expected = (self._node, sender, segment.number)
        if link is None or (segment.receiver, link.node, link.number) != expected:
            return
        changed, done = link.receive(segment, self._in(self._knobs.resend_ms))
        self._note_taken(done)
        if segment.body is not None:
            link.want_acknowledgement(self._flush_due())
        if changed is None:
            return
        if link.take_news_of_vector():
            for which, seen in enumerate(changed.vectors):
                beyond = self._watching.rows_beyond(link.shard, which, seen)
                link.witness(which, beyond, self._flush_due())
        for view in self._watching.merge(link, changed, self._now):
            self._holding.note_choice(view, self._now)
            self._dismiss(view)
        for row in changed.defeats:
            link.note_beaten(row)
            session = self._holding.note_defeat(row, self._now)
            if session is None or session.connection is None:
                continue
            if session.family is not None:
                self._connections[session.connection].session = session.key
            else:
                words = "the session was resumed elsewhere"
                self._close(session.connection, CloseCode.REPLACED, words)

    def _note_taken(self, done: list[RequestId]) -> None:
        """A replica has what was asked for under these numbers of ours."""
        for request in done:
            asked = self._choices.take(request)
            if isinstance(asked, tuple):
                self._tell(asked[0], Ok(id=asked[1]))
            elif asked is not None:
                self._acting.note_taken(asked)

    def _dismiss(self, view: TopicView | None) -> None:
        """Sessions of this user end that somebody kicked, here or elsewhere."""
        found = [] if view is None else self._holding.take_dismissed(view, self._now)
        for session, dismissal in found:
            if session.connection is not None:
                words = dismissal.text or "this session was ended by an app server"
                self._refuse(session.connection, None, ErrorCode.KICKED, words)
                self._close(session.connection, CloseCode.KICKED, "kicked")

    # HTTP and draining.

    def _on_posted(self, event: QueryReceived | ActRequested | BroadcastPosted) -> None:
        match event:
            case QueryReceived():
                self._polling.note_query(event, self._now)
            case ActRequested():
                self._acting.note_act(event, self._now)
            case BroadcastPosted():
                self._out.extend(self._broadcasting.post(event, self._now))

    def _on_drain(self, event: DrainRequested | DrainCancelled) -> None:
        if isinstance(event, DrainCancelled):
            self._draining.end()
            return
        everybody, now = list(self._connections), self._now.instant
        self._draining.begin(everybody, event.reason, spread_ms=event.spread_ms, now=now)

    def _send_away(self, connections: list[ConnectionId]) -> None:
        """The sessions go on elsewhere; until then they have their grace."""
        reason = self._draining.reason or ""
        others = [url for name, url in self._gateways.items() if name != name_of(self._node)]
        # Who is sent away one after the other need not wait to come back one after the other.
        within_ms = 0
        if not self._draining.spread_ms:
            knobs = self._knobs
            within_ms = min(knobs.reconnect_jitter_ms, knobs.grace_connection_ms * 2 // 3)
            if others:
                # Few are taken in by the others as soon as they come.
                within_ms = min(within_ms, len(connections) * 1_000 // RETURNS_PER_SECOND)
        jitter_ms = min(within_ms, RETURN_STEP_MS)
        for retry_in_ms, group in returns(connections, within_ms=within_ms):
            goaway = Goaway(
                reason=reason, retry_in_ms=retry_in_ms, jitter_ms=jitter_ms, gateways=others
            )
            self._out.append(Deliver(group, goaway))
        for connection_id in connections:
            self._close(connection_id, CloseCode.DRAIN, reason)

    # What falls due.

    def _run_due(self) -> None:
        now = self._now
        may_judge = not self._amnesty.holds(now.instant)
        if may_judge:
            self._run_leases()
        self._run_pacing()
        away = [due for due in self._draining.take_due(now.instant) if due in self._connections]
        if away:
            self._send_away(away)
        self._out.extend(self._attachments.take_beats(now, may_leave=may_judge))
        for link in self._attachments.take_lost(now):
            self._attach(link)
        for link in self._attachments.take_reach_changes(now):
            self._watching.doubt(link.shard, now)
        for view in self._watching.take_ended_choices(now):
            self._holding.note_choice(view, now)
        told = self._watching.run_due(now)
        self._out.extend(told)
        for watcher in self._marks.take_due(told, now):
            topics = self._connections[watcher].topics
            cursor = cursor_of(
                topics, watcher, watching=self._watching, attachments=self._attachments
            )
            mark = mark_for(watcher, cursor)
            if mark is not None:
                self._out.append(mark)
        self._out.extend(self._polling.run_due(now))
        self._out.extend(self._acting.run_due(now))
        self._out.extend(self._broadcasting.take_answers(now))
        self._run_links()

    def _run_links(self) -> None:
        """What goes to replicas; most often nothing else is due."""
        now = self._now
        going = self._attachments.take_messages(now)
        for worker, broadcasts in self._broadcasting.take_due(now).items():
            going.setdefault(worker, []).extend(broadcasts)
        self._out.extend(Send(worker, messages) for worker, messages in going.items())

    def _run_pacing(self) -> None:
        now = self._now
        for connection_id in self._pacing.take_lost(now.instant):
            self._close(connection_id, CloseCode.TOO_SLOW, "too slow to read")
        for connection_id in self._pacing.take_recovered(now.instant):
            self._take_step(connection_id, LagStep.WHOLE, 0)
        for connection_id in self._pacing.take_due_states(now.instant):
            for topic in self._connections[connection_id].topics:
                self._watching.show(topic, connection_id, now)

    def _run_leases(self) -> None:
        now = self._now.instant
        for connection_id in self._leases.take_expired(now):
            self._close(connection_id, CloseCode.IDLE, "no heartbeat within the lease")
        for connection_id in self._tokens.take_expired(now):
            words = "the token has expired: connect with a new one"
            self._refuse(connection_id, None, ErrorCode.TOKEN_EXPIRED, words)
            self._close(connection_id, CloseCode.UNAUTHORIZED, "token expired")
        self._holding.run_due(self._now)

    def _attach(self, link: ShardLink) -> None:
        """Announces to a new replica all that this gateway holds in the shard."""
        rows = self._holding.rows_of(link)
        loaded, unloaded = self._watching.topics_of(link.shard)
        attach = link.attach(self._node, rows, loaded, unloaded, self._in(self._knobs.resend_ms))
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
        self, connection_id: ConnectionId, request: int | str | None, code: ErrorCode, message: str
    ) -> None:
        self._tell(connection_id, Err(code=code, message=message, id=request))

    def _in(self, span_ms: int) -> Instant:
        return Instant(self._now.instant + span_ms)

    def _flush_due(self) -> Instant:
        return self._in(self._knobs.flush_ms)
