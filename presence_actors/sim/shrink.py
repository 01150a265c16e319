"""Makes a failing run smaller: fewer faults, people and hosts, while the same promise breaks.

A plan is data, and each person has a source of chance of their own, so a run without a fault or a
person is nearly the same run. What still fails is kept; the result is an `Options`, and so a line
that repeats it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from presence_actors.errors import UsageError
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
        try:
            found = run(verdict.seed, candidate).violation
        except UsageError:
            return False  # Too small for what it is asked to do.
        return found is not None and found.invariant == invariant

    if options.app is not False and fails(replace(options, app=False)):
        options = replace(options, app=False)
    options = _with_fewer_faults(verdict, options, fails)
    options = _with_fewer_people(verdict, options, fails)
    return _with_fewer_hosts(verdict, options, fails)


def _with_fewer_faults(
    verdict: Verdict, options: Options, fails: Callable[[Options], bool]
) -> Options:
    faults = draw_plan(verdict.seed, replace(options, faults=None, hosts=None)).faults
    kept = tuple(range(len(faults))) if options.faults is None else options.faults
    # What had not begun when it broke did not break it.
    broke_ms = 0 if verdict.violation is None else verdict.violation.at_ms
    begun = tuple(number for number in kept if faults[number].at_ms <= broke_ms)
    if begun != kept and fails(replace(options, faults=begun)):
        kept = begun
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
    return replace(options, faults=kept)


def _with_fewer_people(
    verdict: Verdict, options: Options, fails: Callable[[Options], bool]
) -> Options:
    people = len(draw_plan(verdict.seed, options).people)
    step = people // 2
    while step:
        if people > step and fails(replace(options, people=people - step)):
            people -= step
        else:
            step //= 2
    return replace(options, people=people)


def _with_fewer_hosts(
    verdict: Verdict, options: Options, fails: Callable[[Options], bool]
) -> Options:
    plan = draw_plan(verdict.seed, options)
    hosts = len(plan.hosts)
    while fails(fewer := replace(options, hosts=hosts - len(plan.zones))):
        options, hosts = fewer, hosts - len(plan.zones)
    return options
