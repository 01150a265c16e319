"""All checkers by the invariant that each holds, and the violation that stops a run.

A checker is a function that yields a sentence for everything that is wrong. Some look at each step,
some once the healed core has had its time. Why the other invariants are not among them stands in
docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from presence_actors.sim import act_checks, cost_checks, end_checks, reader_checks, replica_checks
from presence_actors.sim.act_checks import ActMemory
from presence_actors.sim.reader_checks import ReaderMemory
from presence_actors.sim.replica_checks import ReplicaMemory
from presence_actors.sim.scene import Scene

__all__ = ["COLUMNS", "Checkers", "Violation"]

#: The columns of the fault matrix, by the invariants in them.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "I1-3": ("I1", "I2", "I3"),
    "I4-6": ("I4", "I5", "I6"),
    "I7-9": ("I7", "I8", "I9"),
    "I10": ("I10",),
    "I11-13": ("I11", "I13"),
    "I14-15": ("I14",),
    "I16-17": ("I16", "I17"),
    "I21-23": ("I21", "I23"),
}

_WRONG_MAX: Final = 5


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that was broken: which, when, and what is wrong."""

    invariant: str
    at_ms: int
    what: list[str]

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_ms} ms: " + "\n    ".join(self.what)


@dataclass(slots=True)
class Checkers:
    """The checkers of one run, with what they remember."""

    scene: Scene
    replicas: ReplicaMemory = field(default_factory=ReplicaMemory)
    readers: ReaderMemory = field(default_factory=ReaderMemory)
    acts: ActMemory = field(default_factory=ActMemory)
    #: {invariant: how often it was looked at}.
    looked: dict[str, int] = field(default_factory=dict)

    def step(self) -> Violation | None:
        """The first promise that is broken now."""
        scene, replicas, readers = self.scene, self.replicas, self.readers
        reader_checks.read_news(scene, readers)
        at_replicas: list[tuple[str, Callable[[Scene, ReplicaMemory], Iterator[str]]]] = [
            ("I1", replica_checks.i1_equal_vectors_mean_equal_rows),
            ("I3", replica_checks.i3_a_stamp_names_one_write),
            ("I5", replica_checks.i5_who_said_goodbye_stays_gone),
            ("I11", replica_checks.i11_no_stamp_beyond_the_bound),
        ]
        at_readers: list[tuple[str, Callable[[Scene, ReaderMemory], Iterator[str]]]] = [
            ("I6", reader_checks.i6_readers_never_go_back),
            ("I7", reader_checks.i7_nobody_is_offline_who_is_there),
            ("I8", reader_checks.i8_nobody_is_shown_long_after_going),
            ("I10", reader_checks.i10_back_within_the_grace_is_no_event),
            ("I13", reader_checks.i13_who_has_not_caught_up_says_nobody_is_offline),
            ("I16", reader_checks.i16_operations_are_answered_in_time),
            ("I18", reader_checks.i18_nobody_hears_of_the_invisible),
        ]
        found = self._first(
            [
                *((name, partial(check, scene, replicas)) for name, check in at_replicas),
                *((name, partial(check, scene, readers)) for name, check in at_readers),
                ("I14", partial(cost_checks.i14_ends_are_forgotten, scene)),
                *self._of_acts(),
            ]
        )
        reader_checks.note_news(scene, readers)
        return found

    def _of_acts(self) -> Iterator[tuple[str, Callable[[], Iterator[str]]]]:
        scene = self.scene
        if scene.plan.app is not None:
            spared = act_checks.i7_whoever_comes_after_a_kick_is_spared
            yield "I7", partial(spared, scene, self.acts)
            yield "I7", partial(act_checks.i7_who_posts_is_there, scene, self.readers)
            yield "I8", partial(act_checks.i8_who_posts_no_more_is_gone, scene)
            yield "webhooks", partial(act_checks.webhooks_tell_what_is_so, scene)

    def end(self) -> Violation | None:
        """The first promise that is broken after the healed core has had its time."""
        checks: list[tuple[str, Callable[[Scene], Iterator[str]]]] = [
            ("I23", end_checks.i23_the_core_serves),
            ("I2", end_checks.i2_the_core_agrees),
            ("I9", end_checks.i9_who_is_there_has_entries),
            ("I4", end_checks.i4_nothing_acknowledged_is_lost),
            ("I5", end_checks.i5_who_left_has_no_entry),
            ("I8", end_checks.i8_no_ghost_is_left),
            ("I18", end_checks.i18_the_invisible_are_hidden),
            ("I7", end_checks.i7_everybody_sees_who_is_there),
            ("I16", end_checks.i16_nothing_waits),
            ("I14", cost_checks.i14_nothing_is_kept_for_who_is_gone),
        ]
        at_end = [(name, partial(check, self.scene)) for name, check in checks]
        if self.scene.plan.app is not None:
            at_end.append(("I5", partial(act_checks.i5_who_was_kicked_is_gone, self.scene)))
            truth = act_checks.webhooks_end_with_the_truth
            at_end.append(("webhooks", partial(truth, self.scene)))
        meter = self.scene.world.network.meter
        if meter is not None:
            at_end.append(("I17", partial(cost_checks.i17_a_repair_costs_what_differs, meter)))
            at_end.append(("I21", partial(cost_checks.i21_the_storm_is_over, self.scene, meter)))
        return self._first(at_end)

    def _first(self, checks: Iterable[tuple[str, Callable[[], Iterator[str]]]]) -> Violation | None:
        for name, check in checks:
            self.looked[name] = self.looked.get(name, 0) + 1
            wrong = [what for what, _ in zip(check(), range(_WRONG_MAX), strict=False)]
            if wrong:
                return Violation(invariant=name, at_ms=self.scene.now_ms, what=wrong)
        return None
