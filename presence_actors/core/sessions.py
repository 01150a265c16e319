"""Sessions of one gateway: devices that are, or were a moment ago, connected here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from crdt import Origin, Row, Stamp, epoch_resume
from presence_actors.config import Knobs
from presence_actors.core.chance import Rng
from presence_actors.core.epochs import entry_epoch, refuting_epoch
from presence_actors.core.ids import (
    ConnectionId,
    Namespace,
    NodeId,
    SessionId,
    Topic,
    UserId,
    user_topic,
)
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import ROOMS_PER_SESSION_MAX
from presence_actors.core.values import (
    Device,
    EndValue,
    EntryStatus,
    EntryValue,
    LeaveReason,
    Meta,
    encode_value,
    pack_status,
)
from presence_actors.core.vocabulary import Identity, KeyRange, Sub, Unsub, Welcome

__all__ = [
    "Connection",
    "HeldEntry",
    "Session",
    "SessionKey",
    "Wanted",
    "merge_patch",
    "meta_size",
    "mint_session",
    "session_start",
    "welcome_of",
]

SessionKey = tuple[str, str, str]
_NO_STAMP = Stamp(0)
_NO_ORIGIN = Origin("")
_START_DIGITS = 12


def session_start(session: str) -> WallMs | None:
    """When a session began: its id starts with that, so it survives any gateway.

    >>> session_start("000000000064-00ff")
    100
    """
    head = session.partition("-")[0]
    if len(head) != _START_DIGITS:
        return None
    try:
        return WallMs(int(head, 16))
    except ValueError:
        return None


def mint_session(wall: WallMs, rng: Rng) -> SessionId:
    """A session id: its start, so that this survives any gateway, and 96 random bits."""
    return SessionId(f"{wall:012x}-{rng.getrandbits(96):024x}")


class Wanted(NamedTuple):
    """What a client wants of a topic that it watches."""

    #: No more than how many are there.
    counts: bool
    #: Only these users.
    keys: KeyRange | None


class Connection:
    """A client's connection that has been let in."""

    __slots__ = (
        "bad_frames",
        "identity",
        "knows_counts",
        "lease_ms",
        "listening",
        "session",
        "topics",
    )

    def __init__(
        self, identity: Identity, *, lease_ms: int | None, knows_counts: bool = True
    ) -> None:
        self.identity = identity
        #: Whether it understands how many are in a room, and not only who.
        self.knows_counts = knows_counts
        #: How long it is believed in while it is silent; None if it only watches, and cannot speak.
        self.lease_ms = lease_ms
        #: The session it carries, once it said hello.
        self.session: SessionKey | None = None
        #: Topics it watches, and what it wants of each.
        self.topics: dict[Topic, Wanted] = {}
        #: Rooms in which it hears what others say.
        self.listening: dict[Topic, None] = {}
        self.bad_frames = 0

    def named(self, message: Sub | Unsub) -> list[Topic]:
        """The topics that a client names."""
        names = [*message.topics, *(f"user:{user}" for user in message.users)]
        return [Topic(f"{self.identity.namespace}/{name}") for name in names]


class HeldEntry:
    """One entry of a session: in a room, or in the user's own topic."""

    __slots__ = ("epoch", "meta", "since")

    def __init__(self, *, epoch: int, since: WallMs, meta: Meta) -> None:
        self.epoch = epoch
        self.since = since
        self.meta = meta


