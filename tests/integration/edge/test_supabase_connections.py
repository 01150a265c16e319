"""Supabase clients at the door: sockets, tokens, broadcasts over HTTP, pages of other origins."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from presence_actors.core.effects import Deliver, PassOn
from presence_actors.core.events import (
    BroadcastPosted,
    ClientSent,
    GuestConnected,
    TokenRenewed,
)
from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import Broadcast, Listen, Ok
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import mint
from tests.integration.edge.scripted import KEY, STEP_SECONDS, Gateway, Play, witness
from tests.supabase_wire import LOBBY, join_params, said

ALICE = "dev:alice"
JOINED = {"status": "ok", "response": {"postgres_changes": []}}
PAGE = "https://app.example"
POST = "/realtime/v1/api/broadcast"


async def ring(gateway: Gateway, token: str = ALICE, **more: Any) -> Any:
    """A client whose socket is open."""
    url = f"{gateway.url}/realtime/v1/websocket?apikey={token}&vsn=2.0.0"
    return await gateway.http.ws_connect(url, **more)


async def joined(gateway: Gateway, token: str = ALICE, **params: Any) -> Any:
    """A client that is in the lobby."""
    socket = await ring(gateway, token)
    await socket.send_json(["1", "1", LOBBY, "phx_join", join_params(**params)])
    connection = (await gateway.machine.until(GuestConnected)).connection
    await gateway.machine.until(ClientSent, 2)
    gateway.perform(Deliver([connection], Ok(id=1)))
    answer = await socket.receive_json(timeout=STEP_SECONDS)
    assert answer == ["1", "1", LOBBY, "phx_reply", JOINED]
    return socket


def test_a_client_joins_with_the_key_in_its_address(play: Play) -> None:
    """It is a guest, and its first words are that it listens."""

    async def story() -> None:
        async with Gateway() as gateway:
            await joined(gateway)
            guest = gateway.machine.told(GuestConnected)[0]
            assert (guest.identity.user, guest.topic) == ("alice", "room:lobby")
            assert gateway.machine.told(ClientSent)[0].message == Listen(id=1, topic="room:lobby")

    play(story)


def test_a_token_in_the_join_says_who_it_is(play: Play) -> None:
    """The key in the address may be one that all clients of an app have."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            everybody = mint("anon", key=KEY)
            await joined(gateway, everybody, access_token=mint("bob", key=KEY, namespace="shop"))
            identity = gateway.machine.told(GuestConnected)[0].identity
            assert (identity.namespace, identity.user) == ("shop", "bob")

    play(story)


def test_a_newer_token_reaches_the_machine(play: Play) -> None:
    """The connection lasts as long as that; a forged one ends the channel alone."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            socket = await joined(gateway, mint("bob", key=KEY))
            newer = mint("bob", key=KEY, ttl_ms=7_200_000)
            await socket.send_json(["1", None, LOBBY, "access_token", {"access_token": newer}])
            renewed = await gateway.machine.until(TokenRenewed)
            assert renewed.identity.user == "bob"
            await socket.send_json(["1", None, LOBBY, "access_token", {"access_token": "forged"}])
            heard = [await socket.receive_json(timeout=STEP_SECONDS) for _ in range(2)]
            assert [frame[3] for frame in heard] == ["system", "phx_close"]
            await socket.send_json([None, "7", "phoenix", "heartbeat", {}])
            assert (await socket.receive_json(timeout=STEP_SECONDS))[1] == "7"

    play(story)


def test_what_is_said_comes_as_text_or_as_bytes(play: Play) -> None:
    """In the order in which it was said, and whatever else is told in the same turn."""

    async def story() -> None:
        async with Gateway() as gateway:
            socket = await joined(gateway)
            connection = gateway.machine.told(GuestConnected)[0].connection
            words = [said(), said("stroke", b"\x00\xff", binary=True), said(payload=b"2")]
            gateway.perform(*(PassOn([connection], word) for word in words))
            heard = [await socket.receive(timeout=STEP_SECONDS) for _ in words]
            assert [one.type for one in heard] == [
                aiohttp.WSMsgType.TEXT,
                aiohttp.WSMsgType.BINARY,
                aiohttp.WSMsgType.TEXT,
            ]
            assert json.loads(heard[0].data)[3:] == [
                "broadcast",
                {"type": "broadcast", "event": "shout", "payload": {"n": 1}},
            ]
            assert heard[1].data.endswith(b"stroke\x00\xff")

    play(story)


def test_who_does_not_read_misses_what_is_said_and_is_not_closed(play: Play) -> None:
    """Nobody else waits, and what waits for this one is bounded."""

    async def story() -> None:
        limits = EdgeLimits(lag_bytes_max=16 * 1024)
        async with Gateway(limits=limits) as gateway, witness(gateway):
            socket = await joined(gateway)
            connection = gateway.machine.told(GuestConnected)[0].connection
            large = json.dumps("x" * 60_000).encode()
            for _ in range(200):
                gateway.perform(PassOn([connection], said(payload=large)))
                await asyncio.sleep(0)
            assert gateway.driver.counts["broadcasts_missed"] > 0
            await socket.send_json([None, "7", "phoenix", "heartbeat", {}])
            while True:
                heard = await socket.receive(timeout=STEP_SECONDS)
                assert heard.type is aiohttp.WSMsgType.TEXT
                if json.loads(heard.data)[1] == "7":
                    break

    play(story)


def test_a_key_that_is_none_is_refused_late(play: Play) -> None:
    """A stock client would try again at once, and for ever."""

    async def story() -> None:
        async with Gateway(key=KEY, limits=EdgeLimits(refusal_ms=300)) as gateway:
            start = asyncio.get_running_loop().time()
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await ring(gateway, "sb_publishable_x")
            assert refused.value.status == 403
            assert asyncio.get_running_loop().time() - start >= 0.3

    play(story)


async def post(
    gateway: Gateway, path: str, body: object, token: str | None = ALICE, **headers: str
) -> tuple[int, Any]:
    """The status and the headers of the answer to a broadcast over HTTP."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        named["apikey"] = token
    async with gateway.http.post(gateway.url + path, data=data, headers=named) as response:
        return response.status, response.headers


