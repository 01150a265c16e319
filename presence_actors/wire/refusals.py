"""What a frame from a client is refused with."""

from __future__ import annotations

from presence_actors.core.vocabulary import ErrorCode
from presence_actors.errors import PresenceError

__all__ = ["FrameRefused"]


class FrameRefused(PresenceError):
    """A frame that cannot be taken; what it asked for has certainly not happened.

    Attributes:
        code: Why, for programs.
        message: What is wrong, where, and what is allowed; for people.
        id: The request id of the frame, as far as it could be read.
    """

    definite = True

    def __init__(self, code: ErrorCode, message: str, id: int | str | None = None) -> None:  # noqa: A002  # its name on the wire
        super().__init__()
        self.code = code
        self.message = message
        self.id = id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
