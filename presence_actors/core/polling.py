"""Those who poll: a query waits until its topics are known, but not for long.

Whoever comes with a cursor may wait for news instead: its query is looked at again on each tick of
one of its topics, and costs nothing in between.
"""

from __future__ import annotations

from presence_actors.config import Knobs
from presence_actors.core.cursors import mark_of, read_mark
from presence_actors.core.effects import Answer, TopicAnswer
from presence_actors.core.events import QueryReceived
from presence_actors.core.ids import RequestId, Topic, user_topic
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.vocabulary import Quality, StatusFrame, UserStatus
from presence_actors.core.watching import Watching

__all__ = ["Polling"]


class _Query:
    __slots__ = ("asked", "known_by", "rooms", "until", "users")

    def __init__(self, asked: QueryReceived, *, known_by: Instant, until: Instant) -> None:
        self.asked = asked
        self.rooms = [Topic(f"{asked.namespace}/{name}") for name in asked.topics]
        self.users = [user_topic(asked.namespace, user) for user in asked.users]
        #: When it is answered with what is known by then; and until when it waits for news.
        self.known_by = known_by
        self.until = until


class Polling:
    """The queries that wait. Their number is bounded by the connections of the HTTP server."""

    def __init__(self, watching: Watching, knobs: Knobs) -> None:
        self._watching = watching
        self._knobs = knobs
        self._waiting: dict[RequestId, _Query] = {}
        #: {topic: queries that it may answer}.
        self._by_topic: dict[Topic, dict[RequestId, None]] = {}
        self._ends: LeaseTable[RequestId] = LeaseTable()
        #: Queries that have not been looked at yet, and when the first of them came.
        self._fresh: dict[RequestId, None] = {}
        self._fresh_at: Instant | None = None

    def note_query(self, event: QueryReceived, now: Now) -> None:
        """Somebody asks; topics that are not known are asked for."""
        query = _Query(
            event,
            known_by=Instant(now.instant + self._knobs.snapshot_wait_ms),
            until=Instant(now.instant + event.wait_ms),
        )
        for topic in (*query.rooms, *query.users):
            if event.request not in self._by_topic.setdefault(topic, {}):
                self._by_topic[topic][event.request] = None
                self._watching.want(topic, now).pins += 1
        self._waiting[event.request] = query
        self._fresh[event.request] = None
        self._fresh_at = now.instant

    def deadline(self) -> Instant | None:
        """When the first query is to be looked at, or waits no longer."""
        return self._ends.deadline() if self._fresh_at is None else self._fresh_at

    def run_due(self, now: Now) -> list[Answer]:
        """Answers to those whose topics are known and have news, or who have waited long enough."""
        ticked, ended = self._watching.take_ticked(), self._ends.take_expired(now.instant)
        if not (self._fresh or self._by_topic or ended):
            return []
        due, self._fresh, self._fresh_at = self._fresh, {}, None
        for topic in ticked:
            due.update(self._by_topic.get(topic, {}))
        due.update(dict.fromkeys(ended))
        answers: list[Answer] = []
        for request in due:
            query = self._waiting[request]
            answer = self._answer(query, now)
            if answer is None:
                continue
            answers.append(answer)
            self._drop(query, now)
        return answers

    def _answer(self, query: _Query, now: Now) -> Answer | None:
        """The answer; None, with a time to look again, as long as it waits."""
        asked = query.asked
        rooms = [self._watching.want(topic, now) for topic in query.rooms]
        users = [self._watching.want(topic, now) for topic in query.users]
        known = all(self._watching.is_settled(view) for view in (*rooms, *users))
        if not known and now.instant < query.known_by:
            self._ends.renew(asked.request, query.known_by)
            return None
        topics = [
            self._watching.answer(
                view, now, cursor=asked.cursor, limit=asked.limit, after=asked.after
            )
            for view in rooms
        ]
        statuses = [self._watching.status(view, now) for view in users]
        cursor = f"~{mark_of(*statuses)}" if statuses else None
        oldest = None if asked.max_staleness_ms is None else now.wall - asked.max_staleness_ms
        if oldest is not None and _is_stale(topics, statuses, WallMs(oldest)):
            return Answer(asked.request, topics, statuses, cursor, stale=True)
        if now.instant < query.until and not _is_news(asked, topics, cursor):
            self._ends.renew(asked.request, query.until)
            return None
        return Answer(asked.request, topics, statuses, cursor)

    def _drop(self, query: _Query, now: Now) -> None:
        request = query.asked.request
        del self._waiting[request]
        self._ends.release(request)
        for topic in (*query.rooms, *query.users):
            others = self._by_topic.get(topic)
            if others is None or request not in others:
                continue  # Named twice.
            del others[request]
            if not others:
                del self._by_topic[topic]
            view = self._watching.want(topic, now)
            view.pins -= 1
            self._watching.settle(view, now)


def _is_news(asked: QueryReceived, topics: list[TopicAnswer], cursor: str | None) -> bool:
    """Whether somebody with this cursor learns anything."""
    mark = read_mark(asked.cursor)
    if cursor is not None and read_mark(cursor) != mark:
        return True
    return any(
        not answer.resumed or answer.entries or answer.leaves or read_mark(answer.cursor) != mark
        for answer in topics
    )


def _is_stale(topics: list[TopicAnswer], statuses: list[StatusFrame], oldest: WallMs) -> bool:
    """Whether any part was known last before that time, or is not known at all."""
    if any(answer.quality == Quality.STARTING for answer in topics):
        return True
    if any(status.status == UserStatus.UNKNOWN for status in statuses):
        return True
    times = [answer.as_of for answer in topics] + [status.as_of for status in statuses]
    return any(at is not None and at < oldest for at in times)
