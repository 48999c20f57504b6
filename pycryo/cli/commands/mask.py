"""``pycryo mask``: a soft mask around the density of a map."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pycryo.checks.maps import refuse_coarse
from pycryo.cli.ranks import check_output
from pycryo.errors import InputError
from pycryo.io.mrc import read_map, read_place, write_map
from pycryo.maps.masks import auto_mask

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("map", type=Path, metavar="MAP.mrc", help="density map, white on dark")
    parser.add_argument("--out", type=Path, required=True, metavar="MASK.mrc", help="the mask")
    parser.add_argument("--low-pass", type=float, default=15.0, metavar="Å", help="filter of the map (default: 15)")
    parser.add_argument("--threshold", type=float, help="grey value of the filtered map where the molecule begins")
    parser.add_argument(
        "--extend", type=float, metavar="PX", help="move the surface outwards (default: 5 Å, at least 2 px)"
    )
    parser.add_argument(
        "--edge", type=float, metavar="PX", help="width of the cosine edge (default: 10 Å, at least 3 px)"
    )
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="pixel size, instead of the one in the file")


def run(args: argparse.Namespace) -> int:
    """Make the mask and write it."""
    for name in ("extend", "edge"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < float("inf"):
            raise InputError(f"--{name} must be 0 px or more, not {value}")
    check_output(args.out, inputs=[args.map])
    source = read_map(args.map, pixel_size=args.pixel_size)
    refuse_coarse("--low-pass", args.low_pass, source.box, source.pixel_size)
    mask = auto_mask(
        source, resolution=args.low_pass, threshold=args.threshold, extend_px=args.extend, edge_px=args.edge
    )
    write_map(args.out, mask, source.pixel_size, read_place(args.map, source.pixel_size))
    volume = float(mask.sum(dtype=float)) * source.pixel_size**3
    logger.info("%s: %.0f Å³, %.1f %% of the box", args.out, volume, 100 * float(mask.mean(dtype=float)))
    return 0
