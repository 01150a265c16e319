"""From one change to the gateways that care."""

from __future__ import annotations

from crdt import Row, Rows, VersionVector
from presence_actors.config import Knobs
from presence_actors.core.fanout import Attached, Attachment, Interest
from presence_actors.core.ids import NodeId, Topic, user_topic
from presence_actors.core.instants import Instant
from presence_actors.core.limits import SEGMENTS_UNACKNOWLEDGED_MAX
from presence_actors.core.messages import DURABLE, PRESENCE, Changed, HolderReport, Reach, Segment
from tests.unit.core.building import (
    G0,
    G1,
    LOBBY,
    NOTHING,
    SHARD,
    W0,
    WALL,
    at,
    end,
    entry,
    intent,
    life,
    map_of,
)

KNOBS = Knobs()
LEASE_MS = KNOBS.gateway_lease_ms
VECTORS = (VersionVector({entry().origin: entry().stamp}), NOTHING)
ALICE = user_topic("default", "alice")
REACH = Reach(ready=True, origins={}, holders={}, zones={})


def attachment() -> Attachment:
    """The third attachment of a gateway that was heard at 0."""
    return Attachment(G0, 3, Instant(0))


def take(attached: Attachment, now: int) -> list[Segment]:
    """What is sent now; unacknowledged segments are repeated after 500 ms."""
    return attached.take_segments(SHARD, W0, VECTORS, Instant(now), repeat_ms=500)


def changed(
    *rows: Row,
    durable: tuple[Row, ...] = (),
    loaded: tuple[Topic, ...] = (),
    defeats: tuple[Row, ...] = (),
    reach: Reach | None = None,
) -> Changed:
    """A body with these."""
    return Changed(Rows.of(rows), Rows.of(durable), VECTORS, list(loaded), Rows.of(defeats), reach)


def segment(sequence: int, body: Changed | None, *, ack: int = 0) -> Segment:
    """A segment of the third attachment."""
    return Segment(SHARD, W0, G0, 3, sequence, ack, body)


# --- one attachment: its stream


def test_changes_are_gathered_until_they_are_due() -> None:
    """The first change sets the time; then all go in one segment, and nothing is due any more."""
    told = attachment()
    one, two = entry(session="s1"), entry(session="s2")
    told.gather(PRESENCE, one, Instant(5))
    told.gather(PRESENCE, two, Instant(9))
    assert told.deadline() == 5
    assert take(told, 4) == []
    assert take(told, 5) == [segment(1, changed(one, two))]
    assert take(told, 6) == []


def test_only_the_newest_version_of_a_row_is_told() -> None:
    """In the place of its last change."""
    told = attachment()
    one, two = entry(session="s1"), entry(session="s2")
    gone = end(one, written=2)
    for row in (one, two, gone):
        told.gather(PRESENCE, row, Instant(0))
    assert take(told, 0) == [segment(1, changed(two, gone))]


def test_entries_records_defeats_topics_and_reach_go_together() -> None:
    """One segment has everything that has gathered; afterwards nothing of it is left."""
    told = attachment()
    told.gather(DURABLE, intent(), Instant(0))
    told.gather_defeat(entry(resume=2), Instant(0))
    told.gather_topic(LOBBY, (map_of(), map_of()), (NOTHING, NOTHING), Instant(0))
    told.gather_reach(REACH, Instant(0))
    body = changed(durable=(intent(),), loaded=(LOBBY,), defeats=(entry(resume=2),), reach=REACH)
    assert take(told, 0) == [segment(1, body)]
    told.gather(PRESENCE, entry(), Instant(0))
    assert take(told, 0) == [segment(2, changed(entry()))]


def test_of_a_topic_only_what_lies_beyond_the_cursor_is_told() -> None:
    """Tombstones among it: somebody who was away hears of ends, too."""
    old = entry(session="s1", written=1)
    gone = end(entry(session="s2"), written=2)
    maps = (map_of(old, gone), map_of(intent(written=1)))
    told = attachment()
    told.gather_topic(LOBBY, maps, (VersionVector({old.origin: old.stamp}), NOTHING), Instant(0))
    told.gather_topic(ALICE, maps, (NOTHING, NOTHING), Instant(0))
    assert take(told, 0) == [segment(1, changed(gone, durable=(intent(),), loaded=(LOBBY, ALICE)))]


