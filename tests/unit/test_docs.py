"""Links between the pages, to files of the source tree and from the sources to headings lead somewhere.

The reference has all public names and commands.
"""

import ast
import re
from pathlib import Path

import pytest

import pycryo
from pycryo.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("pycryo", "csrc", "bench")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyi", ".pyx", ".cpp", ".hpp"}
]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench" / "README.md"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.is_file()], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links(page):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [each for each in targets if "://" not in each and not (page.parent / each).exists()]
    assert not missing


def headings(page: Path) -> set[str]:
    """Headings of a page, of all levels."""
    text = re.sub(r"^( {4}|```).*", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(re.findall(r"^#+ (.+?) *$", text, re.MULTILINE))


def cited(text: str) -> list[tuple[str, str]]:
    """Page and heading of each citation as in "(docs/method.md, Global search)", which may go on in the next line."""
    flowing = re.sub(r"\s*\n\s*(?:(?://|#)\s*)?", " ", text)
    return re.findall(r"\b(docs/[\w/]+\.md), ([A-Z][^).;:\"]*)", flowing)


def test_citations_name_a_heading():
    missing, n_found = [], 0
    for path in SOURCES:
        for page, heading in cited(path.read_text(encoding="utf-8")):
            n_found += 1
            if not (ROOT / page).is_file() or heading not in headings(ROOT / page):
                missing.append(f"{path.relative_to(ROOT)}: {page}, {heading}")
    assert n_found > 20
    assert not missing


def test_no_page_is_cited_that_is_not_there():
    """Pages by their path from the root or from the file; sections by heading, the pages have no numbers."""
    wrong = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"(?<![\w/.*{}-])[\w/.-]+\.md\b", text))
        wrong += [
            f"{path.relative_to(ROOT)}: {each}"
            for each in sorted(named)
            if not (ROOT / each).is_file() and not (path.parent / each).is_file()
        ]
    # Roman numerals are sections of the paper.
    wrong += [
        f"{path.relative_to(ROOT)}: {each}"
        for path in [*SOURCES, *PAGES]
        if path.is_file()
        for each in re.findall(r".*§(?! ?[IVX]).*", path.read_text(encoding="utf-8"))
    ]
    assert not wrong


def defined(path: Path) -> set[str]:
    """Functions, classes and methods of a source file."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }


def test_walks_name_what_is_there():
    """Each step of the walks through the package: a file, and a function, method or class that it defines."""
    steps = re.findall(r"`(pycryo/\S+\.py)` · `(\w+)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert len(steps) >= 20
    assert not [step for step in steps if not (ROOT / step[0]).is_file() or step[1] not in defined(ROOT / step[0])]


def test_promises_name_tests_that_are_there():
    """Each test that docs/reliability.md names: in the file that stands before it, or anywhere."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    of_file = re.findall(r"`(tests/\S+\.py)` · `(test_\w+)`", text)
    assert len(of_file) > 30
    wrong = [each for each in of_file if not (ROOT / each[0]).is_file() or each[1] not in defined(ROOT / each[0])]
    everywhere = set().union(*(defined(path) for path in (ROOT / "tests").rglob("test_*.py")))
    wrong += [name for name in re.findall(r"`(test_\w+)`", text) if name not in everywhere]
    assert not wrong


def test_paths_in_pages_are_there():
    """`folder/file.py` in a page is a file, or its end."""
    files = [f"/{path.relative_to(ROOT)}" for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    for page in PAGES:
        if page.is_file():
            for path in re.findall(r"`([\w/]+/\w+\.py)`", page.read_text(encoding="utf-8")):
                assert any(each.endswith(f"/{path}") for each in files), f"{page.name}: {path}"


def public() -> set[str]:
    """Public names of pycryo, of its folders whose functions are public, and of its threads."""
    names = {f"pycryo.{name}" for name in pycryo.__all__} | {"pycryo.threads.get_threads", "pycryo.threads.set_threads"}
    for part in set(pycryo._PARTS) - {"threads"}:
        tree = ast.parse((ROOT / "pycryo" / part / "__init__.py").read_text(encoding="utf-8"))
        imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        names |= {f"pycryo.{part}.{alias.name}" for node in imported for alias in node.names}
    return names


def test_the_reference_has_all_public_names():
    """Each has its entry in docs/api; names of pycryo are in the table of docs/api/index.md, too."""
    pages = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md")}
    entries = re.findall(r"^\.\. auto(?:function|class|exception):: (\S+)$", "\n".join(pages.values()), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert not public() - set(entries)
    assert set(re.findall(r"^   (\w+)$", pages["index.md"], re.MULTILINE)) == set(pycryo.__all__)


def test_the_reference_has_all_commands():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\.\. command:: (\S+)$", text, re.MULTILINE)) == sorted(COMMANDS)
    assert sorted(re.findall(r"^\(pycryo-(\S+)\)=\n### pycryo \1$", text, re.MULTILINE)) == sorted(COMMANDS)
