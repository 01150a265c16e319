"""What the clients of one gateway watch: topics, ticks, frames.

Topics with news gather until the tick; then each gives at most one frame per kind, encoded once for
all its subscribers. A topic that nobody wants any more is kept for `interest_linger_ms`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crdt import Row, VersionVector
from presence_actors.config import Knobs
from presence_actors.core.attaching import Attachments
from presence_actors.core.cursors import (
    is_stale,
    mark_of,
    mark_of_range,
    read_cursor,
    write_cursor,
)
from presence_actors.core.dismissals import is_dismissal
from presence_actors.core.effects import Deliver, TopicAnswer
from presence_actors.core.ids import ConnectionId, NodeId, ShardId, Topic
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.lease import LeaseTable
from presence_actors.core.messages import DURABLE, PRESENCE, Changed
from presence_actors.core.ranges import cut_diff, tell_checks, tell_parts, tell_view
from presence_actors.core.shard_link import ShardLink
from presence_actors.core.status import fold_user, intent_of
from presence_actors.core.topic_view import TopicView, Waiting, check_of
from presence_actors.core.vocabulary import Diff, KeyRange, Quality, StatusFrame, ViewFrame

__all__ = ["Watching"]

_COUNT_INTERVAL_MS = 1_000


class Watching:
    """All topics that this gateway wants, and who of its clients watches them."""

    def __init__(self, node: NodeId, attachments: Attachments, knobs: Knobs) -> None:
        self._node = node
        self._attachments = attachments
        self._knobs = knobs
        self._views: dict[Topic, TopicView] = {}
        #: Topics with something to tell.
        self._due: dict[Topic, None] = {}
        self._tick_at: Instant | None = None
        #: Topics that had their tick since this was last asked for.
        self._ticked: dict[Topic, None] = {}
        #: Topics that nobody wants, until they are forgotten.
        self._unwanted: LeaseTable[Topic] = LeaseTable()
        #: Topics whose user's choice ends by itself.
        self._choices: LeaseTable[Topic] = LeaseTable()
        #: Topics with subscribers that resumed here and may have seen more than we have.
        self._resumed: dict[Topic, None] = {}
        #: When to ask the replicas how far they have come: where nothing changes, they do not say.
        self._ask_at: Instant | None = None
        #: Topics whose counts were told less than a second ago.
        self._counting: LeaseTable[Topic] = LeaseTable()
        #: Topics with subscribers that wait for them to load.
        self._loading: LeaseTable[Topic] = LeaseTable()
        self.deliveries = 0
        self.frames = 0

    def __len__(self) -> int:
        return len(self._views)

    @property
    def subscriptions(self) -> int:
        """How many pairs of client and topic there are."""
        return sum(view.audience for view in self._views.values())

    def get(self, topic: Topic) -> TopicView | None:
        """The view of a topic, if it is wanted or was a moment ago."""
        return self._views.get(topic)

    def topics_of(self, shard: ShardId) -> tuple[list[Topic], list[Topic]]:
        """The topics of a shard: those we know, and those that we have to ask for."""
        topics: tuple[list[Topic], list[Topic]] = ([], [])
        for view in self._views.values():
            if view.shard == shard:
                asked = not view.loaded or self._link(view).is_partial(view.topic)
                topics[asked].append(view.topic)
        return topics

    def is_settled(self, view: TopicView) -> bool:
        """Whether what the view shows is what is known."""
        return view.loaded and view.topic not in self._due

    def is_known(self, view: TopicView) -> bool:
        """Whether what the rows do not say is not so."""
        return view.loaded and self._link(view).reach.ready

    # Who wants what.

    def want(self, topic: Topic, now: Now) -> TopicView:
        """The view of a topic; asks for it if it is new. Call `settle` when done with it."""
        view = self._views.get(topic)
        if view is None:
            link = self._attachments.of(topic)
            view = self._views[topic] = TopicView(topic, link.shard)
            link.watch(topic, Instant(now.instant + self._knobs.flush_ms))
        self._unwanted.release(topic)
        return view

    def subscribe(
        self,
        topic: Topic,
        connection: ConnectionId,
        cursor: VersionVector | None,
        now: Now,
        *,
        counts: bool = False,
        once: bool = False,
        keys: KeyRange | None = None,
    ) -> None:
        """The client gets the topic's state on the next tick, and its changes from there on.

        With `counts`, of a room only how many are in it; with `keys`, only these users. With
        `once`, no changes: it is held.
        """
        view = self.want(topic, now)
        until = Instant(now.instant + self._knobs.snapshot_wait_ms)
        view.drop(connection)
        view.waiting[connection] = Waiting(cursor, until, counts=counts, once=once)
        if keys is not None and view.user is None:
            view.parts[connection] = keys
        if view.topic not in self._loading:
            self._loading.renew(topic, until)
        if view.loaded:
            self._touch(view, now)

    def hold(self, topic: Topic, connection: ConnectionId, now: Now) -> None:
        """The client is told nothing of the topic until it subscribes again."""
        view = self.want(topic, now)
        view.drop(connection)
        view.held[connection] = None

    def show(self, topic: Topic, connection: ConnectionId, now: Now) -> None:
        """Who is held gets the topic's state, if that has changed since the last one."""
        view = self.want(topic, now)
        if connection in view.held and view.held[connection] != view.changes:
            self.subscribe(topic, connection, None, now, once=True)

    def unsubscribe(self, topic: Topic, connection: ConnectionId, now: Now) -> None:
        """The client hears no more of the topic."""
        view = self._views.get(topic)
        if view is not None:
            view.drop(connection)
            self.settle(view, now)

    def settle(self, view: TopicView, now: Now) -> None:
        """If nobody wants the topic, its time begins to run out."""
        if not view.is_wanted and view.topic not in self._unwanted:
            self._unwanted.renew(view.topic, Instant(now.instant + self._knobs.interest_linger_ms))

    # News from the replicas.

    def merge(self, link: ShardLink, changed: Changed, now: Now) -> list[TopicView]:
        """Takes the rows in; users' topics with other durable records or dismissals, or whole."""
        choices: dict[Topic, TopicView] = {}
        self._take_gone(changed, now)
        for which, rows in ((PRESENCE, changed.rows), (DURABLE, changed.durable)):
            for row in rows:
                view = self._views.get(Topic(row.key[0]))
                if view is None or not view.merge(which, row):
                    continue
                self._touch(view, now)
                if which == DURABLE or is_dismissal(row):
                    choices[view.topic] = view
                    self._await_end(view, now)
        for topic in changed.loaded:
            view = self._views.get(topic)
            if view is not None:
                link.note_loaded(topic, known=view.loaded and topic not in changed.anew)
                view.loaded = True
                view.doubtful = True
                self._touch(view, now)
                if view.user is not None:
                    choices[view.topic] = view
        self._touch_resumed(link.shard, now)
        if changed.reach is not None:
            before = link.reach
            link.hear(changed.reach)
            if link.reach != before:
                self.doubt(link.shard, now)
            if link.reach.ready and not before.ready:
                choices.update(
                    (topic, view)
                    for topic, view in self._views.items()
                    if view.shard == link.shard and view.user is not None and view.pins
                )
        return list(choices.values())

    def _touch_resumed(self, shard: ShardId, now: Now) -> None:
        """We may have seen by now what those saw who resumed here."""
        for topic in list(self._resumed):
            view = self._views[topic]
            if not view.is_ahead:
                del self._resumed[topic]
            elif view.shard == shard:
                self._touch(view, now)

    def _take_gone(self, changed: Changed, now: Now) -> None:
        """Rows that went without an end."""
        for row in changed.gone:
            view = self._views.get(Topic(row.key[0]))
            if view is not None and view.forget(row):
                self._touch(view, now)
        came = set(changed.rows.keys) if changed.anew else set()
        for topic in changed.anew:
            view = self._views.get(topic)
            if view is not None:
                view.begin_anew(came, changed.vectors[PRESENCE])
                self._touch(view, now)

    def rows_beyond(self, shard: ShardId, which: int, seen: VersionVector) -> Iterator[Row]:
        """What we have been shown of a shard that somebody with this vector has not seen."""
        for view in self._views.values():
            if view.shard == shard:
                for row in view.rows[which].values():
                    if not seen.covers(row.origin, row.stamp):
                        yield row

    def doubt(self, shard: ShardId, now: Now) -> None:
        """Other origins or holders of the shard can be heard than before."""
        for view in self._views.values():
            if view.shard == shard:
                view.doubtful = True
                self._touch(view, now)

    def _touch(self, view: TopicView, now: Now) -> None:
        self._due[view.topic] = None
        if self._tick_at is None:
            self._tick_at = Instant(now.instant + self._knobs.gateway_tick_ms)

    # Ticks.

    def deadline(self) -> Instant | None:
        """The next tick, or when a table has something."""
        earliest = self._tick_at
        if self._ask_at is not None and (earliest is None or self._ask_at < earliest):
            earliest = self._ask_at
        for table in (self._unwanted, self._choices, self._loading, self._counting):
            instant = table.deadline()
            if instant is not None and (earliest is None or instant < earliest):
                earliest = instant
        return earliest

    def take_ended_choices(self, now: Now) -> list[TopicView]:
        """Users' topics whose choice may just have ended by itself."""
        ended = [self._views[topic] for topic in self._choices.take_expired(now.instant)]
        for view in ended:
            self._await_end(view, now)
            self._touch(view, now)
        return ended

    def _await_end(self, view: TopicView, now: Now) -> None:
        """If the choice that holds now ends by itself, we look again then.

        At once: by the next tick it may be over, and those whom it hid would stay so. And again
        when the alarm has rung: ends belong to the wall clock, which may have been set back.
        """
        intent = intent_of(view.rows[DURABLE].values(), now.wall)
        if intent.until is not None:
            end = Instant(now.instant + max(1, intent.until - now.wall))
            self._choices.renew(view.topic, end)

    def run_due(self, now: Now) -> list[Deliver]:
        """What subscribers are to be told now."""
        for topic in self._unwanted.take_expired(now.instant):
            view = self._views[topic]
            if not view.is_wanted:
                del self._views[topic]
                self._resumed.pop(topic, None)
                self._due.pop(topic, None)
                self._choices.release(topic)
                self._loading.release(topic)
                due = Instant(now.instant + self._knobs.flush_ms)
                self._attachments.of(topic).unwatch(topic, due)
        self._ask_seen(now)
        for topic in self._counting.take_expired(now.instant):
            if topic in self._views:
                self._touch(self._views[topic], now)
        for topic in self._loading.take_expired(now.instant):
            self._touch(self._views[topic], now)
            self._tick_at = now.instant
        if self._tick_at is None or now.instant < self._tick_at:
            return []
        self._tick_at = None
        dirty, self._due = self._due, {}
        self._ticked.update(dirty)
        frames = [frame for topic in dirty for frame in self._tick(self._views[topic], now)]
        self.frames += len(frames)
        self.deliveries += sum(len(frame.connections) for frame in frames)
        return frames

    def take_ticked(self) -> list[Topic]:
        """Topics that show something else, or are known better, than when this was last asked."""
        if not self._ticked:
            return []
        ticked, self._ticked = self._ticked, {}
        return list(ticked)

    def _ask_seen(self, now: Now) -> None:
        if self._ask_at is None or now.instant < self._ask_at:
            return
        ahead = [topic for topic in self._resumed if self._views[topic].is_ahead]
        for topic in ahead:
            self._attachments.of(topic).ask_seen(Instant(now.instant + self._knobs.flush_ms))
        self._ask_at = self._seen_due(now) if ahead else None

    def _seen_due(self, now: Now) -> Instant:
        # Idle replicas have promised by then that they write no older stamps.
        return Instant(now.instant + self._knobs.drift_ms_max + 2 * self._knobs.gossip_idle_ms)

    def _tick(self, view: TopicView, now: Now) -> Iterator[Deliver]:
        if view.user is not None:
            yield from self._tick_user(view, now)
        else:
            yield from self._tick_room(view, now)

    def _tick_user(self, view: TopicView, now: Now) -> Iterator[Deliver]:
        status = self.status(view, now)
        told = list(view.subscribers)
        if told and status != view.shown_status:
            yield Deliver(told, status)
        view.shown_status = status
        view.doubtful = False
        # A status says by itself how much is known, so nobody waits for longer than this.
        fresh = self._take_waiting(view, all_of_them=view.loaded, now=now)
        if fresh:
            yield Deliver(list(fresh), status)
        view.enter(fresh)

    def _tick_room(self, view: TopicView, now: Now) -> Iterator[Deliver]:
        told = list(view.subscribers)
        diff = view.take_diff()
        # With each of them: a cursor that is older than what its bearer has seen would have it told
        # again, and of a replica that is behind, in its older state.
        for part in [] if diff is None else tell_parts(view, told, diff):
            for group, seen in view.by_seen(part.connections):
                cursor = self._cursor(view, seen, view.parts.get(group[0]))
                yield Deliver(group, msgspec.structs.replace(part.message, cursor=cursor))
        ahead = view.take_unknown_leaves(self._link(view).vectors[PRESENCE])
        if ahead is not None:
            yield from tell_parts(view, *ahead)
        yield from tell_checks(view)
        if view.doubtful or diff is not None or view.shown_view is None:
            frame = self.judge(view)
            if told and frame != view.shown_view:
                yield from tell_view(view, told, frame, before=view.shown_view)
            view.shown_view = frame
            view.doubtful = False
        yield from self._counts(view, now)
        yield from self._first_frames(view, view.shown_view, now)

    def _counts(self, view: TopicView, now: Now) -> Iterator[Deliver]:
        """Those who get counts only hear of a change at most once in a second."""
        if not view.counted or view.topic in self._counting:
            return
        count = view.count()
        if count != view.shown_count:
            view.shown_count = count
            self._counting.renew(view.topic, Instant(now.instant + _COUNT_INTERVAL_MS))
            yield Deliver(list(view.counted), count)

    def _first_frames(self, view: TopicView, judged: ViewFrame, now: Now) -> Iterator[Deliver]:
        """What new subscribers get.

        Whoever resumes takes an entry that is missing from a snapshot for gone. So no snapshot is
        sent before absence means absence: until then they hear that the view is starting.
        """
        if judged.quality == Quality.STARTING:
            late = self._take_waiting(view, all_of_them=False, now=now)
            if late:
                yield Deliver(list(late), judged)
            # They wait on, and need not be told again.
            for connection, waiting in late.items():
                waiting.warned = True
                view.waiting[connection] = waiting
            return
        fresh = self._take_waiting(view, all_of_them=True, now=now)
        if not fresh:
            return
        partial = judged.quality != Quality.COMPLETE
        hearers = [connection for connection, waiting in fresh.items() if partial or waiting.warned]
        yield from tell_view(view, hearers, judged)
        newest = WallMs(now.wall + self._knobs.drift_ms_max)
        counting = [connection for connection, waiting in fresh.items() if waiting.counts]
        if counting:
            yield Deliver(counting, view.count())
        for connection in counting:
            del fresh[connection]
            view.counted[connection] = None
        plain: list[ConnectionId] = []
        for connection, waiting in fresh.items():
            seen, keys = waiting.cursor, view.parts.get(connection)
            resumed = self._resumption(view, seen, self._cursor(view, seen, keys), now)
            if seen is None or resumed is None:
                plain.append(connection)
            else:
                view.note_resumed(connection, seen, newest)
                self._resumed[view.topic] = None
                self._ask_at = self._ask_at or self._seen_due(now)
                yield Deliver([connection], cut_diff(resumed, keys))
        for group, keys in view.by_part(plain):
            for part in view.snapshot(self._cursor(view, None, keys), keys):
                yield Deliver(group, part)
        view.enter(fresh)

    def _resumption(
        self, view: TopicView, seen: VersionVector | None, cursor: str | None, now: Now
    ) -> Diff | None:
        """What somebody with a cursor lacks; None if it has none, or one that is too old."""
        ours = self._link(view).vectors[PRESENCE]
        if seen is None or is_stale(seen, ours, wall=now.wall, horizon_ms=self._knobs.horizon_ms):
            return None
        return view.resumption(seen, cursor, ours=ours)

    def _take_waiting(
        self, view: TopicView, *, all_of_them: bool, now: Now
    ) -> dict[ConnectionId, Waiting]:
        """Subscribers to be told something first: all, or those who have waited long enough."""
        taken = {
            connection: waiting
            for connection, waiting in view.waiting.items()
            if all_of_them or (waiting.until is not None and waiting.until <= now.instant)
        }
        for connection, waiting in taken.items():
            del view.waiting[connection]
            waiting.until = None
        ends = [waiting.until for waiting in view.waiting.values() if waiting.until is not None]
        if ends:
            self._loading.renew(view.topic, min(ends))
        else:
            self._loading.release(view.topic)
        return taken

    # Judgement.

    def status(self, view: TopicView, now: Now) -> StatusFrame:
        """What the user of the topic shows; when a choice of it ends, we look again."""
        user = view.user
        if user is None:
            raise TypeError(f"{view.topic} is no user's topic")
        self._await_end(view, now)
        entries, durable = view.user_rows()
        link = self._link(view)
        return fold_user(
            user,
            entries,
            durable,
            doubt=lambda row: self._doubt(link, row),
            may_vouch=view.loaded and link.reach.ready and not link.cut_off,
            silent_since=min(link.reach.zones.values(), default=None),
            wall=now.wall,
        )

    def judge(self, view: TopicView) -> ViewFrame:
        """How much of a room's truth can be seen from here."""
        link = self._link(view)
        return view.judge(
            lambda row: self._doubt(link, row),
            link.silent(),
            may_vouch=link.reach.ready,
            silent_since=min(link.reach.zones.values(), default=None),
        )

    def answer(
        self, view: TopicView, now: Now, *, cursor: str | None, limit: int, after: str
    ) -> TopicAnswer:
        """A room for somebody who polls: what changed since the cursor, or else a page of it."""
        link = self._link(view)
        frame = self.judge(view)
        mark, ours = mark_of(frame), link.vectors[PRESENCE]
        seen = read_cursor(cursor).get(link.shard)
        since = self._resumption(view, seen, None, now)
        answer = TopicAnswer(
            topic=view.name,
            quality=frame.quality,
            silent=frame.silent,
            as_of=min(
                (at for at in (frame.as_of, link.silent_since) if at is not None),
                default=None,
            ),
            entries=[],
            unreachable=frame.unreachable,
            cursor=write_cursor({link.shard: ours}, mark=mark),
        )
        if since is not None and len(since.updates) + len(since.leaves) <= limit:
            check = check_of(entry.ref for entry in view.shown.values())
            both = ours if seen is None else ours.merge(seen)
            return msgspec.structs.replace(
                answer,
                entries=since.updates,
                leaves=since.leaves,
                resumed=True,
                check=check,
                cursor=write_cursor({link.shard: both}, mark=mark),
            )
        entries = view.page(limit + 1, after=after)
        refs = {entry.ref for entry in entries[:limit]}
        return msgspec.structs.replace(
            answer,
            entries=entries[:limit],
            unreachable=[ref for ref in frame.unreachable if ref in refs],
            next=entries[limit - 1].ref if len(entries) > limit else None,
        )

    def _doubt(self, link: ShardLink, row: Row) -> WallMs | None:
        return None if row.holder == self._node else link.doubt(row)

    def _link(self, view: TopicView) -> ShardLink:
        return self._attachments.of(view.topic)

    def _cursor(self, view: TopicView, seen: VersionVector | None, keys: KeyRange | None) -> str:
        """Of somebody who has seen what we have, and this elsewhere, of these users."""
        link = self._link(view)
        both = link.vectors[PRESENCE].merge(seen or VersionVector())
        return write_cursor({link.shard: both}, mark=mark_of_range(keys))
