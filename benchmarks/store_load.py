"""The load of `benchmarks.bench_store`: rows with a seed, our map full of them, and the baseline.

The baseline is what one would write first, and hard to beat in plain Python: a dict from 16-byte
keys to tuples.  Tuples of numbers leave the garbage collector alone, which objects do not.
"""

from typing import Any, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from crdt import LWWMap, Origin, PackedDelta, PackedRows, Stamp, VersionVector

ORIGINS = tuple(f"zone/worker-{number}/019abc00000" for number in range(4))
HOLDERS = tuple(f"zone/gateway-{number}/019abc00000" for number in range(100))
ROWS_PER_TOPIC = 10
#: Rows of one delta of a full state.
PART = 1 << 16
START = 1_764_000_000_000 << 16
EPOCH = 1 << 32
WALL_MS = (START >> 16) + 10_000_000

Row: TypeAlias = tuple[int, int, int, int, int, int]
Dict: TypeAlias = dict[bytes, Row]


class Load:
    """Random keys and rows, stamped one after the other."""

    def __init__(self, entries: int, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.topics = self.words(max(1, entries // ROWS_PER_TOPIC))
        self.stamp = START
        self.map = LWWMap(drift_ms_max=0, ids_kept=False)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Random words."""
        return self.rng.integers(0, 1 << 64, count, dtype=np.uint64)

    def new_keys(self, count: int) -> NDArray[np.uint64]:
        """Keys that were never there, in topics that were."""
        topics = self.topics.take(self.rng.integers(0, len(self.topics), count))
        return np.column_stack([topics, self.words(count)])

    def rows(self, keys: NDArray[np.uint64], *, older: bool = False) -> PackedRows:
        """A version for each key; an entry keeps its holder."""
        count = len(keys)
        first = START + 1 if older else self.stamp + 1
        if not older:
            self.stamp += count
        return PackedRows(
            keys=keys,
            stamps=np.arange(first, first + count, dtype=np.uint64),
            origins=ORIGINS,
            origin_of=self.rng.integers(0, len(ORIGINS), count),
            epochs=np.full(count, EPOCH, dtype=np.uint64),
            statuses=np.ones(count, dtype=np.uint8),
            holders=HOLDERS,
            holder_of=(keys[:, 1] % np.uint64(len(HOLDERS))).astype(np.int64),
            ids=None,
            values=None,
            fingerprint=self.map.columns.hasher.fingerprint,
        )

    def delta(self, rows: PackedRows) -> PackedDelta:
        """A delta that covers its rows and nothing else."""
        new = {}
        for place, origin in enumerate(ORIGINS):
            stamps = rows.stamps[rows.origin_of == place]
            if len(stamps):
                new[Origin(origin)] = Stamp(int(stamps.max()))
        return PackedDelta(VersionVector(), VersionVector(new), rows, Stamp(self.stamp))

    def parts(self, entries: int) -> list[bytes]:
        """A full state of so many new entries, in encoded deltas."""
        sizes = [PART] * (entries // PART) + [entries % PART]
        return [self.delta(self.rows(self.new_keys(size))).encode() for size in sizes if size]


def our_map(entries: int) -> LWWMap:
    """An empty map with room for so many entries, and a few more."""
    return LWWMap(drift_ms_max=0, capacity=entries + entries // 20, ids_kept=False)


def fill(presences: LWWMap, parts: list[bytes]) -> None:
    """Apply a full state."""
    for part in parts:
        presences.columns.apply_encoded(part, wall_ms=WALL_MS)


def key_bytes(keys: NDArray[np.uint64]) -> list[bytes]:
    """Keys as byte strings of 16."""
    raw = keys.tobytes()
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]


def dict_rows(rows: PackedRows) -> list[list[Any]]:
    """The same rows as lists: key, epoch, stamp, origin, status, holder."""
    columns = (
        key_bytes(rows.keys),
        rows.epochs.tolist(),
        rows.stamps.tolist(),
        rows.origin_of.tolist(),
        rows.statuses.tolist(),
        rows.holder_of.tolist(),
    )
    return [list(row) for row in zip(*columns, strict=True)]


def dict_blob(rows: PackedRows) -> bytes:
    """The same rows in MessagePack, one array for each."""
    packed: bytes = msgpack.packb(dict_rows(rows))
    return packed


def dict_apply(held: Dict, seen: list[int], blob: bytes) -> int:
    """Decode and merge what is not covered, move the vector; how many rows changed."""
    changed = 0
    newest = list(seen)
    for key, epoch, stamp, origin, status, holder in msgpack.unpackb(blob):
        if stamp <= seen[origin]:
            continue
        newest[origin] = max(newest[origin], stamp)
        old = held.get(key)
        if old is None or (epoch, stamp, origin) > old[:3]:
            held[key] = (epoch, stamp, origin, status, holder, 0)
            changed += 1
    seen[:] = newest
    return changed


def dict_write(held: Dict, keys: list[bytes], status: int, first_stamp: int) -> None:
    """New statuses by key."""
    stamp = first_stamp
    for key in keys:
        epoch, _, _, _, holder, lease = held[key]
        held[key] = (epoch, stamp, 0, status, holder, lease)
        stamp += 1


def dict_renew(held: Dict, keys: list[bytes], until: int) -> None:
    """New leases by key."""
    for key in keys:
        epoch, stamp, origin, status, holder, _ = held[key]
        held[key] = (epoch, stamp, origin, status, holder, until)


def dict_missing(held: Dict, seen: list[int]) -> bytes:
    """What somebody lacks: a look at every row."""
    lacking = [[key, *row] for key, row in held.items() if row[1] > seen[row[2]]]
    packed: bytes = msgpack.packb(lacking)
    return packed


def dict_run_out(held: Dict, now: int) -> list[bytes]:
    """Whose lease has run out: a look at every row."""
    return [key for key, row in held.items() if row[5] < now and row[3]]
