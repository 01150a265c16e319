"""What the driver needs of a connection, whatever library serves it."""

from __future__ import annotations

from typing import Final, Protocol

from presence_actors.core.messages import Said
from presence_actors.core.vocabulary import ClientMessage, ServerMessage
from presence_actors.wire.turns import Turn

__all__ = ["Adapter", "Conn", "Dialog", "WholeConn"]


class Conn(Protocol):
    """One client's WebSocket. No call waits for anything.

    What `write` is given is gathered; `flush` hands it to the socket as one piece. So a client that
    is told ten things in one turn costs one system call.
    """

    def write(self, data: bytes, *, binary: bool = False) -> None:
        """Gather a frame: text, as UTF-8, or a binary one."""
        ...

    def flush(self) -> None:
        """Hand what was gathered to the socket; without effect once it is closing."""
        ...

    @property
    def descriptor(self) -> int:
        """The socket's number, for who sends what `take` gave; negative if there is none."""
        ...

    def take(self) -> bytes | None:
        """What was gathered, as frames that may go to `descriptor` at once.

        None if something stands between them and the socket, or they are many: `flush` them. The
        caller sends in this turn of the loop, and gives the rest to `send_rest`.
        """
        ...

    def send_rest(self, data: bytes) -> None:
        """Send what the socket did not take."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Flush, then close in an orderly way; abort if the client does not answer in time."""
        ...

    def abort(self) -> None:
        """Cut it off: what was not sent yet is lost."""
        ...

    @property
    def is_backed_up(self) -> bool:
        """Whether anything is unsent; asked before each frame, so it must cost next to nothing."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """What the client has been slow to read: bytes handed to the socket and still here."""
        ...


class WholeConn:
    """For connections from which nothing can be taken: all of it goes by `flush`."""

    __slots__ = ()

    descriptor: Final = -1

    def take(self) -> None:
        """Never."""

    def send_rest(self, data: bytes) -> None:
        """Nobody took anything."""
        raise NotImplementedError(f"{len(data)} bytes of what was never taken")


class Adapter(Protocol):
    """One client protocol: a pure translation to and from the vocabulary."""

    @property
    def binary(self) -> bool:
        """Whether `encode` gives binary frames, and no text."""
        ...

    def decode(self, frame: str | bytes) -> ClientMessage | None:
        """What a client says; None if it need not be understood; raises `FrameRefused`.

        A text frame is a string, a binary one is bytes.
        """
        ...

    def encode(self, message: ServerMessage) -> bytes:
        """The payload of a frame; text as UTF-8."""
        ...


class Dialog(Protocol):
    """One connection of a client protocol that has a state: not one frame for one message."""

    def receive(self, data: str | bytes) -> Turn:
        """What a text frame, or a binary one, leads to; raises `FrameRefused`."""
        ...

    def hear(self, message: ServerMessage) -> Turn:
        """What a message of the machine leads to."""
        ...

    def hear_said(self, said: Said) -> Turn:
        """What it leads to that somebody said something in a room."""
        ...

    def closed(self) -> None:
        """The connection is gone."""
        ...
