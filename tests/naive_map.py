"""The map as plainly as it can be said: a dict of rows, a list of changes, and the rules.

What `crdt.lww_map` does in columns is compared with this, step by step.
"""

from collections.abc import Collection, Iterable

from crdt import BaseNotSeen, Delta, Key, Origin, Row, StampTooFar, VersionVector
from crdt.hlc import stamp_wall

_NOTHING_SEEN = VersionVector()


class NaiveMap:
    """A last-writer-wins map that looks at everything all the time."""

    def __init__(self, *, drift_ms_max: int) -> None:
        self.drift_ms_max = drift_ms_max
        self.rows: dict[Key, Row] = {}
        self.vector = VersionVector()
        #: {key: position of its last change}
        self.positions: dict[Key, int] = {}
        self.position = 0

    def apply(
        self,
        delta: Delta,
        *,
        wall_ms: int,
        whole: Iterable[Origin] = (),
        anew: VersionVector = _NOTHING_SEEN,
        kept: Collection[Key] = (),
    ) -> list[Row]:
        """Merge; the rows that changed, in the order applied."""
        stamps = [delta.clock, *(row.stamp for row in delta.rows)]
        stamps += [stamp for _, stamp in delta.new.items()]
        if stamp_wall(max(stamps)) > wall_ms + self.drift_ms_max:
            raise StampTooFar(max(stamps), wall_ms, self.drift_ms_max)
        if not self.vector.dominates(delta.base):
            raise BaseNotSeen(delta.base, self.vector)
        origins = list(whole)
        seen = self.vector.without([*origins, *anew.origins()])
        came: dict[Key, Row] = {}
        for row in delta.rows:
            if not seen.covers(row.origin, row.stamp) and (
                row.key not in came or came[row.key].order < row.order
            ):
                came.pop(row.key, None)
                came[row.key] = row
        outlived = [
            key
            for key, row in came.items()
            if key in self.rows
            and row.order < self.rows[key].order
            and anew.covers(self.rows[key].origin, self.rows[key].stamp)
        ]
        for key in {*outlived, *self.leftovers(came, delta.new, origins, kept)}:
            self.drop(key)
        changed = []
        for key, row in came.items():
            if key not in self.rows or self.rows[key].order < row.order:
                self.rows[key] = row
                self.note(key)
                changed.append(row)
        before = self.vector
        self.vector = before.merge(delta.new)
        fresh = {row.key for row in changed}
        for key in sorted(self.rows, key=self.positions.__getitem__):
            row = self.rows[key]
            if (
                key not in fresh
                and self.vector.covers(row.origin, row.stamp)
                and not before.covers(row.origin, row.stamp)
            ):
                self.note(key)
        return changed

    def leftovers(
        self,
        came: dict[Key, Row],
        new: VersionVector,
        origins: Collection[Origin],
        kept: Collection[Key],
    ) -> list[Key]:
        """Rows of origins to replace that neither came before nor came now, or came lower."""
        return [
            key
            for key, held in self.rows.items()
            if key not in kept
            and held.origin in origins
            and held.stamp <= new[held.origin]
            and (key not in came or came[key].order < held.order)
        ]

    def note(self, key: Key) -> None:
        """The key has changed."""
        self.position += 1
        self.positions[key] = self.position

    def drop(self, key: Key) -> None:
        """Forget a row."""
        del self.rows[key], self.positions[key]

    def missing(self, seen: VersionVector, *, after: int) -> list[Row]:
        """What somebody lacks, in the order of changes."""
        keys = sorted(self.rows, key=self.positions.__getitem__)
        return [
            self.rows[key]
            for key in keys
            if self.positions[key] > after
            and not seen.covers(self.rows[key].origin, self.rows[key].stamp)
        ]
