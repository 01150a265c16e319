"""Checkers of what things cost: what is kept, what a repair sends, what goes on after a storm.

Each yields a sentence for everything that is wrong. How far memory and bytes may go is a promise
like any other: what grows for ever, or is sent again for ever, breaks later and elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from crdt.hlc import stamp_wall
from presence_actors.core.messages import PRESENCE
from presence_actors.core.store import horizon_of
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.meter import Meter
from presence_actors.sim.plan import is_gateway
from presence_actors.sim.scene import Scene
from presence_actors.sim.workload import ROOMS

__all__ = ["SETTLED_MS", "SLACK_BYTES"]

#: Bytes of rows of which nobody asks what they were for.
SLACK_BYTES: Final = 4_096
#: A repair sends no more than so many times the difference.
_TIMES_MAX: Final = 3
#: The end of the quiet in which all is settled.
SETTLED_MS: Final = 5_000
#: What keeps itself alive is seen so often by then, as each machine repeats in a second or less.
_AGAIN: Final = 6
#: Looks at all rows, so only now and then.
_EACH_STEPS: Final = 20
_SPREAD_MS: Final = 5_000


def i14_ends_are_forgotten(scene: Scene) -> Iterator[str]:
    """Memory is bounded: no replica keeps an end for longer than its retention, and a little."""
    knobs = scene.plan.knobs
    spread = 2 * knobs.drift_ms_max + knobs.forget_interval_ms + _SPREAD_MS
    # A process that stands still forgets nothing meanwhile.
    if scene.steps % _EACH_STEPS or scene.calm_ms < spread:
        return
    limit = horizon_of(knobs).retention_ms + spread
    wall = scene.world.now.wall
    for name, replica in scene.replicas():
        if scene.has_wrong_clock(name):
            continue
        for row in replica.maps()[PRESENCE].all_rows():
            age = wall - stamp_wall(row.stamp)
            if not row.live and age > limit:
                yield f"{name}, shard {replica.shard}: keeps an end for {age} ms: {row}"


def i14_nothing_is_kept_for_who_is_gone(scene: Scene) -> Iterator[str]:
    """After all graces gateways hold who is there, and topics that somebody there wants."""
    watched = {user for life in scene.history.lives for user in life.persona.watches}
    for name in filter(is_gateway, scene.plan.core):
        machine = scene.world.processes[name].machine
        if isinstance(machine, WorkerMachine):
            continue
        view = machine.inspect()
        if view.lingering or view.sessions > view.connections:
            yield (
                f"{name}: holds {view.sessions} sessions, of which {view.lingering} linger, "
                f"for {view.connections} connections"
            )
        topics_max = len(ROOMS) + len(watched) + view.sessions
        if view.topics > topics_max:
            yield f"{name}: keeps {view.topics} topics, and at most {topics_max} are wanted"


def i17_a_repair_costs_what_differs(meter: Meter) -> Iterator[str]:
    """After the heal the core sends no more than three times what some of it lacked."""
    for (shard, which), sent in sorted(meter.sent_bytes.items()):
        needed = meter.needed_bytes.get((shard, which), 0)
        if sent > _TIMES_MAX * needed + SLACK_BYTES:
            kind = "entries" if which == PRESENCE else "choices"
            yield f"shard {shard}: {sent} bytes of {kind} were sent, and {needed} were lacking"


def i21_the_storm_is_over(scene: Scene, meter: Meter) -> Iterator[str]:
    """Trouble does not keep itself alive: nobody attaches, refuses or reconnects again and again.

    Once is lawful: whoever forgets a dead life refuses the next delta whose base still has it.
    """
    since = scene.now_ms - SETTLED_MS
    late = Counter(
        f"{sent.sender}: {sent.what}"
        for sent in meter.unsettled
        if scene.world.instant - sent.at <= SETTLED_MS
    )
    for what, count in late.items():
        if count >= _AGAIN:
            yield f"{what}, {count} times in the last {SETTLED_MS} ms"
    for life in scene.history.lives:
        if life.is_up and (life.up_since_ms or 0) >= since:
            yield f"{life.name} connected at {life.up_since_ms}, long after the heal"
