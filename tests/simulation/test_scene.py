"""What the weather is, as checkers are told it."""

from __future__ import annotations

import pytest

from presence_actors.core.gateway import GatewayMachine
from presence_actors.core.ids import NodeName, name_of
from presence_actors.sim.plan import is_worker
from presence_actors.sim.run import Run
from presence_actors.sim.swarm import Options, draw_plan

pytestmark = pytest.mark.simulation


def test_a_worker_does_not_hear_of_a_gateway_that_has_turned_to_one_behind_a_cut() -> None:
    """Whom a worker can hear is not only whom it has a link to.

    gateway --x-- worker A, worker B --x-- A          it turns to B
    gateway ----- worker A, worker B --x-- A          it stays there, and A still hears nothing
    gateway ----- worker A, worker B ----- A          now A does

    Found by seed 6391 of `presence sim` (plan version 2), 2026-11-24: A ended what it had not heard
    of for `unreachable_ms_max`, as it must, and was blamed for it.
    """
    run = Run(draw_plan(2, Options(scenario="calm", people=4)))
    run.workload.begin()
    _pass(run, 10_000)
    gateway, before = NodeName("a/g0"), _homes(run, NodeName("a/g0"))
    others = [name for name in run.plan.hosts if is_worker(name) and name not in before]
    (old,) = before
    assert others
    run.world.cut([gateway, *others], [old])
    _pass(run, 4_000)
    (turned_to,) = _homes(run, gateway)
    assert turned_to in others
    parted = run.scene.weather.parted_since_ms
    since = parted[(gateway, old)]

    run.world.heal_between([gateway], [old])
    _pass(run, 10_000)
    assert _homes(run, gateway) == {turned_to}
    assert parted[(gateway, old)] == since

    run.world.heal()
    _pass(run, 10_000)
    assert (gateway, old) not in parted


def _pass(run: Run, span_ms: int) -> None:
    for _ in range(span_ms // 500):
        run.world.run(500)
        run.scene.look()


def _homes(run: Run, gateway: NodeName) -> set[NodeName]:
    machine = run.world.processes[gateway].machine
    assert isinstance(machine, GatewayMachine)
    return {name_of(one.node) for one in machine.inspect().attachments if one.node is not None}


def test_a_gateway_is_heard_everywhere_only_if_its_home_is() -> None:
    """Found by seed 2662 of `presence sim` (plan version 2), 2026-11-24.

    Both workers hear the gateways, and not each other: who comes back at one home is not known to
    be back at the other one.
    """
    run = Run(draw_plan(2, Options(scenario="calm", people=4)))
    run.workload.begin()
    _pass(run, 10_000)
    gateway = NodeName("a/g0")
    (home,) = _homes(run, gateway)
    assert run.scene._is_heard_everywhere(gateway)
    others = [name for name in run.plan.hosts if is_worker(name) and name != home]
    run.world.cut([home], others)
    _pass(run, 500)
    assert not run.scene._is_heard_everywhere(gateway)
    run.world.heal()
    _pass(run, 10_000)
    assert run.scene._is_heard_everywhere(gateway)


def test_what_is_parted_may_have_been_so_since_the_last_look() -> None:
    """A bound was over by 41 ms (seed 2743 of `presence sim`, plan version 2, 2026-11-24)."""
    run = Run(draw_plan(2, Options(scenario="calm", people=4)))
    run.workload.begin()
    _pass(run, 10_000)
    gateway = NodeName("a/g0")
    (home,) = _homes(run, gateway)
    looked_ms = run.world.elapsed_ms
    run.world.cut([gateway], [home])
    _pass(run, 500)
    assert run.scene.weather.parted_since_ms[(gateway, home)] == looked_ms
