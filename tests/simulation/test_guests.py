"""Guests: stock Phoenix clients that are lost, come back anywhere, and open several tabs.

Time lines read from left to right; `X` is where a connection or a process ends.
"""

from __future__ import annotations

from random import Random

import pytest

from presence_actors.core.limits import GUEST_LEASE_MS_MIN
from tests.simulation.guests import Guest, GuestWorld
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import ROOM, G, W, arrive, in_room, joins, leaves, watch

pytestmark = pytest.mark.simulation

SEEDS = (1, 2, 3)
#: After this everything that runs out by itself has run out.
ALL_OVER_MS = (
    KNOBS.grace_connection_ms
    + KNOBS.gateway_lease_ms
    + KNOBS.grace_gateway_ms
    + KNOBS.unreachable_ms_max
)


def test_guests_and_native_clients_meet() -> None:
    """Each sees the other come and go, whichever gateway and protocol they use."""
    world = GuestWorld()
    native = arrive(world, "nina", [1])
    guest = Guest(world, "paul", [0])
    watcher = watch(world, [0])
    world.run(300)
    assert guest.there() == {"nina": 1, "paul": 1}
    assert in_room(watcher) == ["nina", "paul"]
    native.vanish()
    guest.lost(come_back=False, goodbye=True)
    world.run(300)
    assert leaves(watcher) == [("paul", "left")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_guest_that_is_lost_and_comes_back_here_is_not_missed(seed: int) -> None:
    """It adopts the session that it left in its grace.

    ```
    guest    ---X  50 ms  ---------->
    watchers (nothing) ------------->
    ```
    """
    world = GuestWorld(seed=seed)
    native, other = watch(world, [1]), Guest(world, "olga", [1])
    guest = Guest(world, "paul", [0])
    world.run(500)
    before, told = len(other.heard), len(native.told)
    guest.lost(come_back=True)
    world.run(ALL_OVER_MS)
    assert len(other.heard) == before
    assert len(native.told) == told
    assert [kind for _, kind, _, _ in guest.heard].count("join") == 2
    assert world.gateway(0).inspect().sessions == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_guest_whose_gateway_dies_is_not_missed(seed: int) -> None:
    """It derives the same session at the next gateway, with a greater resume number.

    ```
    g0       --------X            (starts again)
    guest    --------X--g1----------------------->
    watchers (nothing) -------------------------->
    ```
    """
    world = GuestWorld(seed=seed)
    native, other = watch(world, [1]), Guest(world, "olga", [1])
    guests = [Guest(world, f"user{number}", [0, 1]) for number in range(5)]
    world.run(500)
    before, told = len(other.heard), len(native.told)
    own = [len(guest.heard) for guest in guests]
    world.kill(G[0], restart_after_ms=1_000)
    world.run(ALL_OVER_MS)
    assert other.heard[before:] == []
    assert native.told[told:] == []
    for guest, heard in zip(guests, own, strict=True):
        assert [kind for _, kind, _, _ in guest.heard[heard:]] == ["sync"]


def test_tabs_of_one_user_find_their_own_sessions_again() -> None:
    """Where the room is known at the next gateway, each takes the slot that shows its meta."""
    world = GuestWorld()
    other = Guest(world, "olga", [1])
    tabs = [Guest(world, "paul", [0, 1], meta={"from": f"tab{number}"}) for number in range(3)]
    world.run(500)
    assert other.there() == {"olga": 1, "paul": 3}
    before = len(other.heard)
    # They come back in another order than that in which they came.
    for number, tab in enumerate(tabs):
        tab.back_ms = 100 - number
    world.kill(G[0], restart_after_ms=None)
    world.run(ALL_OVER_MS)
    assert other.there() == {"olga": 1, "paul": 3}
    assert other.news(before) == []


def test_equal_tabs_are_told_apart_by_their_number() -> None:
    """Three tabs that say the same are three metas; one that goes takes one of them."""
    world = GuestWorld()
    other = Guest(world, "olga", [1])
    tabs = [Guest(world, "paul", [0]) for _ in range(3)]
    world.run(500)
    assert other.there() == {"olga": 1, "paul": 3}
    tabs[1].lost(come_back=False, goodbye=True)
    world.run(300)
    assert other.there() == {"olga": 1, "paul": 2}
    assert other.news()[-1] == ("leave", "paul", "paul")


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_tabs_at_two_gateways_are_two_devices(seed: int) -> None:
    """The second takes the slot of the first, whose gateway moves its tab into a free one.

    ```
    tab 1 at g0  slot 0 -----------(beaten) slot 1 ---->
    tab 2 at g1          slot 0 ----------------------->
    watchers             one device more
    ```
    """
    world = GuestWorld(seed=seed)
    native, other = watch(world, [1]), Guest(world, "olga", [1])
    first = Guest(world, "paul", [0])
    world.run(1_000)
    before = len(other.heard)
    second = Guest(world, "paul", [1])
    world.run(1_000)
    assert other.there() == {"olga": 1, "paul": 2}
    assert other.news(before) == [("join", "paul", "paul")]
    world.run(ALL_OVER_MS)
    assert other.news(before) == [("join", "paul", "paul")]
    assert first.closed == second.closed == []
    assert in_room(native) == ["olga", "paul", "paul"]
    first.lost(come_back=False, goodbye=True)
    world.run(500)
    assert other.there() == {"olga": 1, "paul": 1}


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_tabs_that_come_at_the_same_time_do_not_fight(seed: int) -> None:
    """Their resume numbers are equal; one of them moves, and then there is peace."""
    world = GuestWorld(gateways=3, seed=seed)
    other = Guest(world, "olga", [1])
    world.run(500)
    before = len(other.heard)
    tabs = [Guest(world, "paul", [index]) for index in range(3)]
    world.run(ALL_OVER_MS)
    assert other.there() == {"olga": 1, "paul": 3}
    assert all(tab.closed == [] for tab in tabs)
    changes = world.frames_carried
    world.run(2_000)
    # Beats and promises only: nobody refutes anybody any more.
    assert other.news(before)[-1][0] == "join"
    assert world.frames_carried - changes < 2_000


def test_a_moved_tab_stays_in_all_its_rooms() -> None:
    """And the rooms of which the other tab knows nothing lose the old entry after the grace."""
    world = GuestWorld()
    side = "room:side"
    other = Guest(world, "olga", [1], rooms=(ROOM, side))
    first = Guest(world, "paul", [0], rooms=(ROOM, side))
    world.run(1_000)
    Guest(world, "paul", [1], rooms=(ROOM,))
    world.run(ALL_OVER_MS)
    assert other.there(ROOM) == {"olga": 1, "paul": 2}
    assert other.there(side) == {"olga": 1, "paul": 1}
    first.say(side, "track", {"from": "moved"})
    first.say(ROOM, "phx_leave", {})
    world.run(500)
    assert other.there(ROOM) == {"olga": 1, "paul": 1}
    assert other.state[side]["paul"][0]["from"] == "moved"


def test_what_a_guest_does_not_join_again_ends_after_the_grace() -> None:
    """A reloaded page may have other rooms than the one before."""
    world = GuestWorld()
    side = "room:side"
    other = Guest(world, "olga", [1], rooms=(ROOM, side))
    guest = Guest(world, "paul", [0], rooms=(ROOM, side))
    world.run(500)
    guest.channels = [ROOM]
    guest.lost(come_back=True)
    world.run(300)
    assert other.there(side) == {"olga": 1, "paul": 1}
    world.run(KNOBS.grace_connection_ms + 500)
    assert other.there(side) == {"olga": 1}
    assert other.there(ROOM) == {"olga": 1, "paul": 1}


def test_a_guest_that_never_comes_back_leaves_after_the_grace() -> None:
    """With the reason for native watchers, and not before."""
    world = GuestWorld()
    native = watch(world, [1])
    guest = Guest(world, "paul", [0])
    world.run(500)
    guest.lost(come_back=False)
    world.run(KNOBS.grace_connection_ms - 200)
    assert leaves(native) == []
    world.run(500)
    assert leaves(native) == [("paul", "timeout")]


def test_a_guest_is_believed_in_for_longer_than_it_takes_to_beat() -> None:
    """A stock client beats every 30 s, whatever is asked of native ones; silence ends it."""
    world = GuestWorld()
    guest = Guest(world, "paul", [0])
    world.run(500)
    assert KNOBS.client_lease_ms < 30_000
    world.run(30_000)
    guest.say("phoenix", "heartbeat", {})
    assert guest.closed == []
    world.run(GUEST_LEASE_MS_MIN)
    assert guest.closed == [4508]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_between_tabs_ends_in_two_devices(seed: int) -> None:
    """Both sides gave the same slot away; after the heal one tab moves, and both stay connected.

    ```
    tab 1 at g0 --|cut|-- slot 0 ----heal-- slot 0
    tab 2 at g1 --|cut|-- slot 0 ----heal-- slot 1
    ```
    """
    world = GuestWorld(seed=seed)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(KNOBS.peer_silence_ms + 500)
    tabs = [Guest(world, "paul", [0])]
    world.run(700)
    tabs.append(Guest(world, "paul", [1]))
    world.run(700)
    world.heal()
    world.run(ALL_OVER_MS)
    for tab in tabs:
        assert tab.there() == {"paul": 2}
        assert tab.closed == []


def test_a_native_watcher_sees_since_when_a_returned_guest_is_there() -> None:
    """Where the room is known, the new gateway says what the old one said."""
    world = GuestWorld()
    native = watch(world, [1])
    Guest(world, "paul", [0, 1])
    world.run(500)
    [entry] = native.machine.entries(ROOM).values()
    world.kill(G[0], restart_after_ms=None)
    world.run(ALL_OVER_MS)
    assert list(native.machine.entries(ROOM).values()) == [entry]
    assert joins(native) == ["paul"]


def _turmoil(seed: int) -> None:
    """Tabs come, go, are lost and come back; gateways and workers die, and are cut apart."""
    world = GuestWorld(gateways=3, workers=2, seed=seed)
    chance = Random(seed)
    tabs: list[Guest] = []
    for step in range(25):
        match chance.randrange(8):
            case 0 | 1 | 2:
                gateways = chance.sample(range(3), 3)
                user = chance.choice(("paul", "pia"))
                tabs.append(Guest(world, user, gateways, meta={"from": chance.randrange(2)}))
            case 3 if tabs:
                tabs.pop(chance.randrange(len(tabs))).lost(come_back=False, goodbye=True)
            case 4 if tabs:
                chance.choice(tabs).lost(come_back=True)
            case 5:
                world.kill(G[step % 3], restart_after_ms=chance.randrange(100, 600))
            case 6:
                world.kill(W[step % 2], restart_after_ms=chance.randrange(100, 600))
            case 7:
                world.cut([W[0], G[0]], [W[1], G[1], G[2]])
            case _:
                world.heal()
        # One process at a time is away.
        world.run(chance.choice((700, 1_300, 3_000)))
        world.heal()
    world.run(ALL_OVER_MS)
    expected = {user: len([tab for tab in tabs if tab.name == user]) for user in ("paul", "pia")}
    expected = {user: number for user, number in expected.items() if number}
    seen = Guest(world, "watcher", [0], rooms=(ROOM,))
    world.run(1_000)
    assert {key: n for key, n in seen.there().items() if key != "watcher"} == expected
    for tab in tabs:
        assert {key: n for key, n in tab.there().items() if key != "watcher"} == expected
        assert tab.closed == []


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_turmoil_each_tab_is_one_meta(seed: int) -> None:
    """Nobody is missing, nobody is there twice, and no gateway has closed a connection."""
    _turmoil(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 140))
def test_after_much_turmoil_each_tab_is_one_meta(seed: int) -> None:
    """The same with many seeds."""
    _turmoil(seed)
