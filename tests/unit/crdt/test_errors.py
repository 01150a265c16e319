"""Errors carry data, say what to do, and survive the way between processes."""

import pickle

import pytest

from crdt import BaseNotSeen, CrdtError, DecodeError, Origin, Stamp, StampTooFar, VersionVector

ERRORS = [
    CrdtError("somewhere", "something", "do that"),
    StampTooFar(Stamp(1200 << 16), 1000, 100),
    DecodeError("rows.keys", "a key comes twice"),
    BaseNotSeen(VersionVector({Origin("a"): Stamp(5)}), VersionVector()),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: CrdtError) -> None:
    """Its text and its data arrive with it."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made a line above
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_a_value_error_that_says_where_what_and_what_to_do(error: CrdtError) -> None:
    """All three parts stand in its text."""
    assert isinstance(error, ValueError)
    for part in (error.where, error.problem, error.remedy):
        assert part
        assert part in str(error)


def test_an_unseen_base_names_the_gap() -> None:
    """The text names the origins that are behind, and only those."""
    base = VersionVector({Origin("a"): Stamp(5), Origin("b"): Stamp(2)})
    error = BaseNotSeen(base, VersionVector({Origin("a"): Stamp(3), Origin("b"): Stamp(2)}))
    assert "a up to 5 (seen 3)" in str(error)
    assert "b up to" not in str(error)
