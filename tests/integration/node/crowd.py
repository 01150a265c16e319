"""One client of each kind in one room, half of them at each gateway."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.integration.node.party import LOBBY, Native, Party
from tests.integration.node.python_clients import PythonPhoenix, PythonRealtime
from tests.integration.node.stock_client import StockClient

__all__ = ["BEHIND", "EVERYBODY", "Crowd"]

#: Who is behind the address whose first gateway is 0, and who is at gateway 1.
BEHIND = ("olaf", "otto", "ruth", "rosa", "rita", "piet")
EVERYBODY = (*BEHIND, "oona", "orla", "paul", "nina", "nick")

#: The packages of npm that they use.
_PHOENIX = {"olaf": "phoenix-1-6", "oona": "phoenix-1-7", "orla": "phoenix-1-8"}
_SUPABASE = {"ruth": "realtime-2-10", "rosa": "realtime-2-99", "rita": "realtime-2-119"}


class Crowd:
    """Eleven people.

    ========  =====================================================
    olaf      phoenix 1.6
    oona      phoenix 1.7
    orla      phoenix 1.8
    otto      phoenix 1.8 without a socket: it polls
    ruth      realtime-js 2.10
    rosa      realtime-js 2.99
    rita      realtime-js 2.119
    piet      Python's realtime
    paul      Python's phoenix-channels-python-client
    nina      our own client, at gateway 0
    nick      our own client, at gateway 1
    ========  =====================================================
    """

    def __init__(self, party: Party) -> None:
        self._party = party
        self.stock: dict[str, StockClient] = {}
        self.natives: dict[str, Native] = {}
        self.marks: dict[str, int] = {}

    async def come(self) -> Crowd:
        """All are in the lobby, and each of them sees all."""
        party = self._party
        front = await party.front(0)
        bases = {name: front.base if name in BEHIND else party.urls[1] for name in EVERYBODY}
        for name, package in _PHOENIX.items():
            self.stock[name] = await party.stock(package, name, f"{bases[name]}/socket")
        self.stock["otto"] = await party.stock(
            "phoenix-1-8", "otto", f"{front.base}/socket", polls=True
        )
        for name, package in _SUPABASE.items():
            self.stock[name] = await party.stock(package, name, f"{bases[name]}/realtime/v1")
        for name, client in self.stock.items():
            assert (await client.join(LOBBY, meta={"of": name}))["event"] == "ok", name
        self.piet = await party.enter(
            PythonRealtime(front.base, party.token("piet"), {"of": "piet"})
        )
        self.paul = await party.enter(
            PythonPhoenix(bases["paul"], party.token("paul"), {"of": "paul"})
        )
        self.natives["nina"] = await party.native("nina", 0, of="nina")
        self.natives["nick"] = await party.native("nick", 1, of="nick")
        await self.until_there(*EVERYBODY)
        return self

    async def until_there(self, *names: str) -> None:
        """Return once each of these sees these, and nobody else."""
        keys = dict.fromkeys(names, 1)
        for name, client in self.stock.items():
            if name in names:
                await client.until_listed(LOBBY, **keys)
        for python, name in ((self.piet, "piet"), (self.paul, "paul")):
            if name in names:
                await python.until_there(**keys)
        for native in self.natives.values():
            await native.until(f"{names}", lambda native=native: set(native.there()) == set(names))  # type: ignore[misc]

    async def until_told(self, key: str, n: int, *, by: tuple[str, ...] = EVERYBODY) -> None:
        """Return once these were told that somebody shows this number."""
        for name in by:
            look = partial(self._shows, name, key, n)
            if name in self.natives:
                await self.natives[name].until(f"{key} shows {n}", look)
            elif name in self.stock:
                await self.stock[name].until(f"{name} sees {key} show {n}", look)
            else:
                await self._python(name).hearing.until(f"{name} sees {key} show {n}", look)

    def _shows(self, name: str, key: str, n: int) -> bool:
        if name in self.natives:
            return any(meta.get("n") == n for meta in self.natives[name].there().get(key, []))
        return any(
            meta.get("n") == n
            for told in self._heard(name)
            if told["event"] == "join" and told.get("key") == key
            for meta in told.get("metas") or []
        )

    def _python(self, name: str) -> PythonRealtime | PythonPhoenix:
        return self.piet if name == "piet" else self.paul

    def _heard(self, name: str) -> list[dict[str, Any]]:
        if name in self.stock:
            return self.stock[name].heard
        return self._python(name).hearing.heard

    def mark(self) -> None:
        """From here on counts what is told."""
        for name in (*self.stock, "piet", "paul"):
            self.marks[name] = len(self._heard(name))
        for name, native in self.natives.items():
            self.marks[name] = len(native.heard)

    def changed(self, name: str) -> set[str]:
        """Of whom somebody was told anything since the mark, but for being in sync."""
        if name in self.natives:
            news = self.natives[name].heard[self.marks[name] :]
            entries = (getattr(event, "entry", None) for event in news)
            return {str(entry.key) for entry in entries if entry is not None}
        news_of = self._heard(name)[self.marks[name] :]
        return {told["key"] for told in news_of if told["event"] in ("join", "leave")}

    def never_missed(self, name: str, key: str) -> bool:
        """Whether, as far as somebody was told since the mark, the key never was without a meta."""
        count = 1
        for told in self._heard(name)[self.marks[name] :]:
            if told.get("key") == key and told["event"] in ("join", "leave"):
                count += 1 if told["event"] == "join" else -1
                if count < 1:
                    return False
        return True

    async def has_rejoined(self, name: str) -> None:
        """Return once somebody is in its channel again since the mark."""
        if name == "piet":
            hearing = self.piet.hearing
            await hearing.until(
                "piet is back",
                lambda: any(
                    told["event"] == "subscribed" for told in hearing.heard[self.marks["piet"] :]
                ),
            )
            return
        client = self.stock[name]
        await client.until(
            f"{name} is back",
            lambda: any(
                (told["event"] == "ok" and told.get("name") == "join")
                or told.get("status") == "SUBSCRIBED"
                for told in client.heard[self.marks[name] :]
            ),
        )

    async def say(self, speaker: str, /, **what: Any) -> None:
        """Somebody says something, and it was taken."""
        client = self.stock[speaker]
        order = what.pop("order", "say")
        answer = await client.answer(client.order(order, topic=LOBBY, **what))
        assert answer["event"] == "ok", answer

    def said_to(self, name: str, word: str) -> list[Any]:
        """What somebody heard under this name: payloads, or bytes as hexadecimal digits."""
        return [
            told.get("payload", told.get("bytes"))
            for told in self._heard(name)
            if told["event"] == "broadcast" and told["name"] == word
        ]

    async def until_heard(self, word: str, *names: str) -> None:
        """Return once these heard it."""
        for name in names:
            look = partial(self.said_to, name, word)
            if name in self.stock:
                await self.stock[name].until(f"{name} hears {word}", look)
            else:
                await self._python(name).hearing.until(f"{name} hears {word}", look)
