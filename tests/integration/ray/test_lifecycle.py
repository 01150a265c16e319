"""Actors die and come back: at the same seat, as another life, known to everybody."""

import urllib.request

import pytest
import ray

from presence_actors.actors import compose
from presence_actors.actors.cluster import Cluster
from presence_actors.actors.directory import Directory
from presence_actors.core.ids import NodeId, NodeName, is_newer
from presence_actors.errors import Unavailable
from tests.integration.polling import until
from tests.integration.ray.conftest import wait_until_whole

pytestmark = pytest.mark.ray

#: A process ends, Ray notices, starts another one; on two busy cores.
COMES_BACK_S = 20


def node_at(directory: Directory, name: str) -> NodeId:
    """The life at a seat, by the directory."""
    lives = {entry.name: entry.node for entry in directory.workers}
    lives.update({entry.name: entry.node for entry in directory.gateways})
    return lives[NodeName(name)]


def newer_life(cluster: Cluster, name: str, than: NodeId) -> Directory | None:
    """The directory, once it has a later life than `than` at a seat."""
    directory = cluster.directory()
    return directory if is_newer(node_at(directory, name), than=than) else None


@pytest.mark.parametrize("hard", [False, True], ids=["through Ray", "by signal 9"])
def test_a_killed_worker_comes_back_as_a_new_life_that_everybody_knows(
    cluster: Cluster, hard: bool
) -> None:
    """Ray restarts it by itself; the supervisor tells its new address; all are linked again."""
    before = cluster.directory()
    old = node_at(before, "a/w0")
    cluster.kill_worker(0, hard=hard)
    after = until(
        lambda: newer_life(cluster, "a/w0", old), within_s=COMES_BACK_S, what="a new life of a/w0"
    )
    assert after.version > before.version
    assert node_at(after, "a/w1") == node_at(before, "a/w1")
    wait_until_whole(cluster)
    linked = {
        link.node
        for picture in cluster.inspect().values()
        if picture is not None
        for link in picture.links
    }
    assert node_at(after, "a/w0") in linked
    assert old not in linked


def test_a_worker_that_was_ended_for_good_is_created_anew(cluster: Cluster) -> None:
    """What Ray does not restart the supervisor re-creates."""
    old = node_at(cluster.directory(), "a/w1")
    ray.kill(compose.find_actor("worker-1", "a"), no_restart=True)
    until(
        lambda: newer_life(cluster, "a/w1", old), within_s=COMES_BACK_S, what="a new life of a/w1"
    )
    wait_until_whole(cluster)


@pytest.mark.parametrize("hard", [False, True], ids=["through Ray", "by signal 9"])
def test_a_killed_gateway_comes_back_on_the_same_port(cluster: Cluster, hard: bool) -> None:
    """Clients find it where it was."""
    old = node_at(cluster.directory(), "a/g1")
    urls = cluster.gateway_urls
    cluster.kill_gateway(1, hard=hard)
    until(
        lambda: newer_life(cluster, "a/g1", old), within_s=COMES_BACK_S, what="a new life of a/g1"
    )
    cluster.wait_ready()
    assert cluster.gateway_urls == urls
    address = "http" + urls[1].removeprefix("ws")
    with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:  # noqa: S310
        assert answer.status == 200


def test_a_killed_supervisor_comes_back_and_knows_what_it_had_told(cluster: Cluster) -> None:
    """It learns lives from the actors, and from their directory which faults are in force."""
    cluster.cut("w0", "w1")
    before = cluster.directory()
    old = cluster.supervisor_process_id()
    cluster.kill_supervisor()

    def restarted() -> Directory | None:
        try:
            if cluster.supervisor_process_id() == old:
                return None
            directory = cluster.directory()
        except Unavailable:
            return None
        return directory if directory.workers else None

    after = until(restarted, within_s=COMES_BACK_S, what="a directory of a new supervisor")
    assert after.faults == before.faults
    assert [entry.node for entry in after.workers] == [entry.node for entry in before.workers]


def test_a_cut_outlives_the_restart_of_a_worker(cluster: Cluster) -> None:
    """A new life is as cut off as the one before it, until the links are healed."""
    cluster.cut("w0", "w1")
    old = node_at(cluster.directory(), "a/w0")
    cluster.kill_worker(0)
    until(
        lambda: newer_life(cluster, "a/w0", old), within_s=COMES_BACK_S, what="a new life of a/w0"
    )

    def link_to_peer_is_open() -> bool:
        picture = cluster.inspect()["worker-0"]
        assert picture is not None
        return any(link.open for link in picture.links if link.name == "a/w1")

    def faults_of_new_life() -> bool:
        picture = cluster.inspect()["worker-0"]
        return picture is not None and len(picture.faults) == 2

    until(lambda: faults_of_new_life() or None, within_s=10, what="the new life knows its faults")
    assert not link_to_peer_is_open()
    cluster.heal()
    until(lambda: link_to_peer_is_open() or None, within_s=10, what="the link is open again")
