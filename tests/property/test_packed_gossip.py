"""What comes from peers: in columns or as plain rows it is the same, and nothing does harm."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crdt import Changes, KeyHasher, LWWMap, PackedDelta, Row, Rows, VersionVector
from crdt.delta import Delta
from presence_actors.config import Knobs
from presence_actors.core import store as module
from presence_actors.core.messages import PRESENCE, GossipDelta
from presence_actors.core.news import Audience, MergedBatch, news_of
from presence_actors.core.store import ShardStore, horizon_of
from presence_actors.errors import RemoteProtocolError
from presence_actors.wire.peer import VERSION, decode_frame, encode_frame
from tests.unit.core.building import (
    G0,
    G1,
    HASHER,
    LOBBY,
    NOTHING,
    SHARD,
    W0,
    W1,
    W2,
    at,
    end,
    entry,
    stamp,
)

HALL = "default/room:hall"
#: Who is attached, and what is watched.
AUDIENCE = Audience(np.array([HASHER.topic_word(LOBBY)], dtype=np.uint64), frozenset({G0}))


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Writes of two peers about a few entries, each under a stamp of its own."""
    rows: list[Row] = []
    for written in range(1, draw(st.integers(2, 24))):
        row = entry(
            draw(st.sampled_from(["alice", "bob", "carol", "dave"])),
            topic=draw(st.sampled_from([LOBBY, HALL])),
            written=written,
            origin=draw(st.sampled_from([W1, W2])),
            holder=draw(st.sampled_from([G0, G1])),
            resume=draw(st.integers(0, 2)),
        )
        rows.append(end(row, written=written) if draw(st.booleans()) else row)
    return rows


@contextmanager
def plain_up_to(count: int) -> Iterator[None]:
    """Deltas of more rows are merged in columns."""
    before, module.PLAIN_ROWS_MAX = module.PLAIN_ROWS_MAX, count  # type: ignore[misc]
    try:
        yield
    finally:
        module.PLAIN_ROWS_MAX = before  # type: ignore[misc]


def new_store() -> ShardStore:
    """That of W0."""
    return ShardStore(W0, horizon=horizon_of(Knobs()), hasher=HASHER)


def told(changes: Changes | MergedBatch) -> tuple[int, list[tuple[Row, str]]]:
    """How much changed, and of that what the audience waits for, with who lost a row by it."""
    news = news_of(changes, AUDIENCE)
    return news.count, [
        (row, loser)
        for row, loser in zip(news.rows, news.losers, strict=True)
        if row.key[0] == LOBBY or loser == G0 or (row.live and row.holder == G0)
    ]


@given(history=histories(), data=st.data())
def test_in_columns_and_as_plain_rows_it_is_the_same(
    history: list[Row], data: st.DataObject
) -> None:
    """What is held, seen, counted, told and refused, step by step.

    Deltas come twice, in any order, with gaps, without keys, and from before what was seen.
    """
    plain, batch = new_store(), new_store()
    for _ in range(data.draw(st.integers(1, 5))):
        rows = data.draw(st.lists(st.sampled_from(history), min_size=1, max_size=12))
        new = VersionVector()
        for row in rows:
            new = new.with_component(row.origin, row.stamp)
        base = data.draw(st.sampled_from([NOTHING, plain.presence.vector, new]))
        claimed = data.draw(st.sampled_from([base, base.merge(new)]))
        clock = stamp(data.draw(st.sampled_from([0, 100, 100_000])))
        delta = plain.presence.pack(Delta(base, claimed, Rows.of(rows), clock))
        if delta.rows.ids is not None:
            left_out = data.draw(st.sets(st.sampled_from(rows).map(lambda row: row.key)))
            for place, row in enumerate(rows):
                if row.key in left_out:
                    delta.rows.ids[place] = None
        with plain_up_to(1 << 20):
            left = plain.merge(PRESENCE, delta, at(0))
        with plain_up_to(0):
            right = batch.merge(PRESENCE, delta, at(0))
        assert (left is None) == (right is None)
        assert left is None or right is None or told(left) == told(right)
        assert plain.presence.canonical_bytes() == batch.presence.canonical_bytes()
        assert plain.vectors == batch.vectors
        assert plain.origins() == batch.origins()
        assert plain.deltas_refused == batch.deltas_refused
        assert type(plain.refusal) is type(batch.refusal)
        plain.check()
        batch.check()


def frame_of(delta: PackedDelta) -> bytes:
    """The messages of a frame with this delta, without its head."""
    message = GossipDelta(
        shard=SHARD,
        sender=W1,
        receiver=W0,
        map=PRESENCE,
        delta=delta,
        transfer=1,
        seen=delta.new,
        ready=True,
        holders=[],
    )
    frame: tuple[int, tuple[int, msgspec.Raw]] = msgspec.msgpack.decode(
        encode_frame([message]), type=tuple[int, tuple[int, msgspec.Raw]]
    )
    return bytes(frame[1][1])


def receive(body: bytes, receiver: ShardStore) -> None:
    """The messages come under a right checksum; whatever is refused has changed nothing."""
    head = (VERSION, (zlib.crc32(body), msgspec.Raw(body)))
    with suppress(RemoteProtocolError):
        for message in decode_frame(msgspec.msgpack.encode(head)):
            if not isinstance(message, GossipDelta) or message.map not in (0, 1):
                continue
            held, vectors = receiver.presence.canonical_bytes(), receiver.vectors
            changes = receiver.merge(
                message.map, message.delta, at(0), told=message.seen, stretch=message.stretch
            )
            if changes is None:
                assert receiver.presence.canonical_bytes() == held
                assert receiver.vectors == vectors
            receiver.check()


@given(
    history=histories(),
    edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4),
    few=st.sampled_from([0, 1 << 20]),
)
def test_a_damaged_frame_is_refused_or_merged_and_never_half(
    history: list[Row], edits: list[tuple[int, int]], few: int
) -> None:
    """Whatever is wrong although the checksum is right: a length, a stamp, a hash, an origin."""
    receiver = new_store()
    new = VersionVector()
    for row in history:
        new = new.with_component(row.origin, row.stamp)
    delta = receiver.presence.pack(Delta(VersionVector(), new, Rows.of(history), stamp(50)))
    body = bytearray(frame_of(delta))
    for place, byte in edits:
        body[place % len(body)] = byte
    with plain_up_to(few):
        receive(bytes(body), receiver)


@given(body=st.binary(max_size=200))
def test_arbitrary_bytes_under_a_right_checksum_do_no_harm(body: bytes) -> None:
    """They are no messages."""
    receive(body, new_store())


def test_two_keys_with_one_hash_are_refused_and_counted() -> None:
    """On both ways; nothing has changed."""

    class Poor(KeyHasher):
        """Gives all keys of a topic one hash."""

        def words_of(self, key: tuple[str, str, str]) -> tuple[int, int]:
            return (self.topic_word(key[0]), 7)

    for few in (0, 1 << 20):
        mine = ShardStore(W0, horizon=horizon_of(Knobs()), hasher=Poor())
        theirs = LWWMap(drift_ms_max=0, hasher=Poor())
        rows = [entry(user, origin=W1, written=number + 1) for number, user in enumerate("ab")]
        nothing = VersionVector()
        with plain_up_to(few):
            for row in rows:
                delta = theirs.pack(Delta(nothing, nothing, Rows.of([row]), stamp(9)))
                mine.merge(PRESENCE, delta, at(9))
        assert list(mine.presence.live_rows()) == rows[:1]
        assert mine.deltas_refused == 1
        assert "have one hash" in str(mine.refusal)
