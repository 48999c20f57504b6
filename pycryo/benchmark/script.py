"""Running benchmarks from a command line: options, table and record.

A module ``bench_<kernel>`` has a function ``cases() -> list[Case | Skipped]`` and calls ``main(cases())`` when run
as a script.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from pycryo.benchmark.cases import Case, Result, Skipped, find_limit, measure
from pycryo.benchmark.environment import check_load, machine
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.rows import header, read_record, row
from pycryo.errors import InputError, RunError
from pycryo.io.json_file import write_object


def main(cases: Sequence[Case | Skipped], argv: Sequence[str] | None = None) -> int:
    """Command line of one benchmark script; returns the exit code."""
    parser = argparse.ArgumentParser(description="Rates of kernels against limits of this machine (see README.md).")
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        return run_cases([lambda: cases], args)
    except (InputError, RunError) as error:
        parser.exit(2 if isinstance(error, InputError) else 1, f"{parser.prog}: {error}\n")


def run_cases(sources: Sequence[Callable[[], Sequence[Case | Skipped]]], args: argparse.Namespace) -> int:
    """Measure, print and record the cases of all `sources`; the arrays of one source are freed before the next.

    Each row is printed as soon as it is measured.

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
    old = {} if args.compare is None else read_record(args.compare)
    known: dict[str, Limit] = {}
    results: list[Result] = []
    skipped: list[Skipped] = []
    print(header(), flush=True)
    for source in sources:
        for case in source():
            if args.filter not in case.name or (case.is_extra and not (args.all or args.filter)):
                continue
            if isinstance(case, Skipped):
                skipped.append(case)
                print(row(case), flush=True)
                continue
            results.append(measure(case, find_limit(case, known), args.repeat))
            print(row(results[-1], old.get(case.name)), flush=True)
    if not results and not skipped:
        raise InputError(f"--filter: no case contains {args.filter!r}")
    if args.json is not None:
        told = {
            "machine": environment,
            "results": [asdict(result) for result in results],
            "skipped": [{"name": each.name, "reason": each.reason} for each in skipped],
        }
        write_object(args.json, told)
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options shared by the scripts and by ``pycryo bench``."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write machine and results to FILE")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="repetitions of each case (default 5)")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--all", action="store_true", help="all cases, not only some of each kernel (minutes)")
    parser.add_argument(
        "--compare", metavar="FILE", type=Path, help="rates over those of an old --json file; + and - mark real changes"
    )
    parser.add_argument("--force", action="store_true", help="record even on a machine that is busy")
