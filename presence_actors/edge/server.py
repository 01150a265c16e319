"""Everything that a gateway offers to the outside, on one port."""

from __future__ import annotations

import errno
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import msgspec
from aiohttp import http_exceptions, web

from presence_actors.core.vocabulary import ErrorCode
from presence_actors.edge.admission import (
    bearer,
    check_origins,
    is_loopback,
    is_loopback_host,
    origin_allowed,
)
from presence_actors.edge.aiohttp_conn import serve_socket
from presence_actors.edge.conn import Adapter
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.pages import page_routes
from presence_actors.edge.phoenix import PhoenixEndpoint, offered_protocols
from presence_actors.edge.rest import RestApi, failure
from presence_actors.errors import ConfigError, UsageError
from presence_actors.wire import native, native_msgpack

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
#: Without it the kernel hides up to 3 MB of what a client is slow to read.
_SEND_BUFFER_BYTES: Final = 256 * 1024
#: A peer that acknowledges nothing for this long is gone.
_TCP_USER_TIMEOUT_MS: Final = 30_000
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
        self._phoenix = PhoenixEndpoint(driver, ping_ms=ping_ms)
        self._rest = RestApi(
            driver, gateway_name=gateway_name, ping_ms=ping_ms, reads_need_scope=reads_need_scope
        )
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None

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
                web.get("/ws", self._socket),
                web.get("/socket/websocket", self._phoenix_socket),
                *page_routes(),
            ]
        )
        application.add_routes(self._rest.routes())
        application.on_response_prepare.append(_hide_server)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_http_log(),
            shutdown_timeout=limits.close_ms / 1_000 + 1,
        )
        await self._runner.setup()
        self._site = web.SockSite(self._runner, listener, backlog=_BACKLOG)
        await self._site.start()
        self._driver.host.start()
        port: int = listener.getsockname()[1]
        _log.info("Listening host=%s port=%d", self._host, port)
        return port

    async def stop(self, reason: str = "the gateway stops") -> None:
        """Take nobody in any more, send everybody elsewhere, and return when they are gone."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._driver.stop(reason)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._driver.verifier.is_open and not is_loopback_host(request.headers.get("Host")):
            return failure(
                403,
                "forbidden_host",
                "this gateway has no key and answers to loopback names such as localhost only",
            )
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:  # noqa: PLR2004  # no error
                raise
            code = "not_found" if error.status == 404 else "bad_request"  # noqa: PLR2004
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return failure(error.status, code, error.reason, headers=headers)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        # The client's order of preference decides.
        protocol = next((word for word in offered_protocols(request) if word in _NATIVE), None)
        if protocol is None:
            return failure(
                400,
                ErrorCode.BAD_VERSION,
                f"this gateway speaks the subprotocols {' and '.join(_NATIVE)}; offer one in "
                "Sec-WebSocket-Protocol",
            )
        return await serve_socket(
            request,
            self._driver,
            protocol=protocol,
            opened=lambda conn: self._driver.opened(
                conn,
                adapter=_NATIVE[protocol],
                address=request.remote or "",
                authorization=bearer(request.headers.get("Authorization")),
            ),
            ping_ms=self._ping_ms,
        )

    async def _phoenix_socket(self, request: web.Request) -> web.StreamResponse:
        return self._refusal(request) or await self._phoenix.serve(request)

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Why this request gets no socket, whatever it speaks, or None."""
        origin = request.headers.get("Origin")
        if not origin_allowed(origin, host=request.headers.get("Host"), allowed=self._origins):
            return failure(
                403,
                "forbidden_origin",
                f"pages of {origin!r:.80} may not connect; allow them with --allow-origin",
            )
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return failure(
                426,
                "bad_request",
                "this address speaks WebSocket only",
                headers={"Upgrade": "websocket"},
            )
        full = self._driver.refusal(request.remote or "")
        if full is not None:
            return failure(503, ErrorCode.UNAVAILABLE, full, headers={"Retry-After": "5"})
        return None


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
