"""All links of one process: who is linked, sending by name, dialling, listening.

There is one open link per node name. A second one replaces the first: the newest is the one whose
ends both live. Only an older life of the same name cannot put out a newer one that is linked.
"""

import asyncio
import ipaddress
import logging
import random
import secrets
from collections.abc import Callable, Collection, Mapping

from presence_actors.core.ids import NodeId, NodeName, is_newer, name_of
from presence_actors.core.instants import Instant, WallMs
from presence_actors.errors import ConfigError, UsageError
from presence_actors.links.connection import LinkConnection, LinkInfo, SeedInfo
from presence_actors.links.dialer import Dialer
from presence_actors.links.faults import LinkFaults
from presence_actors.links.handshake import NONCE_SIZE, LinkIdentity, Side
from presence_actors.links.limits import LinkLimits
from presence_actors.links.link import LinkClosed, LinkMachine, LinkPeer
from presence_actors.links.listener import Listener
from presence_actors.runtime.clock import Clock, SystemClock

_log = logging.getLogger(__name__)

#: Refusals that are told apart in the log; beyond it the oldest is forgotten.
_REFUSALS_LOGGED_MAX = 64
#: The same refusal is logged again after this.
_LOG_AGAIN_MS = 600_000
_PORT_LAST = 65_535


class _Traffic:
    """Counters of one node name, over all its links and lives."""

    __slots__ = ("bytes_in", "bytes_out", "dropped", "frames_in", "frames_out", "since", "trouble")

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.frames_in = 0
        self.frames_out = 0
        self.dropped = 0
        self.since: WallMs | None = None
        #: (code, reason) of the latest failure since the last opening. One line of log per code.
        self.trouble: tuple[str, str] | None = None


