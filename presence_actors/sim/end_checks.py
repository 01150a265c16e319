"""Checkers of the end: the healed core has been on its own for as long as it may take.

Each yields a sentence for everything that is wrong. Then all must be exactly as it is: replicas
equal, every device that is there shown by everybody, and nobody else; nothing pending.
"""

from __future__ import annotations

from collections.abc import Iterator

from crdt import Row
from crdt.hlc import stamp_wall
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.session import Phase
from presence_actors.core.status import intent_of
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import (
    INTENT_KEY,
    IntentStatus,
    decode_entry,
    decode_intent,
    is_hidden,
)
from presence_actors.core.vocabulary import Intent, Quality, UserStatus
from presence_actors.sim.history import Gone, Life
from presence_actors.sim.plan import FaultKind, Temper, is_gateway
from presence_actors.sim.reader_checks import SHOWN, settled_choice
from presence_actors.sim.replica_checks import canonical, cut_ms, difference
from presence_actors.sim.scene import Scene
from presence_actors.sim.workload import ROOMS

__all__ = ["differences", "is_elsewhere", "last_death_ms"]

_Key = tuple[str, str, str]


def differences(scene: Scene) -> Iterator[str]:
    """What replicas of the core do not agree on.

    What was written a moment ago is on its way: who is not used becomes away at any time.
    """
    knobs = scene.plan.knobs
    fresh_ms = scene.world.now.wall - 2 * (knobs.gossip_idle_ms + knobs.resend_ms)
    for group in scene.by_shard(core=True):
        for which in (PRESENCE, DURABLE):
            first_name, first = group[0]
            ours = canonical(first.maps()[which], cut_ms=cut_ms(scene))
            for name, replica in group[1:]:
                theirs = canonical(replica.maps()[which], cut_ms=cut_ms(scene))
                if _settled(ours, theirs, fresh_ms) != _settled(theirs, ours, fresh_ms):
                    kind = "entries" if which == PRESENCE else "choices"
                    yield (
                        f"shard {first.shard}: {kind} of {first_name} and {name} differ: "
                        f"{difference(ours, theirs)}"
                    )


def _settled(rows: list[Row], others: list[Row], fresh_ms: int) -> list[Row]:
    """The rows of which neither side has a version from a moment ago."""
    if rows == others:
        return rows
    fresh = {row.key for row in (*rows, *others) if stamp_wall(row.stamp) >= fresh_ms}
    return [row for row in rows if row.key not in fresh]


def i2_the_core_agrees(scene: Scene) -> Iterator[str]:
    """Bounded convergence."""
    yield from differences(scene)


def i23_the_core_serves(scene: Scene) -> Iterator[str]:
    """A healed core is whole again, whoever never returns."""
    for name in scene.plan.core:
        process = scene.world.processes[name]
        if not process.alive:
            yield f"{name} is not alive"
        elif not process.machine.inspect().ready:
            yield f"{name} is not ready"
    for life in scene.history.lives:
        if life.is_there and not life.client.frozen and not life.is_up:
            phase = life.client.machine.phase
            yield f"{life.name} is {phase} since {life.down_since_ms}"


def i16_nothing_waits(scene: Scene) -> Iterator[str]:
    """Every operation of whoever can be heard was answered."""
    for life in _standing(scene):
        pending = life.client.machine.inspect().pending
        if pending:
            yield f"{life.name} waits for {pending} answers"


def i9_who_is_there_has_entries(scene: Scene) -> Iterator[str]:
    """No end beat a renewal: each device that is there is there on each replica."""
    expected = {key: life for life in _standing(scene) for key in _keys(life)}
    for group in scene.by_shard(core=True):
        for name, replica in group:
            presence = replica.maps()[PRESENCE]
            for key, life in expected.items():
                if scene.shard_of(key[0]) != replica.shard:
                    continue
                row = presence.get(key)
                if row is None or not row.live:
                    yield f"{name}: {life.name} is there and has no entry in {key[0]}: {row}"


