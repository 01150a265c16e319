"""Trials of returning: a wire is lost at some moment, and its client comes back somewhere else.

In each world a few watchers look at two rooms and at everybody in them, over gateways that are
attached to different replicas. Round by round they lose their wires: both ends at once, or with
frames under way that never arrive, or with their gateway; some lose the next one, too, before all
was said again. Meanwhile people come, change, hide, go, and lose their wires themselves, replicas
are cut from each other, gateways die. Some come back with a cursor that is of no use, or older than
what they have seen. Each loss is a trial.

Judged is what the client tells its application, and nothing else: in each round it must come to be
what is there (nothing missed), by changes of which each really changes the picture and each version
of an entry comes once and in order (nothing doubled).

`python -m tests.simulation.resuming SEED` runs the world of a seed again.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from crdt import Origin, Row, Stamp, VersionVector
from presence_actors.config import ClusterConfig
from presence_actors.core.cursors import read_cursor, write_cursor
from presence_actors.core.effects import (
    JoinHappened,
    LeaveHappened,
    Presence,
    StatusHappened,
    UpdateHappened,
)
from presence_actors.core.ids import NodeName, ShardId, Topic, name_of
from presence_actors.core.instants import Instant
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.placement import shard_of
from presence_actors.core.session import Phase
from presence_actors.core.status import intent_of
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.values import IntentStatus, decode_entry, is_hidden
from presence_actors.core.vocabulary import (
    Intent,
    KeyRange,
    Patch,
    Set,
    Sub,
    Unset,
    UserStatus,
)
from presence_actors.sim.world import Client, World
from tests.simulation.hearing import LATE_MS, Parted, Watcher, number_of
from tests.simulation.short_knobs import HORIZON_KNOBS

__all__ = ["Missed", "Trials", "renamed", "run"]

_SHARDS: Final = 2
_GATEWAYS: Final = 3
_WATCHERS: Final = 6
_NAMES: Final = ("alice", "bob", "carol", "dave")
_ROUNDS: Final = 24
#: In a round, wires are lost and people act within this.
_SPAN_MS: Final = 300
#: When everybody is back and all is healed, what changed must have been told within this.
_SOON_MS: Final = 700
_STEP_MS: Final = 40
#: What one of the watchers looks at: bob and carol.
_PART: Final = KeyRange(start="b", end="d")
#: What may be the matter with a cursor that is of no use; the oldest ones are so, too, when they
#: are from before the horizon.
UNUSABLE: Final = ("garbage", "another zone", "another life")


class Missed(AssertionError):
    """Something was missed, or told twice; the seed that shows it comes first."""


def _rooms() -> list[str]:
    """Two rooms of different shards."""
    names = (f"room:{number}" for number in range(100))
    found: dict[int, str] = {}
    for name in names:
        found.setdefault(shard_of(Topic(f"default/{name}"), shards=_SHARDS), name)
    return [found[shard] for shard in range(_SHARDS)]


ROOMS: Final = _rooms()


@dataclass(slots=True)
class _Device:
    """A device of somebody, and what it did."""

    name: str
    client: Client
    inside: set[str] = field(default_factory=set)
    #: {room: how often it changed there}: the number that its entry shows.
    counts: Counter[str] = field(default_factory=Counter)

    def ref(self, room: str) -> str:
        session = self.client.machine.inspect().session
        return entry_ref((f"default/{room}", self.name, str(session)))


class Trials:
    """One world, and what is done in it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        workers = self.random.choice([2, 3])
        self.world = World(
            ClusterConfig(
                workers=workers,
                gateways=_GATEWAYS,
                shards=_SHARDS,
                replicas=workers,
                knobs=HORIZON_KNOBS,
            ),
            seed=seed,
            check_every=64,
            encode_every=16,
        )
        self.world.run(600)
        self.kind = ""
        #: How many wires were lost.
        self.count = 0
        self.kinds: Counter[str] = Counter()
        self.log: list[str] = []
        self.devices = [self._device(name) for name in (*_NAMES, _NAMES[0])]
        self.hidden = dict.fromkeys(_NAMES, False)
        self.choices: Counter[str] = Counter()
        self.parted = Parted()
        #: Who lost a wire during the present cut, and so may have written on both sides of it.
        self.crossed: set[str] = set()
        self.is_cut = False
        self.hid = False
        #: How many events were other than they should be because of a cut.
        self.excused = 0
        self.watchers = [self._watcher(number) for number in range(_WATCHERS)]
        self.world.run(400)

    def _gateways(self) -> list[int]:
        gateways = list(range(_GATEWAYS))
        self.random.shuffle(gateways)
        return gateways

    def _device(self, name: str) -> _Device:
        return _Device(name, self.world.client(name, gateways=self._gateways()))

    def _watcher(self, number: int) -> Watcher:
        client = self.world.client(f"watcher{number}", gateways=self._gateways())
        # One of them looks at a part of the rooms only.
        keys = _PART if number == 0 else None
        client.ask(Sub(topics=list(ROOMS), keys=keys))
        client.ask(Sub(users=list(_NAMES)))
        return Watcher(client)

    # What happens.

    def round(self) -> None:
        """Wires are lost amid what people do, all comes back, and what was told is judged."""
        random = self.random
        kind = random.choice(["calm", "calm", "cut", "cut", "kill"])
        self.hid = random.random() < 0.2
        if kind == "cut":
            self._cut()
        self.kind = kind
        self._say(f"round: {kind}")
        for _ in range(random.randrange(2, 9)):
            self._later(self._act)
        tampered = self._lose_wires() if kind != "kill" else []
        if kind == "kill":
            self._later(self._kill)
        self.world.run(random.randrange(_SPAN_MS, 2 * _SPAN_MS))
        self.world.heal()
        self.is_cut = False
        if tampered:
            self._return_with_others(tampered)
        self._judge()
        self.crossed.clear()

    def _later(self, action: Callable[[], None]) -> None:
        self.world.at(Instant(self.world.instant + self.random.randrange(_SPAN_MS)), action)

    def _cut(self) -> None:
        """One worker, and the gateways that are attached to it, from all others."""
        self.is_cut = True
        names = sorted(self.world.processes)
        worker = self.random.choice([name for name in names if "/w" in name])
        left = [worker, *(name for name in names if self._home(name) == worker)]
        self.world.cut(left, [name for name in names if name not in left])

    def _home(self, name: NodeName) -> NodeName | None:
        if "/g" not in name:
            return None
        gateway = self.world.gateway(int(name.rpartition("g")[2]))
        return gateway.inspect().attachments[0].worker

    def _kill(self) -> None:
        name = NodeName(f"a/g{self.random.randrange(_GATEWAYS)}")
        self._say(f"{name} is killed")
        lost = sum(self._is_at(watcher.client, name) for watcher in self.watchers)
        self.count += lost
        self.kinds["killed"] += lost
        self.world.kill(name, restart_after_ms=self.random.randrange(20, 400))

    @staticmethod
    def _is_at(client: Client, name: NodeName) -> bool:
        return client.link is not None and client.link[0] == name

    def _lose_wires(self) -> list[Watcher]:
        """At random; who comes back later, with another cursor than its own."""
        tampered: list[Watcher] = []
        for watcher in self.watchers:
            draw = self.random.random()
            if draw < 0.2:
                continue
            if draw < 0.35:
                tampered.append(watcher)
            self._later(partial(self._lose, watcher, asleep=draw < 0.35))
        return tampered

    def _lose(self, watcher: Watcher, *, asleep: bool = False) -> None:
        client = watcher.client
        if client.link is None:
            return
        self.count += 1
        if self.is_cut:
            self.crossed.add(client.name)
        self.kinds[self._break(client)] += 1
        if asleep:
            client.freeze()
        elif self.random.random() < 0.4:
            # Again, perhaps before all was said.
            soon = Instant(self.world.instant + self.random.randrange(1, 160))
            self.world.at(soon, partial(self._lose, watcher))

    def _break(self, client: Client) -> str:
        if self.random.random() < 0.4:
            self.world.drop(client)
            return "both ends at once"
        noticed = self.random.choice([0, 3, 30, 300])
        self._say(f"{client.name} is torn from {client.link}, noticed after {noticed}")
        self.world.tear(client, noticed_after_ms=noticed)
        return "with frames under way"

    def _return_with_others(self, tampered: list[Watcher]) -> None:
        """They return when all replicas know the same.

        Before that, one that is behind could not tell so from a cursor of no use.
        """
        self.world.run(250)
        for watcher in tampered:
            self._tamper(watcher)
            watcher.client.thaw()

    def _tamper(self, watcher: Watcher) -> None:
        pictures = watcher.client.machine._watched._pictures
        kind = self.random.choice(["older", "oldest", *UNUSABLE])
        self.kinds[kind] += 1
        self._say(f"{watcher.client.name} returns with a cursor: {kind}")
        for room in ROOMS:
            own = pictures[room].cursor
            if own is None:
                continue
            match kind:
                case "older":
                    cursor = self.random.choice(watcher.cursors.get(room, [own]))
                case "oldest":
                    cursor = watcher.cursors.get(room, [own])[0]
                case "garbage":
                    cursor = self.random.choice(["", "!", own[:-3], own[::-1], "AAAA", "~"])
                case "another zone":
                    cursor = renamed(own, zone="b")
                case _:
                    cursor = renamed(own, life="0000000000010000000000000002")
            pictures[room].cursor = cursor

    def _act(self) -> None:
        """Somebody does something."""
        device = self.random.choice(self.devices)
        room = self.random.choice(ROOMS)
        name, client = device.name, device.client
        draw = self.random.random()
        if draw < 0.12:
            if self.is_cut:
                self.crossed.add(name)
            self._say(f"{name} is lost")
            self._break(client)
        elif draw < 0.22 and not self.hidden[name] and device is self._first(name):
            self.choices[name] += 1
            client.ask(Intent(status="dnd", text=str(self.choices[name])))
        elif draw < 0.4 and self.hid:
            self._hide(self._first(name))
        elif room not in device.inside:
            device.inside.add(room)
            device.counts[room] += 1
            client.ask(Set(topic=room, meta={"n": device.counts[room]}))
        elif draw < 0.6:
            device.inside.discard(room)
            self.parted.gone_at[device.ref(room)] = self.world.elapsed_ms
            self._say(f"{name} leaves {room}: {device.ref(room)}")
            client.ask(Unset(topic=room))
        else:
            device.counts[room] += 1
            client.ask(Patch(topic=room, meta={"n": device.counts[room]}))
            self._say(f"{name} in {room} is {device.counts[room]}: {device.ref(room)}")

    def _first(self, name: str) -> _Device:
        """The device by which somebody chooses: of two at once nobody could say which was later."""
        return next(device for device in self.devices if device.name == name)

    def _hide(self, device: _Device) -> None:
        name = device.name
        hidden = self.hidden[name] = not self.hidden[name]
        self._say(f"{name} hides: {hidden}")
        device.client.ask(Intent(status="invisible" if hidden else ""))
        self.parted.hid_at[name] = self.world.elapsed_ms

    # What must be so.

    def _judge(self) -> None:
        for watcher in self.watchers:
            self._hear(watcher)
        within_ms = LATE_MS if self.hid else _SOON_MS
        within_ms += self._wait_for_all()
        trouble = self._trouble()
        while trouble and within_ms > 0:
            self.world.run(_STEP_MS)
            within_ms -= _STEP_MS
            trouble = self._trouble()
        for watcher in self.watchers:
            self._hear(watcher)
            for room in ROOMS:
                cursor = watcher.client.machine._watched.cursor(room)
                if cursor is not None:
                    watcher.cursors.setdefault(room, []).append(cursor)
        if trouble:
            self._fail(f"missed: {trouble}")

    def _wait_for_all(self) -> int:
        """Until everybody is connected and was told something of each room."""
        for _ in range(100):
            if all(self._is_in(watcher.client) for watcher in self.watchers) and all(
                device.client.machine.inspect().phase is Phase.STANDING for device in self.devices
            ):
                return 0
            self.world.run(_STEP_MS)
        self._fail("somebody never came back")
        return 0

    @staticmethod
    def _is_in(client: Client) -> bool:
        machine = client.machine
        standing = machine.inspect().phase is Phase.STANDING
        return standing and all(machine._watched.is_synced(room) for room in ROOMS)

    def _trouble(self) -> str:
        """In what a picture differs from what is there; empty if in nothing."""
        hidden = self._hidden()
        for room in ROOMS:
            first, *others = (
                self._rows(worker, room) for worker in range(self.world.config.workers)
            )
            if any(other != first for other in others):
                return f"replicas differ in {room}"
            there = {
                entry_ref(row.key): (row.key[1], number_of(decode_entry(row.value).meta))
                for row in first
                if row.live and not is_hidden(row.status)
            }
            for watcher in self.watchers:
                entries = watcher.client.machine.entries(room)
                shown = {ref: (e.key, number_of(e.meta)) for ref, e in entries.items()}
                keys = watcher.client.machine._watched.keys(room) or KeyRange()
                wanted = {ref: told for ref, told in there.items() if told[0] in keys}
                if shown != wanted:
                    return f"{watcher.client.name} shows {shown} in {room} and not {wanted}"
        for watcher in self.watchers:
            for name in _NAMES:
                frame = watcher.client.machine.statuses.get(name)
                fits = (
                    (UserStatus.OFFLINE,) if name in hidden else (UserStatus.ONLINE, UserStatus.DND)
                )
                if frame is None or frame.status not in fits:
                    return f"{watcher.client.name} shows {frame} for {name}, hidden: {hidden}"
        return ""

    def _rows(self, worker: int, room: str) -> list[Row]:
        replica = self.world.worker(worker).replica(ShardId(ROOMS.index(room)))
        assert replica is not None
        rows = replica.maps()[PRESENCE].topic_rows(f"default/{room}")
        return sorted(rows, key=lambda row: row.key)

    def _hidden(self) -> set[str]:
        """Of two choices on both sides of a cut the private one wins: so replicas are asked."""
        rows = [
            row
            for shard in range(_SHARDS)
            for row in self._durable(ShardId(shard))
            if intent_of([row], self.world.now.wall).status == IntentStatus.INVISIBLE
        ]
        found = {row.key[1] for row in rows}
        for name in _NAMES:
            self.hidden[name] = name in found
        return found

    def _durable(self, shard: ShardId) -> list[Row]:
        replica = self.world.worker(0).replica(shard)
        assert replica is not None
        return list(replica.maps()[DURABLE].live_rows())

    def _hear(self, watcher: Watcher) -> None:
        """Each change that was told changes the picture, and comes once and in order."""
        told = watcher.client.told
        for at, event in told[watcher.judged :]:
            words = watcher.doubled(event, at, self.parted)
            if words and self._excused(watcher, event):
                self.excused += 1
            elif words:
                self._fail(f"{watcher.client.name} at {at}: {words}: {event}")
        watcher.judged = len(told)

    def _excused(self, watcher: Watcher, event: Presence) -> bool:
        """Whether a cut explains it.

        Who acts on both sides of one may be seen as both sides have it. And a status has no cursor:
        a watcher that goes to the other side is told what that side has.
        """
        if self.kind != "cut":
            return False
        match event:
            case (
                JoinHappened(entry=entry) | UpdateHappened(entry=entry) | LeaveHappened(entry=entry)
            ):
                return entry.key in self.crossed
            case StatusHappened():
                return watcher.client.name in self.crossed
            case _:
                return False

    def _say(self, words: str) -> None:
        self.log.append(f"{self.world.elapsed_ms} {words}")

    def _fail(self, words: str) -> None:
        screen = "\n".join(self.log[-40:])
        raise Missed(f"python -m tests.simulation.resuming {self.seed}\n{screen}\n{words}")


