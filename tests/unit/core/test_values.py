"""What the opaque value of a row holds, and its status byte."""

from __future__ import annotations

import msgspec
import pytest

from presence_actors.core.instants import WallMs
from presence_actors.core.values import (
    HIDDEN,
    UNSURE,
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


def test_each_value_comes_back_as_it_was() -> None:
    """All four kinds survive their bytes."""
    entry = EntryValue(WallMs(7), "phone", {"typing": True, "nested": {"a": [1, None]}})
    assert decode_entry(encode_value(entry)) == entry
    end = EndValue(LeaveReason.TIMEOUT)
    assert decode_end(encode_value(end)).reason == "timeout"
    intent = IntentValue("dnd", "busy", "!", WallMs(9))
    assert decode_intent(encode_value(intent)) == intent
    seen = LastSeenValue(WallMs(11))
    assert decode_last_seen(encode_value(seen)) == seen


def test_equal_values_have_equal_bytes_whatever_the_order_of_their_meta() -> None:
    """Replicas compare digests, so the order in which a client spelt its meta must not count."""
    one = EntryValue(WallMs(7), "phone", {"a": 1, "b": 2})
    two = EntryValue(WallMs(7), "phone", {"b": 2, "a": 1})
    assert encode_value(one) == encode_value(two)


def test_bytes_of_another_kind_are_refused() -> None:
    """The end of an entry is not read as an entry."""
    with pytest.raises(msgspec.ValidationError):
        decode_entry(encode_value(EndValue(LeaveReason.LEFT)))


def test_a_status_is_found_by_its_word_and_an_unknown_word_is_none() -> None:
    """The words are those of the clients."""
    assert [EntryStatus.of(status.word) for status in EntryStatus] == list(EntryStatus)
    assert EntryStatus.of("invisible") is None
    assert EntryStatus.of("ONLINE") is None


def test_dnd_is_above_online_and_online_above_away() -> None:
    """The greatest of a user's devices is what the user shows."""
    assert EntryStatus.AWAY < EntryStatus.ONLINE < EntryStatus.DND


@pytest.mark.parametrize("status", EntryStatus)
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("unsure", [False, True])
def test_the_flags_of_a_status_byte_leave_the_status_alone(
    status: EntryStatus, *, hidden: bool, unsure: bool
) -> None:
    """Status and flags are read separately, and a live row's byte is never 0."""
    packed = pack_status(status, hidden=hidden, unsure=unsure)
    assert entry_status(packed) is status
    assert is_hidden(packed) is hidden
    assert bool(packed & UNSURE) is unsure
    assert 0 < packed < 256


def test_a_known_choice_replaces_the_one_that_is_held() -> None:
    """A gateway that knows the user's choice says it, whatever the entry showed before."""
    shown = pack_status(EntryStatus.ONLINE)
    hidden = pack_status(EntryStatus.ONLINE, hidden=True)
    assert settle_status(shown, hidden) == shown
    assert settle_status(hidden, shown) == hidden


@pytest.mark.parametrize("guess", [False, True])
def test_an_unsure_row_takes_the_flag_that_is_held(*, guess: bool) -> None:
    """The guess of the gateway counts for nothing; the flag `UNSURE` is never kept."""
    row = pack_status(EntryStatus.AWAY, hidden=guess, unsure=True)
    assert settle_status(row, pack_status(EntryStatus.DND)) == EntryStatus.AWAY
    held = pack_status(EntryStatus.DND, hidden=True)
    assert settle_status(row, held) == EntryStatus.AWAY | HIDDEN


@pytest.mark.parametrize("guess", [False, True])
def test_an_unsure_row_is_hidden_where_nothing_is_held(*, guess: bool) -> None:
    """A wrong guess must not show anybody."""
    row = pack_status(EntryStatus.AWAY, hidden=guess, unsure=True)
    assert settle_status(row, None) == EntryStatus.AWAY | HIDDEN
