"""The internal vocabulary of clients."""

from __future__ import annotations

import typing

import msgspec
import pytest

from presence_actors.core.values import EntryStatus, IntentStatus
from presence_actors.core.vocabulary import (
    ClientMessage,
    Diff,
    Ok,
    Quality,
    ServerMessage,
    Set,
    UserStatus,
)


@pytest.mark.parametrize("union", [ClientMessage, ServerMessage])
def test_each_kind_of_message_has_a_tag_of_its_own(union: object) -> None:
    """Else an adapter could not tell them apart."""
    kinds = typing.get_args(union)
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(kinds)
    assert all(tag == tag.lower() for tag in tags)


def test_messages_are_values() -> None:
    """They are compared in transcripts, and nobody changes one under way."""
    assert Set(topic="room:a", meta={"x": 1}) == Set(topic="room:a", meta={"x": 1})
    with pytest.raises(AttributeError):
        Ok(id=1).id = 2  # type: ignore[misc]


def test_two_messages_share_no_list() -> None:
    """What one is given does not appear in another."""
    first, second = Diff(topic="room:a"), Diff(topic="room:a")
    first.joins.append(msgspec.UNSET)  # type: ignore[arg-type]
    assert second.joins == []


def test_a_user_can_show_whatever_a_device_or_a_choice_can() -> None:
    """But for `invisible`, which shows as offline."""
    shown = {status.value for status in UserStatus}
    assert {status.word for status in EntryStatus} <= shown
    assert {status.value for status in IntentStatus} - shown == {"", "invisible"}
    assert {quality.value for quality in Quality}.isdisjoint(shown)
