"""What this package refuses, and why.

::

    CrdtError                 root; also a ValueError
    ├── StampTooFar           a stamp from further in the future than clocks may differ
    ├── DecodeError           bytes that are no delta
    ├── BaseNotSeen           a delta that builds on writes this map has not seen
    ├── KeyCollision          two keys with one hash
    ├── KeysUnknown           rows of entries that this map does not know, without their full keys
    └── SecretDiffers         hashes under another secret

A refusal changes nothing: whatever raised one of these is as it was before the call.  Each error
carries data beside its text, and survives pickling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Vector(Protocol):
    """A version vector, as far as an error needs to know it: this module imports no other."""

    def items(self) -> Sequence[tuple[str, int]]:
        """(origin, stamp) of each component."""


class CrdtError(ValueError):
    """A call that broke a rule of this package; says where, what, and what to do.

    >>> print(CrdtError("LWWMap.put", "2 keys but 3 stamps", "give one stamp for each key"))
    LWWMap.put: 2 keys but 3 stamps; give one stamp for each key
    """

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class StampTooFar(CrdtError):
    """A stamp that lies further ahead of the local clock than any two clocks may differ."""

    def __init__(self, stamp: int, wall_ms: int, drift_ms_max: int) -> None:
        super().__init__(
            f"stamp {stamp}",
            f"it is {(stamp >> 16) - wall_ms} ms ahead of the local clock ({wall_ms} ms), "
            f"more than drift_ms_max ({drift_ms_max} ms) allows",
            "synchronise the clocks of both machines, or raise drift_ms_max on every one of them",
        )
        self.args = (stamp, wall_ms, drift_ms_max)
        self.stamp = stamp
        self.wall_ms = wall_ms
        self.drift_ms_max = drift_ms_max


class DecodeError(CrdtError):
    """Input from outside that is not what it claims to be."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem, "drop the message; its sender or the way here is faulty")
        self.args = (where, problem)


class BaseNotSeen(CrdtError):
    """A delta that was made for somebody who has seen more than this map has."""

    def __init__(self, base: Vector, seen: Vector) -> None:
        seen_of = dict(seen.items())
        gaps = [
            f"{origin} up to {stamp} (seen {seen_of.get(origin, 0)})"
            for origin, stamp in base.items()
            if seen_of.get(origin, 0) < stamp
        ]
        super().__init__(
            "LWWMap.apply",
            f"the delta builds on writes not seen here: {', '.join(gaps)}",
            "answer with your own vector, so that the sender extracts what is missing",
        )
        self.args = (base, seen)
        self.base = base
        self.seen = seen


class KeyCollision(CrdtError):
    """Two keys that have one hash; they are never merged."""

    def __init__(self, held: tuple[str, str, str], other: tuple[str, str, str]) -> None:
        super().__init__(
            "LWWMap",
            f"the keys {held} and {other} have one hash",
            "give the cluster another secret, which makes other hashes",
        )
        self.args = (held, other)
        self.held = held
        self.other = other


class KeysUnknown(CrdtError):
    """Rows of entries that this map has never seen, or has forgotten, without their full keys."""

    def __init__(self, count: int) -> None:
        super().__init__(
            "LWWMap.apply_packed",
            f"{count} rows are of entries not known here, and came without full keys",
            "answer that nothing is known, so that the sender repeats them with full keys",
        )
        self.args = (count,)
        self.count = count


class SecretDiffers(CrdtError):
    """Hashed keys that were made under another secret than those of this map."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(
            "LWWMap.apply_packed",
            f"the keys are hashed under the secret {theirs}, those of this map under {ours}",
            "give every zone of the cluster the same secret",
        )
        self.args = (theirs, ours)
        self.theirs = theirs
        self.ours = ours
