"""The client for programs without an event loop, against real gateways in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from presence_actors import Connected, Join, Leave, Unavailable, Update, UsageError
from presence_actors.client import blocking
from tests.integration.free_ports import first_of_free_ports
from tests.integration.small_cluster import SmallCluster

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(60)]


class Served:
    """A small cluster whose loop runs in a thread, so that a test may block."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(30)

    def _run(self) -> None:
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        async with SmallCluster() as self.cluster:
            self.urls = self.cluster.urls
            self._started.set()
            await self._end.wait()

    def kill(self, index: int) -> None:
        """Ends a gateway without a word."""
        asyncio.run_coroutine_threadsafe(self.cluster.kill(index), self.loop).result(20)

    def stop(self) -> None:
        """Ends all."""
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture
def served() -> Iterator[Served]:
    """Two gateways."""
    found = Served()
    yield found
    found.stop()


def test_two_programs_see_each_other_come_change_and_leave(served: Served) -> None:
    """Every call waits until it is so, and the stream gives what changed."""
    with blocking.connect(served.urls[0], "dev:alice") as alice:
        room = alice.join("lobby", meta={"mood": "curious"})
        with blocking.connect(served.urls[1], "dev:bob", device="mobile") as bob:
            theirs = bob.join("lobby")
            assert {"alice", "bob"} <= theirs.who().keys()
            assert bob.user == "bob"
            joined = room.stream.get(timeout_s=20)
            assert isinstance(joined, Join)
            assert joined.entry.device == "mobile"
            theirs.update(task=42)
            changed = room.stream.get(timeout_s=20)
            assert isinstance(changed, Update)
            assert changed.entry.meta == {"task": 42}
        left = next(iter(room))
        assert isinstance(left, Leave)
        assert left.reason == "left"
        with pytest.raises(TimeoutError):
            room.stream.get(timeout_s=0.05)


def test_a_watch_tells_what_a_user_shows(served: Served) -> None:
    """Statuses of others, through another gateway."""
    with (
        blocking.connect(served.urls[0], "dev:alice") as alice,
        blocking.connect(served.urls[1], "dev:bob") as bob,
    ):
        watch = alice.watch(["bob"])
        if watch.statuses["bob"].status == "offline":
            # The two are at different gateways: the news may be under way.
            assert watch.stream.get(timeout_s=20).status == "online"
        bob.set_status("away")
        assert watch.stream.get(timeout_s=20).status == "away"
        bob.set_intent("dnd", text="in a meeting")
        assert watch.stream.get(timeout_s=20).text == "in a meeting"


def test_it_comes_back_while_the_program_does_something_else(served: Served) -> None:
    """The gateway is killed; the next one continues the session."""
    with blocking.connect(served.urls, "dev:alice") as alice:
        alice.join("lobby")
        session = alice.session
        events = alice.events()
        served.kill(0)
        while not isinstance(event := events.get(timeout_s=20), Connected):
            pass
        assert event.gateway == "a/g1"
        assert event.resumed
        assert alice.session == session


def test_a_reader_in_another_thread_ends_when_the_client_closes(served: Served) -> None:
    """Closing wakes who waits, and the loop over the room just ends."""
    heard: list[object] = []
    with blocking.connect(served.urls[0], "dev:alice") as alice:
        room = alice.join("lobby")
        reader = threading.Thread(target=lambda: heard.extend(room))
        reader.start()
        room.replace({"mood": "calm"})
    reader.join(20)
    assert not reader.is_alive()
    assert all(isinstance(event, Update) for event in heard)


def test_a_closed_client_says_so() -> None:
    """Before it is opened, after it was closed, and if it never could be."""
    client = blocking.connect("ws://127.0.0.1:1", "dev:alice")
    with pytest.raises(UsageError, match="not open"):
        client.join("lobby")
    client.close()
    nobody = f"ws://127.0.0.1:{first_of_free_ports(1)}"
    lost = blocking.connect(nobody, "dev:alice", timeout_s=0.3)
    with pytest.raises(Unavailable):
        lost.open()
    with pytest.raises(UsageError, match="closed"):
        lost.set_status("away")
    with pytest.raises(UsageError, match="before"):
        lost.open()
    before = threading.active_count()
    lost.close()
    assert threading.active_count() == before
