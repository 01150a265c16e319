"""Readers of a real gateway, in plain aiohttp, who may stop reading."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
import msgspec

from presence_actors.core.vocabulary import Hello
from presence_actors.wire.native import SUBPROTOCOL, encode_client

__all__ = ["connect", "hear", "small_socket"]


async def connect(
    http: aiohttp.ClientSession, url: str, name: str
) -> aiohttp.ClientWebSocketResponse:
    """Somebody who has said hello."""
    found = await http.ws_connect(f"{url}/ws", protocols=(SUBPROTOCOL,), max_msg_size=0)
    await found.send_str(encode_client(Hello(token=f"dev:{name}")))
    return found


async def hear(client: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next frame of a kind."""
    while True:
        frame = msgspec.json.decode((await client.receive(20)).data)
        if frame["type"] == kind:
            assert isinstance(frame, dict)
            return frame


def small_socket(info: tuple[Any, ...]) -> socket.socket:
    """One that hides little of what its reader does not read."""
    family, kind, protocol, *_ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    made.setblocking(False)
    return made
