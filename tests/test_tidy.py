"""House rules that no linter knows.

Each rule is one test, and a failing one prints every place that breaks it. Where a rule must yield,
the place goes into a list below together with the reason; an entry that is no longer needed fails,
too, so that the lists stay true.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hash_order import set_walks
from tests.project_files import (
    ROOT,
    all_files,
    name_of,
    python_files,
    report,
    stale,
    text_of,
    tree_of,
)

# ------------------------------------------------------------------------------- the lists to yield

#: {module: why it has no test file of its own}
UNMAPPED: dict[str, str] = {
    "crdt/changes.py": "data without behaviour, in each test of the map",
    "presence_actors/core/chance.py": "what is handed in, without behaviour",
    "presence_actors/core/effects.py": "data without behaviour, in each transcript of a machine",
    "presence_actors/core/events.py": "data without behaviour, in each transcript of a machine",
    "presence_actors/core/instants.py": "data without behaviour",
    "presence_actors/core/limits.py": "numbers; each is reached in the test of what it limits",
    "presence_actors/wire/turns.py": "data without behaviour, in each transcript of a dialog",
    "presence_actors/core/messages.py": "data without behaviour; its bytes in tests/property/",
}
#: {module: why it is longer than MODULE_LINES_MAX}
LONG_MODULES: dict[str, str] = {
    "presence_actors/core/gateway.py": "an arm for everything that clients and replicas say",
    "presence_actors/core/replica.py": "an arm for everything that peers and gateways say",
}
#: {module:function: why it is longer than FUNCTION_LINES_MAX}
LONG_FUNCTIONS: dict[str, str] = {}

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
FILE_BYTES_MAX = 500_000

#: Folders of source whose every module has its test file, and where that stands.
MAPPED = {
    "crdt": "tests/unit/crdt",
    "presence_actors/core": "tests/unit/core",
    "presence_actors/wire": "tests/unit/wire",
}
#: {test file: why no module has its name}
UNMAPPED_TESTS = {
    "tests/unit/crdt/test_counterexamples.py": "designs that were rejected, and what breaks them",
    "tests/unit/core/test_replica_among_peers.py": "test_replica has its gateways, this its peers",
    "tests/unit/core/test_bridges.py": "test_gossip has rounds, this who speaks for a zone",
}
#: Where an order that depends on hashing would make two equal runs differ.
DETERMINISTIC = ("crdt", "presence_actors/core", "presence_actors/wire", "presence_actors/sim")
#: Names that say nothing of what is inside.
FORBIDDEN_NAMES = ("base", "common", "helpers", "manager", "misc", "types", "utils")

# -------------------------------------------------------------------------------- sizes and names


def test_each_module_that_decides_has_its_test_file() -> None:
    """Who reads a module knows where its tests are."""
    untested = [
        name_of(path)
        for source, tests in MAPPED.items()
        for path in python_files(source)
        if path.name != "__init__.py"
        and not (
            ROOT / tests / path.relative_to(ROOT / source).parent / f"test_{path.name}"
        ).exists()
    ]
    broken = [f"{name}: no test file" for name in untested if name not in UNMAPPED]
    assert not report(broken + stale(UNMAPPED, untested))


def test_each_unit_test_of_what_decides_stands_beside_its_module() -> None:
    """A test file whose module was renamed or removed does not stay behind."""
    broken = [
        f"{name_of(path)}: no module of that name in {source}/"
        for source, tests in MAPPED.items()
        for path in python_files(tests)
        if path.name.startswith("test_")
        and name_of(path) not in UNMAPPED_TESTS
        and not (
            ROOT / source / path.relative_to(ROOT / tests).parent / path.name.removeprefix("test_")
        ).exists()
    ]
    assert not report(broken)


def _import_lines(path: Path) -> int:
    """Lines that import: nobody reads them to understand the module."""
    return sum(
        (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
    )


def test_no_module_is_too_long_to_read_in_one_go() -> None:
    """A module of more than 500 lines, its list of imports apart, is two modules."""
    long = {
        name_of(path): lines
        for path in python_files()
        if (lines := len(text_of(path).splitlines()) - _import_lines(path)) > MODULE_LINES_MAX
    }
    broken = [f"{name}: {lines} lines" for name, lines in long.items() if name not in LONG_MODULES]
    assert not report(broken + stale(LONG_MODULES, long))


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: a long explanation is no long function."""
    docstring = 0
    if ast.get_docstring(function, clean=False) is not None:
        docstring = (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_no_function_is_too_long_to_see_at_once() -> None:
    """A function of more than 70 lines is two functions."""
    long = {
        f"{name_of(path)}:{node.name}": _code_lines(node)
        for path in python_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _code_lines(node) > FUNCTION_LINES_MAX
    }
    broken = [f"{at}: {lines} lines" for at, lines in long.items() if at not in LONG_FUNCTIONS]
    assert not report(broken + stale(LONG_FUNCTIONS, long))


def test_no_file_has_a_name_that_says_nothing() -> None:
    """If nothing better comes than utils, the concept is not understood yet."""
    broken = [
        name_of(path)
        for path in all_files()
        if any(
            Path(part).stem.strip("_").lower() in FORBIDDEN_NAMES
            for part in path.relative_to(ROOT).parts
        )
    ]
    assert not report(broken)


def test_no_file_is_large() -> None:
    """What is above 500 kB is data or a build result, and does not belong into the repository."""
    broken = [
        f"{name_of(path)}: {size} bytes"
        for path in all_files()
        if (size := path.stat().st_size) > FILE_BYTES_MAX
    ]
    assert not report(broken)


# ----------------------------------------------------------------------------------- determinism


def test_nothing_that_decides_depends_on_the_order_of_hashes() -> None:
    """Two runs of one seed are equal, whatever PYTHONHASHSEED is."""
    broken = [
        place
        for path in python_files(*DETERMINISTIC)
        for place in set_walks(name_of(path), ast.parse(text_of(path)))
    ]
    assert not report(broken)


@pytest.mark.parametrize(
    "line",
    [
        "for x in {1, 2}: pass",
        "[x for x in set(y)]",
        "list(frozenset(y))",
        "(*{x for x in y},)",
        "def f(a: set[int]): return [x for x in a]",
        "def f(a):\n    b = set(a)\n    for x in b: pass",
        "class A:\n    def f(self):\n        self.a: set[int] = set()\n        yield from self.a",
        "for x in a.keys() - b: pass",
        "','.join(set(y))",
        "hash(y)",
    ],
)
def test_the_search_finds_what_depends_on_the_order_of_hashes(line: str) -> None:
    """The rule above can fail: each way to walk through a set is seen."""
    assert set_walks("here", ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "for x in sorted({1, 2}): pass",
        "any(x > 1 for x in set(y))",
        "len({1, 2})",
        "for x in {1: 2}: pass",
        "def f(a: set[int]): return 1 in a",
        "class A:\n    def __hash__(self): return hash(self.a)",
    ],
)
def test_the_search_lets_pass_what_has_an_order(line: str) -> None:
    """What is sorted, counted or asked for membership does not depend on the order."""
    assert not set_walks("here", ast.parse(line))


