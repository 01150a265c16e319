"""The supervisor: keeps every seat taken, and tells everybody where the others are.

Needed for change, not for serving: without it nothing that runs stops running. It restarts from
the arguments of its constructor alone.
"""

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from ray.exceptions import ActorDiedError, RayActorError, RayError

from presence_actors.actors.directory import Description, Directory, Fault, Seat, seats_of
from presence_actors.actors.place import is_restarted
from presence_actors.actors.process import end_with, log_to_stderr
from presence_actors.actors.settings import Settings
from presence_actors.actors.supervision import Supervision
from presence_actors.config import ClusterConfig
from presence_actors.errors import UsageError
from presence_actors.runtime.clock import SystemClock

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_log = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 0.5
#: Each call to an actor has this long. In a silent partition Ray itself says nothing for a minute.
_CALL_SECONDS: Final = 2.0
#: Asking Ray's own control service, which may have to start a process.
_CREATE_SECONDS: Final = 30.0


class CreateActor(Protocol):
    """Gives the actor at a seat, created if there is none."""

    def __call__(self, seat: Seat, settings: Settings, *, first: bool) -> "ActorHandle[Any]":
        """Blocks while Ray is asked."""
        ...


class SupervisorActor:
    """Runs a `Supervision` over the actors of one zone.

    Args:
        settings: What the cluster is like.
        create_actor: How a seat is taken.
    """

    def __init__(self, settings: Settings, create_actor: CreateActor) -> None:
        log_to_stderr()
        self._settings = settings
        self._create_actor = create_actor
        self._clock = SystemClock()
        self._supervision = Supervision(settings.config, started=self._clock.now().instant)
        self._handles: dict[Seat, ActorHandle[Any]] = {}
        #: Seats that may be taken by the first life there ever was.
        self._never_taken: set[Seat] = set()
        if not is_restarted():
            self._never_taken.update(seats_of(settings.config))
        self._round_done = asyncio.Event()
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        end_with(self._watching)

    async def describe(self) -> list[Description]:
        """The latest word of every actor."""
        return self._supervision.describe()

    async def process_id(self) -> int:
        """Which process this life is."""
        return os.getpid()

    async def config(self) -> ClusterConfig:
        """The shape of the cluster."""
        return self._settings.config

    async def directory(self) -> Directory:
        """The newest directory."""
        return self._supervision.directory

    async def inject(self, faults: list[Fault]) -> list[str]:
        """Put faults in force; the names of actors that could not be told yet.

        Raises:
            UsageError: The cluster was not started for it.
        """
        self._require_faults()
        await self._round_done.wait()
        self._supervision.inject(faults)
        return await self._tell()

    async def heal(self) -> list[str]:
        """End all faults; the names of actors that could not be told yet."""
        self._require_faults()
        await self._round_done.wait()
        self._supervision.heal()
        return await self._tell()

    async def stop(self) -> None:
        """Let the gateways say goodbye; from now on nobody is re-created."""
        self._watching.cancel()
        handles = [handle for seat, handle in self._handles.items() if seat.role == "gateway"]
        calls = [self._call(handle, "stop") for handle in handles]
        await asyncio.gather(*calls, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(*(self._look_after(seat) for seat in self._seats()))
            await self._recover()
            now = self._clock.now()
            if self._supervision.renew_directory(instant=now.instant, wall=now.wall):
                _log.info("DirectoryChanged version=%s", self._supervision.directory.version)
            await self._tell()
            self._round_done.set()
            await asyncio.sleep(_CHECK_SECONDS)

    def _seats(self) -> list[Seat]:
        return seats_of(self._settings.config)

    async def _look_after(self, seat: Seat) -> None:
        try:
            if seat not in self._handles:
                await self._take(seat)
            self._supervision.learn(await self._call(self._handles[seat], "describe"))
        except ActorDiedError:
            # For good: Ray restarts all but those that somebody ended for good.
            _log.warning("ActorGone name=%s", seat.actor_name)
            del self._handles[seat]
        except (TimeoutError, RayError, ValueError) as error:
            # Restarting, cut off or not yet there: the next round tries again.
            _log.info("ActorSilent name=%s reason=%s", seat.actor_name, type(error).__name__)

    async def _take(self, seat: Seat) -> None:
        # Ray's part of it blocks, and this loop has others to look after.
        create = asyncio.to_thread(
            self._create_actor, seat, self._settings, first=seat in self._never_taken
        )
        async with asyncio.timeout(_CREATE_SECONDS):
            self._handles[seat] = await create
        self._never_taken.discard(seat)

    async def _recover(self) -> None:
        for seat in self._supervision.ahead():
            try:
                self._supervision.recover(await self._call(self._handles[seat], "directory"))
            except (TimeoutError, RayError, KeyError):
                continue

    async def _tell(self) -> list[str]:
        seats = [seat for seat in self._supervision.behind() if seat in self._handles]
        told = await asyncio.gather(*(self._tell_one(seat) for seat in seats))
        return [seat.actor_name for seat, done in zip(seats, told, strict=True) if not done]

    async def _tell_one(self, seat: Seat) -> bool:
        try:
            directory = self._supervision.directory
            version = await self._call(self._handles[seat], "set_directory", directory)
        except (TimeoutError, RayActorError, KeyError):
            return False
        self._supervision.told(seat.node_name, version)
        return True

    async def _call(self, handle: "ActorHandle[Any]", method: str, *arguments: object) -> Any:  # noqa: ANN401
        async with asyncio.timeout(_CALL_SECONDS):
            return await getattr(handle, method).remote(*arguments)

    def _require_faults(self) -> None:
        if not self._settings.config.faults:
            raise UsageError(
                "this cluster takes no faults", remedy="start it with: presence up --faults"
            )
