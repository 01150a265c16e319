"""What clients say to each other in rooms: heard by who listens now, kept nowhere.

The way of a broadcast: the gateway lets its own listeners hear it at once, gathers for `flush_ms`
what goes to the same shard, and sends it to the replica that it is attached to. That one tells its
other gateways that watch the room, and the other replicas of the shard, which tell theirs. So the
interest and the links of presence carry it, and nothing of it becomes state: it has no number, no
answer and no second chance. A shard without a replica, a cut, a full link or a listener that reads
too slowly: those behind it do not hear it.

A client is answered as soon as its broadcast was taken, and told that it listens once the replica
knows that this gateway watches the room: from then on it hears what is said anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from presence_actors.config import Knobs
from presence_actors.core.allowance import Allowance, size_of
from presence_actors.core.attaching import Attachments
from presence_actors.core.effects import Deliver, GatewayEffect, PassOn
from presence_actors.core.events import BroadcastPosted
from presence_actors.core.ids import ConnectionId, NodeId, NodeName, ShardId, Topic
from presence_actors.core.instants import Instant, Now
from presence_actors.core.limits import (
    BROADCAST_BYTES_PER_SECOND_MAX,
    BROADCASTS_PER_SECOND_MAX,
    PASSED_ON_BYTES_PER_SECOND_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
)
from presence_actors.core.messages import Broadcasts, PeerMessage, Said
from presence_actors.core.pacing import Pacing
from presence_actors.core.sessions import Connection
from presence_actors.core.vocabulary import Broadcast, Err, ErrorCode, Listen, Ok, Unlisten
from presence_actors.core.watching import Watching

__all__ = ["Broadcasting"]

_RETRY_MS = 1_000


class _Voice:
    """What one client may still say."""

    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        self.count = Allowance(BROADCASTS_PER_SECOND_MAX)
        self.bytes = Allowance(BROADCAST_BYTES_PER_SECOND_MAX)


class Broadcasting:
    """Who may say something, who hears it, and what goes to other gateways.

    Args:
        attachments: The way to other gateways.
        watching: Has the listeners, and tells replicas which rooms are wanted.
        pacing: Who is behind with reading hears nothing.
        knobs: For how long is gathered, and waited.
    """

    def __init__(
        self, attachments: Attachments, watching: Watching, pacing: Pacing, knobs: Knobs
    ) -> None:
        self._attachments = attachments
        self._watching = watching
        self._pacing = pacing
        self._knobs = knobs
        self._voices: dict[ConnectionId, _Voice] = {}
        self._way_out = Allowance(PASSED_ON_BYTES_PER_SECOND_MAX)
        self._gathered: dict[ShardId, list[Said]] = {}
        self._due: Instant | None = None
        #: {(connection, topic): (request, until)}: who waits to be told that it listens.
        self._waiting: dict[tuple[ConnectionId, Topic], tuple[int | str, Instant]] = {}
        #: What became of broadcasts, by name.
        self.counts: Counter[str] = Counter()

    # What clients ask.

    def take(
        self,
        connection_id: ConnectionId,
        connection: Connection,
        message: Listen | Unlisten | Broadcast,
        now: Now,
    ) -> list[GatewayEffect]:
        """What a client's message leads to."""
        topic = Topic(f"{connection.identity.namespace}/{message.topic}")
        match message:
            case Listen():
                return self._listen(connection_id, connection, topic, message, now)
            case Unlisten():
                connection.listening.pop(topic, None)
                self._waiting.pop((connection_id, topic), None)
                self._unlisten(topic, connection_id, now)
                return []
            case Broadcast():
                return self._say(connection_id, topic, message, now)

    def post(self, event: BroadcastPosted, now: Now) -> list[GatewayEffect]:
        """Somebody without a connection says something; who has one hears it."""
        effects: list[GatewayEffect] = []
        for message in event.broadcasts:
            said = _said(Topic(f"{event.namespace}/{message.topic}"), message)
            self.counts["said"] += 1
            effects += self._spread(said, besides=None, now=now)
        return effects

    def forget(self, connection_id: ConnectionId, connection: Connection, now: Now) -> None:
        """A connection is gone."""
        self._voices.pop(connection_id, None)
        for topic in connection.listening:
            self._waiting.pop((connection_id, topic), None)
            self._unlisten(topic, connection_id, now)

    def _listen(
        self,
        connection_id: ConnectionId,
        connection: Connection,
        topic: Topic,
        message: Listen,
        now: Now,
    ) -> list[GatewayEffect]:
        fresh = topic not in connection.listening
        if fresh and len(connection.listening) >= SUBSCRIPTIONS_PER_CONNECTION_MAX:
            words = f"a connection may listen in {SUBSCRIPTIONS_PER_CONNECTION_MAX} rooms"
            err = Err(code=ErrorCode.TOO_MANY, message=words, id=message.id)
            return [Deliver([connection_id], err)]
        connection.listening[topic] = None
        view = self._watching.want(topic, now)
        view.listeners[connection_id] = None
        if message.id is None:
            return []
        if view.loaded:
            return [Deliver([connection_id], Ok(id=message.id))]
        until = Instant(now.instant + self._knobs.snapshot_wait_ms)
        self._waiting[connection_id, topic] = (message.id, until)
        return []

    def _unlisten(self, topic: Topic, connection_id: ConnectionId, now: Now) -> None:
        view = self._watching.get(topic)
        if view is not None:
            view.listeners.pop(connection_id, None)
            self._watching.settle(view, now)

    def _say(
        self, connection_id: ConnectionId, topic: Topic, message: Broadcast, now: Now
    ) -> list[GatewayEffect]:
        said = _said(topic, message)
        voice = self._voices.get(connection_id)
        if voice is None:
            voice = self._voices[connection_id] = _Voice()
        if not self._may(voice, said, now):
            words = (
                f"a client may say {BROADCASTS_PER_SECOND_MAX} things a second, of "
                f"{BROADCAST_BYTES_PER_SECOND_MAX} bytes in all; nobody heard this"
            )
            err = Err(
                code=ErrorCode.RATE_LIMITED, message=words, id=message.id, retry_after_ms=_RETRY_MS
            )
            return [] if message.id is None else [Deliver([connection_id], err)]
        effects = self._spread(said, besides=None if message.echo else connection_id, now=now)
        if message.id is not None:
            effects.append(Deliver([connection_id], Ok(id=message.id)))
        return effects

    def _may(self, voice: _Voice, said: Said, now: Now) -> bool:
        if voice.count.take(1, now.instant) and voice.bytes.take(size_of([said]), now.instant):
            self.counts["said"] += 1
            return True
        self.counts["refused"] += 1
        return False

    # Whom it reaches.

    def _spread(self, said: Said, *, besides: ConnectionId | None, now: Now) -> list[GatewayEffect]:
        link = self._attachments.of(said.topic)
        if link.attached and self._way_out.take(size_of([said]), now.instant):
            self._gathered.setdefault(link.shard, []).append(said)
            if self._due is None:
                self._due = Instant(now.instant + self._knobs.flush_ms)
        else:
            self.counts["kept_here"] += 1
        return self._pass_on([said], besides=besides)

    def hear(self, sender: NodeId, message: Broadcasts) -> list[GatewayEffect]:
        """What was said elsewhere; from the replica we are attached to, and from no other."""
        link = self._attachments.at(message.shard)
        if link is None or not link.attached or link.node != sender:
            return []
        self.counts["heard"] += len(message.said)
        return self._pass_on(message.said, besides=None)

    def _pass_on(
        self, said: Iterable[Said], *, besides: ConnectionId | None
    ) -> list[GatewayEffect]:
        effects: list[GatewayEffect] = []
        for one in said:
            view = self._watching.get(one.topic)
            hearers = [
                listener
                for listener in (() if view is None else view.listeners)
                if listener != besides and not self._pacing.is_held(listener)
            ]
            if hearers:
                effects.append(PassOn(hearers, one))
        return effects

    # What falls due.

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits to be told that it listens, which may be so with any event."""
        return not self._waiting

    def deadline(self) -> Instant | None:
        """When what was gathered goes out, or somebody has waited for long enough."""
        if not self._waiting:
            return self._due
        untils = [until for _, until in self._waiting.values()]
        return min((*untils, *(() if self._due is None else (self._due,))), default=None)

    def take_answers(self, now: Now) -> list[GatewayEffect]:
        """Those who wait hear that they listen, as soon as it is so, or can be said no later."""
        answers: list[GatewayEffect] = []
        for (connection_id, topic), (request, until) in list(self._waiting.items()):
            view = self._watching.get(topic)
            if (view is not None and view.loaded) or now.instant >= until:
                del self._waiting[connection_id, topic]
                answers.append(Deliver([connection_id], Ok(id=request)))
        return answers

    def take_due(self, now: Now) -> dict[NodeName, list[PeerMessage]]:
        """What goes to replicas now, by worker."""
        if self._due is None or now.instant < self._due:
            return {}
        gathered, self._gathered, self._due = self._gathered, {}, None
        going: dict[NodeName, list[PeerMessage]] = {}
        for shard, said in gathered.items():
            link = self._attachments.at(shard)
            if link is not None and link.attached and link.worker is not None:
                going.setdefault(link.worker, []).append(Broadcasts(shard, said))
        return going


def _said(topic: Topic, message: Broadcast) -> Said:
    return Said(topic, message.event, message.payload, message.binary)
