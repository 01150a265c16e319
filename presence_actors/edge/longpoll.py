"""Phoenix clients without a WebSocket: frames go out in answers to polls, and come in as bodies.

::

    GET  without a session   {"status": 410, "token": ..., "messages": []}, and there is one
    GET  with one            {"status": 200, "messages": [frames]} or, after a while, 204
    POST frames              {"status": 200}, or 410 without a session

The HTTP status is 200 in every case. A session belongs to this gateway: behind several of them a
client's requests have to come to the same one.

Where a stock server answers a GET whose session is gone with a new one, this answers 500: clients
before phoenix 1.8.16 take a new one for the old, and never join their channels again. After 500
all of them connect anew, and do.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from typing import Final

from aiohttp import web

from presence_actors.core.events import ClientSent
from presence_actors.core.ids import ConnectionId
from presence_actors.core.vocabulary import ErrorCode, Ping
from presence_actors.edge.answers import answer
from presence_actors.edge.conn import WholeConn
from presence_actors.edge.cors import Origins
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.phoenix import PhoenixEndpoint
from presence_actors.edge.upgrade import Refused
from presence_actors.wire.refusals import FrameRefused

__all__ = ["LongPoll"]

_PREFIX: Final = "poll-"
_LINES_MAX: Final = 100
_OK: Final = 200
_NOTHING: Final = 204
_FORBIDDEN: Final = 403
_GONE: Final = 410
_BROKEN: Final = 500


class _Session(WholeConn):
    """One client's connection; see `Conn`."""

    def __init__(self) -> None:
        self.connection = ConnectionId(0)
        #: When it ends, unless it is asked before.
        self.end: asyncio.TimerHandle | None = None
        self.is_over = False
        self._gathered: list[bytes] = []
        self._bytes = 0
        #: Set when there is something to say to whoever polls.
        self._news = asyncio.Event()
        #: How many polls came so far: only the last one is answered with frames.
        self._polls = 0

    # What the driver calls.

    def write(self, data: bytes, *, binary: bool = False) -> None:
        """Gather a frame. This dialect has binary frames from clients only."""
        if not binary:
            self._gathered.append(data)
            self._bytes += len(data)

    def flush(self) -> None:
        """Hand what was gathered to the poll that waits, if there is one."""
        if self._gathered:
            self._news.set()

    def close(self, _code: int, _reason: str) -> None:
        """The session is over once its client has what was said before."""
        self.is_over = True
        self._news.set()

    def abort(self) -> None:
        """The session is over, and its client gets nothing more."""
        self._gathered, self._bytes = [], 0
        self.close(0, "")

    @property
    def is_backed_up(self) -> bool:
        """Whether the client has not asked for all."""
        return self._bytes > 0

    @property
    def unsent_bytes(self) -> int:
        """What the client has not asked for yet."""
        return self._bytes

    # What requests call.

    async def frames(self, within_ms: int) -> list[bytes]:
        """What there is to say, as soon as there is something; nothing for an older poll."""
        self._polls += 1
        mine = self._polls
        # An older one goes, with nothing.
        self._news.set()
        await asyncio.sleep(0)
        if not self._gathered and not self.is_over:
            self._news.clear()
        try:
            async with asyncio.timeout(within_ms / 1_000):
                await self._news.wait()
        except TimeoutError:
            return []
        if mine != self._polls:
            return []
        gathered, self._gathered, self._bytes = self._gathered, [], 0
        return gathered


