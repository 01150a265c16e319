"""Makes a failing run smaller: fewer faults, fewer people, while the same promise breaks.

A plan is data, and each person has a source of chance of their own, so a run without a fault or a
person is nearly the same run. What still fails is kept; the result is an `Options`, and so a line
that repeats it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from presence_actors.sim.run import Verdict, run_seed
from presence_actors.sim.swarm import Options, draw_plan

__all__ = ["shrink"]


def shrink(
    verdict: Verdict,
    options: Options,
    *,
    run: Callable[[int, Options], Verdict] = run_seed,
) -> Options:
    """The options of the smallest run that was found to break the same promise."""
    if verdict.violation is None:
        return options
    invariant = verdict.violation.invariant

    def fails(candidate: Options) -> bool:
        found = run(verdict.seed, candidate).violation
        return found is not None and found.invariant == invariant

    plan = draw_plan(verdict.seed, options)
    kept = options.faults or tuple(range(len(plan.faults)))
    # What had not begun when it broke did not break it.
    began = sum(fault.at_ms <= verdict.violation.at_ms for fault in plan.faults)
    if fails(replace(options, faults=kept[:began])):
        kept = kept[:began]
    size = max(1, len(kept) // 2)
    while size and kept:
        place = 0
        while place < len(kept):
            fewer = kept[:place] + kept[place + size :]
            if fails(replace(options, faults=fewer)):
                kept = fewer
            else:
                place += size
        size //= 2
    options = replace(options, faults=kept)
    people = len(plan.people)
    step = people // 2
    while step:
        if people > step and fails(replace(options, people=people - step)):
            people -= step
        else:
            step //= 2
    return replace(options, people=people)
