"""Each of these promises is broken on purpose, and its checker says by name what, where and when.

The checkers of replicas and of costs are in `test_checkers.py`. Here one machine does something
wrong, the run goes on, and all checkers look at each step.
"""

from __future__ import annotations

import pytest

from crdt import Origin, Row, Stamp, pack_epoch
from crdt.hlc import pack_stamp
from presence_actors.core import choices, status, watched
from presence_actors.core.effects import JoinHappened
from presence_actors.core.holding import Holding
from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.leftovers import Leftovers
from presence_actors.core.messages import PRESENCE
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.values import HIDDEN
from presence_actors.core.vocabulary import Bye, Intent, Patch, Sub
from presence_actors.sim import end_checks, reader_checks
from presence_actors.sim.checkers import Violation
from presence_actors.sim.history import Gone, Life, Outcome
from presence_actors.sim.plan import is_worker
from presence_actors.sim.run import Outcome as Proved
from presence_actors.sim.run import Run
from tests.simulation.well_run import listen, pass_time, somebody, spoken, well_run

pytestmark = pytest.mark.simulation


@pytest.fixture
def run() -> Run:
    """Nothing is the matter, and no checker says anything."""
    run = well_run()
    assert pass_time(run, 3_000) == []
    return run


def workers(run: Run) -> list[NodeName]:
    """All workers."""
    return list(filter(is_worker, run.plan.hosts))


def choose(run: Run, life: Life, status: str) -> None:
    """The user chooses, and is answered."""
    life.ask(Intent(status=status), run.world.elapsed_ms)
    run.world.run(500)
    run.scene.look()
    (op,) = life.choices[-1:]
    assert op.outcome is Outcome.OK


def row_of(replica: ReplicaMachine, life: Life) -> Row | None:
    """What a replica holds of the presence of a device."""
    user = life.persona.user
    return replica.maps()[PRESENCE].get((f"default/user:{user}", user, str(life.session)))


def bring_back(run: Run, replica: ReplicaMachine, row: Row) -> None:
    """A replica shows a session again, of a gateway that nobody knows."""
    presence = replica.maps()[PRESENCE]
    wall = run.world.now.wall
    delta = presence.put(
        keys=[row.key],
        epochs=[pack_epoch(9, 0)],
        statuses=[row.status],
        holders=["a/g9/0/0"],
        values=[row.value],
        origin=Origin(replica.node),
        stamps=[Stamp(pack_stamp(wall, 99))],
    )
    presence.apply(delta, wall_ms=wall)


# ------------------------------------------------------------------------------- what is promised


def test_i4_speaks_of_a_change_that_no_replica_has(run: Run) -> None:
    """The device says one thing and its entry another, until the gateway is heard again."""
    assert list(end_checks.i4_nothing_acknowledged_is_lost(run.scene)) == []
    life = somebody(run)
    gateway, room = run.scene.gateway_of(life), life.client.machine.rooms[0]
    assert gateway is not None
    run.world.cut(workers(run), [gateway])
    life.client.ask(Patch(topic=room, meta={"n": 77}))
    run.world.run(200)
    wrong = list(end_checks.i4_nothing_acknowledged_is_lost(run.scene))
    assert wrong
    assert all(f"{life.name} shows {{'n': 77}} in {room}, and the entry" in what for what in wrong)
    assert {what.partition(":")[0] for what in wrong} <= set(workers(run))
    run.world.heal()
    run.world.run(3_000)
    assert list(end_checks.i4_nothing_acknowledged_is_lost(run.scene)) == []


