"""Everything that a client can do wrong: what it hears, and that nobody else notices."""

import asyncio

import aiohttp
import jwt
import pytest

from presence_actors.core.events import (
    ClientConnected,
    ClientDisconnected,
    ClientRefused,
    ClientSent,
)
from presence_actors.core.limits import BAD_FRAMES_MAX, CLIENT_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import Bye, Hello, Ping
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import mint
from tests.integration.edge.scripted import KEY, Client, Gateway, Play, witness

pytestmark = pytest.mark.sockets

LONG = "x" * 129


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param("{", "bad_frame", id="malformed"),
        pytest.param("[]", "bad_frame", id="no object"),
        pytest.param('{"type":"ping","t":NaN}', "bad_frame", id="NaN"),
        pytest.param('{"type":"ping","t":1,"t":2}', "bad_frame", id="a field twice"),
        pytest.param('{"type":"set","topic":7}', "bad_frame", id="a wrong type of field"),
        pytest.param("[" * 9_000, "bad_frame", id="nested too deep"),
        pytest.param('{"type":"hello"}', "bad_frame", id="a second hello"),
        pytest.param('{"type":"wave"}', "unknown_type", id="an unknown type"),
        pytest.param(f'{{"type":"set","topic":"{LONG}"}}', "too_long", id="an over-long topic"),
        pytest.param(f'{{"type":"sub","users":["{LONG}"]}}', "too_long", id="an over-long user"),
        pytest.param('{"type":"unset","topic":"user:bob"}', "forbidden", id="a user's topic"),
    ],
)
def test_a_frame_that_cannot_be_taken_is_answered_and_the_connection_kept(
    play: Play, frame: str, code: str
) -> None:
    """The client hears what is wrong; the machine of bad frames only; nobody else anything."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, connection = await gateway.greet()
            await client.say(frame)
            answer = await client.hear()
            assert (answer["type"], answer["code"]) == ("err", code)
            expected = [ClientRefused(connection)] if code == "bad_frame" else []
            assert gateway.machine.told(ClientRefused) == expected
            assert await client.is_served()

    play(story)


def test_the_answer_names_the_request(play: Play) -> None:
    """So the client knows which one it was."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, _ = await gateway.greet()
            await client.say('{"type":"set","id":"q7","topic":7}')
            assert (await client.hear())["id"] == "q7"

    play(story)


def test_a_binary_frame_is_a_bad_frame(play: Play) -> None:
    """This protocol has text frames only."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, _ = await gateway.greet()
            await client.socket.send_bytes(b'{"type":"ping"}')
            assert (await client.hear())["code"] == "bad_frame"
            assert await client.is_served()

    play(story)


def test_a_type_that_is_optional_is_passed_over(play: Play) -> None:
    """It gets no answer, and is no bad frame."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, _ = await gateway.greet()
            await client.say('{"type":"wave","opt":1}')
            assert await client.is_served()
            assert gateway.machine.told(ClientRefused) == []

    play(story)


def test_the_sixth_bad_frame_is_one_too_many(play: Play) -> None:
    """Five are answered and forgiven, whatever stands between them."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, connection = await gateway.greet()
            for _ in range(BAD_FRAMES_MAX):
                await client.say("{")
                assert (await client.hear())["code"] == "bad_frame"
                assert await client.is_served()
            await client.say("{")
            assert (await client.hear())["code"] == "bad_frame"
            assert (await client.end())[0] == 4400
            assert gateway.machine.told(ClientDisconnected) == [ClientDisconnected(connection)]

    play(story)


def test_other_refusals_do_not_count_as_bad_frames(play: Play) -> None:
    """A client that is newer than its gateway is no broken one."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, _ = await gateway.greet()
            for _ in range(3 * BAD_FRAMES_MAX):
                await client.say('{"type":"wave"}')
                assert (await client.hear())["code"] == "unknown_type"
            assert await client.is_served()

    play(story)


