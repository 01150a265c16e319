"""Read-only pictures of the machines."""

from __future__ import annotations

import msgspec
import pytest

from presence_actors.core.ids import NodeName, ZoneId
from presence_actors.core.views import (
    AttachmentView,
    GatewayView,
    PeerLag,
    ReplicaView,
    WorkerView,
    ZoneView,
    zone_lags,
)
from tests.unit.core.building import G0, SHARD, W0

A, B, C = ZoneId("a"), ZoneId("b"), ZoneId("c")


def replica_view() -> ReplicaView:
    """A replica that has heard of its peer."""
    return ReplicaView(
        shard=SHARD,
        ready=True,
        entries=1,
        rows=2,
        origins=1,
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
        zones=[ZoneView(ZoneId("b"), lag_ms=None, heard=None, silent=True)],
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


def _peers(**lags: int | None) -> list[PeerLag]:
    """What is known of others, such as `b_w0`."""
    return [
        PeerLag(NodeName(name.replace("_", "/")), node=None, ready=True, lag_ms=lag)
        for name, lag in lags.items()
    ]


def test_the_lag_of_a_zone_is_the_newest_word_of_the_shard_that_is_worst_off() -> None:
    """One worker of a zone that is heard will do, in each shard; our own zone has no lag."""
    shards = [_peers(a_w1=900, b_w0=250, b_w1=800), _peers(b_w0=None, b_w1=400)]
    assert zone_lags(A, shards) == {B: 400}
    assert zone_lags(A, [*shards, _peers(b_w0=500, c_w0=10)]) == {B: 500, C: 10}


def test_a_zone_that_some_shard_has_never_heard_has_no_lag() -> None:
    """In neither order of the shards is one made up."""
    heard, unheard = _peers(b_w0=250), _peers(b_w0=None)
    assert zone_lags(A, [heard, unheard]) == zone_lags(A, [unheard, heard]) == {B: None}
    assert zone_lags(A, []) == {}
