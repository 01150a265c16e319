"""The map in columns against the naive one, step by step.

Three maps take the same steps: the naive one; one by rows, a few at a time; one by encoded packed
deltas, in whole batches.  The hash of the latter two is a poor one, so that keys crowd into the
same buckets with the same tags.  Whatever comes (writes, batches with a key twice, parts that no
vector covers yet, replaced origins, forgotten tombstones and origins, growth, reuse of rows,
restarts from old snapshots, clocks that are ahead, keys with one hash, damaged bytes), all three
say the same.
"""

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crdt import (
    REMOVED,
    BaseNotSeen,
    Changes,
    CrdtError,
    Delta,
    Handles,
    Key,
    KeyCollision,
    KeyHasher,
    LWWMap,
    Merged,
    Origin,
    PackedDelta,
    Row,
    Rows,
    Stamp,
    StampTooFar,
    VersionVector,
    pack_stamp,
    records,
)
from crdt.leases import TICK_MS
from tests.naive_map import NaiveMap
from tests.strategies import delta_of, epochs, holders, statuses, values
from tests.strategies import origins as some_origins

DRIFT_MS_MAX = 1_000_000
WALL_MS = 1_000
#: Enough that tables grow and batches are not few.
KEYS: list[Key] = [
    (f"room:{number % 7}", f"user-{number}", f"session-{number}") for number in range(60)
]
#: Its hash is that of a key above.
TWINS: dict[Key, Key] = {("room:twin", f"user-{n}", f"twin-{n}"): KEYS[n] for n in range(0, 60, 3)}
HOLDERS = ("", "gateway-1", "gateway-2")
MINE = Origin("mine/w/1")

keys = st.sampled_from(KEYS)
stamps = st.builds(pack_stamp, st.integers(1, 40), st.integers(0, 3))
rows = st.builds(Row, keys, stamps, some_origins, epochs, statuses, holders, values)
vectors = st.dictionaries(some_origins, stamps | st.just(Stamp(0)), max_size=3).map(VersionVector)


class PoorHasher(KeyHasher):
    """A hash under which many keys share a bucket, some a tag as well, and twins all of it."""

    __slots__ = ()

    def topic_word(self, topic: str) -> int:
        """A few values."""
        return super().topic_word(topic) % 3

    def words_of(self, key: Key) -> tuple[int, int]:
        """The same bucket for most, the same tag for some; the same hash only for twins."""
        key = TWINS.get(key, key)
        number = KEYS.index(key)
        return self.topic_word(key[0]), (number % 5) << 34 | number << 8


def consistent(drawn: list[Row], written: dict[tuple[Origin, Stamp], Row]) -> list[Row]:
    """(origin, stamp) names one write: what was drawn under a known name is that write."""
    return [written.setdefault((row.origin, row.stamp), row) for row in drawn]


