"""What pollers, load balancers and browsers get on the same port."""

import asyncio
import re
import socket

import pytest

from presence_actors.core.events import QueryReceived
from presence_actors.core.limits import QUERY_TOPICS_MAX
from presence_actors.core.policy import Scope
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.server import EdgeServer
from presence_actors.edge.tokens import TokenVerifier, mint
from presence_actors.errors import ConfigError, UsageError
from tests.integration.edge.scripted import KEY, Gateway, Play, ScriptedMachine

pytestmark = pytest.mark.sockets

BEARER = f"Bearer {mint('alice', key=KEY, namespace='shop')}"


def driver(key: bytes | None) -> GatewayDriver:
    """A driver that is never started."""
    return GatewayDriver(
        ScriptedMachine(),
        verifier=TokenVerifier(key),
        send_peer=lambda _to, _messages: None,
        on_broken=lambda _error: None,
    )


def test_a_room_can_be_polled(play: Play) -> None:
    """Its prefix may be left out, and its name may hold anything that a name may."""

    async def story() -> None:
        async with Gateway() as gateway:
            status, body, headers = await gateway.get("/v1/topics/lobby")
            assert status == 200
            assert body == {
                "topic": "room:lobby",
                "quality": "complete",
                "silent": [],
                "as_of": None,
                "entries": [],
                "unreachable": [],
                "cursor": None,
                "leaves": [],
                "resumed": False,
                "check": None,
                "next": None,
            }
            assert headers["Cache-Control"] == "private, no-cache"
            for path, topic in (("room:lobby", "room:lobby"), ("a%2Fb%20c", "room:a/b c")):
                assert (await gateway.get(f"/v1/topics/{path}"))[1]["topic"] == topic

    play(story)


def test_users_can_be_polled_many_at_once(play: Play) -> None:
    """In the order asked for, each once."""

    async def story() -> None:
        async with Gateway() as gateway:
            status, body, _ = await gateway.get("/v1/users?ids=bob,alice,bob&ids=Zo%C3%AB")
            assert status == 200
            assert [user["user"] for user in body["users"]] == ["bob", "alice", "Zoë"]
            assert body["users"][0] == {
                "type": "status",
                "user": "bob",
                "status": "offline",
                "last_seen": 1,
            }

    play(story)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        pytest.param("/v1/users", 400, "bad_frame", id="no ids"),
        pytest.param("/v1/users?ids=", 400, "bad_frame", id="an empty id"),
        pytest.param("/v1/users?ids=a,,b", 400, "bad_frame", id="an empty id between"),
        pytest.param("/v1/users?ids=" + "x" * 129, 400, "too_long", id="an over-long id"),
        pytest.param("/v1/topics/" + "x" * 129, 400, "too_long", id="an over-long topic"),
        pytest.param("/v1/topics/a%00b", 400, "bad_frame", id="a control character"),
        pytest.param("/v1/topics/room:", 400, "bad_frame", id="no name"),
        pytest.param("/v1/topics/user:alice", 403, "forbidden", id="a user's topic"),
        pytest.param("/v1/topics/a?wiat=1s", 400, "bad_frame", id="an unknown parameter"),
        pytest.param("/v1/users?ids=a&limit=3", 400, "bad_frame", id="pages of users"),
        pytest.param("/v1/topics/a?limit=1&limit=2", 400, "bad_frame", id="a parameter twice"),
        pytest.param("/v1/topics/a?limit=0", 400, "bad_frame", id="no entries"),
        pytest.param("/v1/topics/a?limit=1001", 400, "bad_frame", id="too many entries"),
        pytest.param("/v1/topics/a?limit=%C2%B2", 400, "bad_frame", id="a limit that is no number"),
        pytest.param("/v1/topics/a?wait=1s", 400, "bad_frame", id="a wait for nobody knows what"),
        pytest.param("/v1/topics/a?cursor=x&wait=soon", 400, "bad_frame", id="no duration"),
        pytest.param("/v1/topics/a?cursor=x&wait=56s", 400, "bad_frame", id="too long a wait"),
        pytest.param("/v1/topics/a?cursor=x&page=y", 400, "bad_frame", id="two ways to go on"),
        pytest.param("/v1/topics/a?page=" + "x" * 65, 400, "bad_frame", id="no page"),
        pytest.param("/v1/topics/a?max_staleness=-1s", 400, "bad_frame", id="an age below nothing"),
        pytest.param("/v1/nothing", 404, "not_found", id="no such address"),
        pytest.param("/static/../server.py", 404, "not_found", id="a way out of the page"),
        pytest.param("/static/%2e%2e%2fserver.py", 404, "not_found", id="the same in disguise"),
    ],
)
def test_a_bad_request_is_answered_with_a_code_and_a_sentence(
    play: Play, path: str, status: int, code: str
) -> None:
    """The same codes as on the WebSocket."""

    async def story() -> None:
        async with Gateway() as gateway:
            answered, body, _ = await gateway.get(path)
            assert (answered, body["code"]) == (status, code)
            assert body["message"]
            assert gateway.machine.told(QueryReceived) == []

    play(story)


