"""Objects in few words: one line as text, a small table in notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence


def html_table(head: str, rows: Mapping[str, object]) -> str:
    """A line of text and a table of names and values below it, as HTML."""
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows.items())
    return f"<p>{_text(head)}</p><table>{cells}</table>"


def html_columns(head: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A line of text and a table with a row of names above it, as HTML."""
    names = "".join(f"<th>{_text(name)}</th>" for name in columns)
    cells = "".join("<tr>" + "".join(f"<td>{_text(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<p>{_text(head)}</p><table><tr>{names}</tr>{cells}</table>"


def _text(value: object) -> str:
    return html.escape(str(value))
