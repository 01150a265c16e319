"""What a merge means to the gateways of a replica, be it of a few plain rows or of a batch.

Of a batch that was merged in columns, rows are made only for whom somebody waits: watchers of their
topic, the gateway that holds them, and the one that held what they replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crdt import Changes, LWWMap, Merged, PackedRows, Row, Rows

__all__ = ["Audience", "MergedBatch", "News", "all_rows", "news_of"]


class Audience(NamedTuple):
    """For whom a replica picks rows out of a batch."""

    #: The hashes of the topics that somebody watches, ascending.
    topics: NDArray[np.uint64]
    #: The gateways that are attached.
    gateways: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class MergedBatch:
    """A batch that was merged in columns; good until the next change of the map."""

    map: LWWMap
    rows: PackedRows
    merged: Merged

    def live_counts(self) -> dict[str, int]:
        """{origin: how many live rows more it has now}."""
        counts: dict[str, int] = {}
        replaced, places = self.merged.replaced, self.merged.places
        if replaced is None:
            return counts
        came = self.rows.statuses.take(places) > 0
        _add(counts, self.rows.origins, self.rows.origin_of.take(places)[came], 1)
        _add(counts, replaced.origins, replaced.origin_of[replaced.statuses > 0], -1)
        return counts


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What changed, as far as gateways may care."""

    #: How many rows changed in all.
    count: int
    rows: Rows
    #: Of each row who held the live version that it replaced; "" for nobody.
    losers: list[str]
    #: Live rows that are no longer here, without an end.
    gone: list[Row]


def news_of(changes: Changes | MergedBatch, audience: Audience | None) -> News:
    """What is to be told of these changes; of a batch only to this audience."""
    if isinstance(changes, Changes):
        losers = [
            previous.holder if previous is not None and previous.live else ""
            for previous in changes.previous
        ]
        gone = [row for row in changes.dropped if row.live] if len(changes.dropped) else []
        return News(len(changes), changes.rows, losers, gone)
    merged, replaced = changes.merged, changes.merged.replaced
    gone = [] if merged.dropped is None else [row for row in merged.dropped if row.live]
    if replaced is None or audience is None:
        return News(len(merged), Rows.empty(), [], gone)
    rows, places = changes.rows, merged.places
    wanted = _contained(rows.keys[:, 0].take(places), audience.topics)
    held = _among(rows.holders, audience.gateways).take(rows.holder_of.take(places))
    wanted |= held & (rows.statuses.take(places) > 0)
    lost = _among(replaced.holders, audience.gateways).take(replaced.holder_of)
    wanted |= lost & (replaced.statuses > 0)
    chosen = np.flatnonzero(wanted)
    holder_of = np.where(replaced.statuses > 0, replaced.holder_of, -1).take(chosen)
    return News(
        count=len(merged),
        rows=changes.map.rows_at(merged.rows.take(chosen)),
        losers=[replaced.holders[place] if place >= 0 else "" for place in holder_of.tolist()],
        gone=gone,
    )


def all_rows(changes: Changes | MergedBatch) -> Rows:
    """Every row that changed, whoever cares."""
    if isinstance(changes, Changes):
        return changes.rows
    return changes.map.rows_at(changes.merged.rows)


def _add(
    counts: dict[str, int], names: tuple[str, ...], name_of: NDArray[np.int64], factor: int
) -> None:
    for name, count in zip(names, np.bincount(name_of, minlength=len(names)).tolist(), strict=True):
        if count:
            counts[name] = counts.get(name, 0) + factor * count


def _among(names: tuple[str, ...], chosen: frozenset[str]) -> NDArray[np.bool_]:
    return np.array([name in chosen for name in names], dtype=np.bool_)


def _contained(words: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of these words are there."""
    if not len(ascending):
        return np.zeros(len(words), dtype=np.bool_)
    places = np.searchsorted(ascending, words)
    places[places == len(ascending)] = 0
    found: NDArray[np.bool_] = ascending.take(places) == words
    return found
