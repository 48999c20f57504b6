"""``pycryo deposit``: the files that EMDB takes, of a finished refinement."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycryo.cli.folder_run import Job
from pycryo.cli.option_arguments import add_overwrite, add_talk
from pycryo.errors import InputError
from pycryo.parallel.comm import SerialComm
from pycryo.version import __version__

if TYPE_CHECKING:
    from pycryo.postprocessing.deposition import Deposition, Sources
    from pycryo.refinement.files.finished_run import FinishedRun

log = logging.getLogger(__name__)

_ADVICE = "run `pycryo postprocess` and give its folder with --postprocessed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.allow_abbrev = False
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished refinement")
    parser.add_argument("--out", "--o", type=Path, required=True, metavar="DIR", help="folder for all files")
    parser.add_argument(
        "--postprocessed", type=Path, metavar="DIR",
        help="folder of `pycryo postprocess RUN`, whose map is deposited (default: the run's own sharpened map)",
    )  # fmt: skip
    parser.add_argument(
        "--class", dest="class_number", type=int, default=1, metavar="K", help="of the run (default: 1)"
    )
    levels = parser.add_mutually_exclusive_group()
    levels.add_argument("--contour", type=float, metavar="LEVEL", help="recommended level of the primary map")
    levels.add_argument(
        "--mass", type=float, metavar="KDA",
        help="of the molecule: the contour encloses 1.21 Å³ per Da (default: a third of the mask's volume)",
    )  # fmt: skip
    add_overwrite(parser)
    add_talk(parser)


def run(args: argparse.Namespace) -> int:
    """Check and write; returns the exit code."""
    return _Job.carry_out(SerialComm(), args, "deposit")


class _Job(Job):
    """One run of the command."""

    def work(self) -> None:
        """Find the files, check them, write them and the checklist."""
        from pycryo.postprocessing.deposition import CHECKLIST, IMAGE, PRIMARY, examine, write_deposition
        from pycryo.refinement.files.finished_run import FinishedRun

        args = self.args
        source = FinishedRun.read(args.run, "box", "pixel_size", any_classes=True)
        source.require_class(args.class_number)
        source.keep_out(args.out)
        files, told = _sources(source, args.postprocessed, args.class_number)
        found = examine(files, level=args.contour, mass=args.mass)
        folder = self.take_folder(overwrite=args.overwrite).path
        self.open_log()
        if source.doubt:
            log.warning("%s: %s", source.folder, source.doubt)
        write_deposition(folder, found, facts(source, args.class_number, told, found))
        for name, text in found.checks.items():
            log.info("checked: %s: %s", name, text)
        print(f"primary map    {folder / PRIMARY}, contour level {found.levels[0]:.4g} ({found.volume:.0f} Å³)")
        print(f"picture        {folder / IMAGE}")
        print(f"checklist      {folder / CHECKLIST}.md: what you still have to fill in is at its end")


def _sources(source: FinishedRun, postprocessed: Path | None, k: int) -> tuple[Sources, dict[str, Any]]:
    """The files of class k, and what the JSON file of the sharpened map tells."""
    from pycryo.io.json_file import fitting, read_object
    from pycryo.postprocessing.deposition import Sources
    from pycryo.refinement.files.half_maps import class_name

    folder = source.folder if postprocessed is None else postprocessed
    name = f"run_class{k:03d}_postprocess" if postprocessed is None else class_name("postprocess", k)
    path = folder / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{folder} has no {path.name}: {_ADVICE}")
    told = read_object(path, _ADVICE)
    with fitting(path, _ADVICE):
        mask = Path(told["mask"])
        beside = folder / mask.name  # of a folder that was copied, not that of the original
        mask = beside if beside.is_file() else mask
        halves = source.half_maps_of(k)
        return Sources(folder / f"{name}.mrc", halves, mask, folder / f"{name}_fsc.xml", int(told["seed"])), told


def facts(source: FinishedRun, k: int, told: dict[str, Any], found: Deposition) -> dict[str, Any]:
    """What the run tells of the entry, by part; None where it does not."""
    import numpy as np

    from pycryo.io.particles import read_particles

    particles = read_particles(source.particles, validate=False)
    mine = particles.class_number == k
    optics = particles.optics
    groups = np.unique(particles.optics_group[mine])

    def of_groups(values: Any) -> float | str | None:
        some = sorted({float(value) for value in values[groups] if np.isfinite(value)})
        return None if not some else some[0] if len(some) == 1 else ", ".join(f"{each:g}" for each in some)

    defocus = (particles.defocus_u[mine] + particles.defocus_v[mine]) / 2
    known = defocus[defocus != 0]
    back = told["returned_resolution"]
    b_factor = told["b_factor"]
    return {
        "reconstruction": {
            "resolution": float(told["resolution"]),
            "resolution_method": "FSC 0.143 CUT-OFF",
            "doubt": source.doubt or "none",
            "fsc": "of two half-maps refined apart, inside the mask, corrected by phase randomisation",
            "randomised_from": told["randomised_from"],
            "signal_beyond_a_gap_to": back if back is not None else "none",
            "symmetry": source.told.get("symmetry"),
            "images_used": int(np.count_nonzero(mine)),
            "images_given": (source.told.get("particles") or {}).get("total"),
            "box": found.primary.box,
            "pixel_size": found.primary.pixel_size,
            "software": f"pycryo {__version__}",
            "refined_with": f"pycryo {source.told.get('pycryo')}",
            "angular_assignment": "posterior of each image, sampled by a particle filter (maximum likelihood)",
        },
        "map": {
            "sharpening": "none" if b_factor is None else f"B-factor {b_factor:.1f} Å²",
            "weighting": "sqrt(2 FSC / (1 + FSC)) of each shell",
            "divided_by_the_mtf": "yes" if told["has_mtf"] else "no",
            "minimum": float(found.primary.data.min()),
            "maximum": float(found.primary.data.max()),
            "mean": float(found.primary.data.mean(dtype=np.float64)),
            "deviation": float(found.primary.data.std(dtype=np.float64)),
            "mask": f"soft, {float(found.mask.sum(dtype=np.float64)) * found.primary.pixel_size**3:.0f} Å³",
        },
        "imaging": {
            "voltage_kV": of_groups(optics.voltage),
            "spherical_aberration_mm": of_groups(optics.spherical_aberration),
            "amplitude_contrast": of_groups(optics.amplitude_contrast),
            "defocus_range_A": f"{known.min():.0f} to {known.max():.0f}" if len(known) else None,
            "ctf_correction": "yes" if source.options.get("ctf", True) else "no",
        },
    }