def test_i4_speaks_of_a_choice_that_was_acknowledged_and_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that writes another choice than it was asked for."""
    life = somebody(run)
    choose(run, life, "dnd")
    run.world.run(3_000)
    assert list(end_checks.i4_nothing_acknowledged_is_lost(run.scene)) == []
    honest = choices.intent_row
    monkeypatch.setattr(
        "presence_actors.core.acting.intent_row",
        lambda topic, user, _: honest(topic, user, Intent(status="away")),
    )
    choose(run, life, "")
    run.world.run(3_000)
    wrong = list(end_checks.i4_nothing_acknowledged_is_lost(run.scene))
    user = life.persona.user
    assert wrong
    assert all(f"{user} chose nothing at " in what and "'away'" in what for what in wrong)


def test_i5_speaks_of_a_session_that_is_back_after_a_goodbye(run: Run) -> None:
    """One replica has held its end, and shows it again."""
    life = somebody(run)
    name, replica = next(
        (name, replica) for name, replica in run.scene.replicas() if row_of(replica, life)
    )
    before = row_of(replica, life)
    assert before is not None
    life.client.ask(Bye())
    life.go(Gone.BYE, run.world.elapsed_ms)
    assert pass_time(run, 2_000) == []
    assert list(end_checks.i5_who_left_has_no_entry(run.scene)) == []
    bring_back(run, replica, before)
    run.scene.look()
    violation = run.checkers.step()
    assert violation is not None
    assert violation.invariant == "I5"
    assert violation.at_ms == run.world.elapsed_ms
    assert violation.what[0].startswith(f"{name}: {life.persona.user} said goodbye and is back")
    (wrong,) = end_checks.i5_who_left_has_no_entry(run.scene)
    assert wrong.startswith(f"{name}: {life.name} is not there and has an entry")


def test_i6_speaks_of_a_reader_who_goes_back_in_time(run: Run) -> None:
    """Nobody but the device itself can make changes, so it says an old one again."""
    life = somebody(run)
    room = life.client.machine.rooms[0]
    life.client.ask(Patch(topic=room, meta={"n": 77}))
    assert pass_time(run, 1_000) == []
    life.client.ask(Patch(topic=room, meta={"n": 3}))
    said = pass_time(run, 1_000)
    user = life.persona.user
    assert spoken(said, "I6", f"saw change 77 of {user} in {room}, and at ")


def test_i8_speaks_of_somebody_who_is_shown_long_after_vanishing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that keeps sessions for an hour; and in the end its entry is a ghost."""
    monkeypatch.setattr(Holding, "_in", lambda *_: Instant(run.world.instant + 3_600_000))
    life = somebody(run)
    life.client.vanish()
    life.go(Gone.VANISHED, run.world.elapsed_ms)
    knobs = run.plan.knobs
    assert pass_time(run, knobs.grace_connection_ms) == []
    said = pass_time(run, 2 * (knobs.client_lease_ms + knobs.grace_connection_ms))
    assert spoken(said, "I8", f"sees {life.persona.user}, who is long gone")
    wrong = list(end_checks.i8_no_ghost_is_left(run.scene))
    assert wrong
    assert all(f"{life.name} is not there and has an entry" in what for what in wrong)


def test_i10_speaks_of_somebody_who_comes_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes each change for an arrival."""
    monkeypatch.setattr(
        watched, "_upserted", lambda topic, _, entry: [JoinHappened(topic=topic, entry=entry)]
    )
    life = somebody(run)
    life.client.ask(Patch(topic=life.client.machine.rooms[0], meta={"n": 77}))
    said = pass_time(run, 1_000)
    assert spoken(said, "I10", f"that {life.persona.user} came, who was there")


def test_i10_speaks_of_somebody_who_goes_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly one leave each: a client that tells it again."""
    honest = watched._removed

    def twice(*arguments: object) -> list[object]:
        return [*honest(*arguments)] * 2  # type: ignore[arg-type]

    monkeypatch.setattr(watched, "_removed", twice)
    life = somebody(run)
    life.client.ask(Bye())
    life.go(Gone.BYE, run.world.elapsed_ms)
    said = pass_time(run, 1_000)
    assert spoken(said, "I10", f"that {life.persona.user} went, who was gone")


