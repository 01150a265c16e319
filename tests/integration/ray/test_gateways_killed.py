"""Gateways die one after the other under somebody who watches, while others change and come and go.

What the watchers' clients tell must add up, each change once: the same as `simulation/resuming`
has in a hundred thousand trials, with processes, sockets and signal 9.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

import pytest

from presence_actors.actors.cluster import Cluster
from presence_actors.client.events import Event, Join, Leave, Status, Update
from presence_actors.config import Knobs
from presence_actors.core.vocabulary import Entry
from tests.integration.ray.conftest import start_cluster
from tests.integration.ray.ray_stage import RayPerson, RayStage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

#: How often a gateway is killed; and in `make soak`.
_KILLS: Final = 20
_KILLS_OF_SOAK: Final = 1_000
_GATEWAYS: Final = 3
_TOKEN_KEY: Final = b"thirty-two bytes that guard none"
_ROOM: Final = "hall"
#: Nothing here waits for that long unless something is wrong.
_PATIENCE_MS: Final = 30_000
#: Nobody leaves because a busy machine was slow: the graces are longer than all patience.
_KNOBS: Final = Knobs(
    heartbeat_ms=1_000,
    client_lease_ms=15_000,
    grace_connection_ms=20_000,
    grace_gateway_ms=60_000,
    unreachable_after_ms=10_000,
    unreachable_ms_max=120_000,
    startup_grace_ms=2_000,
)


@pytest.fixture(scope="module")
def three_gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a gateway more than two, so that there always is another one to go to."""
    cluster = start_cluster(
        tmp_path_factory.mktemp("state"),
        gateways=_GATEWAYS,
        shards=4,
        knobs=_KNOBS,
        token_key=_TOKEN_KEY,
    )
    try:
        yield cluster
    finally:
        cluster.stop()


class Told:
    """What a watcher was told, judged event by event."""

    def __init__(self, person: RayPerson) -> None:
        self.person = person
        self._judged = 0
        self._shown: set[str] = set()
        #: The newest number of each person that was told.
        self.newest: dict[str, int] = {}
        self._said = 0
        self._is_unknown = True

    def judge(self, left: set[int]) -> None:
        """Each event changes the picture; numbers only grow, and nobody leaves who did not.

        Args:
            left: With which numbers the one who comes and goes went.
        """
        heard = self.person.heard
        for event in heard[self._judged :]:
            self._judge(event, left)
        self._judged = len(heard)

    def _judge(self, event: Event, left: set[int]) -> None:
        match event:
            case Join(entry=entry):
                assert entry.ref not in self._shown, f"joins once more: {event}"
                self._shown.add(entry.ref)
                self._grows(entry)
            case Update(entry=entry):
                assert entry.ref in self._shown, f"changes, and never joined: {event}"
                self._grows(entry)
            case Leave(entry=entry):
                assert entry.ref in self._shown, f"leaves, and was not there: {event}"
                self._shown.discard(entry.ref)
                assert entry.key == "ben", f"left, and never wanted to: {event}"
                assert _number(entry) in left, f"left before it wanted to: {event}"
            case Status():
                self._judge_status(event)
            case _:
                pass

    def _judge_status(self, event: Status) -> None:
        # A gateway that has just begun, on a busy machine, says that it does not know yet.
        if event.status == "unknown":
            self._is_unknown = True
            return
        assert event.status == "dnd", f"ann is nothing else: {event}"
        number = int(event.text)
        least = self._said + (not self._is_unknown)
        assert number >= least, f"said before: {event}"
        self._said, self._is_unknown = number, False

    def _grows(self, entry: Entry) -> None:
        number = _number(entry)
        assert number > self.newest.get(entry.key, 0), f"told before: {entry}"
        self.newest[entry.key] = number


