"""One connection's life, decided without any I/O: handshake, frames, keep-alives, silence.

    start ──> WAITS_FOR_HELLO ──hello──> WAITS_FOR_PROOF ──proof──> OPEN
                    │                          │                      │
                    └─ refusal, fault, late ───┴── refusal, silence ──┴──> CLOSED

Rules:

1. Bytes and times go in, effects come out, in order; equal inputs give equal effects.
2. Nothing of a peer is believed before its proof; until then its frames are short.
3. A fault of the peer is told to it in a refusal frame, then the link is closed. It never raises.
4. A closed machine stays closed: it takes anything and answers nothing.

A keep-alive goes out every `keepalive_ms` whether or not data does: it carries two times, so that
the round trip is measured under load as well as at rest.
"""

import hmac
import struct
from enum import Enum, auto
from typing import Final

import msgspec

from presence_actors.core.ids import NodeId, NodeName, name_of
from presence_actors.core.instants import Instant
from presence_actors.errors import LocalProtocolError, RemoteProtocolError
from presence_actors.links.frames import (
    DATA,
    HELLO,
    KEEP_ALIVE,
    PROOF,
    REFUSAL,
    FrameReader,
    frame,
    frame_header,
)
from presence_actors.links.handshake import (
    PROTOCOL,
    Hello,
    LinkIdentity,
    Refusal,
    Role,
    Side,
    read_hello,
    read_refusal,
    wrong_proof,
)
from presence_actors.links.limits import LinkLimits

#: A keep-alive: my time now; your last keep-alive's time; how long ago that one came. All in ms.
_KEEP_ALIVE: Final = struct.Struct(">QQQ")

#: Below this a frame is one piece of bytes; above, copying costs more than a second piece.
_COPIED_BYTES_MAX: Final = 4096


class LinkPeer(msgspec.Struct, frozen=True):
    """The proved other end of an open link."""

    node: NodeId
    role: Role

    @property
    def name(self) -> NodeName:
        """The peer's name, which outlives its incarnations."""
        return name_of(self.node)


class WriteBytes(msgspec.Struct, frozen=True, tag=True):
    """Send these bytes. All writes of one call together are whole frames."""

    data: bytes


class FrameArrived(msgspec.Struct, frozen=True, tag=True):
    """Hand this payload to the host."""

    payload: bytes


class LinkOpened(msgspec.Struct, frozen=True, tag=True):
    """The peer has proved itself: frames flow."""

    peer: LinkPeer


class LinkClosed(msgspec.Struct, frozen=True, tag=True):
    """Close the connection; always the last effect of a link.

    Codes of this side: `silence`, `gone` (the connection ended), `late` (handshake), `closing`,
    `replaced`, `superseded`; and those of refusals: `version`, `cluster`, `name`, `self`, `proof`,
    `malformed`, `too_long`. With `by_peer` the peer refused, and code and reason are its own.
    """

    code: str
    reason: str
    by_peer: bool = False


LinkEffect = WriteBytes | FrameArrived | LinkOpened | LinkClosed


class LinkState(Enum):
    """Where a link is in its life."""

    WAITS_FOR_HELLO = auto()
    WAITS_FOR_PROOF = auto()
    OPEN = auto()
    CLOSED = auto()