def test_i13_speaks_of_a_replica_that_takes_what_it_does_not_know_for_absent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has just started, is cut off from all others, and says that it may vouch.

    ```
    w0  --X--(new life, empty) -- "may vouch" --> g0 --> watcher: the other one is offline
    ```
    """
    honest = Leftovers.reach
    monkeypatch.setattr(
        Leftovers, "reach", lambda *given, **others: honest(*given, **{**others, "ready": True})
    )
    watcher, other = [life for life in run.history.lives if life.persona.watches]
    gateway = run.scene.gateway_of(watcher)
    assert gateway is not None
    home = workers(run)[0]
    run.world.cut([home, gateway], [name for name in run.plan.hosts if name not in (home, gateway)])
    run.world.kill(home, restart_after_ms=100)
    run.world.run(2_000)
    watcher.client.ask(Sub(users=[other.persona.user]))
    said = listen(run, 20_000, reader_checks.i13_who_has_not_caught_up_says_nobody_is_offline)
    assert any(
        what.startswith(f"{watcher.name} heard at ")
        and f"that {other.persona.user} is offline, from {home}/" in what
        for what in said
    )


def test_i18_speaks_of_a_word_about_somebody_invisible(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that keeps the choice and goes on showing entries."""
    monkeypatch.setattr(Holding, "hide", lambda *_, **__: None)
    life = somebody(run)
    user, room = life.persona.user, life.client.machine.rooms[0]
    choose(run, life, "invisible")
    assert pass_time(run, 6_000) == []
    life.client.ask(Patch(topic=room, meta={"n": 77}))
    said = pass_time(run, 1_000)
    assert spoken(said, "I18", f"of {user}, who is invisible since ")
    wrong = list(end_checks.i18_the_invisible_are_hidden(run.scene))
    assert any(f"sees {user} in {room}, who is invisible" in what for what in wrong)
    assert any(f"{user} is hidden: True, and has " in what for what in wrong)


def test_i18_speaks_of_a_status_that_is_shown_of_somebody_invisible(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that folds what a user shows without what the user chose."""
    life = somebody(run)
    user = life.persona.user
    honest = status.fold_user
    monkeypatch.setattr(
        "presence_actors.core.watching.fold_user",
        lambda name, entries, _, **others: honest(
            name,
            [row._replace(status=row.status & ~HIDDEN) for row in entries],
            [],
            **others,
        ),
    )
    choose(run, life, "invisible")
    run.world.run(3_000)
    wrong = list(end_checks.i18_the_invisible_are_hidden(run.scene))
    assert any(f"sees {user}, who is invisible" in what for what in wrong)


def test_i16_speaks_of_an_operation_that_is_never_answered(run: Run) -> None:
    """At the end nothing may be pending."""
    life = somebody(run)
    gateway = run.scene.gateway_of(life)
    assert gateway is not None
    assert list(end_checks.i16_nothing_waits(run.scene)) == []
    run.world.cut(workers(run), [gateway])
    life.ask(Intent(status="dnd"), run.world.elapsed_ms)
    run.world.run(1_000)
    assert f"{life.name} waits for 1 answers" in list(end_checks.i16_nothing_waits(run.scene))


def test_a_violation_says_which_promise_when_and_what(run: Run) -> None:
    """And the time line ends with it, after the last things that happened."""
    said = Violation(invariant="I6", at_ms=1_500, what=["one thing", "another"])
    assert str(said) == "I6 at 1500 ms: one thing\n    another"
    verdict = run._verdict(said)
    assert verdict.outcome is Proved.INVALID
    assert run.history.lines[-1].endswith("* I6 at 1500 ms: one thing\n    another")


def test_i4_lets_a_choice_yield_to_one_to_be_invisible_that_it_did_not_know(run: Run) -> None:
    """Of choices on both sides of a cut the private one wins, though it was made before.

    Found by seeds 43 (plan version 2) and 2799 of `presence sim`, 2026-11-24.
    """
    life = somebody(run)
    choose(run, life, "invisible")
    run.scene.weather.calm_since_ms = run.world.elapsed_ms
    for choice in life.choices:
        choice.answered_ms = choice.invoked_ms
    run.world.run(2_500)
    choose(run, life, "dnd")
    assert reader_checks.settled_choice(run.scene, life.persona.user) is None
    assert reader_checks.was_invisible(run.scene, life.persona.user, run.scene.now_ms + 1)
    run.world.run(3_500)
    choose(run, life, "away")
    settled = reader_checks.settled_choice(run.scene, life.persona.user)
    assert settled is life.choices[-1]
