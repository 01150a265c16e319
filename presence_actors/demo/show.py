"""The demo from its start to its end: a cluster, a crowd, a client that watches, a gateway's death.

What is shown comes from the watching client alone, so it is what any user would see. Only the
header comes from the operator's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from presence_actors.actors.cluster import Cluster
from presence_actors.client import Event, EventStream, Leave, PresenceClient, Status, connect
from presence_actors.config import ClusterConfig, Knobs
from presence_actors.core.views import GatewayView, WorkerView
from presence_actors.core.vocabulary import UserStatus
from presence_actors.demo.crowd import Crowd
from presence_actors.demo.interruption import Interruption
from presence_actors.demo.scene import Scene
from presence_actors.demo.screen import (
    ClusterPicture,
    PlainScreen,
    Screen,
    TableScreen,
    people_table,
)
from presence_actors.demo.script import ROOMS, cues, names
from presence_actors.errors import Unavailable

__all__ = ["KNOBS", "Plan", "run"]

#: Shorter than in earnest, so that a minute shows what takes an hour elsewhere.
KNOBS: Final = Knobs(
    heartbeat_ms=2_000,
    client_lease_ms=6_000,
    grace_connection_ms=4_000,
    grace_gateway_ms=8_000,
    reconnect_jitter_ms=2_000,
    reconnect_ms_max=5_000,
)
_ZONE: Final = "demo"
_WATCHER: Final = "dev:the-audience"
_FRAME_S: Final = 0.125
_PICTURE_S: Final = 1.0
_CLOSE_S: Final = 5.0
#: A shorter show has no room for the death of a gateway.
_DRAMA_FOR_S_MIN: Final = 15.0
#: When it comes in a show without an end.
_DRAMA_AT_S: Final = 20.0
_LOSS_S: Final = 3.0
_RETURN_S: Final = 15.0
_POLL_S: Final = 0.05


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown."""

    #: None: until somebody ends it.
    for_s: float | None
    people: int
    port: int
    seed: int
    #: A live table, not lines.
    table: bool
    #: Kill a gateway in the middle.
    drama: bool

    @property
    def drama_at_s(self) -> float | None:
        """When a gateway is killed, if at all."""
        if not self.drama:
            return None
        if self.for_s is None:
            return _DRAMA_AT_S
        return self.for_s / 2 if self.for_s > _DRAMA_FOR_S_MIN else None


def run(plan: Plan, console: Console) -> None:
    """Show it. Nothing is left running, however it ends.

    Raises:
        PresenceError: There is no cluster to show, or it went wrong under way.
    """
    with tempfile.TemporaryDirectory(prefix="presence-demo-") as folder, Interruption() as end:
        try:
            cluster = _start(plan, console, Path(folder) / _ZONE, end)
        except KeyboardInterrupt:
            console.print("ended before the cluster was up")
            return
        try:
            end.listen()
            show = Show(plan, cluster, console)
            asyncio.run(show.run(end))
        finally:
            cluster.stop()
        console.print(people_table(show.scene))
        console.print(show.summary, soft_wrap=True)


def _start(plan: Plan, console: Console, state_dir: Path, end: Interruption) -> Cluster:
    with console.status("Starting Ray") as line:

        def progress(stage: str) -> None:
            end.stop_here()
            line.update(f"Waiting for {stage}")

        return Cluster.start(
            ClusterConfig(zone=_ZONE, port=plan.port, knobs=KNOBS),
            state_dir=state_dir,
            tied=True,
            progress=progress,
        )


