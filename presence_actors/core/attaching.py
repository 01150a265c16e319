"""A gateway's attachments to all shards: which replica, whether it lives, when to leave it.

Beats go to every worker, attached or not, so that the gateway knows whom it could turn to. A
worker that is silent for `peer_silence_ms` is looked at again a moment later, since a gateway that
was not let run finds everybody silent until it has read what came meanwhile, and is left then; one
that answers as another life is left at once. Replicas that may vouch for absence are preferred,
then those on our own machine. Among these each gateway begins at another worker, and stays with it
for all shards it can: the load is spread, and what goes between the two travels in few frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from presence_actors.config import Knobs
from presence_actors.core.effects import Send
from presence_actors.core.events import ClusterChanged
from presence_actors.core.ids import (
    NodeId,
    NodeName,
    ShardId,
    Topic,
    ZoneId,
    is_newer,
    name_of,
)
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.messages import Attached, Beat, BeatAck, Detached, PeerMessage
from presence_actors.core.placement import replicas_of, shard_of
from presence_actors.core.shard_link import ShardLink
from presence_actors.core.views import AttachmentView, ZoneView

__all__ = ["Attachments"]

#: After so small a part of a beat a silent worker is looked at again.
_LOOKS_A_BEAT: Final = 4


class _WorkerState:
    """What the gateway knows of a worker."""

    __slots__ = ("heard", "node", "ready", "silent_before", "zones")

    def __init__(self) -> None:
        self.node: NodeId | None = None
        self.heard: Instant | None = None
        #: Whether it was silent when it was looked at last.
        self.silent_before = False
        self.ready: frozenset[ShardId] = frozenset()
        #: {another zone: when the worker last heard of it}
        self.zones: dict[ZoneId, Instant | None] = {}


class Attachments:
    """One `ShardLink` per shard, and the workers they may lead to."""

    def __init__(
        self, node: NodeId, *, host: str, shards: int, replicas: int, knobs: Knobs, now: Now
    ) -> None:
        self._node = node
        self._host = host
        self._replicas = replicas
        self._knobs = knobs
        self._links = [ShardLink(ShardId(index), now) for index in range(shards)]
        self._workers: dict[NodeName, _WorkerState] = {}
        #: When the workers are told of us next.
        self.next_beat = now.instant
        #: Until then the best replica is waited for: not all gateways shall run to the first one
        #: that answers.
        self._patient_until = now.instant

    def __iter__(self) -> Iterator[ShardLink]:
        return iter(self._links)

    def of(self, topic: Topic) -> ShardLink:
        """The link to the shard that owns the topic."""
        return self._links[shard_of(topic, shards=len(self._links))]

    def at(self, shard: ShardId) -> ShardLink | None:
        """The link to a shard, if there is such a shard."""
        return self._links[shard] if 0 <= shard < len(self._links) else None

    @property
    def is_settled(self) -> bool:
        """Whether nothing falls due here before `deadline`: no link is lost, nor was just now."""
        for link in self._links:  # noqa: SIM110 - `all` costs thrice as much, with each event
            if link.lost_at is not None or link.cut_off:
                return False
        return True

    @property
    def is_ready(self) -> bool:
        """Whether every shard is attached to a replica that may vouch for absence."""
        return all(link.lost_at is None and link.reach.ready for link in self._links)

    def inspect(self) -> list[AttachmentView]:
        """A picture for people and metrics."""
        return [
            AttachmentView(
                shard=link.shard,
                worker=link.worker,
                node=link.node,
                number=link.number,
                attached=link.attached,
                ready=link.reach.ready,
                since=link.attached_at,
            )
            for link in self._links
        ]

    def zones(self, now: Now) -> list[ZoneView]:
        """The other zones, each as the worker knows it that is worst off, of those that live."""
        oldest: dict[ZoneId, Instant | None] = {}
        for name, state in self._workers.items():
            if self._is_silent(name, now):
                continue
            for zone, heard in state.zones.items():
                before = oldest.get(zone, heard)
                oldest[zone] = None if heard is None or before is None else min(heard, before)
        return [self._zone_view(zone, heard, now) for zone, heard in sorted(oldest.items())]

    def _zone_view(self, zone: ZoneId, heard: Instant | None, now: Now) -> ZoneView:
        if heard is None:
            return ZoneView(zone, lag_ms=None, heard=None, silent=True)
        lag_ms = now.instant - heard
        return ZoneView(
            zone,
            lag_ms=lag_ms,
            heard=WallMs(now.wall - lag_ms),
            silent=lag_ms >= self._knobs.unreachable_after_ms,
        )

    # What is heard.

    def note_cluster(self, event: ClusterChanged, now: Now) -> None:
        """The workers are these now."""
        for link in self._links:
            self._note_contact(link, now)
        hosts = {worker.name: worker.host for worker in event.workers}
        self._workers = {name: self._workers.get(name) or _WorkerState() for name in sorted(hosts)}
        liking = self._liking(event)
        for link in self._links:
            names = replicas_of(link.shard, event.workers, replicas=self._replicas)
            link.candidates = sorted(
                names, key=lambda name: (hosts[name] != self._host, liking[name])
            )
            if link.worker is not None and link.worker not in names:
                link.detach(now)
        self.next_beat = now.instant
        self._patient_until = Instant(now.instant + self._knobs.peer_silence_ms)

    def _liking(self, event: ClusterChanged) -> dict[NodeName, int]:
        """Workers by how we like them, less being better: each gateway begins at its own place."""
        names = sorted(worker.name for worker in event.workers)
        gateways = sorted(event.gateways)
        mine = name_of(self._node)
        start = gateways.index(mine) if mine in gateways else 0
        return {name: (place - start) % len(names) for place, name in enumerate(names)}

    def note_beat_ack(self, message: BeatAck, now: Now) -> None:
        """A worker answered."""
        name = name_of(message.worker)
        state = self._workers.get(name)
        if state is None:
            return
        late = state.node is not None and is_newer(state.node, message.worker)
        # One that speaks while the other is silent is no late word of an old life: the clock of
        # the new life's machine is behind.
        if late and not self._is_silent(name, now):
            return
        if state.node != message.worker:
            state.node = message.worker
            for link in self._links:
                if link.worker == name and link.node != message.worker:
                    self._leave(link, now)
        state.heard = now.instant
        state.ready = frozenset(message.ready)
        state.zones = {
            zone: None if lag_ms is None else Instant(now.instant - lag_ms)
            for zone, lag_ms in message.lags.items()
        }

    def note_heard(self, node: NodeId, now: Now) -> None:
        """Something else came from a worker."""
        state = self._workers.get(name_of(node))
        if state is not None and state.node == node:
            state.heard = now.instant

    def note_attached(self, message: Attached, now: Now) -> ShardLink | None:
        """A replica took an announcement; the link, if it is the present one."""
        link = self.at(message.shard)
        if link is None or message.gateway != self._node:
            return None
        if link.node != message.worker or link.number != message.number:
            return None
        link.note_attached(now)
        return link

    def note_detached(self, message: Detached, now: Now) -> None:
        """A replica does not know the attachment."""
        link = self.at(message.shard)
        if link is None or message.gateway != self._node:
            return
        if link.worker is not None and link.number == message.number:
            self._leave(link, now)

    # What falls due.

    def deadline(self) -> Instant:
        """The next beat, or what a link has to send."""
        earliest = self.next_beat
        for link in self._links:
            instant = link.deadline()
            if instant is not None and instant < earliest:
                earliest = instant
        return earliest

    def take_beats(self, now: Now, *, may_leave: bool) -> list[Send]:
        """The beats, if it is time for them; silent workers are left first, if we may judge."""
        if now.instant < self.next_beat:
            return []
        silent, in_doubt = self._look(now) if may_leave else (set(), False)
        span_ms = self._knobs.gateway_beat_ms // (_LOOKS_A_BEAT if in_doubt else 1)
        self.next_beat = Instant(now.instant + span_ms)
        numbers: dict[NodeName, dict[ShardId, int]] = {name: {} for name in self._workers}
        for link in self._links:
            if link.worker is None:
                continue
            if may_leave and (link.worker in silent or self._is_worse(link, now)):
                self._leave(link, now)
            elif link.attached:
                numbers[link.worker][link.shard] = link.number
        return [
            Send(name, [Beat(self._node, state.node or NodeId(""), numbers[name])])
            for name, state in self._workers.items()
        ]

    def _look(self, now: Now) -> tuple[set[NodeName], bool]:
        """Workers of ours that are still silent at a second look; whether one is at a first."""
        silent: set[NodeName] = set()
        in_doubt = False
        for name in {link.worker: None for link in self._links if link.worker is not None}:
            state = self._workers[name]
            was_silent, state.silent_before = state.silent_before, self._is_silent(name, now)
            if state.silent_before and was_silent:
                silent.add(name)
            in_doubt = in_doubt or (state.silent_before and not was_silent)
        return silent, in_doubt

    def take_lost(self, now: Now) -> list[ShardLink]:
        """Links that are without a replica and have just been given one to turn to."""
        chosen: list[ShardLink] = []
        for link in self._links:
            if link.worker is not None:
                self._note_contact(link, now)
                continue
            name = self._best(link, now)
            node = None if name is None else self._workers[name].node
            if name is not None and node is not None:
                link.choose(name, node)
                self._workers[name].silent_before = False
                chosen.append(link)
        return chosen

    def take_reach_changes(self, now: Now) -> list[ShardLink]:
        """Links that have just been cut off for too long, or are so no more."""
        changed: list[ShardLink] = []
        for link in self._links:
            lost = (
                link.lost_at is not None
                and now.instant - link.lost_at >= self._knobs.unreachable_after_ms
            )
            if lost != link.cut_off:
                link.cut_off = lost
                changed.append(link)
        return changed

    def take_messages(self, now: Now) -> dict[NodeName, list[PeerMessage]]:
        """Segments and repeated announcements that are due, by worker."""
        messages: dict[NodeName, list[PeerMessage]] = {}
        for link in self._links:
            due = link.deadline()
            if due is None or now.instant < due or link.worker is None:
                continue
            repeat_at = Instant(now.instant + self._knobs.resend_ms)
            attach = link.take_repeated_attach(now.instant, repeat_at=repeat_at)
            found = messages.setdefault(link.worker, [])
            if attach is not None:
                found.append(attach)
            found.extend(
                link.take_segments(self._node, now.instant, repeat_ms=self._knobs.resend_ms)
            )
        return {worker: found for worker, found in messages.items() if found}

    def _best(self, link: ShardLink, now: Now) -> NodeName | None:
        if (
            link.candidates
            and now.instant < self._patient_until
            and self._workers[link.candidates[0]].heard is None
        ):
            return None
        alive = [name for name in link.candidates if not self._is_silent(name, now)]
        ready = [name for name in alive if link.shard in self._workers[name].ready]
        return next(iter(ready or alive), None)

    def _is_worse(self, link: ShardLink, now: Now) -> bool:
        """Whether another replica may vouch for absence and the present one may not."""
        best = self._best(link, now)
        return (
            link.worker is not None
            and best is not None
            and link.shard not in self._workers[link.worker].ready
            and link.shard in self._workers[best].ready
        )

    def _is_silent(self, name: NodeName, now: Now) -> bool:
        heard = self._workers[name].heard
        return heard is None or now.instant - heard >= self._knobs.peer_silence_ms

    def _leave(self, link: ShardLink, now: Now) -> None:
        self._note_contact(link, now)
        link.detach(now)

    def _note_contact(self, link: ShardLink, now: Now) -> None:
        state = None if link.worker is None else self._workers.get(link.worker)
        if state is not None and state.heard is not None:
            link.heard_wall = WallMs(now.wall - (now.instant - state.heard))
