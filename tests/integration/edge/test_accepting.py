"""How connections are accepted: some in a turn, all in the end, and none where there is no room."""

from __future__ import annotations

import asyncio
import errno
import socket
from itertools import pairwise
from typing import Self

import pytest

from presence_actors.edge.accepting import Acceptor

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(20)]


class House:
    """A listening socket, its acceptor, and who has come in."""

    def __init__(self, *, per_turn: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.settimeout(0)
        self.inside: list[asyncio.BaseTransport] = []
        self.outside: list[socket.socket] = []
        self.acceptor = Acceptor(self.listener, lambda: _Guest(self), per_turn=per_turn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.acceptor.close()
        for transport in self.inside:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        for one in self.outside:
            one.close()

    def come(self, count: int) -> None:
        """So many connect at once."""
        address = self.listener.getsockname()
        self.outside += [socket.create_connection(address) for _ in range(count)]

    async def until(self, count: int) -> list[int]:
        """How many were inside after each turn, until so many are."""
        seen: list[int] = []
        while len(self.inside) < count:
            await asyncio.sleep(0)
            seen.append(len(self.inside))
        return seen


class _Guest(asyncio.Protocol):
    def __init__(self, house: House) -> None:
        self._house = house

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is in."""
        self._house.inside.append(transport)


def test_some_come_in_with_each_turn_and_all_in_the_end() -> None:
    """Between them the loop serves others."""

    async def story() -> None:
        with House(per_turn=3) as house:
            house.come(30)
            house.acceptor.start()
            seen = await house.until(30)
            assert max(after - before for before, after in pairwise(seen)) <= 3

    asyncio.run(story())


def test_whoever_is_in_stays_when_nobody_is_accepted_any_more() -> None:
    """And whoever comes then is refused by the system."""

    async def story() -> None:
        with House(per_turn=3) as house:
            house.acceptor.start()
            house.come(2)
            await house.until(2)
            address = house.listener.getsockname()
            house.acceptor.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            first = house.inside[0]
            assert isinstance(first, asyncio.Transport)
            first.write(b"still here")
            assert await asyncio.to_thread(house.outside[0].recv, 64) == b"still here"
            house.acceptor.close()

    asyncio.run(story())


async def _filled(house: House, monkeypatch: pytest.MonkeyPatch) -> _Full:
    """Somebody has come, and the system has no descriptor for it."""
    full = _Full(house.listener)
    monkeypatch.setattr(house.acceptor, "_listener", full)
    house.acceptor.start()
    house.come(1)
    await full.was_asked.wait()
    return full


def test_without_a_descriptor_it_pauses_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not spin, and says so once in a pause."""
    monkeypatch.setattr("presence_actors.edge.accepting._PAUSE_S", 0.05)

    async def story() -> None:
        with House(per_turn=3) as house:
            full = await _filled(house, monkeypatch)
            for _ in range(20):
                await asyncio.sleep(0)
            assert (full.asked, house.inside) == (1, [])
            monkeypatch.setattr(house.acceptor, "_listener", house.listener)
            await house.until(1)
            assert [record.levelname for record in caplog.records] == ["WARNING"]

    asyncio.run(story())


def test_a_door_that_closes_in_a_pause_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the pause opens nothing."""
    monkeypatch.setattr("presence_actors.edge.accepting._PAUSE_S", 0.02)

    async def story() -> None:
        with House(per_turn=3) as house:
            full = await _filled(house, monkeypatch)
            house.acceptor.close()
            await asyncio.sleep(0.05)
            assert full.asked == 1

    asyncio.run(story())


class _Full:
    """A listening socket in a process that may open no more."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.asked = 0
        self.was_asked = asyncio.Event()

    def fileno(self) -> int:
        """As the real one."""
        return self._listener.fileno()

    def close(self) -> None:
        """As the real one."""
        self._listener.close()

    def accept(self) -> tuple[socket.socket, object]:
        """There is no descriptor left."""
        self.asked += 1
        self.was_asked.set()
        raise OSError(errno.EMFILE, "Too many open files")
