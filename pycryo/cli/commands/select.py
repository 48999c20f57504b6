"""``pycryo select``: the good particles of a STAR file."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path

import numpy as np

from pycryo.cli.kept_rows import add_half_and_class, check_outputs, in_classes, write_kept
from pycryo.errors import InputError
from pycryo.io.json_file import read_object
from pycryo.io.selection import read_particle_table

logger = logging.getLogger(__name__)

_SCORE = "rlnParticleFigureOfMerit"
_SUGGESTED = "suggested"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("particles", type=Path, metavar="DATA.star", help="particles, as a refinement leaves them")
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="KEPT.star", help="the particles kept")
    parser.add_argument("--rejected", type=Path, metavar="OTHER.star", help="the other particles")
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="X",
        help=f"least score ({_SCORE}), or '{_SUGGESTED}': what the run.json beside DATA.star says of its iteration "
        "(default, unless another criterion is given)",
    )
    for name, word in (("min", "least"), ("max", "greatest")):
        parser.add_argument(
            f"--{name}",
            nargs=2,
            action="append",
            default=[],
            metavar=("COLUMN", "VALUE"),
            help=f"{word} value of a column, e.g. --{name} rlnCtfMaxResolution 6; may be repeated",
        )
    add_half_and_class(parser)


def run(args: argparse.Namespace) -> int:
    """Write the particles that meet all criteria; the others to another file if asked for."""
    check_outputs(args.particles, args.out, args.rejected, ("--out", "--rejected"))
    source = read_particle_table(args.particles)
    keep = np.ones(len(source.table), bool)
    for name, least, most in _limits(args):
        values = source.numbers(name)
        found = (values >= least) & (values <= most)
        logger.info(
            "%s: %d of %d particles have %s", args.particles, found.sum(), len(found), _range(name, least, most)
        )
        keep &= found
    if args.classes:
        keep &= in_classes(source, args.classes)
    write_kept(source, keep, args.out, args.rejected)
    return 0


def _threshold(text: str) -> float | str:
    return text if text == _SUGGESTED else float(text)


def _limits(args: argparse.Namespace) -> list[tuple[str, float, float]]:
    """Columns with the least and greatest value to keep."""
    limits = [(name, _number(name, value), np.inf) for name, value in args.min]
    limits += [(name, -np.inf, _number(name, value)) for name, value in args.max]
    if args.half is not None:
        limits.append(("rlnRandomSubset", args.half, args.half))
    threshold = args.threshold
    if threshold is None and not limits and not args.classes:
        threshold = _SUGGESTED
    if threshold is not None:
        least = suggested_threshold(args.particles) if threshold == _SUGGESTED else threshold
        limits.insert(0, (_SCORE, least, np.inf))
    return limits


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"the limit of {name} is {text!r}; give a number") from None


def _range(name: str, least: float, most: float) -> str:
    if least == most:
        return f"{name} {least:g}"
    low, high = f"{least:.6g} ≤ " if least > -np.inf else "", f" ≤ {most:.6g}" if most < np.inf else ""
    return f"{low}{name}{high}"


def suggested_threshold(star: Path) -> float:
    """The threshold that the run which wrote `star` suggests: of the iteration in its name, else of the last one.

    Raises
    ------
    InputError
        If the run.json beside the file cannot be read or does not tell.
    """
    path = star.parent / "run.json"
    advice = "give the score to keep as --threshold, or another criterion"
    try:
        run = read_object(path, advice)
        named = re.match(r"run_it(\d+)_", star.name)
        if named is None:
            return float(run["particles"]["suggested_threshold"])
        thresholds = {each["number"]: each["score_threshold"] for each in run["iterations"]}
        return float(thresholds[int(named[1])])
    except InputError as error:
        raise InputError(f"no threshold is suggested: {error}") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path} suggests no threshold for {star.name}; {advice}") from error
