"""What we read of a Ray that is starting."""

from pathlib import Path

from presence_actors.actors import local_ray


def test_a_ray_that_has_not_written_its_address_yet_has_none(tmp_path: Path) -> None:
    """It says that it runs before the file is there, and creates the file before it fills it."""
    assert local_ray.written_address(tmp_path) is None
    file = tmp_path / "ray_current_cluster"
    file.touch()
    assert local_ray.written_address(tmp_path) is None
    file.write_text("127.0.0.1:6379")
    assert local_ray.written_address(tmp_path) == "127.0.0.1:6379"
