"""A worker: the replicas of several shards in one process, behind one door."""

from __future__ import annotations

import msgspec
import pytest

from crdt import PackedDelta, Rows
from presence_actors.config import Knobs
from presence_actors.core.effects import Dial, Report, Send
from presence_actors.core.events import (
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    PeerLinked,
    Worker,
    WorkerEvent,
)
from presence_actors.core.ids import NodeId, ShardId, Topic, ZoneId, name_of
from presence_actors.core.limits import PASSED_ON_BYTES_PER_SECOND_MAX
from presence_actors.core.messages import (
    Attach,
    Attached,
    Beat,
    BeatAck,
    Broadcasts,
    Detached,
    GossipAck,
    GossipDelta,
    GossipPromise,
    PeerMessage,
    Said,
    Segment,
    ZoneReport,
)
from presence_actors.core.placement import replicas_of
from presence_actors.core.worker import WorkerMachine
from presence_actors.errors import InvariantBroken
from tests.unit.core.building import G0, HASHER, NOTHING, W0, W1, W2, at, entry, stamp, unstamped

KNOBS = Knobs()
SHARDS = 4
ALL = [ShardId(shard) for shard in range(SHARDS)]
EMPTY = Rows.of([])


def cluster(*nodes: NodeId) -> ClusterChanged:
    """The cluster has these workers, each on a host of its own."""
    return ClusterChanged([Worker(name_of(node), f"host of {node}") for node in nodes])


def worker(*, replicas: int = 1, first: bool = True) -> WorkerMachine:
    """The worker W0, before it knows of the cluster."""
    return WorkerMachine(
        W0,
        shards=SHARDS,
        replicas=replicas,
        knobs=KNOBS,
        hasher=HASHER,
        first=first,
        now=at(0),
    )


def alone(*, first: bool = True) -> WorkerMachine:
    """The worker W0 with all shards, in a cluster of its own."""
    machine = worker(first=first)
    machine.handle(cluster(W0), at(0))
    return machine


def hear(
    machine: WorkerMachine, sender: NodeId, *messages: PeerMessage, now: int = 0
) -> list[Send]:
    """What the worker does about a frame."""
    sends = act(machine, MessagesReceived(sender, list(messages)), now)
    machine.check()
    return sends


def act(machine: WorkerMachine, event: WorkerEvent, now: int = 0) -> list[Send]:
    """What the worker sends; there is no other zone, so that it dials nobody."""
    effects = machine.handle(event, at(now))
    sends = [effect for effect in effects if isinstance(effect, Send)]
    assert sends == effects
    return sends


def attach(shard: ShardId, number: int = 1, *, rows: Rows = EMPTY) -> Attach:
    """G0 attaches."""
    return Attach(shard, G0, number, rows, [], (NOTHING, NOTHING))


def greeting(shard: ShardId, *, transfer: int = 0) -> GossipDelta:
    """W1 greets the replica of a shard."""
    return GossipDelta(
        shard=shard,
        sender=W1,
        receiver=None,
        map=0,
        delta=PackedDelta.nothing(stamp(0)),
        transfer=transfer,
        seen=NOTHING,
        ready=True,
        holders=[],
    )


def test_a_worker_without_a_cluster_has_nothing_to_wait_for() -> None:
    """It has no replica, and none that anybody could ask."""
    machine = worker()
    assert machine.deadline() is None
    assert machine.inspect().replicas == []
    assert machine.node == W0
    assert machine.replica(ShardId(0)) is None


def test_a_worker_has_exactly_the_shards_that_are_placed_on_it() -> None:
    """All workers of a cluster compute the same places."""
    event = cluster(W0, W1, W2)
    machine = worker()
    machine.handle(event, at(0))
    mine = [shard for shard in ALL if name_of(W0) in replicas_of(shard, event.workers, replicas=1)]
    assert 0 < len(mine) < SHARDS
    assert [view.shard for view in machine.inspect().replicas] == mine
    assert [machine.replica(shard) is not None for shard in ALL] == [shard in mine for shard in ALL]


def test_a_shard_that_stays_keeps_its_replica() -> None:
    """A change of the cluster does not empty anything."""
    machine = alone()
    before = machine.replica(ALL[0])
    machine.handle(cluster(W0), at(5))
    assert machine.replica(ALL[0]) is before


