"""`MachineHost` and `Alarm`: one event at a time, one timer, a record of everything."""

import asyncio
import logging
from collections.abc import Callable

import msgspec
import pytest

from presence_actors.core.instants import Instant, Now, WallMs
from presence_actors.runtime.alarm import Alarm
from presence_actors.runtime.clock import SystemClock
from presence_actors.runtime.host import MachineHost, Recorded


class HandClock:
    """A clock that a test sets by hand."""

    def __init__(self) -> None:
        self.ms = 1_000
        #: Called at the next reading.
        self.when_read: Callable[[], object] | None = None

    def now(self) -> Now:
        """What the test has set."""
        when_read, self.when_read = self.when_read, None
        if when_read is not None:
            when_read()
        return Now(Instant(self.ms), WallMs(self.ms))


class Said(msgspec.Struct, frozen=True):
    """An event of the echo machine; "break" breaks it."""

    text: str


class EchoMachine:
    """Answers each event with two effects."""

    def __init__(self) -> None:
        self.wake: Instant | None = None

    def handle(self, event: Said, now: Now) -> list[str]:
        """Twice the text, with the time; a due deadline is over."""
        if event.text == "break":
            raise RuntimeError("as asked")
        if event.text == "deadline":
            self.wake = None
        return [f"{event.text} 1 at {now.instant}", f"{event.text} 2"]

    def deadline(self) -> Instant | None:
        """As the test has set it."""
        return self.wake


class Bench:
    """A host with its machine, its clock, and all that came out."""

    def __init__(self, recorder_events_max: int = 2000) -> None:
        self.clock = HandClock()
        self.machine = EchoMachine()
        self.effects: list[str] = []
        self.broken: list[Exception] = []
        self.woken = asyncio.Event()
        self.answer: dict[str, Said] = {}
        self.host: MachineHost[Said, str] = MachineHost(
            self.machine,
            carry_out=self.carry_out,
            deadline_reached=Said("deadline"),
            on_broken=self.broken.append,
            clock=self.clock,
            recorder_events_max=recorder_events_max,
        )

    def carry_out(self, effect: str) -> None:
        """Note the effect; post the event that the test has tied to it."""
        self.effects.append(effect)
        if effect.startswith("deadline 2"):
            self.woken.set()
        if effect in self.answer:
            self.host.post(self.answer.pop(effect))


def test_an_event_posted_by_an_effect_waits_for_the_other_effects() -> None:
    """Run to completion: the second event is handled after all effects of the first."""
    bench = Bench()
    bench.answer["one 1 at 1000"] = Said("two")
    bench.host.post(Said("one"))
    assert bench.effects == ["one 1 at 1000", "one 2", "two 1 at 1000", "two 2"]


def test_the_record_holds_the_latest_events_with_their_times() -> None:
    """The oldest fall out at the limit."""
    bench = Bench(recorder_events_max=2)
    for text in ("one", "two", "three"):
        bench.host.post(Said(text))
        bench.clock.ms += 5
    assert bench.host.record() == [
        Recorded(Now(Instant(1_005), WallMs(1_005)), Said("two")),
        Recorded(Now(Instant(1_010), WallMs(1_010)), Said("three")),
    ]


def test_a_machine_that_raises_is_reported_once_and_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log shows the latest events; what is posted later is ignored; the record stays."""
    bench = Bench()
    with caplog.at_level(logging.ERROR):
        for text in ("one", "break", "two"):
            bench.host.post(Said(text))
    assert [str(error) for error in bench.broken] == ["as asked"]
    assert bench.effects == ["one 1 at 1000", "one 2"]
    assert bench.host.stopped
    assert [entry.event.text for entry in bench.host.record()] == ["one", "break"]
    assert len(caplog.records) == 1
    assert "Said(text='one')" in caplog.text


def test_a_due_deadline_is_posted() -> None:
    """The machine is woken once its deadline has come, and not again when it has none."""

    async def story() -> None:
        bench = Bench()
        bench.machine.wake = Instant(1_010)
        bench.host.start()
        bench.clock.ms = 1_010
        await bench.woken.wait()
        assert bench.effects == ["deadline 1 at 1010", "deadline 2"]
        bench.host.close()

    asyncio.run(story())


def test_after_a_pause_input_that_waits_goes_before_the_deadline() -> None:
    """Late by more than 250 ms: what becomes ready in the same turn is handled first."""

    async def story() -> None:
        bench = Bench()
        loop = asyncio.get_running_loop()
        bench.machine.wake = Instant(1_010)
        bench.host.start()
        bench.clock.ms = 5_000
        # Stands for a socket that turns out readable once the late alarm has looked at the clock.
        bench.clock.when_read = lambda: loop.call_soon(bench.host.post, Said("input"))
        await bench.woken.wait()
        assert [effect.split()[0] for effect in bench.effects] == [
            "input",
            "input",
            "deadline",
            "deadline",
        ]
        bench.host.close()

    asyncio.run(story())


def test_a_deadline_that_moves_away_does_not_ring_early() -> None:
    """The alarm rings for the deadline that stands, and never for one that has passed away."""

    async def story() -> None:
        clock = HandClock()
        rung = asyncio.Event()
        times: list[int] = []

        def on_due() -> None:
            times.append(clock.ms)
            rung.set()

        alarm = Alarm(clock, on_due)
        alarm.set(Instant(1_002))
        alarm.set(Instant(1_004))
        clock.ms = 1_003
        asyncio.get_running_loop().call_later(0.02, setattr, clock, "ms", 1_004)
        await rung.wait()
        assert times == [1_004]
        alarm.close()

    asyncio.run(story())


def test_a_deadline_that_comes_nearer_rings_early() -> None:
    """An hour away becomes now."""

    async def story() -> None:
        clock = HandClock()
        rung = asyncio.Event()
        alarm = Alarm(clock, rung.set)
        alarm.set(Instant(3_600_000))
        alarm.set(Instant(1_000))
        await rung.wait()

    asyncio.run(story())


def test_a_closed_alarm_never_rings() -> None:
    """Neither for what was set before nor for what is set after."""

    async def story() -> None:
        clock = HandClock()
        rung: list[None] = []
        closed = Alarm(clock, lambda: rung.append(None))
        closed.set(Instant(1_001))
        closed.close()
        closed.set(Instant(1_001))
        later = asyncio.Event()
        clock.ms = 1_010
        other = Alarm(clock, later.set)
        other.set(Instant(1_010))
        await later.wait()
        assert rung == []

    asyncio.run(story())


def test_the_clocks_of_the_system_do_not_jump_back() -> None:
    """Two readings in a row are in order, and the wall is of this century."""
    first, second = SystemClock().now(), SystemClock().now()
    assert second.instant >= first.instant
    assert first.wall > 1_700_000_000_000
