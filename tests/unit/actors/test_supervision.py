"""What the supervisor decides: seats, lives, directories."""

import msgspec

from presence_actors.actors.directory import (
    Description,
    Directory,
    Fault,
    Seat,
    cluster_changed,
    seats_of,
    targets,
)
from presence_actors.actors.supervision import PATIENCE_MS, Supervision
from presence_actors.config import ClusterConfig
from presence_actors.core.events import ClusterChanged
from presence_actors.core.ids import NodeId, NodeName, ZoneId
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.messages import Worker

CONFIG = ClusterConfig(workers=2, gateways=1)
CUT = Fault("cut", NodeName("a/w0"), NodeName("a/w1"))


def word_of(name: str, *, life: str = "01", version: int = 0, port: int = 1) -> Description:
    """What an actor that has started says of itself."""
    worker = name.startswith("a/w")
    return Description(
        name=NodeName(name),
        node=NodeId(f"{name}/{life}"),
        role="worker" if worker else "gateway",
        host="ray-node",
        process_id=1,
        directory_version=version,
        link_address=("127.0.0.1", port),
        url=None if worker else f"ws://{name}",
        trouble=None,
    )


def supervision_of(*words: Description, wall: int = 1_000) -> Supervision:
    """A supervisor that has heard this and renewed its directory."""
    supervision = Supervision(CONFIG, started=Instant(0))
    for word in words:
        supervision.learn(word)
    supervision.renew_directory(instant=Instant(1), wall=WallMs(wall))
    return supervision


EVERYBODY = [word_of("a/w0"), word_of("a/w1", port=2), word_of("a/g0")]


def test_the_first_directory_waits_for_all_workers() -> None:
    """Placement depends on the set of workers: one that is slow must not move shards twice."""
    supervision = supervision_of(word_of("a/w0"))
    assert supervision.directory == Directory()
    supervision.learn(word_of("a/w1"))
    assert supervision.renew_directory(instant=Instant(2), wall=WallMs(1_001))
    assert [entry.name for entry in supervision.directory.workers] == ["a/w0", "a/w1"]


def test_a_worker_that_never_comes_is_not_waited_for_for_ever() -> None:
    """The others serve without it."""
    supervision = supervision_of(word_of("a/w0"))
    assert supervision.renew_directory(instant=Instant(PATIENCE_MS), wall=WallMs(1_001))
    assert [entry.name for entry in supervision.directory.workers] == ["a/w0"]


def test_nothing_new_is_no_new_directory() -> None:
    """Versions count changes, not rounds."""
    supervision = supervision_of(*EVERYBODY)
    version = supervision.directory.version
    assert not supervision.renew_directory(instant=Instant(2), wall=WallMs(9_000))
    assert supervision.directory.version == version


def test_a_new_life_renews_the_directory() -> None:
    """Its links listen elsewhere."""
    supervision = supervision_of(*EVERYBODY)
    supervision.learn(word_of("a/w0", life="02", port=7))
    assert supervision.renew_directory(instant=Instant(2), wall=WallMs(1_001))
    assert supervision.directory.workers[0].node == "a/w0/02"
    assert supervision.directory.workers[0].link_address == ("127.0.0.1", 7)


def test_the_word_of_an_earlier_life_comes_too_late() -> None:
    """An answer may have been under way when its sender died."""
    supervision = supervision_of(*EVERYBODY)
    supervision.learn(word_of("a/w0", life="02", port=7))
    supervision.learn(word_of("a/w0", life="01"))
    assert supervision.describe()[0].node == "a/w0/02"


def test_a_silent_worker_keeps_its_place() -> None:
    """It will come back; to move its shards for a second would cost more than it helps."""
    supervision = supervision_of(*EVERYBODY)
    starting = msgspec.structs.replace(word_of("a/w0", life="02"), link_address=None)
    supervision.learn(starting)
    supervision.renew_directory(instant=Instant(PATIENCE_MS + 1), wall=WallMs(1_001))
    assert [entry.name for entry in supervision.directory.workers] == ["a/w0", "a/w1"]


def test_a_version_never_falls_when_the_wall_clock_does() -> None:
    """A version that fell would be taken for an old one, and never be heard of."""
    supervision = supervision_of(*EVERYBODY, wall=1_000)
    supervision.learn(word_of("a/w0", life="02"))
    supervision.renew_directory(instant=Instant(2), wall=WallMs(10))
    assert supervision.directory.version == 1_001


