"""A running cluster as its operator holds it: start, look, break on purpose, end.

Used by the command line, the demo, benchmarks and tests. All calls block and have an end; call
them from a thread where a loop must go on (`asyncio.to_thread`). One process is attached to one
Ray at a time.
"""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import ray
from ray.exceptions import RayError

from presence_actors.actors import compose, connection, local_ray
from presence_actors.actors.directory import (
    SUPERVISOR,
    Description,
    Directory,
    Fault,
    FaultKind,
    Inspection,
    Seat,
    find_node,
    seats_of,
)
from presence_actors.actors.guard import Guard
from presence_actors.actors.joining import Contact, find_secret
from presence_actors.actors.preconditions import (
    already_running,
    require_free_ports,
    require_none_running,
    require_sound_edge,
    require_sound_webhook,
)
from presence_actors.actors.readiness import not_ready
from presence_actors.actors.settings import Secret, Settings
from presence_actors.actors.state import ClusterState, StateFolder
from presence_actors.actors.version import require_ray
from presence_actors.config import ClusterConfig
from presence_actors.core.ids import NodeName, zone_of
from presence_actors.core.views import WorkerView
from presence_actors.errors import PresenceError, Unavailable, UsageError

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Progress = Callable[[str], None]
"""Told in a few words what is being waited for."""

_CALL_SECONDS: Final = 3.0
#: The supervisor may wait for the actors, each with a time-out of its own, before it answers.
_SUPERVISOR_SECONDS: Final = 10.0
_READY_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.1
#: An actor that cannot start for so long will not, e.g. since somebody else has its port.
_TROUBLE_SECONDS: Final = 3.0
_LINK_SECRET_BYTES: Final = 32
#: How long a start waits for the zones that it joins, once its own actors are there.
_CONTACT_SECONDS: Final = 5.0


