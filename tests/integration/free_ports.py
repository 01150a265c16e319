"""Ports that nobody listens on, one after the other, as gateways want them."""

import socket

_TRIES = 50


def first_of_free_ports(count: int) -> int:
    """The first of `count` consecutive free ports on loopback."""
    for _ in range(_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError(f"no {count} consecutive ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
