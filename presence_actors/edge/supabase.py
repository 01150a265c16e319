"""Supabase Realtime at the door: its sockets' dialect, and broadcasts over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from presence_actors.core.events import BroadcastPosted
from presence_actors.core.limits import BROADCASTS_PER_SECOND_MAX, CLIENT_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import Broadcast, ErrorCode, Identity
from presence_actors.edge.admission import bearer
from presence_actors.edge.answers import failure
from presence_actors.edge.conn import Dialog
from presence_actors.edge.cors import Origins
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.rates import Rates
from presence_actors.edge.tokens import TokenRefused, TokenVerifier
from presence_actors.wire.phoenix_frames import Spoken, Version
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.supabase import SupabaseDialog
from presence_actors.wire.supabase_talk import Hall, broadcast_of, posted

__all__ = ["SupabaseApi", "SupabaseDialect"]

_BYTES: Final = "application/octet-stream"


class SupabaseDialect:
    """Channels as `@supabase/realtime-js` speaks them.

    Args:
        rooms: The pictures of all rooms of the gateway.
        verifier: Tells who the bearer of a newer token is.
    """

    token_param: Final = "apikey"  # noqa: S105  # a name

    def __init__(self, rooms: Rooms, verifier: TokenVerifier) -> None:
        self._rooms = rooms
        self._hall = Hall()
        self._verifier = verifier

    def dialog(
        self,
        version: Version,
        identity: Identity,
        params: Mapping[str, str],
        *,
        small_frames: bool,
    ) -> Dialog:
        """A new connection."""
        return SupabaseDialog(
            version=version,
            identity=identity,
            params=params,
            rooms=self._rooms,
            hall=self._hall,
            verify=self._verify,
            small_frames=small_frames,
        )

    def _verify(self, token: str) -> Identity:
        try:
            return self._verifier.verify(token)
        except TokenRefused as refused:
            raise FrameRefused(refused.code, refused.message) from refused


class SupabaseApi:
    """``POST /realtime/v1/api/broadcast``: for those who have no socket.

    Args:
        driver: What it is handed to.
        origins: Which pages may ask.
    """

    def __init__(self, driver: GatewayDriver, origins: Origins) -> None:
        self._driver = driver
        self._origins = origins
        self._rates = Rates(per_second=BROADCASTS_PER_SECOND_MAX, burst=BROADCASTS_PER_SECOND_MAX)

    def routes(self) -> list[web.RouteDef]:
        """What to serve."""
        many = "/realtime/v1/api/broadcast"
        one = many + "/{topic}/events/{event}"
        return [
            web.post(many, self._post_many),
            web.post(one, self._post_one),
            web.options(many, self._origins.preflight),
            web.options(one, self._origins.preflight),
        ]

    async def _post_many(self, request: web.Request) -> web.StreamResponse:
        return self._answered(request, posted, await request.read())

    async def _post_one(self, request: web.Request) -> web.StreamResponse:
        topic, event = request.match_info["topic"], request.match_info["event"]
        binary = request.content_type == _BYTES

        def said(body: bytes) -> list[Broadcast]:
            return [broadcast_of(topic, Spoken(event, body, binary))]

        return self._answered(request, said, await request.read())

    def _answered(
        self, request: web.Request, read: Callable[[bytes], list[Broadcast]], body: bytes
    ) -> web.Response:
        refusal = self._origins.refusal(request)
        if refusal is not None:
            return refusal
        return self._origins.open_to(request, self._say(request, read, body))

    def _say(
        self, request: web.Request, read: Callable[[bytes], list[Broadcast]], body: bytes
    ) -> web.Response:
        try:
            identity = self._identity(request)
            broadcasts = read(body)
        except TokenRefused as refused:
            return failure(401, refused.code, refused.message)
        except FrameRefused as refused:
            return failure(400, refused.code, refused.message)
        if any(len(said.payload) > CLIENT_FRAME_BYTES_MAX for said in broadcasts):
            words = f"a broadcast may have at most {CLIENT_FRAME_BYTES_MAX} bytes"
            return failure(413, ErrorCode.TOO_BIG, words)
        if not self._may(identity, len(broadcasts)):
            words = f"you may say {BROADCASTS_PER_SECOND_MAX} things a second; nobody heard these"
            return failure(429, ErrorCode.RATE_LIMITED, words, headers={"Retry-After": "1"})
        self._driver.host.post(BroadcastPosted(identity.namespace, broadcasts))
        return web.Response(status=202)

    def _identity(self, request: web.Request) -> Identity:
        token = bearer(request.headers.get("Authorization")) or request.headers.get("apikey")
        if not token:
            raise TokenRefused(ErrorCode.UNAUTHORIZED, "give a token, in the header apikey")
        return self._driver.verifier.verify(token)

    def _may(self, identity: Identity, count: int) -> bool:
        who = f"{identity.namespace}/{identity.user}"
        return not self._rates.wait_s(who, asyncio.get_running_loop().time(), count=count)