class Life:
    """What goes on in the room: one changes without pause, one comes and goes."""

    def __init__(self, ann: RayPerson, ben: RayPerson) -> None:
        self._ann = ann
        self._ben = ben
        #: What each has been granted last.
        self.numbers = {"ann": 0, "ben": 0}
        #: With which numbers ben went, or was about to.
        self.left: set[int] = set()
        self._over = False

    async def begin(self) -> None:
        """Both come; ann has chosen something to be seen by."""
        await self._ann.set_intent("dnd", text="1")
        for person in (self._ann, self._ben):
            self.numbers[person.name] = 1
            await person.join(_ROOM, n=1)

    async def go_on(self) -> None:
        """Until `end`; both are in the room then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ann_changes())
            group.create_task(self._ben_comes_and_goes())

    def end(self) -> None:
        """No more changes after those that are under way."""
        self._over = True

    async def _ann_changes(self) -> None:
        while not self._over:
            number = self.numbers["ann"] + 1
            await self._ann.update(_ROOM, n=number)
            self.numbers["ann"] = number
            if number % 10 == 0:
                await self._ann.set_intent("dnd", text=str(number))
            await asyncio.sleep(0.02)

    async def _ben_comes_and_goes(self) -> None:
        while not self._over:
            number = self.numbers["ben"]
            self.left.add(number)
            await self._ben.leave(_ROOM)
            await self._ben.join(_ROOM, n=number + 1)
            self.numbers["ben"] = number + 1
            await asyncio.sleep(0.1)


class Killing:
    """Kills the gateway of one of the watchers, again and again."""

    def __init__(self, cluster: Cluster, stage: RayStage, life: Life, watchers: list[Told]) -> None:
        self._cluster = cluster
        self._stage = stage
        self._life = life
        self._watchers = watchers
        self._ports = [int(url.rpartition(":")[2]) for url in cluster.gateway_urls]

    async def kill(self) -> None:
        """The gateway of the first watcher dies; that one goes on at another, where it was."""
        victim = self._watchers[0]
        machine = victim.person.client.machine
        await self._until("another gateway is ready", self._has_refuge)
        old = self._place(victim)
        assert machine._watched.cursor(f"room:{_ROOM}") is not None
        await asyncio.to_thread(self._cluster.kill_gateway, old, hard=True)
        await self._stage.until(
            "it is back, elsewhere",
            lambda: victim.person.client.connected and self._place(victim) != old,
            within_ms=_PATIENCE_MS,
        )
        number = self._life.numbers["ann"]
        for watcher in self._watchers:
            await self._stage.until(
                "it hears what is new",
                partial(self._has_heard, watcher, number),
                within_ms=_PATIENCE_MS,
            )

    def _has_heard(self, watcher: Told, number: int) -> bool:
        watcher.judge(self._life.left)
        return watcher.newest.get("ann", 0) > number

    async def settle(self) -> None:
        """Nothing goes on any more: every picture is what is there."""
        for watcher in self._watchers:
            await self._stage.until(
                "the picture is right",
                partial(self._is_right, watcher),
                within_ms=_PATIENCE_MS,
            )
            watcher.judge(self._life.left)

    def _is_right(self, watcher: Told) -> bool:
        who = watcher.person.who(_ROOM)
        shown = {user: [_number(entry) for entry in entries] for user, entries in who.items()}
        return shown == {user: [number] for user, number in self._life.numbers.items()}

    def _place(self, watcher: Told) -> int:
        url = watcher.person.client.inspect().url
        return next(index for index, port in enumerate(self._ports) if f":{port}" in url)

    async def _has_refuge(self) -> bool:
        here = self._place(self._watchers[0])
        others = [port for index, port in enumerate(self._ports) if index != here]
        return any([await asyncio.to_thread(_is_ready, port) for port in others])

    async def _until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(_PATIENCE_MS // 50):
            if await condition():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"in vain for {_PATIENCE_MS} ms: {what}")


def _number(entry: Entry) -> int:
    number = entry.meta["n"]
    assert isinstance(number, int)
    return number


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def _tell(cluster: Cluster, namespace: str, kills: int) -> None:
    async with RayStage(cluster, _TOKEN_KEY, namespace=namespace) as stage:
        watchers = [
            Told(await stage.person(f"watcher{index}", gateway=index)) for index in range(2)
        ]
        ann, ben = [await stage.person(name, gateway=2) for name in ("ann", "ben")]
        for watcher in watchers:
            await watcher.person.observe(_ROOM)
        life = Life(ann, ben)
        await life.begin()
        for watcher in watchers:
            await watcher.person.watch("ann")
        killing = Killing(cluster, stage, life, watchers)
        async with asyncio.TaskGroup() as group:
            group.create_task(life.go_on())
            for _ in range(kills):
                await killing.kill()
            life.end()
        await killing.settle()


def test_a_watcher_misses_nothing_and_hears_nothing_twice_whose_gateway_is_killed(
    three_gateways: Cluster,
) -> None:
    """Twenty times its gateway is killed, and it goes on at another one, by its cursor.

    ```
    ann       1 - 2 - 3 - 4 - 5 - 6 - ...
    ben       in - out - in - out - ...
    watcher   g0 X      g1 X      g2 X      g0 ...
    ```
    """
    asyncio.run(_tell(three_gateways, "few", _KILLS))


@pytest.mark.soak
@pytest.mark.timeout(10_800)
def test_a_thousand_gateways_are_killed_under_a_watcher(three_gateways: Cluster) -> None:
    """The same for a thousand, with other people after each hundred: tokens end after an hour."""
    for part in range(_KILLS_OF_SOAK // 100):
        asyncio.run(_tell(three_gateways, f"part{part}", 100))
