"""``pycryo import``: particles of another program as a STAR file of RELION."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pycryo.cli.ranks import check_output
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert, image_folders
from pycryo.io.foreign.star_file import link_stacks, write_converted

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument(
        "particles",
        type=Path,
        nargs="+",
        metavar="PARTICLES",
        help=".cs of cryoSPARC, followed by its passthrough files; or one .star or .par of cisTEM, .par of FREALIGN, "
        ".lst of EMAN2",
    )
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="PARTICLES.star", help="the STAR file")
    parser.add_argument(
        "--project-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder that the names of the stacks are relative to, as cryoSPARC's project; may be repeated",
    )
    parser.add_argument(
        "--links",
        type=Path,
        metavar="DIR",
        help="folder for links to the stacks, named .mrcs as RELION needs it; the STAR file names them",
    )
    parser.add_argument("--stack", metavar="STACK.mrcs", help="stack of the particles, where the file does not name it")
    parser.add_argument(
        "--pixel-size", type=float, metavar="Å", help="of the images; these four go before what the file says"
    )
    parser.add_argument("--voltage", type=float, metavar="KV", help="of the microscope")
    parser.add_argument("--cs", type=float, metavar="MM", help="spherical aberration")
    parser.add_argument("--amplitude-contrast", type=float, metavar="SHARE", help="0 to 1")
    parser.add_argument(
        "--shifts",
        choices=("px", "angst"),
        help="unit of the shifts in a .par file (default: px up to FREALIGN 8, Å later)",
    )


def run(args: argparse.Namespace) -> int:
    """Read, tell what was assumed and left out, and write the STAR file."""
    check_output(args.out, inputs=args.particles)
    given = Given(args.stack, args.pixel_size, args.voltage, args.cs, args.amplitude_contrast, args.shifts)
    found = convert(args.particles, given)
    folders = [*args.project_dir, args.particles[0].parent, Path(), *image_folders(args.particles[0])]
    if args.links is not None:
        link_stacks(found, folders, args.links)
        folders = [Path()]
    folder = write_converted(args.out, found, folders)
    for note in found.notes:
        logger.warning("%s", note)
    logger.info("%s: %d particles in %d optics group(s)", args.out, found.n, found.n_groups)
    if folder is None:
        logger.warning(
            "the stack of the first particle was not found: name the folder that the image names begin in by "
            "--project-dir here, or by --particles-dir where the file is used"
        )
    else:
        logger.info("the image names begin in %s: start RELION there; pycryo looks there by itself", folder)
    if found.has_mrc:
        logger.info("RELION takes .mrc for volumes: --links DIR makes links named .mrcs, for the STAR file to name")
    return 0
