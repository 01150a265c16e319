"""`presence watch | set | join | who | token`: people, seen and shown from a terminal.

Who one is comes from a token: given with ``--token``, else signed with the key in
``$PRESENCE_JWT_KEY`` or ``--key-file``, else ``dev:NAME``, which an open gateway takes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from presence_actors.config import parse_duration
from presence_actors.errors import ConfigError, PresenceError, Unavailable, UsageError

if TYPE_CHECKING:
    from presence_actors.client import Event, EventStream, PresenceClient
    from presence_actors.core.policy import Scope

_KEY_VARIABLE: Final = "PRESENCE_JWT_KEY"
_URL_VARIABLE: Final = "PRESENCE_URL"
_DEFAULT_URL: Final = "ws://127.0.0.1:4000"
#: How long a command tries to reach a gateway.
_CONNECT_S: Final = 3.0
_OTHERS_MODE: Final = 0o077

_out = Console(highlight=False, markup=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

Url = Annotated[
    list[str] | None,
    typer.Option(
        "--url", help=f"A gateway; repeat for several. Default: ${_URL_VARIABLE}, {_DEFAULT_URL}."
    ),
]
Token = Annotated[str | None, typer.Option("--token", help="Who you are; else one is made.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help=f"The gateways' key, to sign tokens. Or ${_KEY_VARIABLE}."),
]
Namespace = Annotated[str, typer.Option("--ns", help="The tenant.")]
For = Annotated[
    str | None, typer.Option("--for", help="End by itself after this, such as 10s or 5m.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(watch)
    app.command(name="set")(set_intent)
    app.command()(join)
    app.command()(who)
    app.command()(token)


def watch(
    users: Annotated[list[str], typer.Argument(help="Whom to watch.")],
    *,
    url: Url = None,
    token: Token = None,
    me: Annotated[str, typer.Option("--as", help="Who watches.")] = "viewer",
    key_file: KeyFile = None,
    namespace: Namespace = "default",
    duration: For = None,
) -> None:
    """Show what users show: first all of them, then each change."""
    seconds = _seconds(duration)
    bearer = token or _minted(me, key_file, namespace)

    async def run() -> None:
        from presence_actors.cli.rendering import statuses_table

        async with _connected(url, bearer) as client:
            events = client.events()
            watched = await client.watch(users)
            events.clear()
            _out.print(statuses_table(watched.statuses))
            await _print_events(events, seconds)

    _run(run())


def set_intent(  # noqa: PLR0913  # each is an option
    user: Annotated[str, typer.Argument(help="Whose choice it is.")],
    status: Annotated[
        str, typer.Argument(help="away, dnd, invisible, or online to take a choice back.")
    ],
    *,
    text: Annotated[str, typer.Option(help="A few words beside it.")] = "",
    emoji: Annotated[str, typer.Option(help="A sign beside it.")] = "",
    until: Annotated[
        str | None, typer.Option(help="End it by itself after this, such as 30m.")
    ] = None,
    url: Url = None,
    token: Token = None,
    key_file: KeyFile = None,
    namespace: Namespace = "default",
) -> None:
    """Choose what a user shows on all devices. Connects as that user for a moment."""
    words = ("online", "away", "dnd", "invisible")
    if status not in words:
        raise UsageError(f"status {status!r}", remedy=f"choose one of {', '.join(words)}")
    end = None if until is None else int(time.time() * 1000) + parse_duration("--until", until)
    bearer = token or _minted(user, key_file, namespace)

    async def run() -> None:
        async with _connected(url, bearer, device="cli") as client:
            chosen = "" if status == "online" else status
            await client.set_intent(chosen, text=text, emoji=emoji, until=end)
        ending = "" if until is None else f" for {until}"
        _out.print(f"{user} shows {status}{ending}" if chosen else f"{user} shows no choice")

    _run(run())


def join(  # noqa: PLR0913  # each is an option
    room: Annotated[str, typer.Argument(help="Which room, such as lobby.")],
    *,
    me: Annotated[str, typer.Option("--as", help="Who joins.")],
    device: Annotated[str, typer.Option(help="On which device.")] = "desktop",
    status: Annotated[str, typer.Option(help="online, away or dnd.")] = "online",
    meta: Annotated[
        list[str] | None, typer.Option(help="key=value that others see; repeat.")
    ] = None,
    url: Url = None,
    token: Token = None,
    key_file: KeyFile = None,
    namespace: Namespace = "default",
    duration: For = None,
) -> None:
    """Be in a room, and show who is there and what changes. Leaves at the end, or on Ctrl-C."""
    fields = dict(_field(text) for text in meta or [])
    seconds = _seconds(duration)
    bearer = token or _minted(me, key_file, namespace)

    async def run() -> None:
        from presence_actors.cli.rendering import entries_table

        async with _connected(url, bearer, device=device, status=status) as client:
            events = client.events()
            joined = await client.join(room, meta=fields)
            events.clear()
            table = entries_table(joined.entries.values(), joined.view.unreachable)
            _out.print(f"in {joined.topic} now:")
            _out.print(table)
            await _print_events(events, seconds)

    _run(run())


def who(
    room: Annotated[str, typer.Argument(help="Which room, such as lobby.")],
    *,
    url: Url = None,
    token: Token = None,
    key_file: KeyFile = None,
    namespace: Namespace = "default",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show who is in a room now, over HTTP."""
    key = _key(key_file)
    bearer = token or (None if key is None else _minted("viewer", key_file, namespace))

    async def run() -> None:
        import msgspec

        from presence_actors.cli.rendering import entries_table
        from presence_actors.core.effects import TopicAnswer

        pages: list[TopicAnswer] = []
        while not pages or pages[-1].next is not None:
            body = await _get_topic(
                _urls(url)[0], room, bearer, page=pages[-1].next if pages else None
            )
            try:
                pages.append(msgspec.json.decode(body, type=TopicAnswer))
            except msgspec.DecodeError as error:
                raise PresenceError(
                    f"{_urls(url)[0]} gave an answer of another kind: {error}"
                ) from error
        answer = msgspec.structs.replace(
            pages[0],
            entries=[entry for page in pages for entry in page.entries],
            unreachable=[ref for page in pages for ref in page.unreachable],
            next=None,
        )
        if as_json:
            _out.print(msgspec.json.encode(answer).decode())
            return
        _out.print(entries_table(answer.entries, answer.unreachable))
        if answer.quality != "complete":
            silent = f", silent: {', '.join(answer.silent)}" if answer.silent else ""
            _out.print(f"the view is {answer.quality}{silent}")

    _run(run())


