"""Acts that came over HTTP: from the request to the answer, which a replica has to stand behind.

An act first waits until the topics that it has to judge by are known here, but not for long, as a
poll does. Then it is written, and answered when each replica that it concerns has acknowledged. If
that takes longer than whoever asked is willing to wait, it may still happen: all acts can be said
again with the same effect as once.

* A choice is written like one that the user made.
* A kick is a dismissal (`core.dismissals`): it finds the session wherever it is held.
* A device that posts (`Publish`) has a session here that requests carry in place of a connection,
  and that ends with its lease. Posted to another gateway it goes on there, as a client that resumes
  elsewhere would, under a resume number from the wall clock; who held it gives it up without a
  word. One that was kicked does not begin again under its name.
"""

from __future__ import annotations

from collections.abc import Iterable

from crdt import Row, epoch_resume
from presence_actors.config import Knobs
from presence_actors.core.acts import Choose, Kick, Publish, Withdraw
from presence_actors.core.attaching import Attachments
from presence_actors.core.choices import Choices, intent_row
from presence_actors.core.dismissals import dismissal_row, dismissals_in, meant_by
from presence_actors.core.effects import Acted
from presence_actors.core.events import ActRequested
from presence_actors.core.guests import guest_resume, row_in, since_in
from presence_actors.core.holding import Holding
from presence_actors.core.ids import RequestId, Topic, UserId, user_topic
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import ACTS_WAITING_MAX, CARRIED_PER_USER_MAX
from presence_actors.core.messages import PRESENCE
from presence_actors.core.sessions import Session, SessionKey
from presence_actors.core.status import intent_of
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import (
    EntryStatus,
    IntentStatus,
    LeaveReason,
    decode_end,
    decode_entry,
)
from presence_actors.core.vocabulary import Err, ErrorCode, Hello, Identity, Intent
from presence_actors.core.watching import Watching

__all__ = ["Acting"]


class _Waiting:
    """An act whose topics are not known yet."""

    __slots__ = ("event", "topics")

    def __init__(self, event: ActRequested, topics: list[Topic]) -> None:
        self.event = event
        self.topics = topics


class _Written:
    """An act that replicas have yet to acknowledge, so many of them."""

    __slots__ = ("at", "missing", "session")

    def __init__(self, at: WallMs, missing: int, session: SessionKey | None) -> None:
        self.at = at
        self.missing = missing
        self.session = session


