"""Replicas of the map against a naive model that keeps all history.

Three replicas with skewed and jumping clocks write, remove, promise, restart without memory, and
exchange deltas: by the change log since what the peer acknowledged, or is hoped to have got, or
beyond a vector that the peer told; whole or in parts.  Messages are lost, doubled and overtaken,
and rows reach third replicas through any other.  The model remembers every row that reached every
replica.

What must hold after each step:

- a replica holds of every key the greatest row that was ever delivered to it;
- whatever write a replica's vector covers, it holds that or a greater one;
- replicas with equal vectors hold equal rows wherever the vectors cover them;
- the indexes say what a scan of all rows says;

and after a quiet exchange: all replicas are equal, and none has lost a row that one of them held.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crdt import (
    REMOVED,
    BaseNotSeen,
    Delta,
    HybridClock,
    Key,
    LWWMap,
    Origin,
    Row,
    Stamp,
    VersionVector,
    pack_epoch,
)
from tests.strategies import KEYS, epochs, holders, statuses, values

#: The greatest difference of any two clocks, so half of it to either side.
DRIFT_MS_MAX = 100
REPLICA_COUNT = 3
#: "b" comes first, so that the order of replicas is not the order of origins.
ZONES = ("b", "a", "c")
START_MS = 10_000

replica_indices = st.integers(0, REPLICA_COUNT - 1)
places = st.integers(0, 20)
hot_keys = st.sampled_from(KEYS[:3])
limits = st.sampled_from((1, 2, None))
offsets_ms = st.integers(-DRIFT_MS_MAX // 2, DRIFT_MS_MAX // 2)


@dataclass
class Replica:
    """One life of a replica, and what the model knows of it."""

    origin: Origin
    offset_ms: int
    clock: HybridClock
    map: LWWMap
    #: {key: the greatest row that ever reached this life}.
    model: dict[Key, Row] = field(default_factory=dict)
    #: Every vector that this life has had: what somebody may have been told, late or not.
    vectors: list[VersionVector] = field(default_factory=lambda: [VersionVector()])
    #: {origin of a peer: every (vector, log position) that it has acknowledged}.
    acknowledged: dict[Origin, list[tuple[VersionVector, int]]] = field(default_factory=dict)
    #: {origin of a peer: (vector, log position) when a transfer to it began}.  Nobody knows whether
    #: it arrived; if not, and the peer has not seen as much through others, it refuses the next.
    hoped: dict[Origin, tuple[VersionVector, int]] = field(default_factory=dict)
    #: {number of a transfer: parts applied}.
    parts_applied: dict[int, int] = field(default_factory=dict)


@dataclass
class Transfer:
    """A delta on its way in parts, towards a vector fixed at its start."""

    number: int
    sender: int
    sender_origin: Origin
    receiver: int
    receiver_origin: Origin
    base: VersionVector
    target: VersionVector
    position: int
    part_count: int = 0


@dataclass(frozen=True)
class Part:
    """One part of a transfer, under way."""

    transfer: Transfer
    index: int
    delta: Delta
    position: int
    last: bool


class ReplicasOfTheMap(RuleBasedStateMachine):
    """The machine that Hypothesis drives."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = START_MS
        self.replicas: list[Replica] = []
        self.transfers: list[Transfer] = []
        self.transfer_count = 0
        self.under_way: list[Part] = []
        self.applied_since_restart = 0
        #: All that was ever written, by its name.
        self.written: dict[tuple[Origin, Stamp], Row] = {}

    # What happens.

    @initialize(offsets=st.tuples(*[offsets_ms] * REPLICA_COUNT))
    def start(self, offsets: tuple[int, ...]) -> None:
        """All replicas start."""
        self.replicas = [
            self.born(ZONES[index], 1, offsets[index]) for index in range(REPLICA_COUNT)
        ]

    def born(self, zone: str, incarnation: int, offset_ms: int) -> Replica:
        """A new life, without memory."""
        return Replica(
            origin=Origin(f"{zone}/w1/{incarnation}"),
            offset_ms=offset_ms,
            clock=HybridClock(drift_ms_max=DRIFT_MS_MAX),
            map=LWWMap(drift_ms_max=DRIFT_MS_MAX),
        )

    @rule(ms=st.integers(1, 200), index=replica_indices, offset_ms=offsets_ms)
    def time_passes(self, ms: int, index: int, offset_ms: int) -> None:
        """The clocks go on together, and one of them jumps, within the bound."""
        self.now_ms += ms
        self.replicas[index].offset_ms = offset_ms

    @rule(
        index=replica_indices,
        entries=st.lists(
            st.tuples(hot_keys, epochs, statuses, holders, values), min_size=1, max_size=3
        ),
    )
    def write(self, index: int, entries: list[tuple[Key, int, int, str, bytes]]) -> None:
        """A replica writes entries with any epochs; the same key may come twice."""
        self.put(index, entries)

    @rule(index=replica_indices, key=hot_keys, status=statuses)
    def write_seen(self, index: int, key: Key, status: int) -> None:
        """Who writes with the epoch of what it sees wins over what it sees, whatever the clocks."""
        held = self.replicas[index].map.get(key)
        epoch = held.epoch if held is not None else pack_epoch(0, 0)
        self.put(index, [(key, epoch, status, "gateway-1", b"")])
        row = self.replicas[index].map.get(key)
        assert row is not None
        assert row.origin == self.replicas[index].origin
        assert row.status == status

    def put(self, index: int, entries: list[tuple[Key, int, int, str, bytes]]) -> None:
        """Write by the road that all deltas take."""
        replica = self.replicas[index]
        stamps = replica.clock.tick_many(self.wall_ms(index), len(entries))
        delta = replica.map.put(
            keys=[entry[0] for entry in entries],
            epochs=[entry[1] for entry in entries],
            statuses=[entry[2] for entry in entries],
            holders=[entry[3] for entry in entries],
            values=[entry[4] for entry in entries],
            origin=replica.origin,
            stamps=stamps,
        )
        for row in delta.rows:
            self.written[row.origin, row.stamp] = row
        self.apply(index, delta)

    @rule(index=replica_indices)
    def promise(self, index: int) -> None:
        """An idle replica moves its own component."""
        replica = self.replicas[index]
        stamp = replica.clock.promise(self.wall_ms(index))
        self.apply(index, replica.map.promise(replica.origin, stamp))

    @precondition(lambda self: self.applied_since_restart >= 4)
    @rule(index=replica_indices)
    def restart(self, index: int) -> None:
        """A replica loses all memory and comes back as a new origin."""
        self.applied_since_restart = 0
        zone, _, incarnation = self.replicas[index].origin.split("/")
        self.replicas[index] = self.born(zone, int(incarnation) + 1, self.replicas[index].offset_ms)

    @rule(
        sender=replica_indices,
        step=st.integers(1, REPLICA_COUNT - 1),
        basis=st.sampled_from(("acknowledged", "hoped", "told")),
        age=st.integers(0, 3),
        limit=limits,
        part_count=st.integers(1, 3),
    )
    def send(
        self, sender: int, step: int, *, basis: str, age: int, limit: int | None, part_count: int
    ) -> None:
        """A replica starts to send another one what that one lacks, as far as it was told."""
        replica = self.replicas[sender]
        receiver = (sender + step) % REPLICA_COUNT
        origin = self.replicas[receiver].origin
        if basis == "acknowledged":
            known = replica.acknowledged.get(origin, [(VersionVector(), 0)])
            base, position = known[-1 - age % len(known)]
        elif basis == "hoped":
            base, position = replica.hoped.get(origin, (VersionVector(), 0))
        else:
            vectors = self.replicas[receiver].vectors
            base, position = vectors[-1 - age % len(vectors)], 0
        replica.hoped[origin] = (replica.map.vector, replica.map.log_position)
        self.transfer_count += 1
        self.transfers.append(
            Transfer(
                number=self.transfer_count,
                sender=sender,
                sender_origin=replica.origin,
                receiver=receiver,
                receiver_origin=origin,
                base=base,
                target=replica.map.vector,
                position=position,
            )
        )
        for _ in range(part_count):
            if self.transfers and self.transfers[-1].number == self.transfer_count:
                self.send_part(self.transfers[-1], limit)

    @precondition(lambda self: self.transfers)
    @rule(place=places, limit=limits)
    def send_on(self, place: int, limit: int | None) -> None:
        """A transfer goes on, though the sender may know more than at its start."""
        self.send_part(self.transfers[place % len(self.transfers)], limit)

    def send_part(self, transfer: Transfer, limit: int | None) -> None:
        """The next part of a transfer goes under way; only the last claims the target."""
        replica = self.replicas[transfer.sender]
        if replica.origin != transfer.sender_origin:
            self.transfers.remove(transfer)  # The sender has restarted since.
            return
        part_rows, position, complete = replica.map.missing(
            transfer.base, after=transfer.position, limit=limit
        )
        delta = Delta(
            base=transfer.base,
            new=transfer.target if complete else transfer.base,
            rows=part_rows,
            clock=replica.clock.last,
        )
        self.under_way.append(Part(transfer, transfer.part_count, delta, position, complete))
        transfer.position = position
        transfer.part_count += 1
        if complete:
            self.transfers.remove(transfer)

    @precondition(lambda self: self.under_way)
    @rule(chosen=st.lists(places, min_size=1, max_size=4), again=st.booleans())
    def deliver(self, chosen: list[int], *, again: bool) -> None:
        """Messages arrive, early or late, and may arrive again."""
        for place in chosen:
            if self.under_way:
                part = self.under_way[place % len(self.under_way)]
                if not again:
                    self.under_way.remove(part)
                self.on_part(part)

    @precondition(lambda self: self.under_way)
    @rule()
    def deliver_all(self) -> None:
        """All that is under way arrives in the order in which it was sent."""
        under_way, self.under_way = self.under_way, []
        for part in under_way:
            self.on_part(part)

    @precondition(lambda self: self.under_way)
    @rule(place=places)
    def lose(self, place: int) -> None:
        """A message is lost."""
        del self.under_way[place % len(self.under_way)]

    def on_part(self, part: Part) -> None:
        """A part arrives; the link takes parts of a transfer in their order only."""
        transfer = part.transfer
        replica = self.replicas[transfer.receiver]
        applied = replica.parts_applied.get(transfer.number, 0)
        # What was meant for an earlier life does no harm, unless it is a later part of something.
        if part.index > applied:
            return
        held = replica.map.digest(), replica.map.vector
        try:
            self.apply(transfer.receiver, part.delta)
        except BaseNotSeen:
            assert (replica.map.digest(), replica.map.vector) == held
            return
        self.applied_since_restart += 1
        replica.parts_applied[transfer.number] = max(applied, part.index + 1)
        sender = self.replicas[transfer.sender]
        if (
            part.last
            and replica.origin == transfer.receiver_origin
            and sender.origin == transfer.sender_origin
        ):
            # The order of these is the order of arrival; a sender uses old ones, too.
            sender.acknowledged.setdefault(replica.origin, [(VersionVector(), 0)]).append(
                (part.delta.new, part.position)
            )

    def apply(self, index: int, delta: Delta) -> None:
        """The replica merges a delta, and so does the model; the changes are those of the model."""
        replica = self.replicas[index]
        replica.clock.observe(delta.clock, self.wall_ms(index))
        before = {row.key: row for row in replica.map.all_rows()}
        changes = replica.map.apply(delta, wall_ms=self.wall_ms(index))
        replica.vectors.append(replica.map.vector)
        for row in delta.rows:
            held = replica.model.get(row.key)
            if held is None or held.order < row.order:
                replica.model[row.key] = row
        changed = {key: row for key, row in replica.model.items() if before.get(key) != row}
        assert {row.key: row for row in changes.rows} == changed
        assert changes.previous == [before.get(row.key) for row in changes.rows]
        for lost, winner in zip(changes.lost, changes.winners, strict=True):
            assert lost.key == winner.key
            assert lost.order < winner.order
            assert winner == before[winner.key]
        assert len(replica.map.apply(delta, wall_ms=self.wall_ms(index))) == 0

    def wall_ms(self, index: int) -> int:
        """What the wall clock of a replica says."""
        return self.now_ms + self.replicas[index].offset_ms

    # What must hold.

    @invariant()
    def the_map_is_the_model(self) -> None:
        """A map's row is the greatest of all that was delivered."""
        for replica in self.replicas:
            assert {row.key: row for row in replica.map.all_rows()} == replica.model

    @invariant()
    def what_is_covered_is_held(self) -> None:
        """A covered write is held, or something greater in its place; and nothing is made up."""
        for replica in self.replicas:
            for (origin, stamp), row in self.written.items():
                if replica.map.vector.covers(origin, stamp):
                    held = replica.map.get(row.key)
                    assert held is not None
                    assert held.order >= row.order
            for row in replica.map.all_rows():
                assert self.written[row.origin, row.stamp] == row

    @invariant()
    def equal_vectors_mean_equal_covered_rows(self) -> None:
        """What both vectors cover is the same in both maps."""
        for left in self.replicas:
            for right in self.replicas:
                if left.map.vector != right.map.vector:
                    continue
                for key in KEYS:
                    one, other = left.map.get(key), right.map.get(key)
                    if one is None or not left.map.vector.covers(one.origin, one.stamp):
                        continue
                    assert other is not None
                    if left.map.vector.covers(other.origin, other.stamp):
                        assert one == other
                    else:
                        assert one.order < other.order

    @invariant()
    def indexes_say_what_a_scan_says(self) -> None:
        """Counts, topics, holders and the log agree with the rows."""
        for replica in self.replicas:
            every = list(replica.map.all_rows())
            live = [row for row in every if row.status != REMOVED]
            assert (len(replica.map), replica.map.rows_total) == (len(live), len(every))
            assert list(replica.map.live_rows()) == live
            for topic in {key[0] for key in KEYS}:
                assert list(replica.map.topic_rows(topic)) == [
                    row for row in live if row.key[0] == topic
                ]
                assert list(replica.map.topic_rows(topic, beyond=VersionVector())) == [
                    row for row in every if row.key[0] == topic
                ]
            for holder in ("gateway-1", "gateway-2"):
                assert list(replica.map.holder_rows(holder)) == [
                    row for row in live if row.holder == holder
                ]
            logged, position, complete = replica.map.missing(VersionVector())
            assert sorted(logged) == every
            assert (position, complete) == (replica.map.log_position, True)

    def teardown(self) -> None:
        """After a quiet exchange all are equal, and nothing that anybody held is lost."""
        if not self.replicas:
            return
        greatest: dict[Key, Row] = {}
        for replica in self.replicas:
            for row in replica.map.all_rows():
                held = greatest.get(row.key)
                if held is None or held.order < row.order:
                    greatest[row.key] = row
        # A ring, twice: what the last one knows comes round to the one before it.
        for sender in [*range(REPLICA_COUNT)] * 2:
            receiver = (sender + 1) % REPLICA_COUNT
            seen = self.replicas[receiver].map.vector
            source = self.replicas[sender]
            lacking, _, _ = source.map.missing(seen)
            self.apply(receiver, Delta(seen, source.map.vector, lacking, source.clock.last))
        for replica in self.replicas:
            assert {row.key: row for row in replica.map.all_rows()} == greatest
            assert replica.map.vector == self.replicas[0].map.vector
            assert replica.map.digest() == self.replicas[0].map.digest()


TestReplicasOfTheMap = ReplicasOfTheMap.TestCase
# More of either than usual, since little happens in a short run; the soak profile asks for more.
TestReplicasOfTheMap.settings = settings(
    max_examples=max(settings().max_examples, 200), stateful_step_count=60
)
TestReplicasOfTheMap.__doc__ = "Any run of the machine keeps what the module says must hold."
