"""What a machine remembers of the cluster that was started from it: one folder for each zone."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from presence_actors.actors.local_ray import LocalRay, write_secret
from presence_actors.config import ClusterConfig
from presence_actors.errors import UsageError

STATE_FILE: Final = "state.json"
LINK_SECRET_FILE: Final = "cluster_secret"  # noqa: S105  # a name
_LOCK_FILE: Final = "lock"
_STATES_VARIABLE: Final = "PRESENCE_STATE_DIR"


def states_folder() -> Path:
    """Where this machine remembers its clusters, in a folder for each zone."""
    root = os.environ.get(_STATES_VARIABLE)
    return Path(root) if root else Path.home() / ".local/state/presence-actors"


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that was started from here. No secrets."""

    config: ClusterConfig
    #: Of its Ray.
    address: str
    #: None if the Ray is somebody else's.
    local_ray: LocalRay | None


class StateFolder:
    """The folder of one zone; made when something is first written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> ClusterState | None:
        """The cluster that was started from here and not ended, as far as is known.

        Raises:
            UsageError: The file is not one of ours.
        """
        path = self.path / STATE_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=ClusterState)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{path} cannot be read ({error})",
                remedy="end the processes of that cluster by hand and remove the file",
            ) from error

    def write(self, state: ClusterState) -> None:
        """Remember a cluster; readable by its owner only."""
        self._make()
        write_secret(self.path / STATE_FILE, msgspec.json.format(msgspec.json.encode(state)))

    def write_link_secret(self, secret: bytes) -> None:
        """Remember the secret of the peer links."""
        self._make()
        write_secret(self.path / LINK_SECRET_FILE, secret.hex().encode())

    def forget(self) -> None:
        """Remove everything, and the folder itself."""
        for path in list(self.path.glob("*")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or ends this zone's cluster meanwhile.

        Raises:
            UsageError: Somebody is doing so right now.
        """
        self._make()
        with (self.path / _LOCK_FILE).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"the cluster in {self.path} is being started or ended at this moment",
                    remedy="wait for that, then try again",
                ) from error
            yield

    def _make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