class MapsInStep(RuleBasedStateMachine):
    """One naive map and two in columns."""

    @initialize(capacity=st.sampled_from([0, 100]), pass_rows=st.sampled_from([7, 5 << 10]))
    def start(self, capacity: int, pass_rows: int) -> None:
        """Empty maps; one of them may have room in advance, and passes may be short."""
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(records, "_PASS", pass_rows)
        self.written: dict[tuple[Origin, Stamp], Row] = {}
        self.naive = NaiveMap(drift_ms_max=DRIFT_MS_MAX)
        self.capacity = capacity
        self.snapshots = [self.naive]
        self.my_clock = pack_stamp(100, 0)
        self.start_empty()

    def teardown(self) -> None:
        """Passes are as long as they were."""
        if hasattr(self, "patches"):
            self.patches.undo()

    def start_empty(self) -> None:
        """The maps in columns have nothing, and nobody has read their log or has a handle."""
        self.by_row, self.by_batch = (
            LWWMap(drift_ms_max=DRIFT_MS_MAX, hasher=PoorHasher(), capacity=room)
            for room in (0, self.capacity)
        )
        self.positions = [0]
        #: {handle: key} of all that were ever given out, and the leases that hold.
        self.handed_out: dict[tuple[int, int], Key] = {}
        self.leases: dict[Key, int] = {}

    def all_apply(
        self,
        delta: Delta,
        whole: tuple[Origin, ...] = (),
        *,
        anew: VersionVector = VersionVector(),  # noqa: B008  # nobody changes it
        kept: frozenset[Key] = frozenset(),
        known_keys: bool = True,
    ) -> None:
        """All three merge a delta, and say the same of it.

        The third may get the full keys of what it knows left out.
        """
        packed = self.by_batch.pack(delta)
        if not known_keys and packed.rows.ids is not None:
            packed.rows.ids[self.by_batch.columns.find(packed.rows.keys) > 0] = None
        packed = PackedDelta.decode(packed.encode())
        before = dict(self.naive.rows)
        hashes = self.by_batch.columns.hasher.hash_many(sorted(kept))

        def apply_by_row() -> Changes:
            return self.by_row.apply(delta, wall_ms=WALL_MS, whole=whole, anew=anew, kept=hashes)

        def apply_by_batch() -> Merged:
            return self.by_batch.columns.apply(
                packed, wall_ms=WALL_MS, whole=whole, anew=anew, kept=hashes, tell_replaced=True
            )

        try:
            changed = self.naive.apply(delta, wall_ms=WALL_MS, whole=whole, anew=anew, kept=kept)
        except BaseNotSeen:
            for take in (apply_by_row, apply_by_batch):
                with pytest.raises(BaseNotSeen):
                    take()
            return
        changes, merged = apply_by_row(), apply_by_batch()
        assert list(changes.rows) == changed
        assert [self.by_batch.columns.entries.row(int(row)) for row in merged.rows] == changed
        assert len(changes.dropped) == merged.dropped_count
        assert list(changes.dropped) == list(merged.dropped or ())
        stayed = {key: row for key, row in before.items() if row not in list(changes.dropped)}
        assert changes.previous == [stayed.get(row.key) for row in changed]
        assert merged.new_count == changes.previous.count(None)
        for lost, winner in zip(changes.lost, changes.winners, strict=True):
            assert stayed[lost.key] == winner
            assert lost.order < winner.order
        beaten = [delta.rows.row(place) for place in merged.lost.tolist()]
        assert set(changes.lost) <= set(beaten)
        assert all(row.order < stayed[row.key].order for row in beaten)
        assert len(merged.lost) == len(merged.winners)
        for row in changed:
            if not row.live:
                self.leases.pop(row.key, None)
        # A lease is that of a handle, which is void now, even if another row came for the key.
        for row in changes.dropped:
            self.leases.pop(row.key, None)

    @rule(drawn=st.lists(rows, max_size=8), base=vectors, new=vectors)
    def merge_a_few(self, drawn: list[Row], base: VersionVector, new: VersionVector) -> None:
        """A delta from anywhere, with keys that may come twice."""
        self.all_apply(
            Delta(base, base.merge(new), Rows.of(consistent(drawn, self.written)), Stamp(1))
        )

    @rule(drawn=st.lists(rows, min_size=20, max_size=50), new=vectors)
    def merge_many(self, drawn: list[Row], new: VersionVector) -> None:
        """A batch that is large enough for passes over arrays."""
        self.all_apply(delta_of(consistent(drawn, self.written), new=new))

    @rule(
        parts=st.lists(st.lists(rows, max_size=30), min_size=1, max_size=3),
        new=vectors,
        whole=st.sets(some_origins),
        known_keys=st.booleans(),
    )
    def replace(
        self, parts: list[list[Row]], new: VersionVector, whole: set[Origin], *, known_keys: bool
    ) -> None:
        """Origins come whole, in parts, from somebody who has seen as much of them."""
        origins = tuple(sorted(whole))
        vector = self.naive.vector
        target = VersionVector({origin: vector[origin] for origin in origins}).merge(new)
        told = VersionVector({origin: target[origin] for origin in origins})
        kept: set[Key] = set()
        for part in parts[:-1]:
            came = consistent(part, self.written)
            self.all_apply(delta_of(came, new=VersionVector()), anew=told, known_keys=known_keys)
            kept |= {
                row.key
                for row in came
                if row.origin in whole and self.naive.rows.get(row.key) == row
            }
        self.all_apply(
            delta_of(consistent(parts[-1], self.written), new=target),
            origins,
            anew=told,
            kept=frozenset(kept),
            known_keys=known_keys,
        )

    @rule()
    def snapshot(self) -> None:
        """The state is kept, for a start that may come much later."""
        self.snapshots.append(deepcopy(self.naive))

    @rule(which=st.integers(0, 50))
    def restart(self, which: int) -> None:
        """All begin again from an old snapshot, or from nothing: rows, vector, and a fresh log."""
        old = self.snapshots[which % len(self.snapshots)]
        self.naive = NaiveMap(drift_ms_max=DRIFT_MS_MAX)
        self.start_empty()
        rows = [old.rows[key] for key in sorted(old.rows)]
        self.all_apply(delta_of(rows, new=old.vector))

    @rule(drawn=st.lists(rows, max_size=8), ahead=st.integers(1, 9), where=st.integers(0, 2))
    def hear_a_clock_that_is_ahead(self, drawn: list[Row], ahead: int, where: int) -> None:
        """A stamp beyond the drift bound in a row, a vector or a clock: all of it is refused."""
        far = pack_stamp(WALL_MS + DRIFT_MS_MAX + ahead, 0)
        row = Row(KEYS[0], far, MINE, 9, 1, "", b"")
        batch = Rows.of([*consistent(drawn, self.written), *([row] if where == 0 else [])])
        new = VersionVector({MINE: far} if where == 1 else {})
        delta = Delta(VersionVector(), new, batch, far if where > 1 else Stamp(1))
        packed = self.by_batch.pack(delta).encode()
        for take in (
            lambda: self.naive.apply(delta, wall_ms=WALL_MS),
            lambda: self.by_row.apply(delta, wall_ms=WALL_MS),
            lambda: self.by_batch.columns.apply_encoded(packed, wall_ms=WALL_MS),
        ):
            with pytest.raises(StampTooFar):
                take()

    @rule(
        drawn=st.lists(rows, max_size=30),
        twin=st.sampled_from(sorted(TWINS)),
        stamp=stamps,
        place=st.integers(0, 30),
    )
    def hear_a_key_with_the_hash_of_another(
        self, drawn: list[Row], twin: Key, stamp: Stamp, place: int
    ) -> None:
        """Two keys with one hash, one of them held or both in one batch: all of it is refused.

        A row that the vector covers is news to nobody, whatever its key; so the two are not.
        """
        fresh = Origin("twins/w/1")
        both = [Row(key, stamp, fresh, 0, 1, "", b"") for key in (twin, TWINS[twin])]
        held = TWINS[twin] in self.naive.rows
        batch = consistent(drawn, self.written)
        batch[place:place] = both[: 1 if held else 2]
        delta = delta_of(batch, new=VersionVector())
        packed = self.by_batch.pack(delta).encode()
        for take in (
            lambda: self.by_row.apply(delta, wall_ms=WALL_MS),
            lambda: self.by_batch.columns.apply_encoded(packed, wall_ms=WALL_MS),
        ):
            with pytest.raises(KeyCollision):
                take()

    @rule(drawn=st.lists(rows, max_size=8), data=st.binary(max_size=60), cut=st.integers(0, 400))
    def hear_damaged_bytes(self, drawn: list[Row], data: bytes, cut: int) -> None:
        """No beginning of a delta and no other bytes pass for one, and nothing changes."""
        delta = delta_of(consistent(drawn, self.written), new=VersionVector())
        whole = self.by_batch.pack(delta).encode()
        for wrong in (whole[: cut % len(whole)], whole + data + b"\x00", b"\x02" + data, data):
            with pytest.raises(CrdtError):
                self.by_batch.columns.apply_encoded(wrong, wall_ms=WALL_MS)

    @rule(chosen=st.lists(keys, min_size=1, max_size=30), status=statuses)
    def write_by_hash(self, chosen: list[Key], status: int) -> None:
        """Local statuses, by hashed key; of a key that comes twice the last counts."""
        columns = self.by_batch.columns
        first = Stamp(max(self.my_clock, self.naive.vector[MINE]) + 1)
        self.my_clock = Stamp(first + len(chosen))
        found = columns.find(columns.hasher.hash_many(chosen))
        last = {key: first + place for place, key in enumerate(chosen) if key in self.naive.rows}
        written = [
            self.naive.rows[key]._replace(stamp=Stamp(stamp), origin=MINE, status=status)
            for key, stamp in sorted(last.items(), key=lambda item: item[1])
            if self.naive.rows[key].stamp < stamp
        ]
        assert [row > 0 for row in found] == [key in self.naive.rows for key in chosen]
        new = VersionVector({MINE: Stamp(first + len(chosen) - 1)})
        delta = delta_of(written, new=new)
        self.naive.apply(delta, wall_ms=WALL_MS)
        self.by_row.apply(delta, wall_ms=WALL_MS)
        given = np.full(len(chosen), status, dtype=np.uint8)
        changed = columns.write(found, given, origin=MINE, first_stamp=first)
        assert [columns.entries.row(int(row)) for row in changed] == written
        if status == REMOVED:
            for row in written:
                self.leases.pop(row.key, None)

    @rule(holder=st.sampled_from(HOLDERS[1:]))
    def end_holder(self, holder: str) -> None:
        """All rows of a holder end at once."""
        columns = self.by_batch.columns
        first = Stamp(max(self.my_clock, self.naive.vector[MINE]) + 1)
        held = [
            self.by_batch.columns.entries.row(row)
            for row in sorted(columns.entries.holder_rows(holder))
        ]
        self.my_clock = Stamp(first + len(held))
        ended = [
            row._replace(
                stamp=Stamp(first + place), origin=MINE, status=REMOVED, holder="", value=b"gone"
            )
            for place, row in enumerate(held)
        ]
        delta = delta_of(ended, new=VersionVector({MINE: Stamp(first + len(held) - 1)}))
        if held:
            self.naive.apply(delta, wall_ms=WALL_MS)
            self.by_row.apply(delta, wall_ms=WALL_MS)
        columns.end_holder(holder, origin=MINE, first_stamp=first, value=b"gone")
        for row in held:
            self.leases.pop(row.key, None)

    @rule(before=stamps)
    def drop_tombstones(self, before: Stamp) -> None:
        """Old tombstones are forgotten."""
        old = [key for key, row in self.naive.rows.items() if not row.live and row.stamp < before]
        for key in old:
            self.naive.drop(key)
        assert self.by_row.prune(old) == len(old)
        assert self.by_batch.columns.drop_tombstones(before) == len(old)

    @rule(origin=some_origins)
    def drop_origin(self, origin: Origin) -> None:
        """A dead origin goes, and its component with it."""
        gone = [key for key, row in self.naive.rows.items() if row.origin == origin]
        for key in gone:
            self.naive.drop(key)
            self.leases.pop(key, None)
        self.naive.vector = self.naive.vector.without([origin])
        for presences in (self.by_row, self.by_batch):
            assert presences.columns.drop_origin(origin) == len(gone)
            assert presences.columns.forget_origins([origin]) == [origin]

    @precondition(lambda self: self.naive.rows)
    @rule(chosen=st.lists(keys, max_size=20), until=st.integers(1, 9))
    def lease(self, chosen: list[Key], until: int) -> None:
        """Rows get a lease by handle; handles given out long ago are void or still good."""
        columns = self.by_batch.columns
        found = columns.find(columns.hasher.hash_many(sorted(set(chosen) & set(self.naive.rows))))
        handles = columns.handles(found)
        for key, row, generation in zip(
            sorted(set(chosen) & set(self.naive.rows)),
            handles.rows.tolist(),
            handles.generations.tolist(),
            strict=True,
        ):
            self.handed_out[row, generation] = key
        every = list(self.handed_out)
        asked = Handles(
            np.array([row for row, _ in every], dtype=np.int64),
            np.array([generation for _, generation in every], dtype=np.uint32),
        )
        void = columns.renew(asked, until * TICK_MS).tolist()
        for place, handle in enumerate(every):
            key = self.handed_out[handle]
            row = int(columns.find(columns.hasher.hash_many([key]))[0])
            good = row == handle[0] and int(columns.entries.table.generations[row]) == handle[1]
            assert good == (place not in void)
            if good and self.naive.rows[key].live:
                self.leases[key] = until

    @rule(at=st.integers(0, 10))
    def run_out(self, at: int) -> None:
        """Leases that have run out are found, and no others."""
        columns = self.by_batch.columns
        over = {columns.entries.row(row).key for row in columns.run_out(at * TICK_MS).tolist()}
        alive = {key for key in self.leases if self.naive.rows[key].live}
        # A tombstone that was renewed and then written over lives by that lease.
        assert {key for key in alive if self.leases[key] <= at} <= over
        assert all(self.naive.rows[key].live for key in over)

    @rule()
    def remember_position(self) -> None:
        """Somebody reads the log up to here."""
        assert self.by_row.log_position == self.naive.position
        self.positions.append(self.naive.position)

    @rule(seen=vectors, which=st.integers(0, 50), limit=st.sampled_from([1, 3, 1000]))
    def read_the_log(self, seen: VersionVector, which: int, limit: int) -> None:
        """What changed since some position, in parts, is the same everywhere."""
        after = self.positions[which % len(self.positions)]
        expected = self.naive.missing(seen, after=after)
        for read in (self.by_row.missing, self.packed_missing):
            taken: list[Row] = []
            position, complete = after, False
            while not complete:
                part, position, complete = read(seen, after=position, limit=limit)
                taken.extend(part)
            assert taken == expected
            assert position == self.naive.position

    def packed_missing(
        self, seen: VersionVector, *, after: int, limit: int
    ) -> tuple[list[Row], int, bool]:
        """The rows that a packed answer stands for; full keys may be left out of old entries."""
        columns = self.by_batch.columns
        packed, position, complete = columns.missing(seen, after=after, limit=limit)
        numbers = columns.find(packed.keys)
        found = [columns.entries.row(int(row)) for row in numbers]
        ids = [None] * len(found) if packed.ids is None else packed.ids.tolist()
        for row, key in zip(found, ids, strict=True):
            assert key in (None, row.key)
        if after == 0:
            assert ids == [row.key for row in found]
        assert packed.stamps.tolist() == [row.stamp for row in found]
        return found, position, complete

    @invariant()
    def all_say_the_same(self) -> None:
        """Rows, counts, vector, topics, holders and the log."""
        every = sorted(self.naive.rows.values())
        live = [row for row in every if row.live]
        for presences in (self.by_row, self.by_batch):
            assert list(presences.all_rows()) == every
            assert presences.vector == self.naive.vector
            assert (len(presences), presences.rows_total) == (len(live), len(every))
            assert presences.log_position == self.naive.position
            for topic in ("room:0", "room:6", "room:7"):
                assert list(presences.topic_rows(topic)) == [
                    row for row in live if row.key[0] == topic
                ]
            for holder in HOLDERS[1:]:
                assert list(presences.holder_rows(holder)) == [
                    row for row in live if row.holder == holder
                ]
            for key in KEYS[::9]:
                assert presences.get(key) == self.naive.rows.get(key)


TestMapsInStep = MapsInStep.TestCase
TestMapsInStep.settings = settings(
    max_examples=max(settings().max_examples // 2, 60), stateful_step_count=40
)
TestMapsInStep.__doc__ = "Any run of the machine keeps the three maps equal."
