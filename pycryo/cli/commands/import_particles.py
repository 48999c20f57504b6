"""``pycryo import``: particles of another program as a STAR file of RELION."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.cli.ranks import check_output
from pycryo.errors import InputError
from pycryo.io.atomic import check_writable_folder, write_error
from pycryo.io.foreign.conversion import Converted, Given
from pycryo.io.foreign.formats import convert, image_folders
from pycryo.io.image_names import folder_comments
from pycryo.io.star import write_star

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
        found.particles["rlnImageName"] = _linked(found, folders, args.links)
        folders = [Path()]
    tables = found.tables()
    for note in found.notes:
        logger.warning("%s", note)
    folder = _folder(str(found.particles["rlnImageName"][0]).partition("@")[2], folders)
    if folder is None:
        logger.warning(
            "the stack of the first particle was not found: name the folder that the image names begin in by "
            "--project-dir here, or by --particles-dir where the file is used"
        )
    is_elsewhere = folder is not None and folder != args.out.parent.absolute()
    write_star(args.out, tables, comments=folder_comments([folder] if folder is not None and is_elsewhere else []))
    groups = tables["optics"]
    logger.info("%s: %d particles in %d optics group(s)", args.out, found.n, len(groups))
    if folder is not None:
        logger.info("the image names begin in %s: start RELION there; pycryo looks there by itself", folder)
    if any(name.endswith(".mrc") for name in found.particles["rlnImageName"].tolist()):
        logger.info("RELION takes .mrc for volumes: --links DIR makes links named .mrcs, for the STAR file to name")
    return 0


def _folder(stack: str, folders: list[Path]) -> Path | None:
    """The absolute folder that leads to a stack; None if none does."""
    for folder in folders:
        try:
            if (folder / stack).is_file():
                return folder.absolute()
        except OSError:
            continue
    return None


def _linked(found: Converted, folders: list[Path], links: Path) -> NDArray[Any]:
    """Names of the images (n,) by links to their stacks, which are made.

    Raises
    ------
    InputError
        If a stack is not found, or something else has the name of a link.
    """
    parts = [name.partition("@") for name in found.particles["rlnImageName"].tolist()]
    names: dict[str, str] = {}
    targets: dict[str, Path] = {}
    for stack in dict.fromkeys(part[2] for part in parts):
        folder = _folder(stack, folders)
        if folder is None:
            raise InputError(f"there is no file {stack!r} to be linked; name the folder it begins in by --project-dir")
        name = os.path.splitext(stack.strip("/").replace("/", "_"))[0]
        while f"{name}.mrcs" in targets:
            name += "_"
        names[stack] = f"{name}.mrcs"
        targets[names[stack]] = folder / stack
    check_writable_folder(links)
    for name, target in targets.items():
        _link(links / name, target)
    return np.array([f"{number}@{links / names[stack]}" for number, _, stack in parts], object)


def _link(path: Path, target: Path) -> None:
    """Link, unless the link is there already."""
    if path.is_symlink() and os.path.realpath(path) == os.path.realpath(target):
        return
    try:
        path.symlink_to(os.path.realpath(target))
    except OSError as error:
        raise write_error(path, error) from error
