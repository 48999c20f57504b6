"""``pycryo fsc``: Fourier shell correlation of two half-maps."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from pycryo.cli.half_maps import read_halves, read_halves_mask
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
