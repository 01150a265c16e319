"""`presence up | status | down | fault`: a cluster and its operator."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console

from presence_actors.config import ClusterConfig, Knobs, SocketLibrary, load_knobs, parse_duration
from presence_actors.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from presence_actors.actors.cluster import Cluster

_KNOB_PREFIX: Final = "PRESENCE_KNOB_"
_SECRET_MODE: Final = 0o077

#: In a file or a pipe, tables need not be squeezed into the 80 columns that are assumed there.
_PIPE_COLUMNS: Final = 160

_out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
_err = Console(stderr=True, highlight=False)

Zone = Annotated[str, typer.Option(help="The name of the cluster.")]
Address = Annotated[
    str | None,
    typer.Option(help="Of a Ray that runs already, HOST:PORT or auto. Default: one of our own."),
]
LinkPort = Annotated[
    int, typer.Option(help="Of the first worker's links; the next has the next. 0: free ones.")
]
Join = Annotated[
    list[str] | None,
    typer.Option(help="HOST:PORT of links of another zone, to join it; repeat."),
]
SecretFile = Annotated[
    Path | None, typer.Option(help="The secret of the links, mode 0600; the same in all zones.")
]

Origin = Annotated[list[str] | None, typer.Option(help="A web origin that may connect; repeat.")]
IoUring = Annotated[
    bool,
    typer.Option(
        "--io-uring/--no-io-uring",
        help="Send to many clients by one system call, where the kernel allows it.",
    ),
]
Sockets = Annotated[SocketLibrary, typer.Option(help="What serves WebSockets.")]
ReadsNeedScope = Annotated[
    bool, typer.Option("--reads-need-scope", help="Over HTTP only app servers may read.")
]
Webhook = Annotated[str, typer.Option(help="Where app servers are told of users who come and go.")]
WebhookKeyFile = Annotated[
    Path | None, typer.Option(help="What that is signed with, 24 bytes or more, mode 0600.")
]

fault_app = typer.Typer(
    no_args_is_help=True, help="Break the links between actors on purpose (up --faults)."
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(up)
    app.command()(status)
    app.command()(down)
    app.command()(drain)
    app.command()(webhooks)
    app.add_typer(fault_app, name="fault")


def state_dir_of(zone: str) -> Path:
    """Where this machine remembers the cluster of a zone."""
    from presence_actors.actors.state import states_folder

    return states_folder() / zone


def knobs_of(texts: list[str]) -> Knobs:
    """Knobs from the environment and from `name=value` on the command line, which wins.

    Raises:
        ConfigError: Naming the knob, its value and the constraint.
    """
    settings = dict(os.environ)
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError("--knob", text, "must be name=value, such as client_lease=60s")
        word = name.strip().replace("-", "_").upper()
        # The environment may say it with or without the unit.
        settings.pop(_KNOB_PREFIX + word.removesuffix("_MS"), None)
        settings.pop(_KNOB_PREFIX + word.removesuffix("_MS") + "_MS", None)
        settings[_KNOB_PREFIX + word] = value
        given[_KNOB_PREFIX + word] = name
    try:
        return load_knobs(settings, prefix=_KNOB_PREFIX)
    except ConfigError as error:
        knob = given.get(error.knob, error.knob)
        raise ConfigError(knob, error.value, error.constraint) from error


def up(  # noqa: PLR0913  # each is an option
    *,
    workers: Annotated[int, typer.Option(help="Processes that hold replicas.")] = 2,
    shards: Annotated[int, typer.Option(help="Slices of all topics; for ever.")] = 16,
    replicas: Annotated[int, typer.Option(help="Replicas of each shard.")] = 2,
    gateways: Annotated[int, typer.Option(help="Processes that clients connect to.")] = 2,
    port: Annotated[int, typer.Option(help="Of the first gateway; the next has the next.")] = 4000,
    host: Annotated[str, typer.Option(help="Where gateways listen.")] = "127.0.0.1",
    link_host: Annotated[
        str | None,
        typer.Option(help="Where peer links listen; node: the address of each machine in Ray."),
    ] = None,
    link_port: LinkPort = 0,
    zone: Zone = "a",
    join: Join = None,
    secret_file: SecretFile = None,
    address: Address = None,
    faults: Annotated[bool, typer.Option("--faults", help="Allow `presence fault`.")] = False,
    jwt_key_file: Annotated[
        Path | None, typer.Option(help="Key of the clients' tokens, 32 bytes or more, mode 0600.")
    ] = None,
    origin: Origin = None,
    reads_need_scope: ReadsNeedScope = False,
    sockets: Sockets = SocketLibrary.PICOWS,
    io_uring: IoUring = True,
    webhook: Webhook = "",
    webhook_key_file: WebhookKeyFile = None,
    knob: Annotated[list[str] | None, typer.Option(help="name=value; repeat.")] = None,
    wait: Annotated[bool, typer.Option(help="Return once it is ready.")] = True,
) -> None:
    """Start a cluster. It lives on until `presence down`."""
    config = ClusterConfig(
        zone=zone,
        workers=workers,
        shards=shards,
        replicas=replicas,
        gateways=gateways,
        host=host,
        port=port,
        link_host=link_host or ("127.0.0.1" if address is None else "node"),
        link_port=link_port,
        sockets=sockets,
        io_uring=io_uring,
        join=join or [],
        reads_need_scope=reads_need_scope,
        webhook=webhook,
        faults=faults,
        knobs=knobs_of(knob or []),
    ).check()
    token_key = None if jwt_key_file is None else _read_key(jwt_key_file, "jwt-key-file")
    secret = None if secret_file is None else _read_key(secret_file, "secret-file")
    hook_key = None if webhook_key_file is None else _webhook_key(webhook_key_file)
    from presence_actors.actors.version import require_ray

    require_ray()
    from presence_actors.actors.cluster import Cluster
    from presence_actors.actors.joining import secret_of

    with _stages("Starting Ray") as tell:
        cluster = Cluster.start(
            config,
            state_dir=state_dir_of(zone),
            address=address,
            link_secret=None if secret is None else secret_of(secret, str(secret_file)),
            token_key=token_key,
            allowed_origins=origin or [],
            webhook_key=hook_key,
            wait=wait,
            progress=lambda stage: tell(f"Waiting for {stage}"),
        )
    _tell_started(cluster, is_open=token_key is None, waited=wait)


def _tell_started(cluster: "Cluster", *, is_open: bool, waited: bool) -> None:
    zone, urls = cluster.config.zone, cluster.gateway_urls
    _out.print(f"cluster {zone} {'is up' if waited else 'is starting'}: {', '.join(urls)}")
    if is_open and urls:
        _out.print(f"open to everybody on this machine; look: http{urls[0].removeprefix('ws')}/")
    for address, why in cluster.unreached.items() if waited else ():
        line = f"no contact with {address} yet, and still trying: {why}"
        _err.print(line, soft_wrap=True)
    for address in cluster.link_addresses[:1]:
        _out.print(f"another zone joins it by: presence up --zone NAME --join {address}")
    elsewhere = "" if zone == "a" else f" --zone {zone}"
    _out.print(f"presence status{elsewhere} | presence down{elsewhere}")


def status(
    *,
    zone: Zone = "a",
    address: Address = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show shards, replicas, lags, sessions and links."""
    cluster = attach(zone, address)
    pictures = cluster.inspect()
    if as_json:
        typer.echo(msgspec.json.encode(pictures).decode())
        return
    from presence_actors.cli.tables import tables_of

    for table in tables_of(pictures, cluster.directory().retired):
        _out.print(table)


