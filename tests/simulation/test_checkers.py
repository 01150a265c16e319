"""Each of these checkers is silent in a world that is well, and speaks in one that is broken."""

from __future__ import annotations

import msgspec
import pytest

from crdt import LWWMap, Origin, Stamp, VersionVector
from crdt.columnar_map import ColumnarMap
from presence_actors.core.ids import NodeName
from presence_actors.core.instants import Instant
from presence_actors.core.messages import PRESENCE, GossipDelta, PeerMessage
from presence_actors.core.replica import ReplicaMachine
from presence_actors.core.vocabulary import Bye, Intent, Patch
from presence_actors.sim import cost_checks, end_checks, reader_checks, replica_checks
from presence_actors.sim.history import Life
from presence_actors.sim.meter import Meter
from presence_actors.sim.plan import is_gateway, is_worker
from presence_actors.sim.reader_checks import ReaderMemory
from presence_actors.sim.replica_checks import ReplicaMemory
from presence_actors.sim.run import Run
from presence_actors.sim.swarm import Options, draw_plan

pytestmark = pytest.mark.simulation

CALM = Options(scenario="calm", people=8, app=False)


@pytest.fixture
def run() -> Run:
    """A run in which nothing is the matter, after a while."""
    run = Run(draw_plan(2, CALM))
    run.workload.begin()
    run.world.network.meter = Meter(frozenset(run.plan.core))
    for _ in range(40):
        run.world.run(500)
        run.scene.look()
    run.workload.be_quiet()
    run.world.run(2_000)
    run.scene.look()
    return run


def somebody(run: Run) -> Life:
    """Somebody who is in a room."""
    return next(life for life in run.history.lives if life.is_up and life.client.machine.rooms)


def calm_since_the_beginning(run: Run) -> None:
    """As if nothing had been the matter ever."""
    run.scene.weather.calm_since_ms = 0
    run.scene.steps = 0


# ---------------------------------------------------------------------------------- what is kept


def test_i14_speaks_of_an_end_that_nobody_forgets(run: Run) -> None:
    """Time passes and no machine is woken, so the end of a goodbye stays for good."""
    somebody(run).client.ask(Bye())
    run.world.run(500)
    calm_since_the_beginning(run)
    assert list(cost_checks.i14_ends_are_forgotten(run.scene)) == []
    run.world.instant = Instant(run.world.instant + 10 * run.plan.retention_ms)
    wrong = list(cost_checks.i14_ends_are_forgotten(run.scene))
    assert wrong
    assert "keeps an end for" in wrong[0]
    run.scene.steps = 1
    assert list(cost_checks.i14_ends_are_forgotten(run.scene)) == []


def test_i14_speaks_of_a_session_that_is_kept_for_nobody(run: Run) -> None:
    """Before the grace is over it is kept, and after it not."""
    assert list(cost_checks.i14_nothing_is_kept_for_who_is_gone(run.scene)) == []
    life = somebody(run)
    life.client.vanish()
    run.world.run(100)
    (wrong,) = cost_checks.i14_nothing_is_kept_for_who_is_gone(run.scene)
    assert "of which 1 linger" in wrong
    run.world.run(2 * run.plan.knobs.grace_connection_ms)
    assert list(cost_checks.i14_nothing_is_kept_for_who_is_gone(run.scene)) == []


# -------------------------------------------------------------------------------- what is sent


