"""Hand-steered scenarios about acts of app servers: kicks, choices, and devices without a socket.

Time lines read from left to right; `X` is where something is lost or breaks.
"""

from __future__ import annotations

from itertools import count

from presence_actors.core.acts import Act, Choose, Kick, Publish, Withdraw, carried_session
from presence_actors.core.effects import Acted, SessionEnded
from presence_actors.core.events import ActRequested
from presence_actors.core.ids import Namespace, RequestId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import CARRIED_LEASE_MS_MIN
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import Bye, ErrorCode, Intent, UserStatus
from presence_actors.sim.world import Client, World
from tests.simulation.guests import Guest, GuestWorld
from tests.simulation.short_knobs import ALL_OVER_MS, KNOBS
from tests.simulation.steering import (
    ROOM,
    G,
    W,
    agree,
    arrive,
    in_room,
    joins,
    leaves,
    place,
    small_world,
    statuses,
    watch,
)

ALICE = UserId("alice")
DOOR = carried_session("door")
LEASE_MS = CARRIED_LEASE_MS_MIN


_requests = count(1_000_000)


def answered(world: World, gateway: int, act: Act) -> Acted | None:
    """What an app server is answered within two seconds."""
    request = RequestId(next(_requests))
    world._post(world.processes[G[gateway]], ActRequested(request, Namespace("default"), act))
    world.run_until(lambda: request in world.acted, 2_000)
    return world.acted.get(request)


def done(world: World, gateway: int, act: Act) -> WallMs:
    """The act is answered, and was not refused."""
    acted = answered(world, gateway, act)
    assert acted is not None
    assert acted.refusal is None
    assert acted.at is not None
    return acted.at


def ended(client: Client) -> list[tuple[int, str]]:
    """With which codes and words a client was told that its session is over."""
    return [
        (event.code, event.reason) for _, event in client.told if isinstance(event, SessionEnded)
    ]


def posted(
    meta: Meta | None = None, *, room: str = ROOM, status: str = "online", lease_ms: int = LEASE_MS
) -> Publish:
    """What alice's door posts."""
    return Publish(ALICE, DOOR, status, "door", {room: meta or {}}, lease_ms)


def test_a_kick_reaches_every_session_of_the_user_behind_whatever_gateway() -> None:
    """It is asked of one gateway, and both devices of alice are at others; bob is left alone.

    ```
    app server --kick alice--> g0        alice (desktop) at g1, alice (telephone) at g2
    ```
    """
    world = small_world(gateways=3)
    watcher = watch(world, [0], users=["alice"])
    devices = [arrive(world, "alice", [1]), arrive(world, "alice", [2], device="mobile")]
    bob = arrive(world, "bob", [1])
    done(world, 0, Kick(ALICE, text="take a break"))
    world.run(200)
    assert [ended(device) for device in devices] == [[(4403, "take a break")]] * 2
    assert leaves(watcher) == [("alice", "kicked")] * 2
    assert statuses(watcher, "alice")[-1] == UserStatus.OFFLINE
    assert ended(bob) == []
    assert in_room(watcher) == ["bob"]
    # Nobody is locked out: whoever comes anew is somebody else's business.
    arrive(world, "alice", [1])
    assert in_room(watcher) == ["alice", "bob"]
    assert agree(world)


def test_a_kick_waits_behind_a_cut_and_spares_whoever_came_later() -> None:
    """It is acknowledged on its side of the cut, and the far holder obeys when it hears of it.

    ```
    g0 w0  --kick alice--> ok        heal -- the old session ends
      X    (cut)                     |
    g1 w1  alice was here before; comes with a telephone during the cut: that one stays
    ```
    """
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [1])
    old = arrive(world, "alice", [1])
    world.run(200)
    world.cut([W[0], G[0]], [W[1], G[1]])
    world.run(100)
    done(world, 0, Kick(ALICE))
    world.run(500)
    new = arrive(world, "alice", [1], device="mobile")
    assert in_room(watcher) == ["alice", "alice"]
    assert ended(old) == []
    world.heal()
    world.run(1_000)
    assert [code for code, _ in ended(old)] == [4403]
    assert ended(new) == []
    assert in_room(watcher) == ["alice"]
    assert leaves(watcher) == [("alice", "kicked")]
    assert agree(world)


def test_a_kick_of_one_session_by_its_ref_leaves_the_others() -> None:
    """The ref is that of an entry in a room: all that an app server can see of a session."""
    world = small_world()
    watcher = watch(world, [0])
    desk = arrive(world, "alice", [0])
    phone = arrive(world, "alice", [1], device="mobile")
    (ref,) = [
        entry.ref for entry in watcher.machine.entries(ROOM).values() if entry.device == "mobile"
    ]
    done(world, 0, Kick(ALICE, ref=ref))
    done(world, 0, Kick(ALICE, ref="0123456789abcdef"))
    world.run(200)
    assert ended(desk) == []
    assert [code for code, _ in ended(phone)] == [4403]
    assert in_room(watcher) == ["alice"]


