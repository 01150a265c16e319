"""Whole clusters whose gossip takes the way of large batches, with as few full keys as can be."""

from __future__ import annotations

import pytest

from crdt import entries
from presence_actors.core import store
from presence_actors.sim.run import run_seed
from presence_actors.sim.swarm import Options

pytestmark = pytest.mark.simulation


@pytest.fixture
def _as_in_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each delta is merged in columns, and leaves out each key that the peer once got."""
    monkeypatch.setattr(store, "PLAIN_ROWS_MAX", 0)
    monkeypatch.setattr(entries, "BIRTH_SHIFT", 0)


@pytest.fixture
def _keys_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain rows, and each key is left out that the peer once got."""
    monkeypatch.setattr(entries, "BIRTH_SHIFT", 0)


@pytest.mark.usefixtures("_as_in_crowds")
@pytest.mark.parametrize("seed", range(3))
def test_no_promise_is_broken_by_gossip_in_columns(seed: int) -> None:
    """Cuts, restarts, lost and repeated frames: what is merged in columns is merged all the same.

    ```
    w0 --hash, without the key--> w1, which was cut off and has forgotten it --refused--> w0
    w0 --hash and key--> w1
    ```
    """
    verdict = run_seed(seed, Options())
    assert verdict.violation is None, f"presence sim --seed {seed}: {verdict.violation}"


@pytest.mark.usefixtures("_keys_left_out")
@pytest.mark.parametrize("seed", range(3, 5))
def test_no_promise_is_broken_by_keys_that_are_left_out(seed: int) -> None:
    """Of a few rows as of many: who lacks one asks."""
    verdict = run_seed(seed, Options())
    assert verdict.violation is None, f"presence sim --seed {seed}: {verdict.violation}"
