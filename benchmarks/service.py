"""A service under load: what the load got from it, and what its processes used meanwhile."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import msgspec
import psutil

from benchmarks.load import Command, Load, Result

__all__ = ["Processes", "Section", "Service", "Usage"]


class Usage(msgspec.Struct, frozen=True):
    """What a group of processes used during a section."""

    cpu_s: float
    seconds: float

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu_s / self.seconds

    def per(self, count: int, *, idle: Self | None = None) -> float:
        """Microseconds each, without what would have been used anyway."""
        spent = self.cpu_s - (idle.share * self.seconds if idle is not None else 0.0)
        return spent * 1e6 / max(1, count)


class Processes:
    """Some processes, and what they have used since the last look."""

    def __init__(self, process_ids: list[int]) -> None:
        self._processes = [psutil.Process(process_id) for process_id in process_ids]
        self._before = self._cpu_s()

    def start(self) -> None:
        """A section begins."""
        self._before = self._cpu_s()

    def used(self, seconds: float) -> Usage:
        """What was used in a section that took so long."""
        return Usage(self._cpu_s() - self._before, seconds)

    @property
    def memory(self) -> int:
        """Their resident bytes."""
        return sum(process.memory_info().rss for process in self._processes)

    def _cpu_s(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(time.user + time.system for time in times)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one section: at the load, and in the processes of the service."""

    result: Result
    gateways: Usage
    workers: Usage


class Service:
    """A load, and the processes of the service that it is for."""

    def __init__(self, *, gateways: list[int], workers: list[int]) -> None:
        self.load = Load()
        self.gateways = Processes(gateways)
        self.workers = Processes(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.load.close()

    def section(self, command: Command) -> Section:
        """Have the load do something, and see what it cost.

        Raises:
            RuntimeError: Something got lost: a benchmark of that would be a benchmark of losing.
        """
        self.gateways.start()
        self.workers.start()
        result = self.load(command)
        if result.received != result.expected:
            raise RuntimeError(f"{result.received} of {result.expected} answers came to {command}")
        return Section(
            result=result,
            gateways=self.gateways.used(result.seconds),
            workers=self.workers.used(result.seconds),
        )
