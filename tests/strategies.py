"""Hypothesis strategies: stamps, vectors, rows, deltas, histories, schedules of delivery.

Everything is drawn from small alphabets, so that keys, stamps and origins collide all the time: it
is in the collisions that merging can go wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from crdt import (
    REMOVED,
    Delta,
    Key,
    LWWMap,
    Origin,
    Row,
    Rows,
    Stamp,
    VersionVector,
    pack_epoch,
    pack_stamp,
)

#: One name is the beginning of another, and the order of names is not the order of zones.
ORIGINS: Final = tuple(Origin(name) for name in ("b/w1/1", "a/w1/1", "a/w1/10", "é/w/1"))
KEYS: Final[tuple[Key, ...]] = (
    ("room:lobby", "alice", "s1"),
    ("room:lobby", "alice", "s2"),
    ("room:lobby", "bob", "s3"),
    ("user:alice", "alice", "s1"),
    ("", "", ""),
)
HOLDERS: Final = ("", "gateway-1", "gateway-2")
#: No stamp drawn here is further from the wall times drawn here.
DRIFT_MS_MAX: Final = 1_000_000
WALL_MS: Final = 1_000

origins = st.sampled_from(ORIGINS)
keys = st.sampled_from(KEYS)
epochs = st.builds(pack_epoch, st.integers(0, 2), st.integers(0, 2))
#: Half of them tombstones.
statuses = st.just(REMOVED) | st.integers(1, 3)
holders = st.sampled_from(HOLDERS)
values = st.sampled_from((b"", b"{}", b"\x00\xff"))
stamps = st.builds(pack_stamp, st.integers(1, 6), st.integers(0, 1))
vectors = st.dictionaries(origins, stamps | st.just(Stamp(0)), max_size=len(ORIGINS)).map(
    VersionVector
)

rows = st.builds(Row, keys, stamps, origins, epochs, statuses, holders, values)
#: Rows of any content, for codecs: extremes of every column, any text.
wild_rows = st.builds(
    Row,
    st.tuples(st.text(max_size=3), st.text(max_size=3), st.text(max_size=3)),
    st.integers(1, (1 << 64) - 1).map(Stamp),
    st.text(max_size=3).map(Origin),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 255),
    st.text(max_size=3),
    st.binary(max_size=5),
)


def batches(row: SearchStrategy[Row] = rows, *, size_max: int = 6) -> SearchStrategy[Rows]:
    """Batches in which every key comes once, in any order."""
    return st.lists(row, unique_by=lambda drawn: drawn.key, max_size=size_max).map(Rows.of)


def deltas(row: SearchStrategy[Row] = rows) -> SearchStrategy[Delta]:
    """Deltas of any content: well-formed, though no history would have led to most of them."""
    wild_vectors = st.dictionaries(
        st.text(max_size=3).map(Origin), st.integers(0, (1 << 64) - 1).map(Stamp), max_size=3
    ).map(VersionVector)
    return st.builds(
        Delta,
        vectors | wild_vectors,
        vectors | wild_vectors,
        batches(row),
        st.integers(0, (1 << 64) - 1).map(Stamp),
    )


@dataclass(frozen=True)
class History:
    """All that was ever written: for each origin its rows, by ascending stamp."""

    rows_of: dict[Origin, list[Row]]

    @property
    def rows(self) -> list[Row]:
        """All rows of all origins."""
        return [row for written in self.rows_of.values() for row in written]


@st.composite
def histories(draw: DrawFn, *, length_max: int = 6) -> History:
    """Histories in which (origin, stamp) names one row."""
    rows_of: dict[Origin, list[Row]] = {}
    for origin in ORIGINS[:3]:
        written = sorted(draw(st.lists(stamps, unique=True, max_size=length_max)))
        rows_of[origin] = [
            Row(
                draw(keys), stamp, origin, draw(epochs), draw(statuses), draw(holders), draw(values)
            )
            for stamp in written
        ]
    return History(rows_of)


@st.composite
def maps(draw: DrawFn, history: History) -> LWWMap:
    """A map that has seen of each origin all up to some stamp, and stray rows beyond."""
    presences = LWWMap(drift_ms_max=DRIFT_MS_MAX)
    for origin, written in history.rows_of.items():
        seen = written[: draw(st.integers(0, len(written)))]
        new = VersionVector({origin: seen[-1].stamp}) if seen else VersionVector()
        presences.apply(delta_of(seen, new=new), wall_ms=WALL_MS)
    if history.rows:
        strays = draw(st.lists(st.sampled_from(history.rows), max_size=3))
        presences.apply(delta_of(strays), wall_ms=WALL_MS)
    return presences


@st.composite
def map_triples(draw: DrawFn) -> tuple[LWWMap, LWWMap, LWWMap]:
    """Three maps of one history."""
    history = draw(histories())
    return draw(maps(history)), draw(maps(history)), draw(maps(history))


def delta_of(
    written: Sequence[Row],
    *,
    base: VersionVector | None = None,
    new: VersionVector | None = None,
    clock: int = 0,
) -> Delta:
    """A delta of these rows; between empty vectors, unless said otherwise."""
    return Delta(
        base=VersionVector() if base is None else base,
        new=VersionVector() if new is None else new,
        rows=Rows.of(written),
        clock=Stamp(clock),
    )


class Write(NamedTuple):
    """A replica writes one entry."""

    replica: int
    key: Key
    epoch: int
    status: int


class Send(NamedTuple):
    """A replica sends another one what that one lacked when it last told its vector."""

    sender: int
    receiver: int


class Tell(NamedTuple):
    """A replica tells another one its vector."""

    sender: int
    receiver: int


class Deliver(NamedTuple):
    """The message at a place among those under way arrives; with ``again``, it stays there too."""

    place: int
    again: bool


class Lose(NamedTuple):
    """The message at a place among those under way is lost."""

    place: int


Step: TypeAlias = Write | Send | Tell | Deliver | Lose


def schedules(replica_count: int, *, length_max: int = 40) -> SearchStrategy[list[Step]]:
    """Writes and messages in any order; messages are lost, doubled and overtaken."""
    replicas = st.integers(0, replica_count - 1)
    places = st.integers(0, 10)
    pairs = st.tuples(replicas, replicas).filter(lambda pair: pair[0] != pair[1])
    step: SearchStrategy[Step] = st.one_of(
        st.builds(Write, replicas, keys, epochs, statuses),
        pairs.map(lambda pair: Send(*pair)),
        pairs.map(lambda pair: Tell(*pair)),
        st.builds(Deliver, places, st.booleans()),
        st.builds(Lose, places),
    )
    return st.lists(step, max_size=length_max)
