"""The demo from its start to its end: zones, a crowd, a cut and a heal, a gateway's death.

What is shown comes from one watching client in each zone alone, so it is what any user there would
see. Only the header comes from the operator's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
from rich.console import Console

from presence_actors.actors.state import states_folder
from presence_actors.client import (
    Event,
    EventStream,
    Join,
    Leave,
    PresenceClient,
    Status,
    Update,
    connect,
)
from presence_actors.config import Knobs
from presence_actors.core.vocabulary import UserStatus
from presence_actors.demo.crowd import Crowd
from presence_actors.demo.interruption import Interruption
from presence_actors.demo.scene import Scene
from presence_actors.demo.screen import PlainScreen, Screen, TableScreen, people_table
from presence_actors.demo.script import ROOMS, cues, homes, names
from presence_actors.demo.zones import ZonePicture, Zones
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
_WATCHER: Final = "dev:the-audience"
_FRAME_S: Final = 0.125
_PICTURE_S: Final = 1.0
_CLOSE_S: Final = 5.0
#: A shorter show has no room for any of it.
_DRAMA_FOR_S_MIN: Final = 15.0
#: In a show without an end: when zones are cut apart, for how long, and when a gateway dies.
_DRAMA: Final = (15.0, 12.0, 40.0)
#: In one that has an end, as parts of the whole.
_DRAMA_PARTS: Final = (0.2, 0.3, 0.65)
#: How long after contact the last of what was missed may still come.
_NET_S: Final = 1.0
_LOSS_S: Final = 3.0
_RETURN_S: Final = 15.0
_POLL_S: Final = 0.05


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown."""

    #: None: until somebody ends it.
    for_s: float | None
    people: int
    zones: int
    port: int
    seed: int
    #: A live table, not lines.
    table: bool
    #: Cut the zones apart and heal them, then kill a gateway.
    drama: bool

    @property
    def drama_s(self) -> tuple[float, float, float] | None:
        """When the zones are cut apart, for how long, and when a gateway is killed, if at all."""
        if not self.drama:
            return None
        if self.for_s is None:
            return _DRAMA
        if self.for_s <= _DRAMA_FOR_S_MIN:
            return None
        cut, span, death = (part * self.for_s for part in _DRAMA_PARTS)
        return cut, span, death


def run(plan: Plan, console: Console) -> None:
    """Show it. Nothing is left running, however it ends.

    Raises:
        PresenceError: There is no cluster to show, or it went wrong under way.
    """
    with Interruption() as end:
        try:
            zones = _start(plan, console, end)
        except KeyboardInterrupt:
            console.print("ended before it was up")
            return
        try:
            end.listen()
            show = Show(plan, zones, console)
            asyncio.run(show.run(end))
        finally:
            zones.stop()
        console.print(people_table(show.scenes, show.homes))
        console.print(show.summary, soft_wrap=True)


def _start(plan: Plan, console: Console, end: Interruption) -> Zones:
    with console.status("Starting Ray") as line:

        def progress(stage: str) -> None:
            end.stop_here()
            line.update(f"Waiting for {stage}")

        return Zones.start(
            plan.zones, states=states_folder(), port=plan.port, knobs=KNOBS, progress=progress
        )


