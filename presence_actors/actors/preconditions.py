"""What must hold before a cluster is started; each is refused here, with what to do about it."""

import socket
from collections.abc import Iterator, Sequence

from presence_actors.actors import local_ray
from presence_actors.actors.state import StateFolder
from presence_actors.config import ClusterConfig
from presence_actors.edge.admission import check_origins, is_loopback
from presence_actors.edge.tokens import TokenVerifier
from presence_actors.errors import ConfigError, UsageError


def already_running(zone: str) -> UsageError:
    """The refusal of a second cluster of that name."""
    return UsageError(
        f"cluster {zone} is already running (presence status)", remedy="stop it with: presence down"
    )


def require_none_running(folder: StateFolder) -> None:
    """No cluster of this zone runs; what one left that is gone is cleared away.

    Raises:
        UsageError: One does.
    """
    state = folder.read()
    if state is None:
        return
    if state.local_ray is None or local_ray.is_running(state.local_ray):
        raise already_running(state.config.zone)
    # Its Ray is gone, with the machine's last start, say. What it left is ours to clear.
    local_ray.stop(state.local_ray)


def require_free_ports(config: ClusterConfig) -> None:
    """The ports of gateways and of links, where those are chosen, can be listened on.

    Raises:
        ConfigError: One cannot.
    """
    for knob, host, port in _ports(config):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            # As the actors will: a connection of an earlier one that lingers is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                option = f"--{knob.replace('_', '-')}"
                raise ConfigError(
                    knob,
                    port,
                    f"cannot be listened on at {host} ({error.strerror}); free it or choose "
                    f"another with {option}",
                ) from error


def _ports(config: ClusterConfig) -> Iterator[tuple[str, str, int]]:
    for index in range(config.gateways):
        yield "port", config.host, config.port + index
    # Where links listen elsewhere than here, only those who will do so can tell.
    if config.link_port and is_loopback(config.link_host):
        for index in range(config.workers):
            yield "link_port", config.link_host, config.link_port + index


def require_sound_edge(
    config: ClusterConfig, token_key: bytes | None, allowed_origins: Sequence[str]
) -> None:
    """What the gateways would refuse, each in its own process and log, is refused here.

    Raises:
        ConfigError: Clients could not be served like this, or not safely.
    """
    TokenVerifier(token_key)
    check_origins(allowed_origins)
    if token_key is None and not is_loopback(config.host):
        raise ConfigError(
            "host",
            config.host,
            "needs --jwt-key-file: without a key anybody may call himself anything, so gateways "
            "listen on a loopback address only",
        )
    if config.faults and not is_loopback(config.link_host):
        raise ConfigError("faults", True, "only where peer links listen on loopback: --link-host")  # noqa: FBT003


def require_sound_webhook(config: ClusterConfig, key: bytes | None) -> None:
    """App servers are told of nothing that they cannot verify.

    Raises:
        ConfigError: There is an address without a key, or a key without an address.
    """
    if config.webhook and key is None:
        raise ConfigError("webhook", config.webhook, "needs --webhook-key-file")
    if key is not None and not config.webhook:
        raise ConfigError("webhook", "", "must be given with --webhook-key-file")