# -------------------------------------------------------------------------------------------- Ray


def _imports_ray(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(alias.name.split(".")[0] == "ray" for alias in names)
        case ast.ImportFrom(module=str(module), level=0):
            return module.split(".")[0] == "ray"
    return False


def _is_ray(node: ast.AST, *names: str) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="ray"), attr=attribute):
            return attribute in names
        case ast.ImportFrom(module="ray", names=imported):
            return any(alias.name in names for alias in imported)
    return False


def test_ray_is_imported_in_actors_only() -> None:
    """Ray stays at the edge; the command line reaches it inside the command that needs it."""
    broken = []
    for path in python_files("presence_actors", "crdt"):
        if path.is_relative_to(ROOT / "presence_actors/actors"):
            continue
        tree = tree_of(path)
        found = [node for node in ast.walk(tree) if _imports_ray(node)]
        broken += [f"{name_of(path)}:{getattr(node, 'lineno', 0)}" for node in found]
    assert not report(broken)


@pytest.mark.parametrize("module", ["presence_actors", "presence_actors.cli"])
def test_importing_the_library_does_not_load_ray(module: str) -> None:
    """A client program, and `presence --help`, do not pay for Ray."""
    command = f"import sys, {module}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0


def test_ray_remote_stands_in_one_file_only() -> None:
    """Classes become Ray actors in compose.py, so that each can be made without Ray in a test."""
    broken = [
        f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        for path in python_files("presence_actors", "crdt")
        if name_of(path) != "presence_actors/actors/compose.py"
        for node in ast.walk(tree_of(path))
        if _is_ray(node, "remote")
    ]
    assert not report(broken)


def test_no_coroutine_blocks_its_loop_in_ray() -> None:
    """`ray.get` in a coroutine stops every socket of the actor: await the reference."""
    broken = [
        f"{name_of(path)}:{inner.lineno}"
        for path in python_files("presence_actors")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and _is_ray(inner, "get", "wait")
    ]
    assert not report(broken)


def test_each_wait_for_ray_has_an_end() -> None:
    """In a silent partition Ray raises nothing for a minute or more: each wait has a time-out."""
    broken = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("presence_actors", "benchmarks")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and _is_ray(node.func, "get", "wait")
        and all(keyword.arg != "timeout" for keyword in node.keywords)
    ]
    assert not report(broken)


# ------------------------------------------------------------------------------- what stays outside

# Written in pieces, so that this file does not contain what it looks for.
INDEX_HOSTS = re.compile(
    "|".join(
        [
            "py" + r"pi\.(org|io)",
            "files.python" + "hosted",
            "registry.n" + "pmjs",
            "deb.de" + "bian",
        ]
    )
)
MACHINE_PATHS = re.compile(
    r"(^|[^\w.~-])/("
    + "|".join(["wo" + "rk", "fa" + "rm", "ro" + "ot", "ho" + "me", "Us" + "ers"])
    + r")/"
)
FOLDER_BESIDE = re.compile(r"\.\./" + "sha" + r"red|(^|[\s`'\"(])" + "sha" + "red/")
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        pytest.param(INDEX_HOSTS, "where packages come from is the reader's choice", id="hosts"),
        pytest.param(MACHINE_PATHS, "the project runs where it lies", id="paths"),
        pytest.param(FOLDER_BESIDE, "the project stands on its own", id="beside"),
        pytest.param(UNFINISHED, "what is missing is done or is an issue", id="unfinished"),
    ],
)
def test_no_file_names_what_only_its_writer_has(pattern: re.Pattern[str], why: str) -> None:
    """No index hosts, no paths of a machine, nothing beside the project, no notes to oneself."""
    broken = [
        f"{name_of(path)}:{number}: {why}"
        for path in all_files()
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not report(broken)


def test_the_lock_pins_each_package_by_hash_and_names_no_source() -> None:
    """What is installed is what was resolved, from wherever the reader gets packages."""
    lock = text_of(ROOT / "requirements.lock")
    requirements = re.split(r"\n(?=\w)", lock.strip())
    broken = [
        block.splitlines()[0]
        for block in requirements
        if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", block) or "--hash=sha256:" not in block
    ]
    broken += [line for line in lock.splitlines() if "://" in line or "index" in line]
    assert not report(broken)