def renamed(cursor: str, *, zone: str = "a", life: str = "") -> str:
    """The cursor, with the lives of another zone, or of another time, in place of those it has."""
    found: dict[ShardId, VersionVector] = {}
    for shard, vector in read_cursor(cursor).items():
        renamed: dict[Origin, Stamp] = {}
        for origin, stamp in vector.items():
            name = name_of(origin)
            own = origin[len(name) + 1 :]
            renamed[Origin(f"{zone}/{name.partition('/')[2]}/{life or own}")] = stamp
        found[shard] = VersionVector(renamed)
    return write_cursor(found)


def run(seed: int) -> Trials:
    """One world; raises `Missed` at the first thing that is wrong."""
    trials = Trials(seed)
    for _ in range(_ROUNDS):
        trials.round()
    return trials


def main(first: int, last: int) -> int:
    """Runs the worlds of these seeds; how many of them went wrong."""
    wrong, trials, excused = 0, Counter[str](), 0
    for seed in range(first, last + 1):
        try:
            world = run(seed)
        except Missed as missed:
            wrong += 1
            sys.stdout.write(f"{seed} WRONG\n{missed}\n")
        else:
            trials += world.kinds
            trials["all"] += world.count
            excused += world.excused
    sys.stdout.write(f"{wrong} worlds wrong, {excused} events excused: {dict(trials)}\n")
    return wrong


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[-1])) > 0)
