"""Names of things: every identifier has a type of its own.

A *node* of our data plane is one life of a process: ``zone/name/incarnation``. The incarnation
starts with the wall time of the start in hexadecimal, so of two lives of one name the later one
compares greater, and ends with 64 random bits, so two lives never share it, whatever the clocks
said. A worker's node id is the origin of its stamps; a gateway's node id is the holder of its rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NewType

__all__ = [
    "ConnectionId",
    "Namespace",
    "NodeId",
    "NodeName",
    "RequestId",
    "SessionId",
    "ShardId",
    "Topic",
    "UserId",
    "ZoneId",
    "incarnation_of",
    "is_newer",
    "mint_node_id",
    "name_of",
    "short_name",
    "started_wall",
    "user_topic",
    "zone_of",
]

#: Parts of this many names are kept: each message asks for those of a few nodes.
_NODES_KEPT: Final = 4096

ZoneId = NewType("ZoneId", str)
NodeName = NewType("NodeName", str)
"""``zone/name``: a place in the cluster that survives restarts, such as ``a/w0`` or ``a/g1``."""
NodeId = NewType("NodeId", str)
"""``zone/name/incarnation``: one life of a process at that place."""
ShardId = NewType("ShardId", int)
UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)
Namespace = NewType("Namespace", str)
"""The tenant, from the token; part of every topic, so tenants never meet."""
Topic = NewType("Topic", str)
"""``namespace/room:lobby`` or ``namespace/user:alice``: what is placed, watched and fanned out."""
ConnectionId = NewType("ConnectionId", int)
RequestId = NewType("RequestId", int)


def mint_node_id(name: NodeName, *, start_wall_ms: int, random_64: int) -> NodeId:
    """A node id for a life that starts now.

    >>> mint_node_id(NodeName("a/w0"), start_wall_ms=1, random_64=2)
    'a/w0/0000000000010000000000000002'
    """
    return NodeId(f"{name}/{start_wall_ms & (1 << 48) - 1:012x}{random_64 & (1 << 64) - 1:016x}")


@lru_cache(maxsize=_NODES_KEPT)
def name_of(node: str) -> NodeName:
    """The place of a node: its id without the incarnation.

    >>> name_of("a/w0/00ff")
    'a/w0'
    """
    return NodeName(node.rpartition("/")[0])


def incarnation_of(node: str) -> str:
    """The life of a node: the last part of its id."""
    return node.rpartition("/")[2]


@lru_cache(maxsize=_NODES_KEPT)
def started_wall(node: str) -> int:
    """The wall time at which a life started, as its own clock had it; 0 if its id does not tell.

    >>> started_wall(mint_node_id(NodeName("a/w0"), start_wall_ms=77, random_64=2))
    77
    """
    try:
        return int(incarnation_of(node)[:12], 16)
    except ValueError:
        return 0


def zone_of(node: str) -> ZoneId:
    """The zone of a node id or node name.

    >>> zone_of("a/w0/00ff"), zone_of("b/g1")
    ('a', 'b')
    """
    return ZoneId(node.partition("/")[0])


def short_name(node: str) -> str:
    """A node for people: its name and the first random digits of its life.

    >>> short_name("a/w0/0000000000010000000000000002")
    'a/w0#00000000'
    """
    return f"{name_of(node)}#{incarnation_of(node)[12:20]}"


def is_newer(node: str, than: str) -> bool:
    """Whether `node` is a later life at the same place as `than`.

    >>> is_newer("a/w0/02", "a/w0/01"), is_newer("a/w1/02", "a/w0/01")
    (True, False)
    """
    return name_of(node) == name_of(than) and incarnation_of(node) > incarnation_of(than)


def user_topic(namespace: str, user: str) -> Topic:
    """The topic of one user."""
    return Topic(f"{namespace}/user:{user}")
