"""What a frame costs on our peer links and on pyzmq: CPU of both sides, and throughput.

    python -m benchmarks.compare_links [--quick] [--json FILE]

Two processes on loopback; one sends, the other acknowledges every few frames, so that the same
number of bytes is on the way in every case. CPU is that of both processes with all their threads.
The figures are medians over rounds in which the carriers take turns.

pyzmq is no dependency of the project: without it only our links are measured. It is measured twice:
in asyncio, as a service must use it beside its other sockets, and blocking, which is its best case.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from presence_actors.core.ids import NodeId
from presence_actors.links.hub import LinkHub

SECRET = b"nothing to hide in a benchmark"
WINDOW_BYTES = 4 * 1024 * 1024
WINDOW_FRAMES_MAX = 512
#: (payload size, frames in a full run)
LOADS = ((320, 200_000), (32 * 1024, 20_000), (320 * 1024, 3_000))
ROUNDS = 5
QUICK_SHARE = 10


class Load(msgspec.Struct, frozen=True):
    """One run: so many frames of this size; an acknowledgement after every half window."""

    size: int
    frames: int

    @property
    def acknowledged_every(self) -> int:
        """Half of what may be on the way."""
        window = max(2, min(WINDOW_FRAMES_MAX, WINDOW_BYTES // self.size))
        return min(window // 2, self.frames)

    @property
    def copied(self) -> bool:
        """Whether pyzmq should copy: below 64 KiB that is the cheaper way there."""
        return self.size < 64 * 1024


class Figures(msgspec.Struct, frozen=True):
    """What one run gave."""

    cpu_us_per_frame: float
    frames_per_second: float


# ------------------------------------------------------------------------------------ our links


def _hub(name: str, on_frame: Callable[[NodeId, bytes], None], opened: asyncio.Event) -> LinkHub:
    return LinkHub(
        node=NodeId(f"{name}/1"),
        role="worker",
        cluster="benchmark",
        secret=SECRET,
        host="127.0.0.1",
        port=0,
        on_frame=on_frame,
        on_link=lambda _node, is_open, _reason: opened.set() if is_open else None,
    )


async def _links_receive(pipe: Connection, load: Load) -> None:
    opened, finished = asyncio.Event(), asyncio.Event()
    every, last = load.acknowledged_every, load.frames
    count = 0

    def on_frame(_node: NodeId, payload: bytes) -> None:
        nonlocal count
        assert len(payload) == load.size
        count += 1
        if count % every == 0 or count == last:
            hub.send("z/send", b"acknowledged")
        if count == last:
            finished.set()

    hub = _hub("z/receive", on_frame, opened)
    pipe.send(await hub.start())
    await opened.wait()
    begun = time.process_time()
    await finished.wait()
    # The acknowledgement has to leave, too.
    await asyncio.sleep(0)
    pipe.send(time.process_time() - begun)
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    await hub.close()


async def _links_send(port: int, load: Load) -> tuple[float, float]:
    opened = asyncio.Event()
    acknowledged = asyncio.Queue[None]()
    hub = _hub("z/send", lambda _node, _payload: acknowledged.put_nowait(None), opened)
    await hub.start()
    hub.set_targets({"z/receive": ("127.0.0.1", port)})
    await opened.wait()
    payload = bytes(load.size)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for first, last in _bursts(load):
        for _ in range(first, last):
            assert hub.send("z/receive", payload)
        if first:
            await acknowledged.get()
    await acknowledged.get()
    spent = time.process_time() - begun_cpu, time.perf_counter() - begun
    await hub.close()
    return spent


def _bursts(load: Load) -> list[tuple[int, int]]:
    """Runs of frames; before the third one starts the first must be acknowledged, and so on."""
    every = load.acknowledged_every
    return [(at, min(at + every, load.frames)) for at in range(0, load.frames, every)]


# ---------------------------------------------------------------------------------------- pyzmq


def _rival(module: str) -> Any:  # noqa: ANN401  # it may not be installed: no types to name
    """The package `zmq` with this module of it loaded; by name, since it may not be there."""
    importlib.import_module(module)
    return importlib.import_module("zmq")


async def _zmq_receive(pipe: Connection, load: Load) -> None:
    zmq = _rival("zmq.asyncio")
    context = zmq.asyncio.Context()
    router = context.socket(zmq.ROUTER)
    pipe.send(router.bind_to_random_port("tcp://127.0.0.1"))
    # The sender knocks once, so that both sides start the clock on an open connection.
    sender, _ = await router.recv_multipart()
    await router.send_multipart([sender, b"open"])
    begun = time.process_time()
    every, last = load.acknowledged_every, load.frames
    for count in range(1, last + 1):
        _, payload = await router.recv_multipart(copy=load.copied)
        assert len(payload) == load.size
        if count % every == 0 or count == last:
            await router.send_multipart([sender, b"acknowledged"])
    pipe.send(time.process_time() - begun)
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    context.destroy(linger=0)


async def _zmq_send(port: int, load: Load) -> tuple[float, float]:
    zmq = _rival("zmq.asyncio")
    context = zmq.asyncio.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    await dealer.send(b"knock")
    await dealer.recv()
    payload = bytes(load.size)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for first, last in _bursts(load):
        for _ in range(first, last):
            await dealer.send(payload, copy=load.copied)
        if first:
            await dealer.recv()
    await dealer.recv()
    spent = time.process_time() - begun_cpu, time.perf_counter() - begun
    context.destroy(linger=0)
    return spent


async def _blocking_receive(pipe: Connection, load: Load) -> None:
    zmq = _rival("zmq")
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    pipe.send(router.bind_to_random_port("tcp://127.0.0.1"))
    sender, _ = router.recv_multipart()
    router.send_multipart([sender, b"open"])
    begun = time.process_time()
    every, last = load.acknowledged_every, load.frames
    for count in range(1, last + 1):
        _, payload = router.recv_multipart(copy=load.copied)
        assert len(payload) == load.size
        if count % every == 0 or count == last:
            router.send_multipart([sender, b"acknowledged"])
    pipe.send(time.process_time() - begun)
    pipe.recv()
    context.destroy(linger=0)


async def _blocking_send(port: int, load: Load) -> tuple[float, float]:
    zmq = _rival("zmq")
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    dealer.send(b"knock")
    dealer.recv()
    payload = bytes(load.size)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for first, last in _bursts(load):
        for _ in range(first, last):
            dealer.send(payload, copy=load.copied)
        if first:
            dealer.recv()
    dealer.recv()
    spent = time.process_time() - begun_cpu, time.perf_counter() - begun
    context.destroy(linger=0)
    return spent


# -------------------------------------------------------------------------------------- running

Receive = Callable[[Connection, Load], Coroutine[Any, Any, None]]
Send = Callable[[int, Load], Coroutine[Any, Any, tuple[float, float]]]
CARRIERS: dict[str, tuple[Receive, Send]] = {
    "links": (_links_receive, _links_send),
    "pyzmq asyncio": (_zmq_receive, _zmq_send),
    "pyzmq blocking": (_blocking_receive, _blocking_send),
}


def _receiver_process(pipe: Connection, carrier: str, load: Load) -> None:
    uvloop.run(CARRIERS[carrier][0](pipe, load))


def _run(carrier: str, load: Load) -> Figures:
    context = multiprocessing.get_context("spawn")
    pipe, far_end = context.Pipe()
    process = context.Process(target=_receiver_process, args=(far_end, carrier, load))
    process.start()
    port = pipe.recv()
    cpu_sender, seconds = uvloop.run(CARRIERS[carrier][1](port, load))
    cpu_receiver = pipe.recv()
    pipe.send("done")
    process.join()
    return Figures(
        cpu_us_per_frame=(cpu_sender + cpu_receiver) / load.frames * 1e6,
        frames_per_second=load.frames / seconds,
    )


def _measure(carriers: list[str], *, quick: bool) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for size, frames in LOADS:
        load = Load(size, frames // QUICK_SHARE if quick else frames)
        runs: dict[str, list[Figures]] = {carrier: [] for carrier in carriers}
        for _ in range(1 if quick else ROUNDS):
            for carrier in carriers:
                runs[carrier].append(_run(carrier, load))
        ours = _median(runs["links"])
        for carrier in carriers:
            theirs = _median(runs[carrier])
            for name, unit in (("cpu_us_per_frame", "us"), ("frames_per_second", "1/s")):
                value, baseline = getattr(theirs, name), getattr(ours, name)
                rows.append(
                    {
                        "name": f"{carrier} {size} B {name}",
                        "n": load.frames,
                        "value": round(value, 2),
                        "unit": unit,
                        "baseline": round(baseline, 2),
                        "ratio": round(value / baseline, 3),
                    }
                )
            print(
                f"{carrier:15} {size:7} B {theirs.cpu_us_per_frame:9.1f} us/frame "
                f"{theirs.frames_per_second:10,.0f} frames/s "
                f"{theirs.frames_per_second * size / 1e6:8,.0f} MB/s",
                flush=True,
            )
    return rows


def _median(runs: list[Figures]) -> Figures:
    return Figures(
        statistics.median(run.cpu_us_per_frame for run in runs),
        statistics.median(run.frames_per_second for run in runs),
    )


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the frames, one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    carriers = list(CARRIERS)
    if importlib.util.find_spec("zmq") is None:
        print("pyzmq is not installed: only our links are measured")
        carriers = ["links"]
    rows = _measure(carriers, quick=arguments.quick)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
