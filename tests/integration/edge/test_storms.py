"""Too many at once: a burst comes in, the others are each told a moment of their own."""

import asyncio

import aiohttp
import pytest

from presence_actors.core.events import ClientConnected, ClientDisconnected
from presence_actors.core.vocabulary import Hello
from presence_actors.edge.limits import EdgeLimits
from tests.integration.edge.raw_socket import RawSocket, upgrade
from tests.integration.edge.scripted import Gateway, Play

pytestmark = pytest.mark.sockets


def test_too_many_at_once_come_in_one_after_the_other(play: Play) -> None:
    """Each is told when it is its turn, and is taken in then; the machine hears of no other."""

    async def story() -> None:
        limits = EdgeLimits(admissions_per_s=2, admissions_burst=2)
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
            assert first < second < third <= 1_500
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


@pytest.mark.parametrize("path", ["socket", "realtime/v1"])
def test_stock_clients_keep_their_place_and_their_sockets_open_one_after_the_other(
    path: str, play: Play
) -> None:
    """They would understand no refusal; those who are connected go on meanwhile."""

    async def story() -> None:
        limits = EdgeLimits(admissions_per_s=20, admissions_burst=3)
        async with Gateway(limits=limits) as gateway:
            other, _ = await gateway.greet("other")
            loop = asyncio.get_running_loop()
            start, opened = loop.time(), list[float]()
            word = "token" if path == "socket" else "apikey"

            async def ring(number: int) -> None:
                url = f"{gateway.url}/{path}/websocket?{word}=dev:u{number}&vsn=2.0.0"
                async with gateway.http.ws_connect(url):
                    opened.append(loop.time() - start)

            await asyncio.gather(*(ring(number) for number in range(10)), other.is_served())
            # Three at once, at most, and then one after the other.
            for place, at in enumerate(sorted(opened)):
                assert at >= (place - 2) * 0.05 - 0.01
            assert gateway.driver.counts["kept_waiting"] >= 5
            assert gateway.driver.counts["turned_away"] == 0

    play(story)


def test_a_stock_client_that_would_wait_for_too_long_is_refused(play: Play) -> None:
    """After a while, and with a moment for those who read it."""

    async def story() -> None:
        limits = EdgeLimits(
            admissions_per_s=1, admissions_burst=1, upgrade_wait_ms_max=0, refusal_ms=50
        )
        async with Gateway(limits=limits) as gateway:
            url = f"{gateway.url}/socket/websocket?token=dev:a&vsn=2.0.0"
            first = await gateway.http.ws_connect(url)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await gateway.http.ws_connect(url)
            assert refused.value.status == 503
            assert refused.value.headers is not None
            assert int(refused.value.headers["Retry-After"]) >= 1
            assert gateway.driver.counts["turned_away"] == 1
            await first.close()

    play(story)


def test_a_client_that_goes_while_it_waits_is_forgotten(play: Play) -> None:
    """Its place is nobody's; the driver never hears of it."""

    async def story() -> None:
        limits = EdgeLimits(admissions_per_s=1, admissions_burst=1)
        async with Gateway(limits=limits) as gateway:
            url = f"{gateway.url}/socket/websocket?token=dev:a&vsn=2.0.0"
            async with gateway.http.ws_connect(url):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await gateway.http.ws_connect(url)
                await asyncio.sleep(1.5)
                assert gateway.driver.connections == 1
                assert gateway.driver.counts["kept_waiting"] == 1
            async with gateway.http.ws_connect(url):
                pass

    play(story)


def test_whoever_polls_waits_for_its_session_too(play: Play) -> None:
    """The first answer comes when it is its turn."""

    async def story() -> None:
        limits = EdgeLimits(admissions_per_s=10, admissions_burst=1)
        async with Gateway(limits=limits) as gateway:
            loop = asyncio.get_running_loop()
            start = loop.time()
            for place in range(3):
                status, body, _ = await gateway.get("/socket/longpoll?token=dev:a&vsn=2.0.0")
                assert (status, body["status"]) == (200, 410)
                assert loop.time() - start >= place * 0.1 - 0.01

    play(story)


def test_whoever_is_connected_is_served_between_those_who_come(play: Play) -> None:
    """Fifty say hello in the same moment; before 2026-11-24 all were greeted first."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(arrivals_per_turn=1)) as gateway:
            other, _ = await gateway.greet("other")
            crowd = [await gateway.connect() for _ in range(50)]
            for number, client in enumerate(crowd):
                await client.say(Hello(token=f"dev:user-{number}"))
            assert await other.is_served()
            assert gateway.driver.counts["greeted"] < 40
            for client in crowd:
                assert (await client.hear())["type"] == "welcome"
            assert gateway.driver.counts["greeted"] == 51

    play(story)


def test_those_who_go_do_not_hold_up_those_who_stay_and_come_back_behind_their_own_end(
    play: Play,
) -> None:
    """The machine hears of each end before it hears of the next connection."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(arrivals_per_turn=1)) as gateway:
            crowd = [(await gateway.greet(f"user-{number}"))[0] for number in range(20)]
            for client in crowd:
                await client.socket.close()
            _, last = await gateway.greet("user-0")
            gone = [one.connection for one in gateway.machine.told(ClientDisconnected)]
            assert len(gone) == 20
            assert last not in gone

    play(story)
