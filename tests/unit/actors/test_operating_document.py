"""What `docs/operating.md` says of knobs and options is what they are."""

import inspect
import re
from pathlib import Path

from presence_actors.cli.cluster import up
from presence_actors.config import Knobs

DOCUMENT = Path(__file__).parents[3] / "docs" / "operating.md"


def test_each_knob_stands_in_the_document_with_its_default() -> None:
    """All of them, in their order, and no other."""
    rows = re.findall(r"^\| `(\w+_ms\w*)` \| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert [(name, int(default)) for name, default in rows] == [
        (name, getattr(Knobs(), name)) for name in Knobs.__struct_fields__
    ]


def test_each_option_of_up_stands_in_the_document() -> None:
    """By the name that it has on the command line."""
    text = DOCUMENT.read_text()
    options = {name for name in inspect.signature(up).parameters if name != "wait"}
    missing = [name for name in options if f"| `--{name.replace('_', '-')}" not in text]
    assert not missing
    assert "| `--no-wait`" in text
