"""Which requests are taken for one of a socket, and which are left to a full HTTP server."""

import pytest

from presence_actors.edge.request_head import (
    HEAD_BYTES_MAX,
    SocketRequest,
    is_whole,
    may_be_upgrade,
    read_upgrade,
)

PATHS = ("/ws", "/socket/websocket")
HEAD = (
    "GET /ws HTTP/1.1\r\n"
    "Host: localhost:4000\r\n"
    "upgrade: WebSocket\r\n"
    "Connection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: presence.v1.json\r\n"
    "\r\n"
)


def read(head: str) -> SocketRequest | None:
    """What is read of it, from some address."""
    return read_upgrade(head.encode("latin-1"), paths=PATHS, remote="192.0.2.7")


def test_a_request_for_a_socket_is_read() -> None:
    """Names of headers have no case; what comes behind the head is not looked at."""
    request = read(HEAD + "\x81\x80")
    assert request is not None
    assert (request.path, request.remote) == ("/ws", "192.0.2.7")
    assert request.headers["HOST"] == "localhost:4000"
    assert request.headers.getall("sec-websocket-protocol") == ["presence.v1.json"]
    assert dict(request.query) == {}


def test_parameters_are_decoded() -> None:
    """As a form would have them; empty ones are there, too."""
    request = read(HEAD.replace("/ws", "/socket/websocket?vsn=2.0.0&token=a%2Bb+c&empty="))
    assert request is not None
    assert request.path == "/socket/websocket"
    assert dict(request.query) == {"vsn": "2.0.0", "token": "a+b c", "empty": ""}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("GET", "POST", id="another method"),
        pytest.param("/ws", "/v1/stats", id="no socket there"),
        pytest.param("/ws", "/%77s", id="another spelling"),
        pytest.param("/ws", "http://localhost/ws", id="an absolute target"),
        pytest.param("HTTP/1.1", "HTTP/1.0", id="an old version"),
        pytest.param("GET /ws", "GET  /ws", id="two spaces"),
        pytest.param("upgrade: WebSocket\r\n", "", id="no upgrade"),
        pytest.param("WebSocket", "h2c", id="another upgrade"),
        pytest.param(", Upgrade", "", id="a connection that is kept"),
        pytest.param("AAAA==", "==", id="a short key"),
        pytest.param("Version: 13", "Version: 8", id="a draft"),
        pytest.param("Version: 13\r\n", "Version: 13\r\nsec-websocket-version: 13\r\n", id="twice"),
        pytest.param("Host: localhost:4000\r\n", "", id="no host"),
        pytest.param("Host:", "Host: evil\r\nHost:", id="two hosts"),
        pytest.param("Host:", "Host :", id="a space before the colon"),
        pytest.param("Host:", "Content-Length: 5\r\nHost:", id="a body"),
        pytest.param("Host:", "Transfer-Encoding: chunked\r\nHost:", id="a body in chunks"),
        pytest.param("Host:", "X: a\r\n folded\r\nHost:", id="a folded line"),
        pytest.param("Host:", "X: a\nY: b\r\nHost:", id="a bare line feed"),
        pytest.param("Host:", "X: a\x00b\r\nHost:", id="a zero byte"),
        pytest.param("Host:", "no colon\r\nHost:", id="no header"),
    ],
)
def test_whatever_is_unusual_is_left_to_others(old: str, new: str) -> None:
    """They refuse it if it is wrong, and serve it if it is not."""
    assert old in HEAD
    assert read(HEAD) is not None
    assert read(HEAD.replace(old, new)) is None


def test_it_is_known_early_what_can_become_no_socket() -> None:
    """So that nothing is gathered for long that is not for us."""
    data = HEAD.encode()
    assert all(may_be_upgrade(data[:size]) for size in range(len(data)))
    assert [is_whole(data[:-1]), is_whole(data)] == [False, True]
    assert not may_be_upgrade(b"POST")
    assert not may_be_upgrade(b"GET http://localhost/")
    assert not may_be_upgrade(b"\x16\x03\x01")
    assert not may_be_upgrade(b"GET /".ljust(HEAD_BYTES_MAX + 1, b"x"))
