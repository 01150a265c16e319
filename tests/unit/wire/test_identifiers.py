"""How ids may be spelt, and that two spellings that look the same are the same."""

import pytest

from presence_actors.core.limits import ID_CHARACTERS_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.identifiers import identifier, plain_text, room_topic, split_watched
from presence_actors.wire.refusals import FrameRefused


def test_an_id_that_is_fine_stays_as_it_is() -> None:
    """Letters, digits, punctuation, blanks and other scripts are all allowed."""
    for text in ("alice", "a", "Zoë Müller", "用户:7", "a/b?c=d", "x" * ID_CHARACTERS_MAX):
        assert identifier(text, what="user") == text


def test_two_spellings_that_look_the_same_become_one() -> None:
    """An e with a combining diaeresis and the one letter are the same user."""
    assert identifier("Zoe\u0308", what="user") == identifier("Zo\u00eb", what="user")


def test_the_length_is_that_of_the_one_spelling() -> None:
    """What is long only because of how it was typed is not too long."""
    assert len(identifier("e\u0308" * ID_CHARACTERS_MAX, what="user")) == ID_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("", ErrorCode.BAD_FRAME, id="empty"),
        pytest.param("a\nb", ErrorCode.BAD_FRAME, id="new line"),
        pytest.param("a\x00", ErrorCode.BAD_FRAME, id="null"),
        pytest.param("\x7f", ErrorCode.BAD_FRAME, id="delete"),
        pytest.param("ä\x85", ErrorCode.BAD_FRAME, id="control beyond ASCII"),
        pytest.param("ä\u2028b", ErrorCode.BAD_FRAME, id="line separator"),
        pytest.param("\ud800", ErrorCode.BAD_FRAME, id="half a surrogate pair"),
        pytest.param("x" * (ID_CHARACTERS_MAX + 1), ErrorCode.TOO_LONG, id="too long"),
        pytest.param("ä" * (ID_CHARACTERS_MAX + 1), ErrorCode.TOO_LONG, id="too long, not ASCII"),
    ],
)
def test_a_bad_id_is_refused_by_name(text: str, code: ErrorCode) -> None:
    """The refusal says which field it is about."""
    with pytest.raises(FrameRefused) as refused:
        identifier(text, what="users[3]")
    assert refused.value.code is code
    assert "users[3]" in refused.value.message


def test_a_room_is_named_with_or_without_its_prefix() -> None:
    """`lobby` and `room:lobby` are one room; any other prefix is part of the name."""
    assert room_topic("lobby") == room_topic("room:lobby") == "room:lobby"
    assert room_topic("team:red") == "room:team:red"


def test_the_prefix_does_not_count_towards_the_length() -> None:
    """The longest name is allowed in both spellings."""
    name = "x" * ID_CHARACTERS_MAX
    assert room_topic(name) == room_topic(f"room:{name}")


def test_nobody_may_be_in_the_topic_of_a_user() -> None:
    """`user:` topics are written by the gateway alone."""
    with pytest.raises(FrameRefused) as refused:
        room_topic("user:alice")
    assert refused.value.code is ErrorCode.FORBIDDEN


def test_a_room_without_a_name_is_refused() -> None:
    """The prefix alone names nothing."""
    with pytest.raises(FrameRefused):
        room_topic("room:")


def test_what_is_watched_is_sorted_into_rooms_and_users_each_once() -> None:
    """Order is kept, doubles go, and `user:bob` among the topics is the user bob."""
    rooms, users = split_watched(
        ["design", "room:lobby", "user:bob", "lobby", "room:design"], ["alice", "bob", "alice"]
    )
    assert rooms == ["room:design", "room:lobby"]
    assert users == ["alice", "bob"]


def test_a_text_for_people_may_be_empty_but_not_long() -> None:
    """The limit is in characters, after normalisation."""
    assert plain_text("", what="text", characters_max=3) == ""
    assert plain_text("e\u0308" * 3, what="text", characters_max=3) == "ë" * 3
    with pytest.raises(FrameRefused) as refused:
        plain_text("four", what="text", characters_max=3)
    assert refused.value.code is ErrorCode.TOO_LONG
    with pytest.raises(FrameRefused) as refused:
        plain_text("a\tb", what="text", characters_max=3)
    assert refused.value.code is ErrorCode.BAD_FRAME
