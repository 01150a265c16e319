"""When the clients of a gateway that is being emptied are sent away."""

from __future__ import annotations

from presence_actors.core.draining import RETURN_STEP_MS, Draining, returns
from presence_actors.core.effects import Deliver, GatewayEffect
from presence_actors.core.events import ClusterChanged, DrainRequested
from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.messages import Worker
from presence_actors.core.vocabulary import Goaway
from tests.unit.core.building import G0, name
from tests.unit.core.gateway_stage import KNOBS, Stage


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


def test_those_who_lose_a_gateway_together_come_back_evenly_and_in_time() -> None:
    """Each once, in order, and never more in a step than its share."""
    everybody = [ConnectionId(number) for number in range(1_000)]
    groups = list(returns(everybody, within_ms=10_000))
    assert [one for _, group in groups for one in group] == everybody
    assert [at for at, _ in groups] == list(range(0, 10_000, RETURN_STEP_MS))
    assert {len(group) for _, group in groups} == {5}


def test_without_time_all_come_back_at_once_and_of_nobody_nobody_does() -> None:
    """A grace may be shorter than a step."""
    both = [ConnectionId(1), ConnectionId(2)]
    assert list(returns(both, within_ms=0)) == [(0, both)]
    assert list(returns([], within_ms=10_000)) == []


def slots(effects: list[GatewayEffect]) -> dict[int, int]:
    """How many were told to come back after how long."""
    told = [one for one in effects if isinstance(one, Deliver) and isinstance(one.message, Goaway)]
    return {
        one.message.retry_in_ms: len(one.connections)
        for one in told
        if isinstance(one.message, Goaway)
    }


def test_those_whom_a_gateway_loses_as_it_ends_come_back_one_after_the_other() -> None:
    """Twenty in a step: the others take them in without a delay for their own."""
    stage = Stage()
    for number in range(100):
        stage.connects(f"user{number}")
    found = slots(stage.happens(DrainRequested("stop")))
    assert found == {0: 20, 50: 20, 100: 20, 150: 20, 200: 20}


def test_where_there_is_no_other_gateway_they_take_their_time_but_are_back_in_their_grace() -> None:
    """Nobody is there to take them in until this one is back."""
    stage = Stage()
    workers = [Worker(worker, worker) for worker in stage.replicas]
    stage.happens(ClusterChanged(workers, {name(G0): "ws://g0"}, version=2))
    for number in range(4):
        stage.connects(f"user{number}")
    found = slots(stage.happens(DrainRequested("stop")))
    assert found == {0: 1, 2_500: 1, 5_000: 1, 7_500: 1}
    assert KNOBS.reconnect_jitter_ms <= KNOBS.grace_connection_ms * 2 // 3
