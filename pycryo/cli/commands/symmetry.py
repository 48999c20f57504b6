"""``pycryo symmetry``: turn and move a map so that its axes lie as the convention of its point group has them.

The poses of particles go with it, and the maps of a run; or particles are expanded by the group.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from pycryo.cli.changed_poses import write_expanded, write_turned
from pycryo.cli.changed_run import Change, change_run
from pycryo.cli.folder_run import FolderRun
from pycryo.cli.logs import run_logs
from pycryo.cli.option_arguments import add_overwrite
from pycryo.cli.ranks import check_output
from pycryo.cli.session import INPUT_ERROR, guarded
from pycryo.errors import InputError
from pycryo.geometry.rotations import to_rotation_vector
from pycryo.geometry.symmetry import GROUPS, Symmetry, symmetry
from pycryo.io.mrc import read_map, read_place, write_map
from pycryo.io.selection import read_particle_table
from pycryo.maps.density import Map
from pycryo.maps.symmetry_axes import Frame, find_axes
from pycryo.maps.turn import turned
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.threads import set_threads

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument(
        "map", type=Path, metavar="MAP.mrc | RUN",
        help="density map, white on dark, or folder of a finished refinement; with --expand a STAR file of particles",
    )  # fmt: skip
    parser.add_argument("--symmetry", "--sym", required=True, metavar="GROUP", help=f"point group: {GROUPS}")
    parser.add_argument(
        "--out", "--o", type=Path, required=True, metavar="OUT.mrc | DIR", help="the map turned and moved"
    )
    parser.add_argument(
        "--particles", type=Path, metavar="PARTICLES.star",
        help="with poses in the frame of the map: turned with it, they are written to OUT.star",
    )  # fmt: skip
    parser.add_argument(
        "--expand", action="store_true", help="repeat each particle of a STAR file at all poses that see its image"
    )
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
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Find the axes, write the map and what belongs to it."""
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads must be at least 1, not {args.threads}")
    if not -1 <= args.min_correlation <= 1:
        raise InputError(f"--min-correlation must lie between -1 and 1, not {args.min_correlation}")
    set_threads(args.threads)
    group = symmetry(args.symmetry)
    if args.map.suffix == ".star" or args.expand:
        return _expand(args, group)
    if args.map.is_dir():
        return _turn_run(args, group)
    source = read_map(args.map, pixel_size=args.pixel_size)
    poses = args.out.with_suffix(".star")
    outputs = [args.out, *([poses] if args.particles else [])]
    check_output(*outputs, inputs=[args.map, *([args.particles] if args.particles else [])])
    frame = _find(args, source, group)
    place = read_place(args.map, source.pixel_size)
    write_map(args.out, _turned(args, source, group, frame).data, source.pixel_size, place)
    if args.particles is not None:
        write_turned(poses, read_particle_table(args.particles), frame.matrix, frame.centre * source.pixel_size)
        logger.info("%s: the poses of %s for %s", poses, args.particles, args.out)
    logger.info("%s", report(frame, source.pixel_size, group.name))
    return 0


def _find(args: argparse.Namespace, source: Map, group: Symmetry) -> Frame:
    """Where the axes are; refused if the map does not have them."""
    frame = find_axes(source, group, resolution=args.resolution)
    if frame.weakest < args.min_correlation:
        raise InputError(
            f"{args.map} does not have the symmetry {group.name}: about the best axes at {frame.resolution:.1f} Å, one "
            f"of its rotations has a correlation of {frame.weakest:.2f} only (on average {frame.correlation:.2f}); "
            "if noise is the reason, give a coarser --resolution or a smaller --min-correlation "
            f"(now {args.min_correlation:g})"
        )
    return frame


def _turned(args: argparse.Namespace, source: Map, group: Symmetry, frame: Frame) -> Map:
    """A map whose axes are where those of `frame` are, with them in the convention's place."""
    turns = frame.matrix @ (group.matrices if args.symmetrise else np.eye(3)[None])
    return turned(source, turns, frame.centre)


def _expand(args: argparse.Namespace, group: Symmetry) -> int:
    """Write particles at all poses that see their images."""
    if not args.expand or args.map.suffix != ".star" or args.particles is not None or args.symmetrise:
        raise InputError("--expand takes particles with poses and nothing else: PARTICLES.star --expand --out OUT.star")
    check_output(args.out, inputs=[args.map])
    n = write_expanded(args.out, read_particle_table(args.map), group)
    logger.info("%s: %d rows, %d for each particle", args.out, n, len(group))
    return 0


def _turn_run(args: argparse.Namespace, group: Symmetry) -> int:
    """Turn all maps of a run, and its poses; the axes are those of the map of its first class."""
    if args.particles is not None or args.pixel_size is not None:
        raise InputError("--particles and --pixel-size are for a map: a run has its own")
    with run_logs(0) as logs:
        job = _Run(SerialComm(), args, logs)
        try:
            return guarded(
                job.comm, "symmetry", lambda: job.work(group), before_end=job.end, keep_traceback=job.keep_traceback
            )
        finally:
            job.release()


class _Run(FolderRun):
    """The command on a run's folder."""

    def work(self, group: Symmetry) -> None:
        """Find, turn, write, tell."""
        args = self.args
        source = FinishedRun.read(args.map, any_classes=True)
        source.check_other(args.out)
        first = read_map(source.folder / "run_class001.mrc")
        frame = _find(args, first, group)
        self.take_folder(overwrite=args.overwrite)
        self.open_log()
        centre = frame.centre * first.pixel_size
        told = {"turned": frame.matrix.tolist(), "moved": (-centre).tolist(), "symmetry": group.name}
        change = Change(
            of_map=lambda each: _turned(args, each, group, frame),
            of_poses=lambda path, particles: write_turned(path, particles, frame.matrix, centre),
            told=told,
        )
        change_run(self, source, change)
        logger.info("%s", report(frame, first.pixel_size, group.name))

    def end(self, code: int, message: str) -> None:
        """Leave the output folder in order."""
        self.leave(code, message, as_found=code == INPUT_ERROR)


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
