"""The fold: what a user shows, from the live entries of `user:alice` and two durable records.

Computed on read, never stored; deterministic. In this order:

1. `invisible` hides everything: offline, without a last-seen time.
2. An entry whose home and holder can be heard makes the user present: with the chosen status
   (away, dnd) if there is a choice, else that of the most available device (dnd > online > away).
3. Only entries in doubt: `unreachable`, with the newest `as_of`.
4. No entry: offline with the last-seen time, or `unknown` where the replica may not vouch for
   absence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crdt import Row
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.values import (
    INTENT_KEY,
    LAST_SEEN_KEY,
    EntryValue,
    IntentStatus,
    IntentValue,
    decode_end,
    decode_entry,
    decode_intent,
    decode_last_seen,
    entry_status,
    is_hidden,
)
from presence_actors.core.vocabulary import StatusFrame, UserStatus

__all__ = ["fold_user", "intent_of"]

_NO_INTENT = IntentValue("", "", "", None)


def intent_of(durable: Iterable[Row], wall: WallMs) -> IntentValue:
    """The user's choice that holds now; the empty one if there is none or it has ended."""
    for row in durable:
        if row.key[2] == INTENT_KEY and row.live:
            intent = decode_intent(row.value)
            return _NO_INTENT if intent.until is not None and intent.until <= wall else intent
    return _NO_INTENT


def fold_user(
    user: UserId,
    entries: Iterable[Row],
    durable: Iterable[Row],
    *,
    doubt: Callable[[Row], WallMs | None],
    may_vouch: bool,
    wall: WallMs,
    silent_since: WallMs | None = None,
) -> StatusFrame:
    """What `user` shows.

    Args:
        user: Whom it is about.
        entries: The rows of the user's topic, removed ones among them.
        durable: The user's intent and last-seen records.
        doubt: For a row whose home or holder cannot be heard, the time of the last sign.
        may_vouch: Whether absence of entries means absence of the user.
        wall: Now, for choices that end.
        silent_since: If a whole zone cannot be heard, since when: the user may be there.
    """
    records = list(durable)
    intent = intent_of(records, wall)
    if intent.status == IntentStatus.INVISIBLE:
        return StatusFrame(user=user, status=UserStatus.OFFLINE, as_of=silent_since)
    rows = list(entries)
    visible = [row for row in rows if row.live and not is_hidden(row.status)]
    doubts = [doubt(row) for row in visible]
    heard = [row for row, as_of in zip(visible, doubts, strict=True) if as_of is None]
    if heard:
        best = max(entry_status(row.status) for row in heard)
        word = intent.status or best.word
        return _present(user, UserStatus(word), heard, intent)
    if visible:
        as_of = max(as_of for as_of in doubts if as_of is not None)
        return _present(user, UserStatus.UNREACHABLE, visible, intent, as_of=as_of)
    if not may_vouch:
        return StatusFrame(user=user, status=UserStatus.UNKNOWN)
    hidden = any(row.live for row in rows)
    return StatusFrame(
        user=user,
        status=UserStatus.OFFLINE,
        text=intent.text,
        emoji=intent.emoji,
        as_of=silent_since,
        last_seen=None if hidden else _last_seen(records),
        reason=None if hidden else _last_reason(rows),
    )


def _present(
    user: UserId,
    status: UserStatus,
    rows: list[Row],
    intent: IntentValue,
    *,
    as_of: WallMs | None = None,
) -> StatusFrame:
    values: list[EntryValue] = [decode_entry(row.value) for row in rows]
    return StatusFrame(
        user=user,
        status=status,
        devices=sorted(dict.fromkeys(value.device for value in values)),
        text=intent.text,
        emoji=intent.emoji,
        since=min(value.since for value in values),
        as_of=as_of,
    )


def _last_seen(records: list[Row]) -> WallMs | None:
    for row in records:
        if row.key[2] == LAST_SEEN_KEY and row.live:
            return decode_last_seen(row.value).at
    return None


def _last_reason(rows: list[Row]) -> str | None:
    ended = [row for row in rows if not row.live]
    if not ended:
        return None
    return decode_end(max(ended, key=lambda row: (row.stamp, row.origin)).value).reason
