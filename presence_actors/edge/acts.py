"""Acts over HTTP: what app servers do to others, and what devices without a socket say.

Every answer of 200 says that a replica has it. A 503 says that this is not certain; all of it can
be said again with the same effect as once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from presence_actors.core.acts import Act, Choose, Kick, Publish, Withdraw
from presence_actors.core.effects import Acted
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import CARRIED_LEASE_MS_MIN, CLIENT_FRAME_BYTES_MAX
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import ErrorCode, Identity, Intent
from presence_actors.edge.answers import answer, failure
from presence_actors.edge.asking import only
from presence_actors.edge.door import Door
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.rates import Rates
from presence_actors.errors import GatewayBusy
from presence_actors.runtime.clock import Clock, SystemClock
from presence_actors.wire.identifiers import identifier
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.requests import (
    HeartbeatBody,
    IntentBody,
    PresenceBody,
    decode_body,
    heartbeat_of,
    intent_of,
    kick_text,
    presence_of,
    ref_of,
    session_named,
)

__all__ = ["ActsApi", "Carried", "Chosen", "Ended", "Kicked"]

#: Of one user's devices together. Beyond: 429.
_BEATS_PER_SECOND: Final = 2
_BEATS_BURST: Final = 20
#: So many beats may be lost before a device is.
_BEATS_MISSED: Final = 3
_RETRY_MS: Final = 1_000


class Kicked(msgspec.Struct, frozen=True):
    """Sessions that began until then end, wherever they are held."""

    user: str
    until: WallMs


class Chosen(msgspec.Struct, frozen=True):
    """What the user shows on all devices now."""

    user: str
    status: str
    text: str
    emoji: str
    until: int | None


class Carried(msgspec.Struct, frozen=True):
    """A device without a socket is here."""

    user: str
    session: str
    since: WallMs
    #: Until when it is here if nothing more comes; and how often to come so that nobody hears of
    #: the death of a gateway.
    lease_ms: int
    beat_ms: int


class Ended(msgspec.Struct, frozen=True):
    """A device without a socket is here no longer."""

    user: str
    session: str


class ActsApi:
    """The routes that change something.

    Args:
        driver: What does it.
        door: Lets in who may.
        beat_ms: How often a device without a socket is asked to come.
        clock: Where the time comes from.
    """

    def __init__(
        self,
        driver: GatewayDriver,
        door: Door,
        *,
        beat_ms: int,
        clock: Clock | None = None,
    ) -> None:
        self._driver = driver
        self._door = door
        self._beat_ms = beat_ms
        #: How long a device is believed in that does not say how long.
        self._lease_ms = max(_BEATS_MISSED * beat_ms, CARRIED_LEASE_MS_MIN)
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._rates = Rates(per_second=_BEATS_PER_SECOND, burst=_BEATS_BURST)

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        acting = self._door.acting
        sessions = "/v1/users/{user}/sessions"
        presence = "/v1/users/{user}/presence/{session}"
        return [
            web.delete(sessions, acting(Scope.KICK, self._kick)),
            web.delete(sessions + "/{ref}", acting(Scope.KICK, self._kick)),
            web.put("/v1/users/{user}/intent", acting(Scope.INTENT, self._choose)),
            web.delete("/v1/users/{user}/intent", acting(Scope.INTENT, self._unchoose)),
            web.put(presence, acting(Scope.PUBLISH, self._publish)),
            web.delete(presence, acting(Scope.PUBLISH, self._withdraw)),
            web.post("/v1/heartbeat", self._door.speaking(self._beat)),
            web.delete("/v1/heartbeat", self._door.speaking(self._end)),
        ]

    async def _kick(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=("reason",))
        user = _user_of(request)
        ref = request.match_info.get("ref")
        text = kick_text(request.query.get("reason"))
        act = Kick(user, ref=None if ref is None else ref_of(ref), text=text)
        return await self._act(
            identity, act, lambda acted: Kicked(user, WallMs(acted.at or WallMs(0)))
        )

    async def _choose(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=())
        body = decode_body(await _body_of(request), IntentBody)
        return await self._have_chosen(
            _user_of(request), intent_of(body, self._clock.now().wall), identity
        )

    async def _unchoose(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=())
        return await self._have_chosen(_user_of(request), Intent(), identity)

    async def _have_chosen(self, user: UserId, intent: Intent, identity: Identity) -> web.Response:
        chosen = Chosen(user, intent.status, intent.text, intent.emoji, intent.until)
        return await self._act(identity, Choose(user, intent), lambda _acted: chosen)

    async def _publish(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=())
        name = request.match_info["session"]
        body = decode_body(await _body_of(request), PresenceBody)
        user = _user_of(request)
        publish = presence_of(body, user, name, lease_ms=self._lease_ms)
        return await self._act(
            identity, publish, lambda acted: self._carried(user, name, publish.lease_ms, acted)
        )

    async def _withdraw(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=())
        return await self._end_carried(request.match_info["session"], _user_of(request), identity)

    async def _beat(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=())
        self._slow_down(identity)
        body = decode_body(await _body_of(request), HeartbeatBody)
        publish = heartbeat_of(body, identity.user, lease_ms=self._lease_ms)
        return await self._act(
            identity,
            publish,
            lambda acted: self._carried(identity.user, body.session, publish.lease_ms, acted),
        )

    async def _end(self, request: web.Request, identity: Identity) -> web.Response:
        only(request.query, known=("session",))
        self._slow_down(identity)
        return await self._end_carried(request.query.get("session", ""), identity.user, identity)

    async def _end_carried(self, name: str, user: UserId, identity: Identity) -> web.Response:
        act = Withdraw(user, session_named(name))
        return await self._act(identity, act, lambda _acted: Ended(user, name))

    # What they share.

    async def _act(
        self, identity: Identity, act: Act, shown: Callable[[Acted], object]
    ) -> web.Response:
        full = self._driver.refusal("") if isinstance(act, Publish) else None
        if full is not None:
            raise GatewayBusy(what=full, where="the gateway", retry_after_ms=_RETRY_MS)
        acted = await self._driver.act(identity.namespace, act)
        refusal = acted.refusal
        if refusal is None:
            return answer(shown(acted))
        if refusal.code is ErrorCode.UNAVAILABLE:
            raise GatewayBusy(what=refusal.message, where="the gateway", retry_after_ms=_RETRY_MS)
        status = 409 if refusal.code is ErrorCode.KICKED else 400
        return failure(status, refusal.code, refusal.message)

    def _carried(self, user: UserId, session: str, lease_ms: int, acted: Acted) -> Carried:
        beat_ms = min(lease_ms // 2, self._beat_ms)
        return Carried(user, session, acted.at or WallMs(0), lease_ms, beat_ms)

    def _slow_down(self, identity: Identity) -> None:
        name = f"{identity.namespace}/{identity.user}"
        wait_s = self._rates.wait_s(name, asyncio.get_running_loop().time())
        if wait_s:
            raise FrameRefused(
                ErrorCode.RATE_LIMITED,
                f"the devices of one user may come {_BEATS_PER_SECOND} times a second together",
            )


def _user_of(request: web.Request) -> UserId:
    return UserId(identifier(request.match_info["user"], what="user"))


async def _body_of(request: web.Request) -> bytes:
    """The body, or as much of it as shows that it is too big."""
    data = bytearray()
    while len(data) <= CLIENT_FRAME_BYTES_MAX:
        chunk = await request.content.readany()
        if not chunk:
            break
        data += chunk
    return bytes(data)
