"""What a replica writes into the durable map: what users chose, and when they were last seen."""

from __future__ import annotations

from collections.abc import Iterable

from crdt import LWWMap, Origin, Row, Rows, Stamp, epoch_resume, pack_epoch
from presence_actors.core.instants import WallMs
from presence_actors.core.status import intent_of
from presence_actors.core.values import (
    INTENT_KEY,
    LAST_SEEN_KEY,
    IntentStatus,
    LastSeenValue,
    decode_intent,
    encode_value,
)

__all__ = ["choices", "records_of_last_seen"]


def choices(durable: LWWMap, rows: Rows) -> list[Row]:
    """What users chose, with the epochs that decide between concurrent choices.

    `invisible` takes the epoch it saw + 1, any other choice the epoch it saw, so of two concurrent
    choices the private one wins.
    """
    written: list[Row] = []
    for row in rows:
        held = durable.get(row.key)
        turn = 0 if held is None else epoch_resume(held.epoch)
        if row.key[2] == INTENT_KEY:
            private = decode_intent(row.value).status == IntentStatus.INVISIBLE
            turn += int(private)
        written.append(row._replace(epoch=pack_epoch(turn, 0)))
    return written


def records_of_last_seen(durable: LWWMap, ended: Iterable[Row], wall: WallMs) -> list[Row]:
    """Devices of users went: when that was, yet to be stamped.

    Any device, since another replica may be ending the others at the same time. Not while the
    user is invisible: that would tell, once the choice has ended, that somebody was there.
    """
    topics = dict.fromkeys(
        row.key[:2] for row in ended if row.key[0].endswith(f"/user:{row.key[1]}")
    )
    value = encode_value(LastSeenValue(wall))
    return [
        Row((topic, user, LAST_SEEN_KEY), Stamp(0), Origin(""), 0, 1, "", value)
        for topic, user in topics
        if intent_of(durable.topic_rows(topic), wall).status != IntentStatus.INVISIBLE
    ]
