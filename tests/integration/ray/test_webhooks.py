"""Webhooks of a real cluster: told once, by another worker when the first one dies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from presence_actors.actors.cluster import Cluster
from presence_actors.client import connect
from presence_actors.config import ClusterConfig
from presence_actors.core.views import WorkerView
from presence_actors.errors import ConfigError
from tests.integration.free_ports import first_of_free_ports
from tests.integration.ray.conftest import SHORT_KNOBS, wait_until_whole
from tests.integration.receiver import WebhookReceiver

pytestmark = pytest.mark.ray

KEY = b"k" * 32


def config_for(url: str) -> ClusterConfig:
    """A small cluster that tells this address."""
    return ClusterConfig(
        shards=2,
        port=first_of_free_ports(2),
        webhook=url,
        knobs=msgspec.structs.replace(SHORT_KNOBS, webhook_debounce_ms=500),
    )


def test_an_app_server_is_told_of_users_through_the_death_of_a_worker(tmp_path: Path) -> None:
    """The first answer is a refusal, so it is told again; then worker 0 dies and worker 1 tells."""

    async def story() -> None:
        async with WebhookReceiver(KEY, statuses=[503]) as receiver:
            cluster = await asyncio.to_thread(
                Cluster.start,
                config_for(receiver.url),
                state_dir=tmp_path / "state",
                webhook_key=KEY,
                tied=True,
            )
            try:
                alice = connect(cluster.gateway_urls, "dev:alice")
                await alice.open()
                await receiver.until([("alice", "online")])
                await asyncio.to_thread(cluster.kill_worker, 0, hard=True)
                await alice.set_intent("dnd")
                await receiver.until([("alice", "online"), ("alice", "dnd")], within_s=30)
                await asyncio.to_thread(wait_until_whole, cluster)
                await alice.close()
                expected = [("alice", "online"), ("alice", "dnd"), ("alice", "offline")]
                await receiver.until(expected, within_s=30)
                pictures = await asyncio.to_thread(cluster.inspect)
                views = [one.view for one in pictures.values() if one is not None]
                told = [
                    replica.notices.sent
                    for view in views
                    if isinstance(view, WorkerView)
                    for replica in view.replicas
                    if replica.notices is not None
                ]
                assert len(told) == 4
                assert sum(told) >= 1
            finally:
                await asyncio.to_thread(cluster.stop)

    asyncio.run(story())


def test_an_address_without_a_key_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Nobody is told what cannot be verified."""
    with pytest.raises(ConfigError, match="webhook-key-file"):
        Cluster.start(config_for("http://127.0.0.1:1/"), state_dir=tmp_path / "state")
    with pytest.raises(ConfigError, match="webhook"):
        Cluster.start(ClusterConfig(), state_dir=tmp_path / "state", webhook_key=KEY)
