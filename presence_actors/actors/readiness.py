"""Whether a cluster has started: what its actors say, and what its gateways answer."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus

from presence_actors.actors.directory import Description, seats_of
from presence_actors.config import ClusterConfig


def not_ready(config: ClusterConfig, described: Sequence[Description]) -> list[str]:
    """The actors that do not listen yet, and the gateways that do not say that they are ready."""
    by_name = {known.name: known for known in described}
    waiting: list[str] = []
    for seat in seats_of(config):
        known = by_name.get(seat.node_name)
        listens = known is not None and known.link_address is not None
        url = known.url if known is not None else None
        serves = seat.role == "worker" or (url is not None and _is_ready(url))
        if not listens or not serves:
            waiting.append(seat.actor_name)
    return waiting


def _is_ready(url: str) -> bool:
    http = "http" + url.removeprefix("ws")
    try:
        with urllib.request.urlopen(f"{http}/readyz", timeout=1) as answer:  # noqa: S310  # our own
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False