@pytest.mark.parametrize("size", [CLIENT_FRAME_BYTES_MAX + 1, 3_000_000])
def test_a_frame_that_is_too_big_ends_the_connection(play: Play, size: int) -> None:
    """It is never gathered; its sender hears the limit, and 1009."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, connection = await gateway.greet()
            await client.say("x" * size)
            answer = await client.hear()
            assert answer["code"] == "too_big"
            assert str(CLIENT_FRAME_BYTES_MAX) in answer["message"]
            assert (await client.end())[0] == 1009
            assert gateway.machine.told(ClientDisconnected) == [ClientDisconnected(connection)]

    play(story)


def test_a_frame_in_pieces_may_not_be_bigger_than_a_whole_one(play: Play) -> None:
    """Endless fragments are seen before they are gathered."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, _ = await gateway.greet()
            connection = client.socket._response.connection
            assert connection is not None
            assert connection.transport is not None
            piece = b"x" * 16_384
            head = bytes((0x01, 0xFE)) + len(piece).to_bytes(2, "big") + bytes(4)
            more = bytes((0x00, 0xFE)) + len(piece).to_bytes(2, "big") + bytes(4)
            connection.transport.write(head + piece + 5 * (more + piece))
            assert (await client.hear())["code"] == "too_big"
            assert (await client.end())[0] == 1009

    play(story)


async def hear_the_end(client: Client, code: str, closing: int) -> None:
    """The client hears why, and is closed."""
    assert (await client.hear())["code"] == code
    assert (await client.end())[0] == closing


@pytest.mark.parametrize(
    ("hello", "code", "closing"),
    [
        pytest.param('{"type":"hello","version":2}', "bad_version", 4400, id="another version"),
        pytest.param('{"type":"hello"}', "unauthorized", 4401, id="no token"),
        pytest.param('{"type":"hello","token":"dev:eve"}', "unauthorized", 4401, id="a forged one"),
        pytest.param('{"type":"ping"}', "unauthorized", 4401, id="no hello"),
        pytest.param('{"type":"bye"}', "unauthorized", 4401, id="bye before hello"),
    ],
)
def test_a_client_that_is_nobody_is_told_so_and_closed(
    play: Play, hello: str, code: str, closing: int
) -> None:
    """The machine never hears of it."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            client = await gateway.connect()
            await client.say(hello)
            await hear_the_end(client, code, closing)
            assert gateway.machine.events == []

    play(story)


def test_a_token_that_has_run_out_is_told_apart(play: Play) -> None:
    """Its owner fetches a new one and comes back."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            client = await gateway.connect()
            await client.say(Hello(token=_expired()))
            await hear_the_end(client, "token_expired", 4401)

    play(story)


def _expired() -> str:
    return jwt.encode(
        {"sub": "alice", "aud": "presence", "iat": 1_000_000_000, "exp": 1_000_000_060},
        KEY,
        algorithm="HS256",
    )


def test_bad_frames_before_hello_are_answered_and_counted(play: Play) -> None:
    """They do not reach the machine, and do not hold the connection open for ever."""

    async def story() -> None:
        async with Gateway() as gateway:
            client = await gateway.connect()
            for _ in range(BAD_FRAMES_MAX):
                await client.say("{")
                assert (await client.hear())["code"] == "bad_frame"
            await client.say("{")
            await hear_the_end(client, "bad_frame", 4400)
            assert gateway.machine.events == []

    play(story)


def test_a_client_that_says_nothing_is_closed_in_time(play: Play) -> None:
    """With a code that lets it come back later."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(hello_ms=50)) as gateway, witness(gateway):
            client = await gateway.connect()
            assert await client.end() == (4508, "no hello within 50 ms")
            assert len(gateway.machine.told(ClientConnected)) == 1

    play(story)


def test_silent_connections_have_a_limit(play: Play) -> None:
    """Whoever says hello, or goes, makes room again."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(unauthenticated_max=2)) as gateway:
            first, second = await gateway.connect(), await gateway.connect()
            assert gateway.driver.unauthenticated == 2
            assert await gateway.refusal() == 503
            await first.say(Hello(token="dev:alice"))
            await first.hear()
            third = await gateway.connect()
            assert await gateway.refusal() == 503
            await second.socket.close()
            await third.say(Hello(token="dev:bob"))
            await third.hear()
            assert gateway.driver.unauthenticated == 0
            await gateway.greet("carol")

    play(story)


def test_nothing_is_heard_of_a_client_after_its_end(play: Play) -> None:
    """What it says after bye is dropped."""

    async def story() -> None:
        async with Gateway() as gateway:
            client, connection = await gateway.greet()
            await client.say(Bye())
            await client.say(Ping())
            await client.say("{")
            assert (await client.end())[0] == 1000
            assert gateway.machine.told(ClientSent)[-1] == ClientSent(connection, Bye())
            assert gateway.machine.told(ClientRefused) == []

    play(story)


