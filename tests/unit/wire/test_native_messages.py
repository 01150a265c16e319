"""What both encodings of the native protocol share: one judge for what may be said."""

import pytest

from presence_actors.core.vocabulary import ErrorCode, Ping, Sub
from presence_actors.wire.native_messages import (
    NamedTwice,
    closing_code,
    is_sound,
    message_of,
    once,
)
from presence_actors.wire.refusals import FrameRefused


def test_fields_become_a_message_with_ids_in_their_one_spelling() -> None:
    """Whatever they were encoded in."""
    assert message_of({"type": "ping", "t": 1}) == Ping(t=1)
    assert message_of({"type": "sub", "topics": ["lobby"]}) == Sub(topics=["room:lobby"])


def test_a_refusal_names_the_request_that_it_refuses() -> None:
    """So that a client knows which of its promises has failed."""
    with pytest.raises(FrameRefused) as refused:
        message_of({"type": "intent", "id": "a7", "status": "asleep"})
    assert (refused.value.id, refused.value.code) == ("a7", ErrorCode.BAD_FRAME)


def test_a_field_may_come_once() -> None:
    """Readers disagree on which of two counts."""
    assert once([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    with pytest.raises(NamedTwice, match="'a'"):
        once([("a", 1), ("a", 1)])


def test_a_number_that_some_client_could_not_read_is_not_sound() -> None:
    """JavaScript has no integers of more than 64 bits, and JSON no infinity."""
    assert is_sound(2**63 - 1)
    assert is_sound("any text")
    assert not is_sound(2**63)
    assert not is_sound(float("inf"))


def test_errors_that_end_a_connection_are_few() -> None:
    """All others leave it open."""
    assert closing_code(ErrorCode.UNAUTHORIZED) == 4401
    assert closing_code(ErrorCode.NOT_JOINED) is None
