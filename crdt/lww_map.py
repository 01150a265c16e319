"""The map: for each key the greatest version that reached it, and a vector of what it has seen.

`LWWMap.put` *makes* a delta and changes nothing.  `LWWMap.apply` is the only way to change a row,
for local and remote deltas alike; it returns what really changed, and only that feeds fan-out.

Rules of `apply`, each with what goes wrong without it:

1. A stamp further ahead than the drift bound: the whole delta is refused.  (One clock far ahead
   would drag all others along, and win every race until they caught up.)
2. A base that has not been seen: the whole delta is refused.  (A lost delta would count as seen,
   and never be sent again.)
3. Rows that the vector covers are skipped before anything else.  (A late message would bring back
   what was removed and pruned.)
4. The greater (epoch, stamp, origin) wins.  A maximum over a total order is commutative,
   associative and idempotent by construction.  Origins compare by name, never by a local number.
5. The vector moves at the end, by all of ``delta.new`` at once.  (A receiver of half a delta would
   claim writes that it does not have.)
6. A row above the vector that comes to be covered takes a new place in the change log.  (A peer
   that got to an earlier vector of this map by another way would never be sent it.)

Invariant, kept by these rules: if the vector covers a write, then the map holds that write or a
greater one of the same key, or it was a tombstone past its keeping and has been pruned.  So two
maps with equal vectors hold equal rows wherever the vectors cover them.

State: the rows by key, tombstones included; an index of live keys by topic and by holder, of
tombstones by topic; the change log.  All that comes out in no natural order comes out sorted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgpack

from crdt.change_log import ChangeLog
from crdt.delta import Delta
from crdt.errors import BaseNotSeen, CrdtError, StampTooFar
from crdt.group_index import GroupIndex
from crdt.hlc import Origin, Stamp, stamp_wall
from crdt.rows import Key, Row, Rows
from crdt.version_vector import VersionVector

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGEST_SIZE: Final = 16
_EMPTY: Final = Rows.empty()


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What an apply really changed, and what it did not because something greater was there.

    Its length is the count of changed rows.

    Attributes:
        rows: The new versions, in the order applied; each key at most once.
        previous: What each of them replaced; None where the key was unknown.
        lost: Rows of the delta that lost against what the map holds.  Neither rows that the map
            already held or had seen, nor rows beaten by another row of the same delta.
        winners: The held rows that beat them, one for each of ``lost``.
    """

    rows: Rows
    previous: list[Row | None]
    lost: Rows
    winners: Rows

    def __len__(self) -> int:
        return len(self.rows)


