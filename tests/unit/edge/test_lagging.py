"""Who is behind with reading: by how much more waits than the least that did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from presence_actors.core.events import ClientCaughtUp, ClientLagging
from presence_actors.core.ids import ConnectionId
from presence_actors.edge.client import Client
from presence_actors.edge.lagging import Laggards
from presence_actors.edge.limits import EdgeLimits
from tests.unit.edge.test_driver import PaperConn

LIMITS = EdgeLimits(lag_bytes_max=100, unsent_bytes_max=1_000)


class Reader:
    """One client, and what the machine was told of it."""

    def __init__(self) -> None:
        self.told: list[ClientLagging | ClientCaughtUp] = []
        self.laggards = Laggards(self.told.append)
        self.conn = PaperConn([], "a")
        self.client = Client(ConnectionId(1), self.conn, address="192.0.2.1")
        self.client.known = True

    def waits(self, *sizes: int) -> list[bool]:
        """So much waits for it, one after the other; whether it must go."""
        found: list[bool] = []
        for size in sizes:
            self.conn.unsent_bytes = size
            found.append(self.laggards.is_too_slow(self.client, LIMITS))
        return found


def play(story: Callable[[Reader], None]) -> None:
    """In a loop: there is a timer for those who are behind."""

    async def run() -> None:
        reader = Reader()
        story(reader)
        reader.laggards.stop()

    asyncio.run(run())


def test_a_large_snapshot_that_is_read_slowly_is_no_lag() -> None:
    """As long as it is read at least as fast as news come."""

    def story(reader: Reader) -> None:
        assert not any(reader.waits(5_000, 4_900, 4_980, 3_000, 3_099, 200, 280, 0))
        assert reader.told == []

    play(story)


def test_whoever_reads_nothing_is_behind_after_so_many_bytes() -> None:
    """However large what it was told first is; and it is told once."""

    def story(reader: Reader) -> None:
        assert not any(reader.waits(5_000, 5_100))
        assert reader.told == []
        assert not any(reader.waits(5_101, 5_200, 6_000))
        assert reader.told == [ClientLagging(reader.client.id)]

    play(story)


def test_what_has_been_read_of_a_snapshot_is_no_room_for_news() -> None:
    """What waits counts from the least that did, and not from the most."""

    def story(reader: Reader) -> None:
        reader.waits(5_000, 3_000, 3_100)
        assert reader.told == []
        reader.waits(3_101)
        assert reader.told == [ClientLagging(reader.client.id)]

    play(story)


def test_even_the_answers_may_be_too_much() -> None:
    """The machine was told, and says nothing else."""

    def story(reader: Reader) -> None:
        assert reader.waits(10, 500, 1_010, 1_011) == [False, False, False, True]

    play(story)


def test_what_is_shown_whole_is_excused() -> None:
    """A second room's snapshot comes on top of the first one's."""

    def story(reader: Reader) -> None:
        reader.waits(900)
        reader.laggards.excuse([reader.client, None], LIMITS)
        assert not any(reader.waits(9_000, 9_100))
        assert reader.told == []
        reader.waits(9_101)
        assert reader.told == [ClientLagging(reader.client.id)]

    play(story)


def test_whoever_asks_for_one_snapshot_after_the_other_and_reads_none_is_not_excused() -> None:
    """Or a client could fill our memory by asking."""

    def story(reader: Reader) -> None:
        gone = [False]
        for size in range(500, 3_100, 500):
            reader.laggards.excuse([reader.client], LIMITS)
            gone = reader.waits(size)
        assert reader.told == [ClientLagging(reader.client.id)]
        assert gone == [True]

    play(story)


def test_it_has_caught_up_when_nothing_waits_any_more() -> None:
    """And what comes then counts from the beginning."""

    def story(reader: Reader) -> None:
        reader.waits(10, 111, 1)
        reader.laggards._look(after_ms=1)
        assert reader.told == [ClientLagging(reader.client.id)]
        reader.conn.unsent_bytes = 0
        reader.laggards._look(after_ms=1)
        assert reader.told[1:] == [ClientCaughtUp(reader.client.id)]
        assert not any(reader.waits(800, 900))
        assert len(reader.told) == 2

    play(story)
