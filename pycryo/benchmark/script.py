"""Running benchmarks from a command line: options, table and record.

A module ``bench_<kernel>`` has a function ``cases() -> list[Case]`` and calls ``main(cases())`` when run as a script.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from pycryo.benchmark.cases import Case, Result, find_limit, measure
from pycryo.benchmark.environment import check_load, machine
from pycryo.benchmark.limits import Limit
from pycryo.errors import InputError, RunError

TABLE_WIDTH = 130


def main(cases: Sequence[Case], argv: Sequence[str] | None = None) -> int:
    """Command line of one benchmark script; returns the exit code."""
    parser = argparse.ArgumentParser(description="Rates of kernels against limits of this machine (see README.md).")
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        return run_cases([lambda: cases], args)
    except (InputError, RunError) as error:
        parser.exit(2 if isinstance(error, InputError) else 1, f"{parser.prog}: {error}\n")


def run_cases(sources: Sequence[Callable[[], Sequence[Case]]], args: argparse.Namespace) -> int:
    """Measure, print and record the cases of all `sources`; the arrays of one source are freed before the next.

    Raises
    ------
    InputError
        If no case matches the filter or an option is out of range.
    RunError
        If the machine is too busy to record.
    """
    if args.repeat < 1:
        raise InputError(f"--repeat: expected at least 1, got {args.repeat}")
    if args.json is not None:
        check_load(args.force)
    environment = machine()
    known: dict[str, Limit] = {}
    results: list[Result] = []
    for source in sources:
        for case in source():
            if args.filter in case.name:
                results.append(measure(case, find_limit(case, known), args.repeat))
    if not results:
        raise InputError(f"--filter: no case contains {args.filter!r}")
    print_table(results)
    if args.json is not None:
        text = json.dumps({"machine": environment, "results": [asdict(result) for result in results]}, indent=1)
        args.json.write_text(text + "\n")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options shared by the scripts and by ``pycryo bench``."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write machine and results to FILE")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="repetitions of each case (default 7)")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--force", action="store_true", help="record even on a machine that is busy")


def print_table(results: Sequence[Result]) -> None:
    """Table of the results on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("case", no_wrap=True)
    for column in ("time", "spread", "rate", "limit", "limit's rate", "ratio", "goal"):
        table.add_column(column, justify="left" if column == "limit" else "right", no_wrap=True)
    for result in results:
        has_limit = result.limit_rate is not None and result.ratio is not None
        table.add_row(
            result.name,
            f"{result.seconds * 1e3:.3g} ms",
            f"{result.spread:.0%}",
            si(result.rate, result.unit),
            result.limit or "",
            si(result.limit_rate or 0.0, result.unit) if has_limit else "",
            f"{result.ratio:.1%}" if has_limit else "",
            f"{result.goal:.0%}" if result.goal is not None else "",
        )
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)


def si(value: float, unit: str) -> str:
    """Three digits with an SI prefix, such as ``243 Gflop/s``."""
    for exponent, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**exponent:
            return f"{value / 10**exponent:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
