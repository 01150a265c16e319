"""Acts over real HTTP: a whole cluster behind two gateways, native and Phoenix clients of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.parse
from typing import Any, Self

import aiohttp
import pytest

from presence_actors.client import connect
from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import Hello, Set, Sub
from presence_actors.edge.tokens import mint
from presence_actors.errors import SessionLost
from presence_actors.wire.native import SUBPROTOCOL
from tests.integration.edge.scripted import KEY, STEP_SECONDS, Client, Gateway, Play
from tests.integration.small_cluster import SmallCluster
from tests.project_files import ROOT

pytestmark = pytest.mark.sockets

SERVER = "dev-server:shop"


class Shop:
    """An app server that talks to both gateways of a cluster."""

    def __init__(self, cluster: SmallCluster) -> None:
        self.cluster = cluster
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        gateway: int = 0,
        token: str | None = SERVER,
    ) -> tuple[int, Any]:
        """Status and body of an answer."""
        assert self._session is not None
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = self.cluster.urls[gateway].replace("ws:", "http:") + path
        async with self._session.request(method, url, data=data, headers=headers) as answer:
            return answer.status, await answer.json()

    async def room(self, gateway: int = 1) -> list[dict[str, Any]]:
        """Who is in the lobby."""
        status, body = await self.ask("GET", "/v1/topics/lobby", gateway=gateway)
        assert status == 200
        return list(body["entries"])

    async def until_room(self, users: list[str]) -> None:
        """Return when these are in the lobby, one name for each device."""
        async with asyncio.timeout(STEP_SECONDS):
            while True:
                if sorted(entry["key"] for entry in await self.room()) == users:
                    return
                await asyncio.sleep(0.02)

    async def client(self, name: str, gateway: int) -> Client:
        """A client in the lobby, by hand."""
        assert self._session is not None
        url = self.cluster.urls[gateway] + "/ws"
        client = Client(await self._session.ws_connect(url, protocols=(SUBPROTOCOL,)))
        await client.say(Hello(token=f"dev:{name}"))
        assert (await client.hear())["type"] == "welcome"
        await client.say(Set(id=1, topic="room:lobby", meta={}))
        assert (await client.hear())["type"] == "ok"
        return client

    async def phoenix(self, name: str, gateway: int) -> aiohttp.ClientWebSocketResponse:
        """A Phoenix client in the lobby, by hand."""
        assert self._session is not None
        query = urllib.parse.urlencode({"token": f"dev:{name}", "vsn": "2.0.0"})
        url = f"{self.cluster.urls[gateway]}/socket/websocket?{query}"
        socket = await self._session.ws_connect(url)
        await socket.send_str(json.dumps(["1", "1", "room:lobby", "phx_join", {}]))
        return socket


def test_an_app_server_kicks_a_user_from_every_gateway(play: Play) -> None:
    """Native clients are told why and that it is final, Phoenix clients by closed channels."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            desk = await shop.client("alice", gateway=0)
            tablet = await shop.phoenix("alice", gateway=1)
            bob = await shop.client("bob", gateway=1)
            await shop.until_room(["alice", "alice", "bob"])
            status, body = await shop.ask("DELETE", "/v1/users/alice/sessions?reason=spam")
            assert status == 200
            assert body == {"user": "alice", "until": body["until"]}
            heard = await desk.hear()
            assert (heard["type"], heard["code"], heard["message"]) == ("err", "kicked", "spam")
            assert await desk.end() == (4403, "kicked")
            frames = [json.loads(frame.data) async for frame in tablet if frame.data]
            assert frames[-1][1:] == ["1", "room:lobby", "phx_close", {}]
            assert tablet.close_code == 4403
            await shop.until_room(["bob"])
            assert await bob.is_served()

    play(story)


def test_the_python_client_does_not_come_back_after_a_kick(play: Play) -> None:
    """Its application hears that the session is over."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            client = connect(cluster.urls, "dev:alice")
            await client.open()
            await client.join("lobby", {})
            await shop.until_room(["alice"])
            await shop.ask("DELETE", "/v1/users/alice/sessions?reason=spam", gateway=1)
            await shop.until_room([])
            with pytest.raises(SessionLost, match="spam"):
                await client.join("yard", {})
            await client.close()

    play(story)


def test_one_session_is_kicked_by_the_ref_of_its_entry(play: Play) -> None:
    """The others of the user stay."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            first = await shop.client("alice", gateway=0)
            await shop.until_room(["alice"])
            (entry,) = await shop.room()
            second = await shop.client("alice", gateway=0)
            await shop.until_room(["alice", "alice"])
            path = f"/v1/users/alice/sessions/{entry['ref']}"
            assert (await shop.ask("DELETE", path, gateway=1))[0] == 200
            assert await first.end() == (4403, "kicked")
            await shop.until_room(["alice"])
            assert await second.is_served()
            # Once more is the same as once.
            assert (await shop.ask("DELETE", path))[0] == 200

    play(story)


