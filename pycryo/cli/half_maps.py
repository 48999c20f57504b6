"""Half-maps of a command: as two files or as those of a run, read and checked, with their mask."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pycryo.errors import InputError

if TYPE_CHECKING:
    from pycryo.maps.density import Map
    from pycryo.refinement.files.finished_run import FinishedRun

log = logging.getLogger(__name__)


def add_source(parser: argparse.ArgumentParser, default: str) -> None:
    """Half-maps or a run, and ``--out``, of which `default` says where it is by itself."""
    parser.add_argument(
        "source", type=Path, nargs="+", metavar="HALF1.mrc HALF2.mrc | RUN",
        help="half-maps, unfiltered and unmasked, or the folder of a finished refinement",
    )  # fmt: skip
    parser.add_argument("--out", "--o", type=Path, metavar="DIR", help=f"folder for all files (default: {default})")


def settle_source(args: argparse.Namespace, name: str, only_of_maps: tuple[str, ...]) -> FinishedRun | None:
    """Find out what `add_source` was given; one rank.

    Parameters
    ----------
    args : Namespace
        Gets `out`, if it was not given, and the half-maps `half1` and `half2`, if these were.
    name : str
        Of the command, and of its folder in that of the run, numbered for further classes.
    only_of_maps : tuple of str
        Options that a run cannot go with.

    Returns
    -------
    FinishedRun or None
        The run whose folder was given; None with half-maps.

    Raises
    ------
    InputError
        If it is neither, the run cannot be read, or the results would go into the run itself.
    """
    from pycryo.refinement.files.finished_run import FinishedRun
    from pycryo.refinement.files.half_maps import class_name

    source: list[Path] = args.source
    if len(source) == 2 and not any(each.is_dir() for each in source):
        if args.out is None:
            raise InputError("give the folder for the results: --out DIR")
        args.half1, args.half2 = source
        return None
    if len(source) != 1:
        raise InputError(f"give two half-maps (pycryo {name} HALF1.mrc HALF2.mrc --out DIR), or the folder of a run")
    if source[0].is_file():
        raise InputError(f"{source[0]} is one half-map: give the other one, too, or the folder of a run")
    for option in only_of_maps:
        if getattr(args, option.lstrip("-").replace("-", "_")) is not None:
            raise InputError(f"{option} is that of half-maps: a run tells its own")
    run = FinishedRun.read(source[0], any_classes=True)
    if args.out is None:
        args.out = run.folder / class_name(name, getattr(args, "class_number", 1))
    run.keep_out(args.out)
    return run


def read_halves(args: argparse.Namespace) -> tuple[Map, Map]:
    """The half-maps `args.half1` and `args.half2`, of one box and `args.pixel_size` if it is given.

    Raises
    ------
    InputError
        If they differ in box or pixel size, or a file cannot be read.
    """
    import numpy as np

    from pycryo.io.mrc import read_map

    first, second = (read_map(path, pixel_size=args.pixel_size) for path in (args.half1, args.half2))
    if first.box != second.box or abs(first.pixel_size - second.pixel_size) > 1e-3 * first.pixel_size:
        raise InputError(
            f"{args.half1} ({first.box} px of {first.pixel_size:g} Å) and {args.half2} ({second.box} px of "
            f"{second.pixel_size:g} Å) differ in box or pixel size: half-maps must agree"
        )
    if args.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {args.seed}")
    if np.array_equal(first.data, second.data):
        log.warning("%s and %s are the same map: give both half-maps, the FSC tells nothing", args.half1, args.half2)
    return first, second


def read_halves_mask(args: argparse.Namespace, half: Map) -> Map | None:
    """The mask `args.mask` for half-maps like `half`, or None where none is given; what is odd is told in the log.

    Raises
    ------
    InputError
        If it cannot be read or is no mask.
    """
    from pycryo.checks.maps import check_mask, compare_grid
    from pycryo.findings import Findings

    if args.mask is None:
        return None
    given, findings = _mask(args, half.box), Findings()
    compare_grid(given, args.mask, (half.box, half.pixel_size), findings)
    check_mask(given, args.mask, findings)
    findings.log_warnings(log)
    return given


def _mask(args: argparse.Namespace, box: int) -> Map:
    """The mask; where the half-maps are given another pixel size, so is a mask of their box, others in proportion.

    In headers 0 and 1 Å say nothing of the half-maps.
    """
    from pycryo.io.mrc import read_mask
    from pycryo.io.mrc_header import read_header

    if args.pixel_size is None:
        return read_mask(args.mask)
    header, of_maps = read_header(args.mask), read_header(args.half1)
    if header.nx == box:
        return read_mask(args.mask, pixel_size=args.pixel_size)
    if of_maps.pixel_size in (0, 1) and header.pixel_size not in (0, 1):
        return read_mask(args.mask)
    if not min(header.pixel_size, of_maps.pixel_size) > 0:
        raise InputError(f"{args.mask}: without pixel sizes in the files a mask must have the maps' box, {box} px")
    return read_mask(args.mask, pixel_size=args.pixel_size * header.pixel_size / of_maps.pixel_size)
