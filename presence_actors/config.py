"""Every knob with its unit, default and constraint; nothing here reads the environment.

`Knobs.check` holds the constraints; `load` builds knobs from a mapping of texts such as the
``PRESENCE_*`` variables, which only `cli` reads. People write ``10s`` or ``250ms``; code has
integers of milliseconds.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from presence_actors.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ClusterConfig",
    "Knobs",
    "SocketLibrary",
    "load_knobs",
    "parse_address",
    "parse_duration",
]

_PORT_LAST: Final = 65_535

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?")
_UNITS: Final = {None: 1, "ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000}


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """All times that an operator may turn, in milliseconds."""

    #: A client's beat, told in `welcome`; the client adds +-20 % jitter.
    heartbeat_ms: int = 25_000
    #: How long a gateway believes in a silent connection.
    client_lease_ms: int = 60_000
    #: A device on which nothing was done for so long shows `away`.
    auto_away_ms: int = 600_000
    #: How long a lost session may come back without anybody hearing of it.
    grace_connection_ms: int = 15_000
    #: The same for the sessions of a lost gateway.
    grace_gateway_ms: int = 30_000
    #: A gateway's beat to each of its workers, and how long a replica believes in a silent gateway.
    gateway_beat_ms: int = 500
    gateway_lease_ms: int = 3_000
    #: After this silence a gateway turns to another replica.
    peer_silence_ms: int = 1_000
    #: After this silence of a home its entries show `unreachable`; until then its gateways may
    #: have moved to another replica, and nobody need know.
    unreachable_after_ms: int = 3_000
    #: After this a silent gateway's entries end.
    unreachable_ms_max: int = 120_000
    #: Shortest distance of two gossip rounds, and the longest (an idle round is a promise).
    gossip_interval_ms: int = 20
    gossip_idle_ms: int = 250
    #: An unanswered gossip delta or segment is sent again after this.
    resend_ms: int = 500
    #: Changes towards clients are gathered this long; one frame per subscriber and topic.
    gateway_tick_ms: int = 20
    #: Writes towards replicas, and changes towards gateways, are gathered this long.
    flush_ms: int = 5
    #: How long a topic that nobody watches any more is kept warm.
    interest_linger_ms: int = 10_000
    #: How long a new subscriber or a poll waits for a topic before it gets a view `starting`.
    snapshot_wait_ms: int = 1_000
    #: How long a restarted replica waits for the gateways' announcements when no peer can tell.
    startup_grace_ms: int = 3_000
    #: How long a user must show something else before app servers are told of it.
    webhook_debounce_ms: int = 2_000
    #: How long an origin may be unheard before its rows must be replaced as a whole; ends are
    #: kept for as long, and for the leases and graces on top (`crdt.horizon`).
    horizon_ms: int = 3_600_000
    #: Bound on the difference of any two clocks.
    drift_ms_max: int = 2_000
    #: A client's reconnect: full jitter up to the first, then exponential to the second.
    reconnect_jitter_ms: int = 10_000
    reconnect_ms_max: int = 60_000

    def check(self) -> Knobs:
        """These knobs, if they respect all constraints.

        Raises:
            ConfigError: naming the knob, its value and the constraint it breaks.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not isinstance(value, int) or value <= 0:
                raise ConfigError(name, value, "must be a positive number of milliseconds")
        self._require("client_lease_ms", 2 * self.heartbeat_ms, "2 x heartbeat_ms")
        self._require("gateway_lease_ms", 4 * self.gateway_beat_ms, "4 x gateway_beat_ms")
        self._require("peer_silence_ms", 2 * self.gateway_beat_ms, "2 x gateway_beat_ms")
        self._require("unreachable_after_ms", 4 * self.gossip_idle_ms, "4 x gossip_idle_ms")
        self._require("unreachable_after_ms", self.peer_silence_ms, "peer_silence_ms")
        self._require("unreachable_ms_max", self.grace_gateway_ms, "grace_gateway_ms")
        self._require("gossip_idle_ms", self.gossip_interval_ms, "gossip_interval_ms")
        self._require("reconnect_ms_max", self.reconnect_jitter_ms, "reconnect_jitter_ms")
        self._require(
            "horizon_ms",
            self.client_lease_ms
            + self.gateway_lease_ms
            + self.graces_ms
            + self.unreachable_ms_max
            + 2 * self.drift_ms_max
            + self.margin_ms,
            "client_lease_ms + gateway_lease_ms + grace_connection_ms + grace_gateway_ms + "
            "unreachable_ms_max + 2 x drift_ms_max + unreachable_after_ms + resend_ms",
        )
        return self

    @property
    def graces_ms(self) -> int:
        """All graces that may follow one another."""
        return self.grace_connection_ms + self.grace_gateway_ms

    @property
    def margin_ms(self) -> int:
        """For what is on its way between replicas, and for what is done only now and then."""
        return self.unreachable_after_ms + self.resend_ms

    @property
    def stall_ms(self) -> int:
        """Who runs so much later than it was to must not judge others' silence yet.

        Their last word may have been a beat old when the stall began.
        """
        return self.peer_silence_ms - self.gateway_beat_ms

    @property
    def forget_interval_ms(self) -> int:
        """How often a replica looks for what it may forget."""
        return max(self.gossip_idle_ms, self.horizon_ms // 360)

    def _require(self, name: str, least: int, words: str) -> None:
        value: int = getattr(self, name)
        if value < least:
            raise ConfigError(name, value, f"must be at least {words} = {least}")


class SocketLibrary(StrEnum):
    """Which library serves the WebSockets of a gateway; HTTP is aiohttp's in either case."""

    PICOWS = "picows"
    AIOHTTP = "aiohttp"


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of one zone's cluster."""

    zone: str = "a"
    workers: int = 2
    shards: int = 16
    replicas: int = 2
    gateways: int = 2
    #: Where gateways serve clients: `port`, `port` + 1, ...
    host: str = "127.0.0.1"
    port: int = 4000
    #: What serves their WebSockets.
    sockets: SocketLibrary = SocketLibrary.PICOWS
    #: Whether picows' gateways send to many clients by one system call, where the kernel allows it.
    io_uring: bool = True
    #: Where peer links listen.
    link_host: str = "127.0.0.1"
    #: The first worker's links; the next worker's have the next port. 0: any free ones.
    link_port: int = 0
    #: `HOST:PORT` of peer links of workers of other zones, to join them; any of them will do.
    join: list[str] = []
    #: Whether reading over HTTP wants the token of an app server, with the scope for it.
    reads_need_scope: bool = False
    #: Where app servers are told of users who come, go or change their status; empty: nowhere.
    webhook: str = ""
    #: Whether faults may be injected into peer links; loopback only.
    faults: bool = False
    knobs: Knobs = Knobs()

    def check(self) -> ClusterConfig:
        """This configuration, if it makes sense.

        Raises:
            ConfigError: naming the knob, its value and the constraint it breaks.
        """
        if not re.fullmatch(r"[a-z0-9-]{1,16}", self.zone):
            raise ConfigError("zone", self.zone, "must be 1 to 16 of a-z, 0-9 and -")
        for name in ("workers", "shards", "replicas", "gateways"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(name, value, "must be at least 1")
        if self.replicas > self.workers:
            raise ConfigError(
                "replicas", self.replicas, f"must be at most workers = {self.workers}"
            )
        if self.shards > 4096:  # noqa: PLR2004
            raise ConfigError("shards", self.shards, "must be at most 4096")
        if not 1 <= self.port <= 65_536 - self.gateways:
            raise ConfigError(
                "port", self.port, f"must leave room for {self.gateways} gateways below 65536"
            )
        if self.webhook and not re.fullmatch(r"https?://[^\s/@#]+(/[^\s#]*)?", self.webhook):
            raise ConfigError(
                "webhook", self.webhook, "must be an address such as https://app.example/presence"
            )
        self._check_links()
        self.knobs.check()
        return self

    def _check_links(self) -> None:
        for text in self.join:
            parse_address("join", text)
        if not self.link_port:
            return
        if not 1 <= self.link_port <= _PORT_LAST + 1 - self.workers:
            raise ConfigError(
                "link_port",
                self.link_port,
                f"must be 0, or leave room for {self.workers} workers below 65536",
            )
        if self.link_port < self.port + self.gateways and self.port < self.link_port + self.workers:
            raise ConfigError(
                "link_port",
                self.link_port,
                f"must keep clear of the gateways' ports {self.port} to "
                f"{self.port + self.gateways - 1}",
            )


def parse_address(name: str, text: str) -> tuple[str, int]:
    """Host and port of an address as people write it.

    >>> parse_address("join", "127.0.0.1:4050"), parse_address("join", "[::1]:4050")
    (('127.0.0.1', 4050), ('::1', 4050))

    Raises:
        ConfigError: if it is none.
    """
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= _PORT_LAST:
        raise ConfigError(name, text, "must be HOST:PORT, such as 127.0.0.1:4050")
    return host, int(port)


def parse_duration(name: str, text: str) -> int:
    """Milliseconds of a duration as people write it.

    >>> parse_duration("lease", "10s"), parse_duration("lease", "250")
    (10000, 250)

    Raises:
        ConfigError: if it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(name, text, "must be a duration such as 250ms, 10s, 5m or 1h")
    return round(float(match[1]) * _UNITS[match[2]])


def load_knobs(settings: Mapping[str, str], *, prefix: str = "PRESENCE_KNOB_") -> Knobs:
    """Knobs from texts such as ``{"PRESENCE_KNOB_CLIENT_LEASE": "60s"}``; the rest by default.

    Raises:
        ConfigError: on an unknown knob, a value that is no duration, or a broken constraint.
    """
    values: dict[str, int] = {}
    for key in sorted(settings):
        if not key.startswith(prefix):
            continue
        short = key.removeprefix(prefix).lower()
        name = next(
            (
                known
                for known in Knobs.__struct_fields__
                if short in (known, known.removesuffix("_ms"), known.replace("_ms_max", "_max"))
            ),
            None,
        )
        if name is None:
            known = ", ".join(Knobs.__struct_fields__)
            raise ConfigError(key, settings[key], f"is no knob; the knobs are {known}")
        values[name] = parse_duration(key, settings[key])
    return Knobs(**values).check()
