"""Hand-steered scenarios about what app servers are told: at least once, in the end the truth.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from presence_actors.config import ClusterConfig
from presence_actors.core.effects import Notify, WorkerEffect
from presence_actors.core.events import GatewayEvent, NoticeAnswered, WorkerEvent
from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.vocabulary import Bye, Intent
from presence_actors.core.worker import WorkerMachine
from presence_actors.sim.process import Process
from presence_actors.sim.world import World
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import G, W, agree, arrive, asks, place

DEBOUNCE_MS = 500
#: There and back.
ROUND_TRIP_MS = 20


class Receiver:
    """An app server: what reached it, from which worker, and whether it takes it."""

    def __init__(self) -> None:
        self.heard: list[tuple[NodeName, Notify]] = []
        self.is_up = True
        #: Whether its answers get lost.
        self.is_mute = False
        #: Workers whose next notice it does not take, and how long its answers take to others.
        self.refused_once: list[NodeName] = []
        self.round_trips_ms: dict[NodeName, int] = {}

    def told(self) -> list[tuple[str, str]]:
        """(user, status) of all that it took, without doubles."""
        once = {notify.id: notify for _, notify in self.heard}
        return [(notify.user, notify.status) for notify in once.values()]

    def believes(self) -> dict[str, str]:
        """What it takes users for: of each the newest that it was told."""
        newest: dict[str, Notify] = {}
        for _, notify in self.heard:
            if notify.user not in newest or newest[notify.user].number <= notify.number:
                newest[notify.user] = notify
        return {user: notify.status for user, notify in newest.items()}


class NoticeWorld(World):
    """A world with an app server, which every worker can reach."""

    def __init__(self, *, workers: int = 2, gateways: int = 2, zones: tuple[str, ...] = ()) -> None:
        self.receiver = Receiver()
        self._listened_to: dict[int, Process] = {}
        knobs = msgspec.structs.replace(KNOBS, webhook_debounce_ms=DEBOUNCE_MS)
        config = ClusterConfig(
            workers=workers,
            gateways=gateways,
            shards=1,
            replicas=workers,
            webhook="http://127.0.0.1:1/",
            knobs=knobs,
        )
        super().__init__(config, seed=1, zones=zones)
        self.run(600)

    def _post(self, process: Process, event: GatewayEvent | WorkerEvent) -> None:
        machine = process.machine
        if isinstance(machine, WorkerMachine) and id(process) not in self._listened_to:
            self._listened_to[id(process)] = process
            self._listen(process, machine, machine.handle)
        super()._post(process, event)

    def _listen(
        self, process: Process, machine: WorkerMachine, handle: Callable[..., list[WorkerEffect]]
    ) -> None:
        def heard(*arguments: object) -> list[WorkerEffect]:
            effects = handle(*arguments)
            for effect in effects:
                if isinstance(effect, Notify):
                    self._carry(process, effect)
            return effects

        machine.handle = heard  # type: ignore[assignment, method-assign]

    def _carry(self, process: Process, notify: Notify) -> None:
        receiver = self.receiver
        taken = receiver.is_up and process.name not in receiver.refused_once
        if taken:
            receiver.heard.append((process.name, notify))
        elif receiver.is_up:
            receiver.refused_once.remove(process.name)
        answer = NoticeAnswered(notify.shard, notify.id, taken=taken, reason="503")
        if not receiver.is_mute:
            round_trip_ms = receiver.round_trips_ms.get(process.name, ROUND_TRIP_MS)
            due = Instant(self.instant + round_trip_ms)
            self.at(due, lambda: self._post(process, answer))


def test_an_app_server_hears_once_of_who_comes_changes_and_goes() -> None:
    """From one replica, the smallest one; not of a reconnect, nor of a second device."""
    world = NoticeWorld()
    alice = arrive(world, "alice", [0, 1])
    world.run(DEBOUNCE_MS + 200)
    arrive(world, "alice", [1], device="mobile").ask(Bye())
    world.drop(alice)
    world.run(2_000)
    asks(world, alice, Intent(id=1, status="dnd"))
    world.run(DEBOUNCE_MS + 200)
    alice.ask(Bye())
    world.run(5_000)
    assert [(n.user, n.status) for _, n in world.receiver.heard] == [
        ("alice", "online"),
        ("alice", "dnd"),
        ("alice", "offline"),
    ]
    first, second, third = (n.number for _, n in world.receiver.heard)
    assert first < second < third
    assert {name for name, _ in world.receiver.heard} == {W[0]}
    assert agree(world)


def test_numbers_grow_even_if_all_processes_have_ended() -> None:
    """A receiver that keeps the greatest is not left with what is no longer so.

    ```
    w0 w1 g0 g1   online, dnd, away told ... X (all end) ... online told ... offline told
    alice         .......................................... is back ....... goes
    ```
    """
    world = NoticeWorld()
    alice = arrive(world, "alice", [0])
    world.run(DEBOUNCE_MS + 300)
    for status in ("dnd", "away"):
        asks(world, alice, Intent(id=1, status=status))
        world.run(DEBOUNCE_MS + 300)
    assert world.receiver.believes() == {"alice": "away"}
    for name in (W[0], W[1], G[0], G[1]):
        world.kill(name, restart_after_ms=500)
    world.run(KNOBS.startup_grace_ms + 3_000)
    assert world.receiver.believes() == {"alice": "online"}
    alice.ask(Bye())
    world.run(DEBOUNCE_MS + 3_000)
    assert world.receiver.believes() == {"alice": "offline"}


def test_who_flickers_is_not_told_of() -> None:
    """Here for less than the time of debouncing is not here."""
    world = NoticeWorld()
    alice = arrive(world, "alice", [0])
    alice.ask(Bye())
    world.run(3_000)
    assert world.receiver.heard == []


def test_the_next_replica_speaks_when_the_speaker_dies() -> None:
    """What it had not told is told, and nothing that it had told is told again.

    ```
    w0  tells bob --X
    w1                alice comes, w1 speaks: alice     bob goes: told by w1
    ```
    """
    world = NoticeWorld()
    place(world, {0: 1, 1: 1})
    bob = arrive(world, "bob", [0])
    world.run(DEBOUNCE_MS + 200)
    arrive(world, "alice", [1])
    world.kill(W[0], restart_after_ms=None)
    world.run(KNOBS.peer_silence_ms + DEBOUNCE_MS + 1_000)
    bob.ask(Bye())
    world.run(DEBOUNCE_MS + 1_000)
    assert world.receiver.told() == [("bob", "online"), ("alice", "online"), ("bob", "offline")]
    assert [name for name, _ in world.receiver.heard] == [W[0], W[1], W[1]]


def test_what_the_dead_speaker_may_have_said_is_put_right() -> None:
    """It said that alice is online, and died before anybody knew that; then she was gone.

    ```
    w0   tells: alice online --X (the answer is lost, w0 dies)
    w1                             alice has gone: nothing new by the record, told all the same
    ```
    """
    world = NoticeWorld()
    place(world, {0: 1, 1: 1})
    alice = arrive(world, "alice", [0])
    world.receiver.is_mute = True
    world.run_until(lambda: bool(world.receiver.heard), 2_000)
    world.run(DEBOUNCE_MS)
    world.kill(W[0], restart_after_ms=None)
    world.receiver.is_mute = False
    alice.ask(Bye())
    world.run(KNOBS.peer_silence_ms + 2 * DEBOUNCE_MS + 1_000)
    assert world.receiver.believes() == {"alice": "offline"}


def test_two_that_speak_at_once_use_one_id_and_end_with_the_truth() -> None:
    """Each side of a cut takes the other for dead; a receiver drops what it has heard.

    ```
    w0 g0   alice comes  -- tells
      X (cut)                        heal: nothing more to tell
    w1 g1   bob comes    -- tells
    ```
    """
    world = NoticeWorld()
    place(world, {0: 0, 1: 1})
    carol = arrive(world, "carol", [0, 1])
    world.run(DEBOUNCE_MS + 300)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(KNOBS.peer_silence_ms)
    arrive(world, "alice", [0])
    arrive(world, "bob", [1])
    world.run(DEBOUNCE_MS + 500)
    assert world.receiver.believes() == dict.fromkeys(("carol", "alice", "bob"), "online")
    world.heal()
    carol.ask(Bye())
    world.run(5_000)
    assert world.receiver.believes() == {"carol": "offline", "alice": "online", "bob": "online"}
    doubles = len(world.receiver.heard) - len(world.receiver.told())
    assert doubles <= 1
    assert agree(world)


def test_what_two_told_under_one_number_is_told_once_more() -> None:
    """Each side chose for alice. What holds was heard first, and its record came last.

    ```
    w0 g0   dnd --refused-- again ------> heard          its record is the older one
      X (cut)                                     heal -- away is told again
    w1 g1      away --> heard                ... recorded
    ```
    """
    world = NoticeWorld()
    place(world, {0: 0, 1: 1})
    desk, phone = arrive(world, "alice", [0]), arrive(world, "alice", [1], device="mobile")
    world.run(DEBOUNCE_MS + 300)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(KNOBS.peer_silence_ms + 200)
    world.receiver.refused_once.append(W[0])
    world.receiver.round_trips_ms[W[1]] = 2_500
    asks(world, desk, Intent(id=1, status="dnd"))
    asks(world, phone, Intent(id=1, status="away"))
    world.run(5_000)
    both = [(name, notify.status) for name, notify in world.receiver.heard[-2:]]
    assert both == [(W[1], "away"), (W[0], "dnd")]
    assert len({notify.number for _, notify in world.receiver.heard[-2:]}) == 1
    world.heal()
    world.run(3_000)
    assert world.receiver.believes() == {"alice": "away"}


def test_a_user_who_cannot_be_heard_of_is_not_told_to_be_gone() -> None:
    """Behind a cut between zones people are unreachable, and that is no transition."""
    world = NoticeWorld(workers=1, gateways=1, zones=("a", "b"))
    world.newcomer("bob", gateways=[NodeName("b/g0")], device="desktop")
    world.run(DEBOUNCE_MS + 1_000)
    told = world.receiver.told()
    assert told == [("bob", "online")]
    world.cut([NodeName("a/w0"), NodeName("a/g0")], [NodeName("b/w0"), NodeName("b/g0")])
    world.run(20_000)
    world.heal()
    world.run(5_000)
    assert world.receiver.told() == told


def test_each_zone_speaks_and_says_the_same_under_the_same_id() -> None:
    """A receiver of both hears everything twice, and can drop the second."""
    world = NoticeWorld(workers=1, gateways=1, zones=("a", "b"))
    world.newcomer("bob", gateways=[NodeName("b/g0")], device="desktop")
    world.run(DEBOUNCE_MS + 2_000)
    assert {name for name, _ in world.receiver.heard} <= {NodeName("a/w0"), NodeName("b/w0")}
    assert world.receiver.told() == [("bob", "online")]


def test_what_an_app_server_missed_it_is_told_in_the_end() -> None:
    """It was down while people came and went: what is so now is told, and not all that was."""
    world = NoticeWorld()
    world.receiver.is_up = False
    alice, bob = arrive(world, "alice", [0]), arrive(world, "bob", [1])
    world.run(DEBOUNCE_MS + 1_500)
    alice.ask(Bye())
    asks(world, bob, Intent(id=1, status="away"))
    world.run(3_000)
    assert world.receiver.heard == []
    world.receiver.is_up = True
    world.run(30_000)
    assert world.receiver.believes() == {"alice": "offline", "bob": "away"}
    assert len(world.receiver.heard) == 2


def test_a_replica_that_starts_anew_takes_up_what_was_left() -> None:
    """Both replicas are replaced one after the other, and nothing is told twice or forgotten."""
    world = NoticeWorld()
    alice = arrive(world, "alice", [0])
    world.run(DEBOUNCE_MS + 300)
    for name in (W[0], W[1]):
        world.kill(name, restart_after_ms=100)
        world.run(4_000)
    alice.ask(Bye())
    world.run(DEBOUNCE_MS + 1_500)
    assert world.receiver.told() == [("alice", "online"), ("alice", "offline")]
