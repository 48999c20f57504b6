"""``pycryo report``: the HTML page of a refinement, built again from its files."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder of a refinement, finished or not")


def run(args: argparse.Namespace) -> int:
    """Write DIR/report.html and print its path."""
    from pycryo.report.page import build_report

    print(build_report(args.folder))
    return 0