def test_an_acknowledgement_goes_alone_where_there_is_no_news() -> None:
    """Under the number of the last segment, which it does not use up."""
    told = attachment()
    told.incoming.accept(1)
    told.want_acknowledgement(Instant(5))
    assert take(told, 5) == [segment(0, None, ack=1)]
    assert told.deadline() is None


def test_an_acknowledgement_travels_with_news() -> None:
    """And is not sent again by itself."""
    told = attachment()
    told.incoming.accept(1)
    told.want_acknowledgement(Instant(5))
    told.gather(PRESENCE, entry(), Instant(5))
    assert take(told, 5) == [segment(1, changed(entry()), ack=1)]
    told.want_acknowledgement(Instant(6))
    assert take(told, 6) == []


def test_a_full_window_gathers_on_and_wakes_nobody_before_a_repetition() -> None:
    """A gateway that is slow costs the rows of its topics, and hears the net."""
    told = attachment()
    for number in range(SEGMENTS_UNACKNOWLEDGED_MAX):
        told.gather(PRESENCE, entry(written=number + 1), Instant(0))
        take(told, 0)
    latest = entry(session="s2", written=99)
    told.gather(PRESENCE, entry(session="s2", written=98), Instant(1))
    told.gather(PRESENCE, latest, Instant(2))
    assert told.deadline() == 500
    assert take(told, 1) == []
    told.incoming.accept(1)
    assert take(told, 2) == [segment(SEGMENTS_UNACKNOWLEDGED_MAX, None, ack=1)]
    told.outgoing.acknowledge(SEGMENTS_UNACKNOWLEDGED_MAX, repeat_at=Instant(600))
    assert told.deadline() == 1
    assert take(told, 3) == [segment(SEGMENTS_UNACKNOWLEDGED_MAX + 1, changed(latest), ack=1)]


def test_what_is_not_acknowledged_is_repeated_to_a_gateway_that_beats() -> None:
    """To a silent one nothing is repeated until it is heard again."""
    told = attachment()
    told.gather(PRESENCE, entry(), Instant(0))
    first = take(told, 0)
    assert told.deadline() == 500
    assert take(told, 500) == first
    told.note_silence(at(LEASE_MS), lease_ms=LEASE_MS)
    assert told.deadline() is None
    assert take(told, LEASE_MS) == []
    told.renew(at(LEASE_MS + 1))
    assert take(told, LEASE_MS + 1) == first


# --- one attachment: its lease


def test_the_lease_ends_when_it_ran_out_however_late_that_is_noticed() -> None:
    """What is told is the wall time at which the gateway was last heard."""
    told = attachment()
    told.renew(at(100))
    told.note_silence(at(100 + LEASE_MS - 1), lease_ms=LEASE_MS)
    before = told.silent_at
    told.note_silence(at(9_000), lease_ms=LEASE_MS)
    told.note_silence(at(9_999), lease_ms=LEASE_MS)
    assert (before, told.silent_at, told.silent_since) == (None, 100 + LEASE_MS, WALL + 100)


def test_a_gateway_that_is_heard_again_is_silent_no_more() -> None:
    """Its silence begins anew."""
    told = attachment()
    told.note_silence(at(LEASE_MS), lease_ms=LEASE_MS)
    told.renew(at(LEASE_MS))
    assert (told.silent_at, told.silent_since, told.heard) == (None, None, LEASE_MS)


# --- interest


def test_watchers_come_in_the_order_in_which_they_came() -> None:
    """Each once, however often it asks."""
    interest = Interest()
    for gateway in (G1, G0, G1):
        interest.add(LOBBY, gateway)
    assert interest.of(LOBBY) == [G1, G0]
    assert interest.of(ALICE) == []


def test_a_topic_without_watchers_is_forgotten() -> None:
    """Rooms come and go; to discard what is not there does no harm."""
    interest = Interest()
    interest.add(LOBBY, G0)
    interest.add(LOBBY, G1)
    interest.discard(LOBBY, G0)
    interest.discard(ALICE, G0)
    assert len(interest) == 1
    interest.discard(LOBBY, G1)
    assert len(interest) == 0


# --- all attachments


