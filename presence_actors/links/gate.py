"""Stands between one connection and its link machine, and does there what `LinkFaults` says.

It works on whole frames, so that what passes stays readable. Who the peer is it takes from the
target when we dialled a name, and else from the peer's hello; until that has come, a listener holds
what goes out, since a cut might apply. A dialer that does not know whom it will reach says hello
first: somebody has to.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from presence_actors.errors import RemoteProtocolError
from presence_actors.links.faults import LinkFaults, OneWay
from presence_actors.links.frames import HELLO, FrameReader, frame
from presence_actors.links.handshake import name_in_hello

_T = TypeVar("_T")


class FaultGate:
    """Drops and delays the frames of one connection.

    Args:
        faults: What is wrong at present.
        peer: The name that we dialled, if we did.
        holds: Whether to hold what goes out until the peer's name is known.
        frame_bytes_max: Limit of a frame; what breaks it is handed on for the machine to judge.
        is_open: Whether the handshake is over.
        deliver: Takes what has come in.
        write: Takes what goes out.
    """

    def __init__(
        self,
        faults: LinkFaults,
        *,
        peer: str | None,
        holds: bool,
        frame_bytes_max: int,
        is_open: Callable[[], bool],
        deliver: Callable[[bytes], None],
        write: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._faults = faults
        self._peer = peer
        self._holds = holds
        self._is_open = is_open
        self._reader = FrameReader(frame_bytes_max)
        self._readable = True
        self._held: list[Sequence[bytes]] = []
        self._in = _DelayLine(deliver, lambda: self._is_cut("in"))
        self._out = _DelayLine(write, lambda: self._is_cut("out"))

    @property
    def peer(self) -> str | None:
        """The peer's name, once it is known."""
        return self._peer

    @property
    def delayed_bytes(self) -> int:
        """What waits to go out."""
        return self._out.waiting_bytes

    def hides_end(self) -> bool:
        """Whether the end of the connection, seen from here, must stay unseen."""
        return self._is_cut("in")

    def incoming(self, data: bytes) -> None:
        """Take what the socket gave."""
        if not self._readable:
            self._in.take(data, len(data), 0)
            return
        self._reader.feed(data)
        while True:
            try:
                arrived = self._reader.take_frame()
            except RemoteProtocolError:
                self._readable = False
                rest = self._reader.take_rest()
                self._in.take(rest, len(rest), 0)
                return
            if arrived is None:
                return
            kind, payload = arrived
            if self._peer is None and kind == HELLO:
                self._peer = name_in_hello(payload)
                self._release_held()
            whole = frame(kind, payload)
            if self._passes("in"):
                self._in.take(whole, len(whole), self._faults.delay_ms(self._peer, "in"))

    def outgoing(self, chunks: Sequence[bytes]) -> None:
        """Take whole frames that the machine wants written."""
        if self._peer is None and self._holds:
            self._held.append(chunks)
        elif self._passes("out"):
            size = sum(map(len, chunks))
            self._out.take(chunks, size, self._faults.delay_ms(self._peer, "out"))

    def close(self) -> None:
        """Forget what waits."""
        self._in.close()
        self._out.close()
        self._held.clear()

    def _release_held(self) -> None:
        held, self._held = self._held, []
        if self._peer is None:
            # Not even a hello that can be read: let the two sides tell each other so.
            for chunks in held:
                self._out.take(chunks, 0, 0)
        else:
            for chunks in held:
                self.outgoing(chunks)

    def _passes(self, direction: OneWay) -> bool:
        return not self._is_cut(direction) and not self._faults.loses(self._peer, direction)

    def _is_cut(self, direction: OneWay) -> bool:
        if self._is_open():
            return self._faults.is_cut(self._peer, direction)
        return self._faults.blocks_connecting(self._peer)


class _DelayLine(Generic[_T]):
    """Hands items on after their delay, never out of order, and drops them if cut by then."""

    def __init__(self, hand_on: Callable[[_T], None], is_cut: Callable[[], bool]) -> None:
        self._hand_on = hand_on
        self._is_cut = is_cut
        self._waiting: deque[tuple[float, _T, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_bytes = 0

    def take(self, item: _T, size: int, delay_ms: int) -> None:
        if not self._waiting and not delay_ms:
            self._hand_on(item)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_ms / 1000
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, item, size))
        self.waiting_bytes += size
        if self._timer is None:
            self._timer = loop.call_at(due, self._ring)

    def close(self) -> None:
        self._waiting.clear()
        self.waiting_bytes = 0
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        # The first is due, whatever the loop's clock says of fractions.
        due = max(loop.time(), self._waiting[0][0] if self._waiting else 0.0)
        while self._waiting and self._waiting[0][0] <= due:
            _, item, size = self._waiting.popleft()
            self.waiting_bytes -= size
            if not self._is_cut():
                self._hand_on(item)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._ring)