def drain(
    gateway: Annotated[str, typer.Argument(help="A gateway, such as g0.")],
    *,
    over: Annotated[str, typer.Option(help="The time over which its clients go.")] = "10s",
    undo: Annotated[bool, typer.Option("--undo", help="Have it take clients in again.")] = False,
    zone: Zone = "a",
    address: Address = None,
) -> None:
    """Empty a gateway: its clients go to the others, and nobody hears of it."""
    from presence_actors.actors import emptying

    spread_ms = parse_duration("over", over)
    cluster = attach(zone, address)
    if undo:
        say(f"{emptying.end_drain(cluster, gateway)} takes clients in again")
        return
    name = emptying.drain(cluster, gateway, spread_ms=spread_ms)
    say(f"{name} sends its clients to the others, over {over}, and takes nobody in")
    emptying.wait_until_empty(cluster, gateway, spread_ms=spread_ms)
    say(f"{name} is empty; to have it take clients in again: presence drain {gateway} --undo")


def down(*, zone: Zone = "a", address: Address = None) -> None:
    """End a cluster, and the Ray that was started for it."""
    from presence_actors.actors.cluster import Cluster

    cluster = Cluster.find(zone, state_dir=state_dir_of(zone), address=address)
    with _stages("Ending"):
        cluster.stop()
    _out.print(f"cluster {zone} is down")


