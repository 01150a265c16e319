"""Notices: what app servers are told of users without asking, by webhooks.

Only what matters there: that a user shows another status (online, away, dnd, offline), and only if
that lasts longer than `webhook_debounce_ms`. Who reconnects or flickers is not told of.

Told is not a stream of events but the difference between two facts: what the user shows, and what
app servers were told last. The latter is a record in the durable map, so every replica knows it and
the duty can pass from one to the next. Its number grows with each notice, and is at least the time
of the user's newest row in seconds: so it grows even if the record was lost with all replicas, and
is the same at all who know the same.

* One replica speaks: the smallest name of those that live, of our zone. The others watch, and
  remember for whom they would have spoken: that may have been said without its record having come
  (the speaker died in between). When they speak, they say for these what is so now, even if nothing
  seems new. So app servers hear at least once, and last of all what is true.
* A notice that is not taken is tried again, later and later; if the user shows something else by
  then, that is told in its place, under the same number. After `NOTICE_ATTEMPTS_MAX` it is dead: it
  counts as told, and is kept for people to see.
* The id is made of the user, the number and the status. Two replicas that tell the same, because
  each takes the other for dead, tell it under the same id, and a receiver can drop one. A greater
  number is newer.
* Of whom nothing certain is known (unreachable, not synchronised yet), nothing is told.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable

import msgspec

from crdt import Origin, Row, Stamp, VersionVector, epoch_resume, pack_epoch
from crdt.hlc import stamp_wall
from presence_actors.config import Knobs
from presence_actors.core.effects import Notify
from presence_actors.core.events import NoticeAnswered
from presence_actors.core.ids import NodeId, ShardId, Topic, UserId
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.limits import (
    DEAD_NOTICES_MAX,
    NOTICE_ANSWER_MS_MAX,
    NOTICE_ATTEMPTS_MAX,
    NOTICE_RETRY_MS_MAX,
    NOTICE_RETRY_MS_MIN,
    NOTICES_FLYING_MAX,
)
from presence_actors.core.messages import DURABLE, Reach
from presence_actors.core.status import fold_user
from presence_actors.core.store import ShardStore
from presence_actors.core.values import INTENT_KEY, decode_intent
from presence_actors.core.views import DeadNotice, NoticesView
from presence_actors.core.vocabulary import UserStatus

__all__ = ["Notices"]

#: A user: its topic, and its name.
Key = tuple[str, str]

#: The `session` part of the key of what was told.
_TOLD_KEY = "told"
_NOTHING = VersionVector()
_MS_PER_SECOND = 1_000
_CERTAIN = (UserStatus.ONLINE, UserStatus.AWAY, UserStatus.DND, UserStatus.OFFLINE)


class _Told(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What app servers were told of a user last."""

    status: str


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Told)


class _Flight:
    """A notice on its way, or waiting to be tried again."""

    __slots__ = ("attempts", "is_waiting", "notify")

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.attempts = 0
        #: Whether it failed, and waits for its next attempt.
        self.is_waiting = False


