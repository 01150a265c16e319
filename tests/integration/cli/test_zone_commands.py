"""Two zones as a person runs them: `presence up --join | retire-zone | cut | heal`."""

import json
import re

import pytest

from tests.integration.cli.conftest import Operator
from tests.integration.free_ports import first_of_free_ports
from tests.integration.polling import until

SMALL = ("--shards", "4", "--gateways", "1")


def zones_of(operator: Operator, zone: str) -> str:
    """The table of other zones."""
    status = operator.run("status", "--zone", zone)
    assert status.returncode == 0, status.stderr
    return status.stdout.partition("other zones")[2].partition("links  ")[0]


def wait_until_shown(operator: Operator, zone: str, words: str) -> None:
    """Return once the table of other zones has these words."""
    until(lambda: words in zones_of(operator, zone) or None, within_s=15, what=words)


@pytest.mark.ray
def test_a_zone_joins_another_and_is_cut_off_healed_and_retired(operator: Operator) -> None:
    """One life of two zones on a machine, and whom they refuse."""
    port, links = first_of_free_ports(3), first_of_free_ports(2)
    address = f"127.0.0.1:{links}"
    up = operator.run("up", "--faults", "--port", str(port), "--link-port", str(links), *SMALL)
    assert up.returncode == 0, up.stderr
    assert f"presence up --zone NAME --join {address}" in up.stdout

    joining = ("up", "--port", str(port + 1), "--join", address, "--gateways", "1")
    line = operator.is_refused(*joining, "--zone", "b", "--shards", "8")
    assert re.search(
        rf"cannot join {address}: a/w0/\w+: has 4 shards and b/w\d has 8; .*--shards", line
    )
    secret = operator.state_dir / "secret"
    secret.write_text("not the secret of that zone at all")
    secret.chmod(0o600)
    line = operator.is_refused(
        *joining, "--zone", "b", "--shards", "4", "--secret-file", str(secret)
    )
    assert re.search(rf"cannot join {address}: .*does not know the cluster's secret", line)
    secret.unlink()
    assert "no zone b was started on this machine" in operator.is_refused("cut", "a", "b")

    up = operator.run(*joining, "--zone", "b", "--shards", "4", "--faults")
    assert up.returncode == 0, up.stderr
    assert up.stderr == ""
    ours, theirs = (operator.state_dir / zone / "cluster_secret" for zone in "ab")
    assert ours.read_bytes() == theirs.read_bytes()
    assert re.search(r"b .* 4/4 .* \d+ ms", zones_of(operator, "a"))
    assert re.search(r"a .* 4/4 .* \d+ ms", zones_of(operator, "b"))

    assert operator.run("cut", "a", "b").returncode == 0
    for zone in "ab":
        wait_until_shown(operator, zone, " 0/4 ")
    healed = operator.run("heal")
    assert healed.stdout == "healed: a, b\n"
    wait_until_shown(operator, "b", " 4/4 ")

    line = operator.is_refused("retire-zone", "a")
    assert "zone a cannot retire itself" in line
    assert "its people leave" in operator.run("retire-zone", "b").stdout
    assert "retired" in zones_of(operator, "a")
    assert operator.run("retire-zone", "b", "--undo").returncode == 0
    wait_until_shown(operator, "a", " 4/4 ")

    for zone in "ba":
        assert operator.run("down", "--zone", zone).returncode == 0
    assert operator.processes() == []


@pytest.mark.ray
def test_a_zone_that_cannot_reach_the_one_it_joins_says_so_and_serves(operator: Operator) -> None:
    """The other one may be down for the moment."""
    secret = operator.state_dir / "secret"
    secret.write_text("ab" * 32)
    secret.chmod(0o600)
    port, nobody = first_of_free_ports(1), first_of_free_ports(1)
    up = operator.run(
        *("up", "--zone", "b", "--port", str(port), "--join", f"127.0.0.1:{nobody}"),
        *("--secret-file", str(secret), *SMALL),
    )
    assert up.returncode == 0
    assert len(up.stderr.splitlines()) == 1
    assert f"no contact with 127.0.0.1:{nobody} yet, and still trying" in up.stderr
    pictures = json.loads(operator.run("status", "--json", "--zone", "b").stdout)
    assert pictures["gateway-0"]["view"]["ready"] is True
    assert operator.run("down", "--zone", "b").returncode == 0
    secret.unlink()


def test_a_secret_that_others_can_read_is_refused(operator: Operator) -> None:
    """It is none any more."""
    secret = operator.state_dir / "secret"
    secret.write_text("ab" * 32)
    secret.chmod(0o640)
    line = operator.is_refused("up", "--secret-file", str(secret))
    assert "chmod 600" in line


def test_a_short_secret_is_refused(operator: Operator) -> None:
    """It could be guessed."""
    secret = operator.state_dir / "secret"
    secret.write_text("abcdef")
    secret.chmod(0o600)
    line = operator.is_refused("up", "--secret-file", str(secret))
    assert "must hold at least 16 bytes" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("cut", "a", "b"), "no zone a was started on this machine; .*presence up --faults"),
        (("heal",), "no cluster of this machine takes faults; .*presence up --faults"),
        (("retire-zone", "b"), "no cluster a is running here"),
    ],
)
def test_without_zones_the_way_to_start_one_is_named(
    operator: Operator, words: tuple[str, ...], says: str
) -> None:
    """Nothing runs, so there is nothing to cut, to heal or to retire."""
    assert re.search(says, operator.is_refused(*words))
