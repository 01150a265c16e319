"""What a gateway holds: its sessions, their entries, and the defence of these.

The gateway is the holder of these entries: only it ends them, with a reason. When a replica says
that a row of ours was beaten, it is refuted if the winner carries our own resume number; if a
greater one, the session lives elsewhere, and the entry is given up without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

from crdt import Row, epoch_resume
from presence_actors.config import Knobs
from presence_actors.core.attaching import Attachments
from presence_actors.core.dismissals import Dismissal, dismissals_in, meant_by
from presence_actors.core.epochs import refuting_epoch
from presence_actors.core.events import GuestConnected
from presence_actors.core.guests import (
    adoptable,
    guest_resume,
    likely_slot,
    row_in,
    since_in,
    slots,
)
from presence_actors.core.ids import ConnectionId, NodeId, SessionId, Topic, UserId, user_topic
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import ROOMS_PER_SESSION_MAX
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.sessions import HeldEntry, Session, SessionKey, session_start
from presence_actors.core.shard_link import ShardLink
from presence_actors.core.status import intent_of
from presence_actors.core.topic_view import TopicView
from presence_actors.core.values import (
    INTENT_KEY,
    Device,
    EntryStatus,
    IntentStatus,
    LeaveReason,
    Meta,
)
from presence_actors.core.vocabulary import Hello, Identity
from presence_actors.core.watching import Watching
from presence_actors.errors import InvariantBroken

__all__ = ["Holding"]


class Holding:
    """All sessions of one gateway, connected or in their grace."""

    def __init__(
        self, node: NodeId, attachments: Attachments, watching: Watching, knobs: Knobs
    ) -> None:
        self._node = node
        self._attachments = attachments
        self._watching = watching
        self._knobs = knobs
        self._sessions: dict[SessionKey, Session] = {}
        #: {user's topic: sessions of that user here}.
        self._by_user: dict[Topic, dict[SessionKey, None]] = {}
        #: Sessions without a connection, until their grace ends.
        self._lingering: LeaseTable[SessionKey] = LeaseTable()
        #: Sessions whose user's intent is not known yet, until we wait no longer.
        self._unannounced: LeaseTable[SessionKey] = LeaseTable()
        #: Sessions with rooms that the client has not said again yet, until these rooms end.
        self._unconfirmed: LeaseTable[SessionKey] = LeaseTable()
        #: Sessions that were used of late, until they count as idle.
        self._used: LeaseTable[SessionKey] = LeaseTable()
        #: Sessions that requests carry, until their lease ends.
        self._carried: LeaseTable[SessionKey] = LeaseTable()
        #: Entries written so far, for people and metrics.
        self.changes = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    @property
    def lingering(self) -> int:
        """How many sessions are in their grace."""
        return len(self._lingering)

    def get(self, key: SessionKey) -> Session | None:
        """A session, if it is here."""
        return self._sessions.get(key)

    # A session's life.

    def admit(
        self, identity: Identity, hello: Hello, session_id: SessionId, status: EntryStatus, now: Now
    ) -> Session:
        """A session begins here; its entries wait until its user's intent is known.

        Somebody invisible must not be seen for the time of a round trip. If it takes too long,
        they go out as unsure, and the replica keeps to what was seen of the session before.
        """
        start = session_start(session_id)
        session = Session(
            identity,
            session_id,
            resume=hello.resume,
            status=status,
            device=hello.device,
            since=start if start is not None and start <= now.wall else now.wall,
        )
        return self._begin(session, hello, now)

    def _begin(self, session: Session, hello: Hello, now: Now) -> Session:
        self._sessions[session.key] = session
        self._by_user.setdefault(session.topic, {})[session.key] = None
        view = self._watching.want(session.topic, now)
        view.pins += 1
        self._note_idle(session, hello, now)
        self.hold(session, session.topic, session.since, {}, now)
        if self._watching.is_known(view):
            self._announce(session, now)
        else:
            self._unannounced.renew(session.key, self._in(self._knobs.snapshot_wait_ms, now))
        return session

    def seat(self, guest: GuestConnected, now: Now) -> Session:
        """The session of a guest: one that it left in its grace here, else one in a free slot."""
        identity = guest.identity
        own = user_topic(identity.namespace, identity.user)
        room = Topic(f"{identity.namespace}/{guest.topic}")
        lost = adoptable(
            [self._sessions[key] for key in self._by_user.get(own, ())],
            family=guest.family,
            device=guest.device,
            topic=room,
            meta=guest.meta,
        )
        session = self._newcomer(guest, now) if lost is None else self._adopt(lost, guest, now)
        session.connection = guest.connection
        return session

    def carry(
        self,
        identity: Identity,
        name: SessionId,
        *,
        resume: int,
        status: EntryStatus,
        device: Device,
        since: WallMs,
        now: Now,
    ) -> Session:
        """A session begins that requests carry; its lease is to be granted at once."""
        session = Session(
            identity, name, resume=resume, status=status, device=device, since=since, carried=True
        )
        return self._begin(session, Hello(), now)

    def renew_carried(self, session: Session, lease_ms: int, now: Now) -> None:
        """A request carried the session on, from now on without a connection."""
        session.carried = True
        self._lingering.release(session.key)
        self._carried.renew(session.key, self._in(lease_ms, now))

    def connect(self, session: Session, connection: ConnectionId) -> None:
        """A connection carries the session on, whatever did before."""
        session.connection, session.carried = connection, False
        self._carried.release(session.key)

    def carried_of(self, topic: Topic) -> int:
        """How many sessions of a user requests carry here."""
        return sum(self._sessions[key].carried for key in self._by_user.get(topic, ()))

    def _newcomer(self, guest: GuestConnected, now: Now) -> Session:
        identity = guest.identity
        own = user_topic(identity.namespace, identity.user)
        room = Topic(f"{identity.namespace}/{guest.topic}")

        def is_free(name: SessionId) -> bool:
            return (identity.namespace, identity.user, name) not in self._sessions

        name = likely_slot(
            self._watching.get(room),
            user=identity.user,
            family=guest.family,
            meta=guest.meta,
            is_free=is_free,
        ) or next(name for name in slots(guest.family) if is_free(name))
        row = row_in(self._watching.get(own), identity.user, name)
        return self._begin_guest(
            identity,
            name,
            family=guest.family,
            device=guest.device,
            resume=guest_resume(now.wall, known=None if row is None else epoch_resume(row.epoch)),
            now=now,
        )

    def _adopt(self, lost: Session, guest: GuestConnected, now: Now) -> Session:
        lost.family = guest.family
        lost.doubt_rooms()
        self._unconfirmed.renew(lost.key, self._in(self._knobs.grace_connection_ms, now))
        # Without a greater number: the session never left us, so nothing has to be announced.
        self.resume(lost, Hello(resume=lost.resume, device=guest.device), lost.status, now)
        return lost

    def _begin_guest(
        self,
        identity: Identity,
        name: SessionId,
        *,
        family: str,
        device: Device,
        resume: int,
        now: Now,
    ) -> Session:
        session = Session(
            identity,
            name,
            resume=resume,
            status=EntryStatus.ONLINE,
            device=device,
            since=now.wall,
            family=family,
        )
        return self._begin(session, Hello(), now)

    def _move(self, session: Session, rooms: dict[Topic, HeldEntry], now: Now) -> Session:
        """A guest whose slot was taken elsewhere goes on in one that nobody holds."""
        family = session.family or ""
        view = self._watching.get(session.topic)
        identity = Identity(session.namespace, session.user)
        name, known = next(
            (name, None if row is None else epoch_resume(row.epoch))
            for name in slots(family)
            if (session.namespace, session.user, name) not in self._sessions
            and ((row := row_in(view, session.user, name)) is None or not row.live)
        )
        moved = self._begin_guest(
            identity,
            name,
            family=family,
            device=session.device,
            resume=guest_resume(now.wall, known=known),
            now=now,
        )
        moved.since = session.since
        moved.status = session.status
        for topic, held in rooms.items():
            self.hold(moved, topic, held.since, held.meta, now)
        moved.connection, session.connection = session.connection, None
        return moved

    def has_space(self, session: Session, topic: Topic, now: Now) -> bool:
        """Whether it may be in this room, too; for want of space, unconfirmed rooms end early."""
        if topic not in session.entries and len(session.entries) > ROOMS_PER_SESSION_MAX:
            self._end_unconfirmed(session, now)
        return topic in session.entries or len(session.entries) <= ROOMS_PER_SESSION_MAX

    def _end_unconfirmed(self, session: Session, now: Now) -> None:
        for topic in list(session.unconfirmed):
            self.end_entry(session, topic, LeaveReason.LEFT, now)

    def resume(self, session: Session, hello: Hello, status: EntryStatus, now: Now) -> None:
        """A session comes back to us, perhaps from other gateways."""
        self._lingering.release(session.key)
        if hello.resume > session.resume + 1:
            session.doubt_rooms()
            self._unconfirmed.renew(session.key, self._in(self._knobs.grace_connection_ms, now))
        before = (session.resume, session.shown, session.device, session.replaced)
        session.resume, session.status, session.device = hello.resume, status, hello.device
        session.replaced = False
        self._note_idle(session, hello, now)
        missing = session.topic not in session.entries
        if missing:
            self.hold(session, session.topic, session.since, {}, now)
        if missing or before != (hello.resume, session.shown, hello.device, False):
            self.rewrite(session, now)

    def note_use(self, session: Session, now: Now) -> None:
        """Somebody used the device."""
        if session.family is not None or session.carried:
            return
        self._used.renew(session.key, self._in(self._knobs.auto_away_ms, now))
        self._set_idle(session, idle=False, now=now)

    def _note_idle(self, session: Session, hello: Hello, now: Now) -> None:
        if session.family is not None or session.carried:
            return  # A guest cannot say that it is in use, so it is not taken for idle either.
        left_ms = self._knobs.auto_away_ms - hello.idle_ms
        session.idle = left_ms <= 0
        if left_ms > 0:
            self._used.renew(session.key, self._in(left_ms, now))

    def _set_idle(self, session: Session, *, idle: bool, now: Now) -> None:
        before = session.shown
        session.idle = idle
        if session.shown != before:
            self.rewrite(session, now)

    def linger(self, session: Session, now: Now) -> None:
        """Its connection is lost; it has the grace to come back."""
        until = self._in(self._knobs.grace_connection_ms, now)
        self._lingering.renew(session.key, until)
        self._carried.release(session.key)

    def end(self, session: Session, reason: LeaveReason, now: Now) -> None:
        """It is over, and everybody may know why."""
        for topic in list(session.entries):
            self.end_entry(session, topic, reason, now)
        self._forget(session, now)

    def _forget(self, session: Session, now: Now) -> None:
        del self._sessions[session.key]
        self._lingering.release(session.key)
        self._unannounced.release(session.key)
        self._unconfirmed.release(session.key)
        self._used.release(session.key)
        self._carried.release(session.key)
        others = self._by_user[session.topic]
        del others[session.key]
        if not others:
            del self._by_user[session.topic]
        view = self._watching.get(session.topic)
        if view is not None:
            view.pins -= 1
            self._watching.settle(view, now)

    # Its entries.

    def hold(self, session: Session, topic: Topic, since: WallMs, meta: Meta, now: Now) -> WallMs:
        """The session is in the topic with this meta; since when."""
        number = self._attachments.of(topic).number
        if session.family is not None and topic not in session.entries:
            known = since_in(self._watching.get(topic), session)
            since = since if known is None else known
        held = session.hold(topic, attachment=number, since=since, meta=meta)
        session.leaving.pop(topic, None)
        self._write(session, topic, now)
        return held.since

    def rewrite(self, session: Session, now: Now) -> None:
        """Something changed that all entries of the session carry."""
        for topic in session.entries:
            session.raise_epoch(topic, attachment=self._attachments.of(topic).number)
            self._write(session, topic, now)

    def end_entry(self, session: Session, topic: Topic, reason: LeaveReason, now: Now) -> None:
        """The session is in the topic no longer."""
        if session.announced:
            row = session.end_row(topic, self._node, reason)
            self._attachments.of(topic).write(row, self._flush_due(now))
        elif session.resume:
            session.leaving[topic] = (session.entries[topic], reason)
        session.drop(topic)

    def _announce(self, session: Session, now: Now) -> None:
        self._unannounced.release(session.key)
        session.announced = True
        view = self._watching.get(session.topic)
        session.sure = view is not None and self._watching.is_known(view)
        session.hidden = self._is_hidden(session.topic, now)
        if session.family is not None:
            for topic, held in session.entries.items():
                known = since_in(self._watching.get(topic), session)
                held.since = held.since if known is None else min(held.since, known)
            session.since = session.entries[session.topic].since
        self.rewrite(session, now)
        leaving, session.leaving = session.leaving, {}
        for topic, (held, reason) in leaving.items():
            session.entries[topic] = held
            session.raise_epoch(topic, attachment=self._attachments.of(topic).number)
            self.end_entry(session, topic, reason, now)

    def _write(self, session: Session, topic: Topic, now: Now) -> None:
        if session.announced:
            self.changes += 1
            row = session.row(topic, self._node)
            self._attachments.of(topic).write(row, self._flush_due(now))

    def rows_of(self, link: ShardLink) -> list[Row]:
        """All that is held in a shard, under the number of the attempt to attach."""
        rows: list[Row] = []
        for session in self._sessions.values():
            if not session.announced:
                continue
            for topic in session.entries:
                if self._attachments.of(topic) is link:
                    session.raise_epoch(topic, attachment=link.number)
                    rows.append(session.row(topic, self._node))
        return rows

    # What the user chose.

    def note_choice(self, view: TopicView, now: Now) -> None:
        """The durable records of a user's topic are known, or others."""
        if self._watching.is_known(view):
            self.hide(view.topic, hidden=self._is_hidden(view.topic, now), now=now)

    def hide(self, topic: Topic, *, hidden: bool, now: Now) -> None:
        """The entries of the user's sessions carry a flag that every view obeys."""
        for key in self._by_user.get(topic, ()):
            session = self._sessions[key]
            if not session.announced:
                self._announce(session, now)
            if session.hidden != hidden or not session.sure:
                session.hidden, session.sure = hidden, True
                self.rewrite(session, now)

    def take_dismissed(self, view: TopicView, now: Now) -> list[tuple[Session, Dismissal]]:
        """Ends the user's sessions that somebody dismissed, wherever that was."""
        dismissals = dismissals_in(view.rows[PRESENCE].values())
        found: list[tuple[Session, Dismissal]] = []
        for key in list(self._by_user.get(view.topic, ())) if dismissals else ():
            session = self._sessions[key]
            meant = meant_by(
                dismissals, session.entries, session.user, session.session, since=session.since
            )
            if meant is not None:
                self.end(session, LeaveReason(meant.reason), now)
                found.append((session, meant))
        return found

    def _is_hidden(self, topic: Topic, now: Now) -> bool:
        view = self._watching.get(topic)
        if view is None or view.user is None:
            return False
        # What was chosen here and is still on its way counts already.
        waiting = self._attachments.of(topic).unacknowledged((topic, view.user, INTENT_KEY))
        durable = view.rows[DURABLE].values() if waiting is None else (waiting,)
        return intent_of(durable, now.wall).status == IntentStatus.INVISIBLE

    # Defence.

    def note_defeat(self, row: Row, now: Now) -> Session | None:
        """A row of ours was beaten by this one; the session, if it lives elsewhere now.

        What it has not announced there yet is kept for the grace, so that nobody sees it leave
        and come back. Of a guest that is connected here, the session in which it goes on.
        """
        topic, user, session_id = Topic(row.key[0]), UserId(row.key[1]), row.key[2]
        session = self._sessions.get((topic.partition("/")[0], user, session_id))
        held = None if session is None else session.entries.get(topic)
        if session is None or held is None or row.epoch < held.epoch:
            return None
        ours, theirs = epoch_resume(held.epoch), epoch_resume(row.epoch)
        if theirs < ours or (row.live and row.holder == self._node):
            return None
        # Of two that took a session in the same moment, the one that was beaten yields.
        yields = row.live and (session.family is not None or session.carried)
        if theirs == ours and not yields:
            held.epoch = refuting_epoch(held.epoch, beaten=row.epoch)
            self._write(session, topic, now)
            return None
        is_guest = session.family is not None
        moved: Session | None = None
        if is_guest and session.connection is not None:
            rooms = {topic: session.entries[topic] for topic in session.rooms()}
            moved = self._move(session, rooms, now)
        session.drop(topic)
        if theirs <= session.resume and not yields and not is_guest:
            return None  # What the client did elsewhere before it came back to us.
        if not session.entries:
            self._forget(session, now)
        elif not session.replaced:
            session.replaced = True
            self.linger(session, now)
        return moved or session

    # What falls due.

    def deadline(self) -> Instant | None:
        """When a grace or a wait ends."""
        tables = (
            self._lingering,
            self._unannounced,
            self._unconfirmed,
            self._used,
            self._carried,
        )
        earliest: Instant | None = None
        for table in tables:
            instant = table.deadline()
            if instant is not None and (earliest is None or instant < earliest):
                earliest = instant
        return earliest

    def run_due(self, now: Now) -> None:
        """Graces end; who waited for an intent waits no longer."""
        for key in self._lingering.take_expired(now.instant):
            session = self._sessions[key]
            reason = LeaveReason.REPLACED if session.replaced else LeaveReason.TIMEOUT
            self.end(session, reason, now)
        for key in self._carried.take_expired(now.instant):
            self.end(self._sessions[key], LeaveReason.TIMEOUT, now)
        for key in self._unconfirmed.take_expired(now.instant):
            self._end_unconfirmed(self._sessions[key], now)
        for key in self._unannounced.take_expired(now.instant):
            self._announce(self._sessions[key], now)
        for key in self._used.take_expired(now.instant):
            self._set_idle(self._sessions[key], idle=True, now=now)

    def check(self) -> None:
        """Raises `InvariantBroken` if a session would live for ever."""
        for key, session in self._sessions.items():
            if (
                session.connection is None
                and key not in self._lingering
                and key not in self._carried
            ):
                raise InvariantBroken(f"{self._node}: session {key} lives without a lease")

    def _flush_due(self, now: Now) -> Instant:
        return self._in(self._knobs.flush_ms, now)

    def _in(self, span_ms: int, now: Now) -> Instant:
        return Instant(now.instant + span_ms)
