"""What a merge means to gateways."""

from __future__ import annotations

import numpy as np

from crdt import REMOVED, Changes, LWWMap, Origin, Row, Rows
from presence_actors.core.news import Audience, MergedBatch, News, all_rows, news_of
from tests.unit.core.building import (
    G0,
    G1,
    HASHER,
    LOBBY,
    W1,
    W2,
    delta_of,
    end,
    entry,
    life,
    map_of,
)

HALL = "default/room:hall"
#: Attached elsewhere.
STRANGER = life("a/g7")


def in_hall(user: str, **fields: object) -> Row:
    """Somebody in a room that nobody watches."""
    row = entry(user, **fields)  # type: ignore[arg-type]
    return row._replace(key=(HALL, *row.key[1:]))


def merged(held: LWWMap, *rows: Row) -> MergedBatch:
    """These rows, merged in columns."""
    delta = held.pack(delta_of(*rows))
    changes = held.columns.apply(delta, wall_ms=1 << 40, tell_replaced=True)
    return MergedBatch(held, delta.rows, changes)


def audience(*topics: str, gateways: tuple[str, ...] = ()) -> Audience:
    """Who watches these topics, and who is attached."""
    words = np.array(sorted(map(HASHER.topic_word, topics)), dtype=np.uint64)
    return Audience(words, frozenset(gateways))


def told(news: News) -> list[tuple[Row, str]]:
    """The rows, each with who lost a live one by it."""
    return list(zip(news.rows, news.losers, strict=True))


def test_of_a_batch_only_what_somebody_waits_for_is_told() -> None:
    """Watched topics; new rows of attached gateways; rows that those have lost."""
    old = [in_hall("bob", holder=G0, origin=W1), in_hall("carol", holder=G1, origin=W1, written=2)]
    batch = [
        entry("alice", origin=W2, written=5, holder=STRANGER),
        in_hall("bob", origin=W2, written=6, resume=1, holder=STRANGER),
        in_hall("carol", origin=W2, written=7, resume=1, holder=STRANGER),
        in_hall("dave", origin=W2, written=8, holder=G0),
        in_hall("erin", origin=W2, written=9, holder=STRANGER),
    ]
    changes = merged(map_of(*old), *batch)
    news = news_of(changes, audience(LOBBY, gateways=(G0,)))
    assert news.count == 5
    assert told(news) == [(batch[0], ""), (batch[1], G0), (batch[3], "")]
    assert news.gone == []
    assert told(news_of(changes, audience())) == []


def test_an_end_that_was_beaten_cost_nobody_a_row() -> None:
    """And an end of somebody who is attached needs to be told to nobody but watchers."""
    gone = in_hall("bob", holder=G0, origin=W1)
    held = map_of(gone, end(gone, written=2))
    batch = [in_hall("bob", origin=W2, written=6, resume=1, holder=STRANGER)]
    assert told(news_of(merged(held, *batch), audience(gateways=(G0,)))) == []
    assert told(news_of(merged(held, end(batch[0], written=9)), audience(HALL))) == [
        (end(batch[0], written=9), STRANGER)
    ]


def test_plain_changes_are_told_as_they_are() -> None:
    """They are few."""
    old = entry("bob", holder=G0, origin=W1)
    held = map_of(old)
    new = entry("bob", origin=W2, written=6, resume=1, holder=G1)
    news = news_of(held.apply(delta_of(new), wall_ms=1 << 40), None)
    assert (news.count, told(news), news.gone) == (1, [(new, G0)], [])


def test_live_rows_are_counted_by_origin_whatever_they_replaced() -> None:
    """One that comes, one that ends, one that changes its home, one that was known."""
    alice, bob, carol = (
        entry(user, origin=W1, written=number, holder=G0)
        for number, user in enumerate(("alice", "bob", "carol"), start=1)
    )
    held = map_of(alice, bob, carol)
    batch = [
        entry("dave", origin=W2, written=10),
        end(bob, written=11, origin=W2),
        alice._replace(origin=Origin(W2), stamp=entry(written=12).stamp),
        carol,
    ]
    assert batch[1].status == REMOVED
    changes = merged(held, *batch)
    assert changes.live_counts() == {W2: 2, W1: -2}
    assert merged(held, carol).live_counts() == {}


def test_all_that_changed_is_the_same_of_a_batch_and_of_a_few_rows() -> None:
    """Whoever watches everything is not asked what for."""
    rows = [in_hall("dave", origin=W2, written=8), entry("alice", origin=W2, written=9)]
    batch = merged(map_of(), *rows)
    few = Changes(Rows.of(rows), [None, None], Rows.empty(), Rows.empty(), Rows.empty())
    by_key = sorted(rows, key=lambda row: row.key)
    assert sorted(all_rows(batch), key=lambda row: row.key) == by_key
    assert sorted(all_rows(few), key=lambda row: row.key) == by_key
