"""Particles of EMAN2: .lst files, as text or with lines of one length (LSX), with or without poses.

The matrix of ``xform.projection`` is docs/conventions.md's A, beside it minus the origin in px.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import matrix_to_quaternion, quaternion_to_euler
from pycryo.io.foreign.conversion import Converted, Given, grouped_optics, image_names, require_pixel_size

_POSE, _CTF = "xform.projection", "ctf"
_CTF_KEYS = ("defocus", "dfdiff", "dfang", "voltage", "cs", "ampcont", "apix")
_KNOWN = (_POSE, _CTF, "class", "score")
_MOST_LINE = 1 << 20
_MOST_KEYS = 1000


def is_list(path: Path) -> bool:
    """Whether a file begins as EMAN2's lists do; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"#LSX", b"#LST")
    except OSError:
        return False


def read_list(path: Path, given: Given) -> Converted:
    """Read an .lst file, whose dictionaries are taken as JSON.

    With a stack given, particle i of the list is image i of it, as ``e2proc2d.py list.lst stack.mrcs`` writes them.

    Raises
    ------
    InputError
        If a line is something else, the images are in a format that RELION does not read, or the pixel size is not
        given.
    """
    index, stacks, details = _read(path)
    n = len(index)
    notes: list[str] = []
    if given.stack is not None:
        index, stacks = list(range(n)), [given.stack] * n
    elif odd := next((name for name in stacks if not name.lower().endswith((".mrc", ".mrcs"))), None):
        raise InputError(
            f"{path}: {odd!r} is no MRC file; write the particles into one by `e2proc2d.py {path.name} particles.mrcs` "
            "and give --stack particles.mrcs"
        )
    particles: dict[str, NDArray[Any]] = {"rlnImageName": image_names(np.array(index), np.array(stacks, object))}
    found = _ctf(path, details, particles, notes)
    shared = given.shared(found, n)
    require_pixel_size(path, shared)
    _poses(path, details, shared["rlnImagePixelSize"], particles, notes)
    if all(isinstance(each.get("class"), int) and each["class"] in (0, 1) for each in details):
        particles["rlnRandomSubset"] = np.array([each["class"] + 1 for each in details])
    scores = [each.get("score") for each in details]
    if all(isinstance(value, (int, float)) for value in scores):
        particles["emanScore"] = np.array([_real(path, value, "score") for value in scores])
    left = sorted({key for each in details for key in each} - set(_KNOWN))
    if left:
        notes.append(f"{path}: without a counterpart, and left out: {', '.join(left[:20])}")
    if any("ctf_flip" in name or "__flip" in name for name in stacks):
        notes.append(
            f"{path}: the images look phase-flipped by their names: put 1 into rlnCtfDataArePhaseFlipped if they are"
        )
    optics, group = grouped_optics(shared)
    return Converted(path, particles, optics, group, notes)


def _read(path: Path) -> tuple[list[int], list[str], list[dict[str, Any]]]:
    """Index from 0, file and dictionary of each line."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    index, stacks, details = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        parts = content.split("\t") if "\t" in content else content.split(None, 2)
        place = parts[0].strip()
        if len(content) > _MOST_LINE or len(parts) < 2 or not (place.isascii() and place.isdigit() and len(place) < 10):
            raise InputError(f"{path}, line {number}: not the number and the file of an image; check the file")
        index.append(int(place))
        stacks.append(parts[1].strip())
        details.append(_dictionary("\t".join(parts[2:]).strip()))
    if not index:
        raise InputError(f"{path} lists no images; give another file")
    return index, stacks, details


def _dictionary(text: str) -> dict[str, Any]:
    """The JSON object of a line; other comments say nothing of the particle."""
    if not text.startswith("{"):
        return {}
    for attempt in (text, text.replace("'", '"')):
        try:
            found = json.loads(attempt)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict) and len(found) <= _MOST_KEYS else {}
    return {}


def _poses(
    path: Path,
    details: list[dict[str, Any]],
    pixel_size: NDArray[np.float64],
    particles: dict[str, NDArray[Any]],
    notes: list[str],
) -> None:
    """Add angles and origins if all particles have a pose."""
    have = [_POSE in each for each in details]
    if not all(have):
        lacking = have.count(False)
        notes.append(f"{path}: {lacking} of {len(have)} particles have no {_POSE}: poses are left out")
        return
    matrices = np.stack([_matrix(path, each[_POSE]) for each in details])
    turn = matrices[:, :, :3]
    if np.abs(turn @ np.swapaxes(turn, 1, 2) - np.eye(3)).max() > 1e-2 or np.linalg.det(turn).min() < 0:
        raise InputError(f"{path}: a matrix of {_POSE} is no rotation (mirrored or scaled); align the particles again")
    rot, tilt, psi = quaternion_to_euler(matrix_to_quaternion(turn))
    particles |= {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi}
    for place, axis in enumerate("XY"):
        particles[f"rlnOrigin{axis}Angst"] = 0.0 - matrices[:, place, 3] * pixel_size


def _matrix(path: Path, pose: object) -> NDArray[np.float64]:
    """(3, 4) of a transform."""
    listed = pose.get("matrix") if isinstance(pose, dict) else pose
    if isinstance(listed, str):
        listed = listed.strip("[] ").split(",")
    if not isinstance(listed, list) or len(listed) != 12:
        raise InputError(f"{path}: a {_POSE} is no list of 12 numbers; write the list anew by EMAN2 2.9 or later")
    return np.array([_real(path, value, _POSE) for value in listed]).reshape(3, 4)


def _ctf(
    path: Path, details: list[dict[str, Any]], particles: dict[str, NDArray[Any]], notes: list[str]
) -> dict[str, NDArray[np.float64]]:
    """Add defoci; what the microscope shares, (n,), if all particles have a CTF."""
    ctf = [each[_CTF] for each in details if isinstance(each.get(_CTF), dict)]
    if len(ctf) < len(details) or not all(key in each for each in ctf for key in _CTF_KEYS):
        notes.append(f"{path} has no CTF of all particles: they have no defocus")
        return {}
    values = {key: np.array([_real(path, each[key], f"ctf {key}") for each in ctf]) for key in _CTF_KEYS}
    if np.any((values["ampcont"] < 0) | (values["ampcont"] > 100)):
        notes.append(f"{path}: a ctf ampcont is not from 0 to 100, as with phase plates: CTFs are left out")
        return {}
    mean, half = values["defocus"] * 1e4, values["dfdiff"] * 5e3
    particles |= {"rlnDefocusU": mean + half, "rlnDefocusV": mean - half, "rlnDefocusAngle": values["dfang"]}
    return {
        "rlnImagePixelSize": values["apix"],
        "rlnVoltage": values["voltage"],
        "rlnSphericalAberration": values["cs"],
        "rlnAmplitudeContrast": values["ampcont"] / 100,
    }


def _real(path: Path, value: object, name: str) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not np.isfinite(found):
        raise InputError(f"{path}: {name} is {str(value)[:40]!r}, not a number; correct it")
    return found
