"""What the edge of one gateway allows; what a frame may hold stands in `core.limits`."""

from __future__ import annotations

import msgspec

from presence_actors.core.limits import BAD_FRAMES_MAX, UNSENT_BYTES_MAX

__all__ = ["EdgeLimits"]


class EdgeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the edge of one gateway allows; beside each, what happens beyond."""

    #: A connection says `hello` within this. Beyond: close 4508.
    hello_ms: int = 5_000
    #: A Phoenix connection without a channel says something within this. Beyond: close 4508.
    idle_ms: int = 60_000
    #: How long a Phoenix client waits for its refusal: it tries again at once, and for ever.
    refusal_ms: int = 2_000
    #: How many wait so at the same time. Beyond: refused at once.
    refusals_max: int = 1_000
    #: How long a long poll of a Phoenix client waits for news, and how long after the last one its
    #: session ends. Beyond: the client starts a new one.
    poll_ms: int = 10_000
    poll_gone_ms: int = 15_000
    #: Connections that have not said `hello`, in all and of one address. Beyond: HTTP 503.
    #: Loopback is no one address: behind it are a proxy's clients, or a test's.
    unauthenticated_max: int = 10_000
    unauthenticated_per_address_max: int = 100
    #: Connections that are accepted in one turn of the loop. Beyond: they wait in the kernel's
    #: queue, while those who are connected have their turn.
    accepts_per_turn: int = 8
    #: Handshakes, first words and ends of connections in one turn. Beyond: in the next ones.
    arrivals_per_turn: int = 8
    #: Clients that say `hello` in a second, and at once. Beyond: `rate_limited`, close 4529, and
    #: for each a moment of his own to come again, at the latest after so long.
    admissions_per_s: int = 2_000
    admissions_burst: int = 4_000
    retry_ms_max: int = 60_000
    #: How long a stock client, which cannot be told so, waits for its socket instead; some give up
    #: after 10 s. Beyond: HTTP 503.
    upgrade_wait_ms_max: int = 8_000
    #: Connections in all. Beyond: HTTP 503. The server lowers it to what the process may open.
    connections_max: int = 100_000
    #: Queries of pollers that wait for an answer, and how long each waits. Beyond: HTTP 503.
    #: Those that wait for news are counted apart.
    queries_max: int = 1_000
    long_polls_max: int = 10_000
    query_ms: int = 2_000
    #: By how much what waits for one client may grow, before it gets a snapshot in place of what it
    #: misses; and how often we look whether it has caught up.
    lag_bytes_max: int = 32 * 1024
    lag_look_ms: int = 100
    #: The same of answers, which it gets meanwhile. Beyond: close 4513.
    unsent_bytes_max: int = UNSENT_BYTES_MAX
    #: How long a client has to answer the closing frame, and to read what was sent before it.
    #: Beyond: the socket is cut off.
    close_ms: int = 5_000
    #: Unreadable frames of one connection that are answered. Beyond: close 4400.
    bad_frames_max: int = BAD_FRAMES_MAX
