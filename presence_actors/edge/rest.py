"""Answers for those who poll, and for those who watch over the gateway: JSON over HTTP.

Errors are ``{"code": ..., "message": ...}`` with the same codes as on the WebSocket.
"""

from __future__ import annotations

import hashlib

import msgspec
from aiohttp import web

from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.edge.answers import HEADERS, answer, encode, failure
from presence_actors.edge.asking import asked_of, users_of
from presence_actors.edge.door import Door
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.events import EventStreams
from presence_actors.edge.openapi import document
from presence_actors.errors import Unavailable
from presence_actors.wire.identifiers import room_topic

__all__ = ["RestApi", "answer", "failure"]


def _tag(body: object) -> str:
    """An entity tag, the same at every gateway that sees the same.

    A weak one, since the cursors beside what is seen differ from one gateway to the other.
    """
    return f'W/"{hashlib.blake2b(encode(body), digest_size=12).hexdigest()}"'


def _unless_known(request: web.Request, body: object, tag: str | None) -> web.Response:
    """The answer; or 304 if the client says that it has it already."""
    if tag is None:
        return answer(body)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    known = request.headers.get("If-None-Match", "")
    opaque = tag.removeprefix("W/")
    if known.strip() == "*" or any(
        one.strip().removeprefix("W/") == opaque for one in known.split(",")
    ):
        return web.Response(status=304, headers={**HEADERS, **headers})
    return answer(body, headers=headers)


def _too_stale(what: str, quality: str, as_of: int | None) -> web.Response:
    known = "is not known yet" if as_of is None else f"is known as of {as_of} only"
    return answer(
        {
            "code": ErrorCode.STALE,
            "message": f"part of {what} {known}; ask again, or with a greater max_staleness",
            "quality": quality,
            "as_of": as_of,
        },
        status=503,
        headers={"Retry-After": "1"},
    )


class RestApi:
    """The routes that answer with JSON.

    Args:
        driver: What is asked.
        door: Lets in who may read.
        gateway_name: What this gateway calls itself.
        ping_ms: How often a silent stream of events gives a sign of life.
    """

    def __init__(
        self, driver: GatewayDriver, door: Door, *, gateway_name: str, ping_ms: int
    ) -> None:
        self._driver = driver
        self._door = door
        self._name = gateway_name
        self._streams = EventStreams(driver, beat_ms=ping_ms)

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/v1/openapi.json", self._openapi),
            web.get("/v1/topics/{topic}", self._door.reading(self._topic)),
            web.get("/v1/users", self._door.reading(self._users)),
            web.get("/v1/events", self._door.reading(self._events)),
            web.get("/v1/stats", self._door.reading(self._stats)),
        ]

    async def _healthz(self, _request: web.Request) -> web.Response:
        if self._driver.host.stopped:
            return failure(503, ErrorCode.UNAVAILABLE, "the gateway has stopped")
        return answer({"status": "ok", "gateway": self._name})

    async def _readyz(self, _request: web.Request) -> web.Response:
        view = self._driver.inspect()
        ready = view.ready and not self._driver.host.stopped
        return answer(
            {"ready": ready, "gateway": self._name, "machine": view},
            status=200 if ready else 503,
            headers=None if ready else {"Retry-After": "1"},
        )

    async def _openapi(self, _request: web.Request) -> web.Response:
        return answer(document())

    async def _events(self, request: web.Request, identity: Identity) -> web.StreamResponse:
        full = self._driver.refusal(request.remote or "")
        if full is not None:
            raise Unavailable(what=full, where="the gateway", retry_after_ms=5_000)
        return await self._streams.serve(request, identity)

    async def _topic(self, request: web.Request, identity: Identity) -> web.Response:
        topic = room_topic(request.match_info["topic"])
        asked = asked_of(request.query, paged=True)
        answered = await self._driver.query(identity.namespace, [topic], [], asked)
        if not answered.topics:
            raise Unavailable(what="no answer", where=topic, retry_after_ms=1_000)
        (room,) = answered.topics
        if answered.stale:
            return _too_stale(topic, room.quality, room.as_of)
        tag = _tag(msgspec.structs.replace(room, cursor=None))
        return _unless_known(request, room, tag if asked.cursor is None else None)

    async def _users(self, request: web.Request, identity: Identity) -> web.Response:
        asked = asked_of(request.query, paged=False, beside=("ids",))
        users = users_of(request.query)
        answered = await self._driver.query(identity.namespace, [], users, asked)
        if answered.stale:
            oldest = min((user.as_of for user in answered.users if user.as_of), default=None)
            return _too_stale("the users", "partial" if oldest else "starting", oldest)
        body = {"users": answered.users, "cursor": answered.cursor}
        return _unless_known(request, body, _tag(answered.users))

    async def _stats(self, _request: web.Request, _identity: Identity) -> web.Response:
        driver = self._driver
        return answer(
            {
                "gateway": self._name,
                "edge": {
                    "connections": driver.connections,
                    "unauthenticated": driver.unauthenticated,
                    "counts": dict(sorted(driver.counts.items())),
                },
                "machine": driver.inspect(),
            }
        )
