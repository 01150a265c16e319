"""The trace of a run: what reached whom and when, as one hash, so that equal runs are known."""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["Trace"]

_NOTES_MAX: Final = 256


class Trace:
    """A hash of all that was noted, in order.

    >>> one, other = Trace(), Trace()
    >>> one.note(5, "a/g0", b"frame")
    >>> one.hexdigest() == other.hexdigest()
    False
    >>> other.note(5, "a/g0", b"frame")
    >>> one.hexdigest() == other.hexdigest()
    True
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        #: What is not in it yet: hashing each note by itself costs more than the note.
        self._notes: list[str] = []

    def note(self, at_ms: int, name: str, what: bytes | str | int) -> None:
        """This reached somebody then."""
        self._notes.append(repr((at_ms, name, what)))
        if len(self._notes) >= _NOTES_MAX:
            self._take_in()

    def hexdigest(self) -> str:
        """The name of all that has been noted so far."""
        self._take_in()
        return self._hash.hexdigest()

    def _take_in(self) -> None:
        self._hash.update("".join(self._notes).encode())
        self._notes.clear()
