"""The files of the project, for the tests that hold its house rules."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _is_ours(folder: Path) -> bool:
    """Neither made by a tool nor an environment."""
    if folder.name in {"build", "dist", "node_modules", "__pycache__"}:
        return False
    if folder.name.endswith(".egg-info") or (folder / "pyvenv.cfg").exists():
        return False
    return not folder.name.startswith(".") or folder.name == ".ci"


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir():
            if _is_ours(path):
                yield from _walk(path)
        elif path.name != ".git" and not path.name.startswith(".coverage"):
            yield path


@cache
def all_files() -> tuple[Path, ...]:
    """Every file of the project, sorted."""
    return tuple(_walk(ROOT))


@cache
def text_of(path: Path) -> str:
    """The text, or nothing for a file that is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed module."""
    return ast.parse(text_of(path), filename=str(path))


def name_of(path: Path) -> str:
    """The path as a reader of the project writes it."""
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders; all of them without an argument."""
    return [
        path
        for path in all_files()
        if path.suffix == ".py"
        and (not folders or any(path.is_relative_to(ROOT / folder) for folder in folders))
    ]


def markdown_files() -> list[Path]:
    """The documents."""
    return [path for path in all_files() if path.suffix == ".md"]


def report(broken: Iterable[str]) -> str:
    """One place a line, for the message of an assertion; empty when the rule holds."""
    return "\n".join(sorted(broken))


def stale(entries: Iterable[str], needed: Iterable[str]) -> list[str]:
    """Entries of a list to yield that nothing needs any more."""
    return [f"{entry}: listed without need" for entry in sorted(set(entries) - set(needed))]
