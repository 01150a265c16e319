"""Read-only pictures of the machines."""

from __future__ import annotations

import msgspec
import pytest

from presence_actors.core.ids import NodeName
from presence_actors.core.views import (
    AttachmentView,
    GatewayView,
    PeerLag,
    ReplicaView,
    WorkerView,
)
from tests.unit.core.building import G0, SHARD, W0


def replica_view() -> ReplicaView:
    """A replica that has heard of its peer."""
    return ReplicaView(
        shard=SHARD,
        ready=True,
        entries=1,
        rows=2,
        durable=3,
        topics_watched=4,
        gateways=[],
        peers=[PeerLag(name=NodeName("a/w1"), node=None, ready=False, lag_ms=None)],
        digest="00",
        deltas_refused=0,
    )


def gateway_view() -> GatewayView:
    """A gateway with one attachment."""
    return GatewayView(
        node=G0,
        ready=True,
        connections=1,
        sessions=1,
        lingering=0,
        subscriptions=0,
        topics=1,
        attachments=[
            AttachmentView(
                shard=SHARD, worker=None, node=None, number=1, attached=False, ready=False
            )
        ],
        heartbeats=0,
        changes_in=0,
        frames_out=0,
        deliveries_out=0,
    )


@pytest.mark.parametrize(
    "view", [WorkerView(node=W0, ready=True, replicas=[replica_view()]), gateway_view()]
)
def test_a_picture_survives_the_way_to_whoever_asks(view: WorkerView | GatewayView) -> None:
    """It is written by one process and read by another."""
    assert msgspec.json.decode(msgspec.json.encode(view), type=type(view)) == view


def test_a_picture_cannot_be_changed() -> None:
    """It is a picture."""
    with pytest.raises(AttributeError):
        replica_view().entries = 7  # type: ignore[misc]