def test_i17_speaks_if_repairs_send_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that sends all it has, whatever the other one has seen, is right and too dear."""
    plan = draw_plan(1, Options(scenario="calm", people=12, span_ms=120_000))
    honest = ColumnarMap.missing

    def everything(self: ColumnarMap, seen: VersionVector, **others: int) -> object:
        del seen
        return honest(self, VersionVector(), **{**others, "after": 0})

    assert Run(plan).execute().violation is None
    monkeypatch.setattr(ColumnarMap, "missing", everything)
    violation = Run(plan).execute().violation
    assert violation is not None
    assert violation.invariant == "I17"
    assert "were lacking" in violation.what[0]


def test_i17_counts_what_lapsed_as_needed(run: Run) -> None:
    """Beyond the horizon all rows of an origin come once more, and that is no waste."""
    meter = Meter(frozenset(run.plan.core))
    sent: list[tuple[Instant, NodeName, NodeName, list[PeerMessage]]] = []

    class Recorder(Meter):
        def note(
            self, now: Instant, sender: NodeName, to: NodeName, messages: list[PeerMessage]
        ) -> None:
            sent.append((now, sender, to, messages))

    run.world.network.meter = Recorder(meter.members)
    somebody(run).client.ask(Bye())
    run.world.run(500)
    meter.note_held(run.scene.replicas())
    one, message = next(
        (one, message)
        for one in sent
        for message in one[3]
        if isinstance(message, GossipDelta) and message.receiver and len(message.delta.rows)
    )
    group = (int(message.shard), message.map)
    assert message.receiver is not None
    meter.note(*one)
    assert meter.needed_bytes.get(group, 0) == 0
    meter.lapsed[(message.receiver, *group)] = set(message.delta.rows.origins)
    meter.note(*one)
    assert meter.sent_bytes[group] == 2 * meter.needed_bytes[group] > 0


def test_i21_speaks_if_gateways_go_on_attaching(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have come back and take nobody in, so gateways try again and again."""
    meter = run.world.network.meter
    assert meter is not None
    assert list(cost_checks.i21_the_storm_is_over(run.scene, meter)) == []
    monkeypatch.setattr(ReplicaMachine, "_on_attach", lambda *_: None)
    for worker in filter(is_worker, run.plan.hosts):
        run.world.kill(worker, restart_after_ms=200)
    run.world.run(8_000)
    wrong = list(cost_checks.i21_the_storm_is_over(run.scene, meter))
    assert any("sends Attach" in what for what in wrong)


def test_i21_speaks_of_a_client_that_reconnects_long_after_the_heal(run: Run) -> None:
    """Nobody breaks its connection, so nobody should have to."""
    meter = run.world.network.meter
    assert meter is not None
    life = somebody(run)
    run.world.drop(life.client)
    run.world.run(cost_checks.SETTLED_MS - 1_000)
    run.history.settle(run.world.elapsed_ms)
    wrong = list(cost_checks.i21_the_storm_is_over(run.scene, meter))
    assert any(f"{life.name} connected" in what for what in wrong)


# -------------------------------------------------------------------------- what replicas hold


