"""Checkers that look into replicas: what two of them hold, what they stamp, what they keep.

Each yields a sentence for everything that is wrong: what, and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from crdt import LWWMap, Origin, Row, Rows, VersionVector
from crdt.hlc import stamp_wall
from presence_actors.core.ids import NodeId
from presence_actors.core.messages import PRESENCE
from presence_actors.core.replica import ReplicaMachine
from presence_actors.sim.history import Gone
from presence_actors.sim.scene import Scene

__all__ = ["ReplicaMemory", "canonical"]


#: A place of a map's log, and how many rows it had there: it had the same rows all the while, or
#: fewer of the ends that are too old to be compared.
_Edition = tuple[int, int]


def _edition(source: LWWMap) -> _Edition:
    return source.log_position, source.rows_total


@dataclass(slots=True)
class ReplicaMemory:
    """What these checkers remember from step to step."""

    #: {(shard, map and origin, stamp): what was written with it}.
    written: dict[tuple[str, int], Row] = field(default_factory=dict)
    #: {(life of a worker, shard, map): how far its log was read}.
    read: dict[tuple[NodeId, int, int], int] = field(default_factory=dict)
    #: {(life of a worker, shard): its vector at the last step}.
    vectors: dict[tuple[NodeId, int], VersionVector] = field(default_factory=dict)
    #: {(life of a worker, shard, key): a session that said goodbye and was seen to be gone there}.
    buried: dict[tuple[NodeId, int, tuple[str, str, str]], None] = field(default_factory=dict)
    #: {(life of a worker, shard): its rows and how many goodbyes there were when they were read}.
    searched: dict[tuple[NodeId, int], tuple[int, int, int]] = field(default_factory=dict)
    #: {(life of a worker, another, shard): the rows of both when they were equal last}.
    alike: dict[tuple[NodeId, NodeId, int], tuple[_Edition, _Edition]] = field(default_factory=dict)
    #: {(life of a worker, shard): its rows when they were looked at last}.
    _rows: dict[tuple[NodeId, int], tuple[_Edition, Rows]] = field(default_factory=dict)

    def rows_of(self, replica: ReplicaMachine) -> Rows:
        """All rows that a replica holds."""
        presence, place = replica.maps()[PRESENCE], (replica.node, int(replica.shard))
        edition, rows = self._rows.get(place, (None, Rows.empty()))
        if edition != _edition(presence):
            rows = presence.all_rows()
            self._rows[place] = _edition(presence), rows
        return rows


def canonical(source: LWWMap, *, cut_ms: int) -> list[Row]:
    """The live rows, and the ends that are younger than a time given to all."""
    return [row for row in source.all_rows() if row.live or stamp_wall(row.stamp) >= cut_ms]


def cut_ms(scene: Scene) -> int:
    """Ends that are older may be gone at one replica and not yet at another.

    All of the horizon: they are kept for longer, by more than any two clocks differ.
    """
    return scene.world.now.wall - scene.plan.knobs.horizon_ms


def i1_equal_vectors_mean_equal_rows(scene: Scene, memory: ReplicaMemory) -> Iterator[str]:
    """Strong convergence, at any time."""
    for group in scene.by_shard():
        for (its_name, it), (name, replica) in combinations(group, 2):
            ours, theirs = it.maps()[PRESENCE], replica.maps()[PRESENCE]
            if ours.vector != theirs.vector:
                continue
            pair = (it.node, replica.node, int(replica.shard))
            editions = (_edition(ours), _edition(theirs))
            # What was equal stays so while nothing changes: ends only grow too old to count.
            if memory.alike.get(pair) == editions:
                continue
            if ours.columns.uncovered_count() or theirs.columns.uncovered_count():
                continue
            if memory.rows_of(it) == memory.rows_of(replica):
                memory.alike[pair] = editions
                continue
            since = cut_ms(scene)
            its_rows, rows = canonical(ours, cut_ms=since), canonical(theirs, cut_ms=since)
            if its_rows == rows:
                memory.alike[pair] = editions
            else:
                yield (
                    f"shard {replica.shard}: {its_name} and {name} have seen the same and hold "
                    f"different rows: {difference(its_rows, rows)}"
                )


def difference(ours: list[Row], theirs: list[Row]) -> str:
    """The first rows that only one side holds."""
    mine = {row.key: row for row in ours}
    other = {row.key: row for row in theirs}
    words = [
        f"{key}: {mine.get(key)} / {other.get(key)}"
        for key in sorted({**mine, **other})
        if mine.get(key) != other.get(key)
    ]
    return "; ".join(words[:3])


def i3_a_stamp_names_one_write(scene: Scene, memory: ReplicaMemory) -> Iterator[str]:
    """Two different values never share a stamp, and so no two updates share a dot (I12)."""
    for name, replica in scene.replicas():
        for which, source in enumerate(replica.maps()):
            place = (replica.node, int(replica.shard), which)
            after = memory.read.get(place, 0)
            if source.log_position == after:
                continue
            rows, reached, _ = source.missing(VersionVector(), after=after)
            memory.read[place] = reached
            for row in rows:
                dot = (f"{replica.shard}/{which}/{row.origin}", row.stamp)
                known = memory.written.setdefault(dot, row)
                if known != row:
                    yield f"{name}: one stamp for {known} and {row}"


def i5_who_said_goodbye_stays_gone(scene: Scene, memory: ReplicaMemory) -> Iterator[str]:
    """Once a replica holds the end of a session that said goodbye, it never shows it again."""
    left = [
        (f"default/user:{life.persona.user}", life.persona.user, life.session)
        for life in scene.history.lives
        if life.gone is Gone.BYE and life.session is not None
    ]
    for name, replica in scene.replicas():
        presence = replica.maps()[PRESENCE]
        edition = (*_edition(presence), len(left))
        if memory.searched.get((replica.node, int(replica.shard))) == edition:
            continue
        memory.searched[(replica.node, int(replica.shard))] = edition
        for topic, user, session in left:
            key = (topic, user, str(session))
            place = (replica.node, int(replica.shard), key)
            row = presence.get(key)
            if row is not None and not row.live:
                memory.buried[place] = None
            elif row is not None and place in memory.buried:
                yield f"{name}: {user} said goodbye and is back: {row}"


def i11_no_stamp_beyond_the_bound(scene: Scene, memory: ReplicaMemory) -> Iterator[str]:
    """Nothing is accepted from too far ahead, and nobody's component ever goes back."""
    drift = scene.plan.knobs.drift_ms_max
    for name, replica in scene.replicas():
        vector = replica.maps()[PRESENCE].vector
        place = (replica.node, int(replica.shard))
        before = memory.vectors.get(place)
        memory.vectors[place] = vector
        if before is None or vector == before:
            continue
        wall = scene.world.now_at(name).wall
        for origin, stamp in vector.pairs():
            if stamp > before[origin]:
                ahead = stamp_wall(stamp) - wall
                if ahead > drift + 1 and not scene.has_wrong_clock(name):
                    yield f"{name} took in a stamp of {origin} that is {ahead} ms ahead"
        mine = Origin(replica.node)
        if vector[mine] < before[mine]:
            yield f"{name}: its own component went back"