class Notices:
    """What one replica has to tell, or would have."""

    def __init__(self, shard: ShardId, store: ShardStore, knobs: Knobs) -> None:
        self._shard = shard
        self._store = store
        self._debounce_ms = knobs.webhook_debounce_ms
        #: When to look what a user shows: it changed, or something is not settled.
        self._looks: LeaseTable[Key] = LeaseTable()
        #: When a choice ends by itself.
        self._ends: LeaseTable[Key] = LeaseTable()
        #: Of whom something may have been told that the record does not say.
        self._unsettled: dict[Key, None] = {}
        #: What this replica itself has told of each user last.
        self._spoken: dict[Key, tuple[int, str]] = {}
        self._flights: dict[Key, _Flight] = {}
        #: When a flight is tried again, or given up waiting for.
        self._retries: LeaseTable[Key] = LeaseTable()
        self._told: list[Row] = []
        self._dead: deque[DeadNotice] = deque(maxlen=DEAD_NOTICES_MAX)
        self._sent = self._failed = self._dead_total = 0

    def inspect(self) -> NoticesView:
        """For people and metrics."""
        return NoticesView(
            waiting=len(self._looks) + len(self._flights),
            sent=self._sent,
            failed=self._failed,
            dead_total=self._dead_total,
            dead=list(self._dead),
        )

    # What happens.

    def note(self, which: int, rows: Iterable[Row], now: Now) -> None:
        """Rows changed."""
        for row in rows:
            key = _user_of(row)
            if key is None:
                continue
            if which == DURABLE and row.key[2] == _TOLD_KEY:
                self._note_told(key, row, now)
                continue
            if which == DURABLE and row.key[2] == INTENT_KEY:
                self._note_end(key, row, now)
            self._look(key, now)

    def note_all(self, now: Now) -> None:
        """This replica has just learnt all there is: what happened meanwhile is to be looked at."""
        for source in self._store.maps:
            for row in source.live_rows():
                key = _user_of(row)
                if key is not None:
                    self._look(key, now)
                    if row.key[2] == INTENT_KEY:
                        self._note_end(key, row, now)

    def note_answer(self, answer: NoticeAnswered, now: Now) -> None:
        """A receiver took a notice, or did not."""
        key = next((k for k, f in self._flights.items() if f.notify.id == answer.id), None)
        if key is None or self._flights[key].is_waiting:
            return
        flight = self._flights[key]
        if answer.taken:
            self._sent += 1
            self._settle(key, flight)
        else:
            self._fail(key, flight, answer.reason, now)

    def _note_told(self, key: Key, row: Row, now: Now) -> None:
        number, status = self._spoken.get(key, (0, ""))
        if number == epoch_resume(row.epoch) and status != _DECODER.decode(row.value).status:
            # Two spoke at once, each behind a cut: which of them was heard last is not known.
            self._unsettled[key] = None
        elif key not in self._flights:
            self._unsettled.pop(key, None)
        self._look(key, now)

    def _note_end(self, key: Key, row: Row, now: Now) -> None:
        until = decode_intent(row.value).until
        if until is not None and until > now.wall:
            self._ends.renew(key, Instant(now.instant + (until - now.wall)))
        else:
            self._ends.release(key)

    def _look(self, key: Key, now: Now) -> None:
        if key not in self._looks:
            self._looks.renew(key, Instant(now.instant + self._debounce_ms))

    # What falls due.

    def deadline(self) -> Instant | None:
        """When to look, or to try again."""
        ends = (self._looks.deadline(), self._ends.deadline(), self._retries.deadline())
        return min((end for end in ends if end is not None), default=None)

    def run_due(self, now: Now, *, reach: Reach, may_vouch: bool, speaks: bool) -> list[Notify]:
        """What to tell now.

        Args:
            now: The time.
            reach: Who cannot be heard.
            may_vouch: Whether absence means absence here.
            speaks: Whether it is on us to tell.
        """
        for key in self._ends.take_expired(now.instant):
            self._look(key, now)
        out: list[Notify] = []
        for key in self._retries.take_expired(now.instant):
            flight = self._flights[key]
            if not flight.is_waiting:
                self._fail(key, flight, "no answer", now)
            elif not speaks:
                del self._flights[key]
                self._unsettled[key] = None
                self._look(key, now)
            else:
                status = self._shown(key, reach, now, may_vouch=may_vouch)
                if status is not None and status != flight.notify.status:
                    flight.notify = self._notice(key, status)
                flight.is_waiting = False
                out.append(self._send(key, flight, now))
        for key in self._looks.take_expired(now.instant):
            if key in self._flights:
                continue  # Looked at when that has ended.
            status = self._shown(key, reach, now, may_vouch=may_vouch)
            if status is None:
                self._look(key, now)
                continue
            if status == self._last_told(key)[0] and key not in self._unsettled:
                continue
            if not speaks or len(self._flights) >= NOTICES_FLYING_MAX:
                self._unsettled[key] = None
                self._look(key, now)
                continue
            flight = self._flights[key] = _Flight(self._notice(key, status))
            out.append(self._send(key, flight, now))
        return out

    def take_told(self) -> list[Row]:
        """Records of what was told, to be written."""
        told, self._told = self._told, []
        return told

    def _shown(self, key: Key, reach: Reach, now: Now, *, may_vouch: bool) -> UserStatus | None:
        """What the user shows, if that is certain."""

        def doubt(row: Row) -> WallMs | None:
            return reach.origins.get(NodeId(row.origin)) or reach.holders.get(NodeId(row.holder))

        topic, user = key
        frame = fold_user(
            UserId(user),
            self._store.presence.topic_rows(topic),
            self._store.durable.topic_rows(topic),
            doubt=doubt,
            may_vouch=may_vouch,
            wall=now.wall,
        )
        return frame.status if may_vouch and frame.status in _CERTAIN else None

    def _last_told(self, key: Key) -> tuple[UserStatus, int]:
        row = self._store.durable.get((*key, _TOLD_KEY))
        if row is None:
            return UserStatus.OFFLINE, 0
        return UserStatus(_DECODER.decode(row.value).status), epoch_resume(row.epoch)

    def _notice(self, key: Key, status: UserStatus) -> Notify:
        topic, user = key
        before, number = self._last_told(key)
        namespace = topic.partition("/")[0]
        newest = [
            stamp_wall(row.stamp)
            for source in self._store.maps
            for row in source.topic_rows(topic, beyond=_NOTHING)
            if row.key[2] != _TOLD_KEY
        ]
        at = WallMs(max(newest, default=0))
        number = max(number + 1, at // _MS_PER_SECOND)
        said = "\x00".join((topic, user, str(number), status))
        return Notify(
            shard=self._shard,
            id=hashlib.blake2b(said.encode(), digest_size=16).hexdigest(),
            namespace=namespace,
            user=UserId(user),
            status=status,
            previous=before,
            number=number,
            at=at,
        )

    def _send(self, key: Key, flight: _Flight, now: Now) -> Notify:
        flight.attempts += 1
        self._retries.renew(key, Instant(now.instant + NOTICE_ANSWER_MS_MAX))
        return flight.notify

    def _fail(self, key: Key, flight: _Flight, reason: str, now: Now) -> None:
        self._failed += 1
        if flight.attempts >= NOTICE_ATTEMPTS_MAX:
            self._dead_total += 1
            notify = flight.notify
            self._dead.append(
                DeadNotice(
                    id=notify.id,
                    namespace=notify.namespace,
                    user=notify.user,
                    status=notify.status,
                    at=notify.at,
                    reason=reason,
                )
            )
            self._settle(key, flight)
            return
        flight.is_waiting = True
        wait_ms = min(NOTICE_RETRY_MS_MIN << (flight.attempts - 1), NOTICE_RETRY_MS_MAX)
        # Not all of a receiver that was away at the same moment: by chance, but the same each run.
        wait_ms += wait_ms * int(flight.notify.id[:2], 16) // 1_024
        self._retries.renew(key, Instant(now.instant + wait_ms))

    def _settle(self, key: Key, flight: _Flight) -> None:
        """It counts as told."""
        del self._flights[key]
        self._retries.release(key)
        self._unsettled.pop(key, None)
        topic, user = key
        self._spoken[key] = (flight.notify.number, flight.notify.status)
        self._told.append(
            Row(
                key=(topic, user, _TOLD_KEY),
                stamp=Stamp(0),
                origin=Origin(""),
                epoch=pack_epoch(flight.notify.number, 0),
                status=1,
                holder="",
                value=_ENCODER.encode(_Told(flight.notify.status)),
            )
        )


def _user_of(row: Row) -> Key | None:
    """The user whose topic the row is in, if it is in a user's."""
    topic, user, _ = row.key
    return (topic, user) if Topic(topic).endswith(f"/user:{user}") else None
