"""Webhooks over real HTTP, to a receiver on loopback that verifies them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from presence_actors.core.effects import Notify
from presence_actors.core.events import NoticeAnswered
from presence_actors.edge.webhooks import WebhookSender
from tests.integration.edge.scripted import STEP_SECONDS, Play
from tests.integration.receiver import WebhookReceiver
from tests.unit.edge.test_webhooks import KEY, NOTIFY

pytestmark = pytest.mark.sockets


async def answers(url: str, *notices: Notify, key: bytes = KEY) -> list[NoticeAnswered]:
    """What the machine is told after these were sent."""
    queue: asyncio.Queue[NoticeAnswered] = asyncio.Queue()
    sender = WebhookSender(url, key, answered=queue.put_nowait)
    for notify in notices:
        sender.send(notify)
    async with asyncio.timeout(STEP_SECONDS):
        found = [await queue.get() for _ in notices]
    await sender.close()
    return found


def test_a_receiver_verifies_what_it_gets_and_the_machine_hears_that_it_was_taken(
    play: Play,
) -> None:
    """Nothing but what the documents say is needed for that."""

    async def story() -> None:
        async with WebhookReceiver(KEY) as receiver:
            taken = NoticeAnswered(NOTIFY.shard, NOTIFY.id, taken=True)
            assert await answers(receiver.url, NOTIFY) == [taken]
            ((name, status, data),) = receiver.requests
            assert (name, status, data["user"]) == ("0011", 204, "alice")

    play(story)


@pytest.mark.parametrize("status", [302, 400, 410, 500, 503])
def test_an_answer_that_is_no_success_is_a_failure(play: Play, status: int) -> None:
    """A redirect, too: the body goes where it was sent and nowhere else."""

    async def story() -> None:
        async with WebhookReceiver(KEY, statuses=[status]) as receiver:
            (answer,) = await answers(receiver.url, NOTIFY)
            assert (answer.taken, answer.reason) == (False, f"status {status}")
            assert len(receiver.requests) == 1

    play(story)


def test_another_key_is_seen_through(play: Play) -> None:
    """The receiver refuses it."""

    async def story() -> None:
        async with WebhookReceiver(KEY) as receiver:
            (answer,) = await answers(receiver.url, NOTIFY, key=b"x" * 32)
            assert answer.reason == "status 401"

    play(story)


def test_where_nobody_listens_the_machine_hears_why(play: Play) -> None:
    """In one line, bounded."""

    async def story() -> None:
        async with WebhookReceiver(KEY) as receiver:
            url = receiver.url
        (answer,) = await answers(url, NOTIFY)
        assert not answer.taken
        assert "Connect" in answer.reason
        assert len(answer.reason) <= 200

    play(story)


def test_many_at_once_are_all_answered(play: Play) -> None:
    """A bounded number on the way at a time."""

    async def story() -> None:
        async with WebhookReceiver(KEY) as receiver:
            notices = [msgspec.structs.replace(NOTIFY, id=f"n{number}") for number in range(100)]
            found = await answers(receiver.url, *notices)
            assert sorted(answer.id for answer in found) == sorted(n.id for n in notices)
            assert all(answer.taken for answer in found)

    play(story)
