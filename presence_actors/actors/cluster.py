"""A running cluster as its operator holds it: start, look, break on purpose, end.

Used by the command line, the demo, benchmarks and tests. All calls block and have an end; call
them from a thread where a loop must go on (`asyncio.to_thread`). One process is attached to one
Ray at a time.
"""

import contextlib
import os
import secrets
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from presence_actors.actors import compose, connection, local_ray
from presence_actors.actors.directory import (
    SUPERVISOR,
    Description,
    Directory,
    Fault,
    FaultKind,
    Inspection,
    Seat,
    find_seat,
    seats_of,
)
from presence_actors.actors.guard import Guard
from presence_actors.actors.settings import Secret, Settings
from presence_actors.actors.state import ClusterState, StateFolder
from presence_actors.actors.version import require_ray
from presence_actors.config import ClusterConfig
from presence_actors.edge.admission import check_origins, is_loopback
from presence_actors.edge.tokens import TokenVerifier
from presence_actors.errors import ConfigError, PresenceError, Unavailable, UsageError

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


class Cluster:
    """One zone's cluster. Made by `start` or `attach`."""

    def __init__(
        self, state: ClusterState, folder: StateFolder, guard: Guard | None = None
    ) -> None:
        self._state = state
        self._folder = folder
        self._guard = guard

    @classmethod
    def start(
        cls,
        config: ClusterConfig,
        *,
        state_dir: Path,
        address: str | None = None,
        token_key: bytes | None = None,
        allowed_origins: Sequence[str] = (),
        wait: bool = True,
        tied: bool = False,
        progress: Progress = lambda _stage: None,
    ) -> Self:
        """Start a cluster; it outlives this process unless it is tied to it.

        Args:
            config: Its shape.
            state_dir: Where this zone is remembered.
            address: Of a Ray to join, `HOST:PORT` or `auto`; None starts one of our own.
            token_key: What clients' tokens are signed with.
            allowed_origins: Web origins that may connect beside the gateways' own.
            wait: Whether to return only once all gateways are ready.
            tied: Whether our own Ray ends when this process does, even if by a crash. Say `stop`
                before an orderly end all the same.
            progress: Told what is being waited for.

        Raises:
            PresenceError: It cannot be; nothing of it is left running.
        """
        require_ray()
        config.check()
        _require_sound_edge(config, token_key, allowed_origins)
        folder = StateFolder(state_dir)
        with folder.locked():
            _require_none_running(folder)
            if address is None:
                _require_free_ports(config)
            guard = Guard(state_dir) if address is None else None
            try:
                progress("Ray")
                ours = None if guard is None else local_ray.start(state_dir, begun=guard.watch)
                address = address if ours is None else ours.address
                state = ClusterState(config=config, address=str(address), local_ray=ours)
                cluster = cls(state, folder, guard)
                cluster._begin(token_key, allowed_origins, wait=wait, progress=progress)
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
        """Return once all gateways answer that they are ready.

        Raises:
            Unavailable: One is not, for a long time.
            ConfigError: One cannot start, and says why.
        """
        deadline = time.monotonic() + _READY_SECONDS
        troubled_since: dict[str, float] = {}
        while True:
            described = self._described_or_none()
            waiting = self._not_ready(described)
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
        one, other = find_seat(self.config, source), find_seat(self.config, target)
        if one == other:
            raise UsageError(f"{source} and {target} are the same actor")
        ways = [(one, other)] if one_way else [(one, other), (other, one)]
        faults = [
            Fault(kind, from_seat.node_name, to_seat.node_name, delay_ms=delay_ms, loss=loss)
            for from_seat, to_seat in ways
        ]
        untold: list[str] = self._ask_supervisor("inject", faults)
        return untold

    def heal(self) -> list[str]:
        """End all faults; returns as `inject`."""
        untold: list[str] = self._ask_supervisor("heal")
        return untold

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

    def _begin(
        self,
        token_key: bytes | None,
        allowed_origins: Sequence[str],
        *,
        wait: bool,
        progress: Progress,
    ) -> None:
        try:
            self._connect()
            self._require_newness()
        except BaseException:
            # Nothing of ours is there yet; what is there is somebody else's.
            self._end_local()
            raise
        try:
            self._create(token_key, allowed_origins, progress)
            if wait:
                self.wait_ready(progress)
        except BaseException:
            self._end()
            raise

    def _create(
        self, token_key: bytes | None, allowed_origins: Sequence[str], progress: Progress
    ) -> None:
        link_secret = secrets.token_bytes(_LINK_SECRET_BYTES)
        self._folder.write_link_secret(link_secret)
        self._folder.write(self._state)
        progress("the supervisor")
        settings = Settings(
            config=self.config,
            link_secret=Secret(link_secret),
            token_key=None if token_key is None else Secret(token_key),
            allowed_origins=tuple(allowed_origins),
        )
        compose.create_supervisor(settings)

    def _require_newness(self) -> None:
        """A Ray that we join may have a cluster of this name, started from another machine."""
        if self._find(SUPERVISOR) is not None:
            raise _already_running(self.config.zone)

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
        with _translated(seat.actor_name):
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
        with _translated(f"{SUPERVISOR} of cluster {self.config.zone}"):
            return ray.get(call, timeout=_SUPERVISOR_SECONDS)

    def _described_or_none(self) -> list[Description]:
        try:
            return self.descriptions()
        except Unavailable:
            return []

    def _not_ready(self, described: list[Description]) -> list[str]:
        by_name = {known.name: known for known in described}
        waiting: list[str] = []
        for seat in seats_of(self.config):
            known = by_name.get(seat.node_name)
            listens = known is not None and known.link_address is not None
            url = known.url if known is not None else None
            serves = seat.role == "worker" or (url is not None and _is_ready(url))
            if not listens or not serves:
                waiting.append(seat.actor_name)
        return waiting


