"""What users choose to show: which words count, what is kept, and who waits for the answer."""

from __future__ import annotations

import pytest

from presence_actors.core.choices import Choices, intent_row, intent_trouble
from presence_actors.core.ids import ConnectionId, RequestId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.values import INTENT_KEY, IntentValue, decode_intent
from presence_actors.core.vocabulary import Intent

TOPIC = Topic("default/user:alice")
ALICE = UserId("alice")


@pytest.mark.parametrize("word", ["", "online", "away", "dnd", "invisible"])
def test_a_word_that_can_be_chosen_is_accepted(word: str) -> None:
    """The empty one and `online` take a choice back."""
    assert intent_trouble(Intent(status=word)) is None


@pytest.mark.parametrize("word", ["offline", "unreachable", "Away", "none", " "])
def test_another_word_is_refused_with_the_list_of_those_that_count(word: str) -> None:
    """The sentence says what was wrong and what would be right."""
    trouble = intent_trouble(Intent(status=word))
    assert trouble == (
        f"intent {word!r} must be one of online, away, dnd, invisible, or empty for none"
    )


def test_a_choice_becomes_an_unstamped_record_of_the_user() -> None:
    """The replica gives it stamp, origin and epoch; nobody holds it."""
    row = intent_row(TOPIC, ALICE, Intent(status="dnd", text="busy", emoji="!", until=5_000))
    assert row.key == (TOPIC, ALICE, INTENT_KEY)
    assert (row.stamp, row.origin, row.epoch, row.status, row.holder) == (0, "", 0, 1, "")
    assert decode_intent(row.value) == IntentValue("dnd", "busy", "!", WallMs(5_000))


def test_the_choice_online_is_kept_as_no_choice() -> None:
    """A user who wants to be online shows what the devices show; text and emoji stay."""
    row = intent_row(TOPIC, ALICE, Intent(status="online", text="here"))
    assert decode_intent(row.value) == IntentValue("", "here", "", None)


def test_an_answer_finds_who_asked_once() -> None:
    """Afterwards nobody waits for it any more."""
    choices = Choices()
    first = choices.ask(ConnectionId(1), "x")
    second = choices.ask(ConnectionId(2), 7)
    assert first is not None
    assert second is not None
    assert choices.take(second) == (ConnectionId(2), 7)
    assert choices.take(first) == (ConnectionId(1), "x")
    assert choices.take(first) is None


def test_who_gives_no_id_waits_for_no_answer() -> None:
    """Nothing is remembered."""
    assert Choices().ask(ConnectionId(1), None) is None


def test_the_requests_of_a_client_that_is_gone_are_forgotten() -> None:
    """Those of others stay."""
    choices = Choices()
    choices.ask(ConnectionId(1), "x")
    choices.ask(ConnectionId(2), "y")
    choices.forget(ConnectionId(1))
    assert choices.take(RequestId(1)) is None
    assert choices.take(RequestId(2)) == (ConnectionId(2), "y")
