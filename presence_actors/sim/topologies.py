"""Which links a cut cuts: the named shapes of a partition, as directed pairs of processes.

Replicas and gateways are drawn alike, since a cut asks nobody what runs on a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from presence_actors.core.ids import NodeName, zone_of
from presence_actors.errors import UsageError
from presence_actors.sim.network import Pair

__all__ = ["TOPOLOGIES", "cut_pairs"]

_TRIO: Final = 3


def cut_pairs(topology: str, hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    """The directed pairs that carry nothing under a topology.

    ``islands(3)`` is three groups.

    Raises:
        UsageError: There is no such topology, or these hosts cannot take it.
    """
    name, _, rest = topology.partition("(")
    maker = TOPOLOGIES.get(name)
    if maker is None or (rest and (name != "islands" or not rest.endswith(")"))):
        known = ", ".join(TOPOLOGIES)
        raise UsageError(f"unknown topology {topology!r}", remedy=f"choose one of {known}")
    if name == "islands":
        return _islands(hosts, random, _count(topology, rest[:-1], hosts))
    return maker(hosts, random)


def _count(topology: str, text: str, hosts: Sequence[NodeName]) -> int:
    if not text:
        return len(hosts)
    if not text.isdigit() or int(text) < 2:  # noqa: PLR2004  # one group is no cut
        raise UsageError(f"topology {topology!r}", remedy="give at least two groups: islands(2)")
    if int(text) > len(hosts):
        raise UsageError(
            f"topology {topology!r} wants {text} groups, and there are {len(hosts)} hosts",
            remedy="give fewer groups or more hosts",
        )
    return int(text)


def _need(hosts: Sequence[NodeName], least: int, topology: str) -> None:
    if len(hosts) < least:
        raise UsageError(
            f"topology {topology!r} wants {least} hosts, and there are {len(hosts)}",
            remedy="give more workers or gateways",
        )


def _shuffled(hosts: Sequence[NodeName], random: Random) -> list[NodeName]:
    return random.sample(list(hosts), len(hosts))


def _between(left: Sequence[NodeName], right: Sequence[NodeName]) -> list[Pair]:
    there = [(one, other) for one in left for other in right]
    return there + [(other, one) for one, other in there]


def _halves(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    order = _shuffled(hosts, random)
    return _between(order[: len(order) // 2], order[len(order) // 2 :])


def _majority(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    _need(hosts, _TRIO, "majority")
    order = _shuffled(hosts, random)
    least = (len(order) - 1) // 2
    return _between(order[:least], order[least:])


def _island(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    order = _shuffled(hosts, random)
    return _between(order[:1], order[1:])


def _islands(hosts: Sequence[NodeName], random: Random, count: int) -> list[Pair]:
    order = _shuffled(hosts, random)
    groups = [order[place::count] for place in range(count)]
    return [
        pair
        for place, group in enumerate(groups)
        for other in groups[place + 1 :]
        for pair in _between(group, other)
    ]


def _all_alone(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    return _islands(hosts, random, len(hosts))


def _bridge(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    """Two halves that share one host."""
    _need(hosts, _TRIO, "bridge")
    order = _shuffled(hosts, random)[1:]
    return _between(order[: len(order) // 2], order[len(order) // 2 :])


def _majority_ring(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    """Each sees a majority, and no two see the same."""
    _need(hosts, 2 * _TRIO - 1, "majority-ring")
    order = _shuffled(hosts, random)
    near = (len(order) // 2 + 1) // 2
    return [
        (one, other)
        for place, one in enumerate(order)
        for far, other in enumerate(order)
        if min((place - far) % len(order), (far - place) % len(order)) > near
    ]


def _broken_edge(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    """Two do not hear each other, and all others do."""
    order = _shuffled(hosts, random)
    return _between(order[:1], order[1:2])


def _one_way(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    """One hears nobody, or nobody hears it; or so for one of two halves."""
    order = _shuffled(hosts, random)
    first = random.choice([1, len(order) // 2])
    pairs = [(one, other) for one in order[:first] for other in order[first:]]
    return pairs if random.getrandbits(1) else [(other, one) for one, other in pairs]


def _gateway_cut(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    """A gateway keeps its clients and loses all replicas."""
    gateway = random.choice([name for name in hosts if "/g" in name])
    return _between([gateway], [name for name in hosts if "/w" in name])


def _zone_cut(hosts: Sequence[NodeName], random: Random) -> list[Pair]:
    zones = sorted({zone_of(name): None for name in hosts})
    if len(zones) < 2:  # noqa: PLR2004  # between two
        raise UsageError("topology 'zone-cut' wants two zones", remedy="give a seed that has them")
    zone = random.choice(zones)
    return _between(
        [name for name in hosts if zone_of(name) == zone],
        [name for name in hosts if zone_of(name) != zone],
    )


TOPOLOGIES: Final[dict[str, Callable[[Sequence[NodeName], Random], list[Pair]]]] = {
    "halves": _halves,
    "majority": _majority,
    "island": _island,
    "islands": _all_alone,
    "bridge": _bridge,
    "majority-ring": _majority_ring,
    "broken-edge": _broken_edge,
    "one-way": _one_way,
    "gateway-cut": _gateway_cut,
    "zone-cut": _zone_cut,
}
