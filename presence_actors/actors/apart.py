"""A cluster held by a process of its own.

One process is attached to one Ray at a time. Whoever wants two zones at once, as the demo and the
tests do, holds one directly and each other one like this.
"""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Self

from presence_actors.actors.cluster import Cluster
from presence_actors.actors.directory import Description, Inspection
from presence_actors.config import ClusterConfig
from presence_actors.errors import PresenceError, Unavailable

_END_SECONDS: Final = 40.0
#: How often a start says that it still waits.
_TELL_SECONDS: Final = 0.2

#: What may be asked for: a method's name and arguments, or a property's name.
_Question = tuple[str, tuple[Any, ...], dict[str, Any]]


class ClusterApart:
    """As `Cluster`, and ends when this process does. Made by `start`."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        # A fresh interpreter: a fork would share this one's attachment to Ray.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs,), name=f"zone {config.zone}", daemon=False
        )
        self._lock = threading.Lock()
        self._process.start()
        theirs.close()

    @classmethod
    def start(
        cls,
        config: ClusterConfig,
        *,
        state_dir: Path,
        token_key: bytes | None = None,
        allowed_origins: Sequence[str] = (),
        progress: Callable[[], object] = lambda: None,
    ) -> Self:
        """Start a cluster; arguments and errors as for `Cluster.start`.

        Args:
            config: Its shape.
            state_dir: Where this zone is remembered.
            token_key: What clients' tokens are signed with.
            allowed_origins: Web origins that may connect.
            progress: Called now and then while it starts; what it raises ends the start.
        """
        cluster = cls(config)
        try:
            cluster._ask(
                "start",
                config,
                meanwhile=progress,
                state_dir=state_dir,
                token_key=token_key,
                allowed_origins=allowed_origins,
            )
        except BaseException:
            cluster._end()
            raise
        return cluster

    @property
    def gateway_urls(self) -> list[str]:
        """Where clients connect."""
        urls: list[str] = self._ask("gateway_urls")
        return urls

    @property
    def link_addresses(self) -> list[str]:
        """Where other zones may join."""
        addresses: list[str] = self._ask("link_addresses")
        return addresses

    def descriptions(self) -> list[Description]:
        """What each actor last said of itself."""
        described: list[Description] = self._ask("descriptions")
        return described

    def inspect(self) -> dict[str, Inspection | None]:
        """A picture of each actor by name."""
        pictures: dict[str, Inspection | None] = self._ask("inspect")
        return pictures

    def supervisor_process_id(self) -> int:
        """The process of the supervisor's present life."""
        process_id: int = self._ask("supervisor_process_id")
        return process_id

    def wait_ready(self) -> None:
        """Return once all gateways answer that they are ready."""
        self._ask("wait_ready")

    def kill_worker(self, index: int, *, hard: bool = False) -> None:
        """End a worker's process."""
        self._ask("kill_worker", index, hard=hard)

    def kill_gateway(self, index: int, *, hard: bool = False) -> None:
        """End a gateway's process."""
        self._ask("kill_gateway", index, hard=hard)

    def disconnect(self) -> None:
        """Let go of its Ray, before that one is ended by force, say."""
        self._ask("disconnect")

    def stop(self) -> None:
        """End the cluster and the process that holds it; harmless when that has ended."""
        try:
            # A holder that has ended has taken its Ray with it.
            with contextlib.suppress(Unavailable):
                self._ask("stop")
        finally:
            self._end()

    def _ask(
        self,
        method: str,
        *arguments: Any,  # noqa: ANN401  # any method's
        meanwhile: Callable[[], object] = lambda: None,
        **named: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        with self._lock:
            try:
                self._pipe.send((method, arguments, named))
                while not self._pipe.poll(_TELL_SECONDS):
                    meanwhile()
                failed, answer = self._pipe.recv()
            except (EOFError, OSError) as error:
                raise Unavailable(
                    what="the process that holds it has ended", where=f"zone {self.config.zone}"
                ) from error
        if failed:
            raise answer
        return answer

    def _end(self) -> None:
        self._pipe.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection) -> None:
    """Hold a cluster for whoever is at the other end; end it when they are gone."""
    # Ctrl-C in the terminal reaches this process as well; when to end, the other one says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster: Cluster | None = None
    stopped = False
    with contextlib.suppress(EOFError, OSError):
        while not stopped:
            question: _Question = pipe.recv()
            method, arguments, named = question
            try:
                if cluster is None:
                    cluster = Cluster.start(*arguments, tied=True, **named)
                    pipe.send((False, None))
                    continue
                found = getattr(cluster, method)
                answer = found(*arguments, **named) if callable(found) else found
            except PresenceError as error:
                pipe.send((True, error))
            else:
                stopped = method == "stop"
                pipe.send((False, answer))
    if cluster is not None and not stopped:
        cluster.stop()
