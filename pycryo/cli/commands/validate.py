"""``pycryo validate``: whether a refinement shows only what its images hold."""

from __future__ import annotations

import argparse
import logging
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from pycryo.cli.commands.refine import refine_command
from pycryo.cli.option_arguments import add_overwrite, add_talk
from pycryo.cli.ranks import set_up_rank
from pycryo.cli.session import guarded
from pycryo.errors import InputError
from pycryo.io.aberrations import parse_kinds
from pycryo.io.atomic import check_writable_folder, write_bytes
from pycryo.io.json_file import write_object
from pycryo.io.mrc import read_map, read_mask
from pycryo.io.particles import Particles, read_particles
from pycryo.io.star import write_star
from pycryo.io.table import make_table
from pycryo.maps.fsc import Fsc, corrected_fsc
from pycryo.maps.masks import fitted_mask
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import world
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.refinement.files.job import refuse_results
from pycryo.refinement.files.lock import FolderLock
from pycryo.refinement.noise_substitution import CUT_BELOW, Comparison, compare, write_substituted
from pycryo.refinement.options import RefineOptions
from pycryo.threads import set_threads

log = logging.getLogger(__name__)

_RESULT = "noise_substitution"
# Mean of the corrected FSC in the shells of noise above which the refinement is said to agree on noise.
_AGREES = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.allow_abbrev = False
    parser.add_argument("source", type=Path, metavar="RUN", help="folder of a finished refinement")
    parser.add_argument(
        "--noise-substitution",
        action="store_true",
        required=True,
        help="replace the images' phases beyond a resolution by those of noise, refine anew with the run's options, "
        "and compare (Chen et al. 2013)",
    )
    parser.add_argument(
        "--beyond",
        type=float,
        metavar="Å",
        help=f"the noise begins here (default: where the FSC of the run falls below {CUT_BELOW})",
    )
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="DIR", help="folder for all files")
    parser.add_argument("--keep-images", action="store_true", help="do not delete the substituted images at the end")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the noise (default: 1)")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="per rank (default: as `refine`)")
    add_overwrite(parser)
    add_talk(parser)


@dataclass(slots=True)
class _Source:
    """A finished run, where the noise begins (Å), and on rank 0 the FSC of its half-maps."""

    run: FinishedRun
    beyond: float
    fsc: list[Fsc] = field(default_factory=list)


def run(args: argparse.Namespace) -> int:
    """Substitute, refine, compare. Collective."""
    comm = world()
    made: list[tuple[_Source, Path]] = []
    locks: list[FolderLock] = []
    try:
        code = guarded(comm, "validate", lambda: made.append(_prepare(comm, args, locks)))
    finally:
        for lock in locks:
            lock.release()
    if code:
        return code
    source, star = made[0]
    code = refine_command(comm, _as_refine(args, source.run, star), "validate")
    if code:
        return code
    set_threads(None)
    return guarded(comm, "validate", lambda: on_root(comm, lambda: _finish(args, source)))


def _prepare(comm: Comm, args: argparse.Namespace, locks: list[FolderLock]) -> tuple[_Source, Path]:
    """The run, and the STAR file of its images with noise; rank 0's `locks` get that of the folder. Collective."""
    set_up_rank(comm, args.threads)
    if args.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {args.seed}")
    curves: list[Fsc] = []

    def read() -> _Source:
        found = FinishedRun.read(args.source, "box", "pixel_size", "diameter", "inputs", "options")
        found.keep_out(args.out)
        if not args.overwrite:
            refuse_results(args.out)
        curves.append(_fsc(found.half_maps, found.mask))
        beyond = args.beyond if args.beyond is not None else curves[0].resolution_at(CUT_BELOW)
        least, most = 2 * found.told["pixel_size"], found.told["box"] * found.told["pixel_size"] / 2
        if not least < beyond < most:
            raise InputError(f"--beyond is {beyond:.1f} Å, it must be between {least:.1f} and {most:.0f} Å")
        locks.append(FolderLock.take(check_writable_folder(args.out)))
        return _Source(found, beyond)

    source = on_root(comm, read)
    particles = on_root(comm, lambda: _particles(source.run))
    if comm.rank == 0:
        log.info("noise instead of signal beyond %.2f Å in %d images", source.beyond, particles.n)
    star = write_substituted(comm, particles, args.out, source.beyond, args.seed)
    source.fsc.extend(curves)
    return source, star


def _particles(run: FinishedRun) -> Particles:
    """Those that the run was made of."""
    options = run.options
    return read_particles(
        run.input_particles,
        particles_dir=options.get("particles_dir"),
        ignore_optics=parse_kinds(options.get("ignore_optics")),
    )


