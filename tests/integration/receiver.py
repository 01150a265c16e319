"""An app server on loopback that takes webhooks, and verifies them as the documents say."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from typing import Any, Self

import msgspec
from aiohttp import web

__all__ = ["WebhookReceiver"]


class WebhookReceiver:
    """Remembers what it took.

    Args:
        key: What senders sign with.
        statuses: With which statuses it answers first; after that it takes everything.
    """

    def __init__(self, key: bytes, *, statuses: list[int] | None = None) -> None:
        self._key = key
        self._statuses = list(statuses or [])
        #: Every request, as (id, status of the answer, data).
        self.requests: list[tuple[str, int, dict[str, Any]]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def taken(self) -> list[tuple[str, str]]:
        """(user, status) of what it took, doubles dropped by their id."""
        once = {name: data for name, status, data in self.requests if status < 300}
        return [(data["user"], data["status"]) for data in once.values()]

    async def until(self, expected: list[tuple[str, str]], *, within_s: float = 20) -> None:
        """Return when it has taken exactly this."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    if self.taken() == expected:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(self.requests) from None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = request.headers["webhook-id"]
        timestamp = int(request.headers["webhook-timestamp"])
        digest = hmac.new(self._key, f"{name}.{timestamp}.".encode() + body, hashlib.sha256)
        expected = "v1," + base64.b64encode(digest.digest()).decode()
        genuine = hmac.compare_digest(request.headers["webhook-signature"], expected)
        if not genuine or abs(time.time() - timestamp) > 300:
            status = 401
        else:
            status = self._statuses.pop(0) if self._statuses else 204
        self.requests.append((name, status, msgspec.json.decode(body)["data"]))
        headers = {"Location": "/hook"} if 300 <= status < 400 else None
        return web.Response(status=status, headers=headers)
