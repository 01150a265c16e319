"""House rules of the documents: titles, links, examples and the glossary agree with the project."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.project_files import (
    ROOT,
    all_files,
    markdown_files,
    name_of,
    python_files,
    report,
    text_of,
    tree_of,
)

EXAMPLE_LINES_MAX = 60

FENCE = re.compile(r"^ {0,3}(```|~~~)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")


def prose(text: str) -> list[str]:
    """The lines outside of fenced blocks."""
    lines = []
    fenced = False
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            lines.append(line)
    return lines


def headings(text: str) -> list[tuple[int, str]]:
    """(level, title) of each heading."""
    found = (HEADING.match(line) for line in prose(text))
    return [(len(match[1]), match[2]) for match in found if match]


def anchors(text: str) -> set[str]:
    """What a link may point at within a document."""
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for _level, title in headings(text)
    }


def blocks(text: str, language: str) -> Iterator[str]:
    """The fenced blocks of a language."""
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield match[1]


def test_no_two_decisions_have_one_number() -> None:
    """Elsewhere they are called by it."""
    numbers = Counter(path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md"))
    assert {number for number, count in numbers.items() if count > 1} == set()


def test_each_document_has_one_title() -> None:
    """One first-level heading, on top."""
    broken = [
        f"{name_of(path)}: {levels.count(1)} first-level headings"
        for path in markdown_files()
        if (levels := [level for level, _title in headings(text_of(path))]).count(1) != 1
        or levels[0] != 1
    ]
    assert not report(broken)


def test_links_between_documents_resolve() -> None:
    """Each relative link names a file that exists, and each anchor a heading in it."""
    broken = []
    for path in markdown_files():
        for target in LINK.findall("\n".join(prose(text_of(path)))):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            goal = (path.parent / file).resolve() if file else path
            if not goal.exists() or not goal.is_relative_to(ROOT):
                broken.append(f"{name_of(path)}: {target}: no such file")
            elif anchor and goal.suffix == ".md" and anchor not in anchors(text_of(goal)):
                broken.append(f"{name_of(path)}: {target}: no such heading")
    assert not report(broken)


def test_each_document_that_is_named_exists() -> None:
    """A comment or a document sends nobody to a page that is not there."""
    named = re.compile(r"(?<![\w/.*-])((?:docs/[\w/-]+|[A-Z]{3,})\.md)\b")
    broken = [
        f"{name_of(path)}: {name}"
        for path in all_files()
        if path != Path(__file__)
        for name in set(named.findall(text_of(path)))
        if not (ROOT / name).exists() and not (path.parent / name).exists()
    ]
    assert not report(broken)


def test_examples_in_the_readme_are_the_example_files() -> None:
    """What a reader copies from the README is what the tests run."""
    broken = []
    for block in blocks(text_of(ROOT / "README.md"), "python"):
        match = re.match(r"# (examples/\w+\.py)\n", block)
        if not match:
            continue
        example = ROOT / match[1]
        if not example.exists():
            broken.append(f"{match[1]}: no such file")
        elif block[match.end() :].strip() != text_of(example).strip():
            broken.append(f"{match[1]}: differs from the block in README.md")
    assert not report(broken)


def test_each_example_says_what_one_will_see_and_is_short() -> None:
    """An example starts with a docstring and fits on a screen."""
    broken = []
    for path in python_files("examples"):
        if ast.get_docstring(tree_of(path)) is None:
            broken.append(f"{name_of(path)}: no docstring")
        if (lines := len(text_of(path).splitlines())) > EXAMPLE_LINES_MAX:
            broken.append(f"{name_of(path)}: {lines} lines")
    assert not report(broken)


def test_the_words_of_the_glossary_live_where_it_says() -> None:
    """Each row names a file that exists and that uses the word."""
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", text_of(ROOT / "docs/glossary.md"), re.MULTILINE
    )
    broken = []
    for terms, places in rows[1:]:
        for place in re.findall(r"`([^`]+)`", places):
            path = next(
                (
                    found
                    for top in (ROOT, ROOT / "presence_actors")
                    if (found := top / place).exists()
                ),
                None,
            )
            if path is None:
                broken.append(f"{terms}: no {place}")
                continue
            files = [path] if path.is_file() else python_files(name_of(path))
            squeezed = "".join(re.sub(r"[^a-z]", "", text_of(file).lower()) for file in files)
            words = [
                re.sub(r"[^a-z]", "", re.sub(r"\(.*\)", "", word))
                for word in terms.lower().split(",")
            ]
            if not any(word in squeezed for word in words):
                broken.append(f"{terms}: not a word of {place}")
    assert len(rows) > 1, "docs/glossary.md has no table of terms"
    assert not report(broken)
