"""Particles of cisTEM: its STAR files. Angles are RELION's, shifts are minus its origins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Converted, Given, grouped_optics, image_names, require_pixel_size, whole
from pycryo.io.table import Table

_POSITION = "cisTEMPositionInStack"
_ANGLES = {
    "rlnAngleRot": "cisTEMAnglePhi",
    "rlnAngleTilt": "cisTEMAngleTheta",
    "rlnAnglePsi": "cisTEMAnglePsi",
    "rlnDefocusU": "cisTEMDefocus1",
    "rlnDefocusV": "cisTEMDefocus2",
    "rlnDefocusAngle": "cisTEMDefocusAngle",
}
_SHARED = {
    "rlnImagePixelSize": ("cisTEMPixelSize",),
    "rlnVoltage": ("cisTEMMicroscopeVoltagekV", "cisTEMVoltage"),
    "rlnSphericalAberration": ("cisTEMMicroscopeCsMM", "cisTEMCs"),
    "rlnAmplitudeContrast": ("cisTEMAmplitudeContrast",),
}
# Kept under cisTEM's names, to select particles by.
_KEPT = ("cisTEMOccupancy", "cisTEMScore", "cisTEMLogP", "cisTEMSigma", "cisTEMParticleGroup")
_TOLD = ("cisTEMBeamTiltX", "cisTEMBeamTiltY", "cisTEMImageShiftX", "cisTEMImageShiftY")


def is_cistem(tables: Mapping[str, Table | dict[str, str]]) -> bool:
    """Whether these are the tables of cisTEM's particles."""
    return any(isinstance(table, Table) and _POSITION in table.columns for table in tables.values())


def read_cistem(path: Path, tables: Mapping[str, Table | dict[str, str]], given: Given) -> Converted:
    """Particles of a STAR file of cisTEM, for which `is_cistem`.

    Raises
    ------
    InputError
        If a value is no number, or the stack or the pixel size is known neither from the file nor from the user.
    """
    table = next(each for each in tables.values() if isinstance(each, Table) and _POSITION in each.columns)
    if not len(table):
        raise InputError(f"{path} has no particles; give a file with at least one")
    numbers = [name for name in table.columns if name.startswith("cisTEM") and not name.endswith("Filename")]
    columns = table.values(numbers, [name for name in ("cisTEMStackFilename",) if name in table.columns])
    notes: list[str] = []
    names = _stacks(path, columns, given, len(table))
    index = whole(path, _POSITION, columns[_POSITION], 1) - 1
    particles: dict[str, NDArray[Any]] = {"rlnImageName": image_names(index, names)}
    particles |= {label: columns[name] for label, name in _ANGLES.items() if name in columns}
    for axis in "XY":
        if f"cisTEM{axis}Shift" in columns:
            particles[f"rlnOrigin{axis}Angst"] = 0.0 - columns[f"cisTEM{axis}Shift"]
    if "cisTEMPhaseShift" in columns:
        particles["rlnPhaseShift"] = np.rad2deg(columns["cisTEMPhaseShift"])
    if "cisTEMAssignedSubset" in columns and np.isin(columns["cisTEMAssignedSubset"], (1, 2)).all():
        particles["rlnRandomSubset"] = columns["cisTEMAssignedSubset"].astype(np.int64)
    if "cisTEMBest2DClass" in columns and (columns["cisTEMBest2DClass"] > 0).all():
        particles["rlnClassNumber"] = whole(path, "cisTEMBest2DClass", columns["cisTEMBest2DClass"])
    particles |= {name: columns[name] for name in _KEPT if name in columns}
    if told := [name for name in _TOLD if name in columns and columns[name].any()]:
        notes.append(
            f"{path}: how cisTEM means {', '.join(told)} is not known for sure, and left out: pycryo "
            "ctf-refine finds a beam tilt anew"
        )
    found = {
        label: columns[name]
        for label, names_of in _SHARED.items()
        if (name := next((each for each in names_of if each in columns), "")) in columns
    }
    shared = given.shared(found, len(table))
    require_pixel_size(path, shared)
    others = [columns["cisTEMBeamTiltGroup"]] if "cisTEMBeamTiltGroup" in columns else []
    optics, group = grouped_optics(shared, others)
    return Converted(path, particles, optics, group, notes)


def _stacks(path: Path, columns: Mapping[str, NDArray[Any]], given: Given, n: int) -> NDArray[Any]:
    """Name of each particle's stack; the user's goes first."""
    if given.stack is not None:
        return np.full(n, given.stack, object)
    if "cisTEMStackFilename" not in columns:
        raise InputError(f"{path} does not name the stack of the particles; give it by --stack")
    return np.array([name.strip("'\"") for name in columns["cisTEMStackFilename"].tolist()], object)