def message(topic: str = "lobby") -> dict[str, object]:
    """One of the messages of a body."""
    return {"topic": topic, "event": "shout", "payload": {"n": 1}, "private": False}


def test_who_has_no_socket_may_say_something_too(play: Play) -> None:
    """Several at once, or one whose room and event stand in the address, as JSON or as bytes."""

    async def story() -> None:
        async with Gateway() as gateway:
            body = {"messages": [message(), message("den")]}
            assert (await post(gateway, POST, body))[0] == 202
            one = f"{POST}/lobby/events/shout"
            assert (await post(gateway, one, {"n": 1}))[0] == 202
            octets = {"Content_Type": "application/octet-stream"}
            assert (await post(gateway, one, b"\xff", **octets))[0] == 202
            word = Broadcast(topic="room:lobby", event="shout", payload=b'{"n":1}')
            den = Broadcast(topic="room:den", event="shout", payload=b'{"n":1}')
            octet = Broadcast(topic="room:lobby", event="shout", payload=b"\xff", binary=True)
            await gateway.machine.until(BroadcastPosted, 3)
            assert gateway.machine.told(BroadcastPosted) == [
                BroadcastPosted("default", [word, den]),
                BroadcastPosted("default", [word]),
                BroadcastPosted("default", [octet]),
            ]

    play(story)


def test_a_broadcast_that_cannot_be_said_is_refused(play: Play) -> None:
    """No token, no body, too much, too often: each has its status, and nobody hears anything."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            token = mint("alice", key=KEY)
            assert (await post(gateway, POST, {"messages": [message()]}, token=None))[0] == 401
            assert (await post(gateway, POST, {"messages": [message()]}, token="x"))[0] == 401
            assert (await post(gateway, POST, b"{", token))[0] == 400
            large = {**message(), "payload": "x" * CLIENT_FRAME_BYTES_MAX}
            assert (await post(gateway, POST, {"messages": [large]}, token))[0] == 413
            assert gateway.machine.told(BroadcastPosted) == []
            many = {"messages": [message()] * 100}
            assert (await post(gateway, POST, many, token))[0] == 202
            status, headers = await post(gateway, POST, many, token)
            assert (status, headers["Retry-After"]) == (429, "1")

    play(story)


def test_pages_of_allowed_origins_may_post_and_no_others(play: Play) -> None:
    """A browser asks first; what it may not read it does not send."""

    async def story() -> None:
        async with Gateway(allowed_origins=[PAGE]) as gateway:
            asked = {
                "Origin": PAGE,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "apikey,content-type",
            }
            async with gateway.http.options(gateway.url + POST, headers=asked) as response:
                assert response.status == 204
                assert response.headers["Access-Control-Allow-Origin"] == PAGE
                assert response.headers["Access-Control-Allow-Headers"] == "apikey,content-type"
            status, headers = await post(gateway, POST, {"messages": [message()]}, Origin=PAGE)
            assert (status, headers["Access-Control-Allow-Origin"]) == (202, PAGE)
            evil = "https://evil.example"
            status, headers = await post(gateway, POST, {"messages": [message()]}, Origin=evil)
            assert status == 403
            assert "Access-Control-Allow-Origin" not in headers
            asked["Origin"] = evil
            async with gateway.http.options(gateway.url + POST, headers=asked) as response:
                assert response.status == 403

    play(story)