def test_a_kick_means_a_session_that_a_faster_clock_began_in_our_future() -> None:
    """The gateway of alice is ahead of the one that is asked, within the bound."""
    world = small_world()
    world.set_clock(G[1], ahead_ms=KNOBS.drift_ms_max - 100)
    watcher = watch(world, [0])
    alice = arrive(world, "alice", [1])
    until = done(world, 0, Kick(ALICE))
    world.run(200)
    assert until > world.now_at(G[0]).wall
    assert [code for code, _ in ended(alice)] == [4403]
    assert in_room(watcher) == []


def test_a_kick_survives_the_death_of_the_replica_that_took_it() -> None:
    """The holder's gateway was cut off from it; another replica has the kick by then.

    ```
    kick --> g0 --> w0 --gossip--> w1      w0 dies     g1 (attached to w0, cut off) turns to w1
    ```
    """
    world = small_world(workers=3)
    place(world, {0: 0, 1: 0})
    alice = arrive(world, "alice", [1])
    world.cut([G[1]], [W[0]])
    done(world, 0, Kick(ALICE))
    world.run(100)
    assert ended(alice) == []
    world.kill(W[0], restart_after_ms=None)
    world.run(KNOBS.peer_silence_ms + 1_000)
    assert [code for code, _ in ended(alice)] == [4403]


def test_a_session_that_was_kicked_does_not_come_back_at_another_gateway() -> None:
    """Its own gateway died before it could say so, and the client resumes elsewhere."""
    world = small_world()
    watcher = watch(world, [1])
    alice = arrive(world, "alice", [0, 1])
    world.kill(G[0], restart_after_ms=None)
    done(world, 1, Kick(ALICE))
    world.run(KNOBS.grace_gateway_ms)
    assert [code for code, _ in ended(alice)] == [4403]
    world.run(ALL_OVER_MS)
    assert in_room(watcher) == []


def test_without_any_replica_nothing_is_acknowledged_and_nothing_is_lost() -> None:
    """The kick waits at the gateway that was asked, and goes out when it can."""
    world = small_world()
    alice = arrive(world, "alice", [1])
    world.cut([G[0]], [W[0], W[1]])
    world.run(KNOBS.peer_silence_ms)
    assert answered(world, 0, Kick(ALICE)) is None
    assert ended(alice) == []
    world.heal()
    world.run(3_000)
    assert [code for code, _ in ended(alice)] == [4403]
    assert [acted.refusal for acted in world.acted.values()] == [None]


def test_a_phoenix_client_is_told_by_closed_channels_and_does_not_rejoin() -> None:
    """`phx_close` is what keeps a stock client from joining again by itself."""
    world = GuestWorld()
    alice, bob = Guest(world, "alice", [0]), Guest(world, "bob", [1])
    world.run(300)
    assert bob.there() == {"alice": 1, "bob": 1}
    done(world, 1, Kick(ALICE))
    world.run(300)
    assert alice.closed == [4403]
    assert bob.there() == {"bob": 1}
    assert alice.closed_channels == [ROOM]


def test_a_phoenix_client_that_was_kicked_is_told_so_where_it_comes_back() -> None:
    """Its gateway died before it could say so; the client joins at the next one by itself."""
    world = GuestWorld()
    alice, bob = Guest(world, "alice", [0, 1]), Guest(world, "bob", [1])
    world.run(300)
    alice.back_ms = 200
    world.kill(G[0], restart_after_ms=None)
    done(world, 1, Kick(ALICE))
    world.run(1_000)
    assert alice.closed_channels == [ROOM]
    assert alice.closed == [4403]
    world.run(ALL_OVER_MS)
    assert bob.there() == {"bob": 1}


def test_an_app_server_chooses_for_a_user() -> None:
    """As the user could: it holds on all devices, and until it ends or is taken back."""
    world = small_world()
    watcher = watch(world, [0], users=["alice"])
    arrive(world, "alice", [1])
    done(world, 0, Choose(ALICE, Intent(status="dnd", text="in class")))
    world.run(200)
    assert statuses(watcher, "alice")[-1] == UserStatus.DND
    done(world, 1, Choose(ALICE, Intent(status="invisible", until=world.now.wall + 1_000)))
    world.run(200)
    assert statuses(watcher, "alice")[-1] == UserStatus.OFFLINE
    assert in_room(watcher) == []
    world.run(1_500)
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    done(world, 0, Choose(ALICE, Intent(status="away")))
    done(world, 0, Choose(ALICE, Intent()))
    world.run(200)
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE


