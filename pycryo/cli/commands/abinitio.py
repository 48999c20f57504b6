"""``pycryo abinitio``: an initial map of particles, from no reference, on any number of MPI ranks."""

from __future__ import annotations

import argparse
import logging

from pycryo.checks.inputs import Inputs, Wanted, examine
from pycryo.cli.folder_run import Job
from pycryo.cli.option_arguments import add_option_arguments, add_overwrite, add_talk, options_from
from pycryo.cli.ranks import threads_per_rank
from pycryo.io.aberrations import parse_kinds
from pycryo.io.particles import Particles
from pycryo.io.sources.scratch import on_scratch
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.world import world
from pycryo.progress import on_terminal
from pycryo.refinement.start.abinitio import abinitio
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.refinement.start.abinitio_outputs import MAP_NAME, write_initial_model
from pycryo.threads import set_threads

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
    add_overwrite(group)
    add_talk(group)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command on this rank; returns the exit code. Collective."""
    comm = world()
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    try:
        for name in () if args.verbose else _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        with on_terminal(comm.rank == 0 and not args.quiet):
            return _Job.carry_out(comm, args, "abinitio")
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _Job(Job):
    """One run of the command: what it reads, does and leaves behind."""

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
        folder = self.take_folder(overwrite=args.overwrite).path
        set_threads(threads_per_rank(comm, options.threads))
        self.open_log()
        self.tell()
        with on_scratch(comm, particles, options.scratch) as copied:
            found = abinitio(copied, options, comm=comm, gather_map=False)
        inputs = {"particles": str(particles.path.resolve())}
        findings = read[0].findings.items if read else []
        write_initial_model(comm, folder, particles, options, found, inputs, findings)
        log.info("go on with: pycryo refine %s --ref %s --sym %s", args.particles, folder / MAP_NAME, options.symmetry)