def test_an_app_server_chooses_what_a_user_shows(play: Play) -> None:
    """On all devices, for a while or until it is taken back."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            watcher = await shop.client("bob", gateway=1)
            await shop.client("alice", gateway=1)
            await watcher.say(Sub(users=["alice"]))

            async def shows(status: str) -> None:
                while (await watcher.hear()).get("status") != status:
                    pass

            await shows("online")
            path = "/v1/users/alice/intent"
            body = {"status": "dnd", "text": "in class", "for": "1h"}
            status, chosen = await shop.ask("PUT", path, body)
            assert (status, chosen["status"], chosen["text"]) == (200, "dnd", "in class")
            await shows("dnd")
            assert (await shop.ask("DELETE", path, gateway=1))[0] == 200
            await shows("online")
            assert (await shop.ask("PUT", path, {"status": "invisible"}))[0] == 200
            await shows("offline")

    play(story)


def test_an_app_server_has_somebody_be_here_who_has_no_socket(play: Play) -> None:
    """For as long as it says so again, at whichever gateway."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            path = "/v1/users/alice/presence/calendar"
            body = {"rooms": {"lobby": {"until": "5pm"}}, "status": "dnd", "lease": "5s"}
            status, carried = await shop.ask("PUT", path, body)
            assert status == 200
            assert (carried["session"], carried["lease_ms"]) == ("calendar", 5_000)
            assert carried["beat_ms"] == 2_500
            await shop.until_room(["alice"])
            assert (await shop.ask("PUT", path, body, gateway=1))[1] == carried
            (entry,) = await shop.room()
            assert (entry["status"], entry["meta"]) == ("dnd", {"until": "5pm"})
            assert entry["since"] == carried["since"]
            ended = await shop.ask("DELETE", path, gateway=0)
            assert ended == (200, {"user": "alice", "session": "calendar"})
            await shop.until_room([])

    play(story)


def test_a_device_posts_and_is_here_until_it_stops(play: Play) -> None:
    """With the token of its user, who need not be named."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            body = {"session": "door", "rooms": {"lobby": {}}, "lease": "5s"}

            async def beat(gateway: int) -> dict[str, Any]:
                status, carried = await shop.ask(
                    "POST", "/v1/heartbeat", body, gateway=gateway, token="dev:alice"
                )
                assert status == 200, carried
                return dict(carried)

            first = await beat(0)
            await shop.until_room(["alice"])
            for turn in range(4):
                assert await beat(turn % 2) == first
            path = "/v1/heartbeat?session=door"
            assert (await shop.ask("DELETE", path, token="dev:alice"))[0] == 200
            await shop.until_room([])
            await beat(1)
            await shop.until_room(["alice"])
            started = asyncio.get_running_loop().time()
            await shop.until_room([])
            assert asyncio.get_running_loop().time() - started > 4

    play(story)


def test_a_device_that_was_kicked_is_told_so_by_its_next_post(play: Play) -> None:
    """409: it does not go on under this name."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            body = {"session": "door", "rooms": {"lobby": {}}}
            await shop.ask("POST", "/v1/heartbeat", body, token="dev:alice")
            await shop.until_room(["alice"])
            await shop.ask("DELETE", "/v1/users/alice/sessions", gateway=1)
            await shop.until_room([])
            for gateway in (0, 1):
                status, refused = await shop.ask(
                    "POST", "/v1/heartbeat", body, gateway=gateway, token="dev:alice"
                )
                assert (status, refused["code"]) == (409, "kicked")

    play(story)


ACTS = [
    ("DELETE", "/v1/users/bob/sessions", None, Scope.KICK),
    ("DELETE", "/v1/users/bob/sessions/0123456789abcdef", None, Scope.KICK),
    ("PUT", "/v1/users/bob/intent", {"status": "dnd"}, Scope.INTENT),
    ("DELETE", "/v1/users/bob/intent", None, Scope.INTENT),
    ("PUT", "/v1/users/bob/presence/door", {}, Scope.PUBLISH),
    ("DELETE", "/v1/users/bob/presence/door", None, Scope.PUBLISH),
]


