"""Pages of other origins that may ask over HTTP: those that may open a socket, and no others."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

from presence_actors.edge.admission import origin_allowed
from presence_actors.edge.answers import failure

__all__ = ["Origins"]

_PREFLIGHT_S = 600


class Origins:
    """Which pages may ask.

    Args:
        allowed: Origins, besides those of this server itself.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why a request of this page is not answered, or None."""
        origin = request.headers.get("Origin")
        if origin_allowed(origin, host=request.headers.get("Host"), allowed=self._allowed):
            return None
        return failure(
            403,
            "forbidden_origin",
            f"pages of {origin!r:.80} may not connect; allow them with --allow-origin",
        )

    def open_to(self, request: web.Request, response: web.Response) -> web.Response:
        """The same answer, which the page that asked may read."""
        origin = request.headers.get("Origin")
        if origin is not None and self.refusal(request) is None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
        return response

    async def preflight(self, request: web.Request) -> web.Response:
        """What a browser asks before it lets a page ask."""
        refusal = self.refusal(request)
        if refusal is not None:
            return refusal
        headers = {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": request.headers.get(
                "Access-Control-Request-Headers", "authorization, content-type"
            ),
            "Access-Control-Max-Age": str(_PREFLIGHT_S),
        }
        return self.open_to(request, web.Response(status=204, headers=headers))
