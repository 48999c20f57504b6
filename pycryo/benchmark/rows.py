"""Rows of the table of benchmarks, one line each, and an old record beside the new figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycryo.benchmark.cases import Result, Skipped
from pycryo.errors import InputError

# Of a change that is marked, as a share of the old rate, even if the times hardly spread.
_LEAST_CHANGE = 0.05
# Column -> width; the first is of text on the left.
_COLUMNS = {
    "case": 48,
    "time": 9,
    "spread": 7,
    "rate": 16,
    "limit": 20,
    "limit's rate": 16,
    "ratio": 7,
    "CPU": 7,
    "goal": 6,
    "error": 8,
    "change": 9,
}


@dataclass(frozen=True, slots=True)
class Old:
    """A row of an old record: `rate` and `spread` of the times."""

    rate: float
    spread: float


def read_record(path: Path) -> dict[str, Old]:
    """Name of each case -> its row in a file that ``--json`` wrote.

    Raises
    ------
    InputError
        If the file cannot be read or is no such record.
    """
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
        return {row["name"]: Old(float(row["rate"]), float(row["spread"])) for row in rows}
    except OSError as error:
        raise InputError(f"--compare: cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--compare: {path} is not a record of pycryo bench --json; give such a file") from error


def header() -> str:
    """Names of the columns."""
    return _line({name: name for name in _COLUMNS})


def row(result: Result | Skipped, old: Old | None = None) -> str:
    """Line of the table; `old` is what an old record says of the same case."""
    if isinstance(result, Skipped):
        return _line({"case": result.name}) + f"skipped: {result.reason}"
    cells = {
        "case": result.name,
        "time": f"{result.seconds * 1e3:.3g} ms",
        "spread": f"{result.spread:.0%}",
        "rate": si(result.rate, result.unit),
        "limit": result.limit or "",
        "goal": "" if result.goal is None else f"{result.goal:.0%}",
        "error": "" if result.error is None else f"{result.error:.1e}",
        "change": "" if old is None else change(result, old),
    }
    if result.limit_rate is not None and result.ratio is not None:
        cells |= {"limit's rate": si(result.limit_rate, result.unit), "ratio": f"{result.ratio:.1%}"}
    if result.cpu_ratio is not None:
        cells["CPU"] = f"{result.cpu_ratio:.1%}"
    return _line(cells)


def change(result: Result, old: Old) -> str:
    """New rate over the old one; marked by + or - where it is beyond the spread of both."""
    ratio = result.rate / old.rate
    if abs(ratio - 1) <= max(_LEAST_CHANGE, result.spread, old.spread):
        return f"{ratio:.2f}  "
    return f"{ratio:.2f} {'+' if ratio > 1 else '-'}"


def si(value: float, unit: str) -> str:
    """Three digits with an SI prefix, such as ``243 Gflop/s``."""
    for exponent, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**exponent:
            return f"{value / 10**exponent:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _line(cells: dict[str, str]) -> str:
    """Cells in their columns."""
    texts = []
    for name, width in _COLUMNS.items():
        text = cells.get(name, "")
        texts.append(text.ljust(width) if name in ("case", "limit") else text.rjust(width))
    return "  ".join(texts).rstrip() + "  " * (len(cells) == 1)
