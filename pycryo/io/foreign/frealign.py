"""Particles of FREALIGN and of early versions of cisTEM: .par files.

Angles are RELION's (PHI, THETA, PSI are rot, tilt, psi), shifts are minus its origins: px up to version 8, Å later.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Converted, Given, grouped_optics, image_names, require_pixel_size, whole

_COMMON = ("C", "PSI", "THETA", "PHI", "SHX", "SHY", "MAG", "FILM", "DF1", "DF2", "ANGAST")
# Columns by their number: version 8 with one or two more, version 9, cisTEM.
_LAYOUTS = {
    12: (*_COMMON, "PRESA"),
    13: (*_COMMON, "PRESA", "DPRES"),
    16: (*_COMMON, "OCC", "LOGP", "SIGMA", "SCORE", "CHANGE"),
    17: (*_COMMON, "PSHIFT", "OCC", "LOGP", "SIGMA", "SCORE", "CHANGE"),
}
# Names of cisTEM's header, as those of `_LAYOUTS`.
_ALIASES = {"INCLUDE": "FILM", "NO": "C"}
_HEAD = re.compile(r"C\s+([A-Za-z][^:]*?)\s*:\s*(\S.*?)\s*")
_GIVEN = {
    "Pixel size of images (A)": "rlnImagePixelSize",
    "Beam energy (keV)": "rlnVoltage",
    "Spherical aberration (mm)": "rlnSphericalAberration",
    "Amplitude contrast": "rlnAmplitudeContrast",
}
# Those that a particle needs; others that hold what is no number, as asterisks, are left out.
_NEEDED = {*_COMMON, "PSHIFT"} - {"MAG", "FILM"}
_KEPT = ("OCC", "LOGP", "SIGMA", "SCORE", "PRESA")


def read_par(path: Path, given: Given) -> Converted:
    """Read a .par file.

    Raises
    ------
    InputError
        If it is something else, or the stack or the pixel size is not given.
    """
    columns, names, head = _read(path)
    n = len(columns["C"])
    stack = given.stack or head.get("Input particle images")
    if stack is None:
        raise InputError(f"{path} does not name the stack of the particles; give it by --stack")
    shared = given.shared({label: _number(path, name, head[name]) for name, label in _GIVEN.items() if name in head}, n)
    require_pixel_size(path, shared)
    unit = given.shifts or ("px" if "PRESA" in names else "angst")
    scale = shared["rlnImagePixelSize"] if unit == "px" else 1.0
    particles: dict[str, NDArray[Any]] = {
        "rlnImageName": image_names(
            whole(path, "the number of the image", columns["C"], 1) - 1, np.full(n, stack, object)
        ),
        "rlnAngleRot": columns["PHI"],
        "rlnAngleTilt": columns["THETA"],
        "rlnAnglePsi": columns["PSI"],
        "rlnOriginXAngst": 0.0 - columns["SHX"] * scale,
        "rlnOriginYAngst": 0.0 - columns["SHY"] * scale,
        "rlnDefocusU": columns["DF1"],
        "rlnDefocusV": columns["DF2"],
        "rlnDefocusAngle": columns["ANGAST"],
    }
    if "PSHIFT" in columns:
        particles["rlnPhaseShift"] = np.rad2deg(columns["PSHIFT"])
    elif "FILM" in columns:
        particles["rlnGroupNumber"] = np.maximum(whole(path, "FILM", np.abs(columns["FILM"])), 1)
    particles |= {f"frealign{name.capitalize()}": columns[name] for name in _KEPT if name in columns}
    notes = [f"{path}: shifts are taken as {'pixels' if unit == 'px' else 'Å'}; --shifts says otherwise"]
    if missing := [
        label for label in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast") if label not in shared
    ]:
        notes.append(
            f"{path} does not tell {', '.join(missing)}, which the CTF needs; give --voltage, --cs and "
            "--amplitude-contrast"
        )
    optics, group = grouped_optics(shared)
    return Converted(path, particles, optics, group, notes)


def _read(path: Path) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...], dict[str, str]]:
    """Columns (n,) by FREALIGN's names, all names, and what lines of comment say as ``name: value``."""
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    head: dict[str, str] = {}
    names: tuple[str, ...] | None = None
    rows: list[list[str]] = []
    for line, content in enumerate(text.split("\n"), 1):
        words = content.split()
        if not words:
            continue
        if words[0].upper().startswith("C") or (not rows and "PSI" in content.upper()):
            if not rows and "PSI" in (upper := [word.upper() for word in words]):
                names = tuple(_ALIASES.get(word, word) for word in upper)
                names = names if names[0] == "C" else ("C", *names)
            elif not rows and (found := _HEAD.fullmatch(content.strip()[:500])):
                head.setdefault(found[1], found[2])
            continue
        if rows and len(words) != len(rows[0]):
            raise InputError(
                f"{path}, line {line}: {len(words)} values, {len(rows[0])} in the lines before; correct it"
            )
        rows.append(words)
    if not rows:
        raise InputError(f"{path} holds no particles; give a .par file of FREALIGN or cisTEM")
    if names is None or len(names) != len(rows[0]):
        names = _LAYOUTS.get(len(rows[0]))
    if names is None or not set(_COMMON) <= set(names):
        raise InputError(
            f"{path} has {len(rows[0])} columns, as no .par file of FREALIGN or cisTEM has; check the file"
        )
    columns = {}
    for place, name in enumerate(names):
        try:
            columns[name] = np.array(
                [_number(path, f"{name} of particle {row + 1}", each[place]) for row, each in enumerate(rows)]
            )
        except InputError:
            if name in _NEEDED:
                raise
    return columns, names, head


def _number(path: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: {name} is {text[:40]!r}, not a number; correct it")
    return value
