"""The examples (``>>>``) of the pages do what they show."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = re.compile(r"^```(?:python|pycon)\n(>>> .*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> str:
    """The blocks of a page that begin with a prompt, in the places that they have in it."""
    if not page.is_file():
        return ""
    text, found = page.read_text(encoding="utf-8"), ""
    for block in EXAMPLE.finditer(text):
        found += "\n" * (text.count("\n", 0, block.start(1)) - found.count("\n")) + block[1]
    return found


SHOWN = {page: text for page in PAGES if (text := examples(page))}


def test_some_pages_have_examples():
    assert SHOWN


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page, tmp_path, monkeypatch):
    """All of a page in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(SHOWN[page], {}, str(page.relative_to(ROOT)), str(page), 0)
    assert test.examples
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append)
    assert not runner.failures, "".join(told)