@pytest.mark.parametrize(
    "protocols", [(), ("presence.v2.json",), ("phoenix",), ("PRESENCE.V1.JSON",)], ids=str
)
def test_without_a_common_protocol_there_is_no_connection(
    play: Play, protocols: tuple[str, ...]
) -> None:
    """It is refused with 400 before the upgrade."""

    async def story() -> None:
        async with Gateway() as gateway:
            assert await gateway.refusal(protocols=protocols) == 400
            assert await gateway.refusal(protocols=(*protocols, "presence.v1.json")) == 101

    play(story)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        pytest.param("https://good.example", 101, id="on the list"),
        pytest.param("http://{host}", 101, id="our own page"),
        pytest.param("https://{host}", 101, id="our own page behind a proxy"),
        pytest.param("null", 403, id="null"),
        pytest.param("https://evil.example", 403, id="foreign"),
        pytest.param("https://good.example.evil.example", 403, id="a suffix"),
        pytest.param("https://evil-good.example", 403, id="a prefix"),
        pytest.param("https://GOOD.example", 403, id="other case"),
        pytest.param("https://good.example:8443", 403, id="other port"),
        pytest.param("http://good.example", 403, id="other scheme"),
        pytest.param("http://127.0.0.1", 403, id="our host at another port"),
    ],
)
def test_a_page_comes_in_only_by_its_exact_origin(play: Play, origin: str, status: int) -> None:
    """A foreign page cannot ride on what the browser knows."""

    async def story() -> None:
        async with Gateway(allowed_origins=["https://good.example"]) as gateway:
            headers = {"Origin": origin.format(host=f"127.0.0.1:{gateway.port}")}
            assert await gateway.refusal(headers=headers) == status
            assert gateway.driver.connections == (1 if status == 101 else 0)

    play(story)


def test_an_open_gateway_answers_to_loopback_names_only(play: Play) -> None:
    """A page whose name was rebound to this machine still sends its own name."""

    async def story() -> None:
        async with Gateway() as gateway:
            evil = {"Host": f"evil.example:{gateway.port}"}
            assert await gateway.refusal(headers=evil) == 403
            origin = {**evil, "Origin": f"http://evil.example:{gateway.port}"}
            assert await gateway.refusal(headers=origin) == 403
            for path in ("/", "/readyz", "/v1/stats"):
                assert (await gateway.get(path, **evil))[0] == 403
            assert (await gateway.get("/healthz", Host="localhost:1"))[0] == 200

    play(story)


def test_a_gateway_with_a_key_answers_to_any_name(play: Play) -> None:
    """There the token protects, and the public name is not known to it."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            assert await gateway.refusal(headers={"Host": "presence.example"}) == 101
            assert (await gateway.get("/healthz", Host="presence.example"))[0] == 200
            token = mint("alice", key=KEY)
            status, _, _ = await gateway.get("/v1/stats", Authorization=f"Bearer {token}")
            assert status == 200

    play(story)


def test_what_is_no_upgrade_is_told_what_this_address_is_for(play: Play) -> None:
    """A person who opens it in a browser gets a sentence."""

    async def story() -> None:
        async with Gateway() as gateway:
            status, body, headers = await gateway.get("/ws")
            assert (status, headers["Upgrade"]) == (426, "websocket")
            assert "WebSocket" in body["message"]
            async with gateway.http.get(
                f"{gateway.url}/ws",
                headers={
                    "Upgrade": "websocket",
                    "Connection": "Upgrade",
                    "Sec-WebSocket-Protocol": "presence.v1.json",
                    "Sec-WebSocket-Version": "5",
                },
            ) as response:
                assert response.status == 426
            assert gateway.driver.connections == 0

    play(story)


def test_garbage_instead_of_http_is_refused(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody else notices, and it does not fill the log."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"\x00\xff garbage\r\n\r\n")
            answer = await reader.read()
            assert b" 400 " in answer.splitlines()[0]
            writer.close()
            await writer.wait_closed()

    play(story)
    assert "Traceback" not in caplog.text


def test_a_protocol_error_of_websocket_ends_the_connection(play: Play) -> None:
    """A frame with reserved bits is against RFC 6455: 1002."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            client, connection = await gateway.greet()
            inner = client.socket._response.connection
            assert inner is not None
            assert inner.transport is not None
            inner.transport.write(bytes((0xF1, 0x80, 0, 0, 0, 0)))
            assert (await client.end())[0] in (1002, aiohttp.WSCloseCode.ABNORMAL_CLOSURE)
            assert await gateway.machine.until(ClientDisconnected) == ClientDisconnected(connection)

    play(story)
