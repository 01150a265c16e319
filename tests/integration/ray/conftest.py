"""One real cluster for all stories of this folder, with short times and injectable faults."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from presence_actors.actors.cluster import Cluster
from presence_actors.config import ClusterConfig, Knobs
from presence_actors.errors import Unavailable
from tests.integration.free_ports import first_of_free_ports
from tests.integration.polling import until

#: Short enough for a test, long enough for two busy cores.
SHORT_KNOBS = Knobs(
    heartbeat_ms=1_000,
    client_lease_ms=3_000,
    grace_connection_ms=2_000,
    grace_gateway_ms=8_000,
    gateway_beat_ms=250,
    gateway_lease_ms=2_000,
    unreachable_after_ms=2_000,
    unreachable_ms_max=60_000,
    startup_grace_ms=2_000,
    interest_linger_ms=2_000,
    reconnect_jitter_ms=500,
    reconnect_ms_max=2_000,
)


def start_cluster(state_dir: Path, *, token_key: bytes | None = None, **changes: Any) -> Cluster:
    """A cluster of its own for a test that wants another shape; end it with `stop`."""
    settings = {"faults": True, "knobs": SHORT_KNOBS, **changes}
    config = ClusterConfig(**settings)
    port = first_of_free_ports(config.gateways)
    config = msgspec.structs.replace(config, port=port)
    return Cluster.start(config, state_dir=state_dir, token_key=token_key, tied=True)


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of a whole file; ask for `cluster` instead.

    Of a file and not of the run: a process is connected to one Ray at a time, and the next file may
    want a cluster of another shape.
    """
    cluster = start_cluster(tmp_path_factory.mktemp("state"))
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster: whole and healed when a test begins, healed when it ends."""
    wait_until_whole(shared_cluster)
    yield shared_cluster
    shared_cluster.heal()


def wait_until_whole(cluster: Cluster) -> None:
    """Return once every actor answers, is ready, and is linked to all that it should be."""

    def is_whole() -> bool:
        try:
            version = cluster.directory().version
        except Unavailable:
            return False
        pictures = cluster.inspect().values()
        return version > 0 and all(
            picture is not None
            and picture.description.directory_version == version
            and all(link.open for link in picture.links)
            and getattr(picture.view, "ready", False)
            for picture in pictures
        )

    until(lambda: is_whole() or None, within_s=40, what="every actor is ready and linked")
