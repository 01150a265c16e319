"""A gateway: one process that clients connect to."""

import asyncio
import secrets

from presence_actors.actors.directory import Description, Directory, Inspection, Seat
from presence_actors.actors.place import link_host, public_host, ray_node
from presence_actors.actors.process import Process, end_process, end_with, log_to_stderr
from presence_actors.actors.settings import Settings
from presence_actors.core.gateway import GatewayMachine
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.server import EdgeServer
from presence_actors.edge.tokens import TokenVerifier
from presence_actors.runtime.collector import tune_collector


class GatewayActor:
    """Hosts a `GatewayMachine` behind an `EdgeServer`. Starts by itself, as `ReplicaActor`."""

    def __init__(self, seat: Seat, settings: Settings, *, first: bool) -> None:  # noqa: ARG002
        log_to_stderr()
        config = settings.config
        port = config.port + seat.index
        self._url = f"ws://{_bracketed(public_host(config))}:{port}"
        self._process = Process(
            seat=seat, settings=settings, ray_node=ray_node(), link_host=link_host(config)
        )
        machine = GatewayMachine(
            self._process.node,
            shards=config.shards,
            replicas=config.replicas,
            knobs=config.knobs,
            rng=secrets.SystemRandom(),
            now=self._process.born,
        )
        key = settings.token_key
        self._driver = driver = GatewayDriver(
            machine,
            verifier=TokenVerifier(None if key is None else key.value),
            send_peer=self._process.send,
            on_broken=end_process,
            name=self._process.node,
            rings=config.io_uring,
        )
        self._process.drive(driver.host, machine.inspect)
        self._server = EdgeServer(
            driver,
            host=config.host,
            port=port,
            allowed_origins=settings.allowed_origins,
            reads_need_scope=config.reads_need_scope,
            gateway_name=seat.node_name,
            ping_ms=config.knobs.heartbeat_ms,
            sockets=config.sockets,
        )
        self._starting = asyncio.get_running_loop().create_task(self._process.start(self._open))
        end_with(self._starting)

    async def describe(self) -> Description:
        """Who, where, and whether anything is wrong."""
        return self._process.describe()

    async def directory(self) -> Directory:
        """The directory that is in force here."""
        return self._process.directory()

    async def set_directory(self, directory: Directory) -> int:
        """Take a newer directory; the version in force."""
        return self._process.set_directory(directory)

    async def inspect(self) -> Inspection:
        """A picture for people."""
        return self._process.inspect()

    async def drain(self, spread_ms: int) -> None:
        """Send the clients to the other gateways, evenly over this time; take nobody in."""
        self._driver.drain("this gateway is being emptied", spread_ms=spread_ms)

    async def end_drain(self) -> None:
        """Take clients in again."""
        self._driver.end_drain()

    async def stop(self) -> None:
        """Send the clients elsewhere and close all connections."""
        await self._server.stop()

    async def _open(self) -> str:
        await self._server.start()
        tune_collector()
        return self._url


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