def test_the_first_workers_of_a_cluster_may_vouch_and_later_replicas_may_not() -> None:
    """A shard that moves here later has to synchronise like any newcomer."""
    machine = worker()
    machine.handle(cluster(W0, W1, W2), at(0))
    first = [view.shard for view in machine.inspect().replicas]
    assert machine.inspect().ready
    machine.handle(cluster(W0), at(5))
    view = machine.inspect()
    assert not view.ready
    assert [one.shard for one in view.replicas if one.ready] == first
    assert len(view.replicas) == SHARDS


def test_a_beat_is_answered_with_the_life_and_the_shards_that_may_vouch() -> None:
    """Whatever is attached."""
    assert hear(alone(), G0, Beat(G0, W0, {})) == [Send(name_of(G0), [BeatAck(W0, ALL)])]
    assert hear(alone(first=False), G0, Beat(G0, W0, {})) == [Send(name_of(G0), [BeatAck(W0, [])])]


def test_a_beat_reaches_each_replica_that_it_names() -> None:
    """One that does not know the attachment says so, in the frame of the answer."""
    machine = alone()
    (sent,) = hear(machine, G0, Beat(G0, W0, {ALL[0]: 1, ALL[2]: 3, ShardId(99): 1}))
    assert sent == Send(
        name_of(G0),
        [BeatAck(W0, ALL), Detached(ALL[0], W0, G0, 1), Detached(ALL[2], W0, G0, 3)],
    )


def test_each_message_reaches_the_replica_of_its_shard() -> None:
    """All that they send to one node in one turn goes in one frame, in order."""
    machine = alone()
    rows = Rows.of([unstamped(entry())])
    sends = hear(machine, G0, attach(ALL[1], rows=rows), attach(ALL[3]))
    assert sends == [Send(name_of(G0), [Attached(ALL[1], W0, G0, 1), Attached(ALL[3], W0, G0, 1)])]
    assert [view.entries for view in machine.inspect().replicas] == [0, 1, 0, 0]


def test_a_gateway_that_speaks_to_a_shard_that_is_not_here_is_told_so() -> None:
    """It attaches elsewhere then."""
    far = ShardId(99)
    sends = hear(alone(), G0, attach(far, 4), Segment(far, G0, W0, 5, 1, 0, None))
    assert sends == [Send(name_of(G0), [Detached(far, W0, G0, 4), Detached(far, W0, G0, 5)])]


def test_gossip_of_a_shard_that_is_not_here_is_passed_over() -> None:
    """The peer has another picture of the cluster; that will pass."""
    far = ShardId(99)
    answer = GossipAck(far, W1, W0, 0, 1, accepted=True, seen=NOTHING)
    assert hear(alone(), W1, greeting(far, transfer=1), answer) == []


def test_messages_for_a_gateway_do_no_harm() -> None:
    """A frame may have gone astray."""
    assert hear(alone(), W1, BeatAck(W1, ALL), Attached(ALL[0], W1, G0, 1)) == []


def test_what_one_replica_has_to_say_goes_out_at_its_deadline_and_once() -> None:
    """One of thousands of shards has something to flush; the others say nothing."""
    machine = alone()
    hear(machine, G0, attach(ALL[2]), now=10)
    due = 10 + KNOBS.flush_ms
    assert machine.deadline() == due
    (sent,) = act(machine, DeadlineReached(), due)
    assert [message.shard for message in sent.messages if isinstance(message, Segment)] == [ALL[2]]
    assert machine.handle(DeadlineReached(), at(due)) == []
    assert machine.deadline() == KNOBS.gossip_idle_ms


def test_greetings_of_all_shards_to_one_peer_go_in_one_frame() -> None:
    """However many shards two workers share."""
    machine = worker(replicas=2)
    (sent,) = act(machine, cluster(W0, W1))
    assert sent.to == name_of(W1)
    assert [
        (message.shard, message.receiver)
        for message in sent.messages
        if isinstance(message, GossipPromise)
    ] == [(shard, None) for shard in ALL]


def test_a_replica_that_finds_itself_wrong_is_found_by_its_worker() -> None:
    """The process ends then, and a new life takes its place."""
    machine = alone()
    hear(machine, G0, attach(ALL[0], rows=Rows.of([unstamped(entry())])))
    replica = machine.replica(ALL[0])
    assert replica is not None
    replica._store._live_by_origin.clear()
    with pytest.raises(InvariantBroken):
        machine.check()


