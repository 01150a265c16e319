"""The people of a run, and what they do: each by their temper, and from a source of their own.

What they do is also the truth that checkers compare with: nobody else knows who is really there.
Each device counts its changes up in ``n`` of its meta, so a reader who goes back in time shows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

from presence_actors.core.instants import Instant
from presence_actors.core.session import Phase
from presence_actors.core.vocabulary import Bye, Intent, Patch, Set, Sub, Unset
from presence_actors.sim.history import Gone, History, Life
from presence_actors.sim.plan import Persona, Plan, Temper
from presence_actors.sim.world import World

__all__ = ["ROOMS", "Workload"]

ROOMS: Final = ("room:a", "room:b", "room:big")
_STATUSES: Final = ("online", "away", "dnd")
_BURST: Final = 6
_STAY_MS_MAX: Final = 30_000
_BACK_MS_MIN: Final = 500
#: How soon after the loss of its connection a device says goodbye at another gateway.
_FLIGHT_MS_MIN: Final = 100
_FLIGHT_MS_MAX: Final = 4_000

Act = Callable[[Life, Random], None]


class Workload:
    """Everybody, from their arrival until they are told to be quiet."""

    def __init__(self, world: World, plan: Plan, history: History) -> None:
        self._world = world
        self._plan = plan
        self._history = history
        self._numbers = count(1)
        self._quiet = False
        self._acts: dict[Temper, list[tuple[int, Act]]] = {
            Temper.STEADY: [(6, self._change), (1, self._set_status)],
            Temper.CHURNER: [
                (3, self._join),
                (2, self._leave),
                (3, self._drop),
                (2, self._sleep),
                (2, self._vanish),
                (2, self._bye),
                (2, self._change),
            ],
            Temper.HOPPER: [(4, self._hop), (2, self._drop), (2, self._change)],
            Temper.CHOOSER: [(4, self._choose), (1, self._drop), (1, self._change)],
            Temper.SPAMMER: [(4, self._burst), (1, self._drop)],
            Temper.CROWD: [(1, self._bye), (1, self._vanish)],
            Temper.MEMBER: [(3, self._change), (1, self._drop)],
            Temper.FUGITIVE: [(3, self._flee), (1, self._change)],
            Temper.TWIN: [(2, self._choose), (2, self._set_status), (2, self._change)],
            Temper.CELEBRITY: [(4, self._set_status), (1, self._choose), (1, self._change)],
            Temper.FAN: [(1, self._drop)],
            Temper.WATCHER: [(1, self._drop)],
        }

    def begin(self) -> None:
        """Everybody arrives at their time."""
        for persona in self._plan.people:
            random = Random(f"{self._plan.seed}/{persona.index}")
            self._later(persona.arrives_ms, self._arrival(persona, random))

    def be_quiet(self) -> None:
        """From now on nobody does anything of their own accord; who sleeps wakes up."""
        self._quiet = True
        for life in self._history.lives:
            if life.client.frozen and life.is_there:
                self._wake(life)

    def _later(self, span_ms: int, action: Callable[[], None]) -> None:
        self._world.at(Instant(self._world.instant + span_ms), action)

    def _say(self, life: Life, what: str) -> None:
        self._history.say(self._world.elapsed_ms, f"{life.name} {what}")

    # Arriving, and acting from then on.

    def _arrival(self, persona: Persona, random: Random) -> Callable[[], None]:
        def arrive() -> None:
            if not self._quiet:
                self._arrive(persona, random)

        return arrive

    def _arrive(self, persona: Persona, random: Random) -> None:
        client = self._world.newcomer(
            persona.user, gateways=persona.gateways, device=persona.device
        )
        life = Life(persona, client, next(self._numbers), self._world.elapsed_ms)
        self._history.add(life)
        self._say(life, f"comes to {persona.gateways[0]} ({persona.temper})")
        if persona.watches or persona.temper is Temper.WATCHER:
            topics = persona.rooms if persona.temper is Temper.WATCHER else []
            self._ask(life, Sub(topics=topics, users=persona.watches))
        if persona.temper not in (Temper.WATCHER, Temper.FAN):
            for room in persona.rooms:
                self._ask(life, Set(topic=room, meta={"n": 0}))
        self._next_act(life, random)

    def _next_act(self, life: Life, random: Random) -> None:
        pace = life.persona.pace_ms
        span = int(random.expovariate(1 / pace)) + 1
        self._later(span, lambda: self._act(life, random))

    def _act(self, life: Life, random: Random) -> None:
        if self._quiet or not life.is_there:
            return
        life.settle(self._world.elapsed_ms)
        if life.gone_ms is None and not life.client.frozen:
            acts = self._acts[life.persona.temper]
            (act,) = random.choices([act for _, act in acts], [weight for weight, _ in acts])
            act(life, random)
        if life.gone_ms is None:
            self._next_act(life, random)
        else:
            self._come_back(life, random)

    def _come_back(self, life: Life, random: Random) -> None:
        back = self._arrival(life.persona, random)
        self._later(int(random.expovariate(1 / life.persona.pace_ms)) + _BACK_MS_MIN, back)

    def _ask(self, life: Life, message: Set | Patch | Unset | Sub | Intent | Bye) -> None:
        life.ask(message, self._world.elapsed_ms)

    # What people do.

    def _change(self, life: Life, random: Random) -> None:
        rooms = life.client.machine.rooms
        if rooms:
            room = random.choice(rooms)
            self._say(life, f"changes in {room}")
            self._ask(life, Patch(topic=room, meta={"n": self._next_n(life)}))

    def _next_n(self, life: Life) -> int:
        return len(life.ops) + 1

    def _set_status(self, life: Life, random: Random) -> None:
        status = random.choice(_STATUSES)
        self._say(life, f"is {status}")
        self._ask(life, Set(status=status))

    def _burst(self, life: Life, random: Random) -> None:
        self._say(life, "changes many times")
        for _ in range(_BURST):
            self._ask(life, Set(status=random.choice(_STATUSES)))
            for room in life.client.machine.rooms:
                self._ask(life, Patch(topic=room, meta={"n": self._next_n(life)}))

    def _join(self, life: Life, random: Random) -> None:
        room = random.choice(ROOMS)
        self._say(life, f"joins {room}")
        self._ask(life, Set(topic=room, meta={"n": self._next_n(life)}))

    def _leave(self, life: Life, random: Random) -> None:
        rooms = life.client.machine.rooms
        if rooms:
            room = random.choice(rooms)
            self._say(life, f"leaves {room}")
            self._ask(life, Unset(topic=room))

    def _hop(self, life: Life, random: Random) -> None:
        self._leave(life, random)
        self._join(life, random)

    def _choose(self, life: Life, random: Random) -> None:
        status = random.choice(["", "dnd", "away", "invisible", "invisible"])
        span = random.choice([None, None, None, 5_000, 20_000])
        until = None if span is None else self._world.now.wall + span
        self._say(life, f"chooses {status or 'nothing'}" + (f" for {span} ms" if span else ""))
        self._ask(life, Intent(status=status, until=until))

    def _drop(self, life: Life, random: Random) -> None:
        del random
        self._say(life, "loses the connection")
        life.down(self._world.elapsed_ms)
        self._world.drop(life.client)

    def _flee(self, life: Life, random: Random) -> None:
        """Whoever saw the session at its first gateway has to hear of its end from the second."""
        self._drop(life, random)

        def leave() -> None:
            life.settle(self._world.elapsed_ms)
            if life.is_up and not self._quiet:
                self._bye(life, random)
                self._come_back(life, random)

        self._later(random.randrange(_FLIGHT_MS_MIN, _FLIGHT_MS_MAX), leave)

    def _sleep(self, life: Life, random: Random) -> None:
        self._say(life, "falls asleep")
        life.client.freeze()
        life.down(self._world.elapsed_ms)
        self._later(random.randrange(500, _STAY_MS_MAX), lambda: self._wake(life))

    def _wake(self, life: Life) -> None:
        if life.client.frozen and life.is_there:
            self._say(life, "wakes up")
            life.client.thaw()
            life.wake(self._world.elapsed_ms)

    def _vanish(self, life: Life, random: Random) -> None:
        del random
        self._say(life, "vanishes")
        life.client.vanish()
        life.go(Gone.VANISHED, self._world.elapsed_ms)

    def _bye(self, life: Life, random: Random) -> None:
        del random
        self._say(life, "says goodbye")
        heard = life.client.machine.phase is Phase.STANDING
        self._ask(life, Bye())
        life.go(Gone.BYE if heard else Gone.VANISHED, self._world.elapsed_ms)
