"""``pycryo simulate``: particle images with known truth from atomic models or maps."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pycryo.errors import InputError
from pycryo.io.atomic import check_writable_folder
from pycryo.io.mrc import read_map, write_map
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.star import write_star
from pycryo.io.table import Table, make_table
from pycryo.maps.atoms import is_model, model_density
from pycryo.maps.density import Map, low_pass, resample
from pycryo.maps.masks import auto_mask
from pycryo.progress import on_terminal
from pycryo.simulation.options import SimulateOptions
from pycryo.simulation.simulator import PARTICLE, Simulator, tracked

logger = logging.getLogger(__name__)

INITIAL_RESOLUTION = 40.0  # Å, of init40A.mrc
MICROGRAPHS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command; those of the data set come from `SimulateOptions`."""
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL", help=".pdb, .cif (also .gz) or .mrc; several: classes"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for all files")
    parser.add_argument("--box", type=int, metavar="PX", help="box of the images (default: a map's own)")
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="pixel size of the images (default: a map's own)")
    parser.add_argument("--assembly", metavar="NAME", help="biological assembly of an atomic model to build, such as 1")
    parser.add_argument("--b-factor", type=float, default=60.0, metavar="Å²", help="of the atoms (default: 60)")
    for field in dataclasses.fields(SimulateOptions):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(field.default),
            default=field.default,
            metavar="N" if isinstance(field.default, int) else "X",
            help=f"{field.metadata['help']} (default: {field.default or 'none'})",
        )


def run(args: argparse.Namespace) -> int:
    """Write particles.mrcs, particles.star, truth.star, the maps of the truth, mask.mrc and init40A.mrc."""
    options = SimulateOptions(
        **{field.name: getattr(args, field.name) for field in dataclasses.fields(SimulateOptions)}
    )
    models = [_load(path, args) for path in args.models]
    models = [resample(each, models[0].box, models[0].pixel_size) for each in models]
    simulator = Simulator.from_maps(models, options)
    folder = check_writable_folder(args.out)
    _write_maps(folder, simulator.maps)
    box, pixel_size = models[0].box, models[0].pixel_size
    with on_terminal():
        write_stack(folder / "particles.mrcs", tracked(simulator), (box, box), pixel_size)
    optics = options.optics_table(box, pixel_size)
    write_star(folder / "truth.star", {"optics": optics, "particles": particle_table(simulator, poses=True)})
    write_star(folder / "particles.star", {"optics": optics, "particles": particle_table(simulator, poses=False)})
    junk = int((simulator.truth.junk != PARTICLE).sum())
    logger.info(
        "%s: %d images of %d px, %g Å, SNR %g, %d of them junk", folder, options.n, box, pixel_size, options.snr, junk
    )
    return 0


def _load(path: Path, args: argparse.Namespace) -> Map:
    """A model as map of the box and pixel size asked for."""
    if args.box is not None and not 8 <= args.box <= 4096:
        raise InputError(f"--box must be 8 to 4096 px, not {args.box}")
    if args.pixel_size is not None and not 0 < args.pixel_size < 1000:
        raise InputError(f"--pixel-size must be a positive number of Å, not {args.pixel_size}")
    if not is_model(path):
        source = read_map(path)
        pixel_size = args.pixel_size or source.pixel_size
        return resample(source, args.box or round(source.box * source.pixel_size / pixel_size), pixel_size)
    if args.box is None or args.pixel_size is None:
        raise InputError(f"{path}: an atomic model has no box and pixel size of its own: give --box and --pixel-size")
    if not 0 <= args.b_factor < float("inf"):
        raise InputError(f"--b-factor must be 0 Å² or more, not {args.b_factor}")
    return model_density(path, args.box, args.pixel_size, assembly=args.assembly, b_factor=args.b_factor)


def _write_maps(folder: Path, maps: tuple[Map, ...]) -> None:
    """The truth, a mask around its mean and the mean low-pass filtered as a start."""
    names = ["map.mrc"] if len(maps) == 1 else [f"map{number}.mrc" for number in range(1, len(maps) + 1)]
    for name, each in zip(names, maps, strict=True):
        write_map(folder / name, each.data, each.pixel_size)
    mean = Map(np.mean([each.data for each in maps], axis=0, dtype=np.float32), maps[0].pixel_size)
    write_map(folder / "mask.mrc", auto_mask(mean), mean.pixel_size)
    write_map(folder / "init40A.mrc", low_pass(mean, INITIAL_RESOLUTION).data, mean.pixel_size)


def particle_table(simulator: Simulator, *, poses: bool) -> Table:
    """RELION's particle table; with `poses` also all that a refinement has to find, and `simJunk` (0 or 1)."""
    truth, n = simulator.truth, simulator.options.n
    columns: dict[str, ArrayLike] = {
        "rlnImageName": [f"{number:06d}@particles.mrcs" for number in range(1, n + 1)],
        "rlnMicrographName": [f"mic{number * MICROGRAPHS // n:03d}.mrc" for number in range(n)],
        "rlnOpticsGroup": np.ones(n, int),
        "rlnDefocusU": truth.defocus_u,
        "rlnDefocusV": truth.defocus_v,
        "rlnDefocusAngle": truth.defocus_angle,
        "rlnRandomSubset": truth.half,
    }
    if poses:
        origin = truth.origin * simulator.maps[0].pixel_size
        columns |= {
            "rlnAngleRot": truth.angles[:, 0],
            "rlnAngleTilt": truth.angles[:, 1],
            "rlnAnglePsi": truth.angles[:, 2],
            "rlnOriginXAngst": origin[:, 0],
            "rlnOriginYAngst": origin[:, 1],
            "rlnClassNumber": truth.model + 1,
            "simJunk": (truth.junk != PARTICLE).astype(int),
        }
    return make_table(columns)