def test_one_poll_may_ask_for_so_many_and_no_more(play: Play) -> None:
    """Beyond the limit nothing is looked up."""

    async def story() -> None:
        async with Gateway() as gateway:
            names = [f"u{index}" for index in range(QUERY_TOPICS_MAX)]
            assert (await gateway.get(f"/v1/users?ids={','.join(names)}"))[0] == 200
            status, body, _ = await gateway.get(f"/v1/users?ids={','.join(names)},more")
            assert (status, body["code"]) == (400, "too_many")

    play(story)


@pytest.mark.parametrize("path", ["/v1/topics/lobby", "/v1/users?ids=bob", "/v1/stats"])
def test_a_gateway_with_a_key_answers_to_tokens_only(play: Play, path: str) -> None:
    """And asks within the token's namespace."""

    async def story() -> None:
        async with Gateway(key=KEY) as gateway:
            for wrong in ({}, {"Authorization": "Bearer dev:alice"}, {"Authorization": "Basic x"}):
                status, body, headers = await gateway.get(path, **wrong)
                assert (status, body["code"]) == (401, "unauthorized")
                assert headers["WWW-Authenticate"] == "Bearer"
            assert (await gateway.get(path, Authorization=BEARER))[0] == 200
            assert {query.namespace for query in gateway.machine.told(QueryReceived)} <= {"shop"}

    play(story)


@pytest.mark.parametrize(
    "path", ["/v1/topics/lobby", "/v1/users?ids=bob", "/v1/events?topics=lobby", "/v1/stats"]
)
def test_where_reading_wants_a_scope_people_do_not_read_over_http(play: Play, path: str) -> None:
    """Nor do app servers that have only other scopes; and nothing is looked up for them."""

    async def story() -> None:
        async with Gateway(key=KEY, reads_need_scope=True) as gateway:
            other = f"Bearer {mint('shop', key=KEY, scopes=[Scope.KICK, Scope.PUBLISH])}"
            for wrong in (BEARER, other):
                status, body, _ = await gateway.get(path, Authorization=wrong)
                assert (status, body["code"]) == (403, "forbidden")
                assert "presence:read" in body["message"]
            assert (await gateway.get(path))[0] == 401
            assert gateway.machine.events == []
            reader = f"Bearer {mint('shop', key=KEY, scopes=[Scope.READ])}"
            if "events" not in path:
                assert (await gateway.get(path, Authorization=reader))[0] == 200
            _client, _ = await gateway.greet("alice", token=mint("alice", key=KEY))

    play(story)


def test_an_open_gateway_checks_a_token_that_is_there(play: Play) -> None:
    """A wrong one is a mistake, even where none is needed."""

    async def story() -> None:
        async with Gateway() as gateway:
            assert (await gateway.get("/v1/stats", Authorization="Bearer dev:alice"))[0] == 200
            assert (await gateway.get("/v1/stats", Authorization=BEARER))[0] == 401

    play(story)


