"""``pycryo report``: the HTML page of a refinement, or of ``pycryo ctf-refine``, built again from its files."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder of refine or ctf-refine")


def run(args: argparse.Namespace) -> int:
    """Write DIR/report.html and print its path."""
    from pycryo.report.optics_page import NUMBERS, build_optics_report
    from pycryo.report.page import build_report

    is_optics = (args.folder / NUMBERS).is_file() and not (args.folder / "run.json").exists()
    print((build_optics_report if is_optics else build_report)(args.folder))
    return 0
