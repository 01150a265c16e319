"""`presence watch | set | join | who | token`, run as people run them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from presence_actors import Join, Leave, connect
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import Entry, Intent
from presence_actors.edge.tokens import TokenVerifier

pytestmark = pytest.mark.sockets

Cluster = Callable[[int], AbstractAsyncContextManager[list[Any]]]
KEY = "k" * 32


class Ran(msgspec.Struct):
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Start a command."""
    inherited = {key: value for key, value in os.environ.items() if "PRESENCE" not in key}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "presence_actors.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, "COLUMNS": "120", **environment},
    )


async def presence(*arguments: str, **environment: str) -> Ran:
    """Run a command to its end."""
    process = await start(*arguments, **environment)
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())


async def line_with(process: asyncio.subprocess.Process, words: str) -> str:
    """The next line of a command that has these words."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if words in line:
            return line
    pytest.fail(f"the command ended without {words!r}")


def test_watch_shows_statuses_and_then_their_changes(cluster: Cluster) -> None:
    """The table first, a line for each change, and a quiet end on Ctrl-C."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            url = gateways[0].url
            process = await start("watch", "bob", "carol", "--url", url)
            assert "offline" in await line_with(process, "bob")
            async with connect(url, "dev:bob") as bob:
                assert "bob is online" in await line_with(process, "bob is")
                await bob.set_intent("dnd", text="in a meeting")
                assert 'dnd  "in a meeting"' in await line_with(process, "bob is dnd")
            await line_with(process, "bob is offline")
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
            assert (process.returncode, err) == (130, b"")

    run(scenario)


def test_join_shows_who_is_there_and_leaves_at_the_end(cluster: Cluster) -> None:
    """Others see the device, its meta, and its leave."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            url = gateways[0].url
            async with connect(url, "dev:alice") as alice:
                room = await alice.join("lobby")
                arguments = ("--meta", "mood=glad", "--meta", "age=7", "--for", "1s")
                ran = await presence(
                    "join", "lobby", "--as", "bob", "--device", "mobile", "--url", url, *arguments
                )
                assert (ran.status, ran.err) == (0, "")
                assert "in room:lobby now:" in ran.out
                assert "alice" in ran.out
                joined, left = await anext(room.stream), await anext(room.stream)
                assert isinstance(joined, Join)
                assert isinstance(left, Leave)
                assert joined.entry.meta == {"mood": "glad", "age": 7}
                assert joined.entry.device == "mobile"
                assert left.reason == "left"

    run(scenario)


def test_set_chooses_what_a_user_shows(cluster: Cluster) -> None:
    """As that user, with an end in the future."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            ran = await presence(
                "set",
                "alice",
                "away",
                "--text",
                "lunch",
                "--until",
                "30m",
                PRESENCE_URL=gateways[0].url,
            )
            assert (ran.status, ran.out) == (0, "alice shows away for 30m\n")
            (intent,) = gateways[0].heard_of(Intent)
            assert (intent.status, intent.text) == ("away", "lunch")
            assert gateways[0].world.intents["alice"].until is not None

    run(scenario)


def test_who_asks_over_http_and_lets_nobody_steer_the_terminal(cluster: Cluster) -> None:
    """A table of devices, the quality of the view, all pages, and harmless characters only."""

    async def scenario() -> None:
        async with cluster(1) as gateways:
            entry = Entry(
                ref="1",
                key=UserId("bob"),
                status="away",
                device="web",
                since=WallMs(1_700_000_000_000),
                meta={"mood": "\x9b31mred"},
            )
            gateways[0].world.put("room:lobby", entry)
            ran = await presence("who", "lobby", "--url", gateways[0].url)
            assert ran.status == 0
            assert "bob" in ran.out
            assert "the view is partial, silent: b/w0" in ran.out
            assert "\x9b" not in ran.out
            ran = await presence("who", "lobby", "--json", "--url", gateways[0].url)
            assert msgspec.json.decode(ran.out)["entries"][0]["key"] == "bob"
            more = msgspec.structs.replace(entry, ref="2", key=UserId("carol"))
            gateways[0].world.put("room:lobby", more)
            gateways[0].page_size = 1
            ran = await presence("who", "lobby", "--json", "--url", gateways[0].url)
            pages = msgspec.json.decode(ran.out)
            assert [entry["key"] for entry in pages["entries"]] == ["bob", "carol"]
            assert pages["next"] is None
            ran = await presence("who", "lobby", "--token", "x", "--url", gateways[0].url)
            assert (ran.status, ran.out) == (2, "")
            assert ran.err.startswith("presence: ")
            assert "not valid" in ran.err

    run(scenario)


def test_a_token_is_signed_with_the_key_or_says_that_it_is_not(tmp_path: Path) -> None:
    """The key from the environment or from a file that nobody else can read."""

    async def scenario() -> None:
        ran = await presence("token", "alice")
        assert (ran.status, ran.out) == (0, "dev:alice\n")
        assert "open gateway" in ran.err
        ran = await presence("token", "alice", "--ns", "shop", PRESENCE_JWT_KEY=KEY)
        identity = TokenVerifier(KEY.encode()).verify(ran.out.strip())
        assert (identity.user, identity.namespace) == ("alice", "shop")
        scopes = ("--scope", "kick", "--scope", "presence:read")
        ran = await presence("token", "shop", *scopes, PRESENCE_JWT_KEY=KEY)
        assert TokenVerifier(KEY.encode()).verify(ran.out.strip()).scopes == (
            Scope.READ,
            Scope.KICK,
        )
        path = tmp_path / "key"
        path.write_text(KEY + "\n")
        path.chmod(0o644)
        ran = await presence("token", "alice", "--key-file", str(path))
        assert ran.status == 2
        assert "chmod 600" in ran.err
        path.chmod(0o600)
        ran = await presence("token", "alice", "--key-file", str(path))
        assert TokenVerifier(KEY.encode()).verify(ran.out.strip()).user == "alice"

    run(scenario)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("watch", "bob", "--url", "ws://127.0.0.1:1"), 1, "start one with: presence up"),
        (("who", "lobby", "--url", "ws://127.0.0.1:1"), 1, "start one with: presence up"),
        (("watch", "bob", "--url", "localhost"), 2, "is not the address of a gateway"),
        (("watch", "bob", "--for", "soon"), 2, "must be a duration"),
        (("set", "alice", "sleepy"), 2, "choose one of online, away, dnd, invisible"),
        (("join", "lobby", "--as", "bob", "--meta", "glad"), 2, "write key=value"),
        (("token", "alice", "--key-file", "nowhere"), 2, "cannot be read"),
        (("token", "shop", "--scope", "rule"), 2, "read, kick, intent, publish"),
        (("join", "lobby"), 2, "--as"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: tuple[str, ...], status: int, words: str
) -> None:
    """2 for the caller's fault, 1 for what went wrong; never a stack trace."""

    async def scenario() -> None:
        ran = await presence(*arguments)
        assert ran.status == status
        assert words in ran.err
        assert "Traceback" not in ran.err

    run(scenario)
