"""``pycryo check``: all findings about the input of a refinement at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from pycryo.checks.inputs import Inputs, Wanted, examine
from pycryo.checks.maps import usual_grid
from pycryo.cli.option_arguments import add_ignore_optics, add_particles_dir
from pycryo.cli.session import INPUT_ERROR
from pycryo.findings import numbered
from pycryo.io.aberrations import parse_kinds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star", help="particles (STAR file of RELION)")
    parser.add_argument("--ref", type=Path, action="append", default=[], metavar="REF.mrc", help="reference map")
    parser.add_argument("--mask", "--solvent_mask", type=Path, metavar="MASK.mrc", help="soft mask of the molecule")
    add_particles_dir(parser)
    parser.add_argument(
        "--poses", action="store_true", help="the poses in the file will be used (reconstruct, ctf-refine, --local)"
    )
    parser.add_argument("--no-ctf", action="store_true", help="no contrast transfer function will be applied")
    parser.add_argument(
        "--ini-high",
        "--ini_high",
        type=float,
        default=40.0,
        metavar="Å",
        help="low-pass of --ref (default: 40)",
    )
    parser.add_argument("--diameter", "--particle_diameter", type=float, metavar="Å", help="of the particle")
    add_ignore_optics(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was found; 0 if there are no errors."""
    wanted = Wanted(
        particles=args.particles,
        particles_dir=args.particles_dir,
        ignored=parse_kinds(args.ignore_optics),
        references=tuple(args.ref),
        mask=args.mask,
        ctf=not args.no_ctf,
        poses="add them, or leave out --poses" if args.poses else "",
        priors=args.poses,
        low_pass={"--ini-high": args.ini_high} if args.ref else {},
        diameter=args.diameter,
        half_sets="used",
    )
    inputs = examine(wanted)
    print(described(inputs))
    return INPUT_ERROR if inputs.findings.errors else 0


def described(inputs: Inputs) -> str:
    """What was read and what was found, as text."""
    lines = []
    if (particles := inputs.particles) is not None:
        size = usual_grid(particles)
        grid = "" if size is None else f", {size[0]} px of {size[1]:g} Å"
        lines.append(
            f"{particles.path}: {particles.n} particles in {len(particles.stacks)} stack(s), "
            f"{len(particles.optics)} optics group(s){grid}"
        )
    found = inputs.findings
    for name, kind in (("errors", found.errors), ("warnings", found.warnings)):
        if kind:
            lines += [f"{len(kind)} {name if len(kind) > 1 else name[:-1]}:", numbered([each.text for each in kind])]
        else:
            lines.append(f"no {name}")
    return "\n".join(lines)
