"""A whole cluster in one process: real machines, real sockets for clients, no Ray, no peer links.

Between the machines go the same bytes as over links, in the next turn of the loop.

As a program it serves until its standard input ends, for clients in other languages. It prints the
addresses of its gateways as one line of JSON, and then takes orders, one in a line, each answered
by ``done``: ``kill 0`` ends gateway 0 without a word, ``drain 0`` empties it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import sys
from typing import Final, Self

from crdt import KeyHasher
from presence_actors.config import Knobs
from presence_actors.core.effects import Send, WorkerEffect
from presence_actors.core.events import (
    ClusterChanged,
    DeadlineReached,
    MessagesReceived,
    WorkerEvent,
)
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import NodeId, NodeName, mint_node_id
from presence_actors.core.messages import PeerMessage, Worker
from presence_actors.core.worker import WorkerMachine
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.server import EdgeServer
from presence_actors.edge.tokens import TokenVerifier
from presence_actors.runtime.clock import SystemClock
from presence_actors.runtime.host import MachineHost
from presence_actors.wire.peer import decode_frame, encode_frame

__all__ = ["SmallCluster"]

_SHARDS: Final = 4
_CLOCK: Final = SystemClock()
_HASHER: Final = KeyHasher.derived_from(b"the secret of a small cluster")

#: Lives of gateways and clients that a test can wait for.
QUICK: Final = Knobs(
    heartbeat_ms=1_000,
    client_lease_ms=3_000,
    grace_connection_ms=3_000,
    grace_gateway_ms=4_000,
    reconnect_jitter_ms=500,
    reconnect_ms_max=2_000,
)


class SmallCluster:
    """Workers that hold all shards, and gateways, in one event loop.

    Args:
        workers: How many workers there are; each holds every shard.
        gateways: How many gateways there are.
        knobs: Leases, graces and waits.
        limits: What the edge allows.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        gateways: int = 2,
        knobs: Knobs = QUICK,
        limits: EdgeLimits | None = None,
    ) -> None:
        self._posts: dict[NodeName, tuple[NodeId, MachineHost]] = {}  # type: ignore[type-arg]
        self._workers = [NodeName(f"a/w{index}") for index in range(workers)]
        self.machines: list[GatewayMachine] = []
        self.drivers: list[GatewayDriver] = []
        self.servers: list[EdgeServer] = []
        self.urls: list[str] = []
        self._knobs = knobs
        self._limits = limits
        self._broken: list[Exception] = []
        for name in self._workers:
            self._add_worker(name, replicas=workers)
        for index in range(gateways):
            self._add_gateway(NodeName(f"a/g{index}"), replicas=workers)

    async def __aenter__(self) -> Self:
        for server in self.servers:
            self.urls.append(f"ws://127.0.0.1:{await server.start()}")
        changed = ClusterChanged(
            workers=[Worker(name, name, (name, 1)) for name in self._workers],
            gateways={NodeName(f"a/g{index}"): url for index, url in enumerate(self.urls)},
            version=1,
        )
        for _node, host in self._posts.values():
            host.post(changed)
        async with asyncio.timeout(20):
            while not all(machine.ready for machine in self.machines):  # noqa: ASYNC110  # a picture
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.stop()
        for _node, host in self._posts.values():
            host.close()
        if self._broken:
            raise self._broken[0]

    async def kill(self, index: int) -> None:
        """A gateway is gone without a word, to its clients and to its workers."""
        driver = self.drivers[index]
        driver.host.close()
        for client in list(driver._clients.values()):
            client.conn.abort()
        await self.servers[index].stop()

    def _add_worker(self, name: NodeName, *, replicas: int) -> None:
        node = self._mint(name)
        machine = WorkerMachine(
            node,
            shards=_SHARDS,
            replicas=replicas,
            knobs=self._knobs,
            hasher=_HASHER,
            first=True,
            now=_CLOCK.now(),
        )

        def carry_out(effect: WorkerEffect) -> None:
            if isinstance(effect, Send):
                self._send(node, effect.to, effect.messages)

        host: MachineHost[WorkerEvent, WorkerEffect] = MachineHost(
            machine,
            carry_out=carry_out,
            deadline_reached=DeadlineReached(),
            on_broken=self._broken.append,
            name=node,
        )
        self._posts[name] = (node, host)

    def _add_gateway(self, name: NodeName, *, replicas: int) -> None:
        node = self._mint(name)
        machine = GatewayMachine(
            node,
            shards=_SHARDS,
            replicas=replicas,
            knobs=self._knobs,
            rng=random.Random(),
            now=_CLOCK.now(),
        )
        driver = GatewayDriver(
            machine,
            verifier=TokenVerifier(None),
            send_peer=lambda to, messages: self._send(node, to, messages),
            on_broken=self._broken.append,
            limits=self._limits,
            name=node,
        )
        self._posts[name] = (node, driver.host)
        self.machines.append(machine)
        self.drivers.append(driver)
        self.servers.append(EdgeServer(driver, host="127.0.0.1", port=0, gateway_name=name))

    def _mint(self, name: NodeName) -> NodeId:
        return mint_node_id(name, start_wall_ms=_CLOCK.now().wall, random_64=secrets.randbits(64))

    def _send(self, sender: NodeId, to: NodeName, messages: list[PeerMessage]) -> None:
        data = encode_frame(messages)
        found = self._posts.get(to)
        if found is not None:
            _node, host = found
            received = MessagesReceived(sender, decode_frame(data, peer=sender))
            asyncio.get_running_loop().call_soon(host.post, received)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    async with SmallCluster() as cluster:
        _print(json.dumps(cluster.urls))
        while order := await loop.run_in_executor(None, sys.stdin.readline):
            match order.split():
                case ["kill", index]:
                    await cluster.kill(int(index))
                case ["drain", index]:
                    cluster.drivers[int(index)].drain("an operator empties this gateway")
                case _:
                    raise ValueError(order)
            _print("done")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