def _release(guard: Guard | None) -> None:
    if guard is not None:
        guard.release()


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except GetTimeoutError as error:
        raise Unavailable(what="no answer in time", where=where) from error
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, PresenceError):
            raise cause from error
        raise
    except RayError as error:
        raise Unavailable(what=f"no answer ({type(error).__name__})", where=where) from error


def _is_ready(url: str) -> bool:
    http = "http" + url.removeprefix("ws")
    try:
        with urllib.request.urlopen(f"{http}/readyz", timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def _already_running(zone: str) -> UsageError:
    return UsageError(
        f"cluster {zone} is already running (presence status)", remedy="stop it with: presence down"
    )


def _require_none_running(folder: StateFolder) -> None:
    state = folder.read()
    if state is None:
        return
    if state.local_ray is None or local_ray.is_running(state.local_ray):
        raise _already_running(state.config.zone)
    # Its Ray is gone, with the machine's last start, say. What it left is ours to clear.
    local_ray.stop(state.local_ray)


def _require_free_ports(config: ClusterConfig) -> None:
    for port in range(config.port, config.port + config.gateways):
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        with socket.socket(family) as probe:
            # As the gateways will: a connection of an earlier one that lingers is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((config.host, port))
            except OSError as error:
                raise ConfigError(
                    "port",
                    port,
                    f"cannot be listened on at {config.host} ({error.strerror}); free it or choose "
                    "another with --port",
                ) from error


def _require_sound_edge(
    config: ClusterConfig, token_key: bytes | None, allowed_origins: Sequence[str]
) -> None:
    """What the gateways would refuse, each in its own process and log, is refused here."""
    TokenVerifier(token_key)
    check_origins(allowed_origins)
    if token_key is None and not is_loopback(config.host):
        raise ConfigError(
            "host",
            config.host,
            "needs --jwt-key-file: without a key anybody may call himself anything, so gateways "
            "listen on a loopback address only",
        )
    if config.faults and not is_loopback(config.link_host):
        raise ConfigError("faults", True, "only where peer links listen on loopback: --link-host")  # noqa: FBT003
