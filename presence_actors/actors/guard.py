"""Ends our Ray when the process that it depends on is gone, however that came about.

A process that is killed, or that crashes inside Ray (as one does that is interrupted while it
connects), cannot clean up after itself. So this runs beside it as a small process of its own, at
the reading end of a pipe: the end of the pipe is the end of the other process, unless a word came
before it.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from presence_actors.actors.local_ray import LocalRay, stop

_RELEASE: Final = b"release\n"
_END_SECONDS: Final = 30.0


class Guard:
    """Watches over a Ray on behalf of this process.

    Args:
        state_dir: Where the cluster is remembered; forgotten together with its Ray.
    """

    def __init__(self, state_dir: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and words of ours
            [sys.executable, "-m", __name__, str(state_dir)],
            stdin=subprocess.PIPE,
            # A session of its own: Ctrl-C must not end it together with what it watches.
            start_new_session=True,
        )

    def watch(self, ray: LocalRay) -> None:
        """From now on, end this Ray together with this process."""
        pipe = self._process.stdin
        if pipe is not None:
            pipe.write(msgspec.json.encode(ray) + b"\n")
            pipe.flush()

    def release(self) -> None:
        """The Ray may outlive this process, or is ended already. Harmless when said twice."""
        if self._process.returncode is None:
            self._process.communicate(_RELEASE, timeout=_END_SECONDS)


def main() -> None:
    """Wait for the end of the pipe; end Ray unless released."""
    state_dir = Path(sys.argv[1])
    said = sys.stdin.buffer.readlines()
    if _RELEASE in said:
        return
    for line in said:
        stop(msgspec.json.decode(line, type=LocalRay))
    for path in state_dir.glob("*"):
        path.unlink(missing_ok=True)
    if state_dir.is_dir():
        state_dir.rmdir()


if __name__ == "__main__":
    main()