def i4_nothing_acknowledged_is_lost(scene: Scene) -> Iterator[str]:
    """Each entry holds what its device said last, and each choice what its user chose last."""
    for life in _standing(scene):
        machine = life.client.machine
        for room in machine.rooms:
            key = (f"default/{room}", life.persona.user, str(life.session))
            for name, row in _rows(scene, key):
                if row.live and decode_entry(row.value).meta != machine.meta(room):
                    yield (
                        f"{name}: {life.name} shows {machine.meta(room)} in {room}, and the entry "
                        f"holds {decode_entry(row.value).meta}"
                    )

    yield from _choices_amiss(scene)


def last_death_ms(scene: Scene) -> int:
    """When a worker died last, or lived twice; -1 if none has."""
    dies = (FaultKind.CRASH, FaultKind.ROLLING, FaultKind.ZOMBIE)
    return max(
        (
            scene.now_ms if injected.ended_ms is None else injected.ended_ms
            for injected in scene.nemesis.injected
            if injected.fault.kind in dies
        ),
        default=-1,
    )


def _choices_amiss(scene: Scene) -> Iterator[str]:
    """A choice is acknowledged by one replica, which may have died before it told the others."""
    died_ms = last_death_ms(scene)
    users = {life.persona.user: None for life in scene.history.lives}
    for user in users if not (scene.plan.dead or scene.plan.lost) else ():
        last = settled_choice(scene, user)
        if last is None or last.invoked_ms <= died_ms or not isinstance(last.message, Intent):
            continue
        for name, row in _rows(scene, (f"default/user:{user}", user, INTENT_KEY), which=DURABLE):
            if decode_intent(row.value).status != last.message.status:
                yield (
                    f"{name}: {user} chose {last.message.status or 'nothing'} at "
                    f"{last.invoked_ms}, and the record holds {decode_intent(row.value)}"
                )


def i5_who_left_has_no_entry(scene: Scene) -> Iterator[str]:
    """No resurrection: who said goodbye, or left a room, is nowhere."""
    yield from _leftovers(scene, goodbye=True)


def i8_no_ghost_is_left(scene: Scene) -> Iterator[str]:
    """Who vanished is gone."""
    yield from _leftovers(scene, goodbye=False)


def _leftovers(scene: Scene, *, goodbye: bool) -> Iterator[str]:
    by_session = {str(life.session): life for life in scene.history.lives}
    for group in scene.by_shard(core=True):
        for name, replica in group:
            for row in replica.maps()[PRESENCE].live_rows():
                life = by_session.get(row.key[2])
                if not scene.is_core_row(row) or (life is not None and is_elsewhere(scene, life)):
                    continue
                if life is None or row.key not in _keys(life):
                    said = life is not None and life.gone is not Gone.VANISHED
                    if said == goodbye:
                        who = row.key[1] if life is None else life.name
                        yield f"{name}: {who} is not there and has an entry: {row}"


def i7_everybody_sees_who_is_there(scene: Scene) -> Iterator[str]:
    """Each watcher of the core shows each device that is there as it is, and nobody else."""
    hidden = _hidden(scene)
    for watcher in _standing(scene):
        if not watcher.persona.watches:
            continue
        if watcher.persona.temper is Temper.WATCHER:
            yield from _rooms_amiss(scene, watcher, hidden)
        yield from _statuses_amiss(scene, watcher, hidden)


