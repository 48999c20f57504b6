"""``pycryo abinitio``: an initial map of particles, from no reference, on any number of MPI ranks."""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass, field

from pycryo import _core, progress
from pycryo.checks.inputs import Inputs, Wanted, examine
from pycryo.cli.logs import Logs, run_logs
from pycryo.cli.option_arguments import add_option_arguments, options_from
from pycryo.cli.ranks import threads_per_rank
from pycryo.cli.session import INPUT_ERROR, guarded
from pycryo.errors import InputError, RunError
from pycryo.io.aberrations import parse_kinds
from pycryo.io.particles import Particles
from pycryo.io.scratch import on_scratch
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import world
from pycryo.refinement.files.job import ABORTED, FAILURE, LOG_NAME, SUCCESS, JobFolder, keep_traceback
from pycryo.refinement.files.lock import FolderLock
from pycryo.refinement.start.abinitio import abinitio
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.refinement.start.abinitio_outputs import MAP_NAME, write_initial_model
from pycryo.threads import get_threads, set_threads
from pycryo.version import __version__

log = logging.getLogger(__name__)

# They tell how an iteration is done; there are hundreds of small ones.
_TALKATIVE = ("pycryo.refinement.expectation.search", "pycryo.refinement.expectation.rounds", "pycryo.model.insertion")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command; the options of the search come from `AbinitioOptions`."""
    parser.allow_abbrev = False
    parser.add_argument("particles", metavar="PARTICLES.star", help="particles (STAR file of RELION)")
    parser.add_argument("--out", "--o", required=True, metavar="DIR", help="folder for the results")
    add_option_arguments(parser, AbinitioOptions)
    group = parser.add_argument_group("Run")
    group.add_argument(
        "--overwrite", action="store_true", help="begin anew where DIR holds an earlier run, whose results are lost"
    )
    talk = group.add_mutually_exclusive_group()
    talk.add_argument("--verbose", action="store_true", help="tell more")
    talk.add_argument("--quiet", action="store_true", help="tell warnings and errors only")


def run(args: argparse.Namespace) -> int:
    """Run the sub-command on this rank; returns the exit code. Collective."""
    comm = world()
    with run_logs(comm.rank, verbose=args.verbose, quiet=args.quiet) as logs:
        progress.enable(comm.rank == 0 and not args.quiet)
        levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
        job = _Job(comm, args, logs)
        try:
            for name in () if args.verbose else _TALKATIVE:
                logging.getLogger(name).setLevel(logging.WARNING)
            return guarded(comm, "abinitio", job.work, before_end=job.end, keep_traceback=job.keep_traceback)
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            progress.enable(False)
            set_threads(None)
            job.release()


@dataclass(slots=True)
class _Job:
    """One run of the command: what it reads, does and leaves behind."""

    comm: Comm
    args: argparse.Namespace
    logs: Logs
    folder: JobFolder | None = field(default=None, init=False)
    lock: FolderLock | None = field(default=None, init=False)

    def work(self) -> None:
        """Check the input, find the map, write it. Collective."""
        comm, args = self.comm, self.args
        options = options_from(args, AbinitioOptions)

        read: list[Inputs] = []

        def look() -> Particles:
            resolutions = {"--first-resolution": options.first_resolution, "--last-resolution": options.last_resolution}
            wanted = Wanted(
                particles=args.particles,
                particles_dir=options.particles_dir,
                ignored=parse_kinds(options.ignore_optics),
                ctf=options.ctf,
                low_pass={name: value for name, value in resolutions.items() if value is not None},
                diameter=options.diameter,
            )
            read.append(examine(wanted))
            return read[0].usable(log)

        particles = on_root(comm, look)
        self.folder = on_root(comm, self._take_folder)
        set_threads(threads_per_rank(comm, options.threads))
        self.logs.open_file(self.folder.path / LOG_NAME)
        log.info("pycryo %s: %s", __version__, " ".join(sys.argv[1:]))
        if comm.rank == 0 and self.folder.had_run:
            log.warning("%s holds an earlier run: its files are overwritten", self.folder.path)
        log.info("%d rank(s) × %d thread(s), %s, on %s", comm.size, get_threads(), _core.isa(), platform.node())
        with on_scratch(comm, particles, options.scratch) as copied:
            found = abinitio(copied, options, comm=comm, gather_map=False)
        inputs = {"particles": str(particles.path.resolve())}
        findings = read[0].findings.items if read else []
        write_initial_model(comm, self.folder.path, particles, options, found, inputs, findings)
        path = self.folder.path / MAP_NAME
        log.info("go on with: pycryo refine %s --ref %s --sym %s", args.particles, path, options.symmetry)

    def _take_folder(self) -> JobFolder:
        """Rank 0's; the lock stays with it."""
        folder, self.lock = JobFolder.prepare(self.args.out, overwrite=self.args.overwrite)
        return folder

    def release(self) -> None:
        """Let others write into the folder."""
        if self.lock is not None:
            self.lock.release()

    def end(self, code: int, message: str) -> None:
        """Leave the output folder in order. Not collective: one rank."""
        if message:
            self.logs.note(message)
        if self.folder is None:
            return
        self.release()  # its file would keep a folder that was made
        with suppress(InputError, RunError, OSError):  # the folder may be what failed
            if code == INPUT_ERROR:
                self.folder.withdraw()
            else:
                self.folder.end({0: SUCCESS, 1: FAILURE}.get(code, ABORTED))

    def keep_traceback(self, text: str) -> None:
        """In run.log, if there is one."""
        keep_traceback(self.folder, text)
