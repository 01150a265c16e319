"""Those who have not said who they are, and the turn of each."""

import asyncio
from collections.abc import Callable

from presence_actors.core.ids import ConnectionId
from presence_actors.edge.client import Client
from presence_actors.edge.limits import EdgeLimits
from presence_actors.edge.strangers import Strangers
from presence_actors.edge.turnstile import Turnstile
from tests.unit.edge.test_driver import PaperConn


class Hall:
    """Some strangers, and what was heard of them."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str | bytes]] = []
        self.missed: list[int] = []
        self.turnstile = Turnstile(1)
        self.strangers = Strangers(
            self.turnstile, lambda client, frame: self.heard.append((client.id, frame))
        )

    def enters(self, number: int, address: str = "192.0.2.1") -> Client:
        """One more, which has hardly any time."""
        client = Client(ConnectionId(number), PaperConn([], "a"), address=address)
        self.strangers.note(client)
        self.strangers.expect(client, 0, lambda late: self.missed.append(late.id))
        return client


def play(story: Callable[[Hall], None], *, after: Callable[[Hall], None]) -> None:
    """A story in one turn, and what holds some turns later."""

    async def run() -> None:
        hall = Hall()
        story(hall)
        for _ in range(6):
            await asyncio.sleep(0)
        after(hall)

    asyncio.run(run())


def test_each_is_heard_in_its_turn_with_all_that_it_has_said_until_then() -> None:
    """What one says stays together and in order, and nobody overtakes."""

    def story(hall: Hall) -> None:
        first, second, third = (hall.enters(number) for number in (1, 2, 3))
        hall.strangers.received(first, "a")
        hall.strangers.received(second, "b")
        hall.strangers.received(third, "c")
        hall.strangers.received(second, "d")
        assert hall.heard == [(1, "a")]

    def after(hall: Hall) -> None:
        assert hall.heard == [(1, "a"), (2, "b"), (2, "d"), (3, "c")]
        assert len(hall.turnstile) == 0

    play(story, after=after)


def test_whoever_says_nothing_is_missed_and_whoever_waits_for_its_turn_is_not() -> None:
    """That it has to wait is our doing."""

    def story(hall: Hall) -> None:
        silent, quick, waiting = (hall.enters(number) for number in (1, 2, 3))
        hall.strangers.received(quick, "a")
        hall.strangers.settle(quick)
        waiting.unheard = ["b"]
        assert silent.deadline is not None

    def after(hall: Hall) -> None:
        assert hall.missed == [1]

    play(story, after=after)


def test_one_that_talks_while_it_waits_is_heard_before_it_has_said_too_much() -> None:
    """So little is kept of it."""

    def story(hall: Hall) -> None:
        hall.strangers.received(hall.enters(1), "a")
        talker = hall.enters(2)
        for _ in range(100):
            hall.strangers.received(talker, "b")
            assert len(talker.unheard or ()) < 20
        assert len(hall.heard) > 80

    def after(hall: Hall) -> None:
        assert len(hall.heard) == 101

    play(story, after=after)


def test_there_is_a_limit_for_an_address_and_for_all() -> None:
    """Loopback is no one address; whoever is settled counts no more, however often that is said."""

    def story(hall: Hall) -> None:
        limits = EdgeLimits(unauthenticated_per_address_max=1, unauthenticated_max=3)
        first = hall.enters(1)
        assert hall.strangers.refusal("192.0.2.1", limits) is not None
        assert hall.strangers.refusal("192.0.2.2", limits) is None
        hall.enters(2, "127.0.0.1")
        assert hall.strangers.refusal("127.0.0.1", limits) is None
        hall.enters(3, "127.0.0.1")
        assert hall.strangers.refusal("127.0.0.1", limits) is not None
        for _ in range(2):
            hall.strangers.settle(first)
        assert len(hall.strangers) == 2
        assert hall.strangers.refusal("192.0.2.1", limits) is None

    play(story, after=lambda _hall: None)