def token(
    user: Annotated[str, typer.Argument(help="Whose token.")],
    *,
    ttl: Annotated[str, typer.Option(help="How long it is good.")] = "1h",
    namespace: Namespace = "default",
    key_file: KeyFile = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="For an app server: read, kick, intent or publish; repeat."),
    ] = None,
) -> None:
    """Print a token for a user, or with scopes for an app server, signed with the gateways' key."""
    ttl_ms = parse_duration("--ttl", ttl)
    scopes = [_scope(word) for word in scope or []]
    if _key(key_file) is None:
        _err.print(
            f"without a key (${_KEY_VARIABLE} or --key-file): good at an open gateway on this "
            "machine only"
        )
    print(_minted(user, key_file, namespace, ttl_ms=ttl_ms, scopes=scopes))  # noqa: T201  # for `$(...)`


# --- who one is ---------------------------------------------------------------------------------


def _minted(
    user: str,
    key_file: Path | None,
    namespace: str,
    *,
    ttl_ms: int = 3_600_000,
    scopes: Sequence[Scope] = (),
) -> str:
    from presence_actors.edge.tokens import mint

    return mint(user, key=_key(key_file), ttl_ms=ttl_ms, namespace=namespace, scopes=scopes)


def _scope(word: str) -> Scope:
    from presence_actors.core.policy import Scope

    short = {scope.value.partition(":")[2]: scope for scope in Scope}
    found = short.get(word.removeprefix("presence:"))
    if found is None:
        raise UsageError(f"--scope {word!r}", remedy=f"give one of {', '.join(short)}")
    return found


def _key(key_file: Path | None) -> bytes | None:
    if key_file is None:
        text = os.environ.get(_KEY_VARIABLE, "").strip()
        return text.encode() or None
    try:
        if key_file.stat().st_mode & _OTHERS_MODE:
            raise ConfigError(
                "--key-file", str(key_file), f"can be read by others; run: chmod 600 {key_file}"
            )
        return key_file.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"--key-file {key_file} cannot be read ({error.strerror})") from error


def _field(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--meta {text!r}", remedy="write key=value, such as mood=curious")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


# --- the gateway --------------------------------------------------------------------------------


def _urls(given: list[str] | None) -> list[str]:
    return given or os.environ.get(_URL_VARIABLE, _DEFAULT_URL).split()


def _no_gateway(urls: list[str], reason: str) -> PresenceError:
    return PresenceError(
        f"no gateway answers at {', '.join(urls)} ({reason}); start one with: presence up"
    )


@asynccontextmanager
async def _connected(
    given: list[str] | None, bearer: str, *, device: str = "cli", status: str = "online"
) -> AsyncIterator[PresenceClient]:
    from presence_actors.client import connect

    urls = _urls(given)
    client = connect(urls, bearer, device=device, status=status, timeout_s=_CONNECT_S)
    try:
        await client.open()
    except Unavailable as error:
        raise _no_gateway(urls, error.what) from error
    try:
        yield client
    finally:
        await client.close()


async def _get_topic(url: str, room: str, bearer: str | None, *, page: str | None) -> bytes:
    import aiohttp
    import yarl

    from presence_actors.client.connector import gateway_url
    from presence_actors.wire.native import FrameRefused, room_topic

    try:
        topic = room_topic(room)
    except FrameRefused as refused:
        raise UsageError(refused.message) from refused
    socket = yarl.URL(gateway_url(url))
    address = socket.with_scheme("https" if socket.scheme == "wss" else "http").with_path("/")
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    timeout = aiohttp.ClientTimeout(total=_CONNECT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(
                address / "v1" / "topics" / topic,
                headers=headers,
                params={} if page is None else {"page": page},
            ) as response,
        ):
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise _no_gateway([url], str(error) or "no answer in time") from error
    if response.status != 200:  # noqa: PLR2004  # OK
        raise _http_error(url, response.status, body)
    return body


def _http_error(url: str, status: int, body: bytes) -> PresenceError:
    try:
        words = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        words = f"HTTP {status}"
    text = f"{url}: {words}"
    return UsageError(text) if status in (400, 401, 403) else PresenceError(text)


async def _print_events(events: EventStream[Event], seconds: float | None) -> None:
    """Print each event until the time is up."""
    from presence_actors.cli.rendering import clock, line_of

    try:
        async with asyncio.timeout(seconds):
            async for event in events:
                line = line_of(event)
                if line is not None:
                    _out.print(f"{clock(int(time.time() * 1000))} {line}")
    except TimeoutError:
        return


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration("--for", duration) / 1000


def _run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(work)