class Acting:
    """The acts that wait. At most `ACTS_WAITING_MAX`."""

    def __init__(
        self,
        *,
        attachments: Attachments,
        watching: Watching,
        holding: Holding,
        choices: Choices,
        knobs: Knobs,
    ) -> None:
        self._attachments = attachments
        self._watching = watching
        self._holding = holding
        self._choices = choices
        self._knobs = knobs
        self._waiting: dict[RequestId, _Waiting] = {}
        self._ends: LeaseTable[RequestId] = LeaseTable()
        self._written: dict[RequestId, _Written] = {}
        self._out: list[Acted] = []

    def note_act(self, event: ActRequested, now: Now) -> None:
        """Somebody wants something done."""
        if len(self._waiting) + len(self._written) >= ACTS_WAITING_MAX:
            self._refuse(event, ErrorCode.UNAVAILABLE, f"{ACTS_WAITING_MAX} acts wait already")
            return
        topics = self._judged_by(event)
        for topic in topics:
            self._watching.want(topic, now).pins += 1
        self._waiting[event.request] = _Waiting(event, topics)
        until = Instant(now.instant + self._knobs.snapshot_wait_ms)
        self._ends.renew(event.request, until)

    def choose(
        self,
        topic: Topic,
        user: UserId,
        intent: Intent,
        request: RequestId | None,
        now: Now,
    ) -> None:
        """The choice goes to the durable map, and what is held here obeys it at once."""
        row = intent_row(topic, user, intent)
        self._attachments.of(topic).write_durable(row, request, self._flush_due(now))
        # A choice that has ended already hides nobody, not even until it comes back.
        hidden = intent_of([row], now.wall).status == IntentStatus.INVISIBLE
        self._holding.hide(topic, hidden=hidden, now=now)

    def note_taken(self, request: RequestId) -> None:
        """A replica has a part of this act."""
        written = self._written.get(request)
        if written is None:
            return
        written.missing -= 1
        if not written.missing:
            del self._written[request]
            self._out.append(Acted(request, written.at))

    @property
    def is_idle(self) -> bool:
        """Whether no act waits for what any event may bring, nor for its answer to go out."""
        return not (self._waiting or self._out)

    def deadline(self) -> Instant | None:
        """When the first act waits no longer."""
        return self._ends.deadline()

    def run_due(self, now: Now) -> list[Acted]:
        """Acts whose topics are known by now, or that have waited for long enough, are carried out.

        Whoever acts is few beside whoever connects, so all that wait are looked at.
        """
        due = dict.fromkeys(self._ends.take_expired(now.instant))
        for request, waiting in list(self._waiting.items()):
            if request not in due and not self._is_ready(waiting):
                continue
            del self._waiting[request]
            self._ends.release(request)
            self._carry_out(waiting.event, now)
            for topic in waiting.topics:
                view = self._watching.want(topic, now)
                view.pins -= 1
                self._watching.settle(view, now)
        out, self._out = self._out, []
        return out

    def _is_ready(self, waiting: _Waiting) -> bool:
        views = [self._watching.get(topic) for topic in waiting.topics]
        return all(view is not None and self._watching.is_known(view) for view in views)

    def _judged_by(self, event: ActRequested) -> list[Topic]:
        """What must be known for the act to be judged."""
        act = event.act
        if isinstance(act, Choose):
            return []
        own = user_topic(event.namespace, act.user)
        if isinstance(act, Kick):
            return [own]
        held = self._holding.get((event.namespace, act.user, act.session))
        if held is not None and not held.replaced:
            return []
        return [own, *(act.topics(event.namespace) if isinstance(act, Publish) else ())]

    # Carrying out.

    def _carry_out(self, event: ActRequested, now: Now) -> None:
        topic = user_topic(event.namespace, event.act.user)
        match event.act:
            case Kick(user=user, ref=ref, text=text):
                until = max([now.wall, *self._beginnings(topic)])
                row = dismissal_row(
                    topic, user, reason=LeaveReason.KICKED, until=until, ref=ref, text=text
                )
                self._dismiss(event, topic, row, until, now)
            case Choose(user=user, intent=intent):
                request = self._choices.ask_for(event.request)
                self._written[event.request] = _Written(now.wall, 1, None)
                self.choose(topic, user, intent, request, now)
            case Publish() as act:
                self._publish(event, act, topic, now)
            case Withdraw() as act:
                self._withdraw(event, act, topic, now)

    def _dismiss(
        self, event: ActRequested, topic: Topic, row: Row, until: WallMs, now: Now
    ) -> None:
        request = self._choices.ask_for(event.request)
        self._written[event.request] = _Written(until, 1, None)
        self._attachments.of(topic).dismiss(row, request, self._flush_due(now))

    def _beginnings(self, topic: Topic) -> Iterable[WallMs]:
        """When the sessions began that are seen here."""
        view = self._watching.get(topic)
        rows = () if view is None else view.rows[PRESENCE].values()
        return [decode_entry(row.value).since for row in rows if row.live]

    def _withdraw(self, event: ActRequested, act: Withdraw, topic: Topic, now: Now) -> None:
        session = self._holding.get((event.namespace, act.user, act.session))
        if session is not None and not session.replaced:
            topics = list(session.entries)
            self._holding.end(session, LeaveReason.LEFT, now)
            self._confirm(event, session, topics, now)
            return
        view = self._watching.get(topic)
        row = row_in(view, act.user, act.session)
        if view is not None and self._watching.is_known(view) and (row is None or not row.live):
            self._out.append(Acted(event.request, now.wall))
            return
        # Held elsewhere: ask whoever holds it.
        until = max([now.wall, *self._beginnings(topic)])
        ended = dismissal_row(
            topic,
            act.user,
            reason=LeaveReason.LEFT,
            until=until,
            ref=entry_ref((topic, act.user, act.session)),
        )
        self._dismiss(event, topic, ended, until, now)

    def _publish(self, event: ActRequested, act: Publish, topic: Topic, now: Now) -> None:
        session = self._holding.get((event.namespace, act.user, act.session))
        before = self._holding.changes
        if session is not None and session.connection is not None:
            words = "a connection carries this session; call the device otherwise"
            self._refuse(event, ErrorCode.FORBIDDEN, words)
            return
        if session is None or session.replaced:
            session = self._begin(event, act, topic, session, now)
            if session is None:
                return
        status = EntryStatus.of(act.status) or EntryStatus.ONLINE
        if (session.status, session.device) != (status, act.device):
            session.status, session.device = status, act.device
            self._holding.rewrite(session, now)
        rooms = act.topics(event.namespace)
        touched = list(session.entries) if self._holding.changes != before else []
        for room in [room for room in session.rooms() if room not in rooms]:
            self._holding.end_entry(session, room, LeaveReason.LEFT, now)
            touched.append(room)
        for room, meta in rooms.items():
            held = session.entries.get(room)
            if held is None or held.meta != meta:
                since = now.wall if held is None else held.since
                known = since_in(self._watching.get(room), session)
                self._holding.hold(session, room, min(since, known or since), meta, now)
                touched.append(room)
        self._holding.renew_carried(session, act.lease_ms, now)
        if any(written.session == session.key for written in self._written.values()):
            # Said again before the first was acknowledged: it must not be believed earlier.
            touched = list(session.entries)
        self._confirm(event, session, touched, now)

    def _begin(
        self,
        event: ActRequested,
        act: Publish,
        topic: Topic,
        session: Session | None,
        now: Now,
    ) -> Session | None:
        """The session begins or goes on here; None if it was refused."""
        view = self._watching.get(topic)
        if view is None or not self._watching.is_known(view):
            words = "it is not known here yet who is there; say it again"
            self._refuse(event, ErrorCode.UNAVAILABLE, words)
            return None
        row = row_in(view, act.user, act.session)
        since = now.wall
        if row is not None and row.live:
            since = decode_entry(row.value).since
        topics = [topic, *act.topics(event.namespace)]
        dismissed = dismissals_in(view.rows[PRESENCE].values())
        meant = meant_by(dismissed, topics, act.user, act.session, since=since)
        # Its holder may not have heard yet that it was kicked, or may be gone.
        if (meant is not None and meant.reason == LeaveReason.KICKED and since < now.wall) or (
            row is not None and not row.live and decode_end(row.value).reason == LeaveReason.KICKED
        ):
            words = "this session was kicked; it does not begin again under its name"
            self._refuse(event, ErrorCode.KICKED, words)
            return None
        if session is None and self._holding.carried_of(topic) >= CARRIED_PER_USER_MAX:
            words = f"{CARRIED_PER_USER_MAX} devices of this user post here already"
            self._refuse(event, ErrorCode.TOO_MANY, words)
            return None
        known = None if row is None else epoch_resume(row.epoch)
        if session is not None:
            known = max(session.resume, known or 0)
        resume = guest_resume(now.wall, known=known)
        status = EntryStatus.of(act.status) or EntryStatus.ONLINE
        if session is not None:
            hello = Hello(resume=resume, device=act.device)
            self._holding.resume(session, hello, status, now)
            return session
        if meant is not None:
            since = WallMs(max(now.wall, meant.until + 1))
        return self._holding.carry(
            Identity(event.namespace, act.user),
            act.session,
            resume=resume,
            status=status,
            device=act.device,
            since=since,
            now=now,
        )

    def _confirm(
        self, event: ActRequested, session: Session, topics: Iterable[Topic], now: Now
    ) -> None:
        """Answered when the replicas of these topics have what was written."""
        links = {link.shard: link for link in map(self._attachments.of, topics)}
        if not links:
            self._out.append(Acted(event.request, session.since))
            return
        self._written[event.request] = _Written(session.since, len(links), session.key)
        for link in links.values():
            link.confirm(self._choices.ask_for(event.request), self._flush_due(now))

    def _refuse(self, event: ActRequested, code: ErrorCode, message: str) -> None:
        self._out.append(Acted(event.request, refusal=Err(code=code, message=message)))

    def _flush_due(self, now: Now) -> Instant:
        return Instant(now.instant + self._knobs.flush_ms)
