"""The unmodified npm `phoenix` against a real cluster: what its own `Presence` makes of us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from presence_actors.actors.cluster import Cluster
from tests.integration.node.party import LOBBY, PACKAGES, Party
from tests.stories.stage import STORY_KNOBS

pytestmark = [pytest.mark.node, pytest.mark.ray, pytest.mark.timeout(180)]


def hold(cluster: Cluster, name: str, story: Callable[[Party], Coroutine[Any, Any, None]]) -> None:
    """Play a story."""

    async def play() -> None:
        async with Party(cluster, name) as party:
            await story(party)

    asyncio.run(play())


@pytest.mark.parametrize("package", PACKAGES)
def test_stock_and_native_clients_see_each_other(package: str, cluster: Cluster) -> None:
    """Joins, updates and leaves, in both directions, across two gateways."""

    async def story(party: Party) -> None:
        ann, ben = await party.native("ann", 0, mood="a"), await party.native("ben", 1, mood="b")
        paul = await party.stock(package, "paul", party.socket(0))
        assert (await paul.join(LOBBY, meta={"mood": "p"}))["event"] == "ok"
        await paul.until_listed(LOBBY, ann=1, ben=1, paul=1)
        everybody: dict[str, list[dict[str, object]]]
        everybody = {"ann": [{"mood": "a"}], "ben": [{"mood": "b"}], "paul": [{"mood": "p"}]}
        for native in (ann, ben):
            await native.until("all three", partial(native.sees, everybody))

        # An update of a native client is a join and a leave of one key, never without a meta.
        room = await ben.client.observe("lobby")
        await room.update(mood="b2")
        await paul.until("ben's new mood", lambda: len(paul.of("leave", key="ben")) == 1)
        joined, left = paul.of("join", key="ben")[-1], paul.of("leave", key="ben")[-1]
        assert (joined["metas"][0]["mood"], left["metas"][0]["mood"]) == ("b2", "b")
        assert joined["metas"][0]["phx_ref_prev"] == left["metas"][0]["phx_ref"]
        assert len(left["current"]["metas"]) == 1

        # An update of the stock client is an update.
        assert (await paul.push(LOBBY, "track", {"mood": "p2"}))["event"] == "ok"
        await ann.until("paul's new mood", lambda: ann.there()["paul"] == [{"mood": "p2"}])
        assert ann.about("paul") == ["Join", "Update"]

        # Both leave, at once.
        await ben.client.close()
        await paul.until("ben gone", lambda: len(paul.of("leave", key="ben")) == 2)
        assert (await paul.leave(LOBBY))["event"] == "ok"
        await ann.until("paul gone", lambda: "paul" not in ann.there())
        assert ann.about("paul") == ["Join", "Update", "Leave"]
        assert [told["topic"] for told in paul.of("channel_close")] == [LOBBY]

    hold(cluster, f"meet-{package}", story)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_lost_connection_is_not_noticed_and_a_goodbye_is(package: str, cluster: Cluster) -> None:
    """What breaks has its grace; `disconnect()` has none."""

    async def story(party: Party) -> None:
        olga = await party.stock(package, "olga", party.socket(1))
        paul = await party.stock(package, "paul", party.socket(0))
        for client in (olga, paul):
            await client.join(LOBBY, meta={})
        for client in (olga, paul):
            await client.until_listed(LOBBY, olga=1, paul=1)
        before, own = len(olga.heard), len(paul.heard)
        opened = len(paul.of("open"))
        paul.order("drop")
        await paul.until("open again", lambda: len(paul.of("open")) > opened)
        await paul.until("synced", lambda: "sync" in [told["event"] for told in paul.heard[own:]])
        await asyncio.sleep(STORY_KNOBS.grace_connection_ms / 1_000 + 1)
        assert olga.heard[before:] == []
        assert not {"join", "leave"} & {told["event"] for told in paul.heard[own:]}
        paul.order("disconnect")
        loop = asyncio.get_running_loop()
        start = loop.time()
        await olga.until("paul gone", lambda: olga.of("leave", key="paul"))
        assert loop.time() - start < STORY_KNOBS.grace_connection_ms / 1_000

    hold(cluster, f"lost-{package}", story)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_older_framing_works_as_the_newer_one(package: str, cluster: Cluster) -> None:
    """Two clients of two versions in one room."""

    async def story(party: Party) -> None:
        olga = await party.stock(package, "olga", party.socket(1))
        old = await party.stock(package, "old", party.socket(0), vsn="1.0.0")
        for client in (olga, old):
            assert (await client.join(LOBBY, meta={}))["event"] == "ok"
        for client in (olga, old):
            await client.until_listed(LOBBY, olga=1, old=1)
        assert (await old.leave(LOBBY))["event"] == "ok"
        await olga.until_listed(LOBBY, olga=1)

    hold(cluster, f"framing-{package}", story)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_member_whose_name_every_object_has_harms_nobody(package: str, cluster: Cluster) -> None:
    """The handlers of all others go on, also in the older client, where such a key throws."""

    async def story(party: Party) -> None:
        olga = await party.stock(package, "olga", party.socket(1))
        await olga.join(LOBBY, meta={})
        await olga.until_listed(LOBBY, olga=1)
        for name in ("constructor", "__proto__"):
            nasty = await party.stock(package, name, party.socket(0))
            await nasty.join(LOBBY, meta={"phx_ref": "forged"})
            expected = {"olga": 1, f"~{name}": 1}
            await olga.until_listed(LOBBY, **expected)
            assert (await olga.listed(LOBBY))[f"~{name}"][0]["phx_ref"] != "forged"
            await nasty.leave(LOBBY)
            await olga.until_listed(LOBBY, olga=1)

    hold(cluster, f"names-{package}", story)


def test_a_token_in_the_subprotocol_is_taken(cluster: Cluster) -> None:
    """The option `authToken` of phoenix 1.8."""

    async def story(party: Party) -> None:
        paul = await party.stock(
            "phoenix-1-8", "paul", party.socket(0), auth_token=party.token("paul")
        )
        await paul.join(LOBBY, meta={})
        await paul.until_listed(LOBBY, paul=1)

    hold(cluster, "subprotocol", story)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_refused_is_told_and_leaves_the_rest_alone(package: str, cluster: Cluster) -> None:
    """A topic that is no room, an unknown event, a meta that is none, one channel too many."""

    async def story(party: Party) -> None:
        paul = await party.stock(package, "paul", party.socket(0))
        await paul.join(LOBBY, meta={})
        refused = await paul.join("user:olga")
        assert (refused["event"], refused["response"]) == ("error", {"reason": "unmatched topic"})
        refused = await paul.push(LOBBY, "shout", {})
        assert refused["event"] == "error"
        refused = await paul.push(LOBBY, "track", {"a": "x" * 5_000})
        assert refused["event"] == "error"
        for number in range(99):
            assert (await paul.join(f"room:{number}"))["event"] == "ok"
        refused = await paul.join("room:more")
        assert refused["response"] == {"reason": "too many channels joined"}
        await paul.until_listed(LOBBY, paul=1)
        assert len(paul.of("open")) == 1

    hold(cluster, f"refused-{package}", story)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_client_without_a_socket_polls(package: str, cluster: Cluster) -> None:
    """Joins, updates and leaves, in both directions; others notice no difference."""

    async def story(party: Party) -> None:
        olga = await party.stock(package, "olga", party.socket(1))
        paul = await party.stock(package, "paul", party.socket(0), polls=True)
        for client in (olga, paul):
            assert (await client.join(LOBBY, meta={}))["event"] == "ok"
        for client in (olga, paul):
            await client.until_listed(LOBBY, olga=1, paul=1)
        assert (await paul.push(LOBBY, "track", {"n": 2}))["event"] == "ok"
        await olga.until("paul's change", lambda: olga.of("leave", key="paul"))
        assert (await olga.push(LOBBY, "track", {"n": 3}))["event"] == "ok"
        await paul.until("olga's change", lambda: paul.of("leave", key="olga"))
        refused = await paul.push(LOBBY, "shout", {})
        assert refused["event"] == "error"
        assert (await paul.leave(LOBBY))["event"] == "ok"
        await olga.until_listed(LOBBY, olga=1)

    hold(cluster, f"polls-{package}", story)


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_a_client_whose_socket_does_not_open_falls_back_to_polls(
    package: str, cluster: Cluster
) -> None:
    """Something in between lets no upgrade through; version 1.6 cannot do that."""

    async def story(party: Party) -> None:
        front = await party.front(0, sockets=False)
        paul = await party.stock(package, "paul", front.url, fallback_ms=2_000)
        assert (await paul.join(LOBBY, meta={}))["event"] == "ok"
        await paul.until_listed(LOBBY, paul=1)

    hold(cluster, f"fallback-{package}", story)
