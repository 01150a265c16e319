"""One process of an actor without any Ray or socket: what it makes of a directory."""

import logging

import msgspec
import pytest

from presence_actors.actors.directory import Directory, Fault, Seat, WorkerEntry
from presence_actors.actors.process import HostEvent, Process
from presence_actors.actors.settings import Secret, Settings
from presence_actors.config import ClusterConfig
from presence_actors.core.effects import Dial, Report
from presence_actors.core.events import ClusterChanged, MessagesReceived, PeerLinked
from presence_actors.core.ids import NodeId, NodeName, name_of
from presence_actors.core.messages import BeatAck
from presence_actors.links.connection import SeedInfo
from presence_actors.links.faults import LinkFault
from presence_actors.wire.peer import encode_frame

W0, W1, G0 = NodeName("a/w0"), NodeName("a/w1"), NodeName("a/g0")


class ScriptedHost:
    """Keeps what is posted."""

    def __init__(self) -> None:
        self.events: list[HostEvent] = []

    def start(self) -> None:
        """Nothing to set."""

    def close(self) -> None:
        """Nothing to end."""

    def post(self, event: HostEvent) -> None:
        """Keep it."""
        self.events.append(event)


def process_of(
    seat: Seat, *, faults: bool = True, join: tuple[str, ...] = ()
) -> tuple[Process, ScriptedHost]:
    """A process that has not started."""
    config = ClusterConfig(faults=faults, join=list(join))
    settings = Settings(config=config, link_secret=Secret(b"s" * 32))
    process = Process(seat=seat, settings=settings, ray_node="ray-node", link_host="127.0.0.1")
    host = ScriptedHost()
    process.drive(host, lambda: "view")
    return process, host


def directory_of(version: int, *faults: Fault) -> Directory:
    """Two workers, and faults."""
    workers = tuple(
        WorkerEntry(name, NodeId(f"{name}/01"), "ray-node", ("127.0.0.1", 1)) for name in (W0, W1)
    )
    return Directory(version=version, workers=workers, faults=faults)


def faults_of(process: Process) -> list[LinkFault]:
    """What the process does to its links."""
    assert process._faults is not None
    return process._faults.describe()


def test_each_life_has_a_name_of_its_own_at_the_same_place() -> None:
    """What an earlier life wrote can be told from what this one writes."""
    seat = Seat("a", "worker", 0)
    first, second = process_of(seat)[0].node, process_of(seat)[0].node
    assert first != second
    assert name_of(first) == name_of(second) == "a/w0"


def test_the_machine_hears_of_a_directory_once() -> None:
    """The supervisor repeats itself; the machine is not bothered."""
    process, host = process_of(Seat("a", "worker", 0))
    assert process.set_directory(directory_of(1)) == 1
    assert process.set_directory(directory_of(1)) == 1
    assert [type(event) for event in host.events] == [ClusterChanged]


def test_an_old_directory_changes_nothing_and_the_answer_says_so() -> None:
    """It was overtaken on its way."""
    process, host = process_of(Seat("a", "worker", 0))
    process.set_directory(directory_of(5))
    assert process.set_directory(Directory(version=4)) == 5
    assert process.directory() == directory_of(5)
    assert len(host.events) == 1


def test_a_new_life_of_a_peer_is_no_news_to_the_machine() -> None:
    """Places have not changed, and nobody looks at the version alone."""
    process, host = process_of(Seat("a", "worker", 0))
    process.set_directory(directory_of(1))
    anew = msgspec.structs.replace(directory_of(2).workers[1], node=NodeId("a/w1/02"))
    process.set_directory(Directory(version=2, workers=(directory_of(1).workers[0], anew)))
    process.set_directory(directory_of(3, Fault("cut", W0, W1)))
    assert len(host.events) == 1


def test_a_new_address_of_a_peer_is_news_for_other_zones() -> None:
    """The machine tells them where to dial."""
    process, host = process_of(Seat("a", "worker", 0))
    process.set_directory(directory_of(1))
    moved = msgspec.structs.replace(directory_of(2).workers[1], link_address=("127.0.0.1", 9))
    process.set_directory(Directory(version=2, workers=(directory_of(1).workers[0], moved)))
    told = host.events[-1]
    assert isinstance(told, ClusterChanged)
    assert (told.version, told.workers[1].address) == (2, ("127.0.0.1", 9))


def test_a_retired_zone_is_news_to_the_machine() -> None:
    """Its people leave here."""
    process, host = process_of(Seat("a", "worker", 0))
    process.set_directory(directory_of(1))
    process.set_directory(msgspec.structs.replace(directory_of(2), retired=("b",)))
    told = host.events[-1]
    assert isinstance(told, ClusterChanged)
    assert told.retired == ["b"]


def test_a_link_with_a_worker_is_an_event_whatever_its_zone_is() -> None:
    """Each tells the other which zones it knows; gateways care for their own only."""
    process, host = process_of(Seat("a", "worker", 0))
    for node in ("a/w1/01", "a/g0/01", "b/w0/01"):
        process._on_link(NodeId(node), True, "open")
        process._on_link(NodeId(node), False, "silence")
    assert host.events == [PeerLinked(NodeId("a/w1/01")), PeerLinked(NodeId("b/w0/01"))]


