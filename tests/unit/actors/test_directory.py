"""Whom people mean."""

import pytest

from presence_actors.actors.directory import find_seat
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
