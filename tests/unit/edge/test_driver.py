"""What the driver does with a connection that is not one: gathered, flushed, closed, in order."""

import asyncio
from collections.abc import Callable

from presence_actors.core.effects import CloseClient, Deliver, GatewayEffect
from presence_actors.core.events import (
    ClientCaughtUp,
    ClientLagging,
    DrainRequested,
    GatewayEvent,
)
from presence_actors.core.ids import ConnectionId, Namespace, UserId
from presence_actors.core.instants import Instant, Now
from presence_actors.core.messages import Said
from presence_actors.core.vocabulary import Identity, Ok, ServerMessage
from presence_actors.edge.conn import WholeConn
from presence_actors.edge.driver import GatewayDriver
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.tokens import TokenVerifier
from presence_actors.wire.native import NativeAdapter
from presence_actors.wire.turns import Introduction, Turn


class Ready:
    """All that a machine must say of itself."""

    ready = True


class Machine:
    """Gives the effects that it was handed."""

    def __init__(self) -> None:
        self.effects: list[GatewayEffect] = []
        self.events: list[GatewayEvent] = []

    def handle(self, event: GatewayEvent, _now: Now) -> list[GatewayEffect]:
        """The effects at a drain; nothing otherwise."""
        self.events.append(event)
        return self.effects if isinstance(event, DrainRequested) else []

    def deadline(self) -> Instant | None:
        """Never."""
        return None

    def inspect(self) -> Ready:
        """Ready."""
        return Ready()


class PaperConn(WholeConn):
    """Writes down what it is asked to do."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log = log
        self._name = name
        self.unsent_bytes = 0

    @property
    def is_backed_up(self) -> bool:
        """As the transport would have it."""
        return self.unsent_bytes > 0

    def write(self, data: bytes, *, binary: bool = False) -> None:
        """As asked."""
        said = repr(data) if binary else data.decode()
        self._log.append(f"{self._name} write {said}")

    def flush(self) -> None:
        """As asked."""
        self._log.append(f"{self._name} flush")

    def close(self, code: int, reason: str) -> None:
        """As asked."""
        self._log.append(f"{self._name} close {code} {reason}")

    def abort(self) -> None:
        """As asked."""
        self._log.append(f"{self._name} abort")


class CountingAdapter(NativeAdapter):
    """Counts how often it encodes."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, message: ServerMessage) -> bytes:
        """As the native one."""
        self.encoded += 1
        return super().encode(message)


def driver_of(machine: Machine, log: list[str], **limits: int) -> GatewayDriver:
    """Of a gateway that is open to everybody and knows no other node."""
    return GatewayDriver(
        machine,
        verifier=TokenVerifier(None),
        send_peer=lambda _to, _messages: None,
        on_broken=lambda error: log.append(repr(error)),
        limits=EdgeLimits(**limits),
    )


def greeted(driver: GatewayDriver, conn: PaperConn, adapter: NativeAdapter) -> ConnectionId:
    """A connection that said hello."""
    connection = driver.opened(conn, adapter=adapter, address="127.0.0.1")
    driver.received(connection, '{"type":"hello","token":"dev:alice"}')
    return connection


def play(story: Callable[[GatewayDriver, Machine, list[str]], list[str]], **limits: int) -> None:
    """Run a story in one turn of a loop; what it returns is the log when the turns are over."""

    async def run() -> None:
        machine, log = Machine(), list[str]()
        driver = driver_of(machine, log, **limits)
        expected = story(driver, machine, log)
        for _ in range(3):
            await asyncio.sleep(0)
        assert log == expected
        driver.stop("end of the story")

    asyncio.run(run())


def test_a_message_is_encoded_once_whatever_the_number_of_clients() -> None:
    """And each connection is flushed once, however much it was told."""

    def story(driver: GatewayDriver, machine: Machine, log: list[str]) -> list[str]:
        adapter = CountingAdapter()
        first, second = (greeted(driver, PaperConn(log, name), adapter) for name in "ab")
        machine.effects = [
            Deliver([first, second], Ok(id=1)),
            Deliver([second], Ok(id=2)),
        ]
        driver.drain("now")
        assert adapter.encoded == 2
        return [
            'a write {"type":"ok","id":1}',
            'b write {"type":"ok","id":1}',
            'b write {"type":"ok","id":2}',
            "a flush",
            "b flush",
        ]

    play(story)


def test_each_protocol_has_its_own_encoding() -> None:
    """Clients of two protocols hear the same message, each in its own words."""

    def story(driver: GatewayDriver, machine: Machine, log: list[str]) -> list[str]:
        one, other = CountingAdapter(), CountingAdapter()
        connections = [greeted(driver, PaperConn(log, name), one) for name in "ab"]
        connections.append(greeted(driver, PaperConn(log, "c"), other))
        machine.effects = [Deliver(connections, Ok(id=1))]
        driver.drain("now")
        assert (one.encoded, other.encoded) == (1, 1)
        return [f'{name} write {{"type":"ok","id":1}}' for name in "abc"] + [
            f"{name} flush" for name in "abc"
        ]

    play(story)


