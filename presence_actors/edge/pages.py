"""The page for people at ``/``: three files that come with the package, read once."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from aiohttp import web

__all__ = ["page_routes"]

_TYPES: Final = {
    "index.html": "text/html",
    "app.js": "text/javascript",
    "presence.js": "text/javascript",
    "style.css": "text/css",
}
_HEADERS: Final = {
    # Nothing but our own files, and our own socket.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[web.RouteDef]:
    """The routes of the page."""
    folder = files("presence_actors.edge") / "page"
    contents = {name: (folder / name).read_bytes() for name in _TYPES}

    def send(name: str) -> web.Response:
        return web.Response(
            body=contents[name], content_type=_TYPES[name], charset="utf-8", headers=_HEADERS
        )

    async def index(_request: web.Request) -> web.Response:
        return send("index.html")

    async def static(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in contents:
            raise web.HTTPNotFound
        return send(name)

    return [web.get("/", index), web.get("/static/{name}", static)]
