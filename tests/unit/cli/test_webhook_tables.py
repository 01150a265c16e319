"""What `presence webhooks` shows."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from presence_actors.actors.directory import Description, Inspection
from presence_actors.cli.tables import webhook_tables_of
from presence_actors.core.ids import NodeId, NodeName, ShardId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.views import DeadNotice, NoticesView, ReplicaView, WorkerView


def worker(*replicas: NoticesView | None) -> Inspection:
    """A worker whose replicas say this of webhooks."""
    views = [
        ReplicaView(
            shard=ShardId(shard),
            ready=True,
            entries=0,
            rows=0,
            origins=1,
            durable=0,
            topics_watched=0,
            gateways=[],
            peers=[],
            digest="",
            deltas_refused=0,
            notices=notices,
        )
        for shard, notices in enumerate(replicas)
    ]
    name, node = NodeName("a/w0"), NodeId("a/w0/00")
    described = Description(name, node, "worker", "host", 1, 1, None, None, None)
    return Inspection(described, WorkerView(node, ready=True, replicas=views), [], [])


def notices(*dead: DeadNotice, sent: int = 0) -> NoticesView:
    """What one replica says."""
    return NoticesView(waiting=1, sent=sent, failed=16, dead_total=len(dead), dead=list(dead))


def dead(user: str, at: int) -> DeadNotice:
    """A notice that was given up."""
    return DeadNotice(
        id=f"id-{user}",
        namespace="shop",
        user=UserId(user),
        status="online",
        at=WallMs(at),
        reason="status 410",
    )


def shown(*pictures: Inspection | None) -> str:
    """The tables as text."""
    console = Console(file=StringIO(), width=160)
    named = {f"worker-{index}": picture for index, picture in enumerate(pictures)}
    for table in webhook_tables_of(named):
        console.print(table)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_counts_are_summed_over_the_shards_and_the_dead_listed_by_their_time() -> None:
    """With all that is needed to tell the app server by hand."""
    text = shown(worker(notices(dead("bob", 2_000), sent=3), notices(dead("alice", 1_000), sent=4)))
    assert [line.split() for line in text.splitlines() if "worker-0" in line] == [
        ["│", "worker-0", "│", "2", "│", "7", "│", "32", "│", "2", "│"]
    ]
    assert text.index("shop/alice") < text.index("shop/bob")
    for word in ("1970-01-01 00:00:01", "status 410", "id-alice", "online"):
        assert word in text


def test_who_tells_nobody_or_does_not_answer_is_no_trouble() -> None:
    """A cluster without webhooks shows zeros, and no list."""
    text = shown(worker(None, None), None)
    assert "worker-0" in text
    assert "worker-1" not in text
    assert "dead" in text
    assert "why" not in text
