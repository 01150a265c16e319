"""Any loss, doubling and overtaking of messages; then quiet, and all are equal.

The exchange here is the plainest that can work: each tells its vector now and then, and sends to
each what that one lacked when it last told.
"""

from dataclasses import dataclass, field

from hypothesis import given

from crdt import BaseNotSeen, Delta, HybridClock, LWWMap, Origin, Row, VersionVector
from tests.strategies import Deliver, Lose, Send, Step, Tell, Write, schedules

DRIFT_MS_MAX = 500
REPLICA_COUNT = 3
#: One clock is ahead of the others by all that is allowed.
WALLS_MS = (1_000, 1_500, 1_000)


@dataclass
class Replica:
    """A map, its clock, and the vectors that others have told."""

    origin: Origin
    wall_ms: int
    clock: HybridClock = field(default_factory=lambda: HybridClock(drift_ms_max=DRIFT_MS_MAX))
    map: LWWMap = field(default_factory=lambda: LWWMap(drift_ms_max=DRIFT_MS_MAX))
    told: dict[int, VersionVector] = field(default_factory=dict)

    def receive(self, delta: Delta) -> None:
        """Take a delta, or leave it whole if its base has not been seen."""
        self.clock.observe(delta.clock, self.wall_ms)
        try:
            self.map.apply(delta, wall_ms=self.wall_ms)
        except BaseNotSeen:
            return

    def delta_beyond(self, seen: VersionVector) -> Delta:
        """What somebody lacks who has seen ``seen``."""
        lacking, _, _ = self.map.missing(seen)
        return Delta(seen, self.map.vector, lacking, self.clock.last)


class Exchange:
    """Replicas, and the messages between them."""

    def __init__(self) -> None:
        self.replicas = [
            Replica(Origin(name), wall_ms)
            for name, wall_ms in zip(("b", "a", "c"), WALLS_MS, strict=True)
        ]
        self.under_way: list[tuple[int, int, Delta | VersionVector]] = []
        self.written: list[Row] = []

    def take(self, step: Step) -> None:
        """One step of a schedule."""
        match step:
            case Write():
                self.write(step)
            case Tell(sender, receiver):
                self.under_way.append((sender, receiver, self.replicas[sender].map.vector))
            case Send(sender, receiver):
                replica = self.replicas[sender]
                delta = replica.delta_beyond(replica.told.get(receiver, VersionVector()))
                self.under_way.append((sender, receiver, delta))
            case Deliver(place, again):
                if self.under_way:
                    place %= len(self.under_way)
                    self.deliver(*self.under_way[place])
                    if not again:
                        del self.under_way[place]
            case Lose(place):
                if self.under_way:
                    del self.under_way[place % len(self.under_way)]

    def write(self, step: Write) -> None:
        """A replica writes one entry."""
        replica = self.replicas[step.replica]
        delta = replica.map.put(
            keys=[step.key],
            epochs=[step.epoch],
            statuses=[step.status],
            holders=["gateway-1"],
            values=[b""],
            origin=replica.origin,
            stamps=[replica.clock.tick(replica.wall_ms)],
        )
        self.written.extend(delta.rows)
        replica.receive(delta)

    def deliver(self, sender: int, receiver: int, message: Delta | VersionVector) -> None:
        """A message arrives."""
        if isinstance(message, VersionVector):
            self.replicas[receiver].told[sender] = message
        else:
            self.replicas[receiver].receive(Delta.decode(message.encode()))

    def quiet(self) -> None:
        """Each pair exchanges what it lacks, as often as it takes for news to cross the ring."""
        for _ in range(REPLICA_COUNT - 1):
            for sender in range(REPLICA_COUNT):
                for receiver in range(REPLICA_COUNT):
                    if sender != receiver:
                        self.take(Tell(receiver, sender))
                        self.take(Deliver(len(self.under_way) - 1, again=False))
                        self.take(Send(sender, receiver))
                        self.take(Deliver(len(self.under_way) - 1, again=False))


@given(schedule=schedules(REPLICA_COUNT))
def test_after_a_quiet_exchange_all_replicas_hold_the_greatest_rows(schedule: list[Step]) -> None:
    """Whatever was lost, doubled or late before, all end with the greatest row of each key."""
    exchange = Exchange()
    for step in schedule:
        exchange.take(step)
    exchange.quiet()
    greatest: dict[object, Row] = {}
    for row in sorted(exchange.written, key=lambda row: row.order):
        greatest[row.key] = row
    for replica in exchange.replicas:
        assert {row.key: row for row in replica.map.all_rows()} == greatest
        assert replica.map.vector == exchange.replicas[0].map.vector
        assert replica.map.state().encode() == exchange.replicas[0].map.state().encode()


@given(schedule=schedules(REPLICA_COUNT))
def test_late_messages_change_nothing_after_a_quiet_exchange(schedule: list[Step]) -> None:
    """What is still under way when all are equal, leaves all equal, and removals removed."""
    exchange = Exchange()
    for step in schedule:
        exchange.take(step)
    late = list(exchange.under_way)
    exchange.quiet()
    digests = [replica.map.digest() for replica in exchange.replicas]
    for message in [*late, *reversed(late)]:
        exchange.deliver(*message)
    assert [replica.map.digest() for replica in exchange.replicas] == digests


@given(schedule=schedules(REPLICA_COUNT))
def test_two_runs_of_one_schedule_are_equal_to_the_byte(schedule: list[Step]) -> None:
    """Nothing depends on the order of a hash or on an identity."""
    first, second = Exchange(), Exchange()
    for step in schedule:
        first.take(step)
        second.take(step)
    for one, other in zip(first.replicas, second.replicas, strict=True):
        assert one.map.missing(VersionVector()) == other.map.missing(VersionVector())
        assert one.map.state().encode() == other.map.state().encode()
