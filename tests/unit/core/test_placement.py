"""Where things go."""

from __future__ import annotations

from collections import Counter

import pytest

from presence_actors.core.events import Worker
from presence_actors.core.ids import NodeName, ShardId, Topic
from presence_actors.core.placement import rank, replicas_of, shard_of

SHARDS = 64


def workers(*hosts: str) -> list[Worker]:
    """Workers a/w0, a/w1, ... on these hosts."""
    return [Worker(NodeName(f"a/w{index}"), host) for index, host in enumerate(hosts)]


def placed(found: list[Worker], replicas: int) -> dict[int, list[NodeName]]:
    """Who holds what."""
    return {shard: replicas_of(ShardId(shard), found, replicas=replicas) for shard in range(SHARDS)}


def test_a_topic_stays_where_it_is_for_ever() -> None:
    """These values are part of each running cluster: another hash would lose every topic."""
    topics = [Topic(f"default/room:{number}") for number in range(8)]
    assert [shard_of(topic, shards=16) for topic in topics] == [
        shard_of(topic, shards=16) for topic in topics
    ]
    assert shard_of(Topic("default/room:lobby"), shards=16) == 8


def test_topics_spread_over_all_shards() -> None:
    """Within what chance allows."""
    counts = Counter(shard_of(Topic(f"default/user:{n}"), shards=16) for n in range(16_000))
    assert len(counts) == 16
    assert max(counts.values()) < 1.2 * 1_000


def test_the_order_of_workers_makes_no_difference() -> None:
    """Each process lists them as it likes."""
    found = workers("x", "y", "z", "x")
    assert placed(found, 2) == placed(found[::-1], 2)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_replicas_are_on_different_hosts_where_there_are_so_many(replicas: int) -> None:
    """The loss of one machine takes one replica."""
    found = workers("x", "x", "y", "y", "z", "z")
    hosts = {worker.name: worker.host for worker in found}
    for names in placed(found, replicas).values():
        assert len(names) == replicas
        assert len({hosts[name] for name in names}) == replicas


def test_one_host_gets_two_replicas_only_if_it_must() -> None:
    """A laptop has one host and still two replicas."""
    for names in placed(workers("x", "x", "x"), 2).values():
        assert len(set(names)) == 2
    for names in placed(workers("x", "x", "y"), 3).values():
        assert len(set(names)) == 3


def test_with_too_few_workers_each_has_all() -> None:
    """And nobody twice."""
    assert placed(workers("x"), 3)[0] == ["a/w0"]
    assert placed([], 2)[0] == []


def test_only_the_shards_of_a_worker_that_comes_or_goes_move() -> None:
    """Nobody else has to move anything."""
    many = workers("x", "y", "z", "v")
    before, after = placed(many, 1), placed(many[:-1], 1)
    for shard in range(SHARDS):
        if before[shard] != ["a/w3"]:
            assert after[shard] == before[shard]
    counts = Counter(names[0] for names in before.values())
    assert len(counts) == 4


def test_ranks_of_different_seeds_are_unrelated() -> None:
    """Gateways spread over replicas without agreeing."""
    first = sum(
        rank(f"a/g{n}|0", NodeName("a/w0")) < rank(f"a/g{n}|0", NodeName("a/w1"))
        for n in range(400)
    )
    assert 150 < first < 250
