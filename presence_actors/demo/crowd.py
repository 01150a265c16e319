"""The people of the demo, each device a client of its own, doing what the script says.

A device does its cues one after the other: an arrival that takes long holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable
from typing import Final, assert_never

from presence_actors.client import (
    Connected,
    Event,
    EventStream,
    Interrupted,
    PresenceClient,
    Room,
    connect,
)
from presence_actors.config import Knobs
from presence_actors.demo.script import (
    Action,
    Arrive,
    Choose,
    Cue,
    Depart,
    Device,
    Drop,
    Hop,
    Show,
    Speak,
    Vanish,
)
from presence_actors.errors import PresenceError

__all__ = ["Crowd"]

#: Cues that wait for one device. Beyond: the newest are let go; the show must not lag behind.
_CUES_MAX: Final = 8
#: Devices that say goodbye at the same time at the end.
_CLOSE_S: Final = 3.0


class Crowd:
    """All devices.

    Args:
        urls_of: The gateways of a person's zone; the devices are spread over them.
        knobs: Of the clients.
        note: Told what the clients themselves meet, in a few words.
        seed: For the spread of their waits.
    """

    def __init__(
        self,
        urls_of: Callable[[str], list[str]],
        *,
        knobs: Knobs,
        note: Callable[[str], None],
        seed: int,
    ) -> None:
        self._urls_of = urls_of
        self._knobs = knobs
        self._note = note
        self._rng = random.Random(seed)  # noqa: S311  # spreads waits
        self._players: dict[Device, _Player] = {}
        #: Connections that were lost, and those that came back with the same session.
        self.losses = 0
        self.returns = 0
        #: Actions that failed.
        self.failures = 0

    async def play(self, script: Iterable[Cue]) -> None:
        """Do what the script says at its times; ends when the script does."""
        started = time.monotonic()
        for cue in script:
            await asyncio.sleep(max(0.0, started + cue.at_ms / 1_000 - time.monotonic()))
            player = self._players.get(cue.device)
            if player is None:
                urls = self._urls_of(cue.device.user)
                index = len(self._players) % len(urls)
                urls = [*urls[index:], *urls[:index]]
                player = self._players[cue.device] = _Player(self, cue.device, urls)
            player.give(cue.action)

    async def close(self) -> None:
        """Everybody says goodbye."""
        await asyncio.gather(*(player.close() for player in self._players.values()))

    @property
    def here(self) -> int:
        """Devices that are connected or on their way back."""
        return sum(player.client is not None for player in self._players.values())

    @property
    def away(self) -> int:
        """Devices that have lost their connection and are on their way back."""
        return sum(
            player.client is not None and not player.client.connected
            for player in self._players.values()
        )

    def is_here(self, user: str) -> bool:
        """Whether a device of the person is in the cluster by its own opinion."""
        return any(player.device.user == user and player.refs for player in self._players.values())

    def holds(self, ref: str) -> bool:
        """Whether an entry is of a device that is here and has left neither room nor cluster."""
        return any(ref in player.refs.values() for player in self._players.values())

    def connect(self, device: Device, urls: list[str]) -> PresenceClient:
        """A client for a device, not yet connected."""
        return connect(
            urls,
            f"dev:{device.user}",
            device=device.kind,
            knobs=self._knobs,
            rng=random.Random(self._rng.getrandbits(64)),  # noqa: S311  # spreads waits
        )

    def met(self, device: Device, event: Interrupted | Connected) -> None:
        """Count what a client met."""
        if isinstance(event, Interrupted):
            self.losses += 1
        elif event.resumed:
            self.returns += 1
        else:
            self._note(f"{device.user} ({device.kind}) had to begin a new session")

    def failed(self, device: Device, action: Action, error: PresenceError) -> None:
        """Note that an action failed."""
        self.failures += 1
        what = type(action).__name__.lower()
        self._note(f"{device.user} ({device.kind}) could not {what}: {error}")


class _Player:
    """One device: its client while it is here, and its cues."""

    def __init__(self, crowd: Crowd, device: Device, urls: list[str]) -> None:
        self.device = device
        self.client: PresenceClient | None = None
        #: {room: ref of this device's entry there}
        self.refs: dict[str, str] = {}
        self._crowd = crowd
        self._urls = urls
        self._rooms: dict[str, Room] = {}
        self._cues: asyncio.Queue[Action] = asyncio.Queue(_CUES_MAX)
        self._task = asyncio.create_task(self._run())
        self._reader: asyncio.Task[None] | None = None

    def give(self, action: Action) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._cues.put_nowait(action)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._end(Depart())

    async def _run(self) -> None:
        while True:
            action = await self._cues.get()
            try:
                await self._do(action)
            except PresenceError as error:
                self._crowd.failed(self.device, action, error)

    async def _do(self, action: Action) -> None:
        client = self.client
        if isinstance(action, Arrive):
            await self._arrive(action)
            return
        if client is None:
            # It could not arrive.
            return
        match action:
            case Depart() | Vanish():
                await self._end(action)
            case Drop():
                await client.drop()
            case Show(status=status):
                await client.set_status(status)
            case Choose(status=status, text=text, for_ms=for_ms):
                until = round(time.time() * 1_000) + for_ms
                await client.set_intent(status, text=text, until=until)
            case Speak(room=room, mood=mood):
                if room in self._rooms:
                    await self._rooms[room].update(mood=mood)
            case Hop(leave=leave, join=join, mood=mood):
                await self._hop(client, leave=leave, join=join, mood=mood)
            case never:
                assert_never(never)

    async def _arrive(self, arrival: Arrive) -> None:
        await self._end(Depart())
        client = self._crowd.connect(self.device, self._urls)
        await client.open()
        # From here on: the first welcome is no return.
        stream = client.events()
        self.client = client
        self._reader = asyncio.create_task(self._listen(stream))
        for room in arrival.rooms:
            await self._join(client, room, arrival.mood)

    async def _hop(self, client: PresenceClient, *, leave: str, join: str, mood: str) -> None:
        if leave in self._rooms:
            self.refs.pop(leave, None)
            await self._rooms.pop(leave).leave()
        await self._join(client, join, mood)

    async def _join(self, client: PresenceClient, room: str, mood: str) -> None:
        found = self._rooms[room] = await client.join(room, {"mood": mood})
        own = [
            entry
            for entry in found.who().get(self.device.user, [])
            if entry.device == self.device.kind
        ]
        # The entry of an earlier session that vanished may still be there.
        if own:
            self.refs[room] = max(own, key=lambda entry: entry.since).ref

    async def _end(self, how: Depart | Vanish) -> None:
        client, self.client = self.client, None
        self._rooms.clear()
        self.refs.clear()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        if client is not None:
            await (client.close() if isinstance(how, Depart) else client.abandon())

    async def _listen(self, stream: EventStream[Event]) -> None:
        with contextlib.suppress(PresenceError):
            async for event in stream:
                if isinstance(event, Interrupted | Connected):
                    self._crowd.met(self.device, event)
                # People only look at the present state of their rooms.
                for room in self._rooms.values():
                    room.stream.clear()