# Other zones.

FAR = NodeId("b/w0/01")
OF_B = ZoneReport(ZoneId("b"), 3, [Worker(name_of(FAR), "far host", ("127.0.0.1", 7))])


def test_two_workers_that_are_linked_tell_each_other_which_zones_they_know() -> None:
    """Everything: the other one may be a new life, or of a zone that has just come."""
    machine = worker()
    machine.handle(cluster(W0, W1), at(0))
    machine.handle(MessagesReceived(FAR, [OF_B]), at(0))
    (sent,) = act(machine, PeerLinked(W1))
    assert sent.to == name_of(W1)
    assert [message.zone for message in sent.messages if isinstance(message, ZoneReport)] == [
        "a",
        "b",
    ]


def test_news_of_a_zone_are_passed_on_and_its_workers_are_dialled() -> None:
    """Once: what is known already is neither passed on nor dialled again."""
    machine = worker()
    machine.handle(cluster(W0, W1), at(0))
    effects = machine.handle(MessagesReceived(FAR, [OF_B]), at(0))
    assert Send(name_of(W1), [OF_B]) in effects
    assert effects[-1] == Dial({name_of(FAR): ("127.0.0.1", 7)})
    assert hear(machine, W1, OF_B) == []


def test_a_worker_greets_the_replicas_of_another_zone() -> None:
    """They are replicas of the same shards."""
    machine = alone()
    effects = machine.handle(MessagesReceived(FAR, [OF_B]), at(0))
    effects += machine.handle(DeadlineReached(), at(KNOBS.gossip_idle_ms))
    greeted = {
        message.shard
        for effect in effects
        if isinstance(effect, Send) and effect.to == name_of(FAR)
        for message in effect.messages
        if isinstance(message, GossipPromise)
    }
    assert greeted == set(ALL)


def test_the_workers_of_a_retired_zone_are_dialled_no_more() -> None:
    """Until it is restored."""
    machine = alone()
    machine.handle(MessagesReceived(FAR, [OF_B]), at(0))
    retired = msgspec.structs.replace(cluster(W0), version=1, retired=[ZoneId("b")])
    assert machine.handle(retired, at(1))[-1] == Dial({})
    restored = msgspec.structs.replace(cluster(W0), version=2)
    assert machine.handle(restored, at(2))[-1] == Dial({name_of(FAR): ("127.0.0.1", 7)})


def test_what_a_replica_reports_goes_on_to_the_operator() -> None:
    """Behind what is to be sent."""
    machine = worker(replicas=2)
    machine.handle(cluster(W0, W1), at(0))
    far_ahead = msgspec.structs.replace(
        greeting(ShardId(0)), delta=PackedDelta.nothing(stamp(1_000_000))
    )
    shard = next(shard for shard in ALL if machine.replica(shard) is not None)
    message = msgspec.structs.replace(far_ahead, shard=shard)
    *sends, report = machine.handle(MessagesReceived(W1, [message]), at(0))
    assert all(isinstance(effect, Send) for effect in sends)
    assert isinstance(report, Report)
    assert (report.event, report.peer) == ("DeltaRefused", W1)
    assert "synchronise the clocks" in report.reason


def test_what_clients_say_takes_no_more_than_its_part_of_a_link() -> None:
    """Beyond it is dropped; a second later there is room again. Presence goes in any case."""
    machine = worker(replicas=2)
    machine.handle(cluster(W0, W1), at(0))
    hear(machine, G0, attach(ALL[0]))
    large = Broadcasts(ALL[0], [Said(Topic("default/room:a"), "e", b"x" * 65_536)])

    def passed_on(now: int) -> int:
        effects = machine.handle(MessagesReceived(G0, [large] * 200), at(now))
        return sum(
            isinstance(message, Broadcasts)
            for effect in effects
            if isinstance(effect, Send) and effect.to == name_of(W1)
            for message in effect.messages
        )

    most = PASSED_ON_BYTES_PER_SECOND_MAX // 65_536
    assert most * 0.9 < passed_on(1) <= most
    assert passed_on(1) == 0
    assert most * 0.9 < passed_on(1_001) <= most