class LWWMap:
    """Last-writer-wins map of entries, with tombstones, a version vector and a change log.

    >>> presences = LWWMap(drift_ms_max=500)
    >>> delta = presences.put(
    ...     keys=[("room:lobby", "alice", "s1")],
    ...     epochs=[0],
    ...     statuses=[1],
    ...     holders=["gateway-1"],
    ...     values=[b"{}"],
    ...     origin=Origin("eu/w1/1"),
    ...     stamps=[Stamp(65536)],
    ... )
    >>> len(presences), len(presences.apply(delta, wall_ms=1)), len(presences)
    (0, 1, 1)
    >>> len(presences.apply(delta, wall_ms=1)), presences.vector
    (0, VersionVector({'eu/w1/1': 65536}))
    """

    __slots__ = (
        "_drift_ms_max",
        "_live_by_holder",
        "_live_by_topic",
        "_live_count",
        "_log",
        "_removed_by_topic",
        "_rows",
        "_uncovered",
        "_vector",
    )

    def __init__(self, *, drift_ms_max: int) -> None:
        if drift_ms_max < 0:
            raise CrdtError(
                "LWWMap", f"drift_ms_max is {drift_ms_max}", "give milliseconds, 0 or more"
            )
        self._drift_ms_max = drift_ms_max
        self._vector = VersionVector()
        #: {key: the greatest version}, live rows and tombstones.
        self._rows: dict[Key, Row] = {}
        self._live_count = 0
        self._live_by_topic = GroupIndex()
        self._removed_by_topic = GroupIndex()
        #: Live rows with a holder only.
        self._live_by_holder = GroupIndex()
        #: All and only the keys of `_rows`.
        self._log = ChangeLog()
        #: The keys of rows that the vector does not cover, in order: what came in parts so far.
        self._uncovered: dict[Key, None] = {}

    # What is known.

    @property
    def vector(self) -> VersionVector:
        """What this map has seen."""
        return self._vector

    @property
    def rows_total(self) -> int:
        """The count of rows with the tombstones."""
        return len(self._rows)

    @property
    def log_position(self) -> int:
        """Where the change log stands; it grows with every changed row.

        It also grows when a row above the vector comes to be covered.
        """
        return self._log.position

    def __len__(self) -> int:
        return self._live_count

    def get(self, key: Key) -> Row | None:
        """The row of a key, be it live or a tombstone; None where nothing is known."""
        return self._rows.get(key)

    # Makers of deltas: they change nothing.

    def put(
        self,
        *,
        keys: Sequence[Key],
        epochs: Sequence[int],
        statuses: Sequence[int],
        holders: Sequence[str],
        values: Sequence[bytes],
        origin: Origin,
        stamps: Sequence[Stamp],
    ) -> Delta:
        """The delta that writes these rows as ``origin``; apply it before making the next one.

        Raises:
            CrdtError: Columns differ in length, a number does not fit, a string is not valid
                Unicode, or the stamps do not ascend from what was seen of ``origin``.
        """
        seen = self._vector[origin]
        last = seen
        for stamp in stamps:
            if stamp <= last:
                raise CrdtError(
                    "LWWMap.put",
                    f"stamp {stamp} does not exceed {last}, the last one of {origin}",
                    "take every stamp from the one clock of that origin, in order",
                )
            last = stamp
        rows = Rows(
            keys=keys,
            stamps=stamps,
            origins=[origin] * len(keys),
            epochs=epochs,
            statuses=statuses,
            holders=holders,
            values=values,
        )
        _require_unicode(rows)
        return Delta(
            base=VersionVector({origin: seen}),
            new=VersionVector({origin: last}),
            rows=rows,
            clock=last,
        )

    def promise(self, origin: Origin, stamp: Stamp) -> Delta:
        """The delta that says: ``origin`` will never write at or below ``stamp`` again.

        All that it did write up to there must have been applied here.
        """
        seen = self._vector[origin]
        if stamp < seen:
            raise CrdtError(
                "LWWMap.promise",
                f"stamp {stamp} is below {seen}, which has been seen of {origin}",
                "take the promise from the clock of that origin",
            )
        return Delta(
            base=VersionVector({origin: seen}),
            new=VersionVector({origin: stamp}),
            rows=_EMPTY,
            clock=stamp,
        )

    def state(self) -> Delta:
        """All that this map knows, for somebody who knows nothing.

        Its clock is the greatest stamp in it; a sender puts its own there (`Delta.with_clock`).
        """
        rows = self.all_rows()
        components = (stamp for _, stamp in self._vector.items())
        clock = max((int(rows.stamps.max(initial=0)), *components))
        return Delta(base=VersionVector(), new=self._vector, rows=rows, clock=Stamp(clock))

    # The only mutators.

    def apply(self, delta: Delta, *, wall_ms: int) -> Changes:
        """Merge a delta; a second time it changes nothing.

        Raises:
            StampTooFar: A stamp in it is ahead of ``wall_ms`` by more than the drift bound.
            BaseNotSeen: It builds on writes that this map has not seen.
        """
        self._require_near(delta, wall_ms)
        if not self._vector.dominates(delta.base):
            raise BaseNotSeen(delta.base, self._vector)
        changed: list[Row] = []
        previous: list[Row | None] = []
        lost: list[Row] = []
        winners: list[Row] = []
        for row in self._candidates(delta.rows):
            held = self._rows.get(row.key)
            if held is None or held.order < row.order:
                self._replace(held, row)
                changed.append(row)
                previous.append(held)
            elif row.order < held.order:
                lost.append(row)
                winners.append(held)
        self._vector = self._vector.merge(delta.new)
        self._cover(changed)
        return Changes(
            rows=Rows.of(changed) if changed else _EMPTY,
            previous=previous,
            lost=Rows.of(lost) if lost else _EMPTY,
            winners=Rows.of(winners) if winners else _EMPTY,
        )

    def prune(self, keys: Sequence[Key]) -> int:
        """Forget these tombstones, here alone; keys that are not known do not count.

        Raises:
            CrdtError: One of the rows is live.  Nothing is forgotten then.
        """
        for key in keys:
            row = self._rows.get(key)
            if row is not None and row.live:
                raise CrdtError("LWWMap.prune", f"{key} is live", "prune tombstones only")
        count = 0
        for key in keys:
            row = self._rows.pop(key, None)
            if row is not None:
                self._removed_by_topic.discard(key[0], key)
                self._log.discard(key)
                self._uncovered.pop(key, None)
                count += 1
        return count

    # Batches of rows.

    def topic_rows(self, topic: str, *, beyond: VersionVector | None = None) -> Rows:
        """The rows of a topic, sorted by key.

        Without ``beyond`` the live ones: a snapshot.  With it the rows that it does not cover,
        tombstones among them: what somebody who has seen ``beyond`` lacks.
        """
        live = self._live_by_topic.keys_of(topic)
        if beyond is None:
            return self._rows_at(live)
        keys = sorted(live + self._removed_by_topic.keys_of(topic))
        rows = (self._rows[key] for key in keys)
        return Rows.of(row for row in rows if not beyond.covers(row.origin, row.stamp))

    def holder_rows(self, holder: str) -> Rows:
        """The live rows that somebody holds, sorted by key."""
        return self._rows_at(self._live_by_holder.keys_of(holder))

    def origin_rows(self, origin: Origin) -> Rows:
        """The live rows that an origin stamped, sorted by key.  Looks at every row."""
        return Rows.of(
            sorted(row for row in self._rows.values() if row.live and row.origin == origin)
        )

    def live_rows(self) -> Rows:
        """All live rows, sorted by key."""
        return Rows.of(sorted(row for row in self._rows.values() if row.live))

    def all_rows(self) -> Rows:
        """All rows with the tombstones, sorted by key."""
        return Rows.of(sorted(self._rows.values()))

    def missing(
        self, seen: VersionVector, *, after: int = 0, limit: int | None = None
    ) -> tuple[Rows, int, bool]:
        """What somebody lacks who has seen ``seen``.

        Looks only at what changed since ``after``.  That is enough for whoever has either got all
        rows of the log up to there, or dominates the vector that this map had at that position.

        Args:
            seen: The rows that it covers are left out.
            after: An earlier `log_position`, or one that this method returned; 0 for all.
            limit: The greatest count of rows.

        Returns:
            The rows in the order of the log; the position reached, to go on from; and whether
            that is the end of the log.
        """
        if limit is not None and limit < 1:
            raise CrdtError("LWWMap.missing", f"limit is {limit}", "give 1 or more, or None")
        taken: list[Row] = []
        reached = after
        for position, key in self._log.beyond(after):
            row = self._rows[key]
            if not seen.covers(row.origin, row.stamp):
                if len(taken) == limit:
                    return Rows.of(taken), reached, False
                taken.append(row)
            reached = position
        return Rows.of(taken), self._log.position, True

    # Comparison of whole states.

    def canonical_bytes(self) -> bytes:
        """The rows as bytes, the vector left out: equal states have equal bytes."""
        packed: bytes = msgpack.packb(self.all_rows().to_wire(), use_bin_type=True)
        return packed

    def digest(self) -> bytes:
        """16 bytes that are equal for equal rows, and for no others that anybody will meet."""
        return hashlib.blake2b(self.canonical_bytes(), digest_size=_DIGEST_SIZE).digest()

    # Inside.

    def _require_near(self, delta: Delta, wall_ms: int) -> None:
        greatest = max(delta.clock, int(delta.rows.stamps.max(initial=0)))
        greatest = max(greatest, *(stamp for _, stamp in delta.new.items()), 0)
        if stamp_wall(Stamp(greatest)) > wall_ms + self._drift_ms_max:
            raise StampTooFar(Stamp(greatest), wall_ms, self._drift_ms_max)

    def _candidates(self, rows: Rows) -> list[Row]:
        """The rows that the vector does not cover; of one key the greatest, at its first place."""
        greatest: dict[Key, Row] = {}
        covers = self._vector.covers
        for row in rows:
            if covers(row.origin, row.stamp):
                continue
            rival = greatest.get(row.key)
            if rival is None or rival.order < row.order:
                greatest[row.key] = row
        return list(greatest.values())

    def _replace(self, held: Row | None, row: Row) -> None:
        """Put a row in the place of ``held``, in the map, its indexes and its log."""
        key = row.key
        topic = key[0]
        if held is not None:
            if held.live:
                self._live_count -= 1
                self._live_by_topic.discard(topic, key)
                self._live_by_holder.discard(held.holder, key)
            else:
                self._removed_by_topic.discard(topic, key)
        if row.live:
            self._live_count += 1
            self._live_by_topic.add(topic, key)
            if row.holder:
                self._live_by_holder.add(row.holder, key)
        else:
            self._removed_by_topic.add(topic, key)
        self._rows[key] = row
        self._log.append(key)

    def _cover(self, changed: list[Row]) -> None:
        """Keep the rule of the log when the vector has moved, or rows above it have come.

        A row that lay above the vector and is covered now takes a new position.  Else somebody who
        dominates the vector that this map had at some position, but never got what the log held
        then, would be told that it has seen the row, and never get it.
        """
        covers = self._vector.covers
        for row in changed:
            if covers(row.origin, row.stamp):
                self._uncovered.pop(row.key, None)
            else:
                self._uncovered[row.key] = None
        if not self._uncovered:
            return
        rows = (self._rows[key] for key in self._uncovered)
        for key in [row.key for row in rows if covers(row.origin, row.stamp)]:
            del self._uncovered[key]
            self._log.append(key)

    def _rows_at(self, keys: list[Key]) -> Rows:
        return Rows.of(self._rows[key] for key in keys)


def _require_unicode(rows: Rows) -> None:
    """Refuse half a surrogate pair here, at the origin: no message that holds it can be sent."""
    try:
        for parts in zip(*rows.keys, strict=True):
            "".join(parts).encode()
        "".join(rows.holders).encode()
        "".join(rows.origins[:1]).encode()
    except UnicodeEncodeError as error:
        raise CrdtError(
            "LWWMap.put",
            f"a key, holder or origin is no valid Unicode ({error.reason})",
            "refuse such strings where they come in",
        ) from error