class Show:
    """One show on a cluster that runs."""

    def __init__(self, plan: Plan, cluster: Cluster, console: Console) -> None:
        self._plan = plan
        self._cluster = cluster
        self._urls = cluster.gateway_urls
        page = "open http" + self._urls[0].removeprefix("ws") + "/"
        self._screen: Screen = (
            TableScreen(console, title=page, for_s=plan.for_s)
            if plan.table
            else PlainScreen(console)
        )
        self._page = page
        self._people = names(plan.people)
        self.scene = Scene(self._people)
        self._crowd = Crowd(self._urls, knobs=KNOBS, note=self._note, seed=plan.seed)
        self._picture: ClusterPicture | None = None
        self._started = time.monotonic()
        #: Devices and people that were reported gone while they were not.
        self._wronged = 0
        self.summary = ""

    async def run(self, end: Interruption) -> None:
        """Show it until its time is over, or somebody ends it."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        # From a signal handler, so that a loop which waits for sockets wakes up.
        end.wake(lambda: loop.call_soon_threadsafe(ended.set))
        self._started = time.monotonic()
        self._screen.start()
        try:
            self._note(f"{self._page}  (seed {self._plan.seed})")
            await self._play(ended)
        finally:
            self._screen.stop()
            end.wake(_already_ending)

    async def _play(self, end: asyncio.Event) -> None:
        async with connect(self._urls, _WATCHER, device="web", knobs=KNOBS) as watcher:
            stream = await self._begin_to_watch(watcher)
            acts = [
                self._watch(stream),
                self._crowd.play(cues(self._plan.seed, self._plan.people)),
                self._draw(),
                self._look_at_cluster(),
                self._kill_gateway(),
            ]
            tasks = [asyncio.create_task(act) for act in acts]
            ending = asyncio.create_task(end.wait())
            try:
                # An act that fails ends the show; one that is over does not.
                running = {ending, *tasks}
                until = None if self._plan.for_s is None else self._started + self._plan.for_s
                while not ending.done():
                    left = None if until is None else max(0.0, until - time.monotonic())
                    done, running = await asyncio.wait(
                        running, timeout=left, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        task.result()
                    if not done:
                        break
                self.summary = self._summary()
            finally:
                for task in [*tasks, ending]:
                    task.cancel()
                await asyncio.wait([*tasks, ending], timeout=_CLOSE_S)
                await self._crowd.close()

    # --- acts -----------------------------------------------------------------------------------

    async def _begin_to_watch(self, watcher: PresenceClient) -> EventStream[Event]:
        for room in ROOMS:
            found = await watcher.observe(room)
            for entry in found.entries.values():
                self.scene.take_entry(found.topic, entry)
        watch = await watcher.watch(self._people)
        for status in watch.statuses.values():
            self.scene.take_status(status)
        return watcher.events()

    async def _watch(self, stream: EventStream[Event]) -> None:
        async for event in stream:
            is_wrong = self._is_wrong(event)
            self._wronged += is_wrong
            line = self.scene.handle(event, self._now_s())
            if line is not None:
                self._screen.line(line)
            if is_wrong:
                self._note("which is not true", kind="lost")

    def _is_wrong(self, event: Event) -> bool:
        """Whether somebody is reported gone who only lost a connection, or not even that."""
        match event:
            case Leave(entry=entry):
                return self._crowd.holds(entry.ref)
            case Status(user=user, status=UserStatus.OFFLINE):
                return self._crowd.is_here(user)
            case _:
                return False

    async def _draw(self) -> None:
        while True:
            self._screen.draw(self.scene, self._picture, self._now_s())
            await asyncio.sleep(_FRAME_S)

    async def _look_at_cluster(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                self._picture = await asyncio.to_thread(_picture_of, self._cluster)
            await asyncio.sleep(_PICTURE_S)

    async def _kill_gateway(self) -> None:
        at_s = self._plan.drama_at_s
        if at_s is None:
            return
        await asyncio.sleep(max(0.0, at_s - self._now_s()))
        last = self._cluster.config.gateways - 1
        losses, wronged = self._crowd.losses, self._wronged
        self._note(f"gateway-{last} is killed (kill -9); {self._crowd.here} devices are here")
        killed = time.monotonic()
        await asyncio.to_thread(self._cluster.kill_gateway, last, hard=True)
        await _until(lambda: self._crowd.losses > losses, _LOSS_S)
        all_back = await _until(lambda: self._crowd.away == 0, _RETURN_S)
        lost = self._crowd.losses - losses
        took_s = time.monotonic() - killed
        back = f"back within {took_s:.1f} s" if all_back else "not all of them back yet"
        wrong = self._wronged - wronged
        self._note(
            f"{lost} devices lost their connection and are {back}; reported offline: "
            f"{wrong or 'nobody'}"
        )

    # --- words ----------------------------------------------------------------------------------

    def _note(self, text: str, *, kind: str = "note") -> None:
        self._screen.line(self.scene.note(text, self._now_s(), kind=kind))

    def _now_s(self) -> float:
        return time.monotonic() - self._started

    def _summary(self) -> str:
        scene, crowd = self.scene, self._crowd
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(scene.leaves.items()))
        leaves = f"{scene.leaves.total()} leaves" + (f" ({reasons})" if reasons else "")
        unnoticed = "nobody noticed" if not self._wronged else f"{self._wronged} were noticed"
        failed = f", {crowd.failures} actions failed" if crowd.failures else ""
        return (
            f"summary: {len(self._people)} people, {scene.joins} joins, {leaves}, {scene.updates} "
            f"updates, {crowd.losses} lost connections that {unnoticed}{failed}"
        )


async def _until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not is_so():  # noqa: ASYNC110  # many clients, and only once
                await asyncio.sleep(_POLL_S)
    return is_so()


def _picture_of(cluster: Cluster) -> ClusterPicture:
    config = cluster.config
    views = [found.view for found in cluster.inspect().values() if found is not None]
    workers = [view for view in views if isinstance(view, WorkerView)]
    gateways = [view for view in views if isinstance(view, GatewayView)]
    return ClusterPicture(
        workers=config.workers,
        workers_up=len(workers),
        gateways=config.gateways,
        gateways_up=sum(view.ready for view in gateways),
        shards=config.shards,
        replicas=config.shards * config.replicas,
        replicas_ready=sum(replica.ready for view in workers for replica in view.replicas),
        sessions=sum(view.sessions for view in gateways),
    )


def _already_ending() -> None:
    """A second Ctrl-C changes nothing: half ended would be worse than late."""
