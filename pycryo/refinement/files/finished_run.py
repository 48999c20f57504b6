"""The folder of a finished refinement, for commands that go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycryo.errors import InputError
from pycryo.geometry.symmetry import symmetry
from pycryo.io.json_file import check_kinds, fitting, read_object
from pycryo.io.sources.particle_arrays import IN_MEMORY
from pycryo.refinement.files.half_maps import class_name
from pycryo.report.verdict import poses_warning

_ADVICE = "run the refinement again"
_NUMBER = (int, float)
# What run.json and the options in it tell, where they tell it, and of what kind it is.
_VALUES: Mapping[str, Any] = {
    "box": int,
    "pixel_size": _NUMBER,
    "diameter": _NUMBER,
    "symmetry": str,
    "inputs": dict,
    "options": dict,
    "classes": int,
}
_OPTIONS: Mapping[str, Any] = {"particles_dir": str, "ignore_optics": str, "invert_contrast": bool}
_INPUTS: Mapping[str, Any] = {"particles": str, "reference": str, "mask": str}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A refinement that has ended.

    Attributes
    ----------
    folder : Path
    told : dict
        What its run.json says.
    """

    folder: Path
    told: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, *needed: str, any_classes: bool = False) -> FinishedRun:
        """Read run.json.

        Parameters
        ----------
        folder : Path
        *needed : str
            What the command cannot do without in run.json, of `box`, `pixel_size`, `diameter`, `inputs`.
        any_classes : bool
            It may have several.

        Raises
        ------
        InputError
            If there is none, if it is not of a finished refinement, of one class or `any_classes`, or not as pycryo
            writes it.
        """
        path = folder / "run.json"
        if not path.is_file():
            raise InputError(f"{folder} has no run.json: give the folder of a finished refinement")
        told = read_object(path, _ADVICE)
        if told.get("status") != "done":
            raise InputError(f"the refinement in {folder} has not ended: continue it first (--continue)")
        if told.get("classes", 1) != 1 and not any_classes:
            raise InputError(
                f"{folder} has {told['classes']} classes: take the particles of one (pycryo select --class), and give "
                "them with the maps of that class, or refine them"
            )
        with fitting(path, _ADVICE):
            for name in needed:
                if told.get(name) is None:
                    raise KeyError(name)
            for values, kinds in (
                (told, _VALUES),
                (told.get("options") or {}, _OPTIONS),
                (told.get("inputs") or {}, _INPUTS),
            ):
                check_kinds(values, kinds, may_lack=True)
        return cls(folder, told)

    @property
    def options(self) -> dict[str, Any]:
        """Those of the refinement."""
        return self.told.get("options") or {}

    @property
    def input_particles(self) -> str:
        """The STAR file that it was made of.

        Raises
        ------
        InputError
            If run.json does not tell, or if they were in memory.
        """
        with fitting(self.folder / "run.json", _ADVICE):
            path = str(self.told["inputs"]["particles"])
        if path == IN_MEMORY:
            raise InputError(
                f"{self.folder} was made of particles in memory, which are gone: write them "
                "(pycryo.write_particles), and refine what is written"
            )
        return path

    @property
    def input_references(self) -> list[str]:
        """The reference maps that it began with, none after a start from known poses."""
        told = (self.told.get("inputs") or {}).get("reference") or ""
        # What stands between them may be in the name of one.
        return [told] if Path(told).is_file() else [each for each in told.split(", ") if each]

    @property
    def particles(self) -> Path:
        """With the poses found."""
        return self._file("run_data.star")

    @property
    def classes(self) -> int:
        """How many."""
        return int(self.told.get("classes", 1))

    @property
    def doubt(self) -> str | None:
        """The warning of its report if its images do not tell their poses: its half-maps agree on the start then."""
        try:
            spread = float(self.told["iterations"][-1]["spread_rotation"])
            resolution, start = float(self.told["resolution"]), float(self.options["ini_high"])
            group = symmetry(str(self.told["symmetry"]))
        except (KeyError, IndexError, TypeError, ValueError):  # of another version
            return None
        return poses_warning(spread, resolution, start, group)

    @property
    def half_maps(self) -> tuple[Path, Path]:
        """Unfiltered, unmasked."""
        return self.half_maps_of(1)

    def half_maps_of(self, k: int) -> tuple[Path, Path]:
        """Those of class k = 1, 2, ...

        Raises
        ------
        InputError
            If there is no such class, or they are not there.
        """
        self.require_class(k)
        first, second = (self._file(f"run_half{half}_class{k:03d}_unfil.mrc") for half in (1, 2))
        return first, second

    def require_class(self, k: int) -> None:
        """Raise InputError if there is no class k."""
        if not 1 <= k <= self.classes:
            raise InputError(f"{self.folder} has no class {k}: --class goes from 1 to {self.classes}")

    def keep_out(self, out: Path) -> None:
        """Raise InputError if results would go into the folder of the run itself."""
        if out.exists() and out.samefile(self.folder):
            raise InputError(f"{out} is the run itself: choose another folder for --out")

    @property
    def mask(self) -> Path | None:
        """That of the final FSC, if it was kept."""
        return self.mask_of(1)

    def mask_of(self, k: int) -> Path | None:
        """That of class k = 1, 2, ..."""
        path = self.folder / f"{class_name('run_mask', k)}.mrc"
        return path if path.is_file() else None

    def curves(self) -> list[Path]:
        """The files of the final FSC, of all classes, as far as they are there."""
        stems = [class_name("run_fsc", k) for k in range(1, self.classes + 1)]
        paths = [self.folder / f"{stem}{suffix}" for stem in stems for suffix in (".star", ".xml")]
        return [path for path in paths if path.is_file()]

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{self.folder} has no {name}: give the folder of a finished refinement")
        return path