@pytest.mark.parametrize(("method", "path", "body", "scope"), ACTS)
def test_nobody_acts_without_the_scope_for_it(
    play: Play, method: str, path: str, body: object, scope: Scope
) -> None:
    """Neither people, nor app servers with all other scopes; nothing reaches the machine."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            others = [other for other in Scope if other is not scope]
            for token, status, code in (
                (None, 401, "unauthorized"),
                ("dev-server:shop", 401, "unauthorized"),
                (mint("bob", key=KEY), 403, "forbidden"),
                (mint("shop", key=KEY, scopes=others), 403, "forbidden"),
            ):
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                async with gateway.http.request(
                    method, gateway.url + path, json=body, headers=headers
                ) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (status, code)
            assert gateway.machine.events == []

    play(story)


def test_at_an_open_gateway_nobody_acts_without_a_token(play: Play) -> None:
    """A page of elsewhere may send requests there, but not this header."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            for method, path, body, _scope in ACTS:
                assert (await shop.ask(method, path, body, token=None))[0] == 401
                assert (await shop.ask(method, path, body, token="dev:bob"))[0] == 403
            body = {"session": "door"}
            assert (await shop.ask("POST", "/v1/heartbeat", body, token=None))[0] == 401

    play(story)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/v1/users/bob/intent", b"{", 400, "bad_frame"),
        ("PUT", "/v1/users/bob/intent", b"", 400, "bad_frame"),
        ("PUT", "/v1/users/bob/intent", {"status": "dnd", "color": 1}, 400, "bad_frame"),
        ("PUT", "/v1/users/bob/intent", {"status": "gone"}, 400, "bad_frame"),
        ("PUT", "/v1/users/" + "x" * 129 + "/intent", {"status": ""}, 400, "too_long"),
        ("PUT", "/v1/users/bob/intent?x=1", {"status": ""}, 400, "bad_frame"),
        ("PUT", "/v1/users/bob/presence/a%1Fb", {}, 400, "bad_frame"),
        ("PUT", "/v1/users/bob/presence/a", {"lease": "1s"}, 400, "bad_frame"),
        ("PUT", "/v1/users/bob/presence/a", {"rooms": {"user:x": {}}}, 403, "forbidden"),
        ("DELETE", "/v1/users/bob/sessions/xyz", None, 400, "bad_frame"),
        ("DELETE", "/v1/users/bob/sessions?reason=" + "x" * 141, None, 400, "too_long"),
        ("DELETE", "/v1/users/bob/sessions?because=1", None, 400, "bad_frame"),
        ("POST", "/v1/heartbeat", {}, 400, "bad_frame"),
        ("POST", "/v1/heartbeat", {"session": "a", "b": 1}, 400, "bad_frame"),
        ("DELETE", "/v1/heartbeat", None, 400, "bad_frame"),
        ("POST", "/v1/users/bob/sessions", None, 405, "bad_request"),
        pytest.param(
            "POST", "/v1/heartbeat", b" " * (CLIENT_FRAME_BYTES_MAX + 1), 413, "too_big", id="big"
        ),
        pytest.param("PUT", "/v1/users/bob/intent", b" " * 900_000, 413, "too_big", id="huge"),
    ],
)
def test_a_bad_request_gets_one_clear_error_and_does_nothing(
    play: Play, method: str, path: str, body: object, status: int, code: str
) -> None:
    """JSON with a code and a sentence, as for reading."""

    async def story() -> None:
        async with Gateway() as gateway:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {SERVER}"}
            async with gateway.http.request(
                method, gateway.url + path, data=data, headers=headers
            ) as answer:
                found = await answer.json()
                assert (answer.status, found["code"]) == (status, code)
                assert found["message"]
            assert gateway.machine.events == []

    play(story)


def test_devices_that_post_too_often_are_told_when_to_come_again(play: Play) -> None:
    """All devices of one user together; another user is not concerned."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            body = {"session": "door"}
            found = [
                await shop.ask("POST", "/v1/heartbeat", body, token="dev:alice") for _ in range(30)
            ]
            statuses = [status for status, _ in found]
            assert statuses[:20] == [200] * 20
            assert 429 in statuses
            assert {answer["code"] for status, answer in found if status == 429} == {"rate_limited"}
            assert (await shop.ask("POST", "/v1/heartbeat", body, token="dev:bob"))[0] == 200

    play(story)


def test_a_gateway_that_is_being_emptied_takes_no_device_in(play: Play) -> None:
    """It may still kick: whoever is asked, it is done."""

    async def story() -> None:
        async with SmallCluster() as cluster, Shop(cluster) as shop:
            cluster.drivers[0].drain("an operator empties it")
            path = "/v1/users/alice/presence/door"
            status, refused = await shop.ask("PUT", path, {})
            assert (status, refused["code"]) == (503, "unavailable")
            assert (await shop.ask("PUT", path, {}, gateway=1))[0] == 200
            assert (await shop.ask("DELETE", "/v1/users/alice/sessions"))[0] == 200

    play(story)


def test_the_example_shows_what_its_docstring_says_and_ends() -> None:
    """As a reader runs it, against a cluster without Ray."""

    async def story() -> tuple[int | None, str, str]:
        async with SmallCluster(gateways=1) as cluster:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "examples/app_server.py"),
                cluster.urls[0],
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, out.decode(), err.decode()

    status, out, err = asyncio.run(story())
    assert (status, err) == (0, "")
    assert sorted(out.splitlines()) == [
        "+ alice by desktop",
        "+ janitor by door",
        "- alice (kicked)",
        "alice hears: go home",
        "alice is dnd: in class",
    ]
