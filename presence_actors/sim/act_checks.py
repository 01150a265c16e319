"""Checkers of what app servers ask for and are told: kicks, devices that post, webhooks.

Each yields a sentence for everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from presence_actors.core.effects import LeaveHappened, SessionEnded
from presence_actors.core.messages import PRESENCE
from presence_actors.core.values import IntentStatus
from presence_actors.core.vocabulary import CloseCode, Intent
from presence_actors.sim.end_checks import is_elsewhere, last_death_ms
from presence_actors.sim.history import Gone, Life, Outcome
from presence_actors.sim.plan import FaultKind, Temper, is_worker
from presence_actors.sim.population import OUTAGE_MS_MAX
from presence_actors.sim.reader_checks import (
    SHOWN,
    SPREAD_MS,
    ReaderMemory,
    settled_choice,
    was_invisible,
)
from presence_actors.sim.scene import Scene
from presence_actors.sim.workload import ROOMS

__all__ = ["ActMemory"]

#: Looks at all users, so only now and then.
_EACH_STEPS: Final = 10


@dataclass(slots=True)
class ActMemory:
    """What these checkers remember from step to step."""

    #: Devices whose end was judged.
    judged: dict[int, None] = field(default_factory=dict)


# Kicks.


def i7_whoever_comes_after_a_kick_is_spared(scene: Scene, memory: ActMemory) -> Iterator[str]:
    """Nobody is told that they were kicked but those who were there when it was asked for."""
    for life in scene.history.lives:
        if life.gone is not Gone.ENDED or life.number in memory.judged:
            continue
        memory.judged[life.number] = None
        codes = [event.code for _, event in life.client.told if isinstance(event, SessionEnded)]
        if CloseCode.KICKED in codes and not scene.may_be_kicked(life):
            yield (
                f"{life.name} was kicked at {life.gone_ms}, who came at {life.began_ms}, "
                "after whatever kick there was"
            )


def i5_who_was_kicked_is_gone(scene: Scene) -> Iterator[str]:
    """A kick that was acknowledged has ended, everywhere, the sessions that it means.

    One replica acknowledges it. Who was cut off for the horizon may never hear of it.
    """
    plan = scene.plan
    apart = any(
        (scene.now_ms if one.ended_ms is None else one.ended_ms) - one.began_ms
        >= plan.knobs.horizon_ms
        for one in scene.nemesis.injected
        if one.fault.kind in (FaultKind.CUT, FaultKind.STAGED, FaultKind.PAUSE)
    )
    if plan.dead or plan.lost or apart:
        return
    died_ms = last_death_ms(scene)
    for kick in scene.history.kicks:
        if kick.asked.outcome is not Outcome.OK or kick.asked.invoked_ms <= died_ms:
            continue
        for _, session in kick.sessions:
            key = (f"default/user:{kick.user}", kick.user, session)
            for name, replica in scene.replicas(core=True):
                row = replica.maps()[PRESENCE].get(key)
                if row is not None and row.live:
                    yield (
                        f"{name}: {kick.user} was kicked at {kick.asked.invoked_ms} and is "
                        f"there: {row}"
                    )


# Devices that post.


def i7_who_posts_is_there(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """In calm weather nobody hears that a device left whose last post holds."""
    for watcher, at_ms, event in memory.news:
        if not isinstance(event, LeaveHappened):
            continue
        meter = scene.app.by_ref.get(event.entry.ref)
        if meter is None or meter.ended_ms is not None or scene.calm_ms < 2 * meter.lease_ms:
            continue
        if at_ms - meter.acknowledged_ms < meter.lease_ms - SPREAD_MS:
            yield (
                f"{watcher.name} heard at {at_ms} that {meter.session} left ({event.reason}), "
                f"which posted at {meter.acknowledged_ms} for {meter.lease_ms} ms"
            )


def i8_who_posts_no_more_is_gone(scene: Scene) -> Iterator[str]:
    """In calm weather a device goes with the lease of its last post."""
    knobs, now = scene.plan.knobs, scene.now_ms
    least = SPREAD_MS + knobs.unreachable_after_ms
    if not scene.app.by_ref or scene.calm_ms < least:
        return
    spread = max(knobs.grace_connection_ms, knobs.grace_gateway_ms) + SPREAD_MS
    for watcher in scene.watchers():
        if (
            watcher.persona.temper is not Temper.WATCHER
            or now - (watcher.up_since_ms or now) < least
        ):
            continue
        machine = watcher.client.machine
        for room in ROOMS:
            doubted = machine.view(room).unreachable
            for ref in machine.entries(room):
                meter = scene.app.by_ref.get(ref)
                if meter is None or ref in doubted:
                    continue
                since = max(meter.posted_ms, scene.weather.calm_since_ms)
                if now - since > meter.lease_ms + spread:
                    yield (
                        f"{watcher.name} sees {meter.session} in {room}, which posted last at "
                        f"{meter.posted_ms} for {meter.lease_ms} ms"
                    )


# Webhooks.


def webhooks_tell_what_is_so(scene: Scene) -> Iterator[str]:
    """In calm weather the app server has been told of each difference that lasts."""
    if scene.steps % _EACH_STEPS == 0 and scene.calm_ms >= _settles_ms(scene):
        yield from webhooks_end_with_the_truth(scene)


def webhooks_end_with_the_truth(scene: Scene) -> Iterator[str]:
    """And in the end it takes everybody for what they are."""
    app, settles_ms = scene.app, _settles_ms(scene)
    # What was said on the far side of a cut that nobody heals nobody can take back.
    alone = any(map(is_worker, scene.plan.lost))
    # What was told last is a record like choices: it may die with whoever told it.
    if scene.plan.app is None or alone or not app.is_well or last_death_ms(scene) >= 0:
        return
    since_ms = scene.now_ms - settles_ms
    if app.up_since_ms > since_ms:
        return
    for user in dict.fromkeys(life.persona.user for life in scene.history.lives):
        truth = _truth(scene, user, since_ms)
        believed = app.believes(user)
        if truth is not None and truth != (believed in SHOWN):
            yield (
                f"the app server takes {user} for {believed}, who is "
                f"{'there' if truth else 'not there'} since {since_ms} at least: "
                f"{app.believed.get(user)}"
            )


def _settles_ms(scene: Scene) -> int:
    """A notice waits for the time of debouncing, and then until the receiver is tried again."""
    app = scene.plan.app
    return 0 if app is None else 2 * app.debounce_ms + 2 * OUTAGE_MS_MAX + 2 * SPREAD_MS


def _truth(scene: Scene, user: str, since_ms: int) -> bool | None:
    """Whether a user is seen to be there, if that is certain and has been since then."""
    lives = scene.history.of_user(user)
    if any(is_elsewhere(scene, life) for life in lives):
        return None
    if was_invisible(scene, user, since_ms):
        last = settled_choice(scene, user)
        certain = (
            last is not None
            and isinstance(last.message, Intent)
            and last.message.status == IntentStatus.INVISIBLE
            and last.message.until is None
            and (last.answered_ms or scene.now_ms) <= since_ms
        )
        return False if certain else None
    if any(_stands(life, since_ms) for life in lives):
        return True
    knobs = scene.plan.knobs
    went_ms = since_ms - knobs.client_lease_ms - knobs.grace_connection_ms
    if scene.healed_ms is None and scene.weather.calm_since_ms > went_ms:
        return None
    return False if all(_is_gone(life, went_ms) for life in lives) else None


def _stands(life: Life, since_ms: int) -> bool:
    return life.is_up and not life.client.frozen and (life.up_since_ms or since_ms) < since_ms


def _is_gone(life: Life, went_ms: int) -> bool:
    since = life.down_since_ms if life.down_since_ms is not None else life.gone_ms
    return since is not None and since < went_ms
