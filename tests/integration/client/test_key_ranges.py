"""A part of a long list, as an application sees it: real gateways, real sockets."""

from __future__ import annotations

import asyncio

import pytest

from presence_actors import Connected, Update, UsageError, connect
from tests.integration.small_cluster import SmallCluster

pytestmark = pytest.mark.sockets


def test_a_part_of_a_room_can_be_observed_and_then_another_one() -> None:
    """The range goes to the gateway, and to the next one; the room holds who is in it."""

    async def scenario() -> None:
        async with (
            SmallCluster() as cluster,
            connect(cluster.urls, "dev:alice") as alice,
            connect(cluster.urls, "dev:bob", encoding="msgpack") as bob,
            connect(cluster.urls, "dev:zoe") as zoe,
        ):
            rooms = [await client.join("hall") for client in (alice, bob)]
            room = await zoe.observe("hall", keys=("a", "b"))
            assert list(room.who()) == ["alice"]
            assert await zoe.observe("hall", keys=("b", None)) is room
            assert list(room.who()) == ["bob"]
            events = zoe.events()
            await zoe.drop()
            async for event in events:
                if isinstance(event, Connected):
                    break
            for joined in rooms:
                await joined.update(n=1)
            async for changed in room:
                if isinstance(changed, Update):
                    assert changed.user == "bob"
                    break
            assert list(room.who()) == ["bob"]
            # To be in it is no reason to look at all of it.
            assert await zoe.join("hall") is room
            assert list(room.who()) == ["bob", "zoe"]
            with pytest.raises(UsageError, match="end is not behind start"):
                await zoe.observe("hall", keys=("b", "a"))

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())
