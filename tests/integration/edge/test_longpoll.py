"""Phoenix clients without a WebSocket: what their requests lead to, and when a session ends."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from presence_actors.core.effects import CloseClient, Deliver
from presence_actors.core.events import ClientDisconnected, ClientSent, GuestConnected
from presence_actors.core.vocabulary import Ping, Set
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import mint
from tests.integration.edge.scripted import KEY, STEP_SECONDS, Gateway, Play, witness
from tests.phoenix_wire import LOBBY, entry, snap

OK = {"status": "ok", "response": {}}
PAGE = "https://app.example"


class Poller:
    """A client by hand."""

    def __init__(self, gateway: Gateway, query: str = "token=dev:alice&vsn=2.0.0") -> None:
        self._gateway = gateway
        self._url = f"{gateway.url}/socket/longpoll?{query}"
        self.token = "null"
        #: Frames that came and were not looked at.
        self._frames: list[Any] = []

    async def poll(self, **headers: str) -> dict[str, Any]:
        """The answer to a GET."""
        url = f"{self._url}&token={self.token}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._gateway.http.get(url, headers=named) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "no-store"
            answer: dict[str, Any] = await response.json()
            return answer

    async def post(self, *lines: str) -> int:
        """The status of the answer to a body of frames."""
        url = f"{self._url}&token={self.token}"
        headers = {"Content-Type": "application/x-ndjson"}
        body = "\n".join(lines).encode()
        async with self._gateway.http.post(url, data=body, headers=headers) as response:
            assert response.status == 200
            return int((await response.json())["status"])

    async def say(self, *frame: object) -> None:
        """One frame."""
        assert await self.post(json.dumps(list(frame))) == 200

    async def hear(self) -> Any:
        """The next frame."""
        async with asyncio.timeout(STEP_SECONDS):
            while not self._frames:
                self._frames += [json.loads(text) for text in (await self.poll())["messages"]]
        return self._frames.pop(0)

    async def begin(self) -> Poller:
        """The same, with a session."""
        answer = await self.poll()
        assert (answer["status"], answer["messages"]) == (410, [])
        self.token = answer["token"]
        return self


async def joined(gateway: Gateway, **more: Any) -> Poller:
    """A client that is in the lobby."""
    poller = await Poller(gateway, **more).begin()
    await poller.say("3", "3", LOBBY, "phx_join", {"meta": {"a": 1}})
    assert await poller.hear() == ["3", "3", LOBBY, "phx_reply", OK]
    return poller


def test_frames_come_in_as_bodies_and_go_out_in_answers(play: Play) -> None:
    """The same dialog as over a socket; what comes while a poll waits comes with it."""

    async def story() -> None:
        async with Gateway() as gateway:
            poller = await joined(gateway)
            connection = gateway.machine.told(GuestConnected)[0].connection
            waiting = asyncio.create_task(poller.poll())
            await asyncio.sleep(0.05)
            gateway.perform(Deliver([connection], snap(entry("bob"))))
            answer = await waiting
            assert answer["status"] == 200
            assert [json.loads(text)[3] for text in answer["messages"]] == ["presence_state"]

    play(story)


def test_a_poll_in_vain_says_so_and_is_a_sign_of_life(play: Play) -> None:
    """This client sends no heartbeats."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(poll_ms=50)) as gateway:
            poller = await joined(gateway)
            before = len(gateway.machine.told(ClientSent))
            answer = await poller.poll()
            assert (answer["status"], answer["messages"]) == (204, [])
            news = gateway.machine.told(ClientSent)[before:]
            assert [sent.message for sent in news] == [Ping()]

    play(story)


def test_a_body_has_several_frames_and_binary_ones_in_base64(play: Play) -> None:
    """A line that is neither is a bad frame, and harms no other line."""

    async def story() -> None:
        async with Gateway() as gateway:
            poller = await joined(gateway)
            beat = json.dumps([None, "7", "phoenix", "heartbeat", {}])
            binary = b"\x00\x01\x01\x0a\x0534room:lobbyshout\xff"
            lines = (beat, base64.b64encode(binary).decode(), "!", beat.replace("7", "8"))
            assert await poller.post(*lines) == 200
            heard = [await poller.hear() for _ in range(3)]
            assert [frame[1] for frame in heard] == ["7", "4", "8"]
            assert heard[1][4]["response"] == {"reason": "unknown event 'shout'"}
            assert gateway.driver.counts["refused"] == 1
            assert await poller.post(*[beat] * 101) == 200
            assert gateway.driver.counts["refused"] == 2

    play(story)


