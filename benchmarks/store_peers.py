"""Other stores, where they are installed: loro, pycrdt, and a Redis server on loopback.

Each gives (operation, value, unit).  They do less than a map with vectors, or other things, so the
comparison is of like with like only where the operation says so.
"""

import contextlib
import importlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

BATCH = 10_000
REPEATS = 5
#: Ten times what the keys take.
REDIS_MEMORY_MAX = "2gb"


def cpu_ns(run: Callable[[], object], count: int) -> float:
    """CPU nanoseconds for each of ``count``."""
    start = time.process_time_ns()
    run()
    return (time.process_time_ns() - start) / count


def loro_figures(entries: int) -> list[tuple[str, float, str]]:
    """`EphemeralStore`: apply of 10,000 newer rows to a store of so many."""
    if importlib.util.find_spec("loro") is None:
        return []
    loro: Any = importlib.import_module("loro")
    store, source = loro.EphemeralStore(1 << 40), loro.EphemeralStore(1 << 40)
    for number in range(entries):
        store.set(f"{number:016x}", {"status": 1, "stamp": number})
    times = []
    for turn in range(REPEATS):
        source = loro.EphemeralStore(1 << 40)
        step = max(1, entries // BATCH)
        for number in range(0, step * BATCH, step):
            source.set(f"{number % entries:016x}", {"status": 2 + turn, "stamp": number})
        blob = source.encode_all()
        times.append(cpu_ns(lambda blob=blob: store.apply(blob), BATCH))  # type: ignore[misc]
    return [("loro_apply", sorted(times)[REPEATS // 2], "ns/row")]


def pycrdt_figures() -> list[tuple[str, float, str]]:
    """`Awareness`: apply of one user's new state, as many users as a large document has."""
    if importlib.util.find_spec("pycrdt") is None:
        return []
    pycrdt: Any = importlib.import_module("pycrdt")
    source, target = pycrdt.Awareness(pycrdt.Doc()), pycrdt.Awareness(pycrdt.Doc())
    blobs = []
    for number in range(2_000):
        source.set_local_state({"status": number})
        blobs.append(source.encode_awareness_update([source.client_id]))

    def run() -> None:
        for blob in blobs:
            target.apply_awareness_update(blob, "peer")

    return [("pycrdt_apply_one", cpu_ns(run, len(blobs)), "ns/row")]


@contextlib.contextmanager
def _redis() -> Iterator[tuple[socket.socket, psutil.Process] | None]:
    """A Redis server on loopback, without disk, and a connection; None if none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        command += ["--dir", folder, "--maxmemory", REDIS_MEMORY_MAX]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                with _connected(port, server) as connection:
                    yield connection, psutil.Process(server.pid)
            finally:
                server.terminate()


def _connected(port: int, server: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to a server that has just been started."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start; run it alone to see why") from None
            time.sleep(0.02)


def redis_figures(entries: int) -> list[tuple[str, float, str]]:
    """Server CPU of pipelined EXPIRE by id, 10,000 in a pipeline, at so many keys."""
    with _redis() as running:
        if running is None:
            return []
        connection, server = running

        def pipeline(commands: list[str]) -> float:
            """Send, read all answers; server CPU nanoseconds for each command."""
            before = sum(server.cpu_times()[:2])
            data = "".join(commands).encode()
            for start in range(0, len(data), 1 << 16):
                connection.sendall(data[start : start + (1 << 16)])
            # ":1" or "+OK" and a line end for each.
            missing = len(commands)
            while missing:
                missing -= connection.recv(1 << 20).count(b"\n")
            return (sum(server.cpu_times()[:2]) - before) * 1e9 / len(commands)

        for start in range(0, entries, BATCH):
            pipeline([f"SET k{number:015} 1 EX 900\r\n" for number in range(start, start + BATCH)])
        step = max(1, entries // BATCH)
        # The kernel counts CPU in ticks of 10 ms: many pipelines make a figure.
        renewals = [f"EXPIRE k{number:015} 900\r\n" for number in range(0, step * BATCH, step)]
        times = [pipeline(renewals * 5) for _ in range(9)]
        return [("redis_expire_server", sorted(times)[4], "ns/row")]
