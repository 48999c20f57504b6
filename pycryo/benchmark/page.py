"""Tables that programs write into pages."""

from __future__ import annotations

from pathlib import Path


def write_between(page: Path, name: str, text: str) -> None:
    """Put `text` between the marks of a page, ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.

    Raises
    ------
    ValueError
        If the page does not have each mark once.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
