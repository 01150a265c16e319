"""Ports that nobody listens on, one after the other, as gateways want them.

They lie below those that the kernel gives to whoever asks for any, and above those that Ray takes:
until a cluster is up, some seconds after it was told its ports, nobody comes by one of them.
"""

import random
import socket

_FIRST, _LAST = 20_000, 32_000
_TRIES = 50


def first_of_free_ports(count: int) -> int:
    """The first of `count` consecutive free ports on loopback."""
    for _ in range(_TRIES):
        first = random.randrange(_FIRST, _LAST)
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
