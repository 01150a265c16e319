"""The page at `/`, in a real browser, during a real cut of two zones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pytest

from presence_actors.client import PresenceClient, connect
from presence_actors.core.vocabulary import Unset
from tests.integration.browser.chromium import Chromium
from tests.integration.two_zones import TwoZones, two_zones
from tests.stories.stage import STORY_KNOBS

pytestmark = [pytest.mark.browser, pytest.mark.ray, pytest.mark.timeout(180)]

#: {row: [person, shows, devices, rooms]} as the table has it.
_ROWS: Final = """Object.fromEntries([...document.querySelectorAll("#people tr")].map((row) => {
  const [who, shows, devices, where] = row.children
  return [who.querySelector("b").textContent, {
    shows: shows.querySelector(".pill").textContent, note: shows.querySelector("small").textContent,
    devices: devices.textContent,
    rooms: [...where.querySelectorAll(".chip")].map((chip) => chip.textContent) }]
}))"""
_EVENTS: Final = """[...document.querySelectorAll("#events li")].reverse().map((line) =>
  [line.dataset.kind, line.querySelector("span").textContent])"""
_BANNER: Final = 'document.querySelector("#banner:not([hidden])")?.innerText ?? ""'
_WIDTHS: Final = "[document.scrollingElement.scrollWidth, innerWidth]"
_LIVE: Final = "document.querySelector('#link[data-state=live]') !== null"
_LOBBY: Final = "document.querySelector('#rooms li')"
_BRIGHTNESS: Final = """getComputedStyle(document.body).backgroundColor
  .match(/\\d+/g).slice(0, 3).map(Number).reduce((sum, part) => sum + part)"""

Row = dict[str, Any]


@pytest.fixture(scope="module")
def zones(browser_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoZones]:
    """Two zones, open to everybody on this machine."""
    with two_zones(tmp_path_factory.mktemp("zones")) as zones:
        yield zones


class Visit:
    """Somebody looks at the page, and people come into two rooms."""

    def __init__(self, zones: TwoZones, program: str, folder: Path) -> None:
        self.zones = zones
        self.folder = folder
        self._stack = AsyncExitStack()
        self.page = Chromium(program, folder / "profile")

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.page)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def begin(self) -> None:
        """Open the page of zone a."""
        await self.page.show(width=1280, height=860)
        url = await asyncio.to_thread(lambda: self.zones.a.gateway_urls[0])
        await self.page.open(f"http{url.removeprefix('ws')}/")
        await self.page.until("it is live", _LIVE)

    async def person(self, name: str, zone: str, device: str, *rooms: str) -> PresenceClient:
        """A device comes."""
        cluster = self.zones.a if zone == "a" else self.zones.b
        urls = await asyncio.to_thread(lambda: cluster.gateway_urls)
        client = connect(urls, f"dev:{name}", device=device, knobs=STORY_KNOBS, timeout_s=20)
        await self._stack.enter_async_context(client)
        for room in rooms:
            await client.join(room)
        return client

    async def rows(self) -> dict[str, Row]:
        """Who is in the table."""
        found: dict[str, Row] = await self.page.look(_ROWS)
        return found

    async def shows(self, **people: str) -> None:
        """Return once these people show this, and nobody else is there."""
        wanted = [f'rows["{name}"]?.shows === "{shows}"' for name, shows in people.items()]
        count = f"Object.keys(rows).length === {len(people)}"
        expression = f"(() => {{ const rows = {_ROWS}; return {' && '.join([*wanted, count])} }})()"
        await self.page.until(f"the table shows {people}", expression)

    async def zone(self, name: str) -> tuple[str, str]:
        """State and words of a zone in the list."""
        item = f"document.querySelector('#zones [data-zone={name}]')"
        state, words = await self.page.look(
            f"[{item}.dataset.state, {item}.querySelector('span').textContent]"
        )
        return state, words

    async def picture(self, name: str) -> None:
        """Keep what is seen, for whoever looks into why a test failed."""
        await self.page.picture(self.folder / f"{name}.png")


class People(NamedTuple):
    """Who comes and acts; alice only is there, with two devices."""

    anna: PresenceClient
    bert: PresenceClient
    bea: PresenceClient


async def _sees_who_is_there(visit: Visit) -> People:
    """People, their devices and rooms, and zone b with its lag."""
    page = visit.page
    await visit.person("alice", "a", "desktop", "lobby", "design")
    await visit.person("alice", "a", "mobile", "lobby")
    anna = await visit.person("anna", "a", "web", "lobby")
    bert = await visit.person("bert", "b", "desktop", "lobby")
    bea = await visit.person("bea", "b", "mobile", "lobby", "support")
    await visit.shows(alice="online", anna="online", bert="online", bea="online")
    await page.until("both devices", f"({_ROWS}).alice.devices === 'desktop, mobile'")
    await page.until("bea's rooms", f"({_ROWS}).bea.rooms.join() === 'lobby,support'")
    rows = await visit.rows()
    assert rows["alice"]["rooms"] == ["design", "lobby"]
    assert rows["bea"]["devices"] == "mobile"
    assert await page.look(f"{_LOBBY}.querySelector('.count').textContent") == "5"
    assert await page.look(f"{_LOBBY}.querySelectorAll('.face').length") == 5
    await page.until(
        "zone b is heard", "document.querySelector('[data-zone=b][data-state=heard]') !== null"
    )
    assert await visit.zone("a") == ("here", "this page's zone")
    state, words = await visit.zone("b")
    assert (state, words.endswith(" ms ago")) == ("heard", True)
    assert int(words.split()[0]) < STORY_KNOBS.unreachable_after_ms
    assert await page.look(_BANNER) == ""
    events = await page.look(_EVENTS)
    assert ["join", "bert came into lobby (desktop)"] in events
    return People(anna, bert, bea)


async def _sees_a_cut(visit: Visit, people: People) -> None:
    """A banner, and unreachable people who are told of by one line; its own side goes on."""
    page = visit.page
    before = len(await page.look(_EVENTS))
    await asyncio.to_thread(visit.zones.a.cut_zone, "b", visit.zones.b.config.workers)
    await visit.shows(alice="online", anna="online", bert="unreachable", bea="unreachable")
    assert (await page.look(_BANNER)).startswith("Zone b has not been heard here since ")
    assert (await visit.rows())["bert"]["note"].startswith("as of ")
    silent = "document.querySelector('[data-zone=b][data-state=silent]') !== null"
    await page.until("zone b is silent", silent)
    assert (await visit.zone("b"))[1].startswith("not heard since ")
    await people.anna.set_status("away")
    await visit.shows(alice="online", anna="away", bert="unreachable", bea="unreachable")
    await people.bert.set_status("dnd")
    await people.bea.ask(Unset(topic="room:support"))
    await people.bea.join("design")
    during = (await page.look(_EVENTS))[before:]
    assert [event for event in during if event[0] != "update"] == [
        ["lost", "zone b cannot be heard: its people are unreachable"],
        ["status", "anna: online → away"],
    ]


async def _fits_a_phone_and_the_night(visit: Visit) -> None:
    """Nothing lies beyond the side of a phone, and who likes it dark gets it dark."""
    page = visit.page
    light = await page.look(_BRIGHTNESS)
    await page.show(width=390, height=844)
    width, window = await page.look(_WIDTHS)
    assert width <= window
    await visit.picture("phone")
    await page.show(width=1280, height=860, dark=True)
    assert await page.look(_BRIGHTNESS) < light / 4
    await visit.picture("dark")
    await page.show(width=1280, height=860)


async def _sees_the_heal(visit: Visit) -> None:
    """The net change: what bert and bea did meanwhile, and nobody else comes or goes."""
    page = visit.page
    before = len(await page.look(_EVENTS))
    await asyncio.to_thread(visit.zones.a.heal)
    await visit.shows(alice="online", anna="away", bert="dnd", bea="online")
    await page.until("no banner any more", f"!({_BANNER})")
    await page.until("bea has moved", f"({_ROWS}).bea.rooms.join() === 'design,lobby'")
    heard = "document.querySelector('[data-zone=b][data-state=heard]') !== null"
    await page.until("zone b is heard", heard)
    news = (await page.look(_EVENTS))[before:]
    assert sorted(event for event in news if event[0] in ("join", "leave")) == [
        ["join", "bea came into design (mobile)"],
        ["leave", "bea left support (mobile)"],
    ]
    assert ["back", "zone b is heard again"] in news
    assert [event for event in news if event[0] == "status"] == [["status", "bert: online → dnd"]]


def test_the_page_shows_a_cut_for_what_it_is(
    zones: TwoZones, browser_program: str, tmp_path: Path
) -> None:
    """Nobody leaves and nobody joins by it: unreachable, a banner, and then the net change.

    zone a   page, alice, anna    ---- x       x ---- heal: no banner, and the net
    zone b   bert, bea            ---- x       x      bert is busy now, bea has moved
    """

    async def look() -> None:
        async with Visit(zones, browser_program, tmp_path) as visit:
            await visit.begin()
            people = await _sees_who_is_there(visit)
            await visit.picture("before")
            await _sees_a_cut(visit, people)
            await visit.picture("during")
            await _fits_a_phone_and_the_night(visit)
            await _sees_the_heal(visit)
            await visit.picture("after")
            assert visit.page.complaints == []

    asyncio.run(look())
