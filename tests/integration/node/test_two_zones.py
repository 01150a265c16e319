"""Stock Phoenix clients on both sides of a cut between two zones."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

import pytest

from presence_actors.client.events import Event, Join, Leave, Status, Update
from presence_actors.core.ids import UserId
from presence_actors.core.vocabulary import UserStatus
from tests.integration.node.conftest import TOKEN_KEY
from tests.integration.node.party import LOBBY, Native, Party
from tests.integration.node.stock_client import StockClient, Told
from tests.integration.ray.ray_stage import RayStage
from tests.integration.two_zones import TwoZones
from tests.stories.telling import until_true

pytestmark = [pytest.mark.node, pytest.mark.ray, pytest.mark.timeout(240)]

DESK = "room:desk"
CUT_SECONDS = 30
#: What comes late of a heal has come by then.
SETTLED_SECONDS = 3
EVERYBODY = {"ann": 1, "ben": 1, "olga": 1, "oskar": 1, "paul": 1, "pia": 1}


def told_of(client: StockClient, topic: str, mark: int) -> list[Told]:
    """What its handlers were told of a room since so many items were heard."""
    kinds = ("join", "leave", "sync")
    return [
        told
        for told in client.heard[mark:]
        if told["event"] in kinds and told.get("topic") == topic
    ]


def changes(heard: list[Event], topic: str) -> list[tuple[str, str]]:
    """What somebody was told of a room, as kind and person."""
    return [
        (type(event).__name__, str(event.entry.key))
        for event in heard
        if isinstance(event, Join | Update | Leave) and event.topic == topic
    ]


class Sides(NamedTuple):
    """Who watches: a native client in each zone, and stock clients of both versions."""

    ann: Native
    ben: Native
    stock: dict[str, StockClient]
    #: How much each had heard before the cut.
    marks: dict[str, int]
    #: Who was in the lobby then, as each stock client had it.
    lobbies: dict[str, object]

    def has_changed(self, watcher: str, key: str) -> bool:
        """Whether a stock client was told of somebody's change at the desk."""
        news = told_of(self.stock[watcher], DESK, self.marks[watcher])
        return any(told["event"] == "leave" and told["key"] == key for told in news)

    async def until_changed(self, watchers: tuple[str, ...], key: str) -> None:
        """Return once these stock clients were told of it."""
        for watcher in watchers:
            look = partial(self.has_changed, watcher, key)
            await self.stock[watcher].until(f"{key}'s change", look)


async def _come(a: Party, b: Party) -> Sides:
    """All are in both rooms, and see each other."""
    ann, ben = await a.native("ann", 0), await b.native("ben", 1)
    for native in (ann, ben):
        await native.client.join("desk")
        await native.client.watch(sorted(EVERYBODY))
    stock = {
        "olga": await a.stock("phoenix-1-7", "olga", a.socket(1)),
        "oskar": await a.stock("phoenix-1-8", "oskar", a.socket(0)),
        "paul": await b.stock("phoenix-1-7", "paul", b.socket(1)),
        "pia": await b.stock("phoenix-1-8", "pia", b.socket(0)),
    }
    for topic in (LOBBY, DESK):
        for client in stock.values():
            assert (await client.join(topic, meta={"n": 1}))["event"] == "ok"
        for client in stock.values():
            await client.until_listed(topic, **EVERYBODY)
        for native in (ann, ben):
            await native.until("everybody", partial(_sees_all, native, topic))
    for native in (ann, ben):
        await native.until("all online", partial(_all_online, native))
    lobbies: dict[str, object] = {
        name: await client.listed(LOBBY) for name, client in stock.items()
    }
    marks = {name: len(client.heard) for name, client in stock.items()}
    marks |= {"ann": len(ann.heard), "ben": len(ben.heard)}
    return Sides(ann, ben, stock, marks, lobbies)


async def _go_on(sides: Sides) -> None:
    """Half a minute: each side hears of its own people, and of the others as unreachable."""
    await asyncio.sleep(CUT_SECONDS / 2)
    assert (await sides.stock["olga"].push(DESK, "track", {"n": 2}))["event"] == "ok"
    await sides.until_changed(("olga", "oskar"), "olga")
    desk = await sides.ben.client.observe("desk")
    await desk.update(n=2)
    await sides.until_changed(("paul", "pia"), "ben")
    await asyncio.sleep(CUT_SECONDS / 2)
    for native, far in ((sides.ann, "paul"), (sides.ben, "olga")):
        assert native.client.machine.statuses[UserId(far)].status is UserStatus.UNREACHABLE
    assert not any(sides.has_changed(name, "ben") for name in ("olga", "oskar"))
    assert not any(sides.has_changed(name, "olga") for name in ("paul", "pia"))


async def _heard_the_net_alone(sides: Sides) -> None:
    """In the lobby nothing, at the desk two changes, and nobody was offline."""
    for name, client in sides.stock.items():
        lobby = [told["event"] for told in told_of(client, LOBBY, sides.marks[name])]
        assert lobby in ([], ["sync"]), name
        assert await client.listed(LOBBY) == sides.lobbies[name]
        desk = told_of(client, DESK, sides.marks[name])
        told = sorted((one["event"], one["key"]) for one in desk if one["event"] != "sync")
        # To a Phoenix client an update is a join and a leave of one key.
        assert told == [(kind, key) for kind in ("join", "leave") for key in ("ben", "olga")]
        assert not client.of("close", "channel_close", "channel_error")
    for name, native in (("ann", sides.ann), ("ben", sides.ben)):
        news = native.heard[sides.marks[name] :]
        assert changes(news, LOBBY) == []
        assert sorted(changes(news, DESK)) == [("Update", "ben"), ("Update", "olga")]
        statuses = [event.status for event in news if isinstance(event, Status)]
        assert UserStatus.OFFLINE not in statuses


def test_two_zones_cut_apart_for_half_a_minute(zones: TwoZones) -> None:
    """Both sides go on; nobody is offline; after it only what really changed is told, once.

    zone a   ann (native), olga (1.7), oskar (1.8)   ---- x  30 s  x ---- equal within 1 s
    zone b   ben (native), paul (1.7), pia (1.8)     ---- x        x ----

    Nobody does anything in the lobby. At the desk olga and ben change their metas on their sides.
    """

    async def story() -> None:
        name = "half-a-minute"
        others = {"b": (zones.b, zones.states / "b")}
        async with (
            Party(zones.a, name) as a,
            Party(zones.b, name) as b,
            RayStage(zones.a, TOKEN_KEY, name, others=others) as stage,
        ):
            sides = await _come(a, b)
            await stage.cut(["a/w0", "a/w1"], ["b/w0", "b/w1"])
            await _go_on(sides)
            await stage.heal()
            await until_true(stage, "contact", stage.in_contact)
            await until_true(stage, "all are equal", stage.replicas_agree, within_ms=1_000)
            await sides.until_changed(("olga", "oskar"), "ben")
            await sides.until_changed(("paul", "pia"), "olga")
            await asyncio.sleep(SETTLED_SECONDS)
            await _heard_the_net_alone(sides)

    before = zones.lives("a"), zones.lives("b")
    asyncio.run(story())
    assert (zones.lives("a"), zones.lives("b")) == before


def _sees_all(native: Native, topic: str) -> bool:
    return set(map(str, native.client.machine.who(topic))) == set(EVERYBODY)


def _all_online(native: Native) -> bool:
    statuses = native.client.machine.statuses.values()
    return {status.status for status in statuses} == {UserStatus.ONLINE}
