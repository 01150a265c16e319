"""Checkers that read what watchers were told, and compare it with who was really there.

Each yields a sentence for everything that is wrong. An end that a watcher hears of is a lie unless
it was lawful at some time since that watcher last heard the opposite (`Scene.endable_ms`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from presence_actors.core.effects import (
    JoinHappened,
    LeaveHappened,
    Presence,
    StatusHappened,
    UpdateHappened,
    WelcomeHappened,
)
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import IntentStatus
from presence_actors.core.vocabulary import Entry, Intent, StatusFrame, Unset, UserStatus
from presence_actors.sim.history import Asked, Life, Outcome
from presence_actors.sim.scene import Scene

__all__ = ["SHOWN", "SPREAD_MS", "ReaderMemory", "settled_choice", "was_invisible"]

SHOWN: Final = (UserStatus.ONLINE, UserStatus.AWAY, UserStatus.DND)
#: The way of a change, with a repetition or two.
SPREAD_MS: Final = 2_500
#: Who has become invisible is not told of after this.
_REVOKED_MS: Final = 5_000

_Ref = tuple[int, str]


@dataclass(slots=True)
class ReaderMemory:
    """What these checkers remember of each watcher."""

    #: {watcher: what of its `told` was read}.
    read: dict[int, int] = field(default_factory=dict)
    #: {(watcher, ref): when it came into the watcher's picture}, and when it went.
    joined_ms: dict[_Ref, int] = field(default_factory=dict)
    left_ms: dict[_Ref, int] = field(default_factory=dict)
    #: {(watcher, user): when the watcher began to see the user as there}.
    shown_ms: dict[_Ref, int] = field(default_factory=dict)
    #: {(watcher, ref): the greatest change that the watcher has seen}.
    newest: dict[_Ref, int] = field(default_factory=dict)
    #: {watcher: when it had its last welcome}.
    welcomed_ms: dict[int, int] = field(default_factory=dict)
    #: {(topic, user, session): ref}.
    refs: dict[tuple[str, str, str], str] = field(default_factory=dict)
    #: What was told in this step: (watcher, when, event).
    news: list[tuple[Life, int, Presence]] = field(default_factory=list)
    #: How often each kind of event was told, for those who want to know that anything was.
    heard: int = 0


def read_news(scene: Scene, memory: ReaderMemory) -> None:
    """Takes in what was told since the last step; before the checkers of this module."""
    memory.news = []
    for life in scene.history.lives:
        told = life.client.told
        if not life.persona.watches:
            continue
        start = memory.read.get(life.number, 0)
        memory.news.extend((life, at_ms, event) for at_ms, event in told[start:])
        memory.read[life.number] = len(told)
    memory.heard += len(memory.news)


def note_news(scene: Scene, memory: ReaderMemory) -> None:
    """Remembers this step for the next ones; after the checkers of this module."""
    del scene
    for watcher, at_ms, event in memory.news:
        match event:
            case JoinHappened(entry=entry):
                memory.joined_ms[(watcher.number, entry.ref)] = at_ms
                memory.left_ms.pop((watcher.number, entry.ref), None)
            case LeaveHappened(entry=entry):
                memory.joined_ms.pop((watcher.number, entry.ref), None)
                memory.left_ms[(watcher.number, entry.ref)] = at_ms
            case StatusHappened(status=frame) if frame.status in SHOWN:
                memory.shown_ms[(watcher.number, frame.user)] = at_ms
            case WelcomeHappened():
                memory.welcomed_ms[watcher.number] = at_ms
            case _:
                pass


def i6_readers_never_go_back(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """What a reader has seen of an entry never gives way to something older.

    Who comes back in a storm may come to a replica that knows less, and is counted anew.
    """
    for watcher, at_ms, event in memory.news:
        if isinstance(event, WelcomeHappened) and scene.calm_ms < scene.plan.quiet_ms // 4:
            for place in [place for place in memory.newest if place[0] == watcher.number]:
                del memory.newest[place]
        if not isinstance(event, JoinHappened | UpdateHappened):
            continue
        entry = event.entry
        number = entry.meta.get("n")
        place = (watcher.number, entry.ref)
        newest = memory.newest.get(place, -1)
        if isinstance(number, int):
            if number < newest:
                yield (
                    f"{watcher.name} saw change {newest} of {entry.key} in {event.topic}, and at "
                    f"{at_ms} change {number}"
                )
            memory.newest[place] = max(newest, number)


def i7_nobody_is_offline_who_is_there(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """No reader hears that somebody went who can be heard, whatever befalls the cluster."""
    for watcher, at_ms, event in memory.news:
        match event:
            case LeaveHappened(topic=topic, entry=entry, reason=reason):
                told = memory.joined_ms.get((watcher.number, entry.ref), -1)
                since = scene.known_since_ms(told)
                life = life_of(scene, memory, topic, entry)
                if life is not None and not _may_leave(scene, life, topic, since):
                    yield (
                        f"{watcher.name} heard at {at_ms} that {life.name} left {topic} "
                        f"({reason or 'no reason'}), who is there since {life.up_since_ms}"
                    )
            case StatusHappened(status=frame, previous=previous) if previous is not None:
                since = scene.known_since_ms(memory.shown_ms.get((watcher.number, frame.user), -1))
                if frame.status == UserStatus.OFFLINE and not _may_be_offline(scene, frame, since):
                    yield f"{watcher.name} heard at {at_ms} that {frame.user} is offline: {frame}"
            case _:
                pass


def life_of(scene: Scene, memory: ReaderMemory, topic: str, entry: Entry) -> Life | None:
    """The device that an entry is about."""
    for life in scene.history.of_user(entry.key):
        if life.session is not None:
            key = (f"default/{topic}", entry.key, life.session)
            ref = memory.refs.get(key)
            if ref is None:
                ref = memory.refs[key] = entry_ref(key)
            if ref == entry.ref:
                return life
    return None


def _may_leave(scene: Scene, life: Life, topic: str, since_ms: int) -> bool:
    if scene.endable_ms(life) >= since_ms or was_invisible(scene, life.persona.user, since_ms):
        return True
    return any(
        isinstance(op.message, Unset)
        and op.message.topic == topic
        and (op.answered_ms is None or op.answered_ms >= since_ms)
        for op in life.ops
    )


def _may_be_offline(scene: Scene, frame: StatusFrame, since_ms: int) -> bool:
    return was_invisible(scene, frame.user, since_ms) or all(
        life.began_ms > since_ms or scene.endable_ms(life) >= since_ms
        for life in scene.history.of_user(frame.user)
    )


def was_invisible(scene: Scene, user: str, since_ms: int) -> bool:
    """Whether the user may have been invisible to somebody at some time since then."""
    choices = scene.history.choices_of(user)
    for place, op in enumerate(choices):
        if not isinstance(op.message, Intent) or op.message.status != "invisible":
            continue
        # A choice that did not know of this one yields to it.
        later = [
            other
            for other in choices[place + 1 :]
            if other.answered_ms is not None
            and op.answered_ms is not None
            and scene.was_calm_between(op.answered_ms, other.invoked_ms)
        ]
        # The other side of a cut may not know yet that the choice is over.
        over = later[0].answered_ms if later else None
        if over is None or over >= since_ms or scene.weather.calm_since_ms >= since_ms:
            return True
    return False


def i8_nobody_is_shown_long_after_going(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """No ghosts: leases, graces and the way of a change after going, in calm weather."""
    knobs = scene.plan.knobs
    del memory
    least = SPREAD_MS + knobs.unreachable_after_ms
    if scene.calm_ms < least:
        return
    now = scene.now_ms
    for watcher in scene.watchers():
        if now - (watcher.up_since_ms or now) < least:
            continue
        for user, frame in watcher.client.machine.statuses.items():
            if frame.status not in SHOWN or user.startswith("watcher"):
                continue
            lives = scene.history.of_user(user)
            if not any(_may_be_shown(scene, life, now) for life in lives):
                yield f"{watcher.name} sees {user}, who is long gone: {frame}"


def _may_be_shown(scene: Scene, life: Life, now: int) -> bool:
    if life.gone_ms is None and life.down_since_ms is None:
        return True
    knobs = scene.plan.knobs
    went = life.down_since_ms if life.down_since_ms is not None else life.gone_ms
    if went is None:
        return True
    span = knobs.client_lease_ms + knobs.grace_connection_ms + SPREAD_MS
    if scene.weather.calm_since_ms > went:
        # Its gateway may have gone, too, and that may not have been known.
        span = scene.plan.quiet_ms
    return now - max(went, scene.weather.calm_since_ms) < span


def i10_back_within_the_grace_is_no_event(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """No flaps: nobody is seen to come who was seen to be there already, nor to go twice.

    A return within the grace would show as a leave (I7) or as a second join of the same entry.
    """
    del scene
    joined, left = dict(memory.joined_ms), dict(memory.left_ms)
    for watcher, at_ms, event in memory.news:
        match event:
            case JoinHappened(entry=entry):
                place = (watcher.number, entry.ref)
                if place in joined:
                    yield f"{watcher.name} heard at {at_ms} that {entry.key} came, who was there"
                joined[place] = at_ms
                left.pop(place, None)
            case LeaveHappened(entry=entry):
                place = (watcher.number, entry.ref)
                if place in left:
                    yield f"{watcher.name} heard at {at_ms} that {entry.key} went, who was gone"
                joined.pop(place, None)
                left[place] = at_ms
            case _:
                pass


def i13_who_has_not_caught_up_says_nobody_is_offline(
    scene: Scene, memory: ReaderMemory
) -> Iterator[str]:
    """No answer from amnesia: absence at a replica that has just started means nothing."""
    for watcher, at_ms, event in memory.news:
        if not isinstance(event, StatusHappened) or event.status.status != UserStatus.OFFLINE:
            continue
        gateway = scene.gateway_of(watcher)
        user = event.status.user
        if gateway is None or was_invisible(scene, user, -1):
            continue
        source = scene.unready_source(gateway, f"default/user:{user}", at_ms)
        if source is not None:
            yield f"{watcher.name} heard at {at_ms} that {user} is offline, from {source}"


def i18_nobody_hears_of_the_invisible(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """Privacy: in calm weather a choice to be invisible holds soon, and for each word since."""
    for watcher, at_ms, event in memory.news:
        match event:
            case JoinHappened(entry=entry) | UpdateHappened(entry=entry):
                user = entry.key
            case StatusHappened(status=frame) if frame.status in SHOWN:
                user = frame.user
            case _:
                continue
        since = _invisible_since_ms(scene, user)
        if since is None or user == watcher.persona.user:
            continue
        if at_ms - max(since, scene.weather.calm_since_ms) >= _REVOKED_MS:
            yield f"{watcher.name} heard at {at_ms} of {user}, who is invisible since {since}"


def _invisible_since_ms(scene: Scene, user: str) -> int | None:
    """When the user became invisible to all, if it is certain that this is so now."""
    last = settled_choice(scene, user)
    choice = None if last is None else last.message
    if last is None or not isinstance(choice, Intent) or choice.status != IntentStatus.INVISIBLE:
        return None
    ends = choice.until is not None and choice.until <= scene.world.now.wall + SPREAD_MS
    return None if ends else last.answered_ms


def settled_choice(scene: Scene, user: str) -> Asked | None:
    """What a user chose last, if it was acknowledged and certainly came last."""
    choices = scene.history.choices_of(user)
    if not choices or choices[-1].outcome is not Outcome.OK:
        return None
    *before, last = choices
    # Which of two comes last that were made at once, clocks decide; and a choice that did not know
    # of an earlier one to be invisible yields to it.
    first_ms = last.invoked_ms - 2 * scene.plan.knobs.drift_ms_max
    at_once = any(
        op.answered_ms is None
        or op.answered_ms >= first_ms
        or (
            isinstance(op.message, Intent)
            and op.message.status == IntentStatus.INVISIBLE
            and not scene.was_calm_between(op.answered_ms, last.invoked_ms)
        )
        for op in before
    )
    return None if at_once else last


def i16_operations_are_answered_in_time(scene: Scene, memory: ReaderMemory) -> Iterator[str]:
    """In calm weather nobody who is connected waits for an answer."""
    del memory
    knobs, now = scene.plan.knobs, scene.now_ms
    least = knobs.unreachable_after_ms + 2 * knobs.resend_ms + SPREAD_MS
    if scene.calm_ms < least:
        return
    # Who is at a gateway that is cut off from the core for good may wait.
    cut_off = () if scene.healed_ms is None else scene.plan.lost
    for life in scene.history.lives:
        if scene.gateway_of(life) in cut_off:
            continue
        since = life.waits_since_ms
        if life.is_up and since is not None and now - max(since, life.up_since_ms or now) >= least:
            yield f"{life.name} has waited for an answer since {since}"
