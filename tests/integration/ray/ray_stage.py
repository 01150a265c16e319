"""The stage on real Ray: actors, sockets, real time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from presence_actors.actors import emptying, local_ray
from presence_actors.actors.apart import ClusterApart
from presence_actors.actors.cluster import Cluster
from presence_actors.actors.directory import Inspection
from presence_actors.actors.state import StateFolder
from presence_actors.client import PresenceClient, connect
from presence_actors.client.events import Event
from presence_actors.core.ids import zone_of
from presence_actors.core.views import GatewayView, WorkerView
from presence_actors.core.vocabulary import Entry, Unset
from presence_actors.edge.tokens import mint
from tests.stories.stage import STORY_KNOBS

__all__ = ["RayStage"]

_LOOK_SECONDS = 0.02


class RayPerson:
    """A client of the SDK, and all that it was told."""

    def __init__(self, name: str, client: PresenceClient) -> None:
        self.name = name
        self.client = client
        self.heard: list[Event] = []
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.client.events():
            self.heard.append(event)

    async def end(self) -> None:
        await self.client.close()
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening

    async def join(self, room: str, **meta: object) -> None:
        await self.client.join(room, meta)

    async def update(self, room: str, **meta: object) -> None:
        found = await self.client.observe(room)
        await found.update(**meta)

    async def leave(self, room: str) -> None:
        # Away from it, but still watching: the story looks on.
        await self.client.ask(Unset(topic=f"room:{room}"))

    async def observe(self, room: str) -> None:
        await self.client.observe(room)

    async def watch(self, *users: str) -> None:
        await self.client.watch(sorted(users))

    async def set_status(self, status: str) -> None:
        await self.client.set_status(status)

    async def set_intent(self, status: str, *, text: str = "") -> None:
        await self.client.set_intent(status, text=text)

    async def drop(self) -> None:
        await self.client.drop()

    async def freeze(self) -> None:
        # What decides falls silent; the socket stays open, and answers pings, as one in a pocket.
        self.client._host.close()

    def who(self, room: str) -> dict[str, list[Entry]]:
        found = self.client.machine.who(f"room:{room}")
        return {str(user): entries for user, entries in found.items()}

    def status(self, user: str) -> str | None:
        frame = self.client.machine.statuses.get(user)
        return None if frame is None else frame.status.value


class RayStage:
    """Two workers and two gateways on a Ray of our own; each story in a namespace of its own.

    Args:
        cluster: Zone `a`.
        token_key: Of the people's tokens.
        namespace: Of the people.
        others: Other zones, each with its state folder.
    """

    knobs = STORY_KNOBS

    def __init__(
        self,
        cluster: Cluster,
        token_key: bytes,
        namespace: str,
        others: Mapping[str, tuple[ClusterApart, Path]] | None = None,
    ) -> None:
        self._cluster = cluster
        self._others = dict(others or {})
        self._token_key = token_key
        self._namespace = namespace
        self._people: list[RayPerson] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(person.end() for person in self._people))
        await self.heal()

    async def person(
        self,
        name: str,
        *,
        gateway: int,
        device: str = "desktop",
        zone: str = "a",
        stays: bool = False,
    ) -> RayPerson:
        urls = await asyncio.to_thread(lambda: self._zone(zone).gateway_urls)
        order = [urls[gateway]] if stays else urls[gateway:] + urls[:gateway]
        token = mint(name, key=self._token_key, namespace=self._namespace)
        # Both encodings in each story, so that they meet in its rooms.
        encoding = ("json", "msgpack")[len(self._people) % 2]
        client = connect(
            order, token, device=device, encoding=encoding, knobs=self.knobs, timeout_s=20
        )
        person = RayPerson(name, client)
        self._people.append(person)
        await client.open()
        return person

    async def until(self, what: str, condition: Callable[[], bool], *, within_ms: int) -> int:
        start = time.monotonic()
        while not condition():
            taken_ms = int(1_000 * (time.monotonic() - start))
            assert taken_ms <= within_ms, f"in vain for {within_ms} ms: {what}"
            await asyncio.sleep(_LOOK_SECONDS)
        return int(1_000 * (time.monotonic() - start))

    async def elapse(self, span_ms: int) -> None:
        await asyncio.sleep(span_ms / 1_000)

    async def cut(self, left: list[str], right: list[str]) -> None:
        for one in left:
            for other in right:
                if not one.startswith("g") or not other.startswith("g"):
                    await asyncio.to_thread(self._cluster.cut, one, other)

    async def heal(self) -> None:
        await asyncio.to_thread(self._cluster.heal)

    async def kill(self, name: str, *, hard: bool) -> None:
        zone, short = _parts(name)
        cluster = self._zone(zone)
        end = cluster.kill_worker if short.startswith("w") else cluster.kill_gateway
        await asyncio.to_thread(end, int(short[1:]), hard=hard)

    async def drain(self, gateway: str, *, spread_ms: int) -> None:
        await asyncio.to_thread(emptying.drain, self._cluster, gateway, spread_ms=spread_ms)

    async def end_drain(self, gateway: str) -> None:
        await asyncio.to_thread(emptying.end_drain, self._cluster, gateway)

    async def life(self, name: str) -> str:
        picture = await self._look(name)
        view = None if picture is None else picture.view
        return view.node if isinstance(view, WorkerView | GatewayView) else ""

    async def homes(self, gateway: str) -> set[str]:
        picture = await self._look(gateway)
        view = None if picture is None else picture.view
        if not isinstance(view, GatewayView):
            return set()
        return {str(one.worker) for one in view.attachments if one.attached}

    async def is_ready(self, worker: str) -> bool:
        picture = await self._look(worker)
        view = None if picture is None else picture.view
        return isinstance(view, WorkerView) and bool(view.replicas) and view.ready

    async def in_contact(self) -> bool:
        views = await self._workers()
        expected = self._workers_expected
        # Each worker has a replica of each shard; a new life may not know all the others yet.
        return len(views) == expected and all(
            len(replica.peers) == expected - 1
            and all(peer.lag_ms is not None and peer.lag_ms < 1_000 for peer in replica.peers)
            for view in views
            for replica in view.replicas
        )

    async def replicas_agree(self) -> bool:
        views = await self._workers()
        digests = [{replica.shard: replica.digest for replica in view.replicas} for view in views]
        return len(digests) == self._workers_expected and all(one == digests[0] for one in digests)

    async def sessions_at(self, gateway: str) -> int:
        picture = await self._look(gateway)
        view = None if picture is None else picture.view
        return view.sessions if isinstance(view, GatewayView) else 0

    async def end_zone(self, zone: str) -> None:
        cluster, state_dir = self._others.pop(zone)
        state = StateFolder(state_dir).read()
        assert state is not None
        assert state.local_ray is not None
        # Nobody says goodbye, but we must not be attached to what dies.
        await asyncio.to_thread(cluster.disconnect)
        for process in local_ray.processes_of(state.local_ray):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    async def retire_zone(self, zone: str) -> None:
        await asyncio.to_thread(self._cluster.retire_zone, zone)

    @property
    def _workers_expected(self) -> int:
        configs = [self._cluster.config, *(cluster.config for cluster, _ in self._others.values())]
        return sum(config.workers for config in configs)

    def _zone(self, zone: str) -> Cluster | ClusterApart:
        return self._cluster if zone == self._cluster.config.zone else self._others[zone][0]

    async def _workers(self) -> list[WorkerView]:
        clusters: list[Cluster | ClusterApart] = [self._cluster]
        clusters += [cluster for cluster, _ in self._others.values()]
        # All at the same moment: what is compared must be of the same age.
        looks = [asyncio.to_thread(cluster.inspect) for cluster in clusters]
        found = [picture for one in await asyncio.gather(*looks) for picture in one.values()]
        views = [picture.view for picture in found if picture is not None]
        return [view for view in views if isinstance(view, WorkerView)]

    async def _look(self, name: str) -> Inspection | None:
        zone, short = _parts(name)
        kind = "worker" if short.startswith("w") else "gateway"
        pictures = await asyncio.to_thread(self._zone(zone).inspect)
        return pictures[f"{kind}-{short[1:]}"]


def _parts(name: str) -> tuple[str, str]:
    """The zone and the seat of `w0` or `b/w0`."""
    return (zone_of(name), name.partition("/")[2]) if "/" in name else ("a", name)
