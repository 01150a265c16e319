"""`presence demo` as a newcomer runs it: it ends by itself, well, and leaves nothing."""

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.integration.free_ports import first_of_free_ports
from tests.integration.polling import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

#: On two busy cores the zones of a demo start in some twenty seconds.
START_S = 90
#: What every process inherits that a demo starts.
MARK = "PRESENCE_TEST_OF_THE_DEMO"
SUMMARY = re.compile(
    r"summary: \d+ people, (\d+) joins, (\d+) leaves.*, (\d+) updates, "
    r"(\d+) lost connections that nobody noticed$",
    re.MULTILINE,
)


class Newcomer:
    """Somebody who has just found the project; their demos have a mark of their own."""

    def __init__(self, folder: Path) -> None:
        self.mark = str(folder)
        self.output = folder / "output"
        self.states = folder / "states"
        self.port = first_of_free_ports(4)

    def begin(self, *words: str, terminal: int | None = None) -> "subprocess.Popen[bytes]":
        """Start a demo; its lines go into `output` unless there is a terminal."""
        command = [sys.executable, "-m", "presence_actors.cli", "demo", f"--port={self.port}"]
        with self.output.open("wb") as output:
            return subprocess.Popen(
                [*command, *words],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output if terminal is None else terminal,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the demo and not the test.
                start_new_session=True,
            )

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Say `presence` with these words in a second terminal."""
        return subprocess.run(
            [sys.executable, "-m", "presence_actors.cli", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )

    @property
    def _environment(self) -> dict[str, str]:
        mine = {MARK: self.mark, "PRESENCE_STATE_DIR": str(self.states), "TERM": "xterm"}
        return {**os.environ, **mine}

    def saw(self, words: str) -> bool:
        """Whether a line with these words has come."""
        return words in self.output.read_text()

    def left(self) -> list[str]:
        """What runs of any of these demos."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    def sees_nothing_left(self) -> None:
        """Fail if anything still runs; the last of it may need a moment to be gone."""
        until(lambda: not self.left(), within_s=5, what=f"all has ended: {self.left()}")
        assert not list(self.states.glob("*/state.json"))


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """A newcomer; what a failing test leaves running is ended."""
    newcomer = Newcomer(tmp_path)
    yield newcomer
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == newcomer.mark:
                process.kill()
        except psutil.Error:
            continue


def test_a_demo_of_twenty_seconds_ends_by_itself_and_leaves_nothing(newcomer: Newcomer) -> None:
    """People come and go; zones are cut apart, a gateway is killed; nobody is offline by that.

    start -- people come -- cut -- 6 s -- heal -- kill -9 of a gateway -- 20 s: summary, status 0
    """
    demo = newcomer.begin("--for", "20s", "--seed", "7")
    assert demo.wait(START_S + 20) == 0
    newcomer.sees_nothing_left()
    output = newcomer.output.read_text()
    assert re.search(r"(?m)^ *4\.\d \* zones a and b are cut apart", output)
    for one, other in ("ab", "ba"):
        assert f"! zone {one} has not heard {other} since" in output
        assert f"* zone {one} hears {other} again" in output
    net = re.search(r"heard of each other after .*missed: a (\d+), b (\d+); reported (.*)", output)
    assert net is not None, output
    assert min(int(net[1]), int(net[2])) > 0
    assert net[3] == "offline: nobody"
    assert re.search(r"(?m)^ *13\.\d \* gateway-1 of zone a is killed", output)
    killed = re.search(r"(\d+) devices lost their connection and are back within", output)
    assert killed is not None, output
    assert int(killed[1]) > 0
    assert output.count("reported offline: nobody") == 2
    summary = SUMMARY.search(output)
    assert summary is not None, output
    joins, leaves, updates, lost = map(int, summary.groups())
    assert min(joins, leaves, updates, lost) > 0
    assert not re.search("Traceback|raylet", output)


def test_an_interrupted_demo_ends_well(newcomer: Newcomer) -> None:
    """Ctrl-C is the usual end of a demo: a summary, status 0, no process left."""
    demo = newcomer.begin("--people", "8", "--zones", "1")
    until(lambda: newcomer.saw(" joins "), within_s=START_S, what="somebody joins")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(20) == 0
    newcomer.sees_nothing_left()
    assert SUMMARY.search(newcomer.output.read_text())
    assert not newcomer.saw("Traceback")


def test_a_second_terminal_cuts_and_heals_the_zones_of_a_demo(newcomer: Newcomer) -> None:
    """`presence cut a b` and `presence heal` find them, and each zone tells what it sees."""
    demo = newcomer.begin("--people", "8", "--no-drama")
    until(lambda: newcomer.saw(" joins "), within_s=START_S, what="somebody joins")
    cut = newcomer.run("cut", "a", "b")
    assert (cut.returncode, cut.stderr) == (0, "")
    for one, other in ("ab", "ba"):
        words = f"zone {one} has not heard {other} since"
        until(partial(newcomer.saw, words), within_s=10, what=words)
    healed = newcomer.run("heal")
    assert (healed.stdout, healed.stderr) == ("healed: a, b\n", "")
    for one, other in ("ab", "ba"):
        words = f"zone {one} hears {other} again"
        until(partial(newcomer.saw, words), within_s=10, what=words)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(20) == 0
    newcomer.sees_nothing_left()
    assert SUMMARY.search(newcomer.output.read_text())
    assert not newcomer.saw("which is not true")


@pytest.mark.parametrize("under_way", ["ray.scripts", "GatewayActor", "spawn_main"])
def test_a_demo_that_is_interrupted_at_its_start_leaves_nothing(
    newcomer: Newcomer, under_way: str
) -> None:
    """Who changes their mind while it starts, early or late, need not clean up."""
    demo = newcomer.begin()
    until(
        lambda: any(under_way in line for line in newcomer.left()),
        within_s=START_S,
        what=f"{under_way} runs",
    )
    demo.send_signal(signal.SIGTERM if under_way == "ray.scripts" else signal.SIGINT)
    assert demo.wait(START_S) == 0
    newcomer.sees_nothing_left()
    assert not newcomer.saw("Traceback")


def test_a_terminal_shows_a_table_and_is_given_back(newcomer: Newcomer) -> None:
    """The live table has a screen of its own; afterwards the last state stays to be read."""
    ours, theirs = pty.openpty()
    demo = newcomer.begin("--for", "16s", "--people", "6", terminal=theirs)
    os.close(theirs)
    shown = b""
    # So a terminal ends whose other side is closed.
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65_536):
            shown += data
    os.close(ours)
    assert demo.wait(START_S) == 0
    newcomer.sees_nothing_left()
    text = shown.decode()
    assert f"open http://127.0.0.1:{newcomer.port}/" in text
    for words in ("zone a", "zone b", "replicas ready 16/16", "seen in b", "unreachable"):
        assert words in text
    live, _, rest = text.rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in live
    assert "alice" in live
    assert re.search(r"alice.*dave", rest, re.DOTALL)
    assert "summary: 6 people" in rest


def test_a_taken_port_is_one_line(newcomer: Newcomer) -> None:
    """It names the port and says what to do, before anything was started."""
    with socket.create_server(("127.0.0.1", newcomer.port)):
        demo = newcomer.begin()
        assert demo.wait(START_S) == 2
    newcomer.sees_nothing_left()
    (line,) = newcomer.output.read_text().splitlines()
    assert line.startswith(f"presence: port = {newcomer.port}: ")
    assert "--port" in line
