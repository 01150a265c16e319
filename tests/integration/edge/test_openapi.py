"""The OpenAPI document against the server: every route, every answer, every schema."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import jsonschema
import pytest

from presence_actors.core.limits import BROADCASTS_PER_SECOND_MAX, CLIENT_FRAME_BYTES_MAX
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import Err, ErrorCode, Hello, Intent, Set
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.openapi import document, operations
from presence_actors.edge.tokens import mint
from presence_actors.wire.native import SUBPROTOCOL
from tests.integration.edge.scripted import KEY, Client, Gateway, Play
from tests.integration.small_cluster import SmallCluster

pytestmark = pytest.mark.sockets

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document()))
ALL = mint("shop", key=KEY, scopes=list(Scope))
NONE = mint("alice", key=KEY)
WRONG = "no token of ours"
BIG = b" " * (CLIENT_FRAME_BYTES_MAX + 1)

#: More requests than anybody may make at once.
MANY = 40 + 2 * BROADCASTS_PER_SECOND_MAX
POLL = "/socket/longpoll"
BROADCAST = "/realtime/v1/api/broadcast/{topic}/events/{event}"
SAID_AT_LENGTH = {
    "messages": [{"topic": "lobby", "event": "wave", "payload": {"a": "x" * 70_000}}],
}
SAID = {"messages": [{"topic": "lobby", "event": "wave", "payload": {}}]}

#: {(method, path): an address that is fine, and a body that is}
FINE: dict[tuple[str, str], tuple[str, object]] = {
    ("get", "/v1/topics/{topic}"): ("/v1/topics/lobby", None),
    ("get", "/v1/users"): ("/v1/users?ids=alice", None),
    ("get", "/v1/events"): ("/v1/events?topics=lobby", None),
    ("get", "/v1/stats"): ("/v1/stats", None),
    ("get", "/v1/openapi.json"): ("/v1/openapi.json", None),
    ("delete", "/v1/users/{user}/sessions"): ("/v1/users/bob/sessions", None),
    ("delete", "/v1/users/{user}/sessions/{ref}"): (
        "/v1/users/bob/sessions/0123456789abcdef",
        None,
    ),
    ("put", "/v1/users/{user}/intent"): ("/v1/users/bob/intent", {"status": "dnd"}),
    ("delete", "/v1/users/{user}/intent"): ("/v1/users/bob/intent", None),
    ("put", "/v1/users/{user}/presence/{session}"): ("/v1/users/bob/presence/door", {}),
    ("delete", "/v1/users/{user}/presence/{session}"): ("/v1/users/bob/presence/door", None),
    ("post", "/v1/heartbeat"): ("/v1/heartbeat", {"session": "door"}),
    ("delete", "/v1/heartbeat"): ("/v1/heartbeat?session=door", None),
    ("get", "/healthz"): ("/healthz", None),
    ("get", "/readyz"): ("/readyz", None),
    ("get", "/ws"): ("/ws", None),
    ("get", "/socket/websocket"): ("/socket/websocket?vsn=2.0.0", None),
    ("get", "/realtime/v1/websocket"): ("/realtime/v1/websocket?vsn=2.0.0", None),
    ("post", "/realtime/v1/api/broadcast"): ("/realtime/v1/api/broadcast", SAID),
    ("options", "/realtime/v1/api/broadcast"): ("/realtime/v1/api/broadcast", None),
    ("post", BROADCAST): ("/realtime/v1/api/broadcast/lobby/events/wave", {"a": 1}),
    ("options", BROADCAST): ("/realtime/v1/api/broadcast/lobby/events/wave", None),
    ("get", POLL): (POLL + "?vsn=2.0.0", None),
    ("post", POLL): (POLL, None),
    ("options", POLL): (POLL, None),
    ("get", "/"): ("/", None),
    ("get", "/static/{name}"): ("/static/style.css", None),
}
#: {(method, path): an address that is not}; elsewhere a parameter that is not known will do.
BAD = {
    ("get", "/v1/users"): "/v1/users",
    ("get", "/v1/events"): "/v1/events",
    ("get", "/static/{name}"): "/static/nothing",
    ("post", BROADCAST): "/realtime/v1/api/broadcast/user:x/events/wave",
    ("post", "/realtime/v1/api/broadcast"): "/realtime/v1/api/broadcast",
}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
}
SOCKETS = ("/ws", "/socket/websocket", "/realtime/v1/websocket")
FOREIGN = {"Origin": "https://evil.example"}
#: Where an answer may be too old.
STALE = ("/v1/topics/{topic}", "/v1/users")

Ask = Callable[..., Awaitable[tuple[int, str, bytes]]]


def asker(gateway: Gateway) -> Ask:
    """Asks, and gives status, media type and body."""

    async def ask(
        method: str, url: str, body: object = None, *, token: str | None = ALL, **headers: str
    ) -> tuple[int, str, bytes]:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        data = None if body is None else io.BytesIO(text)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            names["Authorization"] = f"Bearer {token}"
        async with gateway.http.request(
            method, gateway.url + url, data=data, headers=names
        ) as answer:
            is_stream = answer.content_type == "text/event-stream" or answer.status == 101
            found = b"" if is_stream else await answer.read()
            return answer.status, answer.content_type, found

    return ask


def resolver() -> dict[str, Any]:
    """The components, as whatever validates a body wants them beside its schema."""
    return {"components": DOCUMENT["components"]}


def check(method: str, path: str, status: int, kind: str, body: bytes) -> None:
    """The answer is one that the document has, and fits its schema; no field is left out of it."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert str(status) in responses, f"{method} {path} answers {status}: {body[:200]!r}"
    content = responses[str(status)].get("content")
    if content is None:
        assert body == b""
        return
    ((media, spelt),) = content.items()
    assert kind == media
    if "schema" in spelt:
        parsed = json.loads(body)
        jsonschema.Draft202012Validator({**spelt["schema"], **resolver()}).validate(parsed)
        name = spelt["schema"]["$ref"].rpartition("/")[2]
        known = DOCUMENT["components"]["schemas"][name]["properties"]
        assert set(parsed) <= set(known), f"{name} does not say {set(parsed) - set(known)}"


