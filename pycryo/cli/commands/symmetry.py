"""``pycryo symmetry``: turn and move a map so that its axes lie as the convention of its point group has them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from pycryo.cli.ranks import check_output
from pycryo.errors import InputError
from pycryo.geometry.rotations import to_rotation_vector
from pycryo.geometry.symmetry import GROUPS, symmetry
from pycryo.io.mrc import read_map, read_place, write_map
from pycryo.maps.symmetry_axes import Frame, find_axes
from pycryo.maps.turn import turned
from pycryo.threads import set_threads

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("map", type=Path, metavar="MAP.mrc", help="density map, white on dark")
    parser.add_argument("--symmetry", "--sym", required=True, metavar="GROUP", help=f"point group: {GROUPS}")
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="OUT.mrc", help="the map turned and moved")
    parser.add_argument(
        "--symmetrise", "--apply-sym", "--apply_sym", action="store_true", help="also average it over the group"
    )
    parser.add_argument(
        "--resolution",
        type=float,
        metavar="Å",
        help="what is finer is not looked at (default: box / 20, at least 3 px)",
    )
    parser.add_argument(
        "--min-correlation",
        type=float,
        default=0.6,
        metavar="R",
        help="refuse a map that agrees less with itself after one of the group's rotations (default: 0.6)",
    )
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="pixel size, instead of the one in the file")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="default: all cores")


def run(args: argparse.Namespace) -> int:
    """Find the axes, write the map."""
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads must be at least 1, not {args.threads}")
    if not -1 <= args.min_correlation <= 1:
        raise InputError(f"--min-correlation must lie between -1 and 1, not {args.min_correlation}")
    set_threads(args.threads)
    group = symmetry(args.symmetry)
    source = read_map(args.map, pixel_size=args.pixel_size)
    check_output(args.out, inputs=[args.map])
    frame = find_axes(source, group, resolution=args.resolution)
    if frame.weakest < args.min_correlation:
        raise InputError(
            f"{args.map} does not have the symmetry {group.name}: about the best axes at {frame.resolution:.1f} Å, one "
            f"of its rotations has a correlation of {frame.weakest:.2f} only (on average {frame.correlation:.2f}); "
            "if noise is the reason, give a coarser --resolution or a smaller --min-correlation "
            f"(now {args.min_correlation:g})"
        )
    turns = frame.matrix @ (group.matrices if args.symmetrise else np.eye(3)[None])
    place = read_place(args.map, source.pixel_size)
    write_map(args.out, turned(source, turns, frame.centre).data, source.pixel_size, place)
    logger.info("%s", report(frame, source.pixel_size, group.name))
    return 0


def report(frame: Frame, pixel_size: float, name: str) -> str:
    """What was found, as text; `pixel_size` in Å."""
    away = np.rad2deg(np.linalg.norm(to_rotation_vector(frame.quaternion)))
    x, y, z = frame.centre * pixel_size
    return "\n".join(
        [
            f"moved by {-x:.2f} {-y:.2f} {-z:.2f} Å in x, y, z, then turned by {away:.2f}°",
            f"correlation of the map with itself after the rotations of {name}, to {frame.resolution:.1f} Å: "
            f"{frame.before:.3f} before, {frame.correlation:.3f} after, {frame.weakest:.3f} for the weakest",
        ]
    )
