"""What the opaque value of a row holds, and its status byte."""

from __future__ import annotations

import msgspec
import pytest

from presence_actors.core.instants import WallMs
from presence_actors.core.values import (
    EndValue,
    EntryStatus,
    EntryValue,
    IntentValue,
    LastSeenValue,
    LeaveReason,
    decode_end,
    decode_entry,
    decode_intent,
    decode_last_seen,
    encode_value,
    entry_status,
    is_hidden,
    pack_status,
    settle_status,
)


def test_each_value_comes_back_from_its_bytes() -> None:
    """All four kinds."""
    entry = EntryValue(WallMs(5), "mobile", {"b": [1, None], "a": {"x": "ä"}})
    intent = IntentValue("dnd", "in a call", "☎", WallMs(9))
    assert decode_entry(encode_value(entry)) == entry
    assert decode_end(encode_value(EndValue(LeaveReason.KICKED))) == EndValue("kicked")
    assert decode_intent(encode_value(intent)) == intent
    assert decode_last_seen(encode_value(LastSeenValue(WallMs(7)))) == LastSeenValue(WallMs(7))


def test_equal_values_have_equal_bytes() -> None:
    """Whatever the order of the keys of a meta: replicas compare bytes."""
    first = EntryValue(WallMs(1), "web", {"a": 1, "b": {"c": 1, "d": 2}})
    second = EntryValue(WallMs(1), "web", {"b": {"d": 2, "c": 1}, "a": 1})
    assert encode_value(first) == encode_value(second)


def test_bytes_of_another_kind_are_refused() -> None:
    """An end is no entry."""
    with pytest.raises(msgspec.DecodeError):
        decode_entry(encode_value(EndValue("left")))


@pytest.mark.parametrize("status", EntryStatus)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_status_byte_is_live_and_keeps_both_parts(status: EntryStatus, hidden: bool) -> None:
    """0 is the tombstone's; the flag does not disturb the status."""
    packed = pack_status(status, hidden=hidden)
    assert 0 < packed < 256
    assert entry_status(packed) is status
    assert is_hidden(packed) is hidden


def test_the_more_available_status_is_greater() -> None:
    """Do not disturb before online before away: the fold takes the greatest."""
    assert EntryStatus.DND > EntryStatus.ONLINE > EntryStatus.AWAY


@pytest.mark.parametrize(
    ("word", "status"),
    [("online", EntryStatus.ONLINE), ("ONLINE", None), ("", None), ("offline", None)],
)
def test_only_the_known_words_are_statuses(word: str, status: EntryStatus | None) -> None:
    """Spelt exactly so."""
    assert EntryStatus.of(word) is status
    assert status is None or status.word == word


def test_a_sure_status_is_kept_whatever_was_held() -> None:
    """What the gateway knows, it decides."""
    shown, hidden = pack_status(EntryStatus.DND), pack_status(EntryStatus.DND, hidden=True)
    assert settle_status(shown, hidden) == shown
    assert settle_status(hidden, shown) == hidden
    assert settle_status(hidden, None) == hidden


@pytest.mark.parametrize(
    ("held", "hidden"),
    [
        (None, True),
        (pack_status(EntryStatus.AWAY), False),
        (pack_status(EntryStatus.AWAY, hidden=True), True),
    ],
)
def test_an_unsure_status_keeps_to_what_was_seen_and_hides_what_was_not(
    held: int | None, hidden: bool
) -> None:
    """A wrong guess must not show anybody; the status itself is new."""
    settled = settle_status(pack_status(EntryStatus.DND, unsure=True), held)
    assert settled == pack_status(EntryStatus.DND, hidden=hidden)
