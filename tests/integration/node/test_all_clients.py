"""Stock clients of every kind and our own in one room, whatever happens to the cluster.

Everything is judged by what each client's own interface reports.
"""

from __future__ import annotations

import asyncio

import pytest

from presence_actors.actors.cluster import Cluster
from tests.integration.node.conftest import TOKEN_KEY
from tests.integration.node.crowd import BEHIND, EVERYBODY, Crowd
from tests.integration.node.party import LOBBY, Party
from tests.integration.ray.ray_stage import RayStage
from tests.stories.stage import STORY_KNOBS

pytestmark = [
    pytest.mark.node,
    pytest.mark.ray,
    pytest.mark.timeout(240),
    # Of the package `realtime`, when it has lost its connection: as an error it would end its task.
    pytest.mark.filterwarnings("ignore:ConnectionClosed.(code|reason) is deprecated"),
]

#: After this nothing of a lost gateway, or of a lost client, can still be heard of.
ALL_OVER_SECONDS = (
    STORY_KNOBS.grace_gateway_ms + STORY_KNOBS.gateway_lease_ms + STORY_KNOBS.grace_connection_ms
) / 1_000 + 1
#: What belongs to an earlier change has been told by then: a client tells an update in two parts.
SETTLED_SECONDS = 1
SPEAKERS = ("ruth", "rosa", "rita", "piet")


async def _they_talk(crowd: Crowd, party: Party) -> None:
    """Text to all that speak Supabase, bytes to those of version 2, and over HTTP."""
    await crowd.say("rita", name="text", payload={"n": 1})
    await crowd.until_heard("text", "ruth", "rosa", "piet")
    await crowd.say("ruth", name="old", payload={"n": 2})
    await crowd.until_heard("old", "rosa", "rita", "piet")
    assert crowd.piet.channel is not None
    await crowd.piet.channel.send_broadcast("python", {"n": 3})
    await crowd.until_heard("python", "ruth", "rosa", "rita")
    await crowd.say("rosa", name="bytes", bytes="00ff")
    await crowd.until_heard("bytes", "rita")
    await crowd.say("rita", order="post", name="posted", payload={"n": 4})
    await crowd.until_heard("posted", *SPEAKERS)
    await crowd.piet.channel.http_send("one", {"n": 5})
    await crowd.until_heard("one", *SPEAKERS)
    assert crowd.said_to("rita", "bytes") == ["00ff"]
    for name in SPEAKERS:
        assert crowd.said_to(name, "one") == [{"n": 5}]
    assert crowd.said_to("rita", "text") == crowd.said_to("ruth", "bytes") == []
    assert crowd.said_to("piet", "bytes") == []
    # A newer token is taken, and the client stays where it is.
    client = crowd.stock["rosa"]
    token = party.token("rosa")
    assert (await client.answer(client.order("renew", token=token)))["event"] == "ok"
    await crowd.say("rosa", name="renewed", payload={})
    await crowd.until_heard("renewed", "ruth", "rita", "piet")


async def _they_change(crowd: Crowd) -> None:
    """Each kind changes what it shows, and each kind is told."""
    for number, name in enumerate(crowd.stock, start=10):
        assert (await crowd.stock[name].push(LOBBY, "track", {"n": number}))["event"] == "ok"
        await crowd.until_told(name, number)
    await crowd.piet.track({"n": 30})
    await crowd.until_told("piet", 30)
    room = await crowd.natives["nick"].client.observe("lobby")
    await room.update(n=31)
    await crowd.until_told("nick", 31)


def test_clients_of_every_kind_meet_in_one_room(cluster: Cluster) -> None:
    """They see each other come, change and leave, and those of Supabase talk to each other."""

    async def story() -> None:
        async with Party(cluster, "everybody") as party:
            crowd = await Crowd(party).come()
            await _they_change(crowd)
            await _they_talk(crowd, party)
            left = ["olaf", "otto", "ruth", "rita"]
            for name in left:
                assert (await crowd.stock[name].leave(LOBBY))["event"] == "ok"
            assert crowd.piet.channel is not None
            await crowd.piet.channel.unsubscribe()
            stay = [name for name in EVERYBODY if name not in (*left, "piet")]
            await crowd.until_there(*stay)

    asyncio.run(story())


async def _cut(crowd: Crowd, stage: RayStage) -> None:
    """Both sides go on; after the heal each hears of what really changed."""
    await asyncio.sleep(SETTLED_SECONDS)
    crowd.mark()
    await stage.cut(["w0"], ["w1"])
    await asyncio.sleep(STORY_KNOBS.unreachable_after_ms / 1_000 + 1)
    assert (await crowd.stock["rosa"].push(LOBBY, "track", {"n": 40}))["event"] == "ok"
    assert (await crowd.stock["oona"].push(LOBBY, "track", {"n": 41}))["event"] == "ok"
    await asyncio.sleep(1)
    await stage.heal()
    await crowd.until_told("rosa", 40)
    await crowd.until_told("oona", 41)
    _only_changed(crowd, {"rosa", "oona"})


async def _worker_dies(crowd: Crowd, cluster: Cluster) -> None:
    """Gateways turn to the other replica; nobody hears anything."""
    await asyncio.sleep(SETTLED_SECONDS)
    crowd.mark()
    await asyncio.to_thread(cluster.kill_worker, 0, hard=True)
    await asyncio.sleep(STORY_KNOBS.startup_grace_ms / 1_000 + 2)
    _only_changed(crowd, set())


async def _gateway_dies(crowd: Crowd, cluster: Cluster) -> None:
    """Half of them come back through the other gateway, while somebody changes all the time."""
    await asyncio.to_thread(cluster.wait_ready)
    await asyncio.sleep(SETTLED_SECONDS)
    crowd.mark()
    room = await crowd.natives["nick"].client.observe("lobby")

    async def changes() -> None:
        for number in range(50, 100):
            await room.update(n=number)
            await asyncio.sleep(0.1)

    changing = asyncio.create_task(changes())
    await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.kill_gateway, 0, hard=True)
    for name in BEHIND:
        await crowd.has_rejoined(name)
    await changing
    await crowd.until_told("nick", 99)
    await asyncio.sleep(ALL_OVER_SECONDS)
    _only_changed(crowd, {"nick"})


def _only_changed(crowd: Crowd, keys: set[str]) -> None:
    """Each was told of these alone, and never that one of them was gone."""
    for name in EVERYBODY:
        assert crowd.changed(name) <= keys, (name, crowd.changed(name))
        if name in crowd.natives:
            kinds = {type(e).__name__ for e in crowd.natives[name].heard[crowd.marks[name] :]}
            assert not kinds & {"Join", "Leave"}, (name, kinds)
        else:
            assert all(crowd.never_missed(name, key) for key in keys), name


def test_clients_of_every_kind_bear_a_cut_a_worker_and_a_gateway_that_die(
    cluster: Cluster,
) -> None:
    """Their handlers are told of what people did, and of nothing that the cluster went through.

    ```
    w0 --- w1   --- x 4 s x ---   w0 killed   ---   g0 killed, ten changes a second
    ```
    """

    async def story() -> None:
        async with (
            Party(cluster, "trouble") as party,
            RayStage(cluster, TOKEN_KEY, "trouble") as stage,
        ):
            crowd = await Crowd(party).come()
            await _cut(crowd, stage)
            await _worker_dies(crowd, cluster)
            await _gateway_dies(crowd, cluster)
            await crowd.until_there(*EVERYBODY)

    asyncio.run(story())
