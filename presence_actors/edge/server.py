"""Everything that a gateway offers to the outside, on one port."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import resource
import socket
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final

import msgspec
from aiohttp import http_exceptions, web

from presence_actors.config import SocketLibrary
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.edge.accepting import Acceptor
from presence_actors.edge.acts import ActsApi
from presence_actors.edge.admission import (
    bearer,
    check_origins,
    is_loopback,
    is_loopback_host,
    origin_allowed,
)
from presence_actors.edge.aiohttp_conn import serve_socket
from presence_actors.edge.conn import Adapter
from presence_actors.edge.cors import Origins
from presence_actors.edge.door import Door
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.front_door import FrontDoor
from presence_actors.edge.longpoll import LongPoll
from presence_actors.edge.pages import page_routes
from presence_actors.edge.phoenix import PhoenixDialect, PhoenixEndpoint
from presence_actors.edge.picows_conn import PicowsSockets
from presence_actors.edge.rest import RestApi, failure
from presence_actors.edge.supabase import SupabaseApi, SupabaseDialect
from presence_actors.edge.upgrade import (
    TOO_MANY,
    Admitted,
    Judge,
    Refused,
    UpgradeRequest,
    offered_protocols,
)
from presence_actors.errors import ConfigError, UsageError
from presence_actors.wire import native, native_msgpack
from presence_actors.wire.phoenix_presence import Rooms

__all__ = ["EdgeServer"]

_log = logging.getLogger(__name__)

#: What `/ws` speaks, by subprotocol.
_NATIVE: Final[dict[str, Adapter]] = {
    native.SUBPROTOCOL: native.NativeAdapter(),
    native_msgpack.SUBPROTOCOL: native_msgpack.MsgpackAdapter(),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: asyncio's default of 100 drops connections of a storm, which then come again after seconds.
_BACKLOG: Final = 4_096
#: Without it the kernel hides up to 3 MB of what a client is slow to read; with it, twice this.
_SEND_BUFFER_BYTES: Final = 64 * 1024
#: A peer that acknowledges nothing for this long is gone.
_TCP_USER_TIMEOUT_MS: Final = 30_000
_BUSY: Final = 503
#: Of RFC 6455; aiohttp takes two of its drafts as well.
_VERSION: Final = "13"
#: Descriptors that are not for clients: peer links, files, the loop.
_DESCRIPTORS_SPARED: Final = 200


class EdgeServer:
    """One gateway's WebSocket, REST API and page.

    Args:
        driver: What the connections are handed to.
        host: Address to listen on; a loopback one if the driver's verifier is open.
        port: Port to listen on; 0 for any free one.
        allowed_origins: Pages that may open a socket, besides those of this server itself.
        reads_need_scope: Whether reading over HTTP wants an app server's token with that scope.
        gateway_name: What this gateway calls itself in its answers.
        ping_ms: Distance of the WebSocket pings to a silent client.
        sockets: The library that serves WebSockets; HTTP is aiohttp's in either case.

    Raises:
        ConfigError: Anybody could come in from the network, or an origin is none.
    """

    def __init__(
        self,
        driver: GatewayDriver,
        *,
        host: str,
        port: int,
        allowed_origins: Collection[str] = (),
        reads_need_scope: bool = False,
        gateway_name: str = "gateway",
        ping_ms: int = 25_000,
        sockets: SocketLibrary = SocketLibrary.PICOWS,
    ) -> None:
        if driver.verifier.is_open and not is_loopback(host):
            raise ConfigError(
                "host",
                host,
                "must be a loopback address such as 127.0.0.1 while no key is configured: "
                "without a key anybody may call himself anything",
            )
        self._driver = driver
        self._host = host
        self._port = port
        self._origins = check_origins(allowed_origins)
        self._ping_ms = ping_ms
        rooms = Rooms()
        self._phoenix = PhoenixEndpoint(driver, PhoenixDialect(rooms))
        self._supabase = PhoenixEndpoint(driver, SupabaseDialect(rooms, driver.verifier))
        origins = Origins(self._origins)
        self._supabase_api = SupabaseApi(driver, origins)
        self._longpoll = LongPoll(driver, self._phoenix, origins)
        door = Door(driver.verifier, reads_need_scope=reads_need_scope)
        self._rest = RestApi(driver, door, gateway_name=gateway_name, ping_ms=ping_ms)
        self._acts = ActsApi(driver, door, beat_ms=ping_ms)
        self._judges: dict[str, Judge] = {
            "/ws": self._judge_native,
            "/socket/websocket": self._judge_phoenix,
            "/realtime/v1/websocket": self._judge_supabase,
        }
        self._library = sockets
        self._runner: web.AppRunner | None = None
        self._listening: Acceptor | None = None
        self._door: FrontDoor | None = None
        self._sockets: PicowsSockets | None = None

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            UsageError: The port is taken, or the address is not one of this machine.
        """
        listener = _listen(self._host, self._port)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = self._driver.limits
        self._driver.limits = msgspec.structs.replace(
            limits,
            connections_max=max(1, min(limits.connections_max, descriptors - _DESCRIPTORS_SPARED)),
        )
        application = web.Application(middlewares=[self._admit])
        application.add_routes(
            [
                *(
                    web.get(path, partial(self._upgrade, judge))
                    for path, judge in self._judges.items()
                ),
                *self._supabase_api.routes(),
                *self._longpoll.routes(),
                *page_routes(),
            ]
        )
        application.add_routes([*self._rest.routes(), *self._acts.routes()])
        application.on_response_prepare.append(_hide_server)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_http_log(),
            shutdown_timeout=limits.close_ms / 1_000 + 1,
        )
        await self._runner.setup()
        self._listening = Acceptor(
            listener, self._protocol_factory(self._runner), per_turn=limits.accepts_per_turn
        )
        self._listening.start()
        self._driver.host.start()
        port: int = listener.getsockname()[1]
        _log.info("Listening host=%s port=%d", self._host, port)
        return port

    async def stop(self, reason: str = "the gateway stops") -> None:
        """Take nobody in any more, send everybody elsewhere, and return when they are gone."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        if self._door is not None:
            self._door.close()
        self._driver.stop(reason)
        if self._sockets is not None:
            await self._sockets.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _protocol_factory(self, runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
        http = runner.server
        if http is None:
            raise RuntimeError("the HTTP server was not set up")
        if self._library is SocketLibrary.AIOHTTP:
            return http
        self._sockets = PicowsSockets(self._driver, ping_ms=self._ping_ms)
        self._door = FrontDoor(
            self._judges,
            take_socket=self._sockets.take,
            http=http,
            turnstile=self._driver.turnstile,
        )
        return self._door

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._driver.verifier.is_open and not is_loopback_host(request.headers.get("Host")):
            return failure(_FOREIGN_HOST.status, _FOREIGN_HOST.code, _FOREIGN_HOST.message)
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:  # noqa: PLR2004  # no error
                raise
            code = "not_found" if error.status == 404 else "bad_request"  # noqa: PLR2004
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return failure(error.status, code, error.reason, headers=headers)

    async def _upgrade(self, judge: Judge, request: web.Request) -> web.StreamResponse:
        judged = judge(request)
        if isinstance(judged, Admitted):
            wait_ms = judged.wait_ms()
            if wait_ms is not None:
                await asyncio.sleep(wait_ms / 1_000)
                return await serve_socket(request, self._driver, judged, ping_ms=self._ping_ms)
            self._driver.counts["turned_away"] += 1
            judged = TOO_MANY
        if judged.late:
            await self._phoenix.hold_back()
        headers = judged.headers
        if judged.status == _BUSY:
            # Here and not in the judgement, which is made twice: by the front door, too.
            now_ms = asyncio.get_running_loop().time() * 1_000
            wait_ms = self._driver.slots.give(now_ms)
            headers = {"Retry-After": str(math.ceil(wait_ms / 1_000))}
        return failure(judged.status, judged.code, judged.message, headers=headers)

    def _judge_native(self, request: UpgradeRequest) -> Admitted | Refused:
        refused = self._refusal(request)
        if refused is not None:
            return refused
        # The client's order of preference decides.
        protocol = next((word for word in offered_protocols(request) if word in _NATIVE), None)
        if protocol is None:
            return Refused(
                400,
                ErrorCode.BAD_VERSION,
                f"this gateway speaks the subprotocols {' and '.join(_NATIVE)}; offer one in "
                "Sec-WebSocket-Protocol",
            )
        adapter, address = _NATIVE[protocol], request.remote or ""
        authorization = request.headers.get("Authorization")
        return Admitted(
            protocol=protocol,
            opened=lambda conn: self._driver.opened(
                conn,
                adapter=adapter,
                address=address,
                authorization=bearer(authorization),
            ),
            says_goodbye=_never,
        )

    def _judge_phoenix(self, request: UpgradeRequest) -> Admitted | Refused:
        return self._refusal(request) or self._phoenix.judge(request)

    def _judge_supabase(self, request: UpgradeRequest) -> Admitted | Refused:
        return self._refusal(request) or self._supabase.judge(request)

    def _refusal(self, request: UpgradeRequest) -> Refused | None:
        """Why this request gets no socket, whatever it speaks, or None."""
        host = request.headers.get("Host")
        if self._driver.verifier.is_open and not is_loopback_host(host):
            return _FOREIGN_HOST
        origin = request.headers.get("Origin")
        if not origin_allowed(origin, host=host, allowed=self._origins):
            return Refused(
                403,
                "forbidden_origin",
                f"pages of {origin!r:.80} may not connect; allow them with --allow-origin",
            )
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return Refused(
                426,
                "bad_request",
                "this address speaks WebSocket only",
                headers={"Upgrade": "websocket"},
            )
        version = request.headers.get("Sec-WebSocket-Version", _VERSION)
        if version != _VERSION:
            return Refused(
                426,
                ErrorCode.BAD_VERSION,
                f"this gateway speaks WebSocket version {_VERSION}, and not {version!r:.20}",
                headers={"Upgrade": "websocket", "Sec-WebSocket-Version": _VERSION},
            )
        # Itself is one of those who wait.
        waiting = 0 if self._door is None else max(0, len(self._door.waiting) - 1)
        full = self._driver.refusal(request.remote or "", waiting=waiting)
        if full is not None:
            return Refused(_BUSY, ErrorCode.UNAVAILABLE, full)
        return None


_FOREIGN_HOST: Final = Refused(
    403,
    "forbidden_host",
    "this gateway has no key and answers to loopback names such as localhost only",
)


def _never(_code: int, _reason: str) -> bool:
    return False


async def _hide_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


def _http_log() -> logging.Logger:
    """Where aiohttp logs our own faults; what a client sends that is no HTTP is not one of them."""
    log = logging.getLogger(f"{__name__}.http")
    if not log.filters:
        log.addFilter(_is_our_fault)
    return log


def _is_our_fault(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, http_exceptions.HttpProcessingError)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: There can be none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(
            f"host {host!r} is no address of this machine ({error.strerror})",
            remedy="give an address such as 127.0.0.1",
        ) from error
    # IPv4 first: "localhost" is both, and clients try 127.0.0.1 before anything else.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0])
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} is taken on {host}", remedy="choose another with --port"
            ) from error
        raise UsageError(
            f"cannot listen on {host} port {port} ({error.strerror})",
            remedy="choose another address or port with --host and --port",
        ) from error
    listener.settimeout(0)
    return listener
