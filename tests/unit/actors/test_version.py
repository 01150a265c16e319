"""Which Ray will do."""

import pytest

from presence_actors.actors.version import require_ray
from presence_actors.errors import UsageError


@pytest.mark.parametrize("version", ["2.60.0", "2.61.0rc1", "2.100.0", "3.0.0.dev0"])
def test_a_ray_from_2_60_on_will_do(version: str) -> None:
    """Compared as numbers: 2.100 is newer than 2.60."""
    require_ray(version)


@pytest.mark.parametrize("version", ["2.59.3", "2.9.0", "1.99.0", "unknown"])
def test_an_older_ray_is_refused_with_what_is_needed(version: str) -> None:
    """One line: which one is there, which is needed, how to get it."""
    with pytest.raises(UsageError) as refused:
        require_ray(version)
    assert str(refused.value) == (
        f'Ray {version} is too old: 2.60 or newer is needed; install one: pip install "ray>=2.60"'
    )
