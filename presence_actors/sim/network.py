"""The network between processes: who hears whom, how late, how often.

Links keep their order and lose nothing, unless the world is told otherwise: cuts in one direction
or both, and rates of loss, duplication and delays that overtake each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.messages import GossipDelta, PeerMessage
from presence_actors.errors import InvariantBroken
from presence_actors.wire.peer import decode_frame, encode_frame

__all__ = ["Faults", "Frame", "Network"]

_LATENCY_MS: Final = 1
_JITTER_MS: Final = 2

Pair = tuple[NodeName, NodeName]


@dataclass(frozen=True, slots=True)
class Faults:
    """What may happen to a frame on any link; rates from 0 to 1."""

    loss: float = 0.0
    duplication: float = 0.0
    #: How often a frame waits for up to `delay_ms`, and is overtaken by later ones.
    delay: float = 0.0
    delay_ms: int = 0


class Network:
    """Directed pairs of process names, and what becomes of a frame between them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        #: Directed pairs (sender, receiver) that carry nothing.
        self._cuts: dict[Pair, None] = {}
        #: When the last frame of a pair arrives: links keep order.
        self._arrival: dict[Pair, Instant] = {}
        self.faults = Faults()

    def cut(self, sender: NodeName, receiver: NodeName) -> None:
        """The receiver hears nothing more of the sender."""
        self._cuts[(sender, receiver)] = None

    def join(self, sender: NodeName, receiver: NodeName) -> None:
        """The receiver hears the sender again."""
        self._cuts.pop((sender, receiver), None)

    def heal(self) -> None:
        """Everybody hears everybody."""
        self._cuts = {}

    def is_cut(self, sender: NodeName, receiver: NodeName) -> bool:
        """Whether the receiver hears nothing of the sender."""
        return (sender, receiver) in self._cuts

    def arrivals(self, sender: NodeName, receiver: NodeName, now: Instant) -> list[Instant]:
        """When a frame that is sent now arrives: once, unless something happens to it."""
        pair = (sender, receiver)
        if pair in self._cuts:
            return []
        latency = _LATENCY_MS + int(self._random.random() * _JITTER_MS)
        faults = self.faults
        if faults == Faults():
            arrival = Instant(max(now + latency, self._arrival.get(pair, 0)))
            self._arrival[pair] = arrival
            return [arrival]
        copies = 1 + (self._random.random() < faults.duplication)
        return [
            Instant(now + latency + self._delay())
            for _ in range(copies)
            if self._random.random() >= faults.loss
        ]

    def _delay(self) -> int:
        late = self._random.random() < self.faults.delay
        return int(self._random.random() * self.faults.delay_ms) if late else 0


class Frame:
    """Messages between two processes: as bytes, or, which is cheaper, as they are.

    Args:
        messages: What is in it; nobody changes messages that have been sent.
        sample: Whether it must go as bytes.
        prove: Whether a sample must come out of its bytes as it went in.
    """

    __slots__ = ("_data", "_messages", "_prove")

    def __init__(self, messages: list[PeerMessage], *, sample: bool, prove: bool) -> None:
        self._messages = messages
        self._prove = sample and prove
        go_as_bytes = sample or any(map(_is_sorted_by_bytes, messages))
        self._data = encode_frame(messages) if go_as_bytes else None

    @property
    def trace(self) -> bytes | int:
        """What the trace notes of it: its bytes, or how many messages it has."""
        return len(self._messages) if self._data is None else self._data

    def read(self) -> list[PeerMessage]:
        """The messages, as the receiver gets them."""
        if self._data is None:
            return self._messages
        received = decode_frame(self._data)
        if self._prove and received != self._messages:
            raise InvariantBroken(f"{self._messages} came out of their bytes as {received}")
        return received


def _is_sorted_by_bytes(message: PeerMessage) -> bool:
    """Whether its rows may come out of its bytes in another order."""
    return isinstance(message, GossipDelta) and len(message.delta.rows) > 1