def test_a_sequence_of_posts_is_presence_and_its_end_is_the_end_of_the_lease() -> None:
    """Nobody hears of posts that change nothing.

    ```
    door   post -- post -- post -------------------- (no more)
    alice  online ................................... offline, timeout
                           |<-------- lease -------->|
    ```
    """
    world = small_world()
    watcher = watch(world, [0], users=["alice"])
    since = done(world, 1, posted({"open": True}))
    for _ in range(4):
        world.run(LEASE_MS // 2)
        assert done(world, 1, posted({"open": True})) == since
    assert joins(watcher) == ["alice"]
    assert statuses(watcher, "alice")[1:] == [UserStatus.ONLINE]
    world.run(LEASE_MS - 500)
    assert in_room(watcher) == ["alice"]
    world.run(1_000)
    assert leaves(watcher) == [("alice", "timeout")]
    assert statuses(watcher, "alice")[-1] == UserStatus.OFFLINE


def test_what_is_posted_is_the_whole_of_it() -> None:
    """A room that is not in a post is left, a status and a meta are replaced."""
    world = small_world()
    watcher = watch(world, [0], users=["alice"], topics=[ROOM, "room:yard"])
    done(world, 1, posted({"open": True}))
    world.run(200)
    done(world, 1, posted({"open": False}, room="room:yard", status="dnd"))
    world.run(200)
    assert in_room(watcher) == []
    (entry,) = watcher.machine.entries("room:yard").values()
    assert (entry.status, entry.meta, entry.device) == ("dnd", {"open": False}, "door")
    assert leaves(watcher) == [("alice", "left")]


def test_a_device_posts_to_another_gateway_each_time_and_nobody_hears_of_it() -> None:
    """As behind a balancer: the session goes to whoever was asked last, with its beginning."""
    world = small_world(gateways=3)
    watcher = watch(world, [0], users=["alice"])
    since = done(world, 0, posted())
    for turn in range(1, 9):
        world.run(LEASE_MS // 2)
        assert done(world, turn % 3, posted()) == since
    world.run(KNOBS.grace_connection_ms + 200)
    assert joins(watcher) == ["alice"]
    assert leaves(watcher) == []
    assert sum(len(world.gateway(index)._holding) for index in range(3)) == 2  # And the watcher.
    world.run(LEASE_MS)
    assert leaves(watcher) == [("alice", "timeout")]


def test_two_posts_at_the_same_moment_at_two_gateways_do_not_fight() -> None:
    """One of them yields, the next post decides, and the device is there once."""
    world = small_world()
    place(world, {0: 0, 1: 1})
    watcher = watch(world, [0])
    world.cut([W[0], G[0]], [W[1], G[1]])
    done(world, 0, posted())
    done(world, 1, posted())
    world.heal()
    world.run(2_000)
    frames = world.frames_carried
    world.run(500)
    assert world.frames_carried - frames < 100, "they would answer each other for ever"
    done(world, 1, posted())
    world.run(500)
    assert in_room(watcher) == ["alice"]
    assert agree(world)


def test_a_device_says_goodbye_at_another_gateway_than_it_posted_to() -> None:
    """Whoever holds it ends it; whoever is asked again has nothing to do."""
    world = small_world()
    watcher = watch(world, [0])
    done(world, 0, posted())
    world.run(200)
    done(world, 1, Withdraw(ALICE, DOOR))
    world.run(300)
    assert leaves(watcher) == [("alice", "left")]
    done(world, 1, Withdraw(ALICE, DOOR))
    done(world, 0, Withdraw(ALICE, carried_session("never seen")))
    world.run(300)
    done(world, 1, posted())
    world.run(300)
    assert in_room(watcher) == ["alice"]
    done(world, 1, Withdraw(ALICE, DOOR))
    world.run(300)
    assert leaves(watcher) == [("alice", "left")] * 2
    assert agree(world)


def test_a_device_that_posts_survives_its_gateway_unseen() -> None:
    """It posts to the next one within the grace of gateways."""
    world = small_world()
    watcher = watch(world, [1], users=["alice"])
    since = done(world, 0, posted())
    world.kill(G[0], restart_after_ms=None)
    world.run(KNOBS.grace_gateway_ms // 2)
    assert done(world, 1, posted()) == since
    world.run(KNOBS.grace_gateway_ms + 1_000)
    assert joins(watcher) == ["alice"]
    assert leaves(watcher) == []
    assert statuses(watcher, "alice")[1:] == [UserStatus.ONLINE]


def test_a_device_that_was_kicked_is_told_so_at_whichever_gateway_it_posts() -> None:
    """It goes on under another name, or not at all."""
    world = small_world()
    watcher = watch(world, [0])
    done(world, 1, posted())
    done(world, 0, Kick(ALICE))
    world.run(300)
    assert leaves(watcher) == [("alice", "kicked")]
    for gateway in (0, 1):
        refused = answered(world, gateway, posted())
        assert refused is not None
        assert refused.refusal is not None
        assert refused.refusal.code is ErrorCode.KICKED
    assert in_room(watcher) == []
    done(
        world, 1, Publish(ALICE, carried_session("window"), "online", "door", {ROOM: {}}, LEASE_MS)
    )
    world.run(300)
    assert in_room(watcher) == ["alice"]


def test_a_device_without_a_socket_and_one_with_are_two_devices_of_one_user() -> None:
    """Each ends by itself."""
    world = small_world()
    watcher = watch(world, [0], users=["alice"])
    done(world, 1, posted(status="away"))
    alice = arrive(world, "alice", [1])
    assert statuses(watcher, "alice")[-1] == UserStatus.ONLINE
    alice.ask(Bye())
    world.run(300)
    assert statuses(watcher, "alice")[-1] == UserStatus.AWAY
    assert in_room(watcher) == ["alice"]
