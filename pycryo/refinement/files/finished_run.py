"""The folder of a finished refinement, for commands that go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycryo.errors import InputError
from pycryo.io.json_file import fitting, read_object

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
}
_OPTIONS: Mapping[str, Any] = {"particles_dir": str, "ignore_optics": str, "invert_contrast": bool}
_INPUTS: Mapping[str, Any] = {"particles": str, "reference": str, "mask": str}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A refinement of one class that has ended.

    Attributes
    ----------
    folder : Path
    told : dict
        What its run.json says.
    """

    folder: Path
    told: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, *needed: str) -> FinishedRun:
        """Read run.json.

        Parameters
        ----------
        folder : Path
        *needed : str
            What the command cannot do without in run.json, of `box`, `pixel_size`, `diameter`, `inputs`.

        Raises
        ------
        InputError
            If there is none, if it is not of a finished refinement of one class, or not as pycryo writes it.
        """
        path = folder / "run.json"
        if not path.is_file():
            raise InputError(f"{folder} has no run.json: give the folder of a finished refinement")
        told = read_object(path, _ADVICE)
        if told.get("status") != "done":
            raise InputError(f"the refinement in {folder} has not ended: continue it first (--continue)")
        if told.get("classes", 1) != 1:
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
                _check_kinds(values, kinds)
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
            If run.json does not tell.
        """
        with fitting(self.folder / "run.json", _ADVICE):
            return str(self.told["inputs"]["particles"])

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
    def half_maps(self) -> tuple[Path, Path]:
        """Unfiltered, unmasked."""
        return self._file("run_half1_class001_unfil.mrc"), self._file("run_half2_class001_unfil.mrc")

    @property
    def mask(self) -> Path | None:
        """That of the final FSC, if it was kept."""
        path = self.folder / "run_mask.mrc"
        return path if path.is_file() else None

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{self.folder} has no {name}: give the folder of a finished refinement")
        return path


def _check_kinds(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if values.get(name) is not None and not isinstance(values[name], kind):
            raise TypeError(f"{name} is {str(values[name])[:40]!r}")
