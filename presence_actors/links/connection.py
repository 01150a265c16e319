"""One TCP connection: drives a `LinkMachine` from a socket, whoever dialled."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol, assert_never, cast

import msgspec

from presence_actors.links.faults import LinkFaults
from presence_actors.links.gate import FaultGate
from presence_actors.links.limits import LinkLimits
from presence_actors.links.link import (
    FrameArrived,
    LinkClosed,
    LinkEffect,
    LinkMachine,
    LinkOpened,
    LinkPeer,
    LinkState,
    WriteBytes,
)
from presence_actors.runtime.alarm import Alarm
from presence_actors.runtime.clock import Clock

#: After closing, unsent bytes (a refusal, say) have this long to leave.
_LINGER_SECONDS = 1.0


class ConnectionOwner(Protocol):
    """Who hears of a connection: the hub."""

    def connected(self, connection: "LinkConnection") -> None:
        """The socket is there; the handshake begins."""

    def link_opened(self, connection: "LinkConnection", peer: LinkPeer) -> None:
        """The peer has proved itself. May close the connection at once."""

    def frame_arrived(self, connection: "LinkConnection", payload: bytes) -> None:
        """A frame of an open link."""

    def link_closed(self, connection: "LinkConnection", closed: LinkClosed) -> None:
        """The link has ended, open or not yet."""

    def disconnected(self, connection: "LinkConnection") -> None:
        """The socket is gone."""


class LinkConnection(asyncio.Protocol):
    """Bytes of a socket to a machine, and back; many small frames leave in one write."""

    def __init__(
        self,
        *,
        machine: LinkMachine,
        owner: ConnectionOwner,
        clock: Clock,
        limits: LinkLimits,
        dialled: str | None,
        incoming: bool,
        faults: LinkFaults | None,
    ) -> None:
        self._machine = machine
        self._owner = owner
        self._clock = clock
        self._limits = limits
        self._alarm = Alarm(clock, self._on_due)
        self._transport: asyncio.Transport | None = None
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._linger: asyncio.TimerHandle | None = None
        self._gate: FaultGate | None = None
        if faults is not None:
            self._gate = FaultGate(
                faults,
                peer=dialled,
                holds=incoming,
                frame_bytes_max=limits.frame_bytes_max,
                is_open=lambda: self.peer is not None,
                deliver=self._deliver,
                write=self._write,
            )
        self._faults = faults
        #: The proved peer, from the opening on; it stays known after the end.
        self.peer: LinkPeer | None = None
        #: Whether the peer came to us.
        self.incoming = incoming
        self.remote_address = "?"
        #: Set when the link is over, which may be before the socket is gone.
        self.ended = asyncio.Event()
        self.closed: LinkClosed | None = None
        #: Set when the socket is gone.
        self.gone = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether frames flow."""
        return self._machine.state is LinkState.OPEN

    @property
    def rtt_ms(self) -> int | None:
        """The latest measured round trip."""
        return self._machine.rtt_ms

    @property
    def queued_bytes(self) -> int:
        """What waits to be sent."""
        size = self._pending_size
        if self._transport is not None:
            size += self._transport.get_write_buffer_size()
        if self._gate is not None:
            size += self._gate.delayed_bytes
        return size

    def send(self, payload: bytes) -> bool:
        """Queue one frame; False, and nothing queued, when there is no room or no open link."""
        size = len(payload)
        if (
            self._machine.state is not LinkState.OPEN
            or size > self._limits.frame_bytes_max
            or self.queued_bytes + size > self._limits.queue_bytes_max
        ):
            return False
        self._carry_out(self._machine.send(payload))
        return True

    def close(self, code: str, reason: str) -> None:
        """End the link and tell the peer why."""
        self._carry_out(self._machine.close(code, reason))

    def abort(self) -> None:
        """Drop the socket, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.Transport", transport)
        self.remote_address = _address(transport.get_extra_info("peername"))
        _tune(transport.get_extra_info("socket"), self._limits)
        self._owner.connected(self)
        self._carry_out(self._machine.start(self._clock.now().instant))

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._gate is None:
            self._deliver(data)
        else:
            self._gate.incoming(data)

    def eof_received(self) -> bool:
        """The peer's side is closed: so is ours, unless a cut hides it."""
        return self._gate is not None and self._gate.hides_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        hidden = self._gate is not None and self._gate.hides_end()
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        if not hidden:
            self._carry_out(self._machine.connection_lost(str(exc or "closed by the peer")))
        self.gone.set()
        self._owner.disconnected(self)

    # Inside.

    def _deliver(self, data: bytes) -> None:
        self._carry_out(self._machine.receive_bytes(data, self._clock.now().instant))

    def _on_due(self) -> None:
        self._carry_out(self._machine.deadline_reached(self._clock.now().instant))

    def _carry_out(self, effects: list[LinkEffect]) -> None:
        writes: list[bytes] = []
        for effect in effects:
            match effect:
                case FrameArrived(payload):
                    # The hub may have closed this link on its opening, a frame earlier.
                    if self.closed is None:
                        self._owner.frame_arrived(self, payload)
                case WriteBytes(data):
                    writes.append(data)
                case LinkOpened(peer):
                    # Whoever hears of the opening may send at once, and our proof has to be first.
                    self._send_out(writes)
                    writes = []
                    self.peer = peer
                    self._owner.link_opened(self, peer)
                case LinkClosed():
                    self._send_out(writes)
                    writes = []
                    self._end(effect)
                case _:
                    assert_never(effect)
        self._send_out(writes)
        self._alarm.set(self._machine.deadline())

    def _send_out(self, writes: list[bytes]) -> None:
        if not writes:
            return
        if self._gate is None:
            self._write(writes)
        else:
            self._gate.outgoing(writes)

    def _write(self, chunks: Sequence[bytes]) -> None:
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pending += chunks
        self._pending_size += sum(map(len, chunks))

    def _flush(self) -> None:
        pending = self._pending
        self._pending = []
        self._pending_size = 0
        if pending and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pending)

    def _end(self, closed: LinkClosed) -> None:
        self.closed = closed
        self._alarm.close()
        self._flush()
        self._close_socket(at_once=closed.code == "silence")
        if self._gate is not None:
            self._gate.close()
        self.ended.set()
        self._owner.link_closed(self, closed)

    def _close_socket(self, *, at_once: bool) -> None:
        if self._transport is None:
            return
        peer = self._gate.peer if self._gate is not None else None
        if self._faults is not None and peer is not None and self._faults.is_cut(peer, "out"):
            # The end of a connection is news, too, and does not get through a cut.
            self._faults.after_heal(peer, self.abort)
        elif at_once:
            self._transport.abort()
        else:
            self._transport.close()
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(_LINGER_SECONDS, self.abort)


class SeedInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a hub dials without knowing who is there."""

    address: tuple[str, int]
    #: Who is there, or was last; None before anybody was reached.
    name: str | None
    #: Whether there is an open link with that name, whoever dialled it.
    open: bool
    #: One word for why there is no link, and a sentence; none while there is one.
    code: str = ""
    trouble: str = ""


class LinkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One peer as a hub sees it. Bytes and frames count payloads, over all links with this name."""

    name: str
    node: str | None
    role: str | None
    open: bool
    #: "out" if we dial it, "in" if it dials us.
    direction: str
    rtt_ms: int | None
    queued_bytes: int
    bytes_in: int
    bytes_out: int
    frames_in: int
    frames_out: int
    #: Frames that `send` refused: no open link, queue full, or too long.
    dropped: int
    #: Unix milliseconds of the latest opening or loss; None before the first.
    since: int | None
    #: Why there is no link, when there is none.
    trouble: str | None


def _tune(sock: socket.socket | None, limits: LinkLimits) -> None:
    if sock is None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Linux only: without it, data to a vanished host keeps a socket for a quarter of an hour.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, limits.unacknowledged_ms)


def _address(peername: object) -> str:
    if isinstance(peername, tuple):
        return f"{peername[0]}:{peername[1]}"
    return "?"
