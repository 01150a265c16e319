"""Ctrl-C that ends a show in order, at whatever moment it comes.

A signal only leaves word. What is under way is not torn apart (Ray does not survive an exception
in the middle of a connection); it asks at its next stop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Self

__all__ = ["Interruption"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Whether somebody wants the end: by Ctrl-C, by `kill`, by closing the terminal."""

    def __init__(self) -> None:
        #: Whether a signal has come.
        self.came = False
        self._wake: Callable[[], object] | None = None
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals, also from a library that has taken them for itself."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def wake(self, wake: Callable[[], object]) -> None:
        """Call this when a signal comes; at once if one has come."""
        self._wake = wake
        if self.came:
            wake()

    def stop_here(self) -> None:
        """A place where what is under way can end.

        Raises:
            KeyboardInterrupt: It is to end.
        """
        if self.came:
            raise KeyboardInterrupt

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        if self._wake is not None:
            self._wake()
