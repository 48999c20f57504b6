"""``pycryo ctf-refine``: aberrations and magnification of the optics groups, from a refinement."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pycryo.checks.inputs import Inputs, Wanted, examine
from pycryo.cli.option_arguments import add_ignore_optics, add_particles_dir, add_scratch
from pycryo.cli.ranks import set_up_rank
from pycryo.cli.session import guarded
from pycryo.errors import InputError, RunError
from pycryo.findings import Finding
from pycryo.geometry.symmetry import GROUPS, symmetry
from pycryo.io.aberrations import KINDS as KIND_LABELS
from pycryo.io.aberrations import parse_kinds
from pycryo.io.atomic import check_writable_folder, write_bytes
from pycryo.io.json_file import write_object
from pycryo.io.mrc import read_map
from pycryo.io.optics import text_of, updated_table
from pycryo.io.particles import Particles, write_particles
from pycryo.io.sources.scratch import on_scratch
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import world
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.refinement.optics.pictures import picture, picture_name
from pycryo.report.optics_page import NUMBERS, build_optics_report
from pycryo.version import __version__

if TYPE_CHECKING:
    from pycryo.maps.density import Map
    from pycryo.refinement.optics.found import Found, GroupFound
    from pycryo.refinement.optics.reference import Reference

log = logging.getLogger(__name__)

KINDS = {"tilt": "odd", "fourth-order": "even", "magnification": "magnification"}
ON_REQUEST = {"phase-shift": "phase", "astigmatism": "astigmatism", "defocus": "defocus"}
PARTICLES = "particles_ctf_refine.star"
# Of the parameters of each part: beam tilt along x and y; coefficients of rlnOddZernike and rlnEvenZernike; elements of
# the matrix that is added.
_NAMES = {
    "beam tilt": ["x", "y"],
    "trefoil": ["odd[2]", "odd[5]"],
    "fourth order": ["even[6]", "even[7]", "even[5]", "even[8]", "even[4]"],
    "phase shift": ["all"],
    "magnification": ["xx", "xy", "yy"],
}
# Of what chance would make as well.
_NOTHING, _SMALL = "not significant, left as it was", "no more than chance, betters what was stated"
# Columns of the particles that what is found may change.
_UPDATED = {
    "defocus_u": "rlnDefocusU",
    "defocus_v": "rlnDefocusV",
    "defocus_angle": "rlnDefocusAngle",
    "phase_shift": "rlnPhaseShift",
    "origin_x": "rlnOriginXAngst",
    "origin_y": "rlnOriginYAngst",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.add_argument(
        "source", type=Path, metavar="RUN|PARTICLES.star", help="folder of a refinement, or particles with poses"
    )
    maps = parser.add_mutually_exclusive_group()
    maps.add_argument(
        "--half-maps", type=Path, nargs=2, metavar=("HALF1", "HALF2"), help="unfiltered (default: those of the folder)"
    )
    maps.add_argument(
        "--map", type=Path, metavar="MAP.mrc", help="a map that these images did not make, such as a model's"
    )
    parser.add_argument("--resolution", type=float, metavar="Å", help="of --map: compare no further")
    parser.add_argument("--mask", type=Path, metavar="M.mrc", help="soft mask (default: the folder's, or made)")
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="DIR", help="folder for all files")
    parser.add_argument(
        "--find",
        metavar="LIST",
        default=",".join(KINDS),
        help=f"what to look for, separated by commas: {', '.join(KINDS)} of optics groups (default: these; tilt is "
        f"beam tilt and trefoil), {', '.join(ON_REQUEST)} of groups, micrographs and particles",
    )
    parser.add_argument(
        "--symmetry", "--sym", metavar="GROUP", help=f"point group: {GROUPS} (default: the folder's, or C1)"
    )
    parser.add_argument("--diameter", "--particle_diameter", type=float, metavar="Å", help="of the particle")
    add_particles_dir(parser)
    parser.add_argument("--invert-contrast", action="store_true", help="the particles are dark on light")
    add_scratch(parser)
    add_ignore_optics(parser)
    parser.add_argument("--padding", "--pad", type=int, default=2, metavar="N", help="of the transform (default: 2)")
    parser.add_argument(
        "--max-bad-fraction", type=float, default=0.05, metavar="SHARE", help="as for refine (default: 0.05)"
    )
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="per rank (default: all cores)")


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Files of a run, or those that were given; `run` has the figures and options of the run, if it is one."""

    particles: Path
    half_maps: tuple[Path, Path] | None
    mask: Path | None
    run: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """Find the optics and write particles, figures and numbers. Collective."""
    comm = world()
    return guarded(comm, "ctf-refine", lambda: _run(comm, args))


