"""Which Ray will do."""

import re
from importlib import metadata
from typing import Final

from presence_actors.errors import UsageError

#: Token authentication and the restart behaviour that we rely on, measured with it.
RAY_MIN: Final = (2, 60)


def require_ray(version: str | None = None) -> None:
    """Pass if Ray is installed and new enough.

    Args:
        version: What to judge; by default the installed one, which is not imported for it.

    Raises:
        UsageError: It is too old, or not there.
    """
    least = ".".join(str(part) for part in RAY_MIN)
    remedy = f'install one: pip install "ray>={least}"'
    if version is None:
        try:
            version = metadata.version("ray")
        except metadata.PackageNotFoundError as error:
            raise UsageError("Ray is not installed", remedy=remedy) from error
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < RAY_MIN:
        raise UsageError(f"Ray {version} is too old: {least} or newer is needed", remedy=remedy)
