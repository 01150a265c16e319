"""A Phoenix client that misbehaves in every way, in a cluster where others are at work."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import aiohttp
import pytest

from presence_actors.actors.cluster import Cluster
from presence_actors.core.limits import BAD_FRAMES_MAX
from tests.integration.node.party import LOBBY, PACKAGES, Party

pytestmark = [pytest.mark.node, pytest.mark.ray, pytest.mark.timeout(180)]

OWN = "room:own"
CHANNELS_MAX = 100

Frame = list[Any]


class Mallory:
    """A raw socket of version 2; remembers all that came."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._refs = itertools.count(100)
        self.heard: list[Frame] = []

    async def says(self, text: str) -> None:
        """Send it as it is."""
        await self._socket.send_str(text)

    async def asks(self, join_ref: str | None, topic: str, event: str) -> Frame:
        """The reply to a frame: status and response."""
        ref = str(next(self._refs))
        if event == "phx_join":
            join_ref = ref
        await self.says(json.dumps([join_ref, ref, topic, event, {}]))
        while True:
            frame: Frame = json.loads(await self._socket.receive_str(timeout=10))
            self.heard.append(frame)
            if frame[1] == ref and frame[3] == "phx_reply":
                return [frame[0], frame[4]["status"], frame[4]["response"]]

    async def end(self) -> int | None:
        """The code with which the connection is closed."""
        while (message := await self._socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            self.heard.append(message.json())
        return self._socket.close_code


async def _misbehaves(mallory: Mallory) -> None:
    """All but what ends the connection; each as the protocol says."""
    refused = await mallory.asks("9", LOBBY, "track")
    assert refused == ["9", "error", {"reason": "unmatched topic"}]

    first, status, _ = await mallory.asks(None, OWN, "phx_join")
    second, again, _ = await mallory.asks(None, OWN, "phx_join")
    assert (status, again) == ("ok", "ok")
    assert [first, first, OWN, "phx_close", {}] in mallory.heard

    await mallory.says(json.dumps([first, "stale", OWN, "track", {"old": True}]))
    assert (await mallory.asks(None, "phoenix", "heartbeat"))[1] == "ok"
    assert "stale" not in [frame[1] for frame in mallory.heard]
    assert (await mallory.asks(second, OWN, "track"))[1] == "ok"

    for number in range(CHANNELS_MAX - 1):
        assert (await mallory.asks(None, f"room:{number}", "phx_join"))[1] == "ok"
    refused = await mallory.asks(None, "room:one-more", "phx_join")
    assert refused[1:] == ["error", {"reason": "too many channels joined"}]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_client_that_misbehaves_touches_no_other(package: str, cluster: Cluster) -> None:
    """Wrong version, unjoined topic, double join, stale join ref, 101 channels, broken frames."""

    async def story() -> None:
        async with Party(cluster, f"bad-{package}") as party, aiohttp.ClientSession() as http:
            nina = await party.native("nina", 0)
            olga = await party.stock(package, "olga", party.socket(0))
            assert (await olga.join(LOBBY, meta={"n": 1}))["event"] == "ok"
            await olga.until_listed(LOBBY, nina=1, olga=1)
            await nina.until("olga", lambda: nina.sees({"nina": [{}], "olga": [{"n": 1}]}))
            before = len(olga.heard), len(nina.heard)

            url = f"{party.socket(0)}/websocket"
            query = {"token": party.token("mallory"), "vsn": "3.0.0"}
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await http.ws_connect(url, params=query)
            assert refusal.value.status == 403
            async with http.ws_connect(url, params=query | {"vsn": "2.0.0"}) as socket:
                mallory = Mallory(socket)
                await _misbehaves(mallory)
                for _ in range(BAD_FRAMES_MAX):
                    await mallory.says("{")
                assert (await mallory.asks(None, "phoenix", "heartbeat"))[1] == "ok"
                await mallory.says('["3","3"]')
                assert await mallory.end() == 4400

            assert (await olga.push(LOBBY, "track", {"n": 2}))["event"] == "ok"
            await nina.until("olga's change", lambda: nina.sees({"nina": [{}], "olga": [{"n": 2}]}))
            # She hears of her own change on a tick of its own.
            await olga.until("her own change", lambda: olga.of("leave", key="olga"))
            kinds = [(told["event"], told.get("key")) for told in olga.heard[before[0] :]]
            assert {key for kind, key in kinds if kind in ("join", "leave")} == {"olga"}
            assert not {"close", "channel_close", "channel_error"} & {kind for kind, _ in kinds}
            assert [type(event).__name__ for event in nina.heard[before[1] :]] == ["Update"]

    asyncio.run(story())
