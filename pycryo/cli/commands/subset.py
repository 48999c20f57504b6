"""``pycryo subset``: a part of a STAR file's particles, by chance, by their group or by their place."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.cli.kept_rows import add_half_and_class, check_outputs, in_classes, write_kept
from pycryo.errors import InputError
from pycryo.io.selection import ParticleTable, as_table, read_particle_table

_MICROGRAPH, _GROUP, _GROUP_NAME = "rlnMicrographName", "rlnOpticsGroup", "rlnOpticsGroupName"
_WHOLE = {"micrograph": _MICROGRAPH, "optics-group": _GROUP}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star", help="particles")
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="SUBSET.star", help="the part")
    parser.add_argument("--rest", type=Path, metavar="REST.star", help="the other particles")
    parser.add_argument("--rows", metavar="LIST", help="numbers of rows from 1, e.g. 1-1000,1500")
    parser.add_argument(
        "--optics-group", "--group", nargs="+", metavar="GROUP", help="optics groups, by number or name"
    )
    parser.add_argument("--micrograph", nargs="+", metavar="NAME", help="micrographs (rlnMicrographName)")
    add_half_and_class(parser)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--n",
        type=int,
        metavar="N",
        help="so many images at random, with all their rows, of those that all else has left",
    )
    size.add_argument("--fraction", type=float, metavar="SHARE", help="this share at random, 0 to 1")
    parser.add_argument(
        "--whole", choices=tuple(_WHOLE), help="draw, and count for --n and --fraction, these instead of particles"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the draw (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Write the part; the rest to another file if asked for."""
    if args.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {args.seed}")
    check_outputs(args.particles, args.out, args.rest, ("--out", "--rest"))
    source = read_particle_table(args.particles)
    keep = np.ones(len(source.table), bool)
    if args.rows is not None:
        keep &= _rows(args.rows, len(keep))
    if args.optics_group:
        keep &= _in_optics_groups(source, args.optics_group)
    if args.micrograph:
        keep &= _one_of(source, _MICROGRAPH, _texts(source, _MICROGRAPH), args.micrograph)
    if args.half is not None:
        keep &= source.numbers("rlnRandomSubset") == args.half
    if args.classes:
        keep &= in_classes(source, args.classes)
    if args.n is not None or args.fraction is not None:
        keep = _drawn(args, source, keep)
    elif args.whole:
        raise InputError("--whole says what is drawn: give --n or --fraction as well")
    write_kept(source, keep, args.out, args.rest)
    return 0


def _rows(text: str, n: int) -> NDArray[np.bool_]:
    """(n,) which rows a list of numbers and ranges names."""
    chosen = np.zeros(n, bool)
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise InputError(f"--rows has {part!r}: give numbers and ranges with commas between, e.g. 1-1000,1500")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= n:
            raise InputError(f"--rows has {part.strip()}, but rows go from 1 to {n}")
        chosen[first - 1 : last] = True
    return chosen


def _texts(source: ParticleTable, column: str) -> NDArray[Any]:
    """(n,) values of a column as they are written."""
    return source.table.values(texts=[column])[column]


def _one_of(source: ParticleTable, column: str, values: NDArray[Any], wanted: list[str]) -> NDArray[np.bool_]:
    """(n,) which rows have one of the values; each of them must be there."""
    there = set(values.tolist())
    for name in wanted:
        if name not in there:
            raise InputError(f"{source.path} has no particle with {column} {name}")
    return np.isin(values.astype(str), wanted)


def _in_optics_groups(source: ParticleTable, wanted: list[str]) -> NDArray[np.bool_]:
    """(n,) which rows are of the optics groups, named by number or name."""
    optics = as_table(source.tables.get("optics"))
    number_of: dict[str, str] = {}
    if optics is not None and {_GROUP, _GROUP_NAME} <= set(optics.columns):
        named = optics.values(texts=[_GROUP, _GROUP_NAME])
        number_of = dict(zip(named[_GROUP_NAME], named[_GROUP], strict=True))
    numbers = source.numbers(_GROUP)
    try:
        chosen = [float(number_of.get(each, each)) for each in wanted]
    except ValueError:
        known = ", ".join(number_of) or "numbers only"
        raise InputError(
            f"--optics-group has {', '.join(each for each in wanted if each not in number_of)}, but {source.path} has "
            f"{known}"
        ) from None
    for name, number in zip(wanted, chosen, strict=True):
        if number not in numbers:
            raise InputError(f"{source.path} has no particle of the optics group {name}")
    return np.isin(numbers, chosen)


def _drawn(args: argparse.Namespace, source: ParticleTable, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) rows drawn from those to `keep`, the same for any order of the rows where images have names."""
    column = _WHOLE.get(args.whole, "rlnImageName")
    rows = np.flatnonzero(keep)
    if args.whole or column in source.table.columns:
        names = _texts(source, column)[rows].astype(str)
    else:
        names = np.array([f"{row:012d}" for row in rows])
    units = np.unique(names)
    if args.fraction is not None:
        if not 0 < args.fraction <= 1:
            raise InputError(f"--fraction must be above 0 and at most 1, not {args.fraction:g}")
        n = max(1, round(args.fraction * len(units)))
    else:
        n = args.n
    what = {"micrograph": "micrographs", "optics-group": "optics groups"}.get(args.whole, "particles")
    if not 1 <= n <= len(units):
        raise InputError(f"--n is {n}, but there are {len(units)} {what} to draw from")
    draw = np.random.Generator(np.random.Philox(args.seed)).permutation(len(units))[:n]
    chosen = np.zeros(len(keep), bool)
    chosen[rows[np.isin(names, units[draw])]] = True
    return chosen
