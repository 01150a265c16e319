"""Faults that a running hub injects into its own links: cut, delay, loss, per peer and direction.

A cut is silent. Everything is dropped, keep-alives and handshakes too, and the end of a connection
is hidden, so that it is noticed as a real one would be: by silence, and by attempts that run into
their time-out until it is healed. A connection needs both directions, so while either is cut no
new one comes about.

Faults are for experiments. A hub takes them only if it listens on loopback.
"""

import random
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from presence_actors.errors import UsageError

Direction = Literal["in", "out", "both"]
OneWay = Literal["in", "out"]


class LinkFault(msgspec.Struct, frozen=True):
    """What is wrong with one direction of the links with one peer."""

    peer: str
    direction: OneWay
    cut: bool = False
    delay_ms: int = 0
    loss: float = 0.0


class LinkFaults:
    """The faults of one hub; they may be changed at any time.

    Args:
        seed: Decides which frames are lost.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._faults: dict[tuple[str, OneWay], LinkFault] = {}
        #: What waits for the end of a cut, by peer.
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def cut(self, peer: str, direction: Direction = "both") -> None:
        """Drop everything that comes from ("in") or goes to ("out") the peer with this name."""
        for key in _keys(peer, direction):
            self._faults[key] = msgspec.structs.replace(self._fault(key), cut=True)

    def delay(self, peer: str, delay_ms: int, direction: Direction = "both") -> None:
        """Hold every frame for so long; the order is kept."""
        if delay_ms < 0:
            raise UsageError(f"a delay of {delay_ms} ms is below 0")
        for key in _keys(peer, direction):
            self._faults[key] = msgspec.structs.replace(self._fault(key), delay_ms=delay_ms)

    def loss(self, peer: str, fraction: float, direction: Direction = "both") -> None:
        """Drop this fraction of the frames, drawn from the seed."""
        if not 0.0 <= fraction <= 1.0:
            raise UsageError(f"a loss of {fraction} is not between 0 and 1")
        for key in _keys(peer, direction):
            self._faults[key] = msgspec.structs.replace(self._fault(key), loss=fraction)

    def heal(self, peer: str | None = None) -> None:
        """End all faults with this peer, or with everybody."""
        for key in [key for key in self._faults if peer in (None, key[0])]:
            del self._faults[key]
        for name in [name for name in self._waiting if peer in (None, name)]:
            for callback in self._waiting.pop(name):
                callback()

    def describe(self) -> list[LinkFault]:
        """The faults that are in force, by peer and direction."""
        return [self._faults[key] for key in sorted(self._faults)]

    def is_cut(self, peer: str | None, direction: OneWay) -> bool:
        """Whether nothing passes in this direction."""
        return peer is not None and self._fault((peer, direction)).cut

    def blocks_connecting(self, peer: str | None) -> bool:
        """Whether no new connection can come about."""
        return self.is_cut(peer, "in") or self.is_cut(peer, "out")

    def delay_ms(self, peer: str | None, direction: OneWay) -> int:
        """How long to hold a frame."""
        return 0 if peer is None else self._fault((peer, direction)).delay_ms

    def loses(self, peer: str | None, direction: OneWay) -> bool:
        """Whether the next frame is lost; draws from the seed."""
        fraction = 0.0 if peer is None else self._fault((peer, direction)).loss
        return fraction > 0 and self._rng.random() < fraction

    def after_heal(self, peer: str, callback: Callable[[], None]) -> None:
        """Call back once the faults with this peer have ended."""
        self._waiting.setdefault(peer, []).append(callback)

    def _fault(self, key: tuple[str, OneWay]) -> LinkFault:
        return self._faults.get(key) or LinkFault(*key)


def _keys(peer: str, direction: Direction) -> list[tuple[str, OneWay]]:
    if direction not in get_args(Direction):
        raise UsageError(f"there is no direction {direction!r}", remedy="say in, out or both")
    both: list[OneWay] = ["in", "out"]
    return [(peer, one_way) for one_way in both if direction in ("both", one_way)]
