"""The life of one actor's process: a machine, its host and its peer links, put together.

The way of a message: link hub -> frame -> messages -> `MessagesReceived` -> machine -> `Send` ->
frame -> link hub. Ray is not on it, and this module does not import it.
"""

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from presence_actors.actors.directory import (
    Description,
    Directory,
    Fault,
    Inspection,
    Seat,
    cluster_changed,
    is_same_cluster,
    is_worker,
    targets,
)
from presence_actors.actors.settings import SERVICE, Settings
from presence_actors.config import parse_address
from presence_actors.core.effects import Dial, Report
from presence_actors.core.events import ClusterChanged, MessagesReceived, PeerLinked
from presence_actors.core.ids import NodeId, NodeName, mint_node_id
from presence_actors.core.messages import PeerMessage
from presence_actors.errors import PresenceError, RemoteProtocolError
from presence_actors.links.faults import LinkFaults
from presence_actors.links.hub import LinkHub
from presence_actors.runtime.clock import SystemClock
from presence_actors.wire.peer import decode_frame, encode_frame

_log = logging.getLogger(__name__)

#: Distance of two attempts to start: a port is taken until the earlier life has quite gone.
_RETRY_SECONDS: Final = 0.25
_PORT_LAST: Final = 65_535

Event = TypeVar("Event")
Effect = TypeVar("Effect")
Result = TypeVar("Result")

ProcessEvent = MessagesReceived | ClusterChanged
HostEvent = ProcessEvent | PeerLinked


class Host(Protocol):
    """What drives the machine of this process."""

    def start(self) -> None:
        """Set the machine's timer."""
        ...

    def post(self, event: Any) -> None:  # noqa: ANN401  # `HostEvent`, at a gateway `ProcessEvent`
        """Have the machine handle an event."""
        ...

    def close(self) -> None:
        """Take no more events."""
        ...


