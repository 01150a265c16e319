"""What holds for every test: guards around the pure folders, and the Hypothesis profiles.

A test in ``unit/``, ``property/`` or ``simulation/`` that starts Ray, opens a socket or waits by
the clock would be slow, and would fail now and then for reasons that are not its subject. The
guards turn that into a failure at once, with a sentence that says where such a test belongs.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

# A shell that runs the tests in the background has them ignore Ctrl-C, and their children inherit
# that; some of these children are sent one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
PURE_FOLDERS = ("unit", "property", "simulation")
RAY_BELONGS = "what needs a cluster belongs in tests/integration/ray/"

# No deadline in any profile: on a busy machine it would fail a test for what its neighbour does.
# pytest-timeout ends what hangs.
settings.register_profile("dev", deadline=None)
# The same examples in every run and nothing remembered, so that a red run is red for its commit.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "soak",
    deadline=None,
    max_examples=20_000,
    print_blob=True,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)


def _profile_name() -> str:
    chosen = os.environ.get("HYPOTHESIS_PROFILE")
    if chosen:
        return chosen
    return "ci" if os.environ.get("CI") == "true" else "dev"


settings.load_profile(_profile_name())


def _refuse(call: str, belongs: str) -> NoReturn:
    # pytest.fail raises a BaseException: no `except Exception` on the way can swallow it.
    pytest.fail(f"{call} in a test of {'/, '.join(PURE_FOLDERS)}/: {belongs}", pytrace=True)


def _refused(call: str, belongs: str) -> Callable[..., NoReturn]:
    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        _refuse(call, belongs)

    return refuse


def _guard_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    make = socket.socket.__init__

    @wraps(make)
    def guarded(
        self: socket.socket,
        family: int = -1,
        type: int = -1,  # noqa: A002 - the name in the standard library
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        # A loop wakes itself through a socket pair, which comes with descriptors of its own:
        # `asyncio.run` works, a connection does not.
        if fileno is None:
            _refuse("socket.socket", "what needs a connection belongs in tests/integration/links/")
        make(self, family, type, proto, fileno)

    monkeypatch.setattr(socket.socket, "__init__", guarded)


def _guard_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep

    async def guarded(delay: float, result: Any = None) -> Any:
        # Zero only lets other tasks run and waits for no clock.
        if delay > 0:
            _refuse(
                "asyncio.sleep",
                "hand time in with the event, or wait for one; what needs a real clock belongs in "
                "tests/integration/",
            )
        return await sleep(delay, result)

    monkeypatch.setattr(asyncio, "sleep", guarded)
    monkeypatch.setattr(
        time,
        "sleep",
        _refused(
            "time.sleep",
            "time is an argument here; what needs a real clock belongs in tests/integration/",
        ),
    )


@pytest.fixture(autouse=True)
def guards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Ray, no connection and no waiting in the pure folders."""
    path = request.node.path
    if not path.is_relative_to(TESTS) or path.relative_to(TESTS).parts[0] not in PURE_FOLDERS:
        yield
        return
    _guard_sockets(monkeypatch)
    _guard_sleeps(monkeypatch)
    # Only when it is loaded already: to import Ray here would cost every run a third of a second.
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", _refused("ray.init", RAY_BELONGS))
    yield
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        _refuse("ray.init", RAY_BELONGS)
