"""After a real pause of a real loop a machine reads its input before it sweeps its deadlines."""

import asyncio
import socket
import time

import pytest
import uvloop

from presence_actors.core.instants import Instant
from presence_actors.runtime.alarm import Alarm
from presence_actors.runtime.clock import SystemClock

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("loop_name", ["asyncio", "uvloop"])
def test_what_arrived_during_a_stall_is_read_before_the_alarm_rings(loop_name: str) -> None:
    """The loop stands still past the deadline while bytes arrive: first the bytes, then the alarm.

    loop   |--- stands still 400 ms ---| reads | rings
    peer        writes
    alarm       due
    """

    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        clock = SystemClock()
        happened: list[str] = []
        rung = asyncio.Event()
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        loop.add_reader(mine, lambda: happened.append(mine.recv(100).decode()))

        def on_due() -> None:
            happened.append("alarm")
            rung.set()

        alarm = Alarm(clock, on_due)
        alarm.set(Instant(clock.now().instant + 20))
        # The stall itself, which is the subject: nothing is waited for.
        theirs.send(b"input")
        time.sleep(0.4)  # noqa: ASYNC251  # blocks on purpose
        async with asyncio.timeout(5):
            await rung.wait()
        loop.remove_reader(mine)
        mine.close()
        theirs.close()
        return happened

    factory = uvloop.new_event_loop if loop_name == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(story()) == ["input", "alarm"]
