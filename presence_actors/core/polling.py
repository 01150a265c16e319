"""Those who poll: a query waits until its topics are known, but not for long."""

from __future__ import annotations

from presence_actors.config import Knobs
from presence_actors.core.effects import Answer
from presence_actors.core.events import QueryReceived
from presence_actors.core.ids import Topic, user_topic
from presence_actors.core.instants import Instant, Now
from presence_actors.core.watching import Watching

__all__ = ["Polling"]


class _Query:
    __slots__ = ("request", "topics", "until", "users")

    def __init__(self, event: QueryReceived, until: Instant) -> None:
        self.request = event.request
        self.topics = [Topic(f"{event.namespace}/{name}") for name in event.topics]
        self.users = [user_topic(event.namespace, user) for user in event.users]
        self.until = until


class Polling:
    """The queries that wait. Their number is bounded by the connections of the HTTP server."""

    def __init__(self, watching: Watching, knobs: Knobs) -> None:
        self._watching = watching
        self._knobs = knobs
        self._waiting: list[_Query] = []

    def note_query(self, event: QueryReceived, now: Now) -> None:
        """Somebody asks; topics that are not known are asked for."""
        query = _Query(event, Instant(now.instant + self._knobs.snapshot_wait_ms))
        for topic in (*query.topics, *query.users):
            self._watching.settle(self._watching.want(topic, now), now)
        self._waiting.append(query)

    def deadline(self) -> Instant | None:
        """When the first query waits no longer."""
        return min((query.until for query in self._waiting), default=None)

    def run_due(self, now: Now) -> list[Answer]:
        """Answers to those whose topics are known, or who have waited long enough."""
        answers: list[Answer] = []
        waiting: list[_Query] = []
        for query in self._waiting:
            rooms = [self._watching.want(topic, now) for topic in query.topics]
            users = [self._watching.want(topic, now) for topic in query.users]
            for view in (*rooms, *users):
                self._watching.settle(view, now)
            known = all(self._watching.is_settled(view) for view in (*rooms, *users))
            if not known and now.instant < query.until:
                waiting.append(query)
                continue
            topics = [self._watching.answer(view) for view in rooms]
            statuses = [self._watching.status(view, now) for view in users]
            answers.append(Answer(query.request, topics, statuses))
        self._waiting = waiting
        return answers
