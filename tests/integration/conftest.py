"""Which of these tests may run side by side.

On two processes (`make integration`) one has all that starts a Ray, in order, and the other the
rest: gateways in the test's own process, links, sockets. Two Rays at once would each be slow enough
to fail a story that waits for a bound of the design.
"""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_ONE_AT_A_TIME = ("cli", "client", "demo", "examples", "ray")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these folders are one group, which `--dist loadgroup` keeps together."""
    for item in items:
        if item.path.is_relative_to(_HERE) and (
            item.path.relative_to(_HERE).parts[0] in _ONE_AT_A_TIME
        ):
            item.add_marker(pytest.mark.xdist_group("ray"))
