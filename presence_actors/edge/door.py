"""Who may ask what over HTTP: tokens and scopes before a handler, refusals as JSON behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from presence_actors.core.ids import UserId
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.edge.admission import bearer
from presence_actors.edge.answers import failure
from presence_actors.edge.tokens import DEFAULT_NAMESPACE, TokenRefused, TokenVerifier
from presence_actors.errors import Unavailable
from presence_actors.wire.refusals import FrameRefused

__all__ = ["Door"]

Handler = Callable[[web.Request, Identity], Awaitable[web.StreamResponse]]
Guarded = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Whoever reads at an open gateway without a token.
_NOBODY: Final = UserId("")

#: All others are 400.
_STATUSES: Final = {
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.TOO_BIG: 413,
    ErrorCode.RATE_LIMITED: 429,
}


_TOO_OFTEN: Final = 429


class Door:
    """Lets requests in to handlers.

    Args:
        verifier: Tells whose a token is.
        reads_need_scope: Whether only app servers may read, by `Scope.READ`.
    """

    def __init__(self, verifier: TokenVerifier, *, reads_need_scope: bool) -> None:
        self._verifier = verifier
        self._reads_need_scope = reads_need_scope

    def reading(self, handler: Handler) -> Guarded:
        """For whoever may read; at an open gateway without a token, too."""
        scope = Scope.READ if self._reads_need_scope else None
        return self._guarded(handler, scope=scope, may_be_nobody=True)

    def acting(self, scope: Scope, handler: Handler) -> Guarded:
        """For app servers with this scope; at an open gateway with a token, too.

        So no page of elsewhere can act there: it cannot send the header without being asked.
        """
        return self._guarded(handler, scope=scope, may_be_nobody=False)

    def speaking(self, handler: Handler) -> Guarded:
        """For whoever has a token and speaks for himself."""
        return self._guarded(handler, scope=None, may_be_nobody=False)

    def _guarded(self, handler: Handler, *, scope: Scope | None, may_be_nobody: bool) -> Guarded:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                identity = self._identity(request, may_be_nobody=may_be_nobody)
                _require(scope, identity)
                return await handler(request, identity)
            except TokenRefused as refused:
                return failure(
                    401, refused.code, refused.message, headers={"WWW-Authenticate": "Bearer"}
                )
            except FrameRefused as refused:
                status = _STATUSES.get(refused.code, 400)
                later = {"Retry-After": "1"} if status == _TOO_OFTEN else None
                return failure(status, refused.code, refused.message, headers=later)
            except Unavailable as unavailable:
                retry_s = -(-(unavailable.retry_after_ms or 1_000) // 1_000)
                return failure(
                    503,
                    ErrorCode.UNAVAILABLE,
                    str(unavailable),
                    headers={"Retry-After": str(retry_s)},
                )

        return guarded

    def _identity(self, request: web.Request, *, may_be_nobody: bool) -> Identity:
        token = bearer(request.headers.get("Authorization"))
        if token is not None:
            return self._verifier.verify(token)
        if may_be_nobody and self._verifier.is_open:
            return Identity(DEFAULT_NAMESPACE, _NOBODY)
        raise TokenRefused(ErrorCode.UNAUTHORIZED, "give a token: Authorization: Bearer TOKEN")


def _require(scope: Scope | None, identity: Identity) -> None:
    if scope is not None and scope not in identity.scopes:
        raise FrameRefused(
            ErrorCode.FORBIDDEN, f"this wants the token of an app server with the scope {scope}"
        )