def _run(comm: Comm, args: argparse.Namespace) -> None:
    from pycryo.refinement.optics.find import FindOptions, find_optics

    set_up_rank(comm, args.threads)
    wanted = [part.strip() for part in args.find.split(",") if part.strip()]
    known = KINDS | ON_REQUEST
    if unknown := sorted(set(wanted) - set(known)):
        raise InputError(f"--find does not know {', '.join(unknown)}; it takes {', '.join(known)}")
    if not wanted:
        raise InputError(f"--find is empty; it takes {', '.join(known)}")
    inputs = on_root(comm, lambda: _inputs(args))
    ignored, folder = parse_kinds(args.ignore_optics), args.particles_dir or inputs.run.get("particles_dir")
    source = Wanted(
        particles=inputs.particles,
        particles_dir=folder,
        ignored=ignored,
        mask=inputs.mask,
        poses="give the particles of a refinement, such as run_data.star",
        priors=True,
    )
    read: list[Inputs] = []

    def look() -> Particles:
        read.append(examine(source))
        with read[0].findings.collect("reference"):
            made.append(_reference(args, inputs, read[0].mask))
        return read[0].usable(log)

    made: list[Reference] = []
    particles = on_root(comm, look)
    on_root(comm, lambda: check_writable_folder(args.out))
    log.info("pycryo %s: %s", __version__, " ".join(sys.argv[1:]))
    options = FindOptions(
        kinds=[known[each] for each in wanted],
        diameter=args.diameter or inputs.run.get("diameter"),
        padding=args.padding,
        max_bad_fraction=args.max_bad_fraction,
        invert_contrast=args.invert_contrast or bool(inputs.run.get("invert_contrast")),
        betters=True,
    )
    with on_scratch(comm, particles, args.scratch) as copied:
        found = find_optics(comm, copied, made[0] if made else None, options)
    on_root(comm, lambda: _write(args.out, particles, found, ignored, read[0].findings.items))


def _inputs(args: argparse.Namespace) -> _Inputs:
    source = args.source
    given = None if args.half_maps is None else (args.half_maps[0], args.half_maps[1])
    for name, value in (("resolution", args.resolution), ("diameter", args.diameter), ("padding", args.padding)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} must be positive, not {value:g}")
    if not 0 <= args.max_bad_fraction <= 1:
        raise InputError(f"--max-bad-fraction must be between 0 and 1, not {args.max_bad_fraction:g}")
    if args.resolution is not None and args.map is None:
        raise InputError("--resolution is for --map: half-maps are compared as far as they agree")
    if not source.exists():
        raise InputError(f"there is no {source}: give the folder of a refinement, or a STAR file of particles")
    target = args.out / PARTICLES
    if target.exists() and source.is_file() and target.samefile(source):
        raise InputError(f"the particles would be overwritten: choose another folder than {args.out} for --out")
    if not source.is_dir():
        if given is None and args.map is None:
            raise InputError(f"{source} is no folder of a refinement: give --half-maps or --map, too")
        return _Inputs(source, given, args.mask, {})
    told = FinishedRun.read(source)
    if given is None and args.map is None:
        given = told.half_maps
    return _Inputs(told.particles, given, args.mask or told.mask, told.told | told.options)


def _reference(args: argparse.Namespace, inputs: _Inputs, mask: Map | None) -> Reference:
    from pycryo.refinement.optics.reference import from_half_maps, from_map

    if inputs.half_maps is None:
        if args.resolution is None:
            raise InputError("--map needs --resolution: how far, in Å, the map can be trusted")
        return from_map(read_map(args.map), mask, args.resolution)
    first, second = (read_map(path) for path in inputs.half_maps)
    return from_half_maps(first, second, mask, symmetry(args.symmetry or inputs.run.get("symmetry") or "C1"))


