"""``pycryo refine``: particles and a reference to maps, on any number of MPI ranks."""

from __future__ import annotations

import argparse
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from pycryo.checks.inputs import Inputs, Wanted, examine
from pycryo.cli import relion
from pycryo.cli.abort_file import obeys_abort_file, remove_abort_file
from pycryo.cli.continued import settle_continue, take_over
from pycryo.cli.folder_run import Job
from pycryo.cli.option_arguments import add_option_arguments, add_overwrite, add_talk, options_from
from pycryo.cli.ranks import threads_per_rank
from pycryo.cli.session import INPUT_ERROR
from pycryo.errors import InputError
from pycryo.findings import Finding
from pycryo.io.aberrations import parse_kinds
from pycryo.io.json_file import read_object
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.memory import without_collections
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import world
from pycryo.progress import on_terminal
from pycryo.refinement.data.prior import NO_POSES
from pycryo.refinement.files import closing
from pycryo.refinement.files.job import SUCCESS, keep_traceback
from pycryo.refinement.files.live import LiveReport
from pycryo.refinement.files.output_nodes import write_output_nodes
from pycryo.refinement.files.outputs import Writer
from pycryo.refinement.files.saved.checkpoint import checkpoint_file
from pycryo.refinement.loop import refine_slabs
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.resources.work_plan import tell
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.threads import set_threads

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command; the options of the refinement come from `RefineOptions`."""
    parser.allow_abbrev = False
    parser.add_argument("particles", nargs="?", metavar="PARTICLES.star", help="particles (STAR file of RELION)")
    parser.add_argument("--i", dest="particles_flag", metavar="STAR", help=argparse.SUPPRESS)
    parser.add_argument(
        "--ref", action="append", metavar="REF.mrc",
        help="reference map; of any box and pixel size; once for each class if these have different ones; not needed "
        "with --local",
    )  # fmt: skip
    parser.add_argument(
        "--out", "--o", action=relion.Output, required=True, metavar="DIR", help="folder for the results"
    )
    add_option_arguments(parser, RefineOptions)
    add_run_arguments(parser)
    relion.add_relion_arguments(parser)
    parser.epilog = "Lines of relion_refine and RELION's External jobs work as they are: docs/guides/from_relion.md."


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments about the run itself."""
    group = parser.add_argument_group("Run")
    group.add_argument(
        "--dry-run", action="store_true", help="check all input, print the memory and work plan, write nothing"
    )
    group.add_argument(
        "--continue", dest="resume", nargs="?", const="", metavar="FILE",
        help="go on from the checkpoint in DIR; RELION's optimiser file may follow, if it lies in DIR",
    )  # fmt: skip
    group.add_argument(
        "--report-every", type=int, default=0, metavar="N",
        help="build report.html again every N iterations while the run goes on (default: at its end only)",
    )  # fmt: skip
    add_overwrite(group)
    add_talk(group)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command on this rank; returns the exit code."""
    return refine_command(world(), args, "refine")


def refine_command(comm: Comm, args: argparse.Namespace, command: str) -> int:
    """Refine as `args` say. Collective.

    Parameters
    ----------
    comm : Comm
    args : Namespace
        Of `add_arguments`.
    command : str
        Name of the sub-command, for messages.

    Returns
    -------
    int
        Exit code.
    """
    with on_terminal(comm.rank == 0 and not args.quiet):
        return _Job.carry_out(comm, args, command)


@dataclass(slots=True)
class _Job(Job):
    """One run of the command: what it reads, does and leaves behind."""

    has_results: bool = field(default=False, init=False)
    live: LiveReport | None = field(default=None, init=False)

    def work(self) -> None:
        """Check the input, refine, make the report. Collective."""
        comm, args = self.comm, self.args
        relion.settle(args)
        settle_continue(args)
        vars(args).update(on_root(comm, lambda: take_over(args)))
        if len(args.ref or ()) > 1 and getattr(args, "classes", None) is None:
            args.classes = len(args.ref)
        options = options_from(args, RefineOptions)
        if args.report_every < 0:
            raise InputError(f"--report-every must be 0 or more, not {args.report_every}")
        if args.report_every and options.keep_iterations == "none":
            raise InputError("--report-every shows files of the iterations: give --keep-iterations last or all, too")
        # Maps stay on rank 0: they may be large.
        read: list[Inputs] = []
        particles = on_root(comm, lambda: read_inputs(args, options, read))
        references, mask = (read[0].references, read[0].mask) if read else ([], None)
        findings = read[0].findings.items if read else []
        overwrite = args.overwrite or args.dry_run or self._resumes
        folder = self.take_folder(overwrite=overwrite, checkpoint=checkpoint_file(self._checkpoint))
        set_threads(threads_per_rank(comm, options.threads))
        if args.dry_run:
            self._tell_relion()
            self._dry_run(particles, references, mask, options)
            return
        self.open_log()
        self._tell_relion()
        if self._resumes and SUCCESS in folder.marks:
            log.info("%s holds a finished run: there is nothing to continue", folder.path)
            return
        self.tell(goes_on=self._resumes)
        with obeys_abort_file(folder.path):
            self._refine(particles, references, mask, options, findings)
            on_root(comm, lambda: closing.sharpen(folder.path))
            on_root(comm, self._report)
        if relion.is_external(args):
            on_root(comm, lambda: write_output_nodes(folder.path, options.classes))

    def _tell_relion(self) -> None:
        for line in relion.lines(self.args):
            log.info("%s", line)

    @property
    def _resumes(self) -> bool:
        return self.args.resume is not None

    def _refine(
        self,
        particles: Particles,
        references: list[Map],
        mask: Map | None,
        options: RefineOptions,
        findings: list[Finding],
    ) -> None:
        assert self.folder is not None
        inputs = {"particles": str(particles.path.resolve())}
        if self.args.ref:
            inputs["reference"] = ", ".join(str(Path(each).resolve()) for each in self.args.ref)
        if options.mask:
            inputs["mask"] = str(Path(options.mask).resolve())
        writer = Writer(self.folder.path, particles, options, self.comm, inputs=inputs, findings=findings)
        self.live = LiveReport(writer, self.args.report_every)
        try:
            refine_slabs(
                particles,
                references,
                options,
                comm=self.comm,
                mask=mask,
                observer=self.live,
                checkpoint=self._checkpoint,
                resume=self._resumes,
            )
        finally:
            self.has_results = writer.has_written

    @property
    def _checkpoint(self) -> Path:
        return Path(self.args.out) / "checkpoint"

    def _dry_run(self, particles: Particles, references: list[Map], mask: Map | None, options: RefineOptions) -> None:
        setup, starts = set_up(self.comm, particles, references, mask, options)
        text = tell(setup, first_state(setup, starts))
        if self.comm.rank == 0:
            print(text)

    def _report(self) -> None:
        assert self.folder is not None
        if self.live is not None:
            self.live.close()
        with without_collections(for_good=True):  # the process ends soon
            closing.report(self.folder.path)

    def end(self, code: int, message: str) -> None:
        """Leave the output folder in order. Not collective: one rank."""
        if self.live is not None:
            self.live.close()
        if code not in (0, INPUT_ERROR) and checkpoint_file(self._checkpoint).exists():
            log.info("the same command with --continue goes on from the checkpoint in %s", self._checkpoint)
        if self.folder is not None and not self.args.dry_run:
            remove_abort_file(self.folder.path)
            if code == 0 and not _keeps_checkpoint(self.folder.path):
                # The mark comes first: a run without both could neither be continued nor be known as finished.
                self.folder.end(SUCCESS)
                shutil.rmtree(self._checkpoint, ignore_errors=True)
        self.leave(code, message, as_found=self.args.dry_run or (code == INPUT_ERROR and not self.has_results))

    def keep_traceback(self, text: str) -> None:
        """In run.log, if there is one."""
        keep_traceback(None if self.args.dry_run else self.folder, text)


def _keeps_checkpoint(folder: Path) -> bool:
    """Whether the run that has ended in a folder was to keep all its files."""
    try:
        options = read_object(folder / "run.json", "").get("options")
    except InputError:
        return True
    return not isinstance(options, dict) or options.get("keep_iterations", "all") == "all"


def read_inputs(args: argparse.Namespace, options: RefineOptions, read: list[Inputs]) -> Particles:
    """Particles; with references, mask and findings they are put into `read`. One rank.

    Raises
    ------
    InputError
        If one of them is missing or wrong; tells all that is.
    """
    if (args.particles is None) == (args.particles_flag is None):
        raise InputError("give the STAR file of the particles once: pycryo refine PARTICLES.star --ref ...")
    wanted = Wanted(
        particles=args.particles or args.particles_flag,
        particles_dir=options.particles_dir,
        ignored=parse_kinds(options.ignore_optics),
        references=tuple(args.ref or ()),
        mask=options.mask,
        ctf=options.ctf,
        poses=NO_POSES if options.local else "",
        priors=options.local,
        low_pass={"--ini-high": options.ini_high},
        diameter=options.diameter,
    )
    found = examine(wanted)
    if not args.ref and not options.local:
        found.findings.error(
            "reference", "give a reference map with --ref, or --local if the particles have poses to start from"
        )
    with found.findings.collect("reference"):
        relion.check_pixel_size(args, [each.pixel_size for each in found.references])
    read.append(found)
    return found.usable(log)