def test_i1_i2_i9_speak_of_a_row_that_one_replica_has_lost(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vector says that it has seen it."""
    # Idle replicas promise at their own pace, so really equal they are at some moments only.
    monkeypatch.setattr(LWWMap, "vector", property(lambda _: VersionVector()))
    run.scene.healed_ms = run.world.elapsed_ms
    memory = ReplicaMemory()
    assert list(replica_checks.i1_equal_vectors_mean_equal_rows(run.scene, memory)) == []
    assert list(end_checks.i2_the_core_agrees(run.scene)) == []
    assert list(end_checks.i9_who_is_there_has_entries(run.scene)) == []
    presence = next(
        replica.maps()[PRESENCE]
        for _, replica in run.scene.replicas()
        if len(replica.maps()[PRESENCE])
    )
    origin = next(row.origin for row in presence.all_rows() if row.live)
    presence.drop_origin(origin, limit=1_000)
    assert any("differ" in what for what in end_checks.i2_the_core_agrees(run.scene))
    assert list(end_checks.i9_who_is_there_has_entries(run.scene))
    wrong = list(replica_checks.i1_equal_vectors_mean_equal_rows(run.scene, memory))
    assert any("have seen the same" in what for what in wrong)


def test_i2_leaves_what_was_written_a_moment_ago_on_its_way(run: Run) -> None:
    """A device that nobody uses becomes away at any time, the last moment of a run not excepted.

    Found by seed 2174 of `presence sim` (plan version 2), 2026-11-24.
    """
    workers = list(filter(is_worker, run.plan.hosts))
    run.world.cut(workers, workers)
    life = somebody(run)
    life.client.ask(Patch(topic=life.client.machine.rooms[0], meta={"n": 77}))
    run.world.run(200)
    assert list(end_checks.i2_the_core_agrees(run.scene)) == []
    knobs = run.plan.knobs
    run.world.run(2 * (knobs.gossip_idle_ms + knobs.resend_ms))
    assert any("differ" in what for what in end_checks.i2_the_core_agrees(run.scene))


def test_i16_lets_those_wait_whose_gateway_is_cut_off_for_good(run: Run) -> None:
    """The core cannot answer for a gateway that it never hears again; all others it must.

    Found by seed 2095 of `presence sim` (plan version 2), 2026-11-24.
    """
    life = somebody(run)
    gateway = run.scene.gateway_of(life)
    assert gateway is not None
    run.world.cut(list(filter(is_worker, run.plan.hosts)), [gateway])
    # A gateway answers by itself what it only keeps; a choice has to be known to a replica.
    life.ask(Intent(status="dnd"), run.world.elapsed_ms)
    run.world.run(10_000)
    run.history.settle(run.world.elapsed_ms)
    calm_since_the_beginning(run)
    run.scene.healed_ms = run.world.elapsed_ms
    wrong = list(reader_checks.i16_operations_are_answered_in_time(run.scene, ReaderMemory()))
    assert any(what.startswith(f"{life.name} has waited") for what in wrong)
    run.scene.plan = msgspec.structs.replace(run.plan, lost=[gateway])
    assert list(reader_checks.i16_operations_are_answered_in_time(run.scene, ReaderMemory())) == []


def test_i3_speaks_of_two_writes_with_one_stamp(run: Run) -> None:
    """What was read once is compared with what is read later."""
    memory = ReplicaMemory()
    assert list(replica_checks.i3_a_stamp_names_one_write(run.scene, memory)) == []
    dot = next(iter(memory.written))
    memory.written[dot] = memory.written[dot]._replace(value=b"something else")
    memory.read.clear()
    assert any(
        "one stamp for" in what
        for what in replica_checks.i3_a_stamp_names_one_write(run.scene, memory)
    )


def test_i11_speaks_of_a_stamp_from_too_far_ahead_and_of_a_step_back(run: Run) -> None:
    """A clock that nobody knows to be wrong makes everybody else's stamps too great."""
    memory = ReplicaMemory()
    assert list(replica_checks.i11_no_stamp_beyond_the_bound(run.scene, memory)) == []
    name, replica = next(run.scene.replicas())
    run.world.run(2_000)
    run.world.set_clock(name, ahead_ms=-3_600_000)
    wrong = list(replica_checks.i11_no_stamp_beyond_the_bound(run.scene, memory))
    assert any(what.startswith(f"{name} took in a stamp") for what in wrong)
    place = (replica.node, int(replica.shard))
    mine = Origin(replica.node)
    memory.vectors[place] = VersionVector({mine: Stamp(replica.maps()[PRESENCE].vector[mine] + 1)})
    wrong = list(replica_checks.i11_no_stamp_beyond_the_bound(run.scene, memory))
    assert f"{name}: its own component went back" in wrong


def test_i23_speaks_of_a_process_that_is_not_there(run: Run) -> None:
    """Who is of the core has to be there."""
    assert list(end_checks.i23_the_core_serves(run.scene)) == []
    gateway = next(filter(is_gateway, run.plan.hosts))
    run.world.kill(gateway, restart_after_ms=None)
    assert f"{gateway} is not alive" in list(end_checks.i23_the_core_serves(run.scene))
    run.scene.plan = msgspec.structs.replace(run.plan, dead=[gateway])
    assert f"{gateway} is not alive" not in list(end_checks.i23_the_core_serves(run.scene))
