"""The garbage collector of a process that keeps much and makes few cycles.

With its defaults it walks everything that lives whenever a tenth as much was made: with 20,000
connections that is a tenth of a second, again and again, and nothing is found.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["tune_collector"]

_THRESHOLDS: Final = (50_000, 20, 100)


def tune_collector() -> None:
    """Look away from what is there for good, and look rarely at the rest. Once all is started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
