"""Connections to events, effects to connections: everything of a gateway that does I/O.

The machine decides; this driver keeps what a decision cannot wait for: which connections have not
said who they are yet (with a deadline and caps), how many unreadable frames each has sent, and how
far each is behind with reading.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, assert_never

import msgspec

from presence_actors.core.acts import Act
from presence_actors.core.effects import (
    Acted,
    Answer,
    CloseClient,
    Deliver,
    GatewayEffect,
    Mark,
    PassOn,
    Send,
)
from presence_actors.core.events import (
    ActRequested,
    ClientConnected,
    ClientDisconnected,
    ClientRefused,
    ClientSent,
    DeadlineReached,
    DrainCancelled,
    DrainRequested,
    GatewayEvent,
    GuestConnected,
    QueryReceived,
    TokenRenewed,
)
from presence_actors.core.ids import ConnectionId, Namespace, NodeName, UserId
from presence_actors.core.messages import PeerMessage
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Identity,
    Ping,
    ServerMessage,
    Snap,
    Sub,
)
from presence_actors.edge.asking import Asked
from presence_actors.edge.client import Client
from presence_actors.edge.conn import Adapter, Conn, Dialog
from presence_actors.edge.flushes import Flushes
from presence_actors.edge.lagging import Laggards
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.machine import GatewayLike, GatewayState
from presence_actors.edge.polls import Polls
from presence_actors.edge.slots import RetrySlots
from presence_actors.edge.strangers import Strangers
from presence_actors.edge.tokens import TokenRefused, TokenVerifier
from presence_actors.edge.turnstile import Turnstile
from presence_actors.runtime.clock import Clock
from presence_actors.runtime.host import MachineHost
from presence_actors.wire.event_stream import mark_event
from presence_actors.wire.native import closing_code
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.turns import Introduction, Turn

__all__ = ["GatewayDriver"]

#: Close codes: 44xx stay away, 45xx come back later, 1012 go to another gateway.
_CLOSE_BAD_FRAMES: Final = 4400
_CLOSE_IDLE: Final = 4508
_CLOSE_TOO_SLOW: Final = 4513
_CLOSE_TOO_MANY: Final = 4529
_CLOSE_DRAIN: Final = 1012
_CLOSE_NORMAL: Final = 1000

_PLAINLY: Final = Asked()


class GatewayDriver:
    """Runs a gateway's machine for the clients of one server. All calls from one event loop.

    Args:
        machine: What decides.
        verifier: Tells who a client is.
        send_peer: Sends messages to a node, in one frame; neither waits nor raises.
        on_broken: Called once if the machine breaks; nothing works any more by then.
        limits: What the edge allows.
        clock: Where the machine's time comes from.
        name: Names the machine in the log.
        rings: Whether many sends may be one system call, where the kernel offers that.
    """

    def __init__(
        self,
        machine: GatewayLike,
        *,
        verifier: TokenVerifier,
        send_peer: Callable[[NodeName, list[PeerMessage]], None],
        on_broken: Callable[[Exception], None],
        limits: EdgeLimits | None = None,
        clock: Clock | None = None,
        name: str = "gateway",
        rings: bool = True,
    ) -> None:
        self._machine = machine
        self._verifier = verifier
        self._send_peer = send_peer
        self.limits = limits if limits is not None else EdgeLimits()
        #: Post what does not come from clients here: messages of peers, changes of the cluster.
        self.host: MachineHost[GatewayEvent, GatewayEffect] = MachineHost(
            machine,
            carry_out=self._carry_out,
            deadline_reached=DeadlineReached(),
            on_broken=on_broken,
            clock=clock,
            name=name,
        )
        self._clients: dict[ConnectionId, Client] = {}
        #: Whoever comes or goes, one after the other, between those who stay.
        self.turnstile = Turnstile(self.limits.arrivals_per_turn)
        self._strangers = Strangers(self.turnstile, self._hear)
        #: Who comes in during a storm, and when the others come again.
        self.slots = RetrySlots(
            per_s=self.limits.admissions_per_s,
            burst=self.limits.admissions_burst,
            wait_ms_max=self.limits.retry_ms_max,
        )
        self._polls = Polls()
        self._ids = itertools.count(1)
        self._laggards = Laggards(self.host.post)
        #: Whether new connections are refused before they are ones.
        self._drained = False
        #: What happened, by name: for /v1/stats and metrics.
        self.counts: Counter[str] = Counter()
        self._flushes = Flushes(self.counts, rings=rings)

    # --- what the server calls ------------------------------------------------------------------

    @property
    def verifier(self) -> TokenVerifier:
        """Tells who a client is."""
        return self._verifier

    @property
    def connections(self) -> int:
        """How many connections there are, with those that have not said `hello`."""
        return len(self._clients)

    @property
    def unauthenticated(self) -> int:
        """How many of them have not said `hello`."""
        return len(self._strangers)

    def inspect(self) -> GatewayState:
        """Where the machine stands."""
        return self._machine.inspect()

    def refusal(self, address: str, *, waiting: int = 0) -> str | None:
        """Why no further connection of this address is taken now, or None; so many wait."""
        if self.host.stopped:
            return "this gateway is stopping"
        if self._drained:
            return "this gateway is being emptied; connect to another one"
        if len(self._clients) + waiting >= self.limits.connections_max:
            return f"this gateway has {self.limits.connections_max} connections and takes no more"
        return self._strangers.refusal(address, self.limits)

    def reserve(self) -> int | None:
        """For how many ms a stock client waits for its connection; None: it would be too long."""
        now_ms = asyncio.get_running_loop().time() * 1_000
        wait_ms = self.slots.reserve(now_ms, wait_ms_max=self.limits.upgrade_wait_ms_max)
        if wait_ms:
            self.counts["kept_waiting"] += 1
        return wait_ms

    def opened(
        self, conn: Conn, *, adapter: Adapter, address: str, authorization: str | None = None
    ) -> ConnectionId:
        """A connection is open; from now on it has a name and a deadline."""
        client = Client(
            ConnectionId(next(self._ids)),
            conn,
            adapter=adapter,
            address=address,
            authorization=authorization,
        )
        self._clients[client.id] = client
        self._strangers.note(client)
        self.counts["opened"] += 1
        self._strangers.expect(client, self.limits.hello_ms, self._hello_missed)
        return client.id

    def opened_dialog(
        self, conn: Conn, *, dialog: Dialog, identity: Identity, address: str
    ) -> ConnectionId:
        """A connection is open whose token was read before, and which says `hello` in no words."""
        client = Client(
            ConnectionId(next(self._ids)), conn, address=address, dialog=dialog, identity=identity
        )
        client.pending = False
        self._clients[client.id] = client
        self.counts["opened"] += 1
        self._await_introduction(client)
        return client.id

    def opened_watcher(
        self, conn: Conn, *, adapter: Adapter, identity: Identity, address: str, sub: Sub
    ) -> ConnectionId:
        """A stream is open on which a client hears of this and cannot speak."""
        client = Client(ConnectionId(next(self._ids)), conn, adapter=adapter, address=address)
        client.pending = False
        client.known = True
        self._clients[client.id] = client
        self.counts["opened"] += 1
        self.host.post(ClientConnected(client.id, identity, watches_only=True))
        self.host.post(ClientSent(client.id, sub))
        return client.id

    def received(self, connection: ConnectionId, frame: str | bytes) -> None:
        """A text frame came in; or a binary one, as bytes."""
        client = self._clients.get(connection)
        if client is None or client.leaving:
            return
        self.counts["frames_in"] += 1
        if client.known:
            self._hear(client, frame)
        else:
            self._strangers.received(client, frame)

    def _hear(self, client: Client, frame: str | bytes) -> None:
        if client.leaving:
            return
        try:
            if client.dialog is not None:
                self._converse(client, client.dialog.receive(frame), came_in=True)
                return
            message = client.shared.decode(frame)
        except FrameRefused as refused:
            self._refuse(client, refused)
            return
        if message is not None:
            self._take(client, message)

    def refused(self, connection: ConnectionId, refused: FrameRefused) -> None:
        """Something came in that is too big to be read."""
        client = self._clients.get(connection)
        if client is not None and not client.leaving:
            self._refuse(client, refused)

    def closed(self, connection: ConnectionId, *, orderly: bool = False) -> None:
        """A connection is gone, whoever ended it; orderly if the client said that it goes."""
        client = self._clients.pop(connection, None)
        if client is None:
            return
        self.counts["closed"] += 1
        self._strangers.settle(client)
        client.leaving = True
        if client.dialog is not None:
            client.dialog.closed()
        if client.known:
            self.turnstile.add(partial(self._report_gone, client, orderly=orderly))

    async def query(
        self, namespace: str, topics: list[str], users: list[UserId], asked: Asked = _PLAINLY
    ) -> Answer:
        """Who is in these rooms, and what these users show.

        Raises:
            GatewayBusy: Too many ask at the same time.
            Unavailable: No answer in time, or the gateway is stopping.
        """
        return await self._polls.ask(
            Answer,
            lambda request: self.host.post(
                QueryReceived(
                    request,
                    namespace,
                    topics,
                    users,
                    cursor=asked.cursor,
                    wait_ms=asked.wait_ms,
                    limit=asked.limit,
                    after=asked.after,
                    max_staleness_ms=asked.max_staleness_ms,
                )
            ),
            wait_ms=asked.wait_ms,
            stopped=self.host.stopped,
            limits=self.limits,
        )

    async def act(self, namespace: Namespace, act: Act) -> Acted:
        """Have this done; the answer says that a replica has it, or why it was refused.

        Raises:
            Unavailable: Too many ask, or no answer in time: then it may still happen.
        """
        return await self._polls.ask(
            Acted,
            lambda request: self.host.post(ActRequested(request, namespace, act)),
            stopped=self.host.stopped,
            limits=self.limits,
        )

    def drain(self, reason: str, *, spread_ms: int = 0) -> None:
        """Have the machine send its clients elsewhere, evenly over this time; take nobody in."""
        self._drained = True
        self.host.post(DrainRequested(reason, spread_ms))

    def end_drain(self) -> None:
        """Take clients in again."""
        self._drained = False
        self.host.post(DrainCancelled())

    def stop(self, reason: str) -> None:
        """Tell every client to go elsewhere, close all connections with 1012, stop the machine."""
        # The machine knows where to send them; whom it does not send away is sent by us.
        self.drain(reason)
        for client in list(self._clients.values()):
            if client.known:
                self._write(client, Goaway(reason=reason))
            if not client.leaving:
                self._close(client, _CLOSE_DRAIN, reason)
        self._laggards.stop()
        self._flushes.close()
        self.host.close()
        self._polls.stop(reason)

    # --- from connections to the machine --------------------------------------------------------

    def _take(self, client: Client, message: ClientMessage) -> None:
        if not client.known:
            self._greet(client, message)
            return
        match message:
            case Hello():
                self._refuse(
                    client,
                    FrameRefused(ErrorCode.BAD_FRAME, "hello was said already; say it once"),
                )
            case Bye():
                self.host.post(ClientSent(client.id, message))
                self._part(client, _CLOSE_NORMAL, "bye", orderly=True)
            case _:
                self.host.post(ClientSent(client.id, message))

    def _greet(self, client: Client, message: ClientMessage) -> None:
        if not isinstance(message, Hello):
            self._end(client, Err(code=ErrorCode.UNAUTHORIZED, message="say hello first"))
            return
        wait_ms = self.slots.take(asyncio.get_running_loop().time() * 1_000)
        if wait_ms:
            self._turn_away(client, wait_ms)
            return
        token = message.token if message.token is not None else client.authorization
        if token is None:
            self._end(
                client,
                Err(
                    code=ErrorCode.UNAUTHORIZED,
                    message="give a token, in hello or in the Authorization header",
                ),
            )
            return
        try:
            identity = self._verifier.verify(token)
        except TokenRefused as refused:
            self._end(client, Err(code=refused.code, message=refused.message))
            return
        self._welcome(client, identity, message)

    def _turn_away(self, client: Client, wait_ms: int) -> None:
        """Too many come at once: tell it when it is its turn."""
        self.counts["turned_away"] += 1
        words = f"too many come at once: come again after {wait_ms} ms"
        self._write(client, Err(code=ErrorCode.RATE_LIMITED, message=words, retry_after_ms=wait_ms))
        self._part(client, _CLOSE_TOO_MANY, words)

    def _welcome(self, client: Client, identity: Identity, hello: Hello) -> None:
        self._strangers.settle(client)
        client.known = True
        client.authorization = None
        self.counts["greeted"] += 1
        self.host.post(ClientConnected(client.id, identity))
        # Without the token: what the machine is told stays in the flight recorder.
        self.host.post(ClientSent(client.id, msgspec.structs.replace(hello, token=None)))

    def _converse(self, client: Client, turn: Turn, *, came_in: bool = False) -> None:
        """Carry out one turn of a dialog."""
        for frame in turn.frames:
            self._gather(client, frame, binary=turn.binary)
        if client.leaving:
            return
        if turn.identity is not None and client.known:
            self.host.post(TokenRenewed(client.id, turn.identity))
        elif turn.identity is not None:
            client.identity = turn.identity
        if turn.introduction is not None:
            self._introduce(client, turn.introduction)
        if client.known:
            for message in turn.messages:
                self.host.post(ClientSent(client.id, message))
            if came_in and not turn.messages:
                # Whatever it says is a sign of life.
                self.host.post(ClientSent(client.id, Ping()))
        elif came_in:
            self._await_introduction(client)

    def _introduce(self, client: Client, introduction: Introduction) -> None:
        identity, client.identity = client.identity, None
        if identity is None:
            return
        self._strangers.settle(client)
        client.known = True
        self.counts["greeted"] += 1
        self.host.post(
            GuestConnected(
                client.id,
                identity,
                introduction.family,
                introduction.device,
                introduction.topic,
                introduction.meta,
            )
        )

    def _await_introduction(self, client: Client) -> None:
        self._strangers.expect(client, self.limits.idle_ms, self._idled)

    def _idled(self, client: Client) -> None:
        self._part(client, _CLOSE_IDLE, f"nothing heard for {self.limits.idle_ms} ms")

    def _refuse(self, client: Client, refused: FrameRefused) -> None:
        self.counts["refused"] += 1
        err = Err(code=refused.code, message=refused.message, id=refused.id)
        if closing_code(refused.code) is not None:
            self._end(client, err)
            return
        self._write(client, err)
        if refused.code is not ErrorCode.BAD_FRAME:
            # A client that is newer than this gateway is no broken one.
            return
        client.bad_frames += 1
        if client.bad_frames > self.limits.bad_frames_max:
            self._part(client, _CLOSE_BAD_FRAMES, "too many unreadable frames")
        elif client.known:
            self.host.post(ClientRefused(client.id))

    def _end(self, client: Client, err: Err) -> None:
        """Say why, and close."""
        self._write(client, err)
        code = closing_code(err.code)
        self._part(client, code if code is not None else _CLOSE_BAD_FRAMES, err.message)

    def _hello_missed(self, client: Client) -> None:
        self.counts["hello_missed"] += 1
        self._part(client, _CLOSE_IDLE, f"no hello within {self.limits.hello_ms} ms")

    def _part(self, client: Client, code: int, reason: str, *, orderly: bool = False) -> None:
        """Close it, and tell the machine at once: a slow socket must not hold up what follows."""
        if not client.leaving:
            self._close(client, code, reason)
        self._report_gone(client, orderly=orderly)

    def _report_gone(self, client: Client, *, orderly: bool = False) -> None:
        if client.known:
            client.known = False
            self.host.post(ClientDisconnected(client.id, orderly))

    # --- from the machine to connections --------------------------------------------------------

    def _carry_out(self, effect: GatewayEffect) -> None:
        match effect:
            case Deliver():
                self._deliver(effect)
            case PassOn():
                self._pass_on(effect)
            case Send():
                self._send_peer(effect.to, effect.messages)
            case Mark():
                client = self._clients.get(effect.connection)
                if client is not None and not client.leaving:
                    self._gather(client, mark_event(effect.cursor))
            case CloseClient():
                client = self._clients.get(effect.connection)
                if client is not None:
                    self._close(client, effect.code, effect.reason)
            case Answer() | Acted():
                self._polls.answered(effect)
            case _:
                assert_never(effect)

    def _deliver(self, effect: Deliver) -> None:
        """Encoded once for each protocol; the loop is paid for each delivery, so it is lean."""
        clients, encoded = self._clients, dict[Adapter, bytes]()
        if isinstance(effect.message, Snap):
            shown = (clients.get(connection) for connection in effect.connections)
            self._laggards.excuse(shown, self.limits)
        last, data, binary = None, b"", False
        for connection in effect.connections:
            client = clients.get(connection)
            if client is None or client.leaving:
                continue
            adapter = client.adapter
            if adapter is None or client.dialog is not None:
                self._write(client, effect.message)
                continue
            if adapter is not last:
                known = encoded.get(adapter)
                if known is None:
                    known = encoded[adapter] = adapter.encode(effect.message)
                data, binary, last = known, adapter.binary, adapter
            if client.dirty or (client.excused is None and not client.conn.is_backed_up):
                if not client.dirty:
                    self._flushes.add(client)
                client.conn.write(data, binary=binary)
            else:
                self._gather(client, data, binary=binary)

    def _pass_on(self, effect: PassOn) -> None:
        """What is said in a room is not worth a backlog: who is behind with reading misses it."""
        for connection in effect.connections:
            client = self._clients.get(connection)
            if client is None or client.leaving or client.dialog is None:
                continue
            if client.conn.unsent_bytes > self.limits.lag_bytes_max:
                self.counts["broadcasts_missed"] += 1
            else:
                self._converse(client, client.dialog.hear_said(effect.said))

    def _write(self, client: Client, message: ServerMessage) -> None:
        if client.leaving:
            return
        if client.dialog is not None:
            self._converse(client, client.dialog.hear(message))
        else:
            adapter = client.shared
            self._gather(client, adapter.encode(message), binary=adapter.binary)

    def _gather(self, client: Client, data: bytes, *, binary: bool = False) -> None:
        if not client.dirty:
            # Asked once a turn: what one turn has to say may be more, a large room's snapshot, say.
            waits = client.conn.is_backed_up or client.excused is not None
            if waits and self._laggards.is_too_slow(client, self.limits):
                self.counts["too_slow"] += 1
                self._part(client, _CLOSE_TOO_SLOW, "too slow to read")
                return
            self._flushes.add(client)
        client.conn.write(data, binary=binary)

    def _close(self, client: Client, code: int, reason: str) -> None:
        client.leaving = True
        client.conn.close(code, reason)
