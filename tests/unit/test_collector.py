"""The garbage collector of a process that keeps much."""

import gc

from presence_actors.runtime.collector import tune_collector


def test_what_is_there_is_not_looked_at_again_and_the_rest_rarely() -> None:
    """What is made later and is a cycle is still found, when somebody looks."""
    before = gc.get_threshold()
    try:
        tune_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