def _updates(before: Particles, after: Particles) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of the particles that were changed."""
    pairs = ((label, getattr(before, name), getattr(after, name)) for name, label in _UPDATED.items())
    return {label: new for label, old, new in pairs if (new != old).any()}


def _write(
    folder: Path, before: Particles, found: Found, ignored: tuple[str, ...], findings: Sequence[Finding]
) -> None:
    # What was ignored was looked for from nothing: it is written anew.
    labels = [label for kind in ignored for label in KIND_LABELS[kind]]
    table = updated_table(found.particles.optics_table, found.particles.optics, found.particles.optics, labels)
    after = replace(found.particles, optics_table=table)
    write_particles(folder / PARTICLES, after, _updates(before, after))
    told = _told(after, found) | {"findings": [asdict(each) for each in findings]}
    write_object(folder / NUMBERS, told)
    for each in found.groups:
        write_bytes(folder / picture_name(after, each.group), picture(after, each))
    try:
        log.info("report: %s", build_optics_report(folder))
    except RunError:  # the disc
        raise
    except Exception as error:
        log.warning("the report could not be made (%s: %s)", type(error).__name__, error)
    for line in _table(after, found):
        log.info("%s", line)
    log.info("%s: refine again with it: pycryo refine %s ...", folder / PARTICLES, folder / PARTICLES)


def _values(after: Particles, each: GroupFound) -> list[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any], str]]:
    """Name, what was found, standard errors and unit of each part, in the units of the optics table."""
    from pycryo.refinement.optics.change import tilt_strength

    strength = tilt_strength(after.optics, each.group)
    factors: dict[str, tuple[Any, str]] = {
        "beam tilt": (1 / abs(strength), "mrad") if strength else (1.0, "rad Å³"),
        "trefoil": (1.0, "rad Å³"),
        "fourth order": (np.array([1 / 6, 1 / 4, 1 / 4, 1.0, 1.0]), "rad Å⁴"),
        "phase shift": (-180 / np.pi, "degrees"),
        "magnification": (100.0, "%"),
    }
    found = []
    for part in each.parts:
        factor, unit = factors[part.name]
        sign = np.sign(strength) if part.name == "beam tilt" and strength else 1.0
        found.append((part.name, sign * factor * part.value, np.abs(factor) * part.error, unit))
    return found


def _told(after: Particles, found: Found) -> dict[str, Any]:
    """What optics.json says."""
    from pycryo.io.aberrations import LABELS

    groups = []
    for each in found.groups:
        parts = {
            name: {
                "added" if part.is_added else "not_significant": value.tolist(),
                "standard_error": error.tolist(),
                "names": _NAMES[name],
                "unit": unit,
                "chi_square": part.chi_square,
            }
            for part, (name, value, error, unit) in zip(each.parts, _values(after, each), strict=True)
        }
        columns = {label: text_of(after.optics, each.group, label) for label in LABELS}
        name = after.optics.name[each.group]
        groups.append(
            {
                "name": name,
                "particles": each.evidence.n,
                "picture": picture_name(after, each.group),
                "found": parts,
                "optics": columns,
            }
        )
    return {"pycryo": __version__, "compared_to": found.resolution, "groups": groups}


def _table(after: Particles, found: Found) -> list[str]:
    """What was found, for the log."""
    lines = [f"images were compared to {found.resolution:.2f} Å; added to the optics table (standard errors):"]
    for each in found.groups:
        lines.append(f"{after.optics.name[each.group]}, {each.evidence.n} particles:")
        for part, (name, value, error, unit) in zip(each.parts, _values(after, each), strict=True):
            names = _NAMES[part.name]
            shown = ", ".join(f"{n} {v:.3g} ({e:.2g})" for n, v, e in zip(names, value, error, strict=True))
            what = "" if part.is_significant else f"; {_SMALL if part.is_added else _NOTHING}"
            lines.append(f"  {name}: {shown} {unit}, χ² {part.chi_square:.0f} for {len(value)}{what}")
    return lines