def test_workers_of_other_zones_are_dialled_besides_our_own() -> None:
    """Whatever comes first, the directory or the machine's wish; nonsense is left out."""
    process, _ = process_of(Seat("a", "worker", 0))
    far = {NodeName("b/w0"): ("127.0.0.1", 7), NodeName("b/w1"): ("", 0)}
    process.dial(Dial(far))
    assert process._hub._targets == {"b/w0": ("127.0.0.1", 7)}
    process.set_directory(directory_of(1))
    assert process._hub._targets == {"a/w1": ("127.0.0.1", 1), "b/w0": ("127.0.0.1", 7)}
    process.dial(Dial({}))
    assert process._hub._targets == {"a/w1": ("127.0.0.1", 1)}


def test_a_zone_is_joined_once_it_can_be_told_who_is_here() -> None:
    """By workers, and not before their directory has come."""
    worker, _ = process_of(Seat("b", "worker", 0), join=("127.0.0.1:4050",))
    gateway, _ = process_of(Seat("b", "gateway", 0), join=("127.0.0.1:4050",))
    assert worker.describe().seeds == ()
    for process in (worker, gateway):
        process.set_directory(directory_of(1))
    address = ("127.0.0.1", 4050)
    assert worker.describe().seeds == (SeedInfo(address=address, name=None, open=False),)
    assert gateway.describe().seeds == ()


def test_a_cut_applies_at_both_ends_of_its_way() -> None:
    """Where it leaves and where it arrives."""
    cut = Fault("cut", W0, W1)
    first, _ = process_of(Seat("a", "worker", 0))
    second, _ = process_of(Seat("a", "worker", 1))
    first.set_directory(directory_of(1, cut))
    second.set_directory(directory_of(1, cut))
    assert faults_of(first) == [LinkFault(W1, "out", cut=True)]
    assert faults_of(second) == [LinkFault(W0, "in", cut=True)]


def test_delay_and_loss_apply_once_where_frames_leave() -> None:
    """At both ends they would count twice."""
    faults = (Fault("delay", W0, W1, delay_ms=50), Fault("loss", W0, W1, loss=0.5))
    first, _ = process_of(Seat("a", "worker", 0))
    second, _ = process_of(Seat("a", "worker", 1))
    first.set_directory(directory_of(1, *faults))
    second.set_directory(directory_of(1, *faults))
    assert faults_of(first) == [LinkFault(W1, "out", delay_ms=50, loss=0.5)]
    assert faults_of(second) == []


def test_faults_of_others_are_not_ours() -> None:
    """A gateway does not care how two workers hear each other."""
    process, _ = process_of(Seat("a", "gateway", 0))
    process.set_directory(directory_of(1, Fault("cut", W0, W1), Fault("cut", W1, G0)))
    assert faults_of(process) == [LinkFault(W1, "in", cut=True)]


def test_a_fault_may_name_a_node_of_another_zone() -> None:
    """So are two zones cut apart, from one of them."""
    process, _ = process_of(Seat("a", "worker", 0))
    far = NodeName("b/w0")
    process.set_directory(directory_of(1, Fault("cut", W0, far), Fault("cut", far, W0)))
    cut = [LinkFault(far, "in", cut=True), LinkFault(far, "out", cut=True)]
    assert faults_of(process) == cut


def test_a_directory_without_faults_heals() -> None:
    """And only what is not faulty any more."""
    process, _ = process_of(Seat("a", "worker", 0))
    process.set_directory(directory_of(1, Fault("cut", W0, W1), Fault("cut", W0, G0)))
    process.set_directory(directory_of(2, Fault("cut", W0, G0)))
    assert faults_of(process) == [LinkFault(G0, "out", cut=True)]
    process.set_directory(directory_of(3))
    assert faults_of(process) == []


def test_without_permission_faults_do_nothing() -> None:
    """The supervisor refuses them; an actor does not know how to make them."""
    process, _ = process_of(Seat("a", "worker", 0), faults=False)
    process.set_directory(directory_of(1, Fault("cut", W0, W1)))
    assert process._faults is None


def test_a_frame_becomes_an_event_and_garbage_becomes_nothing() -> None:
    """Whatever a peer sends, the actor lives."""
    process, host = process_of(Seat("a", "gateway", 0))
    sender = NodeId("a/w0/01")
    messages = [BeatAck(sender, [])]
    process._on_frame(sender, encode_frame(list(messages)))
    process._on_frame(sender, b"\xff garbage")
    assert host.events == [MessagesReceived(sender, list(messages))]


def test_a_secret_does_not_show() -> None:
    """Not in a log, not in a trace."""
    settings = Settings(config=ClusterConfig(), link_secret=Secret(b"hush"), token_key=Secret(b"k"))
    assert "hush" not in repr(settings)
    assert "Secret(...)" in repr(settings)


def test_what_is_reported_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line that says who and why."""
    process, _ = process_of(Seat("a", "worker", 0))
    with caplog.at_level(logging.WARNING):
        process.report(Report("DeltaRefused", NodeId("a/w1/01"), "its clock is ahead"))
    assert [record.getMessage() for record in caplog.records] == [
        "DeltaRefused sender=a/w1/01 reason='its clock is ahead'"
    ]
