"""Whom people mean."""

import pytest

from presence_actors.actors.directory import find_node, find_seat, is_worker
from presence_actors.config import ClusterConfig
from presence_actors.errors import UsageError

CONFIG = ClusterConfig(workers=2, gateways=1)


@pytest.mark.parametrize("text", ["w1", "a/w1", "worker-1"])
def test_a_seat_is_found_by_each_of_its_names(text: str) -> None:
    """Short on the command line, long from a table."""
    assert find_seat(CONFIG, text).node_name == "a/w1"


@pytest.mark.parametrize("text", ["w2", "b/w1", "", "supervisor"])
def test_a_seat_that_does_not_exist_is_refused_with_those_that_do(text: str) -> None:
    """The answer is in the refusal."""
    with pytest.raises(UsageError, match="say w0, w1, g0"):
        find_seat(CONFIG, text)


@pytest.mark.parametrize(("text", "name"), [("w1", "a/w1"), ("b/w7", "b/w7"), ("c-2/g0", "c-2/g0")])
def test_a_node_of_another_zone_is_named_with_its_zone(text: str, name: str) -> None:
    """How many there are over there is not known here."""
    assert find_node(CONFIG, text) == name


@pytest.mark.parametrize("text", ["a/w2", "b/x0", "b/w", "B/w0", "b/w0/01"])
def test_what_cannot_be_a_node_is_refused(text: str) -> None:
    """Our own seats are known, and others have names of the same form."""
    with pytest.raises(UsageError, match="say w0, w1, g0"):
        find_node(CONFIG, text)


@pytest.mark.parametrize(
    ("node", "expected"),
    [("a/w0", True), ("b/w12/00ff", True), ("a/g0", False), ("w/g0/01", False)],
)
def test_a_worker_is_known_by_its_seat(node: str, expected: bool) -> None:
    """In whatever zone it is, and whatever that is called."""
    assert is_worker(node) is expected
