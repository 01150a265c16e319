"""How a zone comes to other zones: with their secret, to an address, and what is said there."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from presence_actors.actors import local_ray
from presence_actors.actors.directory import Description
from presence_actors.actors.state import LINK_SECRET_FILE, ClusterState, StateFolder
from presence_actors.config import ClusterConfig, parse_address
from presence_actors.errors import ConfigError, PresenceError, UsageError
from presence_actors.links.connection import SeedInfo
from presence_actors.links.handshake import SECRET_SIZE_MIN

#: Refusals that time does not heal. Whatever else there is (nobody listens, silence) may pass.
_FINAL_CODES: Final = frozenset({"version", "cluster", "shards", "proof", "self"})


def secret_of(text: bytes, source: str) -> bytes:
    """The secret of peer links as a file has it: hexadecimal, or any other bytes as they are.

    Raises:
        ConfigError: It is too short to be one.
    """
    secret = text.strip()
    with contextlib.suppress(ValueError):
        secret = bytes.fromhex(secret.decode("ascii"))
    if len(secret) < SECRET_SIZE_MIN:
        raise ConfigError(
            "secret-file", source, f"must hold at least {SECRET_SIZE_MIN} bytes of a secret"
        )
    return secret


def find_secret(config: ClusterConfig, states: Path) -> bytes:
    """The secret of the zone that this one joins, if that zone was started on this machine.

    Args:
        config: With the addresses to join.
        states: Where this machine remembers its zones, a folder for each.

    Raises:
        UsageError: No zone that is remembered there listens at any of the addresses.
    """
    addresses = [parse_address("join", text) for text in config.join]
    for folder in zones_of(states):
        state = folder.read()
        if state is None or state.config.zone == config.zone:
            continue
        if any(_listens(state, host, port) for host, port in addresses):
            path = folder.path / LINK_SECRET_FILE
            return secret_of(path.read_bytes(), str(path))
    raise UsageError(
        f"no zone of this machine listens at {', '.join(config.join)}",
        remedy="check the address; for a zone of another machine, copy the file "
        f"{LINK_SECRET_FILE} from its state folder and say --secret-file",
    )


def zones_of(states: Path) -> list[StateFolder]:
    """The folders of all zones that this machine remembers."""
    return [StateFolder(path) for path in sorted(states.glob("*")) if path.is_dir()]


def _listens(state: ClusterState, host: str, port: int) -> bool:
    """Whether a worker of that cluster listens there, as far as can be seen from here."""
    config = state.config
    if config.link_host not in (host, "node"):
        return False
    if config.link_port:
        return config.link_port <= port < config.link_port + config.workers
    if state.local_ray is None:
        return False
    for process in local_ray.processes_of(state.local_ray):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
    return False


class Contact:
    """How it stands with the zones that are to be joined: the best that any worker has to say."""

    def __init__(self, config: ClusterConfig, described: Sequence[Description]) -> None:
        self._addresses = [parse_address("join", text) for text in config.join]
        self._told: dict[tuple[str, int], list[SeedInfo]] = {one: [] for one in self._addresses}
        for known in described:
            for seed in known.seeds:
                self._told.setdefault(seed.address, []).append(seed)

    def missing(self) -> dict[str, str]:
        """Addresses that no worker of ours has a link with, and why as far as is known."""
        missing: dict[str, str] = {}
        for (host, port), seeds in self._told.items():
            address = f"{host}:{port}"
            if not any(seed.open for seed in seeds):
                trouble = next((seed.trouble for seed in seeds if seed.trouble), "no answer")
                missing[address] = trouble.removeprefix(f"{address}: ")
        return missing

    def require_welcome(self) -> None:
        """Nobody there has refused us for good.

        Raises:
            UsageError: Somebody has; with the reason.
        """
        refusal = self._refusal()
        if refusal is not None:
            raise refusal

    def _refusal(self) -> PresenceError | None:
        for (host, port), seeds in self._told.items():
            for seed in seeds:
                if not seed.open and seed.code in _FINAL_CODES:
                    return UsageError(f"cannot join {host}:{port}: {seed.trouble}")
        return None
