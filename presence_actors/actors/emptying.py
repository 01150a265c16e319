"""Emptying a gateway: its clients go to the others, and nobody hears of it."""

from __future__ import annotations

import time
from typing import Final

from presence_actors.actors.cluster import Cluster
from presence_actors.actors.directory import Inspection, Seat, find_seat
from presence_actors.core.views import GatewayView
from presence_actors.errors import Unavailable, UsageError

__all__ = ["drain", "end_drain", "wait_until_empty"]

_LOOK_SECONDS: Final = 0.25
#: How long clients may take to be gone after the last of them was sent away.
_MORE_SECONDS: Final = 10.0


def drain(cluster: Cluster, gateway: str, *, spread_ms: int) -> str:
    """Have a gateway send its clients away, evenly over this time, and take nobody in; its name.

    Raises:
        UsageError: There is no such gateway, or no other one.
        Unavailable: It does not answer.
    """
    seat = _gateway(cluster, gateway)
    if cluster.config.gateways == 1:
        raise UsageError(
            f"{seat.node_name} is the only gateway", remedy="start more: presence up --gateways 2"
        )
    cluster.ask(seat, "drain", spread_ms)
    return seat.node_name


def end_drain(cluster: Cluster, gateway: str) -> str:
    """Have a gateway take clients in again; returns and raises as `drain`."""
    seat = _gateway(cluster, gateway)
    cluster.ask(seat, "end_drain")
    return seat.node_name


def wait_until_empty(cluster: Cluster, gateway: str, *, spread_ms: int) -> None:
    """Returns when no client is connected to a gateway any more.

    Raises:
        Unavailable: Some still are, long after all were sent away.
    """
    seat = _gateway(cluster, gateway)
    deadline = time.monotonic() + spread_ms / 1_000 + _MORE_SECONDS
    while left := _connections(cluster.ask(seat, "inspect")):
        if time.monotonic() > deadline:
            raise Unavailable(what=f"{left} clients are still connected", where=seat.node_name)
        time.sleep(_LOOK_SECONDS)


def _connections(picture: Inspection) -> int:
    return picture.view.connections if isinstance(picture.view, GatewayView) else 0


def _gateway(cluster: Cluster, text: str) -> Seat:
    seat = find_seat(cluster.config, text)
    if seat.role != "gateway":
        raise UsageError(f"{seat.node_name} is no gateway", remedy="say one, such as g0")
    return seat
