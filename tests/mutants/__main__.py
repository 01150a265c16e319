"""`make mutants`: each bug of `seeded.py` in a copy of the project, and what caught it.

The exit status is 1 if one survives, or cannot be put in since the source has changed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.mutants.seeded import MUTANTS, Mutant
from tests.project_files import ROOT

_COPIED = ("crdt", "presence_actors", "tests", "pyproject.toml")
#: What pytest returns if tests failed; anything else says that it could not run them.
_FAILED = 1


def _plant(mutant: Mutant, at: Path) -> bool:
    """Copy the project and put the bug in; whether its place was found."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, at / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, at / name)
    file = at / mutant.file
    text = file.read_text("utf-8")
    if text.count(mutant.old) != 1:
        return False
    file.write_text(text.replace(mutant.old, mutant.new), "utf-8")
    return True


def _hunt(mutant: Mutant) -> tuple[bool, str]:
    """Whether the bug is caught, and by which test, or why not."""
    with tempfile.TemporaryDirectory() as folder:
        if not _plant(mutant, Path(folder)):
            return False, f"not put in: {mutant.file} does not have its text once"
        only = ["-k", mutant.only] if mutant.only else []
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [*command, mutant.tests, *only], cwd=folder, capture_output=True, text=True, check=False
        )
    found = re.search(r"^FAILED \S+::([\w\[\]-]+)", ran.stdout, re.MULTILINE)
    if ran.returncode == _FAILED and found:
        return True, found[1]
    if ran.returncode == 0:
        return False, f"survived {mutant.tests}"
    return False, f"pytest ended with {ran.returncode}: {ran.stdout[-200:]}"


def main() -> int:
    """Hunt all, two at a time."""
    found: dict[str, tuple[bool, str]] = {}
    with ThreadPoolExecutor(2) as pool:
        hunts = {pool.submit(_hunt, mutant): mutant.name for mutant in MUTANTS}
        for hunt in track(as_completed(hunts), "mutants", total=len(hunts)):
            found[hunts[hunt]] = hunt.result()
    table = Table("mutant", "caught by")
    for mutant in MUTANTS:
        caught, how = found[mutant.name]
        table.add_row(mutant.name, how if caught else f"[red]NOT CAUGHT[/]: {how}")
    console = Console()
    console.print(table)
    survivors = sum(not caught for caught, _ in found.values())
    console.print(f"{len(found) - survivors} of {len(found)} caught")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
