"""Frames of Phoenix Channels: versions, golden examples, and that they decode for ever."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from presence_actors.wire.phoenix_frames import Version, decode_frame, encode_json, version_of
from tests.golden.phoenix_frames import CLIENT_V1, CLIENT_V2, server_frames

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize(
    ("vsn", "version"),
    [
        (None, Version.V1),
        ("1.0.0", Version.V1),
        ("1.0.7", Version.V1),
        ("2.0.0", Version.V2),
        ("2.0.12", Version.V2),
        ("2.1.0", None),
        ("3.0.0", None),
        ("2.0", None),
        ("2.0.", None),
        ("2.0.0.0", None),
        ("2.0.\u0663", None),
        ("", None),
        ("two", None),
    ],
)
def test_the_parameter_vsn_chooses_the_framing(vsn: str | None, version: Version | None) -> None:
    """Absent means the first; what we do not speak is refused and never guessed."""
    assert version_of(vsn) is version


@pytest.mark.parametrize("name", CLIENT_V2)
def test_a_golden_frame_of_a_client_of_version_2_decodes_for_ever(name: str) -> None:
    """Stock clients that are out there keep working."""
    text = (GOLDEN / "phoenix-v2" / f"client-{name}.json").read_text(encoding="utf-8")
    assert decode_frame(Version.V2, text) == CLIENT_V2[name]


@pytest.mark.parametrize("name", CLIENT_V1)
def test_a_golden_frame_of_a_client_of_version_1_decodes_for_ever(name: str) -> None:
    """As version 2."""
    text = (GOLDEN / "phoenix-v1" / f"client-{name}.json").read_text(encoding="utf-8")
    assert decode_frame(Version.V1, text) == CLIENT_V1[name]


@pytest.mark.parametrize("version", Version)
def test_what_clients_hear_stays_as_the_golden_frames_have_it(version: Version) -> None:
    """Byte for byte: watchers of two releases in one room hold the same refs."""
    folder = GOLDEN / f"phoenix-v{version}"
    found = {path.stem: path.read_bytes().strip() for path in folder.glob("server-*.json")}
    assert found == {f"server-{name}": frame for name, frame in server_frames(version).items()}


def test_each_golden_file_is_checked() -> None:
    """No file lies there that no test reads."""
    for version, names in ((1, CLIENT_V1), (2, CLIENT_V2)):
        folder = GOLDEN / f"phoenix-v{version}"
        files = {path.name for path in folder.iterdir() if path.name.startswith("client-")}
        assert files == {f"client-{name}.json" for name in names}


def test_the_document_shows_golden_frames() -> None:
    """What docs/phoenix.md shows of version 2 is what the tests run."""
    document = (GOLDEN.parents[1] / "docs" / "phoenix.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    shown = {line for block in blocks for line in block.splitlines()}
    golden = {
        path.read_text(encoding="utf-8").strip() for path in (GOLDEN / "phoenix-v2").iterdir()
    }
    assert shown
    assert shown <= golden


def test_json_is_written_without_white_space() -> None:
    """Pieces of frames are glued together as bytes."""
    assert encode_json({"a": [1, None]}) == b'{"a":[1,null]}'
    assert json.loads(encode_json("room:\u2028")) == "room:\u2028"
