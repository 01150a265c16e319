"""Too many at once: a burst comes in, the others are each told a moment of their own."""

import asyncio

import pytest

from presence_actors.core.events import ClientConnected
from presence_actors.core.vocabulary import Hello
from presence_actors.edge.limits import EdgeLimits
from tests.integration.edge.raw_socket import RawSocket, upgrade
from tests.integration.edge.scripted import Gateway, Play

pytestmark = pytest.mark.sockets


def test_too_many_at_once_come_in_one_after_the_other(play: Play) -> None:
    """Each is told when it is its turn, and is taken in then; the machine hears of no other."""

    async def story() -> None:
        limits = EdgeLimits(admissions_per_s=20, admissions_burst=2)
        async with Gateway(limits=limits) as gateway:
            waits = []
            for number in range(5):
                client = await gateway.connect()
                await client.say(Hello(token=f"dev:user-{number}"))
                answer = await client.hear()
                if answer["type"] == "welcome":
                    continue
                assert (answer["type"], answer["code"]) == ("err", "rate_limited")
                waits.append(answer["retry_after_ms"])
                assert (await client.end())[0] == 4529
            assert len(gateway.machine.told(ClientConnected)) == 2
            assert gateway.driver.counts["turned_away"] == len(waits) == 3
            first, second, third = waits
            assert first < second < third <= 150
            await asyncio.sleep(third / 1_000)
            await gateway.greet("user-4")

    play(story)


def test_whoever_gets_no_socket_is_told_a_moment_of_his_own_too(play: Play) -> None:
    """In whole seconds, as HTTP has it."""

    async def story() -> None:
        limits = EdgeLimits(connections_max=1, admissions_per_s=1)
        async with Gateway(limits=limits) as gateway:
            first, _ = await gateway.greet()
            told = []
            for _ in range(3):
                raw = await RawSocket.connect(gateway)
                raw.send(upgrade(gateway))
                status, headers = await raw.response()
                assert status == 503
                told.append(int(headers["retry-after"]))
            assert told == [1, 2, 3]
            assert await first.is_served()

    play(story)
