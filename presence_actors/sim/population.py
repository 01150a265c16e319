"""Draws the people of a plan: who comes, with which devices, to which gateways, in which temper."""

from __future__ import annotations

from random import Random
from typing import Final

from presence_actors.core.ids import NodeName, zone_of
from presence_actors.core.limits import CARRIED_LEASE_MS_MIN
from presence_actors.sim.plan import AppServer, Persona, Plan, Temper, is_gateway
from presence_actors.sim.workload import ROOMS

__all__ = ["OUTAGE_MS_MAX", "WARM_UP_MS", "draw_app_server", "draw_people", "has_app_server"]

#: Who is there from the start arrives within this, and faults begin after it.
WARM_UP_MS: Final = 8_000
_USERS: Final = tuple(f"user{number}" for number in range(9))
_TWIN: Final = "twin"
_CELEBRITY: Final = "celebrity"
#: Who a watcher watches.
_WATCHED: Final = (*_USERS, _TWIN, _CELEBRITY)
_BIG_ROOM: Final = "room:big"
#: How many come at one moment, stay in one room, and watch one user, where any do.
_CROWD: Final = 12
_MEMBERS: Final = 24
_FANS: Final = 12
#: The last digits of seeds whose plan has an app server.
_WITH_APP_SERVER: Final = (6, 7, 9)
#: An app server is away for no longer, so a notice waits for no longer than twice that.
OUTAGE_MS_MAX: Final = 12_000
_MUTE: Final = 0.3


def has_app_server(seed: int) -> bool:
    """Three seeds of ten have one; none of those that had found something before there were any."""
    return seed % 10 in _WITH_APP_SERVER


def draw_app_server(plan: Plan) -> AppServer:
    """From a source of its own, so that people and faults are the same with and without it."""
    random = Random(f"{plan.seed}/app server")
    outages: list[tuple[int, int, bool]] = []
    at_ms = WARM_UP_MS
    while (at_ms := at_ms + int(random.expovariate(1 / 60_000))) < plan.span_ms:
        outages.append((at_ms, random.randrange(500, OUTAGE_MS_MAX), random.random() < _MUTE))
        at_ms += OUTAGE_MS_MAX
    return AppServer(
        begins_ms=WARM_UP_MS,
        pace_ms=random.choice([4_000, 10_000, 25_000]),
        users=list(_USERS),
        meters=random.choice([0, 1, 2]),
        rooms=list(ROOMS),
        lease_ms=random.randrange(CARRIED_LEASE_MS_MIN, 2 * CARRIED_LEASE_MS_MIN),
        debounce_ms=random.randrange(200, 1_500),
        outages=outages,
    )


def draw_people(plan: Plan, random: Random) -> list[Persona]:
    """Some steady ones, a watcher at each gateway, the restless; by chance, masses."""
    town = _Town(plan, random)
    town.watchers()
    town.steady()
    town.restless()
    town.masses()
    return town.people


class _Town:
    """People as they are drawn, one after the other."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self._random = random
        self._span_ms = plan.span_ms
        self._gateways = [name for name in plan.hosts if is_gateway(name)]
        self.people: list[Persona] = []

    def _add(self, user: str, temper: Temper, **fields: object) -> None:
        random = self._random
        defaults: dict[str, object] = {
            "device": random.choice(["desktop", "mobile", "web"]),
            "gateways": self._at_home(random.sample(self._gateways, len(self._gateways))),
            "arrives_ms": random.randrange(WARM_UP_MS),
            "rooms": random.sample(ROOMS, random.choice([1, 1, 2])),
            "pace_ms": random.choice([6_000, 12_000, 20_000]),
        }
        persona = Persona(
            index=len(self.people),
            user=user,
            temper=temper,
            **{**defaults, **fields},  # type: ignore[arg-type]
        )
        self.people.append(persona)

    def _at_home(self, order: list[NodeName]) -> list[NodeName]:
        """A client is at home in one zone: that of its first gateway."""
        return [name for name in order if zone_of(name) == zone_of(order[0])]

    def watchers(self) -> None:
        """One at each gateway looks at everything."""
        for gateway in self._gateways:
            others = [other for other in self._gateways if other != gateway]
            self._add(
                f"watcher-{gateway}",
                Temper.WATCHER,
                gateways=self._at_home([gateway, *others]),
                rooms=list(ROOMS),
                watches=list(_WATCHED),
                arrives_ms=0,
                pace_ms=90_000,
            )

    def steady(self) -> None:
        """Some are there all the time, one of them with two devices."""
        for user in _USERS[:3]:
            self._add(user, Temper.STEADY)
        self._add(_USERS[2], self._random.choice([Temper.STEADY, Temper.SPAMMER]))

    def restless(self) -> None:
        """The others differ from run to run, and so does what most of them are like."""
        random = self._random
        tempers = [
            Temper.CHURNER,
            Temper.HOPPER,
            Temper.CHOOSER,
            Temper.SPAMMER,
            Temper.FUGITIVE,
        ]
        chances = [random.random() for _ in tempers]
        for user in _USERS[3:]:
            (temper,) = random.choices(tempers, chances)
            for _ in range(random.choice([1, 1, 2])):
                self._add(user, temper)

    def masses(self) -> None:
        """By chance: twins, a flash crowd, a big room, a celebrity with those who watch it."""
        random = self._random
        if random.random() < 0.4:  # noqa: PLR2004
            order = random.sample(self._gateways, len(self._gateways))
            # At different gateways if there are two, and in different zones.
            for first in (order, order[::-1]):
                self._add(_TWIN, Temper.TWIN, gateways=self._at_home(first), rooms=[_BIG_ROOM])
        if random.random() < 0.3:  # noqa: PLR2004
            at = random.randrange(WARM_UP_MS, max(WARM_UP_MS + 1, self._span_ms))
            for number in range(_CROWD):
                arrives = at + number * 7
                self._add(f"crowd{number}", Temper.CROWD, rooms=[_BIG_ROOM], arrives_ms=arrives)
        if random.random() < 0.15:  # noqa: PLR2004
            for number in range(_MEMBERS):
                self._add(f"member{number}", Temper.MEMBER, rooms=[_BIG_ROOM], pace_ms=60_000)
        if random.random() < 0.15:  # noqa: PLR2004
            self._add(_CELEBRITY, Temper.CELEBRITY, pace_ms=2_000)
            for number in range(_FANS):
                self._add(f"fan{number}", Temper.FAN, watches=[_CELEBRITY], pace_ms=40_000)