class LinkHub:
    """The links of one process.

    Args:
        node: This life of this process, `zone/name/incarnation`.
        role: `worker` or `gateway`.
        cluster: The cluster's name; both ends of a link must agree.
        secret: The cluster's secret, at least 16 bytes.
        shards: Into how many slices all topics are cut; a peer that says another number is refused.
            0 tells nothing.
        host: Where to listen.
        port: Where to listen; 0 takes a free port.
        on_frame: Takes (node, payload) of each frame. It must not raise or block.
        on_link: Takes (node, open?, reason) when a link opens or is lost.
        limits: Times and sizes.
        faults: Faults to inject; only with a loopback `host`.
        rng: Chance for the jitter of reconnecting.
        clock: Where the time comes from.

    Raises:
        ConfigError: One of these breaks its constraint.
    """

    def __init__(  # noqa: PLR0913  # a hub is made once per process, from configuration
        self,
        *,
        node: NodeId,
        role: str,
        cluster: str,
        secret: bytes,
        host: str,
        port: int,
        shards: int = 0,
        on_frame: Callable[[NodeId, bytes], None],
        on_link: Callable[[NodeId, bool, str], None] | None = None,
        limits: LinkLimits | None = None,
        faults: LinkFaults | None = None,
        rng: random.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._limits = limits or LinkLimits()
        self._limits.check()
        if faults is not None and not _is_loopback(host):
            raise ConfigError("links.faults", host, "are only for a hub that listens on loopback")
        self._identity = LinkIdentity(
            cluster=cluster, node=node, role=role, secret=secret, shards=shards
        )
        self._name = name_of(node)
        self._host = host
        self._port = port
        self._on_frame = on_frame
        self._on_link = on_link
        self._faults = faults
        self._rng = rng or random.Random()  # noqa: S311  # jitter is no secret
        self._clock: Clock = clock or SystemClock()
        self._listener = Listener(lambda: self._make_connection(None, Side.LISTENER))
        self._dialers: dict[str, Dialer] = {}
        self._seed_dialers: dict[tuple[str, int], Dialer] = {}
        #: Addresses to dial, whoever is there.
        self._seeds: list[tuple[str, int]] = []
        self._targets: dict[str, tuple[str, int]] = {}
        #: Every connection whose socket exists.
        self._connections: set[LinkConnection] = set()
        #: The open link of each name.
        self._links: dict[str, LinkConnection] = {}
        self._traffic: dict[str, _Traffic] = {}
        #: {(who, code): when it was logged}, oldest first.
        self._refusals_logged: dict[tuple[str, str], Instant] = {}
        self._started = False
        self._closed = False

    async def start(self) -> int:
        """Listen and begin to dial; the port that was bound.

        Raises:
            ConfigError: The address is taken or not ours.
        """
        try:
            self._port = await self._listener.start(self._host, self._port)
        except OSError as error:
            raise ConfigError(
                "links.port",
                f"{self._host}:{self._port}",
                f"cannot be listened on ({error.strerror}); free it or choose another",
            ) from error
        self._started = True
        for name, address in self._targets.items():
            self._dial(name, address)
        for address in self._seeds:
            self._dial_seed(address)
        return self._port

    def set_targets(self, targets: Mapping[str, tuple[str, int]]) -> None:
        """Dial these node names, and keep them dialled; stop dialling all others.

        A changed address is dialled anew. The link of a target that is gone is closed if this side
        dialled it. It may be called before `start`.

        Raises:
            UsageError: A target is this node's own name, or its address makes no sense.
        """
        for name, (host, port) in targets.items():
            if name == self._name:
                raise UsageError(
                    f"{name} is this node itself", remedy="leave it out of the targets"
                )
            if not host or not 0 < port <= _PORT_LAST:
                raise UsageError(f"{name} cannot be dialled at {host!r}:{port}")
        if self._closed:
            return
        old, self._targets = self._targets, dict(targets)
        if not self._started:
            return
        for name in old:
            if self._targets.get(name) != old[name]:
                reason = "its address changed" if name in self._targets else "no target any more"
                self._dialers.pop(name).close(reason)
        for name, address in self._targets.items():
            if name not in self._dialers:
                self._dial(name, address)

    def set_seeds(self, addresses: Collection[tuple[str, int]]) -> None:
        """Dial these addresses, whoever answers there; stop dialling all others.

        A dialer rests while there is an open link with the name that was last there. Links that
        are open stay open. It may be called before `start`.

        Raises:
            UsageError: An address makes no sense.
        """
        for host, port in addresses:
            if not host or not 0 < port <= _PORT_LAST:
                raise UsageError(f"nobody can be dialled at {host!r}:{port}")
        if self._closed:
            return
        self._seeds = list(dict.fromkeys(addresses))
        if not self._started:
            return
        for address in [one for one in self._seed_dialers if one not in self._seeds]:
            self._seed_dialers.pop(address).stop()
        for address in self._seeds:
            if address not in self._seed_dialers:
                self._dial_seed(address)

    def send(self, to: str, payload: bytes) -> bool:
        """Queue one frame for the node with this name.

        Never blocks and never raises. False, and counted as dropped, when there is no open link,
        its queue is full, or the frame is too long. True does not mean that it arrived.
        """
        traffic = self._traffic_of(to)
        link = self._links.get(to)
        if link is None or not link.send(payload):
            traffic.dropped += 1
            return False
        traffic.frames_out += 1
        traffic.bytes_out += len(payload)
        return True

    def links(self) -> list[LinkInfo]:
        """Every peer that is linked, dialled, or was sent to, by name."""
        names = sorted({*self._targets, *self._links, *self._traffic})
        return [self._info(name) for name in names]

    def seeds(self) -> list[SeedInfo]:
        """How it stands with each address of `set_seeds`."""
        return [self._seed_info(address) for address in self._seeds]

    async def close(self) -> None:
        """End everything; return once all sockets are closed."""
        if self._closed:
            return
        self._closed = True
        self._listener.stop()
        for dialer in (*self._dialers.values(), *self._seed_dialers.values()):
            dialer.close("this node is closing")
        self._dialers.clear()
        self._seed_dialers.clear()
        waiting = [connection.gone.wait() for connection in self._connections]
        for connection in list(self._connections):
            connection.close("closing", "this node is closing")
        try:
            async with asyncio.timeout(self._limits.connect_ms / 1000):
                await asyncio.gather(*waiting)
        except TimeoutError:
            left = list(self._connections)
            for connection in left:
                connection.abort()
            await asyncio.gather(*(connection.gone.wait() for connection in left))
        await self._listener.wait_closed()

    # What connections call (`ConnectionOwner`).

    def connected(self, connection: LinkConnection) -> None:
        """A socket is there."""
        self._connections.add(connection)
        if self._closed:
            connection.abort()
        elif connection.incoming:
            strangers = sum(one.incoming and one.peer is None for one in self._connections)
            if strangers > self._limits.strangers_max:
                connection.close("busy", f"{strangers} handshakes are under way; try again")

    def link_opened(self, connection: LinkConnection, peer: LinkPeer) -> None:
        """A peer has proved itself: it takes the place of an earlier link with its name."""
        old = self._links.get(peer.name)
        if old is not None and old.peer is not None:
            if is_newer(old.peer.node, than=peer.node):
                connection.close(
                    "superseded", f"{old.peer.node}, a later life of the same name, is linked"
                )
                return
            old.close("replaced", f"{peer.node} has linked anew")
        self._links[peer.name] = connection
        traffic = self._traffic_of(peer.name)
        traffic.since = self._clock.now().wall
        traffic.trouble = None
        _log.info("LinkOpened peer=%s address=%s", peer.node, connection.remote_address)
        if self._on_link is not None:
            self._on_link(peer.node, True, "open")  # noqa: FBT003  # the caller's signature

    def frame_arrived(self, connection: LinkConnection, payload: bytes) -> None:
        """A frame of an open link."""
        peer = connection.peer
        if peer is None:
            return
        traffic = self._traffic_of(peer.name)
        traffic.frames_in += 1
        traffic.bytes_in += len(payload)
        self._on_frame(peer.node, payload)

    def link_closed(self, connection: LinkConnection, closed: LinkClosed) -> None:
        """A link has ended, open or not yet."""
        peer = connection.peer
        reason = f"{closed.code}: {closed.reason}"
        if peer is None:
            if connection.incoming and closed.code not in ("gone", "closing"):
                # By host: whoever comes here without a proof may call himself anything.
                host = connection.remote_address.rpartition(":")[0]
                self._log_refusal(host, connection.remote_address, closed)
            return
        if self._links.get(peer.name) is not connection:
            self._log_refusal(peer.name, connection.remote_address, closed)
            return
        del self._links[peer.name]
        traffic = self._traffic_of(peer.name)
        traffic.since = self._clock.now().wall
        traffic.trouble = (closed.code, closed.reason)
        _log.info("LinkClosed peer=%s reason=%r", peer.node, reason)
        if self._on_link is not None:
            self._on_link(peer.node, False, reason)  # noqa: FBT003  # the caller's signature

    def disconnected(self, connection: LinkConnection) -> None:
        """A socket is gone."""
        self._connections.discard(connection)

    # Inside.

    def _make_connection(self, dialled: str | None, side: Side) -> LinkConnection:
        machine = LinkMachine(
            identity=self._identity,
            side=side,
            expected=None if dialled is None else NodeName(dialled),
            nonce=secrets.token_bytes(NONCE_SIZE),
            limits=self._limits,
        )
        return LinkConnection(
            machine=machine,
            owner=self,
            clock=self._clock,
            limits=self._limits,
            dialled=dialled,
            incoming=side is Side.LISTENER,
            faults=self._faults,
        )

    def _dial(self, name: str, address: tuple[str, int]) -> None:
        dialer = Dialer(
            name,
            address,
            make_connection=lambda: self._make_connection(name, Side.DIALER),
            unlinked=self._unlinked,
            report=lambda code, reason: self._report(name, code, reason),
            limits=self._limits,
            rng=self._rng,
            faults=self._faults,
        )
        self._dialers[name] = dialer
        dialer.start()

    def _dial_seed(self, address: tuple[str, int]) -> None:
        logged: set[str] = set()

        def report(code: str, reason: str) -> None:
            # Each kind of failure once until it is reached: it may be down for hours.
            if code not in logged:
                logged.add(code)
                host, port = address
                _log.warning(
                    "SeedRefused address=%s:%s code=%s reason=%r", host, port, code, reason
                )

        dialer = Dialer(
            None,
            address,
            make_connection=lambda: self._make_connection(None, Side.DIALER),
            unlinked=self._unlinked,
            report=report,
            limits=self._limits,
            rng=self._rng,
            faults=self._faults,
        )
        self._seed_dialers[address] = dialer
        dialer.start()

    async def _unlinked(self, name: str) -> None:
        while (link := self._links.get(name)) is not None:
            await link.ended.wait()

    def _report(self, name: str, code: str, reason: str) -> None:
        """Note why there is no link; log it when it is news, not at every attempt."""
        traffic = self._traffic_of(name)
        if traffic.trouble is None or traffic.trouble[0] != code:
            _log.warning("LinkRefused peer=%s code=%s reason=%r", name, code, reason)
        traffic.trouble = (code, reason)

    def _log_refusal(self, who: str, address: str, closed: LinkClosed) -> None:
        """As `_report`, for somebody who came to us and was put out."""
        key = (who, closed.code)
        now = self._clock.now().instant
        logged = self._refusals_logged.pop(key, None)
        if logged is not None and now - logged < _LOG_AGAIN_MS:
            self._refusals_logged[key] = logged
            return
        if len(self._refusals_logged) >= _REFUSALS_LOGGED_MAX:
            del self._refusals_logged[next(iter(self._refusals_logged))]
        self._refusals_logged[key] = now
        _log.warning(
            "LinkRefused from=%s address=%s code=%s reason=%r",
            who,
            address,
            closed.code,
            closed.reason,
        )

    def _traffic_of(self, name: str) -> _Traffic:
        traffic = self._traffic.get(name)
        if traffic is None:
            traffic = self._traffic[name] = _Traffic()
        return traffic

    def _seed_info(self, address: tuple[str, int]) -> SeedInfo:
        dialer = self._seed_dialers.get(address)
        name = dialer.peer_name if dialer is not None else None
        if name in self._links:
            return SeedInfo(address=address, name=name, open=True)
        code, trouble = dialer.trouble or ("", "") if dialer is not None else ("", "")
        return SeedInfo(address=address, name=name, open=False, code=code, trouble=trouble)

    def _info(self, name: str) -> LinkInfo:
        link = self._links.get(name)
        peer = link.peer if link is not None else None
        traffic = self._traffic.get(name) or _Traffic()
        return LinkInfo(
            name=name,
            node=peer.node if peer is not None else None,
            role=peer.role if peer is not None else None,
            open=link is not None,
            direction="out" if name in self._targets else "in",
            rtt_ms=link.rtt_ms if link is not None else None,
            queued_bytes=link.queued_bytes if link is not None else 0,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
            frames_in=traffic.frames_in,
            frames_out=traffic.frames_out,
            dropped=traffic.dropped,
            since=traffic.since,
            trouble=": ".join(traffic.trouble) if traffic.trouble is not None else None,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
