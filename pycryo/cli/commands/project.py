"""``pycryo project``: projections of a map."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.cli.option_arguments import add_ignore_optics
from pycryo.cli.ranks import check_output
from pycryo.errors import InputError
from pycryo.geometry.aberrations import magnified
from pycryo.geometry.rotations import euler_to_matrix
from pycryo.io.aberrations import parse_kinds
from pycryo.io.mrc import read_map
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import Particles, read_particles, write_particles
from pycryo.io.star import write_star
from pycryo.io.table import make_table
from pycryo.kernels.ctf import ctf
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_images
from pycryo.maps.density import Map
from pycryo.model.microscope import magnification, put_into_images
from pycryo.progress import on_terminal, track
from pycryo.simulation.options import SimulateOptions
from pycryo.simulation.simulator import draw_truth
from pycryo.threads import set_threads

logger = logging.getLogger(__name__)

BATCH_PIXELS = 1 << 21  # images of a batch, 8 MiB; their transforms and slices are as large


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    defaults = SimulateOptions()
    parser.add_argument("map", type=Path, metavar="MAP.mrc", help="density map")
    views = parser.add_mutually_exclusive_group(required=True)
    views.add_argument("--poses", type=Path, metavar="POSES.star", help="angles, origins and CTF of the projections")
    views.add_argument("--random", type=int, metavar="N", help="N random orientations")
    parser.add_argument(
        "--out", "--o", type=Path, required=True, metavar="STACK.mrcs", help="the images; STACK.star has their poses"
    )
    parser.add_argument("--ctf", action="store_true", help="apply the contrast transfer function and aberrations")
    add_ignore_optics(parser)
    parser.add_argument("--seed", type=int, default=1, help="of --random (default: 1)")
    parser.add_argument(
        "--shift-sd", type=float, default=0.0, metavar="PX", help="of --random: spread of the shifts (default: 0)"
    )
    parser.add_argument(
        "--defocus",
        type=float,
        nargs=2,
        default=(defaults.defocus_min, defaults.defocus_max),
        metavar=("MIN", "MAX"),
        help=f"of --random --ctf, Å (default: {defaults.defocus_min:g} to {defaults.defocus_max:g})",
    )
    parser.add_argument("--padding", "--pad", type=int, default=2, metavar="N", help="of the transform (default: 2)")
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="pixel size of the map, instead of the one in it")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="default: all cores")


@dataclass(frozen=True, slots=True)
class Views:
    """What to project and what to say about it.

    Attributes
    ----------
    angles : (n, 3) float64
        rot, tilt, psi, degrees.
    origins : (n, 2) float64
        rlnOrigin, px of the map.
    change : callable or None
        Changes slices (n, 2, n_pixel) of the views `rows` (n,) in place: what the microscope does to them.
    magnification : (n, 2, 2) float64 or None
        Slices are read at M k.
    write : callable
        Writes the STAR file of a path, given the names of the images.
    """

    angles: NDArray[np.float64]
    origins: NDArray[np.float64]
    change: Callable[[NDArray[np.float32], NDArray[np.int64], Pixels], None] | None
    magnification: NDArray[np.float64] | None
    write: Callable[[Path, NDArray[Any]], None]


def run(args: argparse.Namespace) -> int:
    """Write the stack and its STAR file."""
    for name, least in (("threads", 1), ("padding", 1), ("seed", 0), ("random", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name} must be at least {least}, not {value}")
    set_threads(args.threads)
    star = args.out.with_suffix(".star")
    if args.poses is not None and star.exists() and args.poses.exists() and star.samefile(args.poses):
        raise InputError(f"{args.out} would have its poses in {star}, the input: choose another name for --out")
    source = read_map(args.map, pixel_size=args.pixel_size)
    ignored = parse_kinds(args.ignore_optics)
    views = random_views(args, source) if args.poses is None else views_of(args.poses, source, args.ctf, ignored)
    check_output(args.out, star, inputs=[args.map])
    images = track(projections(source, views, args.padding), len(views.angles), "projecting", len)
    with on_terminal():
        n = write_stack(args.out, images, (source.box,) * 2, source.pixel_size)
    stack = args.out.name
    names = np.array([f"{number:06d}@{stack}" for number in range(1, n + 1)], object)
    views.write(star, names)
    logger.info("%s: %d projections of %d px, %g Å", args.out, n, source.box, source.pixel_size)
    return 0


def views_of(path: Path, source: Map, with_ctf: bool, ignored: Collection[str] = ()) -> Views:
    """The poses of a STAR file; its other columns are written back."""
    particles = read_particles(path, validate=False, ignore_optics=ignored)
    if not particles.has_poses:
        raise InputError(f"{path} has no rlnAngleRot, rlnAngleTilt, rlnAnglePsi; give a STAR file with poses")
    seen = particles
    if with_ctf:
        particles.require_ctf()
        names = ("defocus_u", "defocus_v", "defocus_angle", "phase_shift", "ctf_b_factor", "ctf_scale")
        for name in names:
            if np.any(bad := ~np.isfinite(getattr(particles, name))):
                raise InputError(
                    f"{path}, row {int(np.argmax(bad)) + 1}: the {name} of the CTF is not finite; correct it"
                )
        # The optics of the file for images of the map's size.
        n = len(particles.optics)
        boxes, pixel_sizes = np.full(n, source.box), np.full(n, source.pixel_size)
        optics = dataclasses.replace(particles.optics, box=boxes, pixel_size=pixel_sizes)
        seen = dataclasses.replace(particles, optics=optics)
    angles = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)
    origins = np.stack([particles.origin_x, particles.origin_y], axis=1) / source.pixel_size

    def write(star: Path, names: NDArray[Any]) -> None:
        table = particles.optics_table
        size = {"rlnImageSize": source.box, "rlnImagePixelSize": source.pixel_size, "rlnImageDimensionality": 2}
        table = table.with_columns({label: np.full(table.n, value) for label, value in size.items()})
        written: Particles = dataclasses.replace(particles, optics_table=table, folders=())
        write_particles(star, written, {"rlnImageName": names})

    if not with_ctf:
        return Views(angles, origins, None, None, write)
    return Views(angles, origins, partial(put_into_images, seen), magnification(seen, np.arange(seen.n)), write)


def random_views(args: argparse.Namespace, source: Map) -> Views:
    """Uniform random poses, as ``pycryo simulate`` draws them."""
    low, high = args.defocus
    options = SimulateOptions(n=args.random, shift_sd=args.shift_sd, defocus_min=low, defocus_max=high, seed=args.seed)
    truth = draw_truth(options)

    def change(samples: NDArray[np.float32], rows: NDArray[np.int64], pixels: Pixels) -> None:
        samples *= ctf(
            pixels.kx,
            pixels.ky,
            frequency_step=1 / (pixels.box * source.pixel_size),
            defocus_u=truth.defocus_u[rows],
            defocus_v=truth.defocus_v[rows],
            defocus_angle=truth.defocus_angle[rows],
            voltage=options.voltage,
            spherical_aberration=options.spherical_aberration,
            amplitude_contrast=options.amplitude_contrast,
        )[:, None]

    def write(star: Path, names: NDArray[Any]) -> None:
        origin = truth.origin * source.pixel_size
        columns: dict[str, ArrayLike] = {
            "rlnImageName": names,
            "rlnOpticsGroup": np.ones(options.n, int),
            "rlnAngleRot": truth.angles[:, 0],
            "rlnAngleTilt": truth.angles[:, 1],
            "rlnAnglePsi": truth.angles[:, 2],
            "rlnOriginXAngst": origin[:, 0],
            "rlnOriginYAngst": origin[:, 1],
        }
        if args.ctf:
            columns |= {
                "rlnDefocusU": truth.defocus_u,
                "rlnDefocusV": truth.defocus_v,
                "rlnDefocusAngle": truth.defocus_angle,
            }
        optics = options.optics_table(source.box, source.pixel_size)
        write_star(star, {"optics": optics, "particles": make_table(columns)})

    return Views(truth.angles, truth.origin, change if args.ctf else None, None, write)


def projections(source: Map, views: Views, padding: int) -> Iterator[NDArray[np.float32]]:
    """The images in order, some at a time."""
    volume = fourier_volume(source.data, padding=padding)
    pixels = half_plane(source.box, volume.r_high)
    size = max(1, BATCH_PIXELS // source.box**2)
    for first in range(0, len(views.angles), size):
        yield _some(volume, pixels, views, np.arange(first, min(first + size, len(views.angles))))


def _some(volume: FourierVolume, pixels: Pixels, views: Views, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    rotations = euler_to_matrix(*views.angles[rows].T)
    if views.magnification is not None:
        rotations = magnified(rotations, views.magnification[rows])

    def change(samples: NDArray[np.float32]) -> None:
        if views.change is not None:
            views.change(samples, rows, pixels)

    origins = views.origins[rows]
    return project_images(volume, rotations, pixels, shifts=origins if origins.any() else None, change=change)
