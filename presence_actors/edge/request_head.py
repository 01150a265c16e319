"""The head of a request that arrives, read just far enough to know who is to serve it.

It is read by the letter. Whatever is unusual (another method, a folded line, a body, an old version
of anything) is no upgrade for us: a full HTTP server answers it, with the right refusal if it is
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

__all__ = ["HEAD_BYTES_MAX", "SocketRequest", "is_whole", "may_be_upgrade", "read_upgrade"]

#: Bytes of a head. Beyond: it is not read here.
HEAD_BYTES_MAX: Final = 16 * 1024

_END: Final = b"\r\n\r\n"
_LINE: Final = re.compile(r"GET (/[!-~]*) HTTP/1\.1")
#: RFC 9110, section 5.6.2.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")


class SocketRequest:
    """A request for a WebSocket that is well-formed; see `UpgradeRequest`."""

    __slots__ = ("_query", "headers", "path", "remote")

    def __init__(
        self, path: str, query: str, headers: CIMultiDict[str], remote: str | None
    ) -> None:
        self.path = path
        self._query = query
        self.headers: CIMultiDictProxy[str] = CIMultiDictProxy(headers)
        self.remote = remote

    @property
    def query(self) -> MultiDictProxy[str]:
        """The parameters behind the question mark."""
        return MultiDictProxy(MultiDict(parse_qsl(self._query, keep_blank_values=True)))


def may_be_upgrade(start: bytes) -> bool:
    """Whether what begins so may become a request that `read_upgrade` takes.

    >>> may_be_upgrade(b"GE"), may_be_upgrade(b"GET /ws"), may_be_upgrade(b"POST /v1/heartbeat")
    (True, True, False)
    """
    return start[:5] == b"GET /"[: len(start)] and len(start) <= HEAD_BYTES_MAX


def is_whole(start: bytes) -> bool:
    """Whether the head has come in to its end."""
    return _END in start


def read_upgrade(
    data: bytes, *, paths: Collection[str], remote: str | None
) -> SocketRequest | None:
    """The request for a WebSocket at one of these paths, if that is what stands here.

    Args:
        data: A whole head, and whatever came in behind it.
        paths: Where there are sockets.
        remote: The address that it came from.
    """
    text = data[: data.index(_END)].decode("latin-1")
    line, _, rest = text.partition("\r\n")
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    path, _, query = match[1].partition("?")
    if path not in paths:
        return None
    headers = _headers(rest)
    if headers is None or not _is_upgrade(headers):
        return None
    return SocketRequest(path, query, headers, remote)


def _headers(text: str) -> CIMultiDict[str] | None:
    headers: CIMultiDict[str] = CIMultiDict()
    if _UNPRINTABLE.search(text.replace("\r\n", "")):
        return None
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            return None
        headers.add(name, value.strip(" \t"))
    return headers


def _is_upgrade(headers: CIMultiDict[str]) -> bool:
    """RFC 6455, section 4.2.1."""
    return (
        headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in [word.strip() for word in headers.get("Connection", "").lower().split(",")]
        and headers.getall("Sec-WebSocket-Version", []) == ["13"]
        and len(headers.getall("Sec-WebSocket-Key", [])) == 1
        and _KEY.fullmatch(headers["Sec-WebSocket-Key"]) is not None
        and len(headers.getall("Host", [])) == 1
        and headers.get("Content-Length", "0") == "0"
        and "Transfer-Encoding" not in headers
    )
