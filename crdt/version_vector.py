"""Version vectors: what somebody has seen.

A vector maps an origin to the newest of its stamps that was seen, *without gaps*: whoever has the
component (o, s) has seen every write of o up to s, or something greater in its place.  An absent
component is zero, and a zero component is an absent one.

Vectors decide what must be sent and what may be skipped, never which of two writes wins: "greater
vector wins, else later wall clock" is not associative when clocks differ (shown in the tests).

Since an idle origin moves its own component by promise, ``now - stamp_wall(vector[origin])`` also
bounds how stale the knowledge of that origin is.

They are values: immutable, comparable, hashable.  They form a lattice under `merge` and `meet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from crdt.errors import CrdtError, DecodeError
from crdt.hlc import STAMP_MAX, Origin, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView

_NOTHING: Final[Mapping[Origin, Stamp]] = MappingProxyType({})
_ZERO: Final = Stamp(0)


class Order(Enum):
    """How one vector stands to another."""

    BEFORE = "before"
    AFTER = "after"
    EQUAL = "equal"
    CONCURRENT = "concurrent"


class VersionVector:
    """An immutable map of origin to the newest stamp seen, without gaps.

    >>> mine = VersionVector({Origin("a"): Stamp(3), Origin("b"): Stamp(1)})
    >>> theirs = VersionVector({Origin("a"): Stamp(2), Origin("c"): Stamp(5)})
    >>> mine.compare(theirs)
    <Order.CONCURRENT: 'concurrent'>
    >>> mine.merge(theirs)
    VersionVector({'a': 3, 'b': 1, 'c': 5})
    >>> mine.meet(theirs)
    VersionVector({'a': 2})
    """

    __slots__ = ("_components", "_hash")

    def __init__(self, components: Mapping[Origin, Stamp] = _NOTHING) -> None:
        self._hash: int | None = None
        #: Positive components only, in no particular order.
        self._components: dict[Origin, Stamp] = {}
        if not components:
            return
        for origin, stamp in components.items():
            if not 0 <= stamp <= STAMP_MAX:
                raise CrdtError(
                    f"VersionVector[{origin!r}]", f"its stamp is {stamp}", "give one of 64 bits"
                )
        self._components = {origin: stamp for origin, stamp in components.items() if stamp}

    @classmethod
    def _of(cls, components: dict[Origin, Stamp]) -> Self:
        """Wrap components known to be positive, without a copy."""
        vector = cls()
        vector._components = components
        return vector

    @classmethod
    def at(cls, origin: Origin, stamp: Stamp) -> Self:
        """The vector of somebody who has seen one origin only, up to this stamp.

        >>> VersionVector.at(Origin("a"), Stamp(3))
        VersionVector({'a': 3})
        """
        if not 0 <= stamp <= STAMP_MAX:
            return cls({origin: stamp})  # Which says what is wrong.
        return cls._of({origin: stamp} if stamp else {})

    def stamps(self) -> Iterable[Stamp]:
        """The positive components without their origins, in no particular order."""
        return self._components.values()

    def origins(self) -> KeysView[Origin]:
        """The origins of positive components, in no particular order."""
        return self._components.keys()

    def pairs(self) -> Iterable[tuple[Origin, Stamp]]:
        """The same as `items`, in no particular order: a sort costs more than most that is done."""
        return self._components.items()

    def __getitem__(self, origin: Origin) -> Stamp:
        return self._components.get(origin, _ZERO)

    def get(self, origin: Origin, default: Stamp = _ZERO) -> Stamp:
        """The component of an origin, or ``default`` where there is none."""
        return self._components.get(origin, default)

    def items(self) -> list[tuple[Origin, Stamp]]:
        """The positive components, sorted by origin."""
        return sorted(self._components.items())

    def __len__(self) -> int:
        return len(self._components)

    def __bool__(self) -> bool:
        return bool(self._components)

    def __contains__(self, origin: object) -> bool:
        return origin in self._components

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VersionVector):
            return NotImplemented
        return self._components == other._components

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._components.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"VersionVector({dict(self.items())!r})"

    def __reduce__(self) -> tuple[type[VersionVector], tuple[dict[Origin, Stamp]]]:
        # Without the cached hash, which is another one in each process.
        return VersionVector, (dict(self.items()),)

    def covers(self, origin: Origin, stamp: Stamp) -> bool:
        """Has the write that (origin, stamp) names been seen?"""
        return self._components.get(origin, _ZERO) >= stamp

    def dominates(self, other: VersionVector) -> bool:
        """Has all that ``other`` has seen been seen here?  True of equals."""
        if other is self:
            return True
        mine = self._components
        for origin, stamp in other._components.items():  # noqa: SIM110 - `all` costs thrice as much
            if mine.get(origin, 0) < stamp:
                return False
        return True

    def compare(self, other: VersionVector) -> Order:
        """How this vector stands to ``other``; BEFORE says that ``other`` has seen more."""
        after, before = self.dominates(other), other.dominates(self)
        if after and before:
            return Order.EQUAL
        if after:
            return Order.AFTER
        return Order.BEFORE if before else Order.CONCURRENT

    def merge(self, other: VersionVector) -> VersionVector:
        """The least vector that dominates both."""
        if not other._components:
            return self
        news = other.beyond(self)
        return VersionVector._of({**self._components, **news}) if news else self

    def beyond(self, other: VersionVector) -> dict[Origin, Stamp]:
        """The components that ``other`` has not seen, in no particular order."""
        known = other._components.get
        return {
            origin: stamp for origin, stamp in self._components.items() if stamp > known(origin, 0)
        }

    def meet(self, other: VersionVector) -> VersionVector:
        """The greatest vector that both dominate."""
        theirs = other._components
        return VersionVector._of(
            {
                origin: min(stamp, theirs[origin])
                for origin, stamp in self._components.items()
                if origin in theirs
            }
        )

    def with_component(self, origin: Origin, stamp: Stamp) -> VersionVector:
        """This vector with a component raised to ``stamp``; never lowered."""
        return self.merge(VersionVector.at(origin, stamp))

    def without(self, origins: Iterable[Origin]) -> VersionVector:
        """This vector with the components of ``origins`` back at zero."""
        gone = frozenset(origins)
        return VersionVector._of(
            {origin: stamp for origin, stamp in self._components.items() if origin not in gone}
        )

    def to_wire(self) -> dict[str, int]:
        """A plain dict of the positive components, in the order of origins."""
        return dict(self.items())

    @classmethod
    def from_wire(cls, obj: object) -> Self:
        """The vector that `to_wire` gave ``obj`` for.

        Raises:
            DecodeError: ``obj`` is no map of strings to integers of 64 bits.
        """
        if not isinstance(obj, Mapping):
            raise DecodeError("version vector", f"expected a map, got {type(obj).__name__}")
        components: dict[Origin, Stamp] = {}
        for origin, stamp in obj.items():
            if not isinstance(origin, str):
                raise DecodeError(
                    "version vector", f"an origin is {type(origin).__name__}, not str"
                )
            # bool is an int to Python, but not to anybody who sends stamps.
            if type(stamp) is not int or not 0 <= stamp <= STAMP_MAX:
                raise DecodeError(
                    "version vector", f"a component is {type(stamp).__name__}, no 64-bit integer"
                )
            if stamp:
                components[Origin(origin)] = Stamp(stamp)
        return cls._of(components)
