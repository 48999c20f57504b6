"""Tables that programs write into pages: between the marks, and nowhere else."""

import re
from pathlib import Path

import pytest

from pycryo.benchmark.page import write_between

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_between_the_marks_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- one: begin -->\nold\n<!-- one: end -->\n<!-- two: begin -->\n<!-- two: end -->\n")
    write_between(page, "one", "| Å |")
    write_between(page, "two", "new")
    assert page.read_text(encoding="utf-8") == (
        "before\n<!-- one: begin -->\n| Å |\n<!-- one: end -->\n<!-- two: begin -->\nnew\n<!-- two: end -->\n"
    )
    with pytest.raises(ValueError, match="unpack"):
        write_between(page, "three", "")


@pytest.mark.parametrize("script", ["growth", "performance_page", "refinement/against_relion", "refinement/paper_set"])
def test_pages_have_the_marks_of_the_scripts(script):
    text = (ROOT / "bench" / f"{script}.py").read_text(encoding="utf-8")
    (mark,) = re.findall(r'^MARK = "(.*)"$', text, re.MULTILINE)
    (page,) = set(re.findall(r'"((?:docs/performance|README)\.md)"', text))
    shown = (ROOT / page).read_text(encoding="utf-8")
    for name in [mark.format(isa) for isa in ("avx512", "avx2")] if "{}" in mark else [mark]:
        assert [shown.count(f"<!-- {name}: {place} -->") for place in ("begin", "end")] == [1, 1]