def test_the_document_is_sound() -> None:
    """Schemas are schemas, references lead somewhere, names are unique, parameters are declared."""
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(DOCUMENT)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.rpartition("/")[2] in schemas, reference
    names = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))
    for path, methods in DOCUMENT["paths"].items():
        for spelt in methods.values():
            declared = {one["name"] for one in spelt["parameters"] if one["in"] == "path"}
            assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_every_route_of_the_server_is_in_the_document_and_no_other(play: Play) -> None:
    """HEAD comes with GET."""

    async def story() -> None:
        async with Gateway() as gateway:
            runner = gateway.server._runner
            assert runner is not None
            routes = {
                (route.method.lower(), route.resource.canonical)
                for route in runner.app.router.routes()
                if route.resource is not None and route.method != "HEAD"
            }
            documented = {(one.method, one.path) for one in operations()}
            assert routes == documented == set(FINE)

    play(story)


def test_the_document_is_served_to_anybody(play: Play) -> None:
    """It holds no secret, and whoever has no token yet may read how to use one."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            status, body, _ = await gateway.get("/v1/openapi.json")
            assert (status, body) == (200, DOCUMENT)

    play(story)


def _asked(method: str, path: str, status: int) -> tuple[str, object, str, dict[str, str]]:
    """Address, body, token and headers that lead to this answer."""
    url, body = FINE[method, path]
    more = url + ("&" if "?" in url else "?")
    is_socket = path in SOCKETS
    urls = {
        400: url if is_socket else BAD.get((method, path), more + "surely_unknown=1"),
        404: BAD.get((method, path), url),
        503: more + "max_staleness=5s" if path in STALE else url,
    }
    bodies: dict[int, object] = {413: BIG}
    tokens = {401: WRONG}
    headers: dict[int, dict[str, str]] = {304: {"If-None-Match": "*"}}
    if path == "/v1/heartbeat":
        bodies[403] = {"session": "door", "rooms": {"user:x": {}}}
    elif path == POLL:
        headers[403], bodies[413] = FOREIGN, 22 * BIG[:50_000]
    elif path.startswith("/realtime/v1/api"):
        headers[403] = FOREIGN
        bodies[400], bodies[413] = b"{", SAID_AT_LENGTH
    elif not is_socket:
        tokens[403] = NONE
    if is_socket:
        headers = {
            101: UPGRADE,
            400: {**UPGRADE, "Sec-WebSocket-Protocol": "other"},
            403: {**UPGRADE, **FOREIGN},
            503: UPGRADE,
        }
    found = urls.get(status, url)
    if path == "/socket/websocket":
        found += f"&token={ALL}"
    if path == "/realtime/v1/websocket":
        found += f"&apikey={ALL}"
    return found, bodies.get(status, body), tokens.get(status, ALL), headers.get(status, {})


async def _provoke(gateway: Gateway, method: str, path: str, status: int) -> tuple[int, str, bytes]:
    """The request that has this answer, if everything is as the document says."""
    ask, machine = asker(gateway), gateway.machine
    url, body, token, headers = _asked(method, path, status)
    machine.refusal = Err(code=ErrorCode.KICKED, message="kicked") if status == 409 else None
    if status == 503:
        machine.ready, machine.stale = path != "/readyz", path in STALE
        if path in SOCKETS or path == "/v1/events":
            gateway.driver.drain("as the test has it")
        elif machine.ready and not machine.stale:
            gateway.driver.host.close()
    for _ in range(MANY if status == 429 else 0):
        answer = await ask(method, url, body)
        if answer[0] == status:
            return answer
    return await ask(method, url, body, token=token, **headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param(one.method, one.path, status, id=f"{one.method} {one.path} {status}")
        for one in operations()
        for status in one.answers
    ],
)
def test_each_documented_answer_can_be_had_and_fits_its_schema(
    play: Play, method: str, path: str, status: int
) -> None:
    """One request for each line of the document."""

    async def story() -> None:
        limits = EdgeLimits(refusal_ms=1)
        async with Gateway(key=KEY, reads_need_scope=True, limits=limits) as gateway:
            found, kind, body = await _provoke(gateway, method, path, status)
            assert found == status, body[:300]
            check(method, path, found, kind, body)

    play(story)


def test_answers_of_a_whole_cluster_fit_their_schemas_too(play: Play) -> None:
    """With people in them, in difference and in pages, and with what a real machine counts."""

    async def story() -> None:
        async with SmallCluster() as cluster, aiohttp.ClientSession() as session:
            client = Client(
                await session.ws_connect(cluster.urls[0] + "/ws", protocols=(SUBPROTOCOL,))
            )
            await client.say(Hello(token="dev:alice", device="mobile"))
            await client.hear()
            for frame in (
                Set(id=1, topic="room:lobby", meta={"a": {"b": [1, None]}}),
                Set(id=2, topic="room:yard"),
                Intent(id=3, status="dnd", text="busy", until=4_000_000_000_000),
            ):
                await client.say(frame)
                assert (await client.hear())["type"] == "ok"
            base = cluster.urls[0].replace("ws:", "http:")

            async def get(url: str, path: str) -> dict[str, Any]:
                async with session.get(base + url) as answer:
                    body = await answer.read()
                    check("get", path, answer.status, answer.content_type, body)
                    assert answer.status == 200
                    return dict(json.loads(body))

            room = await get("/v1/topics/lobby?limit=1", "/v1/topics/{topic}")
            assert [entry["key"] for entry in room["entries"]] == ["alice"]
            await get(f"/v1/topics/lobby?cursor={room['cursor']}", "/v1/topics/{topic}")
            await get("/v1/users?ids=alice,nobody", "/v1/users")
            await get("/v1/stats", "/v1/stats")
            await get("/readyz", "/readyz")

    play(story)
