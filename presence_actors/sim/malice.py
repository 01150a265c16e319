"""Frames of a client that means harm, or is broken: none of them may do anything to anybody else.

A client supplies no stamps, but it does supply names, counts, times and cursors. Some of these
frames are no frames at all, some ask for what nobody may have, and some are well formed and say
that their sender has seen the end of time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Final

from crdt import Origin, Stamp, VersionVector
from crdt.hlc import STAMP_MAX
from presence_actors.core.cursors import write_cursor
from presence_actors.core.ids import NodeId, ShardId
from presence_actors.core.limits import RESUME_MAX

__all__ = ["malicious_frames"]

_WALL_MAX: Final = (1 << 48) - 1
_PLAIN: Final = (
    "",
    "null",
    "{",
    "[" * 2_000,
    '{"type":"set","topic":"room:a","meta":' + '{"a":' * 500,
    '{"type":"no such thing"}',
    '{"type":"hello","resume":-1}',
    '{"type":"set","topic":"user:user1","meta":{}}',
    '{"type":"set","topic":"room:a","meta":{"n":1e999}}',
    '{"type":"unset","topic":"room:never"}',
    '{"type":"patch","topic":"room:never","meta":{"n":1}}',
)


def malicious_frames(
    random: Random, *, victim: str | None, workers: list[NodeId], shards: int
) -> list[str]:
    """Some of them, in any order.

    Args:
        random: Chooses.
        victim: The name of the session of somebody else, which a stranger may have overheard.
        workers: Lives of workers, of whose stamps a cursor may speak.
        shards: How many shards there are.
    """
    future = VersionVector({Origin(node): Stamp(STAMP_MAX) for node in sorted(workers)})
    cursor = write_cursor({ShardId(index): future for index in range(shards)})
    made: list[Callable[[], dict[str, object]]] = [
        lambda: {"type": "sub", "topics": ["room:a", "room:b"], "users": ["user1"]},
        lambda: {"type": "sub", "topics": ["room:a", "room:big"], "cursor": cursor},
        lambda: {"type": "sub", "topics": ["room:a"], "cursor": "~" * 40},
        lambda: {"type": "set", "topic": "room:a", "meta": {"n": 1}, "since": _WALL_MAX},
        lambda: {"type": "set", "topic": "room:b", "meta": {"n": _WALL_MAX}},
        lambda: {"type": "intent", "status": "invisible", "until": _WALL_MAX},
        lambda: {"type": "intent", "status": "dnd", "until": -_WALL_MAX},
        lambda: {"type": "hello", "session": victim, "resume": RESUME_MAX},
    ]
    texts = [*_PLAIN, *(json.dumps(make()) for make in made)]
    return random.sample(texts, random.randint(1, len(texts)))