def test_a_client_that_asks_no_more_is_lost_and_others_do_not_notice(play: Play) -> None:
    """It says no goodbye, so it has its grace; and what it still says finds no session."""

    async def story() -> None:
        limits = EdgeLimits(poll_ms=50, poll_gone_ms=200)
        async with Gateway(limits=limits) as gateway, witness(gateway):
            poller = await joined(gateway)
            gone = await gateway.machine.until(ClientDisconnected)
            assert not gone.orderly
            assert await poller.post("[]") == 410
            assert (await poller.poll())["status"] == 500
            assert gateway.driver.connections == 1

    play(story)


def test_a_session_that_the_gateway_ends_sends_its_client_away(play: Play) -> None:
    """It connects anew; a poll that waits does not wait any longer."""

    async def story() -> None:
        async with Gateway() as gateway:
            poller = await joined(gateway)
            connection = gateway.machine.told(GuestConnected)[0].connection
            waiting = asyncio.create_task(poller.poll())
            await asyncio.sleep(0.05)
            gateway.perform(CloseClient(connection, 1012, "elsewhere"))
            assert (await waiting)["status"] == 500
            assert (await poller.poll())["status"] == 500
            assert gateway.driver.connections == 0

    play(story)


def test_of_two_polls_the_later_one_is_answered(play: Play) -> None:
    """The client has given up the other, and would not read what it says."""

    async def story() -> None:
        async with Gateway() as gateway:
            poller = await joined(gateway)
            connection = gateway.machine.told(GuestConnected)[0].connection
            older = asyncio.create_task(poller.poll())
            await asyncio.sleep(0.05)
            later = asyncio.create_task(poller.poll())
            assert (await older)["status"] == 204
            gateway.perform(Deliver([connection], snap(entry("bob"))))
            assert (await later)["status"] == 200

    play(story)


def test_who_may_not_come_in_gets_no_session(play: Play) -> None:
    """Late, since the client asks again at once; a page of another origin is not even asked."""

    async def story() -> None:
        limits = EdgeLimits(refusal_ms=100)
        async with Gateway(key=KEY, limits=limits, allowed_origins=[PAGE]) as gateway:
            for query in ("token=forged&vsn=2.0.0", "vsn=2.0.0", "vsn=3.0.0"):
                assert (await Poller(gateway, query).poll())["status"] == 403
            by_header = Poller(gateway, "vsn=2.0.0")
            answer = await by_header.poll(X_Phoenix_AuthToken=mint("bob", key=KEY))
            assert answer["status"] == 410
            url = f"{gateway.url}/socket/longpoll?vsn=2.0.0"
            async with gateway.http.get(url, headers={"Origin": PAGE}) as response:
                assert response.headers["Access-Control-Allow-Origin"] == PAGE
            async with gateway.http.get(url, headers={"Origin": "https://evil"}) as response:
                assert response.status == 403
            async with gateway.http.options(url, headers={"Origin": PAGE}) as response:
                assert response.status == 204

    play(story)


def test_a_session_that_joins_nothing_ends(play: Play) -> None:
    """Polls alone are nothing that a room is for."""

    async def story() -> None:
        limits = EdgeLimits(poll_ms=2_000, idle_ms=100)
        async with Gateway(limits=limits) as gateway:
            poller = await Poller(gateway).begin()
            assert (await poller.poll())["status"] == 500
            assert gateway.driver.connections == 0

    play(story)


def test_frames_of_version_1_are_objects(play: Play) -> None:
    """And older clients send one in a body."""

    async def story() -> None:
        async with Gateway() as gateway:
            poller = await Poller(gateway, "token=dev:alice").begin()
            join = {"topic": LOBBY, "event": "phx_join", "payload": {}, "ref": "1"}
            assert await poller.post(json.dumps(join)) == 200
            assert (await poller.hear())["payload"] == OK
            message = gateway.machine.told(ClientSent)[0].message
            assert message == Set(id=1, topic=LOBBY, meta={})

    play(story)
