"""Where things go: topic -> shard by a stable hash, shard -> workers by rendezvous hashing.

Both are pure functions of names, the same in every process of every zone and for ever: the built-in
``hash`` changes with each process and must not be used. Rendezvous hashing (Thaler and Ravishankar,
1998) moves only the shards of a worker that comes or goes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from presence_actors.core.ids import NodeName, ShardId, Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presence_actors.core.events import Worker

__all__ = ["rank", "replicas_of", "shard_of"]


#: So many hashes are kept: each message asks for those of a few topics.
_HASHES_KEPT: Final = 1 << 15


@lru_cache(maxsize=_HASHES_KEPT)
def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def shard_of(topic: Topic, *, shards: int) -> ShardId:
    """The shard that owns a topic, for the life of the cluster.

    >>> shard_of(Topic("default/room:lobby"), shards=16)
    8
    """
    return ShardId(_hash(topic) % shards)


def rank(seed: str, name: NodeName) -> int:
    """How well `name` suits `seed`, less being better: spreads choices without agreement."""
    return _hash(f"{seed}|{name}")


def replicas_of(shard: ShardId, workers: Sequence[Worker], *, replicas: int) -> list[NodeName]:
    """The workers that hold a replica of the shard, best first.

    Workers on hosts that have no replica yet come before others, so that the loss of one machine
    takes one replica; only where there are fewer hosts than replicas does a host get two.
    """
    ranked = sorted(workers, key=lambda worker: (rank(str(shard), worker.name), worker.name))
    chosen: list[Worker] = []
    for fresh_hosts_only in (True, False):
        for worker in ranked:
            if len(chosen) == replicas:
                break
            host_taken = any(worker.host == other.host for other in chosen)
            if worker not in chosen and not (fresh_hosts_only and host_taken):
                chosen.append(worker)
    return [worker.name for worker in chosen]
