"""What hand-steered scenarios have in common: a small world, people in it, and what they saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from crdt import Row
from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.effects import JoinHappened, LeaveHappened, StatusHappened
from presence_actors.core.ids import NodeName, ShardId
from presence_actors.core.messages import DURABLE, PRESENCE
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.vocabulary import ClientMessage, Set, StatusFrame, Sub
from presence_actors.sim.world import Client, World
from tests.simulation.short_knobs import KNOBS

__all__ = [
    "ROOM",
    "G",
    "W",
    "agree",
    "arrive",
    "asks",
    "home",
    "in_room",
    "joins",
    "leaves",
    "live_rows",
    "place",
    "replicas",
    "small_world",
    "status_frames",
    "statuses",
    "watch",
]

ROOM: Final = "room:lobby"
W: Final = [NodeName(f"a/w{index}") for index in range(4)]
G: Final = [NodeName(f"a/g{index}") for index in range(4)]
SHARD: Final = ShardId(0)


def small_world(
    *,
    workers: int = 2,
    gateways: int = 2,
    replicas: int | None = None,
    seed: int = 1,
    knobs: Knobs = KNOBS,
) -> World:
    """One shard, a replica on each worker, everybody ready."""
    world = World(
        ClusterConfig(
            workers=workers,
            gateways=gateways,
            shards=1,
            replicas=workers if replicas is None else replicas,
            knobs=knobs,
        ),
        seed=seed,
    )
    world.run(600)
    return world


def place(world: World, homes: dict[int, int]) -> None:
    """Has each of these gateways attach to that worker."""
    names = [name for name in world.processes if "/w" in name]
    for gateway, worker in homes.items():
        world.cut([G[gateway]], [name for name in names if name != W[worker]])
    world.run(KNOBS.peer_silence_ms + 300)
    world.heal()
    world.run(KNOBS.unreachable_after_ms)
    for gateway, worker in homes.items():
        assert home(world, gateway) == W[worker]


def home(world: World, gateway: int) -> NodeName | None:
    """The worker that a gateway is attached to."""
    (attachment,) = world.gateway(gateway).inspect().attachments
    return attachment.worker if attachment.attached else None


def arrive(
    world: World, name: str, gateways: list[int], *rooms: str, device: str = "desktop"
) -> Client:
    """Somebody comes, and is in these rooms."""
    client = world.client(name, gateways=gateways, device=device)
    for room in rooms or (ROOM,):
        client.ask(Set(topic=room, meta={"from": name}))
    world.run(150)
    return client


def watch(
    world: World,
    gateways: list[int],
    *,
    users: Iterable[str] = (),
    topics: Iterable[str] = (ROOM,),
    name: str = "watcher",
) -> Client:
    """Somebody who is in no room and looks on."""
    client = world.client(name, gateways=gateways)
    client.ask(Sub(topics=list(topics), users=list(users)))
    world.run(150)
    return client


def asks(world: World, client: Client, message: ClientMessage, *, within_ms: int = 200) -> object:
    """What somebody gets for an answer, if any comes in time."""
    request = client.ask(message)
    world.run(within_ms)
    return client.answers.get(request)


def in_room(watcher: Client, room: str = ROOM) -> list[str]:
    """Who is in the room, as far as this client knows; one name for each device."""
    return sorted(entry.key for entry in watcher.machine.entries(room).values())


def leaves(watcher: Client) -> list[tuple[str, str]]:
    """All leaves that were told so far: (user, reason)."""
    return [
        (event.entry.key, event.reason)
        for _, event in watcher.told
        if isinstance(event, LeaveHappened)
    ]


def joins(watcher: Client) -> list[str]:
    """All joins that were told so far."""
    return [event.entry.key for _, event in watcher.told if isinstance(event, JoinHappened)]


def statuses(watcher: Client, user: str) -> list[str]:
    """All that was told of a user so far, in order."""
    return [frame.status for frame in status_frames(watcher, user)]


def status_frames(watcher: Client, user: str, *, after: int = 0) -> Iterator[StatusFrame]:
    """The same as frames, without the first events that were told."""
    for _, event in watcher.told[after:]:
        if isinstance(event, StatusHappened) and event.status.user == user:
            yield event.status


def replicas(world: World) -> list[ReplicaMachine]:
    """The replicas of the one shard."""
    found: list[ReplicaMachine] = []
    for index in range(world.config.workers):
        replica = world.worker(index).replica(SHARD)
        assert replica is not None
        found.append(replica)
    return found


def live_rows(world: World, worker: int, topic: str) -> list[Row]:
    """The live rows of a topic at a worker."""
    return list(replicas(world)[worker].maps()[PRESENCE].topic_rows(f"default/{topic}"))


def agree(world: World) -> bool:
    """Whether all replicas hold the same, down to the byte."""
    return all(
        len({replica.maps()[which].canonical_bytes() for replica in replicas(world)}) == 1
        for which in (PRESENCE, DURABLE)
    )