class LongPoll:
    """Serves ``/socket/longpoll`` of one gateway.

    Args:
        driver: What the connections are handed to.
        endpoint: Tells who a client is.
        origins: Which pages may ask.
    """

    def __init__(self, driver: GatewayDriver, endpoint: PhoenixEndpoint, origins: Origins) -> None:
        self._driver = driver
        self._endpoint = endpoint
        self._origins = origins
        self._sessions: dict[str, _Session] = {}

    def routes(self) -> list[web.RouteDef]:
        """What to serve."""
        path = "/socket/longpoll"
        return [
            web.get(path, self._get),
            web.post(path, self._post),
            web.options(path, self._origins.preflight),
        ]

    async def _get(self, request: web.Request) -> web.StreamResponse:
        refusal = self._origins.refusal(request)
        if refusal is not None:
            return refusal
        token = _session_in(request)
        session = self._sessions.get(token)
        if not token:
            status, found = await self._begin(request)
            return self._answered(request, {"status": status, "token": found, "messages": []})
        if session is None:
            return self._answered(request, {"status": _BROKEN, "messages": []})
        # This client sends no heartbeats: that it asks is a sign of life.
        self._driver.host.post(ClientSent(session.connection, Ping()))
        self._stay(token, session, self._driver.limits.poll_ms)
        frames = await session.frames(self._driver.limits.poll_ms)
        self._stay(token, session, 0)
        if session.is_over and not frames:
            self._forget(token)
            return self._answered(request, {"status": _BROKEN, "messages": []})
        body: dict[str, object] = {
            "status": _OK if frames else _NOTHING,
            "token": token,
            "messages": [frame.decode() for frame in frames],
        }
        return self._answered(request, body)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        refusal = self._origins.refusal(request)
        if refusal is not None:
            return refusal
        session = self._sessions.get(_session_in(request))
        body = await request.read()
        if session is None or session.is_over:
            return self._answered(request, {"status": _GONE})
        lines = body.split(b"\n")
        if len(lines) > _LINES_MAX:
            refused = FrameRefused(
                ErrorCode.BAD_FRAME, f"a body has at most {_LINES_MAX} frames, one in a line"
            )
            self._driver.refused(session.connection, refused)
            lines = []
        for line in lines:
            self._take(session, line)
        return self._answered(request, {"status": _OK})

    def _take(self, session: _Session, line: bytes) -> None:
        """One frame: JSON, or a binary one in base64."""
        if not line:
            return
        try:
            if line[:1] in (b"[", b"{"):
                frame: str | bytes = line.decode()
            else:
                frame = base64.b64decode(line, validate=True)
        except (UnicodeDecodeError, binascii.Error):
            refused = FrameRefused(ErrorCode.BAD_FRAME, "a line is neither JSON nor base64")
            self._driver.refused(session.connection, refused)
            return
        self._driver.received(session.connection, frame)

    async def _begin(self, request: web.Request) -> tuple[int, str | None]:
        """The status and the token of a new session, if there is to be one."""
        address = request.remote or ""
        if self._driver.refusal(address) is not None:
            return _BROKEN, None
        token = (
            request.headers.get("X-Phoenix-AuthToken")
            or next((value for value in request.query.getall("token", []) if _is_ours(value)), None)
            or None
        )
        met = self._endpoint.meet(request.query, token, agent=request.headers.get("User-Agent", ""))
        if isinstance(met, Refused):
            await self._endpoint.hold_back()
            return _FORBIDDEN, None
        dialog, identity = met
        wait_ms = self._driver.reserve()
        if wait_ms is None:
            self._driver.counts["turned_away"] += 1
            await self._endpoint.hold_back()
            return _BROKEN, None
        await asyncio.sleep(wait_ms / 1_000)
        session = _Session()
        session.connection = self._driver.opened_dialog(
            session, dialog=dialog, identity=identity, address=address
        )
        found = _PREFIX + secrets.token_urlsafe(24)
        self._sessions[found] = session
        self._stay(found, session, 0)
        return _GONE, found

    def _stay(self, token: str, session: _Session, for_ms: int) -> None:
        """The session lasts for this time, and then as long as a client may take to ask again."""
        if session.end is not None:
            session.end.cancel()
        if token in self._sessions:
            span_ms = for_ms + self._driver.limits.poll_gone_ms
            session.end = asyncio.get_running_loop().call_later(
                span_ms / 1_000, self._forget, token
            )

    def _forget(self, token: str) -> None:
        """The client is gone, and says no goodbye: it has its grace."""
        session = self._sessions.pop(token, None)
        if session is None:
            return
        if session.end is not None:
            session.end.cancel()
        session.close(0, "")
        self._driver.closed(session.connection)

    def _answered(self, request: web.Request, body: dict[str, object]) -> web.Response:
        return self._origins.open_to(request, answer(body))


def _session_in(request: web.Request) -> str:
    """The token of the session: in a header, or the last of the parameters of that name."""
    header = request.headers.get("X-Phoenix-Longpoll-Token")
    values = [header] if header else request.query.getall("token", [])
    return values[-1] if values and values[-1].startswith(_PREFIX) else ""


def _is_ours(token: str) -> bool:
    """Whether it may be a token of a user: older clients say `token` twice, and once with null."""
    return token not in ("", "null") and not token.startswith(_PREFIX)