class Session:
    """One device of one user.

    `entries` holds what this gateway has announced, or is about to, by topic; the user's own topic
    is the first. A session that another gateway took over is `replaced`: it keeps, for the grace,
    entries that have not been announced again yet, and loses them one by one.
    """

    __slots__ = (
        "announced",
        "carried",
        "connection",
        "device",
        "ended",
        "entries",
        "family",
        "hidden",
        "idle",
        "leaving",
        "namespace",
        "replaced",
        "resume",
        "session",
        "since",
        "status",
        "sure",
        "unconfirmed",
        "user",
    )

    def __init__(
        self,
        identity: Identity,
        session: SessionId,
        *,
        resume: int,
        status: EntryStatus,
        device: Device,
        since: WallMs,
        family: str | None = None,
        carried: bool = False,
    ) -> None:
        self.namespace: Namespace = identity.namespace
        self.user: UserId = identity.user
        self.session = session
        self.resume = resume
        self.status = status
        self.device = device
        self.since = since
        self.connection: ConnectionId | None = None
        self.entries: dict[Topic, HeldEntry] = {}
        #: The epochs of entries that it has ended, for when it comes back there; the newest ones.
        self.ended: dict[Topic, int] = {}
        #: Whether nothing was done on the device for `auto_away_ms`.
        self.idle = False
        self.hidden = False
        #: Whether `hidden` is known, and not only guessed.
        self.sure = False
        #: Whether its entries may be written: not before the user's intent is known.
        self.announced = False
        #: What it left before it was announced, and why: a gateway before may hold it still.
        self.leaving: dict[Topic, tuple[HeldEntry, LeaveReason]] = {}
        self.replaced = False
        #: Of a guest (core/guests.py): what its session id is derived from.
        self.family = family
        #: Whether requests carry it, and a lease, in place of a connection (core/acting.py).
        self.carried = carried
        #: Rooms that it was in before the client may have been at other gateways. It may have left
        #: them there, so until it says them again they keep the epoch that they had.
        self.unconfirmed: dict[Topic, None] = {}

    @property
    def key(self) -> SessionKey:
        """Its name among all sessions."""
        return (self.namespace, self.user, self.session)

    @property
    def topic(self) -> Topic:
        """The user's own topic."""
        return user_topic(self.namespace, self.user)

    def hold(self, topic: Topic, *, attachment: int, since: WallMs, meta: Meta) -> HeldEntry:
        """Puts an entry into `topic`, or changes it."""
        self.unconfirmed.pop(topic, None)
        held = self.entries.get(topic)
        epoch = entry_epoch(resume=self.resume, attachment=attachment)
        if held is None:
            # Above what was ended, or the end, which may be on its way with it, would win.
            ended = self.ended.pop(topic, None)
            if ended is not None and ended >= epoch:
                epoch = refuting_epoch(epoch, beaten=ended)
            held = HeldEntry(epoch=epoch, since=since, meta=meta)
            self.entries[topic] = held
        else:
            held.epoch = max(held.epoch, epoch)
            held.meta = meta
        return held

    def raise_epoch(self, topic: Topic, *, attachment: int) -> None:
        """The entry is announced anew: under this attachment, for the present resume."""
        held = self.entries[topic]
        old = self.replaced or topic in self.unconfirmed
        resume = epoch_resume(held.epoch) if old else self.resume
        held.epoch = max(held.epoch, entry_epoch(resume=resume, attachment=attachment))

    def doubt_rooms(self) -> None:
        """The client may have left any room elsewhere: it has to say them again."""
        self.unconfirmed = dict.fromkeys(self.rooms())

    def drop(self, topic: Topic) -> None:
        """It is in the topic no longer."""
        self.ended[topic] = self.entries.pop(topic).epoch
        if len(self.ended) > ROOMS_PER_SESSION_MAX:
            del self.ended[next(iter(self.ended))]
        self.unconfirmed.pop(topic, None)

    @property
    def shown(self) -> EntryStatus:
        """What the device shows: its status, or away while it is idle."""
        idle = self.idle and self.status == EntryStatus.ONLINE
        return EntryStatus.AWAY if idle else self.status

    def row(self, topic: Topic, holder: NodeId) -> Row:
        """The entry as an unstamped row."""
        held = self.entries[topic]
        value = EntryValue(held.since, self.device, held.meta)
        return Row(
            key=(topic, self.user, self.session),
            stamp=_NO_STAMP,
            origin=_NO_ORIGIN,
            epoch=held.epoch,
            status=pack_status(self.shown, hidden=self.hidden, unsure=not self.sure),
            holder=holder,
            value=encode_value(value),
        )

    def end_row(self, topic: Topic, holder: NodeId, reason: LeaveReason) -> Row:
        """The end of the entry as an unstamped row."""
        return Row(
            key=(topic, self.user, self.session),
            stamp=_NO_STAMP,
            origin=_NO_ORIGIN,
            epoch=self.entries[topic].epoch,
            status=0,
            holder=holder,
            value=encode_value(EndValue(reason, hidden=self.hidden or not self.sure)),
        )

    def rooms(self) -> Iterator[Topic]:
        """The rooms it is in."""
        own = self.topic
        return (topic for topic in self.entries if topic != own)


def welcome_of(
    session: Session, knobs: Knobs, *, gateway: str, gateways: list[str], wall: WallMs
) -> Welcome:
    """What a client is told when its session stands."""
    return Welcome(
        session=session.session,
        user=session.user,
        resume=session.resume,
        since=session.since,
        heartbeat_ms=knobs.heartbeat_ms,
        lease_ms=knobs.client_lease_ms,
        grace_ms=knobs.grace_connection_ms,
        grace_gateway_ms=knobs.grace_gateway_ms,
        server_ms=wall,
        gateway=gateway,
        gateways=gateways,
    )


def meta_size(meta: Meta) -> int:
    """Bytes of a meta as JSON: single patches that are small enough can add up."""
    return len(msgspec.json.encode(meta))


def merge_patch(target: Meta, patch: Meta) -> Meta:
    """RFC 7396: null removes, objects merge, everything else replaces.

    >>> merge_patch({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}})
    {'b': {'c': 2, 'd': 3}}
    """
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge_patch(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged
