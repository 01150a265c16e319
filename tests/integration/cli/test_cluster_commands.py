"""`presence up | status | down | fault` as a person runs them: real processes, one-line errors."""

import json
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest

from presence_actors.actors import local_ray
from tests.integration.cli.conftest import UP_S, Operator
from tests.integration.free_ports import first_of_free_ports
from tests.integration.polling import until


@pytest.mark.ray
def test_a_cluster_comes_up_answers_and_goes_down_without_a_trace(operator: Operator) -> None:
    """One life of a cluster, and what is refused while it lives."""
    port = first_of_free_ports(2)
    up = operator.run("up", "--port", str(port), "--knob", "grace_connection=5s")
    assert up.returncode == 0, up.stderr
    assert f"ws://127.0.0.1:{port}, ws://127.0.0.1:{port + 1}" in up.stdout
    assert operator.processes()

    for secret in ("ray_token", "cluster_secret", "state.json"):
        assert (operator.state_dir / "a" / secret).stat().st_mode & 0o077 == 0

    table = operator.run("status")
    assert table.returncode == 0, table.stderr
    for word in ("worker-0", "worker-1", "gateway-0", "gateway-1", "16/16", "0-15"):
        assert word in table.stdout
    pictures = json.loads(operator.run("status", "--json").stdout)
    assert pictures["worker-0"]["view"]["ready"] is True
    assert pictures["gateway-1"]["description"]["url"] == f"ws://127.0.0.1:{port + 1}"

    line = operator.is_refused("up", "--port", str(port))
    assert line == (
        "presence: cluster a is already running (presence status); stop it with: presence down"
    )
    assert "presence up --faults" in operator.is_refused("fault", "cut", "w0", "w1")

    down = operator.run("down")
    assert down.returncode == 0, down.stderr
    assert operator.processes() == []
    assert list(operator.state_dir.iterdir()) == []


@pytest.mark.ray
def test_a_cluster_that_cannot_start_leaves_nothing_behind(operator: Operator) -> None:
    """Ray starts, our part fails: Ray is ended again."""
    port = first_of_free_ports(2)
    line = operator.is_refused(
        "up", "--port", str(port), "--link-host", "192.0.2.1", "--shards", "4"
    )
    assert "cannot start" in line
    assert operator.processes() == []
    assert list(operator.state_dir.iterdir()) == []


@pytest.mark.ray
@pytest.mark.parametrize("moment", ["Starting", "Connecting"])
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_broken_off_leaves_nothing_behind(
    operator: Operator, ending: signal.Signals, moment: str
) -> None:
    """Whoever changes their mind need not clean up, whatever they end it with."""
    port = first_of_free_ports(2)
    up = operator.begin("up", "--port", str(port))
    log = operator.state_dir / "a" / "ray.log"
    sign = b"Ray runtime started" if moment == "Connecting" else b""

    def is_there() -> bool | None:
        return (log.exists() and sign in log.read_bytes()) or None

    until(is_there, within_s=UP_S, what=f"the moment of {moment}")
    up.send_signal(ending)
    up.communicate(timeout=30)
    assert up.returncode != 0
    until(lambda: not operator.processes() or None, within_s=20, what="no process is left")
    assert list(operator.state_dir.iterdir()) == []


@pytest.mark.ray
def test_after_a_crash_of_ray_the_way_out_is_named_and_works(operator: Operator) -> None:
    """As after the machine was switched off: what is remembered does not stand in the way."""
    port = first_of_free_ports(1)
    shape = ("--port", str(port), "--gateways", "1", "--workers", "1", "--replicas", "1")
    assert operator.run("up", *shape).returncode == 0
    state = json.loads((operator.state_dir / "a" / "state.json").read_text())
    processes = operator.processes()
    psutil.Process(state["local_ray"]["process_id"]).kill()
    psutil.wait_procs(processes, timeout=30)
    assert "presence down" in operator.is_refused("status")
    assert operator.run("up", *shape).returncode == 0
    assert operator.run("down").returncode == 0
    assert not Path(state["local_ray"]["folder"]).exists()