OneWay = Annotated[bool, typer.Option("--one-way", help="Only from the first to the second.")]
Source = Annotated[str, typer.Argument(help="An actor, such as w0 or g1.")]
Target = Annotated[str, typer.Argument(help="The other one.")]


@fault_app.command()
def cut(
    source: Source,
    target: Target,
    *,
    one_way: OneWay = False,
    zone: Zone = "a",
    address: Address = None,
) -> None:
    """Let nothing pass, silently."""
    report_untold(attach(zone, address).cut(source, target, one_way=one_way))


@fault_app.command()
def delay(
    source: Source,
    target: Target,
    duration: Annotated[str, typer.Argument(help="Such as 50ms, each way.")],
    *,
    one_way: OneWay = False,
    zone: Zone = "a",
    address: Address = None,
) -> None:
    """Hold every frame for a while."""
    delay_ms = parse_duration("delay", duration)
    cluster = attach(zone, address)
    report_untold(cluster.inject("delay", source, target, one_way=one_way, delay_ms=delay_ms))


@fault_app.command()
def loss(
    source: Source,
    target: Target,
    fraction: Annotated[str, typer.Argument(help="Such as 5% or 0.05.")],
    *,
    one_way: OneWay = False,
    zone: Zone = "a",
    address: Address = None,
) -> None:
    """Drop some of the frames."""
    share = _parse_fraction(fraction)
    cluster = attach(zone, address)
    report_untold(cluster.inject("loss", source, target, one_way=one_way, loss=share))


@fault_app.command()
def heal(*, zone: Zone = "a", address: Address = None) -> None:
    """End all faults."""
    report_untold(attach(zone, address).heal())


@contextlib.contextmanager
def _stages(first: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is being waited for, for people only.

    Elsewhere it would be noise, and its thread would take signals that the main thread holds back.
    """
    if not _err.is_terminal:
        yield lambda _stage: None
        return
    with _err.status(first) as line:
        yield line.update


def say(line: str) -> None:
    """A line for people."""
    _out.print(line)


def report_untold(untold: list[str]) -> None:
    """Name the actors that could not be told."""
    if untold:
        _err.print(f"{', '.join(untold)} did not answer, and will be told when back")


def attach(zone: str, address: str | None) -> "Cluster":
    """The running cluster of a zone, with this process connected to it."""
    from presence_actors.actors.cluster import Cluster

    return Cluster.attach(zone, state_dir=state_dir_of(zone), address=address)


def _parse_fraction(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError("loss", text, "must be a fraction such as 5% or 0.05")
    return value


def _webhook_key(path: Path) -> bytes:
    from presence_actors.edge.webhooks import webhook_key

    return webhook_key(_read_key(path, "webhook-key-file"))


def webhooks(*, zone: Zone = "a", address: Address = None) -> None:
    """Show what app servers were told, what they did not take, and what was given up."""
    from presence_actors.cli.tables import webhook_tables_of

    for table in webhook_tables_of(attach(zone, address).inspect()):
        _out.print(table)


def _read_key(path: Path, option: str) -> bytes:
    try:
        if path.stat().st_mode & _SECRET_MODE:
            raise ConfigError(option, str(path), f"can be read by others; run: chmod 600 {path}")
        return path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"--{option} {path} cannot be read ({error.strerror})") from error
