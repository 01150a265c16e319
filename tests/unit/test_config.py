"""What a cluster may look like; each test names the knob that says otherwise."""

import pytest

from crdt import CrdtError
from presence_actors.config import ClusterConfig, Knobs, parse_address
from presence_actors.core.store import horizon_of
from presence_actors.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["", "4050", ":4050", "host", "host:", "host:0", "host:65536", "host:-1", "host:4050x"]
)
def test_an_address_without_a_host_or_a_port_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ConfigError, match=r"join = .*must be HOST:PORT, such as 127\.0\.0\.1:4050"):
        parse_address("join", text)


def test_a_cluster_is_refused_for_an_address_to_join_that_is_none() -> None:
    """At the start, not at each attempt to dial it."""
    with pytest.raises(ConfigError, match="join = 'b:x'"):
        ClusterConfig(join=["127.0.0.1:4050", "b:x"]).check()


@pytest.mark.parametrize("port", [-1, 65_535, 70_000])
def test_link_ports_must_fit_below_65536(port: int) -> None:
    """One for each worker, and 0 for any."""
    with pytest.raises(ConfigError, match="leave room for 2 workers"):
        ClusterConfig(link_port=port).check()


@pytest.mark.parametrize(
    ("port", "clear"), [(3998, True), (3999, False), (4001, False), (4002, True)]
)
def test_link_ports_keep_clear_of_the_gateways(port: int, clear: bool) -> None:
    """Two workers and two gateways, which have 4000 and 4001."""
    config = ClusterConfig(link_port=port, port=4000)
    if clear:
        assert config.check() is config
        return
    with pytest.raises(ConfigError, match="keep clear of the gateways' ports 4000 to 4001"):
        config.check()


def test_free_link_ports_are_the_default() -> None:
    """Two clusters on one machine do not get in each other's way."""
    assert ClusterConfig().check().link_port == 0


def test_the_bound_of_the_horizon_is_that_of_what_may_be_forgotten() -> None:
    """What passes here is taken by `crdt.horizon`, and one millisecond less by neither."""
    knobs = Knobs()
    least = (
        knobs.client_lease_ms
        + knobs.gateway_lease_ms
        + knobs.graces_ms
        + knobs.unreachable_ms_max
        + 2 * knobs.drift_ms_max
        + knobs.margin_ms
    )
    horizon = horizon_of(Knobs(horizon_ms=least).check())
    assert horizon.retention_ms == 2 * least - knobs.gateway_lease_ms
    short = Knobs(horizon_ms=least - 1)
    with pytest.raises(ConfigError, match=rf"horizon_ms.*{least - 1}.*= {least}"):
        short.check()
    with pytest.raises(CrdtError, match=f"{least - 1} ms are less"):
        horizon_of(short)
