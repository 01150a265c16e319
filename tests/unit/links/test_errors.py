"""The error tree: data, texts that say what to do, and pickling."""

import pickle

import pytest

from presence_actors.errors import (
    ConfigError,
    GatewayBusy,
    InvariantBroken,
    LocalProtocolError,
    PresenceError,
    ProtocolError,
    RemoteProtocolError,
    SessionLost,
    ShardUnreachable,
    Unavailable,
    UsageError,
    VersionRefused,
)

ERRORS = [
    (ConfigError("port", 0, "must be positive"), "port = 0: must be positive"),
    (UsageError("no such room", remedy="join it first"), "no such room; join it first"),
    (
        Unavailable(what="no answer", where="a/w0", retry_after_ms=50),
        "no answer at a/w0; try again in 50 ms",
    ),
    (GatewayBusy(what="too many connections", where="a/g0"), "too many connections at a/g0"),
    (ShardUnreachable(what="no replica", where="shard 3"), "no replica at shard 3"),
    (
        SessionLost(session="s1", reason="its lease ran out"),
        "session s1: its lease ran out; start a new session",
    ),
    (LocalProtocolError("a frame too long"), "a frame too long"),
    (
        RemoteProtocolError(peer="a/w0/1", code="proof", reason="is a stranger"),
        "a/w0/1: is a stranger",
    ),
    (
        VersionRefused(peer="a/w0/1", theirs=2, ours=[1]),
        (
            "a/w0/1: speaks protocol version 2; this side speaks 1; "
            "run releases that share a version on both sides"
        ),
    ),
]


@pytest.mark.parametrize(("error", "text"), ERRORS)
def test_an_error_keeps_its_data_and_its_text_through_pickling(
    error: PresenceError, text: str
) -> None:
    """Type, attributes and text are the same on the other side of a process boundary."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is type(error)
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error) == text
    assert copy.definite == error.definite


def test_only_what_certainly_did_not_happen_is_definite() -> None:
    """When in doubt, an error is indefinite."""
    definite = {type(error) for error, _ in ERRORS if error.definite}
    assert definite == {
        ConfigError,
        UsageError,
        GatewayBusy,
        LocalProtocolError,
        RemoteProtocolError,
        VersionRefused,
    }


def test_a_broken_invariant_is_not_caught_with_the_errors() -> None:
    """Whoever catches `PresenceError` does not swallow a fault of ours."""
    assert not issubclass(InvariantBroken, PresenceError)


def test_the_tree_is_the_one_that_is_drawn() -> None:
    """A handler for a parent takes its children."""
    assert issubclass(UsageError, ValueError)
    assert issubclass(GatewayBusy, Unavailable)
    assert issubclass(ShardUnreachable, Unavailable)
    assert issubclass(VersionRefused, RemoteProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)