def test_a_poll_that_gets_no_answer_in_time_says_when_to_come_back(play: Play) -> None:
    """Whether the room is empty cannot be said, so it is not said."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(query_ms=30)) as gateway:
            gateway.machine.mute = True
            status, body, headers = await gateway.get("/v1/topics/lobby")
            assert (status, body["code"], headers["Retry-After"]) == (503, "unavailable", "1")
            gateway.machine.mute = False
            assert (await gateway.get("/v1/topics/lobby"))[0] == 200

    play(story)


def test_polls_that_wait_have_a_limit(play: Play) -> None:
    """Beyond it they are refused at once."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(queries_max=0)) as gateway:
            status, _, headers = await gateway.get("/v1/topics/lobby")
            assert (status, headers["Retry-After"]) == (503, "1")
            assert gateway.machine.told(QueryReceived) == []

    play(story)


def test_what_a_poll_asks_for_reaches_the_machine(play: Play) -> None:
    """Each parameter, in units of its own."""

    async def story() -> None:
        async with Gateway() as gateway:
            await gateway.get("/v1/topics/a?cursor=xyz&wait=1.5s&max_staleness=2m&limit=10")
            await gateway.get("/v1/topics/a?page=0123abc")
            first, second = gateway.machine.told(QueryReceived)
            assert (first.cursor, first.wait_ms, first.limit) == ("xyz", 1_500, 10)
            assert first.max_staleness_ms == 120_000
            assert (second.after, second.cursor, second.max_staleness_ms) == ("0123abc", None, None)

    play(story)


def test_whoever_has_the_answer_already_is_told_so_in_one_line(play: Play) -> None:
    """Its tag stands for what is seen, so it is the same at another gateway."""

    async def story() -> None:
        async with Gateway() as gateway, Gateway() as other:
            for path in ("/v1/topics/lobby", "/v1/users?ids=bob"):
                _, _, headers = await gateway.get(path)
                tag = headers["Etag"]
                for known in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
                    status, body, again = await other.get(path, If_None_Match=known)
                    assert (status, body, again["Etag"]) == (304, b"", tag)
                assert (await other.get(path, If_None_Match='W/"x"'))[0] == 200
            _, _, headers = await gateway.get("/v1/topics/lobby")
            known = headers["Etag"]
            assert (await gateway.get("/v1/topics/b", If_None_Match=known))[0] == 200

    play(story)


def test_a_difference_has_no_tag(play: Play) -> None:
    """It is one of many, and depends on the cursor."""

    async def story() -> None:
        async with Gateway() as gateway:
            _, _, headers = await gateway.get("/v1/topics/lobby?cursor=xyz")
            assert "Etag" not in headers
            assert headers["Cache-Control"] == "no-store"

    play(story)


def test_an_answer_that_is_too_old_is_none(play: Play) -> None:
    """It says how much is known, as of when, and when to come back."""

    async def story() -> None:
        async with Gateway() as gateway:
            gateway.machine.stale = True
            status, body, headers = await gateway.get("/v1/topics/lobby?max_staleness=5s")
            assert (status, body["code"], headers["Retry-After"]) == (503, "stale", "1")
            assert (body["quality"], body["as_of"]) == ("complete", None)
            status, body, _ = await gateway.get("/v1/users?ids=bob&max_staleness=5s")
            assert (status, body["code"]) == (503, "stale")

    play(story)


def test_polls_that_wait_for_news_are_counted_apart(play: Play) -> None:
    """They take no place of those that want an answer now, and wait longer than these."""

    async def story() -> None:
        limits = EdgeLimits(queries_max=1, long_polls_max=1, query_ms=30)
        async with Gateway(limits=limits) as gateway:
            gateway.machine.mute = True
            waits = "/v1/topics/lobby?cursor=x&wait=200ms"
            loop = asyncio.get_running_loop()
            began = loop.time()
            first = asyncio.ensure_future(gateway.get(waits))
            await gateway.machine.until(QueryReceived)
            assert (await gateway.get(waits))[0] == 503
            gateway.machine.mute = False
            assert (await gateway.get("/v1/topics/lobby"))[0] == 200
            assert (await first)[0] == 503
            assert loop.time() - began >= 0.2

    play(story)