def _rooms_amiss(scene: Scene, watcher: Life, hidden: dict[str, None]) -> Iterator[str]:
    machine = watcher.client.machine
    for room in ROOMS:
        expected = {
            entry_ref((f"default/{room}", life.persona.user, str(life.session))): life
            for life in _standing(scene)
            if room in life.client.machine.rooms and life.persona.user not in hidden
        }
        shown = machine.entries(room)
        doubted = machine.view(room).unreachable
        elsewhere = {
            entry_ref((f"default/{room}", life.persona.user, str(life.session)))
            for life in scene.history.lives
            if is_elsewhere(scene, life)
        }
        for ref, life in expected.items():
            if ref not in shown:
                yield f"{watcher.name} does not see {life.name} in {room}"
            elif shown[ref].meta != life.client.machine.meta(room):
                yield f"{watcher.name} sees {shown[ref]} of {life.name} in {room}"
        for ref, entry in shown.items():
            if ref not in expected and ref not in doubted and ref not in elsewhere:
                yield f"{watcher.name} sees {entry.key} in {room}, who is not there: {entry}"
        if not scene.plan.dead and not scene.plan.lost:
            view = machine.view(room)
            if view.quality != Quality.COMPLETE:
                yield f"{watcher.name} has {view}"


def _statuses_amiss(scene: Scene, watcher: Life, hidden: dict[str, None]) -> Iterator[str]:
    there: dict[str, list[Life]] = {}
    for life in _standing(scene):
        there.setdefault(life.persona.user, []).append(life)
    for user in watcher.persona.watches:
        frame = watcher.client.machine.statuses.get(user)
        elsewhere = any(is_elsewhere(scene, life) for life in scene.history.of_user(user))
        if frame is None:
            yield f"{watcher.name} knows nothing of {user}"
        elif user in hidden:
            continue  # I18 looks at those.
        elif user in there:
            if frame.status not in SHOWN:
                yield f"{watcher.name} does not see {user}, who is there: {frame}"
        elif frame.status in SHOWN and not elsewhere:
            yield f"{watcher.name} sees {user}, who is not there: {frame}"


def _hidden(scene: Scene) -> dict[str, None]:
    wall = scene.world.now.wall
    return {
        row.key[1]: None
        for _, replica in scene.replicas(core=True)
        for row in replica.maps()[DURABLE].live_rows()
        if intent_of([row], wall).status == IntentStatus.INVISIBLE
    }


def i18_the_invisible_are_hidden(scene: Scene) -> Iterator[str]:
    """Each entry of somebody invisible carries the flag that views obey, and no picture has it."""
    hidden = _hidden(scene)
    for watcher in _standing(scene):
        machine = watcher.client.machine
        for user in watcher.persona.watches:
            frame = machine.statuses.get(user)
            if user in hidden and frame is not None and frame.status != UserStatus.OFFLINE:
                yield f"{watcher.name} sees {user}, who is invisible: {frame}"
        for room in ROOMS if watcher.persona.temper is Temper.WATCHER else ():
            for entry in machine.entries(room).values():
                if entry.key in hidden:
                    yield f"{watcher.name} sees {entry.key} in {room}, who is invisible: {entry}"
    for name, replica in scene.replicas(core=True):
        for row in replica.maps()[PRESENCE].live_rows():
            if scene.is_core_row(row) and is_hidden(row.status) != (row.key[1] in hidden):
                yield f"{name}: {row.key[1]} is hidden: {row.key[1] in hidden}, and has {row}"


# Who is where.


def _standing(scene: Scene) -> list[Life]:
    """Devices that can be heard, at a gateway of the core."""
    return [
        life
        for life in scene.history.lives
        if life.is_up
        and life.client.machine.phase is Phase.STANDING
        and scene.gateway_of(life) in scene.plan.core
    ]


def is_elsewhere(scene: Scene, life: Life) -> bool:
    """Whether the core cannot know how a device is: its gateway is not of the core."""
    gateway = scene.gateway_of(life)
    return gateway is not None and is_gateway(gateway) and gateway not in scene.plan.core


def _keys(life: Life) -> list[_Key]:
    if not life.is_up or life.session is None:
        return []
    user = life.persona.user
    topics = [f"user:{user}", *life.client.machine.rooms]
    return [(f"default/{topic}", user, life.session) for topic in topics]


def _rows(scene: Scene, key: _Key, *, which: int = PRESENCE) -> Iterator[tuple[str, Row]]:
    for name, replica in scene.replicas(core=True):
        row = replica.maps()[which].get(key)
        if row is not None:
            yield name, row
