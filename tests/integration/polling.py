"""Waiting for what another process brings about, which no event of ours announces."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.05


def until(look: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """What `look` gives as soon as it gives something; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(_POLL_SECONDS)
