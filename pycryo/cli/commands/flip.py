"""``pycryo flip``: the other hand of a map, of the poses of particles, or of a whole run."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pycryo.cli.folder_run import FolderRun
from pycryo.cli.logs import run_logs
from pycryo.cli.option_arguments import add_overwrite, add_talk
from pycryo.cli.ranks import check_output
from pycryo.cli.session import INPUT_ERROR, guarded
from pycryo.errors import InputError
from pycryo.parallel.comm import SerialComm

if TYPE_CHECKING:
    from pycryo.geometry.frame_changes import Axis
    from pycryo.refinement.files.finished_run import FinishedRun

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.allow_abbrev = False
    parser.add_argument(
        "source", type=Path, metavar="RUN | MAP.mrc | PARTICLES.star",
        help="folder of a finished refinement, a map or mask, or particles with poses",
    )  # fmt: skip
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="OUT", help="folder or file for the result")
    parser.add_argument(
        "--axis", choices=("x", "y", "z"),
        help="coordinate that changes its sign (default: z, or one with which the axes of the run's point group stay)",
    )  # fmt: skip
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="of a map, instead of the one in the file")
    add_overwrite(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Mirror and write; returns the exit code."""
    with run_logs(0, verbose=args.verbose, quiet=args.quiet) as logs:
        job = _Job(SerialComm(), args, logs)
        try:
            return guarded(job.comm, "flip", job.work, before_end=job.end, keep_traceback=job.keep_traceback)
        finally:
            job.release()


class _Job(FolderRun):
    """One run of the command."""

    def work(self) -> None:
        """Find out what is given, mirror it."""
        args = self.args
        if args.source.is_dir():
            self._run()
            return
        if args.pixel_size is not None and args.source.suffix == ".star":
            raise InputError("--pixel-size is that of a map")
        check_output(args.out, inputs=[args.source])
        if args.source.suffix == ".star":
            from pycryo.cli.changed_poses import write_mirrored
            from pycryo.io.selection import read_particle_table

            write_mirrored(args.out, read_particle_table(args.source), args.axis or "z")
        else:
            from pycryo.io.mrc import read_map, read_place, write_map
            from pycryo.maps.turn import mirrored

            old = read_map(args.source, pixel_size=args.pixel_size)
            place = read_place(args.source, old.pixel_size)
            write_map(args.out, mirrored(old, args.axis or "z").data, old.pixel_size, place)
        logger.info("%s: mirrored along %s", args.out, args.axis or "z")

    def _run(self) -> None:
        from pycryo.cli.changed_poses import write_mirrored
        from pycryo.cli.changed_run import Change, change_run
        from pycryo.maps.turn import mirrored
        from pycryo.refinement.files.finished_run import FinishedRun

        args = self.args
        if args.pixel_size is not None:
            raise InputError("--pixel-size is that of a map: a run tells its own")
        source = FinishedRun.read(args.source, any_classes=True)
        axis = _axis_of(source, args.axis)
        source.check_other(args.out)
        self.take_folder(overwrite=args.overwrite)
        self.open_log()
        change = Change(
            of_map=lambda each: mirrored(each, axis),
            of_poses=lambda path, particles: write_mirrored(path, particles, axis),
            told={"mirrored": axis},
            turns_hand=True,
        )
        change_run(self, source, change)
        logger.info("%s: maps and poses, mirrored along %s", args.out, axis)
        logger.info("with --ewald, the hand is the other one, too: --ewald-hand changes its sign")

    def end(self, code: int, message: str) -> None:
        """Leave the output folder in order."""
        self.leave(code, message, as_found=code == INPUT_ERROR)


def _axis_of(source: FinishedRun, asked: Axis | None) -> Axis:
    """The axis asked for, or one that keeps the point group of the run where its convention has it."""
    from pycryo.geometry.frame_changes import AXES, keeps_group
    from pycryo.geometry.symmetry import symmetry

    group = symmetry(source.told.get("symmetry") or "C1")
    good = [axis for axis in AXES if keeps_group(axis, group)]
    if asked is None:
        return good[0]
    if asked not in good:
        raise InputError(
            f"mirrored along {asked}, the axes of {group.name} would not lie as the convention has them: give --axis "
            f"{good[0]}"
        )
    return asked