class Cluster:
    """One zone's cluster. Made by `start` or `attach`."""

    def __init__(
        self, state: ClusterState, folder: StateFolder, guard: Guard | None = None
    ) -> None:
        self._state = state
        self._folder = folder
        self._guard = guard

    @classmethod
    def start(  # noqa: PLR0913  # once per cluster, from configuration
        cls,
        config: ClusterConfig,
        *,
        state_dir: Path,
        address: str | None = None,
        link_secret: bytes | None = None,
        token_key: bytes | None = None,
        allowed_origins: Sequence[str] = (),
        webhook_key: bytes | None = None,
        wait: bool = True,
        tied: bool = False,
        progress: Progress = lambda _stage: None,
    ) -> Self:
        """Start a cluster; it outlives this process unless it is tied to it.

        One that joins another zone (`config.join`) has that zone's secret; it waits a while for
        contact, and goes on without it where nobody answers (`unreached`).

        Args:
            config: Its shape.
            state_dir: Where this zone is remembered.
            address: Of a Ray to join, `HOST:PORT` or `auto`; None starts one of our own.
            link_secret: What peer links prove to each other. Without it: that of the zone that is
                joined, if it was started on this machine (its state folder is beside this one),
                or else a new one.
            token_key: What clients' tokens are signed with.
            allowed_origins: Web origins that may connect beside the gateways' own.
            webhook_key: What is told to app servers is signed with it (`config.webhook`).
            wait: Whether to return only once all gateways are ready.
            tied: Whether our own Ray ends when this process does, even if by a crash. Say `stop`
                before an orderly end all the same.
            progress: Told what is being waited for.

        Raises:
            PresenceError: It cannot be, or the zone that it joins refuses it; nothing of it is left
                running.
        """
        require_ray()
        config.check()
        if link_secret is None and config.join:
            link_secret = find_secret(config, state_dir.parent)
        secret = link_secret or secrets.token_bytes(_LINK_SECRET_BYTES)
        require_sound_edge(config, token_key, allowed_origins)
        require_sound_webhook(config, webhook_key)
        folder = StateFolder(state_dir)
        with folder.locked():
            require_none_running(folder)
            if address is None:
                require_free_ports(config)
            guard = Guard(state_dir) if address is None else None
            try:
                progress("Ray")
                ours = None if guard is None else local_ray.start(state_dir, begun=guard.watch)
                address = address if ours is None else ours.address
                state = ClusterState(config=config, address=str(address), local_ray=ours)
                cluster = cls(state, folder, guard)
                settings = Settings(
                    config=config,
                    link_secret=Secret(secret),
                    token_key=None if token_key is None else Secret(token_key),
                    allowed_origins=tuple(allowed_origins),
                    webhook_key=None if webhook_key is None else Secret(webhook_key),
                )
                cluster._begin(settings, wait=wait, progress=progress)
            except BaseException:
                _release(guard)
                folder.forget()
                raise
            if not tied:
                _release(guard)
        return cluster

    @classmethod
    def find(cls, zone: str, *, state_dir: Path, address: str | None = None) -> Self:
        """The cluster that was started before, whatever has become of it; not yet connected to.

        Args:
            zone: Its name.
            state_dir: Where this zone is remembered.
            address: Of its Ray, where it was started from another machine.

        Raises:
            UsageError: None is known.
        """
        require_ray()
        folder = StateFolder(state_dir)
        state = folder.read()
        if state is None and address is None:
            raise UsageError(
                f"no cluster {zone} is running here", remedy="start one with: presence up"
            )
        if state is None or (address is not None and address != state.address):
            config = ClusterConfig(zone=zone)
            state = ClusterState(config=config, address=str(address), local_ray=None)
        return cls(state, folder)

    @classmethod
    def attach(cls, zone: str, *, state_dir: Path, address: str | None = None) -> Self:
        """The cluster that was started before and runs; arguments as for `find`.

        Raises:
            UsageError: There is none.
            Unavailable: Its Ray does not answer.
        """
        cluster = cls.find(zone, state_dir=state_dir, address=address)
        cluster.connect()
        return cluster

    def connect(self) -> None:
        """Connect this process to the cluster; raises as `attach`."""
        ours = self._state.local_ray
        if ours is not None and not local_ray.is_running(ours):
            raise UsageError(
                f"cluster {self.config.zone} was started here, but its Ray is gone",
                remedy="clear away what it left: presence down",
            )
        self._connect()
        self._learn_config()

    def disconnect(self) -> None:
        """Disconnect this process; the cluster goes on."""
        connection.close()

    @property
    def config(self) -> ClusterConfig:
        """Its shape."""
        return self._state.config

    @property
    def gateway_urls(self) -> list[str]:
        """Where clients connect, for those gateways that are open."""
        return [known.url for known in self.descriptions() if known.url is not None]

    @property
    def link_addresses(self) -> list[str]:
        """Where the workers' peer links listen: other zones join at any of them."""
        return [
            f"{known.link_address[0]}:{known.link_address[1]}"
            for known in self.descriptions()
            if known.role == "worker" and known.link_address is not None
        ]

    @property
    def unreached(self) -> dict[str, str]:
        """Addresses of other zones to join that there is no link with, and why."""
        return Contact(self.config, self.descriptions()).missing()

    def descriptions(self) -> list[Description]:
        """What each actor last said of itself, as the supervisor knows it."""
        described: list[Description] = self._ask_supervisor("describe")
        return described

    def directory(self) -> Directory:
        """The supervisor's directory."""
        directory: Directory = self._ask_supervisor("directory")
        return directory

    def inspect(self) -> dict[str, Inspection | None]:
        """A picture of each actor by name, such as `worker-0`; None for one that is silent."""
        calls: dict[str, Any] = {}
        for seat in seats_of(self.config):
            handle = self._find(seat.actor_name)
            calls[seat.actor_name] = None if handle is None else handle.inspect.remote()
        deadline = time.monotonic() + _CALL_SECONDS
        pictures: dict[str, Inspection | None] = {}
        for name, call in calls.items():
            pictures[name] = None
            with contextlib.suppress(RayError):
                if call is not None:
                    left = max(0.1, deadline - time.monotonic())
                    pictures[name] = ray.get(call, timeout=left)
        return pictures

    def wait_ready(self, progress: Progress = lambda _stage: None) -> None:
        """Return once all gateways answer that they are ready, and zones to join were given time.

        Raises:
            Unavailable: One is not, for a long time.
            UsageError: One cannot start, and says why, or a zone to join refuses us.
        """
        self._wait_for_actors(progress)
        deadline = time.monotonic() + _CONTACT_SECONDS
        while time.monotonic() < deadline:
            contact = Contact(self.config, self._described_or_none())
            contact.require_welcome()
            missing = contact.missing()
            if not missing:
                return
            progress(", ".join(missing))
            time.sleep(_POLL_SECONDS)

    def _wait_for_actors(self, progress: Progress) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        troubled_since: dict[str, float] = {}
        while True:
            described = self._described_or_none()
            Contact(self.config, described).require_welcome()
            waiting = not_ready(self.config, described)
            if not waiting:
                return
            progress(", ".join(waiting))
            now = time.monotonic()
            for known in described:
                if known.trouble is None:
                    troubled_since.pop(known.name, None)
                elif now - troubled_since.setdefault(known.name, now) > _TROUBLE_SECONDS:
                    raise UsageError(f"{known.name} cannot start: {known.trouble}")
            if now > deadline:
                raise Unavailable(
                    what=f"not ready within {_READY_SECONDS:.0f} s: {', '.join(waiting)}",
                    where=f"cluster {self.config.zone}",
                )
            time.sleep(_POLL_SECONDS)

    def kill_worker(self, index: int, *, hard: bool = False) -> None:
        """End a worker's process: through Ray, or hard with signal 9. Ray starts it anew."""
        self._kill(Seat(self.config.zone, "worker", index), hard=hard)

    def kill_gateway(self, index: int, *, hard: bool = False) -> None:
        """End a gateway's process, as `kill_worker`."""
        self._kill(Seat(self.config.zone, "gateway", index), hard=hard)

    def ask(self, seat: Seat, method: str, *arguments: object) -> Any:  # noqa: ANN401
        """What an actor answers.

        Raises:
            Unavailable: There is no such actor, or it does not answer.
        """
        call = getattr(self._require(seat.actor_name), method).remote(*arguments)
        with connection.translated(f"{seat.node_name} of cluster {self.config.zone}"):
            return ray.get(call, timeout=_CALL_SECONDS)

    def supervisor_process_id(self) -> int:
        """The process of the supervisor's present life."""
        process_id: int = self._ask_supervisor("process_id")
        return process_id

    def kill_supervisor(self) -> None:
        """End the supervisor's process; Ray starts it anew."""
        ray.kill(self._require(SUPERVISOR), no_restart=False)

    def cut(self, source: str, target: str, *, one_way: bool = False) -> list[str]:
        """Cut the links between two actors, silently; `one_way`: only from the first to the second.

        Returns:
            As `inject`.

        Raises:
            UsageError: The cluster takes no faults, or there is no such actor.
        """
        return self.inject("cut", source, target, one_way=one_way)

    def inject(
        self,
        kind: FaultKind,
        source: str,
        target: str,
        *,
        one_way: bool = False,
        delay_ms: int = 0,
        loss: float = 0.0,
    ) -> list[str]:
        """Put a fault in force until `heal`, also over restarts of the actors.

        Returns:
            The actors that could not be told; they will be, before they talk to anybody again.
        """
        one, other = find_node(self.config, source), find_node(self.config, target)
        if one == other:
            raise UsageError(f"{source} and {target} are the same actor")
        if self.config.zone not in (zone_of(one), zone_of(other)):
            raise UsageError(f"neither {source} nor {target} is of zone {self.config.zone}")
        ways = [(one, other)] if one_way else [(one, other), (other, one)]
        return self._inject(
            [Fault(kind, source, target, delay_ms=delay_ms, loss=loss) for source, target in ways]
        )

    def cut_zone(self, zone: str, workers: int) -> list[str]:
        """Cut all links between our workers and those of another zone, silently, until `heal`.

        Args:
            zone: The other zone.
            workers: How many it has.

        Returns:
            As `inject`.
        """
        if zone == self.config.zone:
            raise UsageError(f"zone {zone} cannot be cut from itself", remedy="say two zones")
        ours = [seat.node_name for seat in seats_of(self.config) if seat.role == "worker"]
        theirs = [NodeName(f"{zone}/w{index}") for index in range(workers)]
        pairs = [(one, other) for one in ours for other in theirs]
        ways = [way for one, other in pairs for way in ((one, other), (other, one))]
        return self._inject([Fault("cut", source, target) for source, target in ways])

    def _inject(self, faults: list[Fault]) -> list[str]:
        untold: list[str] = self._ask_supervisor("inject", faults)
        return untold

    def heal(self) -> list[str]:
        """End all faults; returns as `inject`."""
        untold: list[str] = self._ask_supervisor("heal")
        return untold

    def retire_zone(self, zone: str) -> list[str]:
        """Give another zone up: its people leave here, and it is no longer waited for.

        Returns:
            As `inject`.

        Raises:
            UsageError: It is this very zone.
        """
        if zone == self.config.zone:
            raise UsageError(
                f"zone {zone} cannot retire itself", remedy="say it in another zone: --zone"
            )
        untold: list[str] = self._ask_supervisor("retire_zone", zone)
        return untold

    def restore_zone(self, zone: str) -> list[str]:
        """Expect a zone again that was retired; returns as `inject`."""
        untold: list[str] = self._ask_supervisor("restore_zone", zone)
        return untold

    def other_zones(self) -> list[str]:
        """The other zones that our workers know, without those that were retired."""
        views = [picture.view for picture in self.inspect().values() if picture is not None]
        return sorted(
            {
                zone_of(peer.name)
                for view in views
                if isinstance(view, WorkerView)
                for replica in view.replicas
                for peer in replica.peers
            }
            - {self.config.zone}
        )

    def stop(self) -> None:
        """End the cluster, and our own Ray process by process; nothing is left behind.

        Raises:
            Unavailable: Its Ray is not ours and does not answer, so its actors may still run.
        """
        with self._folder.locked():
            if self._state.local_ray is None:
                self._connect()
                with contextlib.suppress(Unavailable):
                    self._learn_config()
            self._end()
            _release(self._guard)

    # Inside.

    def _begin(self, settings: Settings, *, wait: bool, progress: Progress) -> None:
        try:
            self._connect()
            self._require_newness()
        except BaseException:
            # Nothing of ours is there yet; what is there is somebody else's.
            self._end_local()
            raise
        try:
            self._create(settings, progress)
            if wait:
                self.wait_ready(progress)
        except BaseException:
            self._end()
            raise

    def _create(self, settings: Settings, progress: Progress) -> None:
        self._folder.write_link_secret(settings.link_secret.value)
        self._folder.write(self._state)
        progress("the supervisor")
        compose.create_supervisor(settings)

    def _require_newness(self) -> None:
        """A Ray that we join may have a cluster of this name, started from another machine."""
        if self._find(SUPERVISOR) is not None:
            raise already_running(self.config.zone)

    def _end(self) -> None:
        ours = self._state.local_ray
        if ours is None or local_ray.is_running(ours):
            with contextlib.suppress(RayError, PresenceError):
                self._connect()
                self._end_actors()
        self._end_local()

    def _end_local(self) -> None:
        connection.close()
        if self._state.local_ray is not None:
            local_ray.stop(self._state.local_ray)
        self._folder.forget()

    def _end_actors(self) -> None:
        supervisor = self._find(SUPERVISOR)
        if supervisor is not None:
            # It goes first, or it would re-create what is being ended.
            with contextlib.suppress(RayError):
                ray.get(supervisor.stop.remote(), timeout=_CALL_SECONDS)
            ray.kill(supervisor, no_restart=True)
        for seat in seats_of(self.config):
            handle = self._find(seat.actor_name)
            if handle is not None:
                ray.kill(handle, no_restart=True)

    def _connect(self) -> None:
        ours = self._state.local_ray
        connection.open_to(
            self._state.address,
            zone=self.config.zone,
            settings={} if ours is None else local_ray.settings_of(self._folder.path),
        )

    def _learn_config(self) -> None:
        config: ClusterConfig = self._ask_supervisor("config")
        self._state = msgspec.structs.replace(self._state, config=config)

    def _kill(self, seat: Seat, *, hard: bool) -> None:
        if not hard:
            ray.kill(self._require(seat.actor_name), no_restart=False)
            return
        if self._state.local_ray is None:
            raise UsageError("only processes of our own Ray, on this machine, can be killed hard")
        handle: Any = self._require(seat.actor_name)
        with connection.translated(seat.actor_name):
            known = ray.get(handle.describe.remote(), timeout=_CALL_SECONDS)
        os.kill(known.process_id, signal.SIGKILL)

    def _find(self, name: str) -> "ActorHandle[Any] | None":
        try:
            return compose.find_actor(name, self.config.zone)
        except ValueError:
            return None

    def _require(self, name: str) -> "ActorHandle[Any]":
        handle = self._find(name)
        if handle is None:
            raise Unavailable(what=f"there is no {name}", where=f"cluster {self.config.zone}")
        return handle

    def _ask_supervisor(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        call = getattr(self._require(SUPERVISOR), method).remote(*arguments)
        with connection.translated(f"{SUPERVISOR} of cluster {self.config.zone}"):
            return ray.get(call, timeout=_SUPERVISOR_SECONDS)

    def _described_or_none(self) -> list[Description]:
        try:
            return self.descriptions()
        except Unavailable:
            return []


def _release(guard: Guard | None) -> None:
    if guard is not None:
        guard.release()