@pytest.mark.ray
def test_a_cluster_in_a_ray_of_somebody_else_ends_without_ending_that_ray(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Only what is ours is ended."""
    theirs = tmp_path_factory.mktemp("theirs")
    ray = local_ray.start(theirs)
    try:
        settings = local_ray.settings_of(theirs)
        port = first_of_free_ports(2)
        at = ("--address", ray.address)
        up = operator.run("up", "--port", str(port), *at, **settings)
        assert up.returncode == 0, up.stderr
        assert "16/16" in operator.run("status", **settings).stdout
        line = operator.is_refused("up", *at, "--port", str(port + 2), settings=settings)
        assert "already running" in line
        # From another machine, which knows no more than the address.
        elsewhere = Operator(operator.state_dir / "elsewhere")
        assert "16/16" in elsewhere.run("status", *at, **settings).stdout
        line = elsewhere.is_refused("up", *at, "--port", str(port + 2), settings=settings)
        assert "already running" in line
        down = elsewhere.run("down", *at, **settings)
        assert down.returncode == 0, down.stderr
        assert local_ray.is_running(ray)
        assert operator.is_refused("status", settings=settings, status=1)
        assert operator.run("down", **settings).returncode == 0
        assert local_ray.is_running(ray)
    finally:
        local_ray.stop(ray)
    assert local_ray.processes_of(ray) == []


@pytest.mark.sockets
def test_a_taken_port_is_named_and_nothing_is_started(operator: Operator) -> None:
    """Also when it is the second gateway's."""
    first = first_of_free_ports(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 1))
        taken.listen()
        line = operator.is_refused("up", "--port", str(first))
    assert re.search(rf"port = {first + 1}: .*--port", line)
    assert operator.processes() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--knob", "client_lease=1s"), r"client_lease_ms = 1000: must be at least 2 x heartbeat"),
        (("--knob", "patience=1s"), r"patience = '1s': is no knob"),
        (("--knob", "grace_connection=soon"), r"grace_connection = 'soon': must be a duration"),
        (("--knob", "nonsense"), r"--knob = 'nonsense': must be name=value"),
        (("--replicas", "3"), r"replicas = 3: must be at most workers = 2"),
        (("--shards", "0"), r"shards = 0: must be at least 1"),
        (("--port", "70000"), r"port = 70000: must leave room"),
        (("--link-port", "65535"), r"link_port = 65535: must be 0, or leave room for 2 workers"),
        (("--join", "somewhere"), r"join = 'somewhere': must be HOST:PORT"),
        (("--zone", "b", "--join", "127.0.0.1:1"), r"no zone .* listens .*:1; .*--secret-file"),
        (("--secret-file", "/nowhere/secret"), r"--secret-file /nowhere/secret cannot be read"),
        (("--zone", "Zone A"), r"zone = 'Zone A': must be"),
        (("--host", "0.0.0.0"), r"host = '0.0.0.0': needs --jwt-key-file"),  # noqa: S104
        (("--faults", "--link-host", "10.0.0.1"), r"faults = True: only where .* loopback"),
        (("--origin", "nonsense"), r"nonsense"),
        (("--jwt-key-file", "/nowhere/key"), r"/nowhere/key cannot be read"),
        (("--webhook", "app.example"), r"webhook = 'app.example': must be an address"),
        (("--webhook", "http://127.0.0.1:1/"), r"webhook = .*: needs --webhook-key-file"),
        (("--webhook-key-file", "/nowhere/hook"), r"/nowhere/hook cannot be read"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(
    operator: Operator, words: tuple[str, ...], says: str
) -> None:
    """The line names the knob, its value and the constraint; nothing is started."""
    line = operator.is_refused("up", "--port", str(first_of_free_ports(2)), *words)
    assert re.search(says, line), line


def test_a_bad_knob_in_the_environment_is_refused_by_the_name_it_has_there(
    operator: Operator,
) -> None:
    """Who set a variable looks for the variable."""
    line = operator.is_refused("up", settings={"PRESENCE_KNOB_HEARTBEAT": "often"})
    assert "PRESENCE_KNOB_HEARTBEAT = 'often'" in line


def test_a_key_that_others_can_read_is_refused(operator: Operator, tmp_path: Path) -> None:
    """It protects nothing any more."""
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    line = operator.is_refused("up", "--jwt-key-file", str(key))
    assert "chmod 600" in line


@pytest.mark.parametrize("command", ["status", "down"])
def test_without_a_cluster_the_way_to_start_one_is_named(operator: Operator, command: str) -> None:
    """Nothing runs, so there is nothing to show and nothing to end."""
    line = operator.is_refused(command)
    assert "no cluster a is running here; start one with: presence up" in line


@pytest.mark.sockets
@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_ray_that_cannot_be_reached_is_named(operator: Operator, command: str) -> None:
    """At once where nobody listens."""
    port = first_of_free_ports(1)
    line = operator.is_refused(command, "--address", f"127.0.0.1:{port}", status=1)
    assert "Ray cannot be reached" in line
    assert f"127.0.0.1:{port}" in line
