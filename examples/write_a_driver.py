"""Two replicas of a shard, driven by hand: no Ray, no sockets, no clock but a number.

You will see a gateway attach to one replica, and the other one learn of its entry by gossip. What
decides is the same object that a cluster runs; the driver is `post` and `run`.

    python examples/write_a_driver.py
"""

from crdt import KeyHasher, Origin, Row, Rows, Stamp, VersionVector
from presence_actors.config import Knobs
from presence_actors.core import events
from presence_actors.core.effects import Send
from presence_actors.core.epochs import entry_epoch
from presence_actors.core.ids import NodeId, NodeName, ShardId, Topic
from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.core.messages import PRESENCE, Attach
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.values import EntryStatus, EntryValue, encode_value, pack_status

SHARD, TOPIC, GATEWAY = ShardId(0), Topic("default/room:lobby"), NodeId("a/g0/01")
W0, W1, KEYS = NodeName("a/w0"), NodeName("a/w1"), KeyHasher(b"secret of the cluster")
nodes = {W0: NodeId("a/w0/01"), W1: NodeId("a/w1/01")}
time = Now(Instant(0), WallMs(1_700_000_000_000))
replicas = {
    name: ReplicaMachine(node, SHARD, replicas=2, knobs=Knobs(), hasher=KEYS, first=True, now=time)
    for name, node in nodes.items()
}


def post(name: NodeName, event: events.ReplicaEvent) -> None:
    """An event and the time go in, what comes out is carried to whom it is for."""
    for send in replicas[name].handle(event, time):
        if isinstance(send, Send) and send.to in replicas:
            post(send.to, events.MessagesReceived(nodes[name], send.messages))
        elif isinstance(send, Send):
            kinds = ", ".join(type(message).__name__ for message in send.messages)
            print(f"{time.instant:4} ms  {name} tells {send.to}: {kinds}")


def run(until: int) -> None:
    """Wakes each replica when its deadline has come, for so long."""
    global time  # noqa: PLW0603  # the clock of this small world
    while (due := min(replica.deadline() for replica in replicas.values())) <= until:
        time = Now(due, WallMs(time.wall + due - time.instant))
        for name in [name for name in replicas if replicas[name].deadline() == due]:
            post(name, events.DeadlineReached())


for name in replicas:
    post(name, events.ClusterChanged([events.Worker(name, "here") for name in nodes]))
run(until=500)
key, epoch = (TOPIC, "alice", "laptop"), entry_epoch(resume=0, attachment=1)
status, value = pack_status(EntryStatus.ONLINE), EntryValue(time.wall, "desktop", {})
row = Row(key, Stamp(0), Origin(""), epoch, status, GATEWAY, encode_value(value))
seen = (VersionVector(), VersionVector())
attach = Attach(SHARD, GATEWAY, 1, Rows.of([row]), [], seen)
post(W0, events.MessagesReceived(GATEWAY, [attach]))
run(until=time.instant + Knobs().gossip_interval_ms)
held = replicas[W1].maps()[PRESENCE].get(key)
print(f"{time.instant:4} ms  {W1} holds the entry: {held is not None}")
