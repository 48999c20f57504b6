"""The files of a run that the report shows: each is read when the first section needs it, and once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.geometry.symmetry import symmetry
from pycryo.io.json_file import check_kinds, fitting, read_object
from pycryo.io.mrc import read_map
from pycryo.io.mrc_header import read_header
from pycryo.io.mrc_stacks import read_stack
from pycryo.io.star import read_tables
from pycryo.io.table import Table
from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc
from pycryo.report.angdist import view_directions
from pycryo.report.fsc_files import read_fsc_star
from pycryo.report.gaps import with_told_return
from pycryo.report.sections import NotYetError

_ADVICE = "give the output folder of a refinement, or run it again"
_NEEDED = ("iterations", "particles", "resolution", "box", "pixel_size", "diameter", "symmetry")
_NUMBER = (int, float)
# Voxels along an edge from which on maps are thinned: more than their pictures have.
_MOST_BOX = 320
# What the page takes from run.json, and of what kind it is; numbers of iterations that may be missing are null.
_RUN: Mapping[str, Any] = {
    "pycryo": str,
    "status": str,
    "resolution": _NUMBER,
    "box": int,
    "pixel_size": _NUMBER,
    "diameter": _NUMBER,
    "symmetry": str,
    "sampling_factor": _NUMBER,
    "particles": dict,
    "options": dict,
    "inputs": dict,
    "machine": dict,
    "versions": dict,
    "iterations": list,
}
_PARTICLES: Mapping[str, Any] = {"total": int, "half_sets": list, "left_out": list}
_ITERATION: Mapping[str, Any] = {
    "number": int,
    "stage": str,
    "r_high": _NUMBER,
    "spread_rotation": _NUMBER,
    "seconds": dict,
    "decision": str,
}
ITERATION_NUMBERS = (
    *("resolution", "spread_shift", "spread_in_plane", "spread_tilt", "pose_change", "changed_mode"),
    *("effective_median", "phases_per_image", "slices_per_image", "n_slices_scan"),
)


@dataclass(frozen=True)
class RunFiles:
    """A refinement's folder, finished or not.

    Attributes
    ----------
    folder : Path
    run : dict
        What its run.json says; each of its iterations has `limit`, Å, as well: the resolution to which images were
        compared.
    """

    folder: Path
    run: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Read run.json.

        Raises
        ------
        InputError
            If there is none, or if it is not as pycryo writes it.
        """
        path = folder / "run.json"
        run = read_object(path, _ADVICE)
        if missing := [key for key in _NEEDED if not run.get(key)]:
            raise InputError(f"{path} is not of a refinement (no {', '.join(missing)}); give its output folder")
        with fitting(path, _ADVICE):
            check_kinds(run, _RUN)
            check_kinds(run["particles"], _PARTICLES)
            check_kinds(run["options"], {"ini_high": _NUMBER})
            check_kinds(run["machine"], {"ranks": int, "threads": int})
            sum(run["particles"]["half_sets"])
            if not all(np.isfinite(run[name]) and run[name] > 0 for name in ("box", "pixel_size", "diameter")):
                raise ValueError("a size is not above 0")
            for each in run["iterations"]:
                _check_iteration(each)
                each["limit"] = run["box"] * run["pixel_size"] / each["r_high"]
        symmetry(run["symmetry"])
        return cls(folder, run)

    @property
    def iterations(self) -> list[dict[str, Any]]:
        """Figures of each."""
        found: list[dict[str, Any]] = self.run["iterations"]
        return found

    @property
    def is_done(self) -> bool:
        """The final iteration was done."""
        return bool(self.run["status"] == "done")

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.run.get("classes", 1))

    @cached_property
    def curves(self) -> Fsc:
        """FSC of the first class."""
        return self.curves_of(1)

    def curves_of(self, k: int) -> Fsc:
        """FSC of class k = 1, 2, ..."""
        name = "run_fsc.star" if k == 1 else f"run_fsc_class{k:03d}.star"
        curves = read_fsc_star(self.folder / name, self.run["box"], self.run["pixel_size"])
        return with_told_return(curves, self.signal_return(k))

    @property
    def gaps(self) -> list[float]:
        """Å, where the particles' CTFs are nearly 0."""
        found: list[float] = self.run.get("ctf_gaps") or []
        return found

    def signal_return(self, k: int) -> dict[str, Any] | None:
        """Where the signal of class k = 1, 2, ... comes back, see `pycryo.report.gaps.told_return`."""
        told = self.run.get("signal_returns") or []
        return told[k - 1] if len(told) >= k else None

    @cached_property
    def poses(self) -> Table:
        """The particles, with their poses."""
        path = self._newest("run_data.star", "data.star")
        table = read_tables(path).get("particles")
        if not isinstance(table, Table):
            raise InputError(f"{path} has no table data_particles; run the refinement again")
        return table

    @cached_property
    def views(self) -> NDArray[np.float64]:
        """(n, 3) viewing directions of all particles and their symmetry mates."""
        angles = self.poses.values(["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"])
        return view_directions(euler_to_quaternion(*angles.values()), symmetry(self.run["symmetry"]))

    @cached_property
    def halves(self) -> list[Map]:
        """Half-maps of the first class."""
        return self._halves_of(1)

    @cached_property
    def map(self) -> Map:
        """That of the first class, as `map_of`."""
        return self.map_of(1)

    @property
    def map_name(self) -> str:
        """What `map_of` is, in words."""
        return "map" if (self.folder / "run_class001.mrc").is_file() else "average of the half-maps"

    def map_of(self, k: int) -> Map:
        """The final map of class k = 1, 2, ...; while the run goes on the half-maps' average.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        final = self.folder / f"run_class{k:03d}.mrc"
        if final.is_file():
            return read_thinned(final)
        first, second = self.halves if k == 1 else self._halves_of(k)
        return Map(np.asarray((first.data + second.data) / 2, np.float32), first.pixel_size)

    def _halves_of(self, k: int) -> list[Map]:
        names = ((f"run_half{half}_class{k:03d}_unfil.mrc", f"half{half}_class{k:03d}.mrc") for half in (1, 2))
        return [read_thinned(self._newest(*each)) for each in names]

    @cached_property
    def mask(self) -> Map | None:
        """That of the first class, as `mask_of`."""
        return self.mask_of(1)

    def mask_of(self, k: int) -> Map | None:
        """That of the final FSC of class k = 1, 2, ...; None before, when there may be one of an earlier run."""
        path = self.folder / ("run_mask.mrc" if k == 1 else f"run_mask_class{k:03d}.mrc")
        return read_thinned(path) if self.is_done and path.is_file() else None

    def _newest(self, final: str, of_iteration: str) -> Path:
        """The final file, or that of the last iteration while the run goes on."""
        if (self.folder / final).is_file():
            return self.folder / final
        if not self.is_done and self.run["options"].get("keep_iterations") == "none":
            raise NotYetError("This comes with the end of the run, which keeps nothing of its iterations")
        return self.folder / f"run_it{self.iterations[-1]['number']:03d}_{of_iteration}"


def read_thinned(path: Path) -> Map:
    """A map as fine as pictures of it need, read a few planes at a time: the page may be built beside a run at work.

    Voxels of a large map are means of blocks, which moves it by less than half a voxel.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        As `pycryo.io.mrc.read_map`.
    """
    header = read_header(path)
    step = -(-header.nz // _MOST_BOX)
    if step <= 1 or not header.nx == header.ny == header.nz or tuple(header.axes) != (1, 2, 3):
        return read_map(path)
    box = 2 * (header.nz // 2 // step)
    begin = header.nz // 2 - box // 2 * step
    found = np.empty((box, box, box), np.float32)
    within = slice(begin, begin + box * step)
    for z in range(box):
        first = begin + z * step
        planes = read_stack(header, range(first, first + step))[:, within, within]
        found[z] = planes.reshape(step, box, step, box, step).mean((0, 2, 4))
    if not np.isfinite(found).all():
        raise InputError(f"{path} has voxels that are NaN or infinite; make the map again or replace them")
    return Map(found, step * header.pixel_size)


def _check_iteration(each: dict[str, Any]) -> None:
    check_kinds(each, _ITERATION)
    if not (np.isfinite(each["r_high"]) and each["r_high"] > 0):
        raise ValueError(f"r_high is {each['r_high']}")
    for name in ITERATION_NUMBERS:
        if each[name] is not None and not isinstance(each[name], _NUMBER):
            raise TypeError(f"{name} is {str(each[name])[:40]!r}")
    for name, value in each["seconds"].items():
        if not isinstance(value, _NUMBER):
            raise TypeError(f"seconds of {name} is {str(value)[:40]!r}")
