"""Knobs of the simulated worlds in these tests."""

from __future__ import annotations

from typing import Final

import msgspec

from presence_actors.config import Knobs
from presence_actors.core.store import horizon_of

__all__ = ["ALL_OVER_MS", "HORIZON_KNOBS", "KNOBS", "RETENTION_MS"]

#: Short, so that each lease, grace and silence is crossed in a run of seconds.
KNOBS: Final = Knobs(
    heartbeat_ms=300,
    client_lease_ms=1_000,
    grace_connection_ms=1_500,
    grace_gateway_ms=2_500,
    gateway_beat_ms=100,
    gateway_lease_ms=400,
    peer_silence_ms=300,
    unreachable_after_ms=900,
    unreachable_ms_max=4_000,
    gossip_interval_ms=20,
    gossip_idle_ms=100,
    resend_ms=150,
    interest_linger_ms=700,
    snapshot_wait_ms=300,
    startup_grace_ms=1_200,
    drift_ms_max=500,
    reconnect_jitter_ms=300,
    reconnect_ms_max=1_000,
)
#: After this everything that runs out by itself has run out.
ALL_OVER_MS: Final = (
    KNOBS.client_lease_ms
    + KNOBS.grace_connection_ms
    + KNOBS.gateway_lease_ms
    + KNOBS.grace_gateway_ms
    + KNOBS.unreachable_ms_max
)
#: The same with the shortest horizon that they allow, or nearly: it is crossed in some seconds.
HORIZON_KNOBS: Final = msgspec.structs.replace(KNOBS, horizon_ms=12_000).check()
#: So long ends are kept then.
RETENTION_MS: Final = horizon_of(HORIZON_KNOBS).retention_ms
