"""Which pages, hosts and addresses may come in, before any token is read."""

import pytest

from presence_actors.edge.admission import (
    bearer,
    check_origins,
    is_loopback,
    is_loopback_host,
    origin_allowed,
)
from presence_actors.errors import ConfigError

HOST = "presence.example:4000"
ALLOWED = frozenset({"https://good.example"})


@pytest.mark.parametrize(
    "origin",
    [None, "https://good.example", "http://presence.example:4000", "https://presence.example:4000"],
)
def test_a_program_a_listed_page_and_our_own_page_come_in(origin: str | None) -> None:
    """No origin is no browser; behind a proxy our own page may be https."""
    assert origin_allowed(origin, host=HOST, allowed=ALLOWED)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://evil.example",
        "http://good.example",
        "https://good.example.evil.example",
        "https://evilgood.example",
        "https://GOOD.example",
        "https://good.example:443",
        "https://good.example/",
        "https://good.example@evil.example",
        "http://presence.example",
        "http://presence.example:4001",
        "ftp://presence.example:4000",
        "http://presence.example:4000.evil.example",
    ],
)
def test_every_other_page_stays_out(origin: str) -> None:
    """The comparison is letter for letter."""
    assert not origin_allowed(origin, host=HOST, allowed=ALLOWED)


def test_without_a_host_only_the_list_counts() -> None:
    """A request without a Host header is nobody's own page."""
    assert not origin_allowed("http://None", host=None, allowed=ALLOWED)
    assert origin_allowed("https://good.example", host=None, allowed=ALLOWED)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_is_loopback(address: str) -> None:
    """Reached from this machine only."""
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.a"])  # noqa: S104
def test_everything_else_is_not_loopback(address: str) -> None:
    """When in doubt, reached from outside."""
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "header", ["localhost", "localhost:4000", "127.0.0.1:4000", "[::1]:4000", "app.localhost:1"]
)
def test_a_loopback_name_in_the_host_header_is_one(header: str) -> None:
    """With or without a port."""
    assert is_loopback_host(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "rebound.example:4000",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.nip.example",
        "evil@127.0.0.1",
        "127.0.0.1/evil",
        "[::1",
        "0.0.0.0:4000",
    ],
)
def test_a_rebound_name_in_the_host_header_is_seen(header: str | None) -> None:
    """The name that a page was loaded by stays in the header, whatever its address became."""
    assert not is_loopback_host(header)


def test_the_list_of_origins_is_what_browsers_send() -> None:
    """Anything else would never match, and is a mistake."""
    origins = ["https://app.example", "http://localhost:3000"]
    assert check_origins(origins) == frozenset(origins)


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "app.example",
        "https://App.example",
        "https://app.example/",
        "https://*.app.example",
        "https://a@app.example",
        "ftp://app.example",
        "https://",
        "https://[",
        "null",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    """The error says what one looks like."""
    with pytest.raises(ConfigError, match="allowed_origins"):
        check_origins([origin])


def test_a_bearer_token_is_found_in_its_header() -> None:
    """The scheme is written in any case; other schemes carry no token."""
    assert bearer("Bearer abc") == bearer("bearer  abc ") == "abc"
    assert bearer(None) is bearer("Basic abc") is bearer("Bearer ") is bearer("") is None