def _fsc(half_maps: tuple[Path, Path], masked_by: Path | None) -> Fsc:
    """Of two half-maps, inside a mask."""
    first, second = (read_map(path) for path in half_maps)
    mask = None
    if masked_by is not None:
        mask = fitted_mask(read_mask(masked_by), first.box, first.pixel_size, str(masked_by))
    return corrected_fsc(first.data, second.data, first.pixel_size, mask)


def _as_refine(args: argparse.Namespace, run: FinishedRun, star: Path) -> argparse.Namespace:
    """The arguments of the refinement: the run's options on other images."""
    inputs = run.told["inputs"]
    again = argparse.Namespace(**{each.name: run.options.get(each.name) for each in fields(RefineOptions)})
    for name in ("verbose", "quiet", "overwrite"):
        setattr(again, name, getattr(args, name))
    again.particles, again.particles_flag, again.out = str(star), None, str(args.out)
    again.ref = run.input_references or None
    again.mask, again.particles_dir = inputs.get("mask"), None
    again.diameter = run.told["diameter"]
    again.threads, again.dry_run, again.resume = args.threads, False, None
    again.report_every = 0
    return again


def _finish(args: argparse.Namespace, source: _Source) -> None:
    """Compare, tell, write the files. One rank."""
    noise = _fsc(FinishedRun.read(args.out).half_maps, source.run.mask)
    found = compare(source.fsc[0], noise, source.beyond)
    curves = found.run
    table = make_table(
        {
            "rlnSpectralIndex": np.arange(len(found.true)),
            "rlnResolution": curves.frequency,
            "rlnFourierShellCorrelationMaskedMaps": curves.masked,
            "rlnFourierShellCorrelationCorrected": curves.corrected,
            "pycryoFscNoiseSubstitutedMasked": found.noise.masked,
            "pycryoFscNoiseSubstitutedCorrected": found.noise.corrected,
            "pycryoFscTrue": found.true,
        }
    )
    path = args.out / f"{_RESULT}.star"
    write_star(path, {"fsc": table})
    content = {
        "run": str(args.source.resolve()),
        "beyond": found.beyond,
        "resolution": curves.resolution_0143,
        "resolution_true": found.resolution,
        "shells_of_noise": [found.first, found.last],
        "corrected_fsc_of_noise": found.left.tolist(),
        "seed": args.seed,
    }
    write_object(args.out / f"{_RESULT}.json", content)
    write_bytes(args.out / f"{_RESULT}.png", _picture(found))
    if not args.keep_images:
        shutil.rmtree(args.out / "images", ignore_errors=True)
    for line in describe(found):
        print(line)
    print(f"curves: {path} and .png")


def describe(found: Comparison) -> list[str]:
    """What the comparison says, in words."""
    left = found.left
    lines = [
        f"resolution of the run: {found.run.resolution_0143:.2f} Å; freed of what was made of noise: "
        f"{found.resolution:.2f} Å",
        f"images with noise beyond {found.beyond:.2f} Å: corrected FSC of their half-maps in the {len(left)} shell(s) "
        f"beyond it {left.mean():.3f} in the mean, {left.min():.3f} to {left.max():.3f}",
    ]
    if left.mean() > _AGREES:
        lines.append(
            f"The half-maps agree on noise (more than {_AGREES}): the FSC of the run claims too much. Use a softer or "
            "wider mask, fewer stages or a lower --ini-high, and look for copies of images in both half-sets."
        )
    else:
        lines.append("The half-maps do not agree on noise: the FSC of the run is that of its images.")
    return lines


def _picture(found: Comparison) -> bytes:
    """The curves as PNG."""
    from pycryo.report.figures import one_axes, png

    figure, axes = one_axes(6.4, 4.2)
    frequency = found.run.frequency
    axes.plot(frequency, found.run.masked, color="tab:blue", label="run, masked")
    axes.plot(frequency, found.noise.masked, color="tab:red", label="noise substituted, masked")
    axes.plot(frequency, found.noise.corrected, color="tab:red", linestyle=":", label="noise substituted, corrected")
    axes.plot(frequency, found.true, color="black", linewidth=2, label="true (freed of noise)")
    axes.axhline(0.143, color="grey", linewidth=0.8)
    axes.axvline(1 / found.beyond, color="tab:red", linewidth=0.8, linestyle="--")
    axes.set(xlabel="resolution (1/Å)", ylabel="Fourier shell correlation")
    axes.set(xlim=(0, frequency[-1] or 1), ylim=(-0.1, 1.05))
    axes.legend(loc="upper right", frameon=False)
    return png(figure)