class Show:
    """One show in zones that run."""

    def __init__(self, plan: Plan, zones: Zones, console: Console) -> None:
        self._plan = plan
        self._zones = zones
        self._people = names(plan.people)
        self.homes = homes(self._people, zones.names)
        title = "open " + " ".join(_page(zones.urls[zone][0]) for zone in zones.names)
        if len(zones.names) > 1:
            title += f"   try: presence cut {' '.join(zones.names)}, presence heal"
        self._screen: Screen = (
            TableScreen(console, title=title, homes=self.homes, for_s=plan.for_s)
            if plan.table
            else PlainScreen(console)
        )
        self._title = title
        self.scenes = [Scene(self._people, zone) for zone in zones.names]
        self._crowd = Crowd(
            lambda user: zones.urls[self.homes[user]], knobs=KNOBS, note=self._note, seed=plan.seed
        )
        self._pictures: dict[str, ZonePicture] = {}
        #: {(zone, whether it is about people of its own): changes in rooms that were heard there}
        self._changes: Counter[tuple[str, bool]] = Counter()
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
            self._note(f"{self._title}  (seed {self._plan.seed})")
            await self._play(ended)
        finally:
            self._screen.stop()
            end.wake(_already_ending)

    async def _play(self, end: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as watchers:
            streams = []
            for scene in self.scenes:
                client = connect(self._zones.urls[scene.zone], _WATCHER, device="web", knobs=KNOBS)
                watcher = await watchers.enter_async_context(client)
                streams.append(await self._begin_to_watch(watcher, scene))
            acts = [
                *map(self._watch, self.scenes, streams),
                self._crowd.play(cues(self._plan.seed, self._plan.people)),
                self._draw(),
                self._look_at_zones(),
                self._happen(),
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

    async def _begin_to_watch(self, watcher: PresenceClient, scene: Scene) -> EventStream[Event]:
        for room in ROOMS:
            found = await watcher.observe(room)
            for entry in found.entries.values():
                scene.take_entry(found.topic, entry)
        watch = await watcher.watch(self._people)
        for status in watch.statuses.values():
            scene.take_status(status)
        return watcher.events()

    async def _watch(self, scene: Scene, stream: EventStream[Event]) -> None:
        first = scene is self.scenes[0]
        async for event in stream:
            is_wrong = self._is_wrong(event)
            self._wronged += is_wrong
            if isinstance(event, Join | Update | Leave):
                self._changes[scene.zone, self.homes.get(event.user) == scene.zone] += 1
            line = scene.handle(event, self._now_s())
            # Of the other zones only what is about zones: the same people would be told of twice.
            if line is not None and first:
                self._screen.line(line)
            elif line is not None and line.kind in ("lost", "note"):
                self._note(line.text, kind=line.kind)
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
            self._screen.draw(self.scenes, self._pictures, self._now_s())
            await asyncio.sleep(_FRAME_S)

    async def _look_at_zones(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                self._pictures = await asyncio.to_thread(self._zones.pictures)
            await asyncio.sleep(_PICTURE_S)

    async def _happen(self) -> None:
        if self._plan.drama_s is None:
            return
        cut_s, span_s, death_s = self._plan.drama_s
        if len(self.scenes) > 1:
            await self._sleep_until(cut_s)
            await self._cut_and_heal(span_s)
        await self._sleep_until(death_s)
        await self._kill_gateway()

    async def _cut_and_heal(self, span_s: float) -> None:
        names = " and ".join(self._zones.names)
        wronged, changes = self._wronged, self._changes.copy()
        self._note(f"zones {names} are cut apart; both go on")
        await asyncio.to_thread(self._zones.cut)
        await asyncio.sleep(span_s)
        made, heard = self._changes - changes, self._changes.copy()
        self._note(f"the links between {names} are whole again")
        healed = time.monotonic()
        await asyncio.to_thread(self._zones.heal)
        met = await _until(lambda: not any(scene.silent for scene in self.scenes), _RETURN_S)
        took_s = time.monotonic() - healed
        await asyncio.sleep(_NET_S)
        net = self._changes - heard
        own = ", ".join(f"{zone} {made[zone, True]}" for zone in self._zones.names)
        far = ", ".join(f"{zone} {net[zone, False]}" for zone in self._zones.names)
        after = f"heard of each other after {took_s:.1f} s" if met else "not all in contact yet"
        self._note(
            f"{after}; changes in rooms meanwhile: {own}; told after the heal, the net of what was "
            f"missed: {far}; reported offline: {self._wronged - wronged or 'nobody'}"
        )

    async def _kill_gateway(self) -> None:
        losses, wronged = self._crowd.losses, self._wronged
        where = f" of zone {self._zones.names[0]}" if len(self.scenes) > 1 else ""
        self._note(
            f"gateway-{self._zones.victim}{where} is killed (kill -9); {self._crowd.here} devices "
            "are here"
        )
        killed = time.monotonic()
        await asyncio.to_thread(self._zones.kill_gateway)
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

    async def _sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self._now_s()))

    # --- words ----------------------------------------------------------------------------------

    def _note(self, text: str, *, kind: str = "note") -> None:
        self._screen.line(self.scenes[0].note(text, self._now_s(), kind=kind))

    def _now_s(self) -> float:
        return time.monotonic() - self._started

    def _summary(self) -> str:
        scene, crowd = self.scenes[0], self._crowd
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


def _page(url: str) -> str:
    return f"http{url.removeprefix('ws')}/"


def _already_ending() -> None:
    """A second Ctrl-C changes nothing: half ended would be worse than late."""
