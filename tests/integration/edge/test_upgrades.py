"""How a request becomes a socket, by the letter of RFC 6455, and what else the port serves."""

import pytest

from presence_actors.config import SocketLibrary
from presence_actors.core.events import ClientConnected
from presence_actors.edge.aiohttp_conn import AiohttpConn
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.picows_conn import PicowsConn
from tests.integration.edge.raw_socket import (
    KEY,
    RawSocket,
    accept_of,
    text,
    upgrade,
)
from tests.integration.edge.scripted import Gateway, Play

pytestmark = pytest.mark.sockets

QUESTION = b'{"type":"ping","t":5}'


def test_each_library_serves_what_it_is_chosen_for(play: Play, sockets: SocketLibrary) -> None:
    """Otherwise this suite would run twice against the same one."""

    async def story() -> None:
        async with Gateway() as gateway:
            await RawSocket.open(gateway)
            (client,) = gateway.driver._clients.values()
            assert type(client.conn) is (
                AiohttpConn if sockets is SocketLibrary.AIOHTTP else PicowsConn
            )

    play(story)


def test_a_request_for_a_socket_is_answered_by_the_letter(play: Play) -> None:
    """Status, accept key, the subprotocol that we speak among those offered, and no extension."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.connect(gateway)
            raw.send(
                upgrade(
                    gateway,
                    Sec_WebSocket_Protocol="other.v1, presence.v1.json",
                    Sec_WebSocket_Extensions="permessage-deflate",
                )
            )
            status, headers = await raw.response()
            assert status == 101
            assert headers["upgrade"] == "websocket"
            assert headers["connection"].lower() == "upgrade"
            assert headers["sec-websocket-accept"] == accept_of(KEY)
            assert headers["sec-websocket-protocol"] == "presence.v1.json"
            assert "sec-websocket-extensions" not in headers
            assert "server" not in headers

    play(story)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"Sec_WebSocket_Protocol": "other.v1"}, 400, id="no protocol of ours"),
        pytest.param({"Sec_WebSocket_Key": None}, 400, id="no key"),
        pytest.param({"Sec_WebSocket_Key": "short"}, 400, id="a key that is none"),
        pytest.param({"Sec_WebSocket_Version": "8"}, 426, id="a draft"),
        pytest.param({"Upgrade": None}, 426, id="no upgrade"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="a foreign page"),
        pytest.param({"Host": "rebound.example"}, 403, id="a foreign name"),
    ],
)
def test_a_request_that_is_refused_gets_a_status(
    play: Play, change: dict[str, str | None], status: int
) -> None:
    """It never becomes a socket."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.connect(gateway)
            raw.send(upgrade(gateway, **change))
            assert (await raw.response())[0] == status
            assert gateway.driver.connections == 0

    play(story)


def test_a_client_without_a_token_is_refused_by_either_protocol(play: Play) -> None:
    """Phoenix before there is a socket, since its token stands in the address; ours after hello."""

    async def story() -> None:
        limits = EdgeLimits(refusal_ms=10)
        async with Gateway(key=b"k" * 32, limits=limits) as gateway:
            raw = await RawSocket.connect(gateway)
            raw.send(upgrade(gateway, "/socket/websocket?vsn=2.0.0&token=forged"))
            assert (await raw.response())[0] == 403
            raw = await RawSocket.open(gateway, greeted=False)
            raw.send(text('{"type":"hello","token":"forged"}'))
            assert await raw.end() == 4401
            assert gateway.machine.told(ClientConnected) == []

    play(story)


def test_a_request_that_comes_in_single_bytes_is_understood(play: Play) -> None:
    """A network may cut anything anywhere."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.connect(gateway)
            await raw.send_slowly(upgrade(gateway))
            assert (await raw.response())[0] == 101
            await raw.send_slowly(text('{"type":"hello","token":"dev:raw"}'))
            assert b'"welcome"' in (await raw.frame()).payload

    play(story)


def test_what_comes_in_one_piece_with_the_request_is_not_lost(play: Play) -> None:
    """Nor is more of it than the first buffer holds."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.connect(gateway)
            hello = text('{"type":"hello","token":"dev:raw"}')
            raw.send(upgrade(gateway, X_Filler="x" * 4_000) + hello + 100 * text(QUESTION.decode()))
            assert (await raw.response())[0] == 101
            assert b'"welcome"' in (await raw.frame()).payload
            for _ in range(100):
                assert b'"t":5' in (await raw.frame()).payload

    play(story)


def test_a_head_without_end_gets_no_socket(play: Play) -> None:
    """It is answered or cut off, and never gathered without a limit."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.connect(gateway)
            raw.send(upgrade(gateway)[:-2] + b"X-Filler: " + b"x" * 100_000)
            assert (await raw.response())[0] == 400
            assert gateway.driver.connections == 0

    play(story)


def test_http_and_sockets_share_the_port(play: Play) -> None:
    """Also one after the other on one connection, and with a body."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.connect(gateway)
            for request, wanted in (
                (f"GET /v1/stats HTTP/1.1\r\nHost: localhost:{gateway.port}\r\n\r\n", 200),
                ("POST /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 405),
            ):
                raw.send(request.encode())
                status, headers = await raw.response()
                await raw.body(int(headers["content-length"]))
                assert status == wanted
            raw.send(upgrade(gateway))
            assert (await raw.response())[0] == 101
            raw.send(text('{"type":"hello","token":"dev:raw"}'))
            assert b'"welcome"' in (await raw.frame()).payload

    play(story)
