"""What the documents name is there: tests, stories, modules, commands and options."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from presence_actors.sim.swarm import SCENARIOS
from presence_actors.sim.topologies import TOPOLOGIES
from tests.project_files import ROOT, markdown_files, name_of, python_files, report, text_of
from tests.stories.stories import STORIES
from tests.stories.zone_stories import ZONE_STORIES

NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::|`\s*\()[`(]*(test_\w+)`")
NAMED_STORY = re.compile(r"`story (\w+)`")
TABLE_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
COMMAND = re.compile(r"(?:^\$ |`)presence ([a-z]+(?:-[a-z]+)*)([^`#\n]*)", re.MULTILINE)
TARGET = re.compile(r"(?:^\$ |`)make ([a-z]+)", re.MULTILINE)


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests in a file."""
    path = ROOT / file
    if not path.exists():
        return frozenset()
    found = (
        node for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.FunctionDef)
    )
    return frozenset(node.name for node in found)


def rows_of(document: str, heading: str) -> Iterator[list[str]]:
    """The cells of each row of the table under a heading, without its head."""
    _, _, rest = text_of(ROOT / document).partition(f"\n## {heading}\n")
    section = rest.partition("\n## ")[0]
    for row in TABLE_ROW.findall(section)[2:]:
        yield [cell.strip() for cell in row.split(" | ")]


def test_each_test_and_story_that_a_document_names_exists() -> None:
    """A promise is checked by something that can be found."""
    broken = []
    for path in markdown_files():
        text = text_of(path)
        broken += [
            f"{name_of(path)}: no {test} in {file}"
            for file, test in NAMED_TEST.findall(text)
            if test not in names_in(file)
        ]
        broken += [
            f"{name_of(path)}: no story {story}"
            for story in NAMED_STORY.findall(text)
            if story not in {*STORIES, *ZONE_STORIES, "NAME"}
        ]
    assert not report(broken)


@pytest.mark.parametrize(
    ("document", "heading"),
    [
        ("README.md", "What it promises"),
        ("ARCHITECTURE.md", "Invariants"),
        ("docs/failure-model.md", "Faults"),
        ("docs/failure-model.md", "Known bugs of peers"),
        ("docs/failure-model.md", "Counterexamples of the design"),
        ("docs/failure-model.md", "The fault matrix"),
    ],
)
def test_each_promise_names_what_checks_it(document: str, heading: str) -> None:
    """The last column of each row names a test or a story."""
    rows = list(rows_of(document, heading))
    assert rows
    broken = [
        f"{document}: {cells[0]}: names no test"
        for cells in rows
        if not (NAMED_TEST.search(cells[-1]) or NAMED_STORY.search(cells[-1]))
    ]
    assert not report(broken)


def test_the_scenarios_and_topologies_that_are_named_exist() -> None:
    """Each row of the fault matrix can be asked for by the option that it shows."""
    text = text_of(ROOT / "docs/failure-model.md")
    scenarios = set(re.findall(r"`--scenario ([a-z-]+)`", text))
    topologies = set(re.findall(r"`--topology ([a-z-]+)`", text))
    assert scenarios
    assert topologies
    assert (scenarios - set(SCENARIOS), topologies - set(TOPOLOGIES)) == (set(), set())


def test_the_map_of_the_code_names_each_module_and_no_other() -> None:
    """Whoever looks for a module finds it in ARCHITECTURE.md, under its folder."""
    _, _, rest = text_of(ROOT / "ARCHITECTURE.md").partition("## Map of the code\n\n```\n")
    folders: list[str] = []
    named: set[str] = set()
    for line in rest.partition("```")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        first = line.split()[0]
        if first.endswith("/"):
            folders = [*folders[:depth], first]
        else:
            place = "".join(folders[:depth])
            named.update(place + module for module in re.findall(r"\b(\w+\.py)\b", line))
    there = {
        name_of(path)
        for path in python_files("crdt", "presence_actors")
        if not path.name.startswith("__")
    }
    assert (named - there, there - named) == (set(), set())


def test_the_commands_of_the_documents_exist() -> None:
    """Each `make` target is one, and each `presence` command takes the options that are shown."""
    texts = {name_of(path): text_of(path) for path in markdown_files()}
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    broken = [
        f"{name}: make {target}"
        for name, text in texts.items()
        for target in TARGET.findall(text)
        if target not in targets
    ]
    helps: dict[str, str] = {}
    for name, text in texts.items():
        for command, rest in COMMAND.findall(text):
            if command not in helps:
                helps[command] = _help_of(command)
            shown = set(re.findall(r"--[a-z-]+", helps[command]))
            broken += [
                f"{name}: presence {command} {option}"
                for option in re.findall(r"--[a-z-]+", rest)
                if option not in shown
            ]
    assert helps
    assert not report(broken)


def _help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "presence_actors.cli", command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={"COLUMNS": "200", "PATH": "", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, f"presence {command}: {done.stderr}"
    return done.stdout
