"""Where things go, by a stable hash."""

from __future__ import annotations

from collections import Counter

import pytest

from presence_actors.core.events import Worker
from presence_actors.core.ids import NodeName, ShardId, Topic
from presence_actors.core.placement import rank, replicas_of, shard_of


def workers(count: int, *, hosts: int | None = None) -> list[Worker]:
    """So many workers, each on a host of its own unless said otherwise."""
    return [
        Worker(NodeName(f"a/w{index}"), f"host {index % (hosts or count)}")
        for index in range(count)
    ]


def shards(count: int) -> list[ShardId]:
    """All shards."""
    return [ShardId(index) for index in range(count)]


@pytest.mark.parametrize(
    ("topic", "shard"),
    [("default/room:lobby", 8), ("dev/user:alice", 2), ("dev/user:é", 5), ("", 4)],
)
def test_a_topic_stays_in_its_shard_for_ever(topic: str, shard: int) -> None:
    """Found once: other numbers would lose what is there while releases change."""
    assert shard_of(Topic(topic), shards=16) == shard


def test_topics_spread_over_all_shards() -> None:
    """No shard has more than twice its part of ten thousand users."""
    counts = Counter(shard_of(Topic(f"dev/user:{n}"), shards=16) for n in range(10_000))
    assert len(counts) == 16
    assert max(counts.values()) < 2 * 10_000 / 16


def test_a_seed_and_a_name_have_one_rank() -> None:
    """Two processes choose alike without asking each other."""
    name = NodeName("a/w0")
    assert rank("1", name) == rank("1", name) != rank("2", name)


@pytest.mark.parametrize("shard", shards(8))
def test_the_order_in_which_workers_are_named_changes_no_place(shard: ShardId) -> None:
    """The supervisor may list them as it likes."""
    named = workers(5)
    assert replicas_of(shard, named, replicas=3) == replicas_of(shard, named[::-1], replicas=3)


def test_replicas_of_a_shard_are_on_different_hosts_while_there_are_enough() -> None:
    """The loss of one machine takes one replica."""
    named = workers(6, hosts=3)
    host_of = {worker.name: worker.host for worker in named}
    for shard in shards(32):
        places = replicas_of(shard, named, replicas=3)
        assert len({host_of[name] for name in places}) == 3


def test_a_host_gets_a_second_replica_only_where_hosts_are_too_few() -> None:
    """Each host has one first, and nobody holds two."""
    named = workers(4, hosts=2)
    host_of = {worker.name: worker.host for worker in named}
    for shard in shards(32):
        places = replicas_of(shard, named, replicas=3)
        assert len(set(places)) == 3
        assert len({host_of[name] for name in places[:2]}) == 2


def test_fewer_workers_than_replicas_all_get_one() -> None:
    """A cluster that starts, or has lost workers, works with what there is."""
    assert sorted(replicas_of(ShardId(0), workers(2), replicas=3)) == ["a/w0", "a/w1"]
    assert replicas_of(ShardId(0), [], replicas=3) == []


def test_a_worker_that_goes_moves_its_own_shards_only() -> None:
    """All other shards keep their replicas, in their order."""
    named = workers(5)
    gone = named[2].name
    for shard in shards(64):
        before = replicas_of(shard, named, replicas=2)
        after = replicas_of(shard, [w for w in named if w.name != gone], replicas=2)
        stayed = [name for name in before if name != gone]
        assert after[: len(stayed)] == stayed