def test_nothing_is_written_to_a_connection_that_is_being_closed() -> None:
    """What was said before goes out first."""

    def story(driver: GatewayDriver, machine: Machine, log: list[str]) -> list[str]:
        connection = greeted(driver, PaperConn(log, "a"), NativeAdapter())
        machine.effects = [
            Deliver([connection], Ok(id=1)),
            CloseClient(connection, 1012, "drain"),
            Deliver([connection], Ok(id=2)),
        ]
        driver.drain("now")
        driver.received(connection, '{"type":"ping"}')
        return ['a write {"type":"ok","id":1}', "a close 1012 drain", "a flush"]

    play(story)


def test_effects_for_a_connection_that_is_gone_are_dropped() -> None:
    """It may have gone while the machine was deciding."""

    def story(driver: GatewayDriver, machine: Machine, log: list[str]) -> list[str]:
        gone = greeted(driver, PaperConn(log, "a"), NativeAdapter())
        driver.closed(gone)
        driver.closed(gone)
        machine.effects = [Deliver([gone], Ok(id=1)), CloseClient(gone, 4508, "idle")]
        driver.drain("now")
        assert driver.connections == 0
        return []

    play(story)


def test_a_client_is_judged_by_what_it_was_behind_before_this_turn() -> None:
    """The first frame of a turn finds it too slow; it hears nothing of that turn."""

    def story(driver: GatewayDriver, machine: Machine, log: list[str]) -> list[str]:
        slow, quick = PaperConn(log, "slow"), PaperConn(log, "quick")
        slow.unsent_bytes, quick.unsent_bytes = 101, 100
        connections = [greeted(driver, conn, NativeAdapter()) for conn in (slow, quick)]
        for connection in connections:
            driver._clients[connection].excused = 0
        # Its machine was told, and tells it nothing that it need not.
        driver._clients[connections[0]].lagging = True
        machine.effects = [Deliver(connections, Ok(id=1)), Deliver(connections, Ok(id=2))]
        driver.drain("now")
        return [
            "slow close 4513 too slow to read",
            'quick write {"type":"ok","id":1}',
            'quick write {"type":"ok","id":2}',
            "quick flush",
        ]

    play(story, unsent_bytes_max=100)


class PaperDialog:
    """A client of another protocol, which is introduced by its first frame and hears as it is."""

    def receive(self, _data: str | bytes) -> Turn:
        """Who it is."""
        return Turn(introduction=Introduction(family="f", device="web", topic="room:r", meta={}))

    def hear(self, message: ServerMessage) -> Turn:
        """One frame for one message."""
        return Turn(frames=[NativeAdapter().encode(message)])

    def hear_said(self, _said: Said) -> Turn:
        """Nothing."""
        return Turn()

    def closed(self) -> None:
        """Nothing is kept."""


def test_a_stock_client_that_is_behind_is_paced_and_not_closed() -> None:
    """As a native one: the machine is told that it is behind, and when it has read all."""

    async def run() -> None:
        machine, log = Machine(), list[str]()
        driver = driver_of(machine, log, lag_bytes_max=10, unsent_bytes_max=100)
        conn = PaperConn(log, "a")
        identity = Identity(Namespace("default"), UserId("gus"))
        connection = driver.opened_dialog(
            conn, dialog=PaperDialog(), identity=identity, address="127.0.0.1"
        )
        driver.received(connection, "hello")
        machine.effects = [Deliver([connection], Ok(id=1))]
        conn.unsent_bytes = 101
        driver._clients[connection].excused = 0
        driver.drain("now")
        assert ClientLagging(connection) in machine.events
        conn.unsent_bytes = 0
        driver._laggards._look(after_ms=1)
        assert machine.events[-1] == ClientCaughtUp(connection)
        await asyncio.sleep(0)
        assert log == ['a write {"type":"ok","id":1}', "a flush"]
        driver.stop("end of the story")

    asyncio.run(run())


def test_silent_connections_of_one_address_have_a_limit() -> None:
    """Others still come in; and loopback is no one address."""

    def story(driver: GatewayDriver, _machine: Machine, log: list[str]) -> list[str]:
        adapter = NativeAdapter()
        for address in ("192.0.2.1", "192.0.2.1", "127.0.0.1", "127.0.0.1"):
            driver.opened(PaperConn(log, "a"), adapter=adapter, address=address)
        assert driver.refusal("192.0.2.1") is not None
        assert driver.refusal("192.0.2.2") is None
        assert driver.refusal("127.0.0.1") is None
        assert driver.unauthenticated == 4
        return []

    play(story, unauthenticated_per_address_max=2)


def test_a_large_fan_out_is_written_in_slices() -> None:
    """Between two slices the loop serves others: not all is flushed in the first turn."""

    async def run() -> None:
        machine, log = Machine(), list[str]()
        driver = driver_of(machine, log, arrivals_per_turn=2_000)
        adapter = NativeAdapter()
        connections = [greeted(driver, PaperConn([], "a"), adapter) for _ in range(5)]
        flushed: list[int] = []
        for index in range(1_500):
            conn = PaperConn([], "b")
            conn.flush = lambda index=index: flushed.append(index)  # type: ignore[method-assign,misc]
            connections.append(greeted(driver, conn, adapter))
        machine.effects = [Deliver(connections, Ok(id=1))]
        driver.drain("now")
        await asyncio.sleep(0)
        assert 0 < len(flushed) < 1_500
        for _ in range(10):
            await asyncio.sleep(0)
        assert flushed == list(range(1_500))

    asyncio.run(run())
