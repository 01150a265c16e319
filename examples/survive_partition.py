"""A cut through the middle of a cluster, and the end of it, under a virtual clock.

You will see a time line: nobody is reported offline by the cut, both sides take a change, and after
the heal everybody sees both changes and all replicas agree.

    python examples/survive_partition.py
"""

from presence_actors.client.events import Status, translate
from presence_actors.config import ClusterConfig
from presence_actors.core.ids import NodeName
from presence_actors.core.vocabulary import Set, Sub
from presence_actors.sim.world import Client, World

world = World(ClusterConfig(shards=4), seed=7)
told: dict[str, int] = {}


def person(name: str, side: int, *, watches: str) -> Client:
    """Somebody in the lobby who watches somebody else."""
    client = world.client(name, gateways=[side])
    client.ask(Set(topic="room:lobby", meta={"side": "none"}))
    client.ask(Sub(topics=["room:lobby"], users=[watches]))
    return client


def say(what: str) -> None:
    """A line of the time line, behind what people were told until then."""
    for client in world.clients:
        for at_ms, event in client.told[told.get(client.name, 0) :]:
            if isinstance(news := translate(event), Status):
                print(f"{at_ms:6} ms      {client.name} sees {news.user} {news.status}")
        told[client.name] = len(client.told)
    print(f"{world.elapsed_ms:6} ms  {what}")


def compare() -> None:
    """Says whether the replicas of both workers hold the same."""
    one, other = ([r.digest for r in world.worker(index).inspect().replicas] for index in (0, 1))
    say(f"replicas agree: {'yes' if one == other else 'no'}")


world.run(2_000)
alice, carol = person("alice", 0, watches="carol"), person("carol", 1, watches="alice")
world.run(2_000)
say("CUT: worker and gateway 0 with alice | worker and gateway 1 with carol")
world.cut([NodeName("a/w0"), NodeName("a/g0")], [NodeName("a/w1"), NodeName("a/g1")])
world.run(5_000)
say("both sides take a change")
alice.ask(Set(topic="room:lobby", meta={"side": "left"}))
carol.ask(Set(topic="room:lobby", meta={"side": "right"}))
world.run(5_000)
compare()
say("HEAL")
world.heal()
world.run(2_000)
compare()
for client in (alice, carol):
    lobby = {user: held[0].meta["side"] for user, held in client.machine.who("room:lobby").items()}
    say(f"{client.name} sees in the lobby {dict(sorted(lobby.items()))}")
