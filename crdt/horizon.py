"""The horizon: how long tombstones are kept, and how long an origin may go unheard.

What is heard of an origin renews all its rows at once: its component of the vector is free of
gaps, and an idle origin moves it by promise. So no row is ever stamped again just to stay alive,
and what has to be remembered is bounded by time:

1. A *tombstone* is kept for `Horizon.retention_ms` after its stamp, and then dropped by each
   replica alone (`ColumnarMap.drop_tombstones`). No agreement is needed, whoever is away.
2. Who has not heard an *origin* for `horizon_ms` keeps its rows, but neither counts its component
   (`HeardOrigins.believed`) nor speaks for it. At the next contact with a peer that has heard it
   within the horizon, and whose component is not older, all rows of the origin come, and replace
   those held of it (``whole`` of `LWWMap.apply`). Rows stamped above that component are spared.
3. A *dead* origin, of whose worker a newer life was heard, goes with its rows once it was not
   heard for the horizon (`HeardOrigins.beyond`, `ColumnarMap.drop_origin`), and its component
   with it.

Why a retention at all, and why so long: a home may keep alive a row that was ended elsewhere for
as long as its holder is attached to it, and a holder that was replaced gives up within the client
lease. Until then a tombstone must be there to answer. And somebody may speak for an origin that
he heard almost a horizon ago to a third one who knows nothing: the tombstones since then must
still be there when that third one asks another. With less than that, rows come back and stay for
ever (shown in the tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdt.errors import CrdtError
from crdt.hlc import Origin, Stamp, pack_stamp, stamp_wall
from crdt.version_vector import VersionVector

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The spans that decide what may be forgotten, in milliseconds.

    >>> horizon = Horizon(
    ...     horizon_ms=3_600_000,
    ...     client_lease_ms=60_000,
    ...     gateway_lease_ms=3_000,
    ...     graces_ms=45_000,
    ...     unreachable_ms_max=120_000,
    ...     drift_ms_max=2_000,
    ...     margin_ms=10_000,
    ... )
    >>> horizon.retention_ms, stamp_wall(horizon.drop_before(4_000_000))
    (3839000, 161000)

    Attributes:
        horizon_ms: How long an origin may be unheard before its rows are replaced as a whole.
        client_lease_ms: A client's lease at its gateway.
        gateway_lease_ms: A gateway's lease at its replicas.
        graces_ms: All graces that may follow one another.
        unreachable_ms_max: How long the rows of a silent gateway are kept.
        drift_ms_max: The greatest difference between any two clocks.
        margin_ms: For what is on its way, and for what is done only now and then.
    """

    horizon_ms: int
    client_lease_ms: int
    gateway_lease_ms: int
    graces_ms: int
    unreachable_ms_max: int
    drift_ms_max: int
    margin_ms: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            span: int = getattr(self, name)
            if span < 0:
                raise CrdtError(f"Horizon.{name}", f"it is {span}", "give milliseconds, 0 or more")
        least = self._outlasts_ms + self.gateway_lease_ms
        if self.horizon_ms < least:
            raise CrdtError(
                "Horizon.horizon_ms",
                f"{self.horizon_ms} ms are less than the {least} ms for which a home may keep a "
                f"row alive that was ended elsewhere (client lease, gateway lease, graces, "
                f"unreachable_ms_max, twice drift_ms_max and the margin)",
                "raise the horizon, or lower one of those",
            )

    @property
    def _outlasts_ms(self) -> int:
        return (
            self.client_lease_ms
            + self.graces_ms
            + self.unreachable_ms_max
            + 2 * self.drift_ms_max
            + self.margin_ms
        )

    @property
    def retention_ms(self) -> int:
        """How long a tombstone is kept after its stamp."""
        return self.horizon_ms + self._outlasts_ms

    def drop_before(self, wall_ms: int) -> Stamp:
        """Tombstones stamped before this may be dropped at this wall time."""
        return pack_stamp(max(0, wall_ms - self.retention_ms), 0)


class HeardOrigins:
    """When each origin was last heard, on the clock of the machine that hears.

    >>> heard = HeardOrigins(
    ...     Horizon(
    ...         horizon_ms=1000,
    ...         client_lease_ms=0,
    ...         gateway_lease_ms=0,
    ...         graces_ms=0,
    ...         unreachable_ms_max=0,
    ...         drift_ms_max=10,
    ...         margin_ms=0,
    ...     )
    ... )
    >>> vector = VersionVector({Origin("a"): pack_stamp(50, 0)})
    >>> heard.note(VersionVector(), vector, instant_ms=7, wall_ms=50)
    >>> heard.beyond(vector, instant_ms=1006), heard.beyond(vector, instant_ms=1007)
    ([], ['a'])
    """

    __slots__ = ("_heard_ms", "_horizon")

    def __init__(self, horizon: Horizon) -> None:
        self._horizon = horizon
        #: {origin: the instant of the last advance of its component}.
        self._heard_ms: dict[Origin, int] = {}

    def note(
        self, before: VersionVector, after: VersionVector, *, instant_ms: int, wall_ms: int
    ) -> None:
        """Take over which components advanced.

        A component that is old when it comes was heard when it was new, as far as clocks can tell:
        else what a third party relays late would count as heard now.
        """
        for origin, stamp in after.beyond(before).items():
            age_ms = wall_ms - stamp_wall(stamp)
            late = age_ms > self._horizon.drift_ms_max
            heard_ms = instant_ms - age_ms if late else instant_ms
            self._heard_ms[origin] = max(heard_ms, self._heard_ms.get(origin, heard_ms))

    def meet(self, origin: Origin, *, instant_ms: int) -> None:
        """The origin is known to be there: its silence counts from now at the earliest."""
        self._heard_ms.setdefault(origin, instant_ms)

    def is_silent(self, origin: Origin, *, instant_ms: int, after_ms: int) -> bool:
        """Whether nothing was heard of the origin for so long."""
        heard_ms = self._heard_ms.get(origin)
        return heard_ms is None or instant_ms - heard_ms >= after_ms

    def beyond(self, vector: VersionVector, *, instant_ms: int) -> list[Origin]:
        """Origins of a vector that were not heard within the horizon, sorted."""
        limit_ms, heard_ms = instant_ms - self._horizon.horizon_ms, self._heard_ms
        late = [origin for origin in vector.origins() if heard_ms.get(origin, limit_ms) <= limit_ms]
        return sorted(late) if late else late

    def believed(self, vector: VersionVector, *, instant_ms: int) -> VersionVector:
        """What of a vector counts: towards peers it is all that has been seen."""
        return vector.without(self.beyond(vector, instant_ms=instant_ms))

    def whole(
        self, base: VersionVector, new: VersionVector, vector: VersionVector, *, instant_ms: int
    ) -> list[Origin]:
        """Of which origins a delta from ``base`` to ``new`` has all rows, to replace ours.

        Those that are beyond the horizon here and were asked for from nothing.  One of which the
        sender has seen less than we have is left as it is.
        """
        return [
            origin
            for origin in self.beyond(vector, instant_ms=instant_ms)
            if not base[origin] and new[origin] >= vector[origin]
        ]

    def keep_only(self, origins: Iterable[Origin]) -> None:
        """The others are gone."""
        self._heard_ms = {
            origin: self._heard_ms[origin] for origin in origins if origin in self._heard_ms
        }
