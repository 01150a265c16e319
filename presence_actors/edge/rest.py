"""Answers for those who poll, and for those who watch over the gateway: JSON over HTTP.

Errors are ``{"code": ..., "message": ...}`` with the same codes as on the WebSocket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from presence_actors.core.ids import Namespace, UserId
from presence_actors.core.limits import QUERY_TOPICS_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.edge.admission import bearer
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.tokens import DEFAULT_NAMESPACE, TokenRefused
from presence_actors.errors import Unavailable
from presence_actors.wire.identifiers import identifier, room_topic
from presence_actors.wire.refusals import FrameRefused

__all__ = ["RestApi", "answer", "failure"]

_ENCODER: Final = msgspec.json.Encoder()
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON answer that no cache keeps."""
    return web.Response(
        status=status,
        body=_ENCODER.encode(body),
        content_type="application/json",
        headers={**_HEADERS, **(headers or {})},
    )


def failure(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None
) -> web.Response:
    """A refusal: a code for programs and a sentence for people."""
    return answer({"code": code, "message": message}, status=status, headers=headers)


class RestApi:
    """The routes that answer with JSON."""

    def __init__(self, driver: GatewayDriver, *, gateway_name: str) -> None:
        self._driver = driver
        self._name = gateway_name

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/v1/topics/{topic}", self._guarded(self._topic)),
            web.get("/v1/users", self._guarded(self._users)),
            web.get("/v1/stats", self._guarded(self._stats)),
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

    async def _topic(self, request: web.Request, namespace: Namespace) -> web.Response:
        topic = room_topic(request.match_info["topic"])
        answered = await self._driver.query(namespace, [topic], [])
        if not answered.topics:
            raise Unavailable(what="no answer", where=topic, retry_after_ms=1_000)
        return answer(answered.topics[0])

    async def _users(self, request: web.Request, namespace: Namespace) -> web.Response:
        named = [name for names in request.query.getall("ids", []) for name in names.split(",")]
        if not named:
            raise FrameRefused(ErrorCode.BAD_FRAME, "name at least one user: ?ids=alice,bob")
        if len(named) > QUERY_TOPICS_MAX:
            raise FrameRefused(
                ErrorCode.TOO_MANY, f"{len(named)} users; at most {QUERY_TOPICS_MAX} are allowed"
            )
        users = dict.fromkeys(
            UserId(identifier(name, what=f"ids[{index}]")) for index, name in enumerate(named)
        )
        answered = await self._driver.query(namespace, [], list(users))
        return answer({"users": answered.users})

    async def _stats(self, _request: web.Request, _namespace: Namespace) -> web.Response:
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

    def _guarded(
        self, handler: Callable[[web.Request, Namespace], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """The handler, for whoever has a token; every refusal turned into JSON."""

        async def guarded(request: web.Request) -> web.Response:
            try:
                return await handler(request, self._namespace(request))
            except TokenRefused as refused:
                return failure(
                    401, refused.code, refused.message, headers={"WWW-Authenticate": "Bearer"}
                )
            except FrameRefused as refused:
                status = 403 if refused.code is ErrorCode.FORBIDDEN else 400
                return failure(status, refused.code, refused.message)
            except Unavailable as unavailable:
                retry_s = -(-(unavailable.retry_after_ms or 1_000) // 1_000)
                return failure(
                    503,
                    ErrorCode.UNAVAILABLE,
                    str(unavailable),
                    headers={"Retry-After": str(retry_s)},
                )

        return guarded

    def _namespace(self, request: web.Request) -> Namespace:
        token = bearer(request.headers.get("Authorization"))
        if token is not None:
            return self._driver.verifier.verify(token).namespace
        if self._driver.verifier.is_open:
            return DEFAULT_NAMESPACE
        raise TokenRefused(ErrorCode.UNAUTHORIZED, "give a token: Authorization: Bearer TOKEN")
