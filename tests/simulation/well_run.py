"""A run in which nothing is the matter, for tests that break one thing in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from presence_actors.sim.history import Life
from presence_actors.sim.meter import Meter
from presence_actors.sim.plan import AppServer
from presence_actors.sim.reader_checks import ReaderMemory, note_news, read_news
from presence_actors.sim.run import Run
from presence_actors.sim.scene import Scene
from presence_actors.sim.swarm import Options, draw_plan

__all__ = ["CALM", "listen", "pass_time", "somebody", "spoken", "well_run"]

CALM = Options(scenario="calm", people=8, app=False)
_STEP_MS = 500


def well_run(*, app: AppServer | None = None) -> Run:
    """Everybody has come, and nobody does anything more of their own accord."""
    run = Run(msgspec.structs.replace(draw_plan(2, CALM), app=app))
    run.app.begin()
    run.workload.begin()
    run.world.network.meter = Meter(frozenset(run.plan.core))
    for _ in range(40):
        run.world.run(_STEP_MS)
        run.scene.look()
    run.workload.be_quiet()
    run.world.run(2_000)
    run.scene.look()
    return run


def pass_time(run: Run, span_ms: int) -> list[str]:
    """Time passes as in a run, and the checkers of each step look: what they say, if anything."""
    end_ms = run.world.elapsed_ms + span_ms
    while run.world.elapsed_ms < end_ms:
        run.world.run(min(_STEP_MS, end_ms - run.world.elapsed_ms))
        run.scene.look()
        violation = run.checkers.step()
        if violation is not None:
            assert violation.at_ms == run.world.elapsed_ms
            return [f"{violation.invariant}: {what}" for what in violation.what]
    return []


def listen(
    run: Run, span_ms: int, check: Callable[[Scene, ReaderMemory], Iterator[str]]
) -> list[str]:
    """The same with one checker of readers, as if others had nothing to say."""
    memory, said = run.checkers.readers, list[str]()
    end_ms = run.world.elapsed_ms + span_ms
    while run.world.elapsed_ms < end_ms:
        run.world.run(_STEP_MS)
        run.scene.look()
        read_news(run.scene, memory)
        said += check(run.scene, memory)
        note_news(run.scene, memory)
    return said


def spoken(said: list[str], invariant: str, words: str) -> bool:
    """Whether the checker of this name was the one that spoke, and said this."""
    return any(what.startswith(f"{invariant}: ") and words in what for what in said)


def somebody(run: Run) -> Life:
    """Somebody who is in a room, whose user has no other device, and whom watchers watch."""
    return next(
        life
        for life in run.history.lives
        if life.is_up
        and life.client.machine.rooms
        and len(run.history.of_user(life.persona.user)) == 1
    )
