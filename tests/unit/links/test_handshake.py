"""What a hello says of the shards of a cluster: two numbers that differ do not go together."""

import msgspec
import pytest

from presence_actors.core.ids import NodeId
from presence_actors.errors import ConfigError, RemoteProtocolError
from presence_actors.links.handshake import LinkIdentity, Side, read_hello

NONCE = b"n" * 32


def identity_of(node: str, shards: int) -> LinkIdentity:
    """A worker whose cluster has so many shards."""
    return LinkIdentity(
        cluster="demo", node=NodeId(node), role="worker", secret=b"s" * 32, shards=shards
    )


def test_two_shard_counts_that_differ_are_refused_with_both_numbers() -> None:
    """A topic would lie in one shard here and in another one there."""
    theirs = identity_of("a/w0/01", 16).hello(NONCE)
    with pytest.raises(RemoteProtocolError) as refused:
        identity_of("b/w1/01", 8).judge_hello(theirs, expected=None)
    assert refused.value.code == "shards"
    assert str(refused.value) == (
        "a/w0/01: has 16 shards and b/w1 has 8; give all zones the same number: up --shards"
    )


@pytest.mark.parametrize(("mine", "theirs"), [(8, 8), (0, 8), (8, 0)])
def test_equal_shard_counts_and_untold_ones_are_taken(mine: int, theirs: int) -> None:
    """Who tells none does not care."""
    identity_of("b/w1/01", mine).judge_hello(
        identity_of("a/w0/01", theirs).hello(NONCE), expected=None
    )


def test_a_swapped_shard_count_breaks_the_proof() -> None:
    """Nobody on the way can make two sides that differ believe that they agree."""
    dialer, listener = identity_of("b/w1/01", 8), identity_of("a/w0/01", 16)
    mine, theirs = dialer.hello(NONCE), listener.hello(NONCE)
    proof = dialer.proof(Side.DIALER, dialer=mine, listener=theirs)
    told = msgspec.structs.replace(mine, shards=16)
    assert listener.proof(Side.DIALER, dialer=told, listener=theirs) != proof


def test_a_hello_that_does_not_tell_its_shards_is_read() -> None:
    """As zero."""
    hello = msgspec.to_builtins(identity_of("a/w0/01", 8).hello(NONCE), builtin_types=(bytes,))
    del hello["shards"]
    assert read_hello(msgspec.msgpack.encode(hello)).shards == 0


@pytest.mark.parametrize("shards", [-1, 4097])
def test_a_shard_count_that_no_cluster_has_is_refused(shards: int) -> None:
    """By whoever would say it, and by whoever hears it."""
    with pytest.raises(ConfigError, match="shards"):
        identity_of("a/w0/01", shards)
    hello = msgspec.structs.replace(identity_of("a/w0/01", 8).hello(NONCE), shards=shards)
    with pytest.raises(RemoteProtocolError, match="cannot be read"):
        read_hello(msgspec.msgpack.encode(hello))
