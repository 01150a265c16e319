"""What the people of the demo do, and when; the same for the same seed. Decides, and does nothing.

Each device is somewhere on this walk::

    gone --Arrive--> here --Depart, Vanish--> gone
                      |^
                      +-- Show, Choose, Speak, Hop, Drop
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import Final

import msgspec

__all__ = [
    "PEOPLE_MAX",
    "ROOMS",
    "Action",
    "Arrive",
    "Choose",
    "Cue",
    "Depart",
    "Device",
    "Drop",
    "Hop",
    "Show",
    "Speak",
    "Vanish",
    "cues",
    "devices",
    "homes",
    "names",
]

ROOMS: Final = ("lobby", "design", "support", "random")
PEOPLE_MAX: Final = 200

_NAMES: Final = (
    *("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"),
    *("karim", "lena", "mallory", "nadia", "oscar", "peggy", "quentin", "rosa", "sybil", "trent"),
    *("uma", "victor", "wendy", "ximena", "yusuf", "zoe", "anton", "bianca", "chidi", "dilara"),
    *("emil", "fatima", "goran", "hana", "ines", "jonas", "kamala", "liam", "mei", "noah"),
)
_KINDS: Final = ("desktop", "mobile", "web")
#: How many people in a hundred have one device, two, three.
_DEVICE_WEIGHTS: Final = (45, 38, 17)
_MOODS: Final = ("curious", "busy", "typing", "happy", "reading", "puzzled", "coffee", "on a call")
_TEXTS: Final = (
    "in a meeting",
    "focus time",
    "lunch",
    "on the phone",
    "writing the report",
    "back at four",
)

#: Most are there within this, and the rest comes one by one.
_OPENING_MS: Final = 4_000
_EARLY_SHARE: Final = 0.75
_LATE_MS: Final = 20_000
#: Mean time between two actions of one device, and the least.
_PAUSE_MS: Final = 9_000
_PAUSE_MS_MIN: Final = 1_500
#: How long a device stays away. Longer than the demo's lease and grace, so that who vanished is
#: seen to be gone before the device is back.
_ABSENCE_MS: Final = (8_000, 18_000)
_CHOICE_MS: Final = (4_000, 12_000)

#: Of a hundred actions of a device that is here.
_WEIGHTS: Final = {
    "speak": 25,
    "show": 22,
    "hop": 20,
    "choose": 8,
    "drop": 10,
    "depart": 7,
    "vanish": 8,
}


class Device(msgspec.Struct, frozen=True, order=True):
    """One device of one person."""

    user: str
    kind: str


class Arrive(msgspec.Struct, frozen=True, tag=True):
    """Connect, and come into these rooms."""

    rooms: tuple[str, ...]
    mood: str


class Depart(msgspec.Struct, frozen=True, tag=True):
    """Say goodbye."""


class Vanish(msgspec.Struct, frozen=True, tag=True):
    """Be gone without a word: a flat battery."""


class Drop(msgspec.Struct, frozen=True, tag=True):
    """Lose the connection, and come back by itself: a tunnel."""


class Show(msgspec.Struct, frozen=True, tag=True):
    """Show this on this device: online, or away when nobody touches it."""

    status: str


class Choose(msgspec.Struct, frozen=True, tag=True):
    """Choose what all devices of the person show, for a while."""

    status: str
    text: str
    for_ms: int


class Speak(msgspec.Struct, frozen=True, tag=True):
    """Show another mood in a room."""

    room: str
    mood: str


class Hop(msgspec.Struct, frozen=True, tag=True):
    """Go from one room to another; an empty name is no room."""

    leave: str
    join: str
    mood: str


Action = Arrive | Depart | Vanish | Drop | Show | Choose | Speak | Hop


class Cue(msgspec.Struct, frozen=True):
    """At this time of the show, this device does this."""

    at_ms: int
    device: Device
    action: Action


class _Walk:
    """Where one device is on its walk."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.is_here = False
        self.is_away = False
        self.rooms: list[str] = []


def names(people: int) -> list[str]:
    """The names of so many people.

    >>> names(2)
    ['alice', 'bob']
    """
    rounds = -(-people // len(_NAMES))
    every = [
        name + (str(lap) if lap > 1 else "") for lap in range(1, rounds + 1) for name in _NAMES
    ]
    return every[:people]


def homes(people: list[str], zones: list[str]) -> dict[str, str]:
    """The zone that each person's devices connect to: one after the other.

    >>> homes(["alice", "bob", "carol"], ["a", "b"])
    {'alice': 'a', 'bob': 'b', 'carol': 'a'}
    """
    return {user: zones[index % len(zones)] for index, user in enumerate(people)}


def devices(rng: random.Random, people: int) -> list[Device]:
    """The devices of so many people, one to three each."""
    found: list[Device] = []
    for user in names(people):
        (count,) = rng.choices((1, 2, 3), _DEVICE_WEIGHTS)
        found.extend(Device(user, kind) for kind in sorted(rng.sample(_KINDS, count)))
    return found


def cues(seed: int, people: int) -> Iterator[Cue]:
    """What happens, in the order of time, without end."""
    rng = random.Random(seed)  # noqa: S311  # a show, not a secret
    walks = [_Walk(device) for device in devices(rng, people)]
    rng.shuffle(walks)
    agenda: list[tuple[int, int]] = []
    for index in range(len(walks)):
        late = rng.random() >= _EARLY_SHARE
        at_ms = round(rng.uniform(0, _OPENING_MS) + (rng.uniform(0, _LATE_MS) if late else 0))
        agenda.append((at_ms, index))
    heapq.heapify(agenda)
    while agenda:
        at_ms, index = agenda[0]
        walk = walks[index]
        yield Cue(at_ms, walk.device, _step(rng, walk))
        heapq.heapreplace(agenda, (at_ms + _wait_ms(rng, walk), index))


def _wait_ms(rng: random.Random, walk: _Walk) -> int:
    if not walk.is_here:
        return rng.randint(*_ABSENCE_MS)
    return _PAUSE_MS_MIN + round(rng.expovariate(1 / (_PAUSE_MS - _PAUSE_MS_MIN)))


def _step(rng: random.Random, walk: _Walk) -> Action:
    if not walk.is_here:
        walk.is_here = True
        walk.is_away = False
        walk.rooms = sorted(rng.sample(ROOMS, rng.choices((1, 2), (7, 3))[0]))
        return Arrive(tuple(walk.rooms), rng.choice(_MOODS))
    (kind,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    match kind:
        case "show":
            walk.is_away = not walk.is_away
            return Show("away" if walk.is_away else "online")
        case "choose":
            return Choose("dnd", rng.choice(_TEXTS), rng.randint(*_CHOICE_MS))
        case "drop":
            return Drop()
        case "depart" | "vanish":
            walk.is_here = False
            return Depart() if kind == "depart" else Vanish()
        case "speak" if walk.rooms:
            return Speak(rng.choice(walk.rooms), rng.choice(_MOODS))
        case _:
            return _hop(rng, walk)


def _hop(rng: random.Random, walk: _Walk) -> Hop:
    join = rng.choice([room for room in ROOMS if room not in walk.rooms])
    # Who is in one room only may look into a second one; who is in two leaves one of them.
    leave = rng.choice(walk.rooms if len(walk.rooms) > 1 else [*walk.rooms, ""])
    walk.rooms = sorted({join, *walk.rooms} - {leave})
    return Hop(leave, join, rng.choice(_MOODS))
