"""How a zone comes to another one: the secret, and what the seeds say."""

from pathlib import Path

import pytest

from presence_actors.actors.directory import Description
from presence_actors.actors.joining import Contact, find_secret, secret_of, zones_of
from presence_actors.actors.state import ClusterState, StateFolder
from presence_actors.config import ClusterConfig
from presence_actors.core.ids import NodeId, NodeName
from presence_actors.errors import ConfigError, UsageError
from presence_actors.links.connection import SeedInfo

ADDRESS = ("127.0.0.1", 4050)
JOINING = ClusterConfig(zone="b", join=["127.0.0.1:4050"])
SECRET = bytes(range(32))


def described(*seeds: SeedInfo) -> list[Description]:
    """Workers of a zone that joins, one for each seed."""
    return [
        Description(
            name=NodeName(f"b/w{index}"),
            node=NodeId(f"b/w{index}/01"),
            role="worker",
            host="ray-node",
            process_id=1,
            directory_version=1,
            link_address=("127.0.0.1", 1),
            url=None,
            trouble=None,
            seeds=(seed,),
        )
        for index, seed in enumerate(seeds)
    ]


def seed_of(code: str = "", trouble: str = "", *, is_open: bool = False) -> SeedInfo:
    """How it stands with the address."""
    return SeedInfo(address=ADDRESS, name=None, open=is_open, code=code, trouble=trouble)


def test_a_secret_is_read_as_it_is_stored() -> None:
    """Hexadecimal, with or without a line's end; anything else is taken as it is."""
    assert secret_of(SECRET.hex().encode() + b"\n", "f") == SECRET
    assert secret_of(b"not hexadecimal, but long enough", "f").startswith(b"not hex")


@pytest.mark.parametrize("text", [b"", b"short", b"00ff" * 4])
def test_a_short_secret_is_refused_without_showing_it(text: bytes) -> None:
    """By the file that it is in."""
    with pytest.raises(ConfigError, match=r"secret-file = 'some/file': must hold at least 16"):
        secret_of(text, "some/file")


def remember(states: Path, config: ClusterConfig) -> None:
    """A cluster that was started on this machine, in a Ray of somebody else."""
    folder = StateFolder(states / config.zone)
    folder.write(ClusterState(config=config, address="127.0.0.1:1", local_ray=None))
    folder.write_link_secret(SECRET)


def test_a_zone_of_this_machine_lends_its_secret(tmp_path: Path) -> None:
    """The one whose links listen where we are to join: the ports that it was given, at its host."""
    remember(tmp_path, ClusterConfig(link_port=4049, workers=2))
    assert [folder.path.name for folder in zones_of(tmp_path)] == ["a"]
    assert find_secret(JOINING, tmp_path) == SECRET


@pytest.mark.parametrize(
    "config",
    [
        ClusterConfig(link_port=4051),
        ClusterConfig(link_port=4048),
        ClusterConfig(link_port=4050, link_host="10.0.0.1"),
        ClusterConfig(link_port=4050, zone="b"),
        ClusterConfig(),
    ],
)
def test_a_zone_that_listens_elsewhere_lends_nothing(tmp_path: Path, config: ClusterConfig) -> None:
    """The line says what to do instead."""
    remember(tmp_path, config)
    with pytest.raises(UsageError, match=r"no zone .* at 127\.0\.0\.1:4050; .* --secret-file"):
        find_secret(JOINING, tmp_path)


def test_one_open_link_is_contact() -> None:
    """Whatever the other workers say."""
    contact = Contact(JOINING, described(seed_of("late", "no hello"), seed_of(is_open=True)))
    assert contact.missing() == {}
    contact.require_welcome()


def test_without_a_link_the_trouble_is_told_once_with_its_address() -> None:
    """Nobody listens there yet, say."""
    trouble = seed_of("unreachable", "127.0.0.1:4050: connection refused")
    contact = Contact(JOINING, described(trouble, trouble))
    assert contact.missing() == {"127.0.0.1:4050": "connection refused"}
    contact.require_welcome()


def test_before_any_worker_has_spoken_there_is_no_contact() -> None:
    """It is not there because nobody says otherwise."""
    assert Contact(JOINING, []).missing() == {"127.0.0.1:4050": "no answer"}


def test_a_zone_that_joins_nobody_misses_nobody() -> None:
    """The first zone."""
    assert Contact(ClusterConfig(), described()).missing() == {}


@pytest.mark.parametrize("code", ["version", "cluster", "shards", "proof", "self"])
def test_what_time_does_not_heal_is_a_refusal(code: str) -> None:
    """The line says where, and what the other side said."""
    contact = Contact(JOINING, described(seed_of(), seed_of(code, "this is why")))
    with pytest.raises(UsageError, match=r"cannot join 127\.0\.0\.1:4050: this is why"):
        contact.require_welcome()


@pytest.mark.parametrize("code", ["unreachable", "late", "silence", "busy", "gone", "superseded"])
def test_what_may_pass_is_no_refusal(code: str) -> None:
    """It is tried again."""
    Contact(JOINING, described(seed_of(code, "not now"))).require_welcome()
