"""The network between processes: who hears whom, how late, how often, and in what shape.

Links keep their order and lose nothing, unless something is the matter with them. An *impairment*
is one such matter: it is laid on directed pairs of processes and taken off again, several may lie
on one pair, and each counts the frames to which it did something. So whoever laid it can say
whether it took effect.

=========  =====================================================================================
Cut        nothing passes; what is on its way is lost, too
Clog       everything is held, and comes at once and in order when the clog is released
Disturbed  frames are lost, repeated, late (and overtaken), damaged, at these rates
Throttle   so many bytes per second pass; the rest waits in line, or is lost if that is long
=========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.messages import PeerMessage
from presence_actors.errors import InvariantBroken
from presence_actors.sim.meter import Meter
from presence_actors.wire.peer import decode_frame, encode_frame

__all__ = [
    "Clog",
    "Cut",
    "Disturbed",
    "Faults",
    "Frame",
    "Impairment",
    "Network",
    "Pair",
    "Throttle",
]

_LATENCY_MS: Final = 1
_JITTER_MS: Final = 2
#: A real queue is bounded, and drops what it cannot hold: so much a narrow link has in line.
_LINE_MS_MAX: Final = 10_000

#: Who sends, and who would hear.
Pair = tuple[NodeName, NodeName]


@dataclass(frozen=True, slots=True)
class Faults:
    """What may happen to a frame; rates from 0 to 1."""

    loss: float = 0.0
    duplication: float = 0.0
    #: How often a frame waits for up to `delay_ms`, and is overtaken by later ones.
    delay: float = 0.0
    delay_ms: int = 0
    #: How often a byte of it is another one when it arrives.
    corruption: float = 0.0


@dataclass(slots=True, eq=False)
class Cut:
    """Nothing passes."""

    hits: int = 0


@dataclass(slots=True, eq=False)
class Clog:
    """Everything is held until the release."""

    hits: int = 0
    held: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Disturbed:
    """Frames meet with these faults."""

    faults: Faults
    hits: int = 0


@dataclass(slots=True, eq=False)
class Throttle:
    """Each pair carries so many bytes per second."""

    bytes_per_s: int
    hits: int = 0
    #: {pair: when the line is free again}.
    free_at: dict[Pair, float] = field(default_factory=dict)


Impairment = Cut | Clog | Disturbed | Throttle


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
        self._data = encode_frame(messages) if sample else None

    @property
    def messages(self) -> list[PeerMessage]:
        """What is in it, as it was sent."""
        return self._messages

    @property
    def trace(self) -> bytes | int:
        """What the trace notes of it: its bytes, or how many messages it has."""
        return len(self._messages) if self._data is None else self._data

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(encode_frame(self._messages) if self._data is None else self._data)

    def read_damaged(self, damage: Callable[[bytes], bytes]) -> list[PeerMessage]:
        """The messages as they come out of damaged bytes, or the refusal of the decoder."""
        return decode_frame(damage(encode_frame(self._messages)))

    def read(self) -> list[PeerMessage]:
        """The messages, as the receiver gets them."""
        if self._data is None:
            return self._messages
        received = decode_frame(self._data)
        if self._prove and received != self._messages:
            raise InvariantBroken(f"{self._messages} came out of their bytes as {received}")
        return received


class Network:
    """Directed pairs of process names, and what becomes of a frame between them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        #: {pair: what is the matter with it, in the order in which it came}.
        self._impaired: dict[Pair, list[Impairment]] = {}
        #: The cuts that `cut` and `join` steer by hand.
        self._by_hand: dict[Pair, Cut] = {}
        #: When the last frame of a pair arrives: links keep order.
        self._arrival: dict[Pair, Instant] = {}
        self.faults = Faults()
        #: Hears of every frame that is sent and not held.
        self.meter: Meter | None = None

    # What is the matter.

    @property
    def faults(self) -> Faults:
        """What may happen to frames on every link."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._any_faults = faults != Faults()

    def impair(self, impairment: Impairment, pairs: Iterable[Pair]) -> None:
        """From now on this is the matter with these pairs."""
        for pair in pairs:
            self._impaired.setdefault(pair, []).append(impairment)

    def repair(self, impairment: Impairment) -> None:
        """It is no longer, on no pair."""
        for pair, matters in list(self._impaired.items()):
            left = [one for one in matters if one is not impairment]
            if left:
                self._impaired[pair] = left
            else:
                del self._impaired[pair]

    def cut(self, sender: NodeName, receiver: NodeName) -> None:
        """The receiver hears nothing more of the sender."""
        pair = (sender, receiver)
        if pair not in self._by_hand:
            self._by_hand[pair] = cut = Cut()
            self.impair(cut, [pair])

    def join(self, sender: NodeName, receiver: NodeName) -> None:
        """The receiver hears the sender again."""
        cut = self._by_hand.pop((sender, receiver), None)
        if cut is not None:
            self.repair(cut)

    def heal(self) -> None:
        """Everybody hears everybody. What a clog holds is the business of who laid it."""
        self._impaired = {}
        self._by_hand = {}

    def is_cut(self, sender: NodeName, receiver: NodeName) -> bool:
        """Whether the receiver hears nothing of the sender."""
        return any(isinstance(one, Cut) for one in self._impaired.get((sender, receiver), ()))

    def is_impaired(self, sender: NodeName, receiver: NodeName) -> bool:
        """Whether anything is the matter between them."""
        return self._any_faults or (sender, receiver) in self._impaired

    # What becomes of a frame.

    def swallows(self, sender: NodeName, receiver: NodeName) -> bool:
        """Whether a frame that would arrive now is lost to a cut."""
        if not self._impaired:
            return False
        for one in self._impaired.get((sender, receiver), ()):
            if isinstance(one, Cut):
                one.hits += 1
                return True
        return False

    def holds(self, sender: NodeName, receiver: NodeName, arrive: Callable[[], None]) -> bool:
        """Whether a frame that is sent now waits for the release of a clog."""
        if not self._impaired:
            return False
        for one in self._impaired.get((sender, receiver), ()):
            if isinstance(one, Clog):
                one.hits += 1
                one.held.append(arrive)
                return True
        return False

    def arrivals(
        self, sender: NodeName, receiver: NodeName, now: Instant, frame: Frame
    ) -> list[Instant]:
        """When a frame that is sent now arrives: once, unless something happens to it."""
        if self.meter is not None:
            self.meter.note(now, sender, receiver, frame.messages)
        pair = (sender, receiver)
        latency = _LATENCY_MS + int(self._random.random() * _JITTER_MS)
        matters = self._impaired.get(pair, ())
        if not matters and not self._any_faults:
            arrival, last = Instant(now + latency), self._arrival.get(pair, now)
            arrival = max(arrival, last)
            self._arrival[pair] = arrival
            return [arrival]
        if self.swallows(sender, receiver):
            return []
        arrivals = self._disturbed([Instant(now + latency)], self.faults, None)
        for one in matters:
            match one:
                case Disturbed():
                    arrivals = self._disturbed(arrivals, one.faults, one)
                case Throttle():
                    waiting = [_in_line(one, pair, at, frame.size) for at in arrivals]
                    arrivals = [at for at in waiting if at is not None]
                case Cut() | Clog():
                    pass
        return arrivals

    def read(self, sender: NodeName, receiver: NodeName, frame: Frame) -> list[PeerMessage]:
        """The messages of a frame that arrives.

        Raises:
            RemoteProtocolError: It was damaged on its way, and the decoder refused it.
        """
        if not self._impaired and not self._any_faults:
            return frame.read()
        if self.faults.corruption and self._random.random() < self.faults.corruption:
            return frame.read_damaged(self._flipped)
        for one in self._impaired.get((sender, receiver), ()):
            if (
                isinstance(one, Disturbed)
                and one.faults.corruption
                and self._random.random() < one.faults.corruption
            ):
                one.hits += 1
                return frame.read_damaged(self._flipped)
        return frame.read()

    def _flipped(self, data: bytes) -> bytes:
        place = self._random.randrange(len(data))
        changed = data[place] ^ self._random.randrange(1, 256)
        return data[:place] + bytes([changed]) + data[place + 1 :]

    def _disturbed(
        self, arrivals: list[Instant], faults: Faults, cause: Disturbed | None
    ) -> list[Instant]:
        if faults == Faults():
            return arrivals
        result: list[Instant] = []
        for arrival in arrivals:
            copies = 1 + (self._random.random() < faults.duplication)
            kept = [
                Instant(arrival + self._delay(faults))
                for _ in range(copies)
                if self._random.random() >= faults.loss
            ]
            if cause is not None and kept != [arrival]:
                cause.hits += 1
            result.extend(kept)
        return result

    def _delay(self, faults: Faults) -> int:
        late = self._random.random() < faults.delay
        return int(self._random.random() * faults.delay_ms) if late else 0


def _in_line(throttle: Throttle, pair: Pair, arrival: Instant, size: int) -> Instant | None:
    begins = max(float(arrival), throttle.free_at.get(pair, 0.0))
    if begins > arrival + _LINE_MS_MAX:
        throttle.hits += 1
        return None
    ends = begins + size * 1000 / throttle.bytes_per_s
    throttle.free_at[pair] = ends
    if ends > arrival + 1:
        throttle.hits += 1
    return Instant(int(ends))
