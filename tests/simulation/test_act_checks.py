"""App servers beside simulated clusters: what they ask for holds, and what they are told is so.

Each promise is broken once, and its checker says so.
"""

from __future__ import annotations

from random import Random

import pytest

from presence_actors.core import dismissals
from presence_actors.core.acts import Kick
from presence_actors.core.effects import SessionEnded
from presence_actors.core.holding import Holding
from presence_actors.core.ids import UserId
from presence_actors.core.notices import Notices
from presence_actors.core.vocabulary import Bye, CloseCode, UserStatus
from presence_actors.sim import act_checks
from presence_actors.sim.act_checks import ActMemory
from presence_actors.sim.history import Gone, Life, Outcome
from presence_actors.sim.plan import AppServer
from presence_actors.sim.reader_checks import SHOWN
from presence_actors.sim.run import Run
from presence_actors.sim.workload import ROOMS
from tests.simulation.well_run import pass_time, somebody, spoken, well_run

pytestmark = pytest.mark.simulation

LEASE_MS = 6_000
#: Until every checker of webhooks has to be content.
SETTLED_MS = 40_000


def app(*, meters: int = 0) -> AppServer:
    """One that does nothing of its own accord."""
    return AppServer(
        begins_ms=1_000,
        pace_ms=3_600_000,
        users=["nobody"],
        meters=meters,
        rooms=list(ROOMS),
        lease_ms=LEASE_MS,
        debounce_ms=300,
    )


def kick(run: Run, life: Life) -> None:
    """An app server wants the user of this device gone, and is answered."""
    user = life.persona.user
    _, asked = run.app._ask(Kick(UserId(user)), Random(1))
    run.history.add_kick(user, asked, None)
    run.world.run(1_500)
    run.scene.look()
    assert asked.outcome is Outcome.OK


def return_of(run: Run, life: Life) -> Life:
    """The same person comes again."""
    run.workload._arrive(life.persona, Random(1))
    return run.history.lives[-1]


def test_who_is_kicked_is_gone_and_who_comes_later_is_spared() -> None:
    """No checker has anything to say, and the app server was told of each."""
    run = well_run(app=app())
    life = somebody(run)
    kick(run, life)
    assert life.gone is Gone.ENDED
    assert any(
        isinstance(event, SessionEnded) and event.code == CloseCode.KICKED
        for _, event in life.client.told
    )
    assert pass_time(run, 6_000) == []
    assert run.app.believes(life.persona.user) is UserStatus.OFFLINE
    later = return_of(run, life)
    assert pass_time(run, SETTLED_MS) == []
    assert later.is_up
    assert run.app.believes(life.persona.user) in SHOWN
    assert list(act_checks.i5_who_was_kicked_is_gone(run.scene)) == []
    assert list(act_checks.webhooks_end_with_the_truth(run.scene)) == []


def test_i5_speaks_of_somebody_who_was_kicked_and_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that does not look for dismissals."""
    run = well_run(app=app())
    monkeypatch.setattr(Holding, "take_dismissed", lambda *_: [])
    life = somebody(run)
    kick(run, life)
    wrong = list(act_checks.i5_who_was_kicked_is_gone(run.scene))
    assert wrong
    assert all(f": {life.persona.user} was kicked at " in what for what in wrong)
    assert {what.partition(":")[0] for what in wrong} <= set(run.plan.hosts)


def test_i7_speaks_of_somebody_who_came_after_a_kick_and_is_hit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that takes a dismissal for one of whoever comes, too."""
    run = well_run(app=app())
    life = somebody(run)
    kick(run, life)
    assert pass_time(run, 4_000) == []
    honest = dismissals.meant_by
    monkeypatch.setattr(
        "presence_actors.core.holding.meant_by",
        lambda *given, since: honest(*given, since=min(since, 0)),
    )
    later = return_of(run, life)
    said = pass_time(run, 3_000)
    assert spoken(said, "I7", f"{later.name} was kicked at ")
    run.scene.history.kicks[0].asked.answered_ms = None
    assert list(act_checks.i7_whoever_comes_after_a_kick_is_spared(run.scene, ActMemory())) == []


def test_i7_speaks_of_a_device_that_leaves_although_it_posts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that gives it a tenth of its lease."""
    run = well_run(app=app(meters=1))
    assert run.app.by_ref
    assert pass_time(run, 2 * LEASE_MS) == []
    honest = Holding.renew_carried
    monkeypatch.setattr(
        Holding,
        "renew_carried",
        lambda self, session, lease_ms, now: honest(self, session, lease_ms // 10, now),
    )
    assert spoken(pass_time(run, 10 * LEASE_MS), "I7", "that beat-meter0-")


def test_i8_speaks_of_a_device_that_posts_no_more_and_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that gives it a hundred times its lease; without that it goes in time."""
    run = well_run(app=app(meters=1))
    run.app.be_quiet()
    assert pass_time(run, 5 * LEASE_MS) == []
    run = well_run(app=app(meters=1))
    honest = Holding.renew_carried
    monkeypatch.setattr(
        Holding,
        "renew_carried",
        lambda self, session, lease_ms, now: honest(self, session, lease_ms * 100, now),
    )
    assert spoken(pass_time(run, 20 * LEASE_MS), "I8", "sees beat-meter0-")


def test_a_webhook_that_is_never_sent_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that speak of nobody, from the moment at which somebody goes."""
    run = well_run(app=app())
    assert pass_time(run, SETTLED_MS) == []
    monkeypatch.setattr(Notices, "run_due", lambda *_, **__: [])
    monkeypatch.setattr(Notices, "deadline", lambda _: None)
    life = somebody(run)
    life.client.ask(Bye())
    life.go(Gone.BYE, run.world.elapsed_ms)
    said = pass_time(run, 2 * SETTLED_MS)
    assert spoken(said, "webhooks", f"takes {life.persona.user} for ")
    assert "who is not there since " in said[0]
    wrong = list(act_checks.webhooks_end_with_the_truth(run.scene))
    assert any(f"takes {life.persona.user} for " in what for what in wrong)


@pytest.mark.parametrize("mute", [False, True])
def test_an_app_server_that_was_away_is_told_in_the_end(mute: bool) -> None:
    """It takes nothing in, or its answers get lost: either way it ends with the truth."""
    run = well_run(app=app())
    assert pass_time(run, 5_000) == []
    life = somebody(run)
    run.app._go_down(mute=mute)
    heard = run.app.heard
    life.client.ask(Bye())
    life.go(Gone.BYE, run.world.elapsed_ms)
    assert pass_time(run, 8_000) == []
    assert (run.app.heard > heard) == mute
    assert run.app.up_since_ms == 0
    run.app._come_up()
    assert pass_time(run, SETTLED_MS) == []
    assert run.app.up_since_ms > 0
    assert run.app.believes(life.persona.user) is UserStatus.OFFLINE