class LinkMachine:
    """Decides what one end of one connection does.

    Args:
        identity: Who we are.
        side: Whether we dialled or were dialled.
        expected: The node name that a dialer means to reach.
        nonce: 32 random bytes, never used before.
        limits: Times and sizes.
    """

    def __init__(
        self,
        *,
        identity: LinkIdentity,
        side: Side,
        expected: NodeName | None,
        nonce: bytes,
        limits: LinkLimits,
    ) -> None:
        self._identity = identity
        self._side = side
        self._expected = expected
        self._limits = limits
        self._hello = identity.hello(nonce)
        self._their_hello: Hello | None = None
        self._state = LinkState.WAITS_FOR_HELLO
        self._frames = FrameReader(limits.stranger_frame_bytes_max)
        #: When the handshake must be over; while open: when the peer was last heard.
        self._handshake_end = Instant(0)
        self._heard = Instant(0)
        self._next_keepalive = Instant(0)
        #: The peer's latest keep-alive: its own time, and when it came.
        self._echo: tuple[int, Instant] = (0, Instant(0))
        self._opened = Instant(0)
        self._rtt_ms: int | None = None

    @property
    def state(self) -> LinkState:
        """Where the link is in its life."""
        return self._state

    @property
    def rtt_ms(self) -> int | None:
        """The latest measured round trip; None before the first."""
        return self._rtt_ms

    def start(self, now_ms: Instant) -> list[LinkEffect]:
        """The connection is there: say hello."""
        if self._state is LinkState.CLOSED:
            return []
        self._handshake_end = Instant(now_ms + self._limits.handshake_ms)
        return [WriteBytes(frame(HELLO, msgspec.msgpack.encode(self._hello)))]

    def receive_bytes(self, data: bytes, now_ms: Instant) -> list[LinkEffect]:
        """Take what arrived."""
        if self._state is LinkState.CLOSED:
            return []
        self._heard = now_ms
        self._frames.feed(data)
        effects: list[LinkEffect] = []
        try:
            while (arrived := self._frames.take_frame()) is not None:
                kind, payload = arrived
                if kind == DATA and self._state is LinkState.OPEN:
                    effects.append(FrameArrived(payload))
                    continue
                effects += self._on_frame(kind, payload, now_ms)
                if self.state is LinkState.CLOSED:
                    break
        except RemoteProtocolError as error:
            effects += self.close(error.code, str(error))
        return effects

    def send(self, payload: bytes) -> list[LinkEffect]:
        """Have one frame of data written.

        Raises:
            LocalProtocolError: The link is not open, or the payload is above the limit.
        """
        if self._state is not LinkState.OPEN:
            raise LocalProtocolError("a frame was sent on a link that is not open")
        size = len(payload)
        if size > self._limits.frame_bytes_max:
            raise LocalProtocolError(
                f"a frame of {size} bytes is above the limit of {self._limits.frame_bytes_max}",
                remedy="send it in parts",
            )
        header = frame_header(DATA, size)
        if size > _COPIED_BYTES_MAX:
            return [WriteBytes(header), WriteBytes(payload)]
        return [WriteBytes(header + payload)]

    def deadline(self) -> Instant | None:
        """When `deadline_reached` is due."""
        match self._state:
            case LinkState.WAITS_FOR_HELLO | LinkState.WAITS_FOR_PROOF:
                return self._handshake_end
            case LinkState.OPEN:
                return min(self._next_keepalive, Instant(self._heard + self._limits.silence_ms))
            case LinkState.CLOSED:
                return None

    def deadline_reached(self, now_ms: Instant) -> list[LinkEffect]:
        """Do what is due at `now_ms`: nothing, a keep-alive, or the end."""
        match self._state:
            case LinkState.CLOSED:
                return []
            case LinkState.WAITS_FOR_HELLO | LinkState.WAITS_FOR_PROOF:
                if now_ms < self._handshake_end:
                    return []
                missing = "hello" if self._their_hello is None else "proof"
                return self.close(
                    "late",
                    f"no {missing} within {self._limits.handshake_ms} ms; check that the address "
                    "is that of a peer link, and the network",
                )
            case LinkState.OPEN:
                if now_ms >= self._heard + self._limits.silence_ms:
                    return self.close("silence", f"nothing heard for {now_ms - self._heard} ms")
                if now_ms < self._next_keepalive:
                    return []
                self._next_keepalive = Instant(now_ms + self._limits.keepalive_ms)
                their_ms, arrived = self._echo
                held_ms = now_ms - arrived if their_ms else 0
                payload = _KEEP_ALIVE.pack(now_ms, their_ms, held_ms)
                return [WriteBytes(frame(KEEP_ALIVE, payload))]

    def connection_lost(self, reason: str) -> list[LinkEffect]:
        """The connection is gone: the peer or the system ended it."""
        if self._state is LinkState.CLOSED:
            return []
        self._state = LinkState.CLOSED
        return [LinkClosed("gone", reason)]

    def close(self, code: str, reason: str) -> list[LinkEffect]:
        """End the link from this side, and tell the peer why."""
        if self._state is LinkState.CLOSED:
            return []
        self._state = LinkState.CLOSED
        refusal = Refusal(code=code, reason=reason)
        return [
            WriteBytes(frame(REFUSAL, msgspec.msgpack.encode(refusal))),
            LinkClosed(code, reason),
        ]

    def _on_frame(self, kind: int, payload: bytes, now_ms: Instant) -> list[LinkEffect]:
        match self._state, kind:
            case (_, k) if k == REFUSAL:
                refusal = read_refusal(payload)
                self._state = LinkState.CLOSED
                return [LinkClosed(refusal.code, refusal.reason, by_peer=True)]
            case (LinkState.WAITS_FOR_HELLO, k) if k == HELLO:
                return self._on_hello(payload)
            case (LinkState.WAITS_FOR_PROOF, k) if k == PROOF:
                return self._on_proof(payload, now_ms)
            case (LinkState.OPEN, k) if k == KEEP_ALIVE:
                self._on_keepalive(payload, now_ms)
                return []
        raise RemoteProtocolError(
            peer=self._their_hello.node if self._their_hello else "peer",
            code="malformed",
            reason=f"sent a frame of kind {kind} when the link {self._state.name.lower()}",
            remedy="check that both sides run this software",
        )

    def _on_hello(self, payload: bytes) -> list[LinkEffect]:
        theirs = read_hello(payload)
        self._identity.judge_hello(theirs, expected=self._expected)
        self._their_hello = theirs
        self._state = LinkState.WAITS_FOR_PROOF
        return [WriteBytes(frame(PROOF, self._proof(self._side, theirs)))]

    def _on_proof(self, payload: bytes, now_ms: Instant) -> list[LinkEffect]:
        theirs = self._their_hello
        if theirs is None or not hmac.compare_digest(
            payload, self._proof(self._side.other, theirs)
        ):
            raise wrong_proof(theirs.node if theirs else "peer")
        self._state = LinkState.OPEN
        self._frames.payload_bytes_max = self._limits.frame_bytes_max
        self._opened = now_ms
        self._next_keepalive = Instant(now_ms + self._limits.keepalive_ms)
        return [LinkOpened(LinkPeer(NodeId(theirs.node), theirs.role))]

    def _proof(self, prover: Side, theirs: Hello) -> bytes:
        mine = self._hello
        dialer, listener = (mine, theirs) if self._side is Side.DIALER else (theirs, mine)
        return self._identity.proof(prover, dialer=dialer, listener=listener)

    def _on_keepalive(self, payload: bytes, now_ms: Instant) -> None:
        if len(payload) != _KEEP_ALIVE.size:
            raise RemoteProtocolError(
                peer=self._their_hello.node if self._their_hello else "peer",
                code="malformed",
                reason=f"sent a keep-alive of {len(payload)} bytes instead of {_KEEP_ALIVE.size}",
            )
        their_ms, my_ms, held_ms = _KEEP_ALIVE.unpack(payload)
        self._echo = (their_ms, now_ms)
        rtt_ms = now_ms - my_ms - held_ms
        # An echo from before this link, or from the future, measures nothing.
        if my_ms >= self._opened and rtt_ms >= 0:
            self._rtt_ms = rtt_ms


__all__ = [
    "PROTOCOL",
    "FrameArrived",
    "LinkClosed",
    "LinkEffect",
    "LinkIdentity",
    "LinkMachine",
    "LinkOpened",
    "LinkPeer",
    "LinkState",
    "Side",
    "WriteBytes",
]
