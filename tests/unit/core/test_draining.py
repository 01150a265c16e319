"""When the clients of a gateway that is being emptied are sent away."""

from __future__ import annotations

from presence_actors.core.draining import Draining
from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant


def test_clients_go_evenly_over_the_spread_and_each_once() -> None:
    """1,000 over two seconds: never more than one step's share at a time."""
    everybody = [ConnectionId(number) for number in range(1_000)]
    draining = Draining()
    draining.begin(everybody, "deploy", spread_ms=2_000, now=Instant(100))
    gone: list[ConnectionId] = []
    while (deadline := draining.deadline()) is not None:
        due = draining.take_due(deadline)
        assert 0 < len(due) <= 25
        share = (deadline - 100) / 2_000
        assert abs(len(gone) / 1_000 - share) <= 0.026
        gone += due
    assert gone == everybody
    assert draining.reason == "deploy"


def test_without_a_spread_all_go_at_once() -> None:
    """As when the process is about to end."""
    draining = Draining()
    both = [ConnectionId(1), ConnectionId(2)]
    draining.begin(both, "stop", spread_ms=0, now=Instant(7))
    assert draining.take_due(Instant(6)) == []
    assert draining.take_due(Instant(7)) == both
    assert draining.deadline() is None


def test_who_has_not_gone_when_it_is_called_off_stays() -> None:
    """And the gateway takes clients in again."""
    draining = Draining()
    draining.begin([ConnectionId(1), ConnectionId(2)], "no", spread_ms=1_000, now=Instant(0))
    assert draining.take_due(Instant(0)) == [ConnectionId(1)]
    draining.end()
    assert draining.reason is None
    assert draining.deadline() is None
    assert draining.take_due(Instant(9_999)) == []


def test_an_empty_gateway_can_be_drained() -> None:
    """It takes nobody in from then on."""
    draining = Draining()
    draining.begin([], "deploy", spread_ms=1_000, now=Instant(0))
    assert draining.deadline() is None
    assert draining.reason == "deploy"