def test_a_change_concerns_those_that_watch_its_topic() -> None:
    """Until they no longer do."""
    attached = Attached(KNOBS)
    first, second = attached.add(G0, 1, at(0)), attached.add(G1, 1, at(0))
    attached.watch(first, LOBBY)
    attached.watch(second, LOBBY)
    attached.watch(second, ALICE)
    assert attached.watchers_of(LOBBY) == [first, second]
    assert attached.watchers_of(ALICE) == [second]
    assert attached.topics_watched == 2
    attached.unwatch(second, LOBBY)
    assert attached.watchers_of(LOBBY) == [first]
    assert list(second.topics) == [ALICE]


def test_a_new_attachment_inherits_nothing_of_the_one_in_whose_place_it_comes() -> None:
    """It announces again what it holds and watches."""
    attached = Attached(KNOBS)
    old = attached.add(G0, 1, at(0))
    attached.watch(old, LOBBY)
    new = attached.add(G0, 2, at(5))
    assert attached.get(G0) is new
    assert list(attached) == [new]
    assert attached.watchers_of(LOBBY) == []


def test_a_gateway_that_is_removed_watches_nothing() -> None:
    """One that is not attached may be removed, too."""
    attached = Attached(KNOBS)
    attached.watch(attached.add(G0, 1, at(0)), LOBBY)
    attached.remove(G0)
    attached.remove(G0)
    assert attached.get(G0) is None
    assert attached.topics_watched == 0


def test_reports_say_of_each_gateway_since_when_it_is_silent() -> None:
    """Sorted, and None for those that beat."""
    attached = Attached(KNOBS)
    attached.add(G1, 1, at(LEASE_MS))
    attached.add(G0, 1, at(0))
    attached.take_given_up(at(LEASE_MS), lives=_gone)
    assert attached.reports() == [HolderReport(G0, at(0).wall), HolderReport(G1, None)]


def _gone(_gateway: NodeId) -> bool:
    """Nobody hears it."""
    return False


def test_a_silent_gateway_that_beats_elsewhere_has_its_time_again() -> None:
    """Unless a newer life of it was heard of: then what beats there is an old word."""
    attached = Attached(KNOBS)
    attached.add(G0, 1, at(0))
    span, elsewhere = KNOBS.unreachable_ms_max, {G0}
    lives = elsewhere.__contains__
    for now in (LEASE_MS, LEASE_MS + span, LEASE_MS + 2 * span - 1):
        assert attached.take_given_up(at(now), lives=lives) == []
    elsewhere.clear()
    assert attached.take_given_up(at(LEASE_MS + 2 * span - 1), lives=lives) == []
    elsewhere.add(G0)
    attached.note_life(life("a/g0", 2))
    assert attached.take_given_up(at(LEASE_MS + 2 * span), lives=lives) == [G0]


def test_a_silent_gateway_is_given_up_only_after_the_longest_wait() -> None:
    """Counted from the end of its lease, and once; it is no longer attached then."""
    attached = Attached(KNOBS)
    attached.add(G0, 1, at(0))
    until = LEASE_MS + KNOBS.unreachable_ms_max
    given_up = [
        attached.take_given_up(at(now), lives=_gone)
        for now in (LEASE_MS, until - 1, until, until + 1)
    ]
    assert given_up == [[], [], [G0], []]
    assert attached.get(G0) is None


def test_a_gateway_of_which_a_newer_life_was_heard_is_given_up_after_its_grace() -> None:
    """It is known to be dead; its sessions have had their grace by then."""
    attached = Attached(KNOBS)
    attached.add(G0, 1, at(0))
    attached.note_life(G0)
    attached.note_life(life("a/g0", 2))
    until = LEASE_MS + KNOBS.grace_gateway_ms
    assert attached.is_dead(G0)
    assert [
        attached.take_given_up(at(now), lives=_gone) for now in (LEASE_MS, until - 1, until)
    ] == [
        [],
        [],
        [G0],
    ]


def test_a_gateway_that_beats_is_not_given_up_even_if_a_newer_life_was_heard() -> None:
    """Its clock may be behind; its own word counts for more."""
    attached = Attached(KNOBS)
    beating = attached.add(G0, 1, at(0))
    attached.note_life(life("a/g0", 2))
    for now in range(0, 200_000, LEASE_MS - 1):
        beating.renew(at(now))
        assert attached.take_given_up(at(now), lives=_gone) == []