class Process:
    """One life at a seat: what an actor is beside its machine.

    `node` is the name of this life and `born` its first moment; make the machine with them, and
    hand it over to `drive` before `start`.

    Args:
        seat: Which place this is.
        settings: What the cluster is like.
        ray_node: The Ray node that this process runs on.
        link_host: Where peer links listen.
    """

    def __init__(self, *, seat: Seat, settings: Settings, ray_node: str, link_host: str) -> None:
        clock = SystemClock()
        self.born = clock.now()
        self.node = mint_node_id(
            seat.node_name, start_wall_ms=self.born.wall, random_64=secrets.randbits(64)
        )
        self._seat = seat
        self._ray_node = ray_node
        self._link_host = link_host
        self._host: Host | None = None
        self._inspect: Callable[[], object] = lambda: None
        self._faults = LinkFaults() if settings.config.faults else None
        config = settings.config
        is_worker = seat.role == "worker"
        self._hub = LinkHub(
            node=self.node,
            role=seat.role,
            cluster=SERVICE,
            secret=settings.link_secret.value,
            host=link_host,
            port=config.link_port + seat.index if is_worker and config.link_port else 0,
            shards=config.shards,
            on_frame=self._on_frame,
            on_link=self._on_link if is_worker else None,
            faults=self._faults,
            clock=clock,
        )
        self._seeds = [parse_address("join", text) for text in config.join] if is_worker else []
        #: Workers of other zones that the machine wants to be linked with.
        self._far_targets: dict[str, tuple[str, int]] = {}
        self._directory = Directory()
        self._link_address: tuple[str, int] | None = None
        self._url: str | None = None
        self._trouble: str | None = None
        #: Lives whose frames could not be read: each is logged once.
        self._garbled: set[NodeId] = set()

    def drive(self, host: Host, inspect: Callable[[], object]) -> None:
        """Take the host of the machine, and what gives a picture of the machine."""
        self._host = host
        self._inspect = inspect

    async def start(self, open_edge: Callable[[], Awaitable[str]] | None = None) -> None:
        """Listen for peers, then, at a gateway, for clients; tried until it works.

        Args:
            open_edge: Opens the door for clients and returns its URL.
        """
        self._link_address = (self._link_host, await self._tried(self._hub.start))
        if self._host is not None:
            self._host.start()
        if open_edge is not None:
            self._url = await self._tried(open_edge)
        _log.info("ActorStarted node=%s links=%s url=%s", self.node, self._link_address, self._url)

    def set_directory(self, directory: Directory) -> int:
        """Take a directory unless it is an old one; the version that is in force now."""
        if directory.version <= self._directory.version:
            return self._directory.version
        old, self._directory = self._directory, directory
        self._set_faults(old.faults, directory.faults)
        self._set_targets()
        changed = cluster_changed(directory)
        if not is_same_cluster(changed, cluster_changed(old)):
            self._post(changed)
        # Not earlier: who greets another zone must be able to say who is here.
        self._hub.set_seeds(self._seeds)
        return directory.version

    def dial(self, effect: Dial) -> None:
        """Keep links to these workers of other zones, too."""
        self._far_targets = {
            str(name): (host, port)
            for name, (host, port) in effect.targets.items()
            if host and 0 < port <= _PORT_LAST  # What another zone says must not end this process.
        }
        self._set_targets()

    def report(self, effect: Report) -> None:
        """Write into the log what only people can mend."""
        _log.warning("%s sender=%s reason=%r", effect.event, effect.peer, effect.reason)

    def directory(self) -> Directory:
        """The directory that is in force."""
        return self._directory

    def describe(self) -> Description:
        """What the supervisor wants to know."""
        return Description(
            name=self._seat.node_name,
            node=self.node,
            role=self._seat.role,
            host=self._ray_node,
            process_id=os.getpid(),
            directory_version=self._directory.version,
            link_address=self._link_address,
            url=self._url,
            trouble=self._trouble,
            seeds=tuple(self._hub.seeds()),
        )

    def inspect(self) -> Inspection:
        """A picture for people."""
        return Inspection(self.describe(), self._inspect(), self._hub.links(), self._own_faults())

    def send(self, to: NodeName, messages: list[PeerMessage]) -> None:
        """Send messages in one frame; without a link they are lost, which the machines expect."""
        self._hub.send(to, encode_frame(messages))

    async def close(self) -> None:
        """Take nothing more, and close all links."""
        if self._host is not None:
            self._host.close()
        await self._hub.close()

    async def _tried(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        while True:
            try:
                result = await attempt()
            except PresenceError as error:
                if self._trouble != str(error):
                    _log.error("StartFailed node=%s reason=%r", self.node, str(error))
                self._trouble = str(error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._trouble = None
                return result

    def _on_frame(self, sender: NodeId, payload: bytes) -> None:
        try:
            messages = decode_frame(payload, peer=sender)
        except RemoteProtocolError as error:
            if sender not in self._garbled:
                self._garbled.add(sender)
                _log.warning("FrameRefused sender=%s reason=%r", sender, str(error))
            return
        self._post(MessagesReceived(sender, messages))

    def _on_link(self, node: NodeId, is_open: bool, _reason: str) -> None:  # noqa: FBT001  # the hub's
        # Of our own zone as well: a new life learns of other zones from whoever was here before.
        if is_open and is_worker(node):
            self._post(PeerLinked(node))

    def _set_targets(self) -> None:
        near = targets(self._directory, name=self._seat.node_name, role=self._seat.role)
        self._hub.set_targets({**self._far_targets, **near})

    def _post(self, event: HostEvent) -> None:
        if self._host is not None:
            self._host.post(event)

    def _set_faults(self, old: tuple[Fault, ...], new: tuple[Fault, ...]) -> None:
        if self._faults is None:
            return
        before, after = (_by_peer(faults, self._seat.node_name) for faults in (old, new))
        for peer in sorted({*before, *after}):
            if before.get(peer) == after.get(peer):
                continue
            self._faults.heal(peer)
            for fault in after.get(peer, []):
                self._apply(fault, peer)

    def _apply(self, fault: Fault, peer: NodeName) -> None:
        faults = self._faults
        leaves = fault.source == self._seat.node_name
        if faults is None:
            return
        match fault.kind:
            case "cut":
                faults.cut(peer, "out" if leaves else "in")
            case "delay" if leaves:
                faults.delay(peer, fault.delay_ms, "out")
            case "loss" if leaves:
                faults.loss(peer, fault.loss, "out")
            case _:
                # Delay and loss happen once, where the frames leave.
                pass

    def _own_faults(self) -> list[Fault]:
        own = _by_peer(self._directory.faults, self._seat.node_name)
        return [fault for peer in sorted(own) for fault in own[peer]]


def _by_peer(faults: tuple[Fault, ...], name: NodeName) -> dict[NodeName, list[Fault]]:
    """The faults that concern a node, by who is at the other end."""
    result: dict[NodeName, list[Fault]] = {}
    for fault in faults:
        if name in (fault.source, fault.target):
            peer = fault.target if fault.source == name else fault.source
            result.setdefault(peer, []).append(fault)
    return result


def end_process(_error: BaseException) -> None:
    """End this process, whose machine is broken. Ray starts the actor anew, as after any crash.

    The host has written the flight recorder's tail to the log by now.
    """
    logging.shutdown()
    os._exit(1)


def end_with(task: "asyncio.Task[None]") -> None:
    """Have the process end if this task fails: an actor that is half dead helps nobody."""

    def finished(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("TaskFailed name=%s", task.get_name(), exc_info=error)
            end_process(error)

    task.add_done_callback(finished)


def log_to_stderr() -> None:
    """Have our log written where Ray keeps the output of each process."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s")
    formatter.converter = time.gmtime
    formatter.datefmt = "%Y-%m-%dT%H:%M:%S"
    handler.setFormatter(formatter)
    log = logging.getLogger("presence_actors")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
