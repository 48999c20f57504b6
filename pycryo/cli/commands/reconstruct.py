"""``pycryo reconstruct``: a map from particles with known poses."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pycryo.checks.inputs import Wanted, examine
from pycryo.cli.option_arguments import add_ignore_optics, add_particles_dir, add_scratch
from pycryo.cli.ranks import check_output, set_up_rank
from pycryo.cli.session import guarded
from pycryo.errors import InputError
from pycryo.geometry.symmetry import GROUPS, symmetry
from pycryo.io.aberrations import parse_kinds
from pycryo.io.mrc import write_map_slabs
from pycryo.io.sources.scratch import on_scratch
from pycryo.maps.contrast import DARK, skewness
from pycryo.model.owners import MODELS
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import world
from pycryo.progress import on_terminal

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star", help="particles with poses")
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="MAP.mrc", help="the map")
    parser.add_argument("--symmetry", "--sym", default="C1", metavar="GROUP", help=f"point group: {GROUPS}")
    parser.add_argument(
        "--half-maps", action="store_true", help="also write MAP_half1.mrc and MAP_half2.mrc (by rlnRandomSubset)"
    )
    parser.add_argument("--no-ctf", action="store_true", help="do not correct for a contrast transfer function")
    parser.add_argument("--invert-contrast", action="store_true", help="the particles are dark on light")
    parser.add_argument("--padding", "--pad", type=int, default=2, metavar="N", help="of the transform (default: 2)")
    parser.add_argument("--max-resolution", "--max-res", "--maxres", type=float, metavar="Å", help="the map ends here")
    parser.add_argument(
        "--background-radius",
        type=float,
        metavar="Å",
        help="the mean of each image outside this circle is subtracted (default: half the box)",
    )
    parser.add_argument(
        "--max-bad-fraction",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="stop if more than this share of the images is unusable (default: 0.05)",
    )
    add_particles_dir(parser)
    add_scratch(parser)
    add_ignore_optics(parser)
    parser.add_argument(
        "--ewald",
        action="store_true",
        help="allow for the thickness of the particle: insert the images on the Ewald sphere",
    )
    parser.add_argument(
        "--ewald-hand",
        type=int,
        choices=(1, -1),
        default=1,
        metavar="HAND",
        help="1: what is at height z of the turned map has more defocus, -1: less; the right one makes the better map "
        "(default: 1)",
    )
    parser.add_argument(
        "--diameter",
        "--particle-diameter",
        "--mask_diameter",
        type=float,
        metavar="Å",
        help="of the particle, for --ewald (default: two thirds of the box)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the halves, if the file has none (default: 1)")
    parser.add_argument(
        "--model",
        choices=MODELS,
        default=MODELS[0],
        help="how ranks hold Fourier sums and grid: in slabs, the grid whole, or all whole (default: slab)",
    )
    parser.add_argument("--single", action="store_true", help="grids in single precision: half their memory and time")
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GIB",
        help="per rank for images that wait for insertion (default: half of what is free, divided by the node's ranks)",
    )
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="per rank (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Reconstruct, write the maps and the particles left out; under mpiexec the ranks share the images. Collective."""
    comm = world()
    return guarded(comm, "reconstruct", lambda: _run(comm, args))


def _run(comm: Comm, args: argparse.Namespace) -> None:
    from pycryo.refinement.files.data_star import write_rejected
    from pycryo.refinement.reconstruct import ReconstructOptions, reconstruct_slabs

    set_up_rank(comm, args.threads)
    if args.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {args.seed}")
    halves = [args.out.with_name(f"{args.out.stem}_half{number}{args.out.suffix}") for number in (1, 2)]
    symmetry(args.symmetry)
    ignored = parse_kinds(args.ignore_optics)
    wanted = Wanted(
        particles=args.particles,
        particles_dir=args.particles_dir,
        ignored=ignored,
        ctf=not args.no_ctf,
        poses="reconstruct needs particles with poses",
        priors=True,
        low_pass={} if args.max_resolution is None else {"--max-resolution": args.max_resolution},
    )
    particles = on_root(comm, lambda: examine(wanted).usable(logger))
    inputs = [args.particles, *particles.stacks]
    on_root(comm, lambda: check_output(args.out, *(halves if args.half_maps else ()), inputs=inputs))
    with on_terminal(comm.rank == 0), on_scratch(comm, particles, args.scratch) as copied:
        options = ReconstructOptions(
            symmetry=args.symmetry,
            padding=args.padding,
            ctf=not args.no_ctf,
            invert_contrast=args.invert_contrast,
            half_maps=args.half_maps,
            max_resolution=args.max_resolution,
            background_radius=args.background_radius,
            max_bad_fraction=args.max_bad_fraction,
            seed=args.seed,
            model=args.model,
            single=args.single,
            memory=args.memory,
            ewald=args.ewald,
            ewald_hand=args.ewald_hand,
            diameter=args.diameter,
        )
        result = reconstruct_slabs(copied, options, comm=comm)
    if skewness(result.map) < DARK and comm.rank == 0:
        advice = "without" if args.invert_contrast else "with"
        logger.warning("the map is dark on light: if the particles are, run again %s --invert-contrast", advice)
    write_map_slabs(args.out, result.map)
    for path, half in zip(halves, result.half_maps or (), strict=False):
        write_map_slabs(path, half)
    rejected = args.out.with_name(f"{args.out.stem}_rejected.star")
    on_root(comm, lambda: write_rejected(rejected, particles, result.left_out))
    if comm.rank == 0:
        logger.info("%s: %d particles, %d px of %g Å", args.out, result.n, result.map.box, result.map.pixel_size)
        if result.fsc is not None:
            logger.info("half-maps, without a mask: %.2f Å at FSC 0.143", result.fsc.resolution_0143)
