"""Notices: when app servers are told of a user, by whom, how often, and under which name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from crdt import Row
from presence_actors.core.effects import Notify, Send
from presence_actors.core.events import DeadlineReached, NoticeAnswered
from presence_actors.core.limits import (
    DEAD_NOTICES_MAX,
    NOTICE_ANSWER_MS_MAX,
    NOTICE_ATTEMPTS_MAX,
    NOTICE_RETRY_MS_MAX,
)
from presence_actors.core.messages import Beat
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.values import EntryStatus
from tests.unit.core.building import G0, SHARD, at, end, entry, intent, unstamped
from tests.unit.core.replica_stage import KNOBS, Stage, attach

OWN = "default/user:alice"
DEBOUNCE = KNOBS.webhook_debounce_ms
ALICE = unstamped(entry("alice", topic=OWN))


class Speaker(Stage):
    """The only replica of its shard, and what it tells app servers."""

    def __init__(self) -> None:
        super().__init__(speaks=True)
        self.hears(G0, attach())

    def writes(self, *rows: Row) -> None:
        """A gateway writes; the time of gathering passes."""
        self.operates(*rows)

    def waits(self, span_ms: int) -> list[Notify]:
        """What is told within this time, while the gateway beats."""
        before = len(self.told)
        end_at = self.at + span_ms
        while self.at < end_at:
            self.hears(G0, Beat(G0, self.node, {SHARD: 1}))
            self.passes(min(end_at, self.at + KNOBS.gateway_beat_ms))
        return self.told[before:]

    def answers(self, notify: Notify, *, taken: bool = True, reason: str = "") -> None:
        """The receiver answers."""
        self.happens(NoticeAnswered(SHARD, notify.id, taken=taken, reason=reason))


def test_a_user_who_comes_and_stays_is_told_of_once() -> None:
    """After the time of debouncing; the answer settles it."""
    stage = Speaker()
    stage.writes(ALICE)
    assert stage.waits(DEBOUNCE - 100) == []
    (notice,) = stage.waits(200)
    assert (notice.user, notice.namespace, notice.status, notice.previous) == (
        "alice",
        "default",
        "online",
        "offline",
    )
    assert notice.number == notice.at // 1_000
    stage.answers(notice)
    assert stage.waits(60_000) == []


def test_who_flickers_is_not_told_of() -> None:
    """A return within the time of debouncing never happened; nor what does not change the fold."""
    stage = Speaker()
    stage.writes(ALICE)
    stage.writes(unstamped(end(ALICE, written=2)))
    assert stage.waits(3 * DEBOUNCE) == []


def test_each_change_that_lasts_has_a_number_of_its_own() -> None:
    """And says what was told before."""
    stage = Speaker()
    stage.writes(ALICE)
    (first,) = stage.waits(DEBOUNCE + 100)
    stage.answers(first)
    stage.operates(durable=[unstamped(intent("alice", status="dnd"))])
    (second,) = stage.waits(DEBOUNCE + 100)
    stage.answers(second)
    assert (second.previous, second.status) == ("online", "dnd")
    assert second.number > first.number
    assert first.id != second.id
    assert second.at >= first.at


def test_a_choice_that_ends_by_itself_is_told_of() -> None:
    """Nobody writes anything then."""
    stage = Speaker()
    stage.writes(ALICE)
    until = stage.at + 20_000
    stage.operates(durable=[unstamped(intent("alice", status="dnd", until=until))])
    (first,) = stage.waits(DEBOUNCE + 100)
    stage.answers(first)
    assert stage.waits(15_000 - DEBOUNCE) == []
    (second,) = stage.waits(8_000)
    assert (first.status, second.status) == ("dnd", "online")


def test_what_is_not_taken_is_tried_again_later_and_later() -> None:
    """Under the same id, with distances that double up to a limit."""
    stage = Speaker()
    stage.writes(ALICE)
    (first,) = stage.waits(DEBOUNCE + 100)
    times = []
    notice = first
    for _ in range(6):
        stage.answers(notice, taken=False, reason="503")
        began = stage.at
        while not (again := stage.waits(250)):
            pass
        (notice,) = again
        times.append(stage.at - began)
        assert notice.id == first.id
    assert all(later > 1.5 * earlier for earlier, later in pairwise(times))


def test_what_changed_meanwhile_is_told_in_its_place() -> None:
    """The old is not told any more, and the receiver can see by the number that it is one."""
    stage = Speaker()
    stage.writes(ALICE)
    (first,) = stage.waits(DEBOUNCE + 100)
    stage.answers(first, taken=False, reason="503")
    stage.writes(ALICE._replace(status=int(EntryStatus.AWAY)))
    while not (again := stage.waits(250)):
        pass
    (second,) = again
    assert second.number >= first.number
    assert second.status == "away"
    assert second.id != first.id
    stage.answers(second)
    assert stage.waits(60_000) == []


def test_an_answer_that_never_comes_counts_as_a_failure() -> None:
    """Whoever carries notices may lose one; a late answer to it changes nothing."""
    stage = Speaker()
    stage.writes(ALICE)
    (first,) = stage.waits(DEBOUNCE + 100)
    (again,) = stage.waits(NOTICE_ANSWER_MS_MAX + 2_000)
    assert again.id == first.id
    stage.answers(again)
    stage.answers(again, taken=False)
    assert stage.waits(60_000) == []


def test_what_is_never_taken_dies_and_is_kept_for_people_to_see() -> None:
    """It counts as told, so that the next change is told anew; the list is bounded."""
    stage = Speaker()
    stage.writes(ALICE)
    (notice,) = stage.waits(DEBOUNCE + 100)
    for _ in range(NOTICE_ATTEMPTS_MAX):
        stage.answers(notice, taken=False, reason="410")
        stage.at += 2 * NOTICE_RETRY_MS_MAX
        stage.happens(DeadlineReached())
    view = stage.machine.inspect().notices
    assert view is not None
    assert (view.dead_total, view.failed, view.sent) == (1, NOTICE_ATTEMPTS_MAX, 0)
    (dead,) = view.dead
    assert (dead.user, dead.status, dead.reason) == ("alice", "online", "410")
    assert len(view.dead) <= DEAD_NOTICES_MAX


def test_a_replica_that_is_not_asked_to_tells_nobody() -> None:
    """Nor writes any record."""
    stage = Stage()
    stage.hears(G0, attach())
    stage.operates(ALICE)
    assert stage.machine.inspect().notices is None
    assert _kinds(stage.machine, stage.at + 2 * DEBOUNCE) <= {Send}


def _kinds(machine: ReplicaMachine, until: int) -> set[type]:
    kinds: set[type] = set()
    woken: Callable[[], int] = machine.deadline
    while woken() <= until:
        kinds |= {type(effect) for effect in machine.handle(DeadlineReached(), at(woken()))}
    return kinds
