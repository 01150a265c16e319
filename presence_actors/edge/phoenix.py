"""The upgrade of a Phoenix client: its version, its token, and a refusal that takes its time.

Supabase's clients come the same way; the dialect says what differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.edge.admission import bearer
from presence_actors.edge.conn import Dialog
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.tokens import TokenRefused
from presence_actors.edge.upgrade import Admitted, Refused, UpgradeRequest, offered_protocols
from presence_actors.wire.phoenix import PhoenixDialog
from presence_actors.wire.phoenix_claims import (
    PROTOCOL,
    bearer_in,
    says_goodbye,
    takes_small_frames_only,
)
from presence_actors.wire.phoenix_frames import Version, version_of
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused

__all__ = ["Dialect", "PhoenixDialect", "PhoenixEndpoint"]


class Dialect(Protocol):
    """What Phoenix clients and Supabase clients do differently."""

    @property
    def token_param(self) -> str:
        """The parameter with the token."""
        ...

    def dialog(
        self,
        version: Version,
        identity: Identity,
        params: Mapping[str, str],
        *,
        small_frames: bool,
    ) -> Dialog:
        """A new connection; raises `FrameRefused`."""
        ...


class PhoenixDialect:
    """Phoenix Channels, as the npm package `phoenix` speaks them.

    Args:
        rooms: The pictures of all rooms of the gateway.
    """

    token_param: Final = "token"  # noqa: S105  # a name

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def dialog(
        self,
        version: Version,
        identity: Identity,
        params: Mapping[str, str],
        *,
        small_frames: bool,
    ) -> Dialog:
        """A new connection."""
        return PhoenixDialog(
            version=version,
            namespace=identity.namespace,
            params=params,
            rooms=self._rooms,
            small_frames=small_frames,
        )


class PhoenixEndpoint:
    """Decides about the upgrades at one path of one gateway, such as ``/socket/websocket``.

    Args:
        driver: What the connections are handed to.
        dialect: What they speak.
    """

    def __init__(self, driver: GatewayDriver, dialect: Dialect) -> None:
        self._driver = driver
        self._dialect = dialect
        #: How many wait for their refusal.
        self._refusing = 0

    def judge(self, request: UpgradeRequest) -> Admitted | Refused:
        """Whether a request that may have a socket gets one for this protocol."""
        offered = offered_protocols(request)
        token = (
            bearer_in(offered)
            or request.query.get(self._dialect.token_param)
            or bearer(request.headers.get("Authorization"))
        )
        met = self.meet(request.query, token, agent=request.headers.get("User-Agent", ""))
        if isinstance(met, Refused):
            return met
        dialog, identity = met
        address = request.remote or ""
        return Admitted(
            # Never the one with the token in it: an answer ends up in logs.
            protocol=PROTOCOL if PROTOCOL in offered else None,
            opened=lambda conn: self._driver.opened_dialog(
                conn, dialog=dialog, identity=identity, address=address
            ),
            says_goodbye=says_goodbye,
            wait_ms=self._driver.reserve,
        )

    def meet(
        self, params: Mapping[str, str], token: str | None, *, agent: str
    ) -> tuple[Dialog, Identity] | Refused:
        """The dialog with a client that comes with these, and who it is."""
        version = version_of(params.get("vsn"))
        if version is None:
            return _refused(
                ErrorCode.BAD_VERSION, "this gateway speaks vsn 1.0.0 and 2.0.0; ask for one"
            )
        if token is None:
            words = f"give a token, as the parameter {self._dialect.token_param}"
            return _refused(ErrorCode.UNAUTHORIZED, words)
        try:
            identity = self._driver.verifier.verify(token)
            small_frames = takes_small_frames_only(agent)
            dialog = self._dialect.dialog(version, identity, params, small_frames=small_frames)
        except (TokenRefused, FrameRefused) as refused:
            return _refused(refused.code, refused.message)
        return dialog, identity

    async def hold_back(self) -> None:
        """Let a refusal take its time."""
        limits = self._driver.limits
        if self._refusing < limits.refusals_max:
            self._refusing += 1
            try:
                await asyncio.sleep(limits.refusal_ms / 1_000)
            finally:
                self._refusing -= 1


def _refused(code: ErrorCode, message: str) -> Refused:
    """403, but late: a stock client tries again six times in the first 0.6 s, and for ever."""
    return Refused(403, code, message, late=True)
