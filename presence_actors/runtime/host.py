"""Drives one machine in asyncio: events in, effects out, one timer, and a flight recorder."""

import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from presence_actors.core.instants import Instant, Now
from presence_actors.runtime.alarm import Alarm
from presence_actors.runtime.clock import Clock, SystemClock

_log = logging.getLogger(__name__)

#: How much of the flight recorder goes into the log when a machine breaks.
_TAIL_EVENTS: Final = 20

Event = TypeVar("Event")
Effect = TypeVar("Effect")
Event_contra = TypeVar("Event_contra", contravariant=True)


class Machine(Protocol[Event_contra, Effect]):
    """What a host needs of a machine."""

    def handle(self, event: Event_contra, now: Now) -> list[Effect]:
        """Take one event; return what is to be done."""
        ...

    def deadline(self) -> Instant | None:
        """When to wake the machine, if ever."""
        ...


class Recorded(msgspec.Struct, Generic[Event], frozen=True):
    """One entry of the flight recorder: enough to feed a fresh machine with."""

    now: Now
    event: Event


class MachineHost(Generic[Event, Effect]):
    """Runs a machine: one event at a time, each to completion, effects in their order.

    Args:
        machine: What decides. Only this host may call it.
        carry_out: Does one effect. It must not block. It may call `post`: the event waits until
            the effects at hand are done.
        deadline_reached: The event to post when `machine.deadline()` has come.
        clock: Where the time comes from.
        on_broken: Called once, when the machine (or `carry_out`) raised. The host has stopped by
            then: later events are ignored, since the machine's state can no longer be trusted.
        name: Names the machine in the log.
        recorder_events_max: Length of the flight recorder; the oldest events fall out.
    """

    def __init__(
        self,
        machine: Machine[Event, Effect],
        *,
        carry_out: Callable[[Effect], None],
        deadline_reached: Event,
        on_broken: Callable[[Exception], None],
        clock: Clock | None = None,
        name: str = "machine",
        recorder_events_max: int = 2000,
    ) -> None:
        self._machine = machine
        self._carry_out = carry_out
        self._deadline_reached = deadline_reached
        self._on_broken = on_broken
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._name = name
        self._recorder: deque[Recorded[Event]] = deque(maxlen=recorder_events_max)
        self._inbox: deque[Event] = deque()
        self._running = False
        self._stopped = False
        self._alarm = Alarm(self._clock, self._on_due)

    @property
    def stopped(self) -> bool:
        """Whether the host takes no more events: it was closed, or its machine broke."""
        return self._stopped

    def start(self) -> None:
        """Set the timer for the first time; `post` does it too."""
        self._alarm.set(self._machine.deadline())

    def post(self, event: Event) -> None:
        """Have the machine handle `event` and carry out what it says, before this call returns.

        Called from within `carry_out`, it queues the event instead, so that there is no recursion.
        """
        if self._stopped:
            return
        self._inbox.append(event)
        if not self._running:
            self._drain()

    def record(self) -> list[Recorded[Event]]:
        """The latest events with their times, oldest first."""
        return list(self._recorder)

    def close(self) -> None:
        """Take no more events. What was recorded stays readable."""
        self._stopped = True
        self._inbox.clear()
        self._alarm.close()

    def _drain(self) -> None:
        self._running = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                now = self._clock.now()
                self._recorder.append(Recorded(now, event))
                for effect in self._machine.handle(event, now):
                    self._carry_out(effect)
            if not self._stopped:
                self._alarm.set(self._machine.deadline())
        except Exception as error:  # noqa: BLE001  # the one place that may: it ends the machine
            self._break(error)
        finally:
            self._running = False

    def _break(self, error: Exception) -> None:
        self.close()
        skipped = max(0, len(self._recorder) - _TAIL_EVENTS)
        tail = "\n".join(
            f"  {entry.now.instant} {entry.event!r}"
            for entry in itertools.islice(self._recorder, skipped, None)
        )
        _log.error(
            "MachineBroken machine=%s; the latest events were\n%s", self._name, tail, exc_info=error
        )
        self._on_broken(error)

    def _on_due(self) -> None:
        self.post(self._deadline_reached)
