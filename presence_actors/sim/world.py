"""A small deterministic world: workers, gateways and clients in one thread under a virtual clock.

It hosts the same machines as the real processes and carries the same bytes: peer frames and native
frames are encoded and decoded on the way. One seed decides everything that is left to chance, so
the same story under the same seed runs the same way. What does not happen here: Ray, sockets, TLS.

What happens between processes is in `network`. A process may pause, like one whose machine is
suspended: what comes in waits, and it wakes up late. Its wall clock may be wrong. A client's
connection is lost when either end dies; a client that is frozen keeps it open and says nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count, product
from random import Random
from typing import Final

from presence_actors.config import ClusterConfig
from presence_actors.core.acts import Act
from presence_actors.core.effects import (
    Acted,
    Answer,
    CloseClient,
    Deliver,
    GatewayEffect,
    Notify,
    Send,
)
from presence_actors.core.events import (
    ActRequested,
    ClientConnected,
    ClientDisconnected,
    ClientRefused,
    ClientSent,
    ClusterChanged,
    ConnectFailed,
    ConnectionLost,
    ConnectionOpened,
    DeadlineReached,
    DrainRequested,
    GatewayEvent,
    MessagesReceived,
    NoticeAnswered,
    PeerLinked,
    QueryReceived,
    ServerSent,
    WorkerEvent,
)
from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import (
    ConnectionId,
    Namespace,
    NodeName,
    RequestId,
    UserId,
    ZoneId,
    mint_node_id,
    zone_of,
)
from presence_actors.core.instants import Instant, Now
from presence_actors.core.messages import PeerMessage, Worker
from presence_actors.core.session import SessionMachine
from presence_actors.core.vocabulary import Identity, ServerMessage
from presence_actors.core.worker import WorkerMachine
from presence_actors.errors import RemoteProtocolError
from presence_actors.sim.client import Client
from presence_actors.sim.clocks import INSTANT_START, WallClocks
from presence_actors.sim.cutting import Cutting
from presence_actors.sim.network import Frame, Network
from presence_actors.sim.process import Process, Zombies, new_machine
from presence_actors.sim.trace import Trace
from presence_actors.wire.native import decode_client, decode_server, encode_server
from presence_actors.wire.refusals import FrameRefused

__all__ = ["Client", "World"]

#: A worker has to tell this; how to answer it.
Notified = Callable[[NodeName, Notify, Callable[[NoticeAnswered], None]], None]

_LATENCY_MS: Final = 1
_LOST: Final = 1006


class World(Cutting):
    """Everything there is.

    Args:
        config: The shape of each zone's cluster and its knobs.
        seed: Decides everything that is left to chance.
        zones: Names of zones; by default one, as the configuration has it.
        check_every: Machines find out whether they are wrong after so many events of theirs. A
            check looks at everything that a machine has, so it costs more than any event.
        encode_every: Of so many frames between processes one goes as bytes, and must come out as
            it went in; the others hand their messages over, which is cheaper and does the same.
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        seed: int = 0,
        zones: tuple[str, ...] = (),
        check_every: int = 1,
        encode_every: int = 1,
    ) -> None:
        self.config = config.check()
        self.check_every = check_every
        self.encode_every = encode_every
        self.zones = zones or (config.zone,)
        self._retired: tuple[str, ...] = ()
        self._versions = count(1)
        self.random = Random(seed)
        self.instant = Instant(INSTANT_START)
        self._heap: list[tuple[Instant, int, Callable[[], None]]] = []
        self._order = count()
        self._connections = count(1)
        self.network = Network(self.random)
        self._clocks = WallClocks()
        self._trace = Trace()
        self.processes: dict[NodeName, Process] = {}
        self.clients: list[Client] = []
        #: {connection: the life of a gateway that it leads to}, dead ones, too.
        self._serving: dict[ConnectionId, Process] = {}
        self.answers: dict[RequestId, Answer] = {}
        self.acted: dict[RequestId, Acted] = {}
        #: Who is told what workers have to tell an app server, and answers; nobody by default.
        self.notified: Notified | None = None
        self._requests = count(1)
        self.frames_carried = 0
        #: Events that machines have handled, those of clients among them.
        self.events_handled = 0
        self._zombies = Zombies()
        for zone in self.zones:
            for index in range(config.workers):
                # A zone that joins others has something to learn before it may speak.
                first = zone == self.zones[0]
                self._start(NodeName(f"{zone}/w{index}"), first=first)
            for index in range(config.gateways):
                self._start(NodeName(f"{zone}/g{index}"), first=True)
        self._tell_cluster()
        for zone in self.zones[1:]:
            self._introduce(NodeName(f"{self.zones[0]}/w0"), NodeName(f"{zone}/w0"))

    # Time.

    @property
    def now(self) -> Now:
        """The virtual time of everybody."""
        return self._clocks.now(self.instant)

    def now_at(self, name: NodeName) -> Now:
        """The time as the clocks of a process have it."""
        return self._clocks.now_at(name, self.instant)

    def set_clock(self, name: NodeName, *, ahead_ms: int, drift_ppm: int = 0) -> None:
        """The wall clock of a process, and of its later lives, is wrong by this from now on."""
        self._clocks.set(name, self.instant, ahead_ms=ahead_ms, drift_ppm=drift_ppm)

    @property
    def trace_hash(self) -> str:
        """Names all that has happened so far: equal runs have equal hashes."""
        return self._trace.hexdigest()

    @property
    def elapsed_ms(self) -> int:
        """Virtual milliseconds since the start."""
        return self.instant - INSTANT_START

    def at(self, instant: Instant, action: Callable[[], None]) -> None:
        """Does `action` then."""
        heapq.heappush(self._heap, (instant, next(self._order), action))

    def run(self, span_ms: int) -> None:
        """Lets virtual time pass."""
        self.run_until(None, span_ms)

    def stall(self, span_ms: int) -> None:
        """Everything stands still, clients too, as on a machine that its host does not let run."""
        self.instant = Instant(self.instant + span_ms)

    def run_until(self, condition: Callable[[], bool] | None, within_ms: int) -> bool:
        """Lets time pass until the condition holds; whether it did in time."""
        end, heap = Instant(self.instant + within_ms), self._heap
        while condition is None or not condition():
            if not heap or heap[0][0] > end:
                self.instant = end
                return condition is not None and condition()
            instant, _, action = heapq.heappop(heap)
            self.instant = max(self.instant, instant)
            action()
        return True

    # Processes.

    def _start(self, name: NodeName, *, first: bool) -> None:
        now = self.now_at(name)
        node = mint_node_id(name, start_wall_ms=now.wall, random_64=self.random.getrandbits(64))
        machine = new_machine(node, self.config, self.random, first=first, now=now)
        self.processes[name] = Process(name, node, machine)

    def _tell_cluster(self) -> None:
        for process in list(self.processes.values()):
            self._post(process, self._cluster(zone_of(process.name)))

    def _cluster(self, zone: ZoneId) -> ClusterChanged:
        names = [name for name in sorted(self.processes) if zone_of(name) == zone]
        return ClusterChanged(
            workers=[Worker(name, name, (name, 1)) for name in names if "/w" in name],
            gateways={name: self.url_of(name) for name in names if "/g" in name},
            version=next(self._versions),
            retired=[ZoneId(other) for other in self._retired],
        )

    def _introduce(self, one: NodeName, other: NodeName) -> None:
        """A link opens between two workers of different zones."""
        for name, peer in ((one, other), (other, one)):
            self._post(self.processes[name], PeerLinked(self.processes[peer].node))

    def retire(self, zone: str) -> None:
        """An operator of the other zones gives a zone up."""
        self._retired = (*self._retired, zone)
        self._tell_cluster()

    def restore(self, zone: str) -> None:
        """An operator expects a zone again."""
        self._retired = tuple(other for other in self._retired if other != zone)
        self._tell_cluster()

    def url_of(self, name: NodeName) -> str:
        """Where a gateway would be reached."""
        return f"ws://{name.replace('/', '-')}/ws"

    def worker(self, index: int, zone: str = "a") -> WorkerMachine:
        """The machine of a worker."""
        machine = self.processes[NodeName(f"{zone}/w{index}")].machine
        if not isinstance(machine, WorkerMachine):
            raise TypeError(index)
        return machine

    def gateway(self, index: int, zone: str = "a") -> GatewayMachine:
        """The machine of a gateway."""
        machine = self.processes[NodeName(f"{zone}/g{index}")].machine
        if not isinstance(machine, GatewayMachine):
            raise TypeError(index)
        return machine

    def kill(self, name: NodeName, *, restart_after_ms: int | None) -> None:
        """The process ends at once; perhaps a new life of it starts later, knowing nothing."""
        process = self.processes[name]
        process.alive = False
        for client in list(process.clients.values()):
            self._lose(client, _LOST, "the gateway died")
        process.clients.clear()
        if restart_after_ms is not None:
            self.at(Instant(self.instant + restart_after_ms), lambda: self.start(name))

    def start(self, name: NodeName) -> None:
        """A new life of a dead process, which knows nothing; of a live one none."""
        if not self.processes[name].alive:
            self._restart(name)

    def _restart(self, name: NodeName) -> None:
        self._start(name, first=False)
        self._post(self.processes[name], self._cluster(zone_of(name)))
        self.relink(name)

    def relink(self, *names: NodeName) -> None:
        """Links between these workers and all others open anew, as after a cut."""
        workers = [name for name, one in self.processes.items() if "/w" in name and one.alive]
        for name, other in product([name for name in names if name in workers], workers):
            if name != other:
                self._introduce(name, other)

    def split_life(self, name: NodeName) -> None:
        """A new life of a process begins while the old one runs on, until `end_zombie`."""
        self._zombies.add(self.processes[name], list(self.processes), self.random)
        self._restart(name)

    def end_zombie(self, name: NodeName) -> None:
        """The older life ends; who was linked to it dials the present one."""
        self._zombies.end(name)
        self.relink(name)

    def drain(self, name: NodeName) -> None:
        """An operator wants the gateway empty."""
        self._post(self.processes[name], DrainRequested("an operator asked for it"))

    def pause(self, name: NodeName) -> None:
        """The process stands still: what comes in waits, and no deadline wakes it."""
        self.processes[name].inbox = []

    def resume(self, name: NodeName) -> None:
        """It goes on: it reads what has come in meanwhile, and then finds what it has missed."""
        process = self.processes[name]
        waiting, process.inbox = process.inbox or [], None
        for event in waiting:
            self._post(process, event)
        self._post(process, DeadlineReached())

    def _post(self, process: Process, event: GatewayEvent | WorkerEvent) -> None:
        if not process.alive:
            return
        if process.inbox is not None:
            process.inbox.append(event)
            return
        self.events_handled += 1
        now, machine = self.now_at(process.name), process.machine
        if isinstance(machine, WorkerMachine):
            if not isinstance(event, WorkerEvent):
                raise TypeError(event)
            for sent in machine.handle(event, now):
                if isinstance(sent, Send):  # Here everybody is dialled always.
                    self._carry_out(process, sent)
                elif isinstance(sent, Notify) and self.notified is not None:
                    self._trace.note(self.elapsed_ms, process.name, sent.id)
                    self.notified(process.name, sent, partial(self._post, process))
        else:
            if isinstance(event, PeerLinked | NoticeAnswered):
                raise TypeError(event)
            for effect in machine.handle(event, now):
                self._carry_out(process, effect)
        process.unchecked += 1
        if process.unchecked >= self.check_every:
            process.unchecked = 0
            machine.check()
        self._rewake(process)

    def check(self) -> None:
        """Raises `InvariantBroken` if any machine that lives finds itself wrong."""
        for process in self.processes.values():
            if process.alive:
                process.machine.check()
        for client in self.clients:
            if not client.closed:
                client.machine.check()

    def _rewake(self, process: Process) -> None:
        deadline = process.machine.deadline()
        if deadline is None:
            return
        due = Instant(max(deadline, self.instant))
        if process.wake_at is None or due < process.wake_at:
            process.wake_at = due
            self.at(due, lambda: self._wake(process, due))

    def _wake(self, process: Process, due: Instant) -> None:
        if process.wake_at != due:
            return
        process.wake_at = None
        if process.inbox is not None:
            return
        deadline = process.machine.deadline()
        if deadline is not None and deadline <= self.instant:
            self._post(process, DeadlineReached())
        else:
            self._rewake(process)

    def _carry_out(self, process: Process, effect: GatewayEffect) -> None:
        match effect:
            case Send(to=to, messages=messages):
                self._send(process, to, messages)
            case Deliver(connections=connections, message=message):
                self._deliver(process, connections, message)
            case CloseClient(connection=connection, code=code, reason=reason):
                client = process.clients.pop(connection, None)
                if client is not None:
                    self._lose(client, code, reason)
            case Answer(request=request):
                self.answers[request] = effect
            case Acted(request=request):
                self.acted[request] = effect

    # The network between processes.

    def _send(self, sender: Process, to: NodeName, messages: list[PeerMessage]) -> None:
        self.frames_carried += 1
        sample = self.frames_carried % self.encode_every == 0
        frame, network = Frame(messages, sample=sample, prove=self.encode_every > 1), self.network

        def arrive() -> None:
            if not network.swallows(sender.name, to):
                self._receive(sender, to, frame)

        if network.holds(sender.name, to, arrive):
            return
        for arrival in network.arrivals(sender.name, to, self.instant, frame):
            self.at(arrival, arrive)

    def _receive(self, sender: Process, to: NodeName, frame: Frame) -> None:
        receiver = self._zombies.hears(sender, to, self.processes.get(to))
        if receiver is None:
            return
        self._trace.note(self.elapsed_ms, to, frame.trace)
        try:
            messages = self.network.read(sender.name, to, frame)
        except RemoteProtocolError:
            return  # Damaged on its way, and not taken for anything.
        self._post(receiver, MessagesReceived(sender.node, messages))

    def inject(self, sender: NodeName, to: NodeName, messages: list[PeerMessage]) -> None:
        """A frame reaches a process now, in the name of another one, which never sent it."""
        self._receive(self.processes[sender], to, Frame(messages, sample=True, prove=False))

    # Clients.

    def client(
        self, name: str, *, gateways: list[int], device: str = "desktop", zone: str = "a"
    ) -> Client:
        """A client of this user, which tries these gateways in this order."""
        names = [NodeName(f"{zone}/g{index}") for index in gateways]
        return self.newcomer(name, gateways=names, device=device)

    def newcomer(self, name: str, *, gateways: list[NodeName], device: str) -> Client:
        """A client of this user, which tries these gateways in this order."""
        urls = [self.url_of(gateway) for gateway in gateways]
        machine = SessionMachine(
            urls,
            f"dev:{name}",
            device=device,
            knobs=self.config.knobs,
            rng=Random(self.random.getrandbits(64)),
        )
        client = Client(self, name, machine)
        self.clients.append(client)
        client.post(DeadlineReached())
        return client

    def dial(self, client: Client, url: str) -> None:
        """The client opens a connection."""
        attempt = client.dial = client.dial + 1

        def arrive() -> None:
            if client.dial != attempt or client.closed:
                return
            process = next((p for p in self.processes.values() if self.url_of(p.name) == url), None)
            if process is None or not process.alive or not client.reachable:
                client.post(ConnectFailed(url, "connection refused"))
                return
            connection = ConnectionId(next(self._connections))
            process.clients[connection] = client
            client.link = (process.name, connection)
            self._serving[connection] = process
            who = Identity(Namespace("default"), UserId(client.name))
            self._post(process, ClientConnected(connection, who))
            client.post(ConnectionOpened(url))

        self.at(Instant(self.instant + _LATENCY_MS), arrive)

    def drop(self, client: Client) -> None:
        """The client's connection breaks, on both sides."""
        if client.link is not None:
            self._lose(client, _LOST, "the connection broke")
            _, connection = client.link
            process = self._serving[connection]
            if process.clients.pop(connection, None) is not None:
                self._post(process, ClientDisconnected(connection))

    def tear(self, client: Client, *, noticed_after_ms: int) -> None:
        """Its wire breaks, and what is under way in it is lost; the gateway notices only later."""
        connection = client.tear()
        if connection is not None:
            process = self._serving[connection]
            process.clients.pop(connection, None)
            noticed = Instant(self.instant + noticed_after_ms)
            self.at(noticed, lambda: self._post(process, ClientDisconnected(connection)))

    def hang_up(self, client: Client) -> None:
        """The client's side of the connection closes."""
        link, client.link = client.link, None
        client.dial += 1
        if link is None:
            return
        _, connection = link
        process = self._serving[connection]

        def arrive() -> None:
            if process.clients.pop(connection, None) is not None:
                self._post(process, ClientDisconnected(connection))

        self.at(Instant(self.instant + _LATENCY_MS), arrive)

    def say(self, client: Client, frame: str, *, bye: bool) -> None:
        """A frame from the client to its gateway."""
        if client.link is None:
            return
        _, connection = client.link
        process = self._serving[connection]

        def arrive() -> None:
            if connection not in process.clients:
                return
            try:
                message = decode_client(frame)
            except FrameRefused:
                self._post(process, ClientRefused(connection))
                return
            if message is not None:
                self._post(process, ClientSent(connection, message))
            if bye:
                process.clients.pop(connection, None)
                self._post(process, ClientDisconnected(connection, orderly=True))

        self.at(Instant(self.instant + _LATENCY_MS), arrive)

    def _deliver(
        self, process: Process, connections: list[ConnectionId], message: ServerMessage
    ) -> None:
        frame = encode_server(message)
        for connection in connections:
            client = process.clients.get(connection)
            if client is not None:
                self._carry_to(client, client.dial, frame)

    def _carry_to(self, client: Client, attempt: int, frame: str) -> None:
        def arrive() -> None:
            if client.dial != attempt or client.closed:
                return
            message = decode_server(frame)
            if message is not None:
                self._trace.note(self.elapsed_ms, client.name, frame)
                client.post(ServerSent(message))

        self.at(Instant(self.instant + _LATENCY_MS), lambda: client.meet(arrive))

    def _lose(self, client: Client, code: int, reason: str) -> None:
        attempt = client.dial

        def arrive() -> None:
            if client.dial == attempt and not client.closed:
                client.link = None
                client.dial += 1
                client.post(ConnectionLost(code, reason))

        self.at(Instant(self.instant + _LATENCY_MS), lambda: client.meet(arrive))

    # App servers, and whoever polls.

    def act(self, gateway: NodeName, act: Act) -> RequestId:
        """Somebody wants something done over HTTP; the answer will be in `acted`."""
        request = RequestId(next(self._requests))
        self._trace.note(self.elapsed_ms, gateway, repr(act))
        event = ActRequested(request, Namespace("default"), act)
        self._post(self.processes[gateway], event)
        return request

    def query(self, gateway: int, *, topics: list[str], users: list[str]) -> Answer | None:
        """What somebody who polls a gateway gets, within two virtual seconds."""
        request = RequestId(next(self._requests))
        process = self.processes[NodeName(f"{self.config.zone}/g{gateway}")]
        self._post(process, QueryReceived(request, "default", topics, [UserId(u) for u in users]))
        self.run_until(lambda: request in self.answers, 2_000)
        return self.answers.get(request)