def test_health_is_not_readiness(play: Play) -> None:
    """A gateway that cannot serve yet is to be left alone, not restarted."""

    async def story() -> None:
        async with Gateway(gateway_name="a/g0") as gateway:
            gateway.machine.ready = False
            assert await _status(gateway, "/healthz") == (200, {"status": "ok", "gateway": "a/g0"})
            status, body, headers = await gateway.get("/readyz")
            assert status == 503
            assert body == {
                "ready": False,
                "gateway": "a/g0",
                "machine": {"ready": False, "why": "scripted"},
            }
            assert headers["Retry-After"] == "1"
            gateway.machine.ready = True
            assert (await gateway.get("/readyz"))[0] == 200

    play(story)


async def _status(gateway: Gateway, path: str) -> tuple[int, object]:
    status, body, _ = await gateway.get(path)
    return status, body


def test_the_stats_are_those_of_the_machine_and_the_edge(play: Play) -> None:
    """For the page, and for whoever looks."""

    async def story() -> None:
        async with Gateway(gateway_name="a/g0") as gateway:
            _client, _ = await gateway.greet()
            _, body, _ = await gateway.get("/v1/stats")
            assert body["gateway"] == "a/g0"
            assert body["machine"] == {"ready": True, "why": "scripted"}
            assert body["edge"]["connections"] == 1
            assert body["edge"]["unauthenticated"] == 0
            assert body["edge"]["counts"]["greeted"] == 1

    play(story)


def test_the_page_loads_nothing_from_elsewhere(play: Play) -> None:
    """Its policy forbids it, and no file of it asks for it."""

    async def story() -> None:
        async with Gateway() as gateway:
            kinds = {
                "/": "text/html",
                "/static/app.js": "text/javascript",
                "/static/presence.js": "text/javascript",
                "/static/style.css": "text/css",
            }
            for path, kind in kinds.items():
                status, body, headers = await gateway.get(path)
                assert status == 200
                assert headers["Content-Type"] == f"{kind}; charset=utf-8"
                assert "default-src 'none'" in headers["Content-Security-Policy"]
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert not re.search(rb"https?://|@import|url\(", body)
                assert b"style=" not in body
                assert b"onclick" not in body

    play(story)


def test_no_answer_says_what_it_was_made_with(play: Play) -> None:
    """Not even a refusal."""

    async def story() -> None:
        async with Gateway() as gateway:
            for path in ("/", "/healthz", "/v1/nothing", "/ws", "/v1/users"):
                _, _, headers = await gateway.get(path)
                assert "Server" not in headers

    play(story)


def test_only_get_is_allowed(play: Play) -> None:
    """Nothing is written over HTTP."""

    async def story() -> None:
        async with Gateway() as gateway, gateway.http.post(f"{gateway.url}/v1/stats") as answer:
            assert answer.status == 405
            assert (await answer.json())["code"] == "bad_request"
            assert "GET" in answer.headers["Allow"]

    play(story)


def test_a_port_that_is_taken_is_one_line_that_says_what_to_do(play: Play) -> None:
    """And nothing is left behind: another port works."""

    async def story() -> None:
        async with Gateway() as gateway:
            other = EdgeServer(driver(None), host="127.0.0.1", port=gateway.port)
            with pytest.raises(UsageError) as refused:
                await other.start()
            assert str(refused.value) == (
                f"port {gateway.port} is taken on 127.0.0.1; choose another with --port"
            )
            await other.stop()

    play(story)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_one_line(play: Play, host: str) -> None:
    """It names the address."""

    async def story() -> None:
        server = EdgeServer(driver(KEY), host=host, port=0)
        with pytest.raises(UsageError, match=host):
            await server.start()

    play(story)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "presence.example"])  # noqa: S104
def test_without_a_key_nobody_comes_in_from_outside(host: str) -> None:
    """The error names the knob, its value and the constraint."""
    with pytest.raises(ConfigError) as refused:
        EdgeServer(driver(None), host=host, port=0)
    assert (refused.value.knob, refused.value.value) == ("host", host)
    assert "loopback" in refused.value.constraint
    EdgeServer(driver(KEY), host=host, port=0)


def test_a_server_listens_on_both_kinds_of_loopback(play: Play) -> None:
    """IPv6 where the machine has it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")

    async def story() -> None:
        server = EdgeServer(driver(None), host="::1", port=0)
        try:
            assert await server.start() > 0
        except UsageError:
            pytest.skip("no IPv6 loopback here")
        finally:
            await server.stop()

    play(story)
