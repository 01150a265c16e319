"""A Ray of our own on this machine: started as our child, ended process by process.

`ray stop` is not used: it ends every Ray that it can see, whoever started it. All processes of our
Ray stay in the session that its head process leads, which is how the last of them is found.

All its ports are on loopback, and each caller needs a token of this cluster's own.
"""

import contextlib
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import psutil

from presence_actors.errors import Unavailable

TOKEN_FILE: Final = "ray_token"  # noqa: S105  # a name
LOG_FILE: Final = "ray.log"

_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_TERMINATE_SECONDS: Final = 10.0
_STARTED: Final = b"Ray runtime started"
_TOKEN_BYTES: Final = 32
#: Where Ray's head writes its address.
_ADDRESS_FILE: Final = "ray_current_cluster"
#: More than our actors ever use together, so that a small machine runs them all.
_CPUS: Final = 8
_DESCRIPTORS: Final = 65_536
_OBJECT_STORE_BYTES: Final = 100_000_000

#: {process id: heads that are children of this very process}, to be waited for at their end.
_children: Final[dict[int, "subprocess.Popen[bytes]"]] = {}

_SETTINGS: Final = {
    # Ray only listens on loopback when it believes that it will never be joined by other machines;
    # that is what this says.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Actors serve clients: they are not background work.
    "RAY_worker_niceness": "0",
    # Nobody looks at single calls; reporting them costs 8 % of each.
    "RAY_task_events_report_interval_ms": "0",
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    # Our gateways have said goodbye by then; draining would wait for the detached actors, in vain.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}


class LocalRay(msgspec.Struct, frozen=True):
    """A Ray that we started: enough to find its processes again, and only them."""

    address: str
    process_id: int
    #: When the head process was created: another process may have its number by now.
    created: float
    #: Ray's own files. Not in the state directory: paths of Unix sockets must be short.
    folder: str


def settings_of(state_dir: Path) -> dict[str, str]:
    """What must stand in the environment of whoever talks to the Ray of this state directory."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(state_dir / TOKEN_FILE)}
    return {**_SETTINGS, **token}


def start(state_dir: Path, *, begun: Callable[[LocalRay], None] = lambda _ray: None) -> LocalRay:
    """Start a Ray on free ports and wait until it answers.

    Args:
        state_dir: Where its token and its log go.
        begun: Told of its first process at once; the address is not known by then.

    Raises:
        Unavailable: It does not start; nothing of it is left.
    """
    write_secret(state_dir / TOKEN_FILE, secrets.token_hex(_TOKEN_BYTES).encode())
    folder = Path(tempfile.mkdtemp(prefix="presence-ray-"))
    log_path = state_dir / LOG_FILE
    _raise_descriptor_limit()
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and words of ours
            [sys.executable, "-m", "ray.scripts.scripts", *_words(folder)],
            env={**os.environ, **settings_of(state_dir)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C in the terminal does not reach it, and all that it
            # starts can be told by it.
            start_new_session=True,
        )
    _children[process.pid] = process
    started = LocalRay("", process.pid, psutil.Process(process.pid).create_time(), str(folder))
    try:
        begun(started)
        address = _wait_until_started(process, log_path, folder)
    except BaseException:
        stop(started)
        raise
    return msgspec.structs.replace(started, address=address)


def stop(ray: LocalRay) -> None:
    """End every process of this Ray and no other, and remove its files; harmless when gone."""
    head = _head_of(ray)
    processes = processes_of(ray)
    if head is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            head.terminate()
        psutil.wait_procs(processes, timeout=_TERMINATE_SECONDS)
    for process in processes_of(ray, known=processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_TERMINATE_SECONDS)
    child = _children.pop(ray.process_id, None)
    if child is not None:
        child.wait(timeout=_TERMINATE_SECONDS)
    if Path(ray.folder).name.startswith("presence-ray-"):
        shutil.rmtree(ray.folder, ignore_errors=True)


def is_running(ray: LocalRay) -> bool:
    """Whether the head process is still there."""
    return _head_of(ray) is not None


def processes_of(
    ray: LocalRay, *, known: list[psutil.Process] | None = None
) -> list[psutil.Process]:
    """All living processes of this Ray: those in the session of its head, and `known` ones.

    While any process of a session lives, the number of its leader is given to no other process;
    what is in the session but older than the head would be of another session of that number.
    """
    found = {process.pid: process for process in known or [] if process.is_running()}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            ours = os.getsid(process.pid) == ray.process_id
            if ours and process.create_time() >= ray.created:
                found[process.pid] = process
    return [process for process in found.values() if not _is_zombie(process)]


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, at no moment anybody else."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _raise_descriptor_limit() -> None:
    """A gateway holds a descriptor for each client, and children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _words(folder: Path) -> list[str]:
    return [
        "start",
        "--head",
        "--block",
        # A free one: several clusters share a machine.
        "--port=0",
        "--node-ip-address=127.0.0.1",
        f"--temp-dir={folder}",
        f"--num-cpus={_CPUS}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--include-dashboard=false",
        "--include-log-monitor=false",
        "--no-monitor",
        "--disable-usage-stats",
        "--log-color=false",
    ]


def written_address(folder: Path) -> str | None:
    """The address that Ray's head has written into its folder, `HOST:PORT`; None until it has.

    Ray creates the file empty and then fills it, both after it has said that it runs.
    """
    with contextlib.suppress(FileNotFoundError):
        address = (folder / _ADDRESS_FILE).read_text().strip()
        return address or None
    return None


def _wait_until_started(process: subprocess.Popen[bytes], log_path: Path, folder: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while _STARTED not in log_path.read_bytes() or (address := written_address(folder)) is None:
        if process.poll() is not None:
            last = log_path.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(what=f"Ray ended at its start ({last}); see {log_path}", where="here")
        if time.monotonic() > deadline:
            raise Unavailable(
                what=f"Ray did not start within {_START_SECONDS:.0f} s; see {log_path}",
                where="this machine",
            )
        time.sleep(_POLL_SECONDS)
    return address


def _head_of(ray: LocalRay) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(ray.process_id)
        same = abs(process.create_time() - ray.created) < 1 and ray.folder in " ".join(
            process.cmdline()
        )
        if same and not _is_zombie(process):
            return process
    return None


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
