"""What may be the matter with a link, and the shapes of cuts."""

from __future__ import annotations

from random import Random

import pytest

from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.errors import RemoteProtocolError, UsageError
from presence_actors.sim.clocks import WallClocks
from presence_actors.sim.network import Clog, Cut, Disturbed, Faults, Frame, Network, Throttle
from presence_actors.sim.topologies import TOPOLOGIES, cut_pairs
from tests.golden.peer_frames import PEER

A, B, C = NodeName("a/w0"), NodeName("a/w1"), NodeName("a/g0")
HOSTS = [A, B, NodeName("a/w2"), C, NodeName("a/g1")]
ZONES = [*HOSTS, NodeName("b/w0"), NodeName("b/g0")]
NOW = Instant(1_000)
MESSAGES = next(iter(PEER.values()))


@pytest.fixture
def network() -> Network:
    """A network in which all is well."""
    return Network(Random(1))


@pytest.fixture
def frame() -> Frame:
    """Some frame."""
    return Frame(MESSAGES, sample=True, prove=False)


def test_of_two_cuts_of_one_link_each_must_be_repaired(network: Network, frame: Frame) -> None:
    """A heal of one cause does not heal another one."""
    one, other = Cut(), Cut()
    network.impair(one, [(A, B)])
    network.impair(other, [(A, B)])
    network.repair(one)
    assert network.is_cut(A, B)
    assert not network.is_cut(B, A)
    assert network.arrivals(A, B, NOW, frame) == []
    network.repair(other)
    assert len(network.arrivals(A, B, NOW, frame)) == 1


def test_a_cut_knows_whether_anything_wanted_to_pass(network: Network, frame: Frame) -> None:
    """A cut of a link that nobody uses took no effect."""
    cut = Cut()
    network.impair(cut, [(A, B)])
    network.arrivals(B, A, NOW, frame)
    assert cut.hits == 0
    network.arrivals(A, B, NOW, frame)
    assert cut.hits == 1


def test_a_clog_holds_what_is_sent_in_order(network: Network) -> None:
    """What it holds is not lost."""
    clog = Clog()
    network.impair(clog, [(A, B)])
    came: list[int] = []
    assert network.holds(A, B, lambda: came.append(1))
    assert network.holds(A, B, lambda: came.append(2))
    assert not network.holds(B, A, lambda: came.append(3))
    for arrive in clog.held:
        arrive()
    assert came == [1, 2]


def test_a_throttle_makes_frames_wait_in_line(network: Network, frame: Frame) -> None:
    """Each takes as long as its bytes take."""
    network.impair(Throttle(bytes_per_s=frame.size), [(A, B)])
    arrivals = [network.arrivals(A, B, NOW, frame)[0] for _ in range(3)]
    assert [later - arrivals[0] for later in arrivals] == [0, 1_000, 2_000]


def test_what_a_narrow_link_cannot_hold_is_lost(network: Network, frame: Frame) -> None:
    """Else it would go on arriving for minutes after the link is wide again.

    Found by seed 2110 of `presence sim` (plan version 2), 2026-11-24.
    """
    throttle = Throttle(bytes_per_s=frame.size)
    network.impair(throttle, [(A, B)])
    counts = [len(network.arrivals(A, B, NOW, frame)) for _ in range(20)]
    assert sum(counts) == 11
    assert counts == sorted(counts, reverse=True)
    assert throttle.hits == 20


@pytest.mark.parametrize(
    ("faults", "counts"),
    [
        (Faults(loss=1.0), {0}),
        (Faults(duplication=1.0), {2}),
        (Faults(loss=0.5), {0, 1}),
    ],
)
def test_frames_are_lost_and_repeated_at_these_rates(
    network: Network, frame: Frame, faults: Faults, counts: set[int]
) -> None:
    """None, always, or now and then."""
    network.impair(Disturbed(faults), [(A, B)])
    assert {len(network.arrivals(A, B, NOW, frame)) for _ in range(40)} == counts


def test_a_damaged_frame_is_refused_by_the_decoder(network: Network, frame: Frame) -> None:
    """Whichever byte is wrong: nothing of it is taken in."""
    damage = Disturbed(Faults(corruption=1.0))
    network.impair(damage, [(A, B)])
    for _ in range(200):
        with pytest.raises(RemoteProtocolError):
            network.read(A, B, frame)
    assert damage.hits == 200
    assert network.read(B, A, frame) == MESSAGES


@pytest.mark.parametrize("topology", [*TOPOLOGIES, "islands(3)"])
def test_each_topology_cuts_something_and_nobody_from_themselves(topology: str) -> None:
    """Whatever is drawn; and not everything, but for the islands."""
    for seed in range(20):
        pairs = cut_pairs(topology, ZONES, Random(seed))
        assert pairs
        assert len(set(pairs)) == len(pairs)
        assert all(one != other for one, other in pairs)
        all_pairs = len(ZONES) * (len(ZONES) - 1)
        assert (len(pairs) < all_pairs) == (topology != "islands")


def test_a_bridge_leaves_a_way_over_one_host() -> None:
    """The two halves share exactly one."""
    pairs = cut_pairs("bridge", HOSTS, Random(1))
    touched = {name for pair in pairs for name in pair}
    assert len(touched) == len(HOSTS) - 1


def test_a_one_way_cut_leaves_the_way_back() -> None:
    """Who is not heard still hears."""
    pairs = cut_pairs("one-way", HOSTS, Random(1))
    assert all((other, one) not in pairs for one, other in pairs)


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        ("star", "unknown topology 'star'"),
        ("halves(2)", "unknown topology"),
        ("islands(1)", "at least two groups"),
        ("islands(9)", "9 groups, and there are 5 hosts"),
        ("zone-cut", "wants two zones"),
    ],
)
def test_an_impossible_topology_is_refused_in_words(topology: str, words: str) -> None:
    """It says which, and why."""
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        cut_pairs(topology, HOSTS, Random(1))


def test_a_clock_may_be_ahead_and_go_too_fast() -> None:
    """By a jump, by so many millionths, or both; until it is set right."""
    clocks = WallClocks()
    assert clocks.ahead_ms(A, Instant(5_000)) == 0
    clocks.set(A, Instant(5_000), ahead_ms=100, drift_ppm=-20_000)
    assert clocks.ahead_ms(A, Instant(15_000)) == 100 - 200
    clocks.set(A, Instant(15_000), ahead_ms=0)
    assert clocks.ahead_ms(A, Instant(25_000)) == 0
