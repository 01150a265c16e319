"""This process's connection to Ray: one at a time."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import ray

from presence_actors.actors.settings import namespace_of
from presence_actors.errors import Unavailable, UsageError

_REACH_SECONDS: Final = 5.0
#: Ray's own patience with what answers but lets nobody in, such as a Ray with another token. By
#: default it is minutes.
_PATIENCE: Final = {
    "RAY_gcs_server_port_wait_time_s": "1",
    "RAY_gcs_rpc_server_connect_timeout_s": "2",
    "RAY_py_gcs_connect_timeout_s": "5",
}
_LOOPBACK_ONLY: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

#: What stood in the environment before, to be put back at the end.
_before: Final[dict[str, str | None]] = {}

#: The address of the Ray that we are connected to; empty if that was somebody else's doing.
_connected: Final[list[str]] = []


def open_to(address: str, *, zone: str, settings: Mapping[str, str]) -> None:
    """Connect this process to the Ray at `address`; nothing to do when it is connected to it.

    Args:
        address: `HOST:PORT`, or `auto` for the Ray of this machine.
        zone: Whose actors we are about to name.
        settings: What Ray wants to read in the environment.

    Raises:
        Unavailable: Nobody answers there, or not to us.
        UsageError: The process is connected to another Ray.
    """
    if ray.is_initialized():
        if _connected and _connected != [address]:
            raise UsageError(
                f"this process is connected to the Ray at {_connected[0]}, and one at a time is "
                "all that Ray allows",
                remedy="disconnect from it first, or use another process",
            )
        return
    if address != "auto":
        _require_reachable(address)
    for key, value in {**_PATIENCE, **settings}.items():
        _before.setdefault(key, os.environ.get(key))
        os.environ[key] = value
    _reread_settings()
    try:
        with _own_termination():
            ray.init(
                address=address,
                namespace=namespace_of(zone),
                log_to_driver=False,
                logging_level=logging.ERROR,
                # Else Ray looks for a node at this machine's outer address, and finds none.
                _node_ip_address=address.rpartition(":")[0] if address.startswith("127.") else None,
            )
    # Ray raises whatever its layers happen to raise: ConnectionError, RuntimeError, RpcError...
    except Exception as error:
        close()
        first_line = str(error).strip().partition("\n")[0]
        raise Unavailable(
            what=f"Ray does not let us in ({first_line}); does it want a token? See RAY_AUTH_MODE "
            "and RAY_AUTH_TOKEN_PATH",
            where=address,
        ) from error
    _connected.append(address)


@contextlib.contextmanager
def _own_termination() -> Iterator[None]:
    """Give SIGTERM back to whoever handled it before: Ray would end the process without asking."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def close() -> None:
    """Disconnect; the cluster goes on."""
    ray.shutdown()
    _connected.clear()
    for key, value in _before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
    _before.clear()
    _reread_settings()


def _require_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise OSError("HOST:PORT or auto is wanted")  # noqa: TRY301
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS):
            return
    except (OSError, OverflowError) as error:
        raise Unavailable(
            what=f"Ray cannot be reached ({error}); check the address, and that Ray runs there",
            where=address,
        ) from error


def _reread_settings() -> None:
    """Have Ray look at the environment again.

    It reads it when it is imported, and keeps the first token that it saw for the whole process.
    There is no public way to change its mind later.
    """
    library: Any = ray._raylet  # noqa: SLF001
    library.Config.initialize("")
    library.AuthenticationTokenLoader.instance().reset_cache()
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(_LOOPBACK_ONLY) != "0"  # noqa: SLF001
