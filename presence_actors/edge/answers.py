"""How this server answers over HTTP: JSON, and of refusals a code and a sentence."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

__all__ = ["HEADERS", "answer", "encode", "failure"]

_ENCODER: Final = msgspec.json.Encoder()
#: Of every answer.
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def encode(body: object) -> bytes:
    """The body as it is sent."""
    return _ENCODER.encode(body)


def answer(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A JSON answer that no cache keeps."""
    return web.Response(
        status=status,
        body=encode(body),
        content_type="application/json",
        headers={**HEADERS, **(headers or {})},
    )


def failure(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None
) -> web.Response:
    """A refusal: a code for programs and a sentence for people."""
    return answer({"code": code, "message": message}, status=status, headers=headers)
