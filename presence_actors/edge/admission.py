"""Who may come in at all, before any token is read.

A browser sends the page's origin with every WebSocket request and lets no script change it, so an
exact comparison keeps foreign pages out (cross-site WebSocket hijacking). An open gateway trusts
whoever reaches it, so there the name in the Host header must be a loopback one as well: a foreign
page whose name was rebound to 127.0.0.1 has its own name there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from presence_actors.errors import ConfigError

__all__ = ["bearer", "check_origins", "is_loopback", "is_loopback_host", "origin_allowed"]


def is_loopback(address: str) -> bool:
    """Whether an address to listen on can be reached from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_loopback_host(header: str | None) -> bool:
    """Whether a Host header names this machine's loopback, with or without a port.

    >>> is_loopback_host("localhost:4000"), is_loopback_host("[::1]:4000")
    (True, True)
    >>> is_loopback_host("127.0.0.1.rebind.example"), is_loopback_host(None)
    (False, False)
    """
    if not header or "@" in header or "/" in header:
        return False
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")


def origin_allowed(origin: str | None, *, host: str | None, allowed: Collection[str]) -> bool:
    """Whether a page of this origin may open a socket.

    No origin is no browser; its token must do. Otherwise the page must come from this very server
    (scheme aside: a proxy may have ended the TLS), or be on the list, letter for letter.

    >>> origin_allowed("http://good.example", host="h:1", allowed={"http://good.example"})
    True
    >>> origin_allowed("http://good.example.evil", host="h:1", allowed={"http://good.example"})
    False
    """
    if origin is None or origin in allowed:
        return True
    return host is not None and origin in (f"http://{host}", f"https://{host}")


def check_origins(origins: Collection[str]) -> frozenset[str]:
    """These origins, if a browser could send them so.

    Raises:
        ConfigError: One is no origin such as ``https://app.example`` or ``http://localhost:3000``.
    """
    for origin in origins:
        try:
            parts = urlsplit(origin)
            sound = (
                parts.scheme in ("http", "https")
                and parts.netloc != ""
                and origin == f"{parts.scheme}://{parts.netloc}".lower()
                and "@" not in parts.netloc
                and "*" not in origin
            )
        except ValueError:
            sound = False
        if not sound:
            raise ConfigError(
                "allowed_origins",
                origin,
                "must be scheme://host[:port] in small letters, without path or wildcard",
            )
    return frozenset(origins)


def bearer(authorization: str | None) -> str | None:
    """The token in an Authorization header, or None.

    >>> bearer("Bearer abc"), bearer("Basic abc")
    ('abc', None)
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