def test_those_with_an_older_directory_are_behind_until_they_were_told() -> None:
    """A restarted actor starts without any."""
    supervision = supervision_of(*EVERYBODY)
    assert supervision.behind() == seats_of(CONFIG)
    supervision.told(NodeName("a/w1"), supervision.directory.version)
    assert [seat.node_name for seat in supervision.behind()] == ["a/w0", "a/g0"]


def test_a_restarted_supervisor_takes_over_what_the_earlier_one_had_told() -> None:
    """Faults are known to nobody else."""
    earlier = supervision_of(*EVERYBODY)
    earlier.inject([CUT])
    version = earlier.directory.version
    supervision = Supervision(CONFIG, started=Instant(5_000))
    for word in EVERYBODY:
        supervision.learn(msgspec.structs.replace(word, directory_version=version))
    assert supervision.ahead() == seats_of(CONFIG)
    supervision.recover(earlier.directory)
    assert supervision.ahead() == []
    assert not supervision.renew_directory(instant=Instant(5_001), wall=WallMs(6_000))
    assert supervision.directory.faults == (CUT,)


def test_a_fault_replaces_one_of_its_kind_on_the_same_way_and_heal_ends_all() -> None:
    """Each is a change that everybody hears of."""
    supervision = supervision_of(*EVERYBODY)
    first = supervision.directory.version
    slow = Fault("delay", NodeName("a/w0"), NodeName("a/w1"), delay_ms=10)
    slower = msgspec.structs.replace(slow, delay_ms=20)
    supervision.inject([CUT, slow])
    supervision.inject([slower])
    assert list(supervision.directory.faults) == [CUT, slower]
    supervision.heal()
    healed = supervision.directory
    assert (list(healed.faults), healed.version) == ([], first + 3)


def test_a_stranger_is_not_learnt() -> None:
    """A seat that the cluster does not have takes no place in the directory."""
    supervision = supervision_of(*EVERYBODY, word_of("a/w9"))
    assert [entry.name for entry in supervision.directory.workers] == ["a/w0", "a/w1"]


def test_of_two_workers_the_smaller_name_dials_and_gateways_dial_all() -> None:
    """One link for each pair."""
    directory = supervision_of(*EVERYBODY).directory
    first, second = ("127.0.0.1", 1), ("127.0.0.1", 2)
    assert targets(directory, name=NodeName("a/w0"), role="worker") == {"a/w1": second}
    assert targets(directory, name=NodeName("a/w1"), role="worker") == {}
    everybody = {"a/w0": first, "a/w1": second}
    assert targets(directory, name=NodeName("a/g0"), role="gateway") == everybody


def test_machines_hear_of_names_and_places_but_not_of_lives() -> None:
    """A restart changes nothing in the placement."""
    supervision = supervision_of(*EVERYBODY)
    supervision.retire("b")
    assert cluster_changed(supervision.directory) == ClusterChanged(
        [
            Worker(NodeName("a/w0"), "ray-node", ("127.0.0.1", 1)),
            Worker(NodeName("a/w1"), "ray-node", ("127.0.0.1", 2)),
        ],
        {NodeName("a/g0"): "ws://a/g0"},
        version=supervision.directory.version,
        retired=[ZoneId("b")],
    )


def test_retired_zones_are_told_until_they_are_restored() -> None:
    """Also by the next life of the supervisor, and whatever is healed."""
    earlier = supervision_of(*EVERYBODY)
    first = earlier.directory.version
    earlier.retire("c")
    earlier.retire("b")
    earlier.retire("b")
    earlier.heal()
    supervision = Supervision(CONFIG, started=Instant(5_000))
    supervision.recover(earlier.directory)
    assert (supervision.directory.retired, supervision.directory.version) == (("b", "c"), first + 4)
    supervision.restore("b")
    assert supervision.directory.retired == ("c",)


def test_a_seat_has_a_name_among_nodes_and_one_among_actors() -> None:
    """People see both."""
    seat = Seat("a", "gateway", 1)
    assert (seat.node_name, seat.actor_name) == ("a/g1", "gateway-1")
