"""``pycryo fsc``: Fourier shell correlation of two half-maps."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from pycryo.checks.maps import check_mask, compare_grid
from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.mrc import read_map, read_mask
from pycryo.io.mrc_header import read_header
from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc, corrected_fsc, mask_warning
from pycryo.maps.masks import auto_mask, fitted_mask
from pycryo.report.fsc_files import write_fsc_png, write_fsc_star, write_fsc_xml

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("half1", type=Path, metavar="HALF1.mrc", help="first half-map, unfiltered and unmasked")
    parser.add_argument("half2", type=Path, metavar="HALF2.mrc", help="second half-map")
    masks = parser.add_mutually_exclusive_group()
    masks.add_argument("--mask", type=Path, metavar="M.mrc", help="soft mask, 0 to 1; of any box and pixel size")
    masks.add_argument("--auto-mask", action="store_true", help="make the mask from the half-maps' average")
    parser.add_argument(
        "--out", type=Path, metavar="PREFIX", help="write PREFIX.star, PREFIX.xml (EMDB) and PREFIX.png"
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="Å",
        help="pixel size of the half-maps, instead of the one in the files; a mask of the same box has it as well",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random phases (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Print the table of the curves, write the files asked for."""
    first, second = read_halves(args)
    mask = None
    if (given := read_halves_mask(args, first)) is not None:
        mask = fitted_mask(given, first.box, first.pixel_size, str(args.mask))
    elif args.auto_mask:
        mask = auto_mask(Map(np.asarray((first.data + second.data) / 2, np.float32), first.pixel_size))
    curves = corrected_fsc(first.data, second.data, first.pixel_size, mask, seed=args.seed)
    print(table(curves))
    if (told := mask_warning(curves)) is not None:
        logger.warning("%s", told)
    if args.out is not None:
        for write, suffix in ((write_fsc_star, ".star"), (write_fsc_xml, ".xml"), (write_fsc_png, ".png")):
            write(args.out.with_name(args.out.name + suffix), curves)
    return 0


def read_halves(args: argparse.Namespace) -> tuple[Map, Map]:
    """The half-maps `args.half1` and `args.half2`, of one box and `args.pixel_size` if it is given.

    Raises
    ------
    InputError
        If they differ in box or pixel size, or a file cannot be read.
    """
    first, second = (read_map(path, pixel_size=args.pixel_size) for path in (args.half1, args.half2))
    if first.box != second.box or abs(first.pixel_size - second.pixel_size) > 1e-3 * first.pixel_size:
        raise InputError(
            f"{args.half1} ({first.box} px of {first.pixel_size:g} Å) and {args.half2} ({second.box} px of "
            f"{second.pixel_size:g} Å) differ in box or pixel size: half-maps must agree"
        )
    if args.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {args.seed}")
    if np.array_equal(first.data, second.data):
        logger.warning("%s and %s are the same map: give both half-maps, the FSC tells nothing", args.half1, args.half2)
    return first, second


def read_halves_mask(args: argparse.Namespace, half: Map) -> Map | None:
    """The mask `args.mask` for half-maps like `half`, or None where none is given; what is odd is told in the log.

    Raises
    ------
    InputError
        If it cannot be read or is no mask.
    """
    if args.mask is None:
        return None
    given, findings = _mask(args, half.box), Findings()
    compare_grid(given, args.mask, (half.box, half.pixel_size), findings)
    check_mask(given, args.mask, findings)
    findings.log_warnings(logger)
    return given


def _mask(args: argparse.Namespace, box: int) -> Map:
    """The mask; where the half-maps are given another pixel size, so is a mask of their box, others in proportion.

    In headers 0 and 1 Å say nothing of the half-maps.
    """
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


def table(curves: Fsc) -> str:
    """The curves as text, a row per shell, and the resolutions at 0.143 and 0.5."""
    lines = ["shell   1/Å     Å        unmasked  masked    random    corrected"]
    for shell, (frequency, resolution) in enumerate(zip(curves.frequency, curves.resolution, strict=True)):
        values = (curves.unmasked, curves.masked, curves.randomised, curves.corrected)
        lines.append(
            f"{shell:5d}  {frequency:.4f}  {resolution:7.2f}  " + "  ".join(f"{x[shell]:8.4f}" for x in values)
        )
    for threshold in (0.143, 0.5):
        names = ("unmasked", "masked", "corrected")
        found = ", ".join(f"{name} {curves.resolution_at(threshold, name):.2f} Å" for name in names)
        lines.append(f"resolution at {threshold}: {found}")
    return "\n".join(lines)
