"""``pycryo export``: particles as a file of another program."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pycryo.checks.particles import check_particles
from pycryo.cli.option_arguments import add_ignore_optics, add_particles_dir
from pycryo.cli.ranks import check_output
from pycryo.findings import Findings
from pycryo.io.aberrations import parse_kinds
from pycryo.io.foreign.cryosparc_export import write_cryosparc
from pycryo.io.particles import read_particles

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star", help="particles (STAR file of RELION)")
    parser.add_argument(
        "--cs",
        type=Path,
        required=True,
        metavar="OUT.cs",
        help="file of cryoSPARC; OUT.csg, by which it is imported, too",
    )
    parser.add_argument(
        "--project-dir",
        type=Path,
        metavar="DIR",
        help="cryoSPARC's project: the names of the stacks become relative to it (default: absolute)",
    )
    add_particles_dir(parser)
    add_ignore_optics(parser)


def run(args: argparse.Namespace) -> int:
    """Read the particles, write the files and tell what was left out."""
    check_output(args.cs, args.cs.with_suffix(".csg"), inputs=[args.particles])
    ignored = parse_kinds(args.ignore_optics)
    particles = read_particles(args.particles, particles_dir=args.particles_dir, ignore_optics=ignored)
    findings = Findings()
    check_particles(particles, findings, uses_ctf=particles.has_ctf, poses="")
    findings.raise_errors()
    findings.log_warnings(logger)
    for note in write_cryosparc(args.cs, particles, args.project_dir):
        logger.warning("%s", note)
    logger.info("%s: %d particles; cryoSPARC imports %s", args.cs, particles.n, args.cs.with_suffix(".csg").name)
    return 0
