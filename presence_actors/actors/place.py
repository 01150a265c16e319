"""Where this process runs, as Ray knows it."""

import warnings
from typing import Final

import ray

from presence_actors.config import ClusterConfig

#: As a host to listen on: the address of the Ray node, whichever it turns out to be.
NODE_HOST: Final = "node"


def ray_node() -> str:
    """The Ray node of this process."""
    return str(ray.get_runtime_context().get_node_id())


def is_restarted() -> bool:
    """Whether an earlier life of this actor has ended, and Ray has started this one."""
    with warnings.catch_warnings():
        # What this asks inside Ray has a newer name there.
        warnings.simplefilter("ignore")
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def link_host(config: ClusterConfig) -> str:
    """Where this process's peer links listen, and are dialled."""
    return _node_address() if config.link_host == NODE_HOST else config.link_host


def public_host(config: ClusterConfig) -> str:
    """What clients call the machine of this gateway."""
    everywhere = config.host in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
    return _node_address() if everywhere else config.host


def _node_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]  # ships no types
