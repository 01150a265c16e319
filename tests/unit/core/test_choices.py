"""What users choose to show on all devices: frame to record, and who waits for the answer."""

from __future__ import annotations

import pytest

from crdt import Row, Rows
from presence_actors.core.choices import Choices, intent_row, intent_trouble
from presence_actors.core.ids import ConnectionId, RequestId, Topic
from presence_actors.core.instants import WallMs
from presence_actors.core.values import IntentValue, decode_intent
from presence_actors.core.vocabulary import Intent
from tests.unit.core.building import user

ALICE = Topic("default/user:alice")


@pytest.mark.parametrize("word", ["", "online", "away", "dnd", "invisible"])
def test_each_known_choice_is_fine(word: str) -> None:
    """An empty one takes the choice back."""
    assert intent_trouble(Intent(status=word)) is None


def test_an_unknown_choice_is_refused_with_the_known_ones() -> None:
    """The sentence names what was said and what may be said."""
    trouble = intent_trouble(Intent(status="hidden"))
    assert trouble == (
        "intent 'hidden' must be one of online, away, dnd, invisible, or empty for none"
    )


def test_a_choice_becomes_an_unstamped_record_of_the_user() -> None:
    """Live, without a holder: it has no lease."""
    message = Intent(status="dnd", text="in a call", emoji="☎", until=9)
    row = intent_row(ALICE, user("alice"), message)
    assert row.key == (ALICE, "alice", "intent")
    assert (row.live, row.holder, row.stamp, row.epoch) == (True, "", 0, 0)
    assert decode_intent(row.value) == IntentValue("dnd", "in a call", "☎", WallMs(9))
    assert isinstance(Rows.of([row]).row(0), Row)


def test_online_is_another_word_for_no_choice() -> None:
    """The record is the same."""
    assert (
        intent_row(ALICE, user("alice"), Intent(status="online")).value
        == intent_row(ALICE, user("alice"), Intent(status="")).value
    )


def test_each_asker_is_answered_once_under_its_own_id() -> None:
    """Numbers of ours are never used twice."""
    choices = Choices()
    first = choices.ask(ConnectionId(1), "x")
    second = choices.ask(ConnectionId(2), 7)
    assert first is not None
    assert second is not None
    assert first != second
    assert choices.take(first) == (1, "x")
    assert choices.take(first) is None
    assert choices.take(second) == (2, 7)


def test_who_wants_no_answer_gets_none() -> None:
    """Nothing is remembered."""
    assert Choices().ask(ConnectionId(1), None) is None
    assert Choices().take(RequestId(1)) is None


def test_who_is_gone_is_forgotten() -> None:
    """Only that one."""
    choices = Choices()
    first = choices.ask(ConnectionId(1), 1)
    second = choices.ask(ConnectionId(2), 1)
    assert first is not None
    assert second is not None
    choices.forget(ConnectionId(1))
    assert choices.take(first) is None
    assert choices.take(second) == (2, 1)


def test_a_part_of_an_act_is_under_a_number_of_its_own() -> None:
    """No client that goes takes it along."""
    choices = Choices()
    asked = choices.ask(ConnectionId(1), "x")
    first, second = choices.ask_for(RequestId(7)), choices.ask_for(RequestId(7))
    assert len({asked, first, second}) == 3
    choices.forget(ConnectionId(1))
    assert choices.take(first) == choices.take(second) == RequestId(7)
    assert choices.take(first) is None
