"""The upgrade of a Phoenix client: its version, its token, and a refusal that takes its time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.edge.admission import bearer
from presence_actors.edge.aiohttp_conn import serve_socket
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.rest import failure
from presence_actors.edge.tokens import TokenRefused
from presence_actors.wire.phoenix import PhoenixDialog
from presence_actors.wire.phoenix_claims import PROTOCOL, bearer_in, says_goodbye
from presence_actors.wire.phoenix_frames import version_of
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused

__all__ = ["PhoenixEndpoint", "offered_protocols"]


def offered_protocols(request: web.Request) -> list[str]:
    """The subprotocols that a client offers, in its order."""
    header = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    return [word.strip() for word in header.split(",")]


class PhoenixEndpoint:
    """Serves ``/socket/websocket`` of one gateway.

    Args:
        driver: What the connections are handed to.
        ping_ms: Distance of the WebSocket pings to a silent client.
    """

    def __init__(self, driver: GatewayDriver, *, ping_ms: int) -> None:
        self._driver = driver
        self._ping_ms = ping_ms
        self._rooms = Rooms()
        #: How many wait for their refusal.
        self._refusing = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a request that may have a socket, or refuse it."""
        offered = offered_protocols(request)
        version = version_of(request.query.get("vsn"))
        if version is None:
            return await self._refuse(
                ErrorCode.BAD_VERSION, "this gateway speaks vsn 1.0.0 and 2.0.0; ask for one"
            )
        try:
            identity = self._identity(request, offered)
            dialog = PhoenixDialog(
                version=version,
                namespace=identity.namespace,
                params=request.query,
                rooms=self._rooms,
            )
        except (TokenRefused, FrameRefused) as refused:
            return await self._refuse(refused.code, refused.message)
        return await serve_socket(
            request,
            self._driver,
            # Never the one with the token in it: an answer ends up in logs.
            protocol=PROTOCOL if PROTOCOL in offered else None,
            opened=lambda conn: self._driver.opened_dialog(
                conn, dialog=dialog, identity=identity, address=request.remote or ""
            ),
            says_goodbye=says_goodbye,
            ping_ms=self._ping_ms,
        )

    def _identity(self, request: web.Request, offered: list[str]) -> Identity:
        token = (
            bearer_in(offered)
            or request.query.get("token")
            or bearer(request.headers.get("Authorization"))
        )
        if token is None:
            raise TokenRefused(
                ErrorCode.UNAUTHORIZED, "give a token, as the parameter token or as authToken"
            )
        return self._driver.verifier.verify(token)

    async def _refuse(self, code: ErrorCode, message: str) -> web.Response:
        """403, but late: a stock client tries again six times in the first 0.6 s, and for ever."""
        limits = self._driver.limits
        if self._refusing < limits.refusals_max:
            self._refusing += 1
            try:
                await asyncio.sleep(limits.refusal_ms / 1_000)
            finally:
                self._refusing -= 1
        return failure(403, code, message)
