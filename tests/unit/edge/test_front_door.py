"""To whom a connection is handed, and that each gets what came in, whole and once."""

import asyncio
from collections.abc import Callable

from presence_actors.core.ids import ConnectionId
from presence_actors.edge.front_door import FrontDoor
from presence_actors.edge.turnstile import Turnstile
from presence_actors.edge.upgrade import Admitted, Refused, UpgradeRequest
from tests.unit.edge.test_request_head import HEAD


class Wire(asyncio.Transport):
    """A connection without a network."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.7", 1234)})
        self.protocols: list[asyncio.BaseProtocol] = []
        self.aborted = asyncio.Event()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Remember it."""
        self.protocols.append(protocol)

    def abort(self) -> None:
        """Remember it."""
        self.aborted.set()


class Http(asyncio.Protocol):
    """Remembers what it is given."""

    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Remember it."""
        self.heard.append(data)


ADMITTED = Admitted(None, lambda _conn: ConnectionId(1), lambda _code, _reason: False)


class House:
    """A door, and what goes through it."""

    def __init__(self, *, judged: Admitted | Refused = ADMITTED, head_ms: int = 10_000) -> None:
        self.judged = judged
        self.asked: list[str | None] = []
        self.taken: list[tuple[asyncio.Transport, bytes, Admitted]] = []
        self.http: list[Http] = []
        self.door = FrontDoor(
            {"/ws": self.judge},
            take_socket=lambda *taken: self.taken.append(taken),
            http=self.make_http,
            turnstile=Turnstile(per_turn=2),
            head_ms=head_ms,
        )

    def judge(self, request: UpgradeRequest) -> Admitted | Refused:
        """As the test has it."""
        self.asked.append(request.remote)
        return self.judged

    def make_http(self) -> Http:
        """One more."""
        self.http.append(Http())
        return self.http[-1]

    def arrive(self, *pieces: bytes) -> Wire:
        """A connection on which this comes in."""
        wire, arrival = Wire(), self.door()
        arrival.connection_made(wire)
        for piece in pieces:
            arrival.data_received(piece)
        return wire


def play(story: Callable[[], None]) -> None:
    """In a loop: the door has a timer for those who say nothing."""

    async def run() -> None:
        story()

    asyncio.run(run())


def test_an_admitted_request_goes_to_the_sockets_with_all_that_came_in() -> None:
    """Once its head is whole, in however many pieces."""

    def story() -> None:
        house, data = House(), HEAD.encode() + b"\x81\x80"
        wire = house.arrive(data[:3], data[3:40], data[40:])
        assert house.taken == [(wire, data, ADMITTED)]
        assert (house.asked, house.http, house.door.waiting) == (["192.0.2.7"], [], set())

    play(story)


def test_a_refused_request_goes_to_http_which_gives_the_answer() -> None:
    """From its first byte, as if nobody had looked."""

    def story() -> None:
        house, data = House(judged=Refused(403, "forbidden", "no")), HEAD.encode()
        wire = house.arrive(data[:7], data[7:])
        (http,) = house.http
        assert (http.transport, http.heard, wire.protocols) == (wire, [data], [http])
        assert (house.taken, house.door.waiting) == ([], set())

    play(story)


def test_what_is_no_request_for_a_socket_goes_to_http_at_once() -> None:
    """Nobody is asked about it."""

    def story() -> None:
        house = House()
        house.arrive(b"POST /v1/x HT")
        assert house.http[0].heard == [b"POST /v1/x HT"]
        house.arrive(HEAD.replace("/ws", "/").encode())
        assert len(house.http) == 2
        assert house.asked == []

    play(story)


def test_whoever_says_nothing_is_cut_off() -> None:
    """After its time; and one that went by itself is forgotten."""

    async def story() -> None:
        house = House(head_ms=1)
        wire = house.arrive(b"GET /ws")
        gone, arrival = Wire(), house.door()
        arrival.connection_made(gone)
        arrival.connection_lost(None)
        assert house.door.waiting == {wire}
        await asyncio.wait_for(wire.aborted.wait(), 10)
        assert not gone.aborted.is_set()

    asyncio.run(story())


def test_a_door_that_closes_cuts_off_those_in_it() -> None:
    """They were nobody's yet."""

    def story() -> None:
        house = House()
        wire = house.arrive(b"GET /ws")
        house.door.close()
        assert wire.aborted.is_set()

    play(story)
