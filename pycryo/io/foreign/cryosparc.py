"""Particles of cryoSPARC: .cs files and their passthrough files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Converted, distinct, image_names, whole
from pycryo.io.foreign.cryosparc_fields import Fields
from pycryo.io.foreign.cryosparc_optics import Aberrations, relion_columns
from pycryo.io.foreign.cryosparc_poses import pose_columns

Array = NDArray[np.float64]

_ODD = ("shift", "tilt", "trefoil")
# What says nothing of an image, or what RELION has no column for and needs none.
_UNTOLD = (
    *("uid", "blob/import_sig", "ctf/type", "ctf/scale_const", "location/micrograph_uid", "location/exp_group_id"),
    *("mscope_params/exp_group_id", "location/min_dist_A", "ctf/path", "location/micrograph_psize_A"),
)


def read_cryosparc(paths: Sequence[Path]) -> Converted:
    """Read .cs files of one set of particles, the one that leads first; see docs/guides/from_cryosparc.md.

    Raises
    ------
    InputError
        If a file cannot be read, or what all need is missing: images and their pixel size.
    """
    fields = Fields.read(paths)
    notes: list[str] = []
    if not fields.n:
        raise InputError(f"{fields.path} has no particles; give a file with at least one")
    optics, group = _optics(fields, notes)
    pixel_size = optics["rlnImagePixelSize"][group]
    particles = {"rlnImageName": _images(fields, notes), **_micrographs(fields, notes)}
    particles |= pose_columns(fields, pixel_size, notes)
    particles |= _ctf(fields, notes)
    fields.use(_UNTOLD)
    if left := fields.left_out():
        notes.append(f"{fields.path}: without a counterpart, and left out: {', '.join(left)}")
    return Converted(fields.path, particles, optics, group, notes)


def _images(fields: Fields, notes: list[str]) -> NDArray[Any]:
    stacks = fields.texts("blob/path")
    if not all(stacks.tolist()):
        row = stacks.tolist().index("")
        raise InputError(f"{fields.path}, row {row + 1}: blob/path is empty; give the particles of a job with images")
    index = whole(fields.path, "blob/idx", fields.numbers("blob/idx"))
    sign = fields.optional("blob/sign", default=1.0)
    if (sign < 0).all():
        notes.append(f"{fields.path}: the images are dark on light (blob/sign is -1): use --invert-contrast")
    elif (sign < 0).any():
        count = int(np.count_nonzero(sign < 0))
        raise InputError(
            f"{fields.path}: {count} of {fields.n} images are dark on light (blob/sign is -1), the others are not; "
            "part them in cryoSPARC first"
        )
    return image_names(index, stacks)


def _micrographs(fields: Fields, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Name of the micrograph, and px of the particle in it."""
    columns: dict[str, NDArray[Any]] = {}
    for name in ("location/micrograph_path", "micrograph_blob/path"):
        if name in fields:
            columns["rlnMicrographName"] = fields.texts(name)
            break
    parts = [f"location/center_{axis}_frac" for axis in "xy"]
    if all(name in fields for name in (*parts, "location/micrograph_shape")):
        rows, width = fields.numbers("location/micrograph_shape", (2,)).T
        columns["rlnCoordinateX"] = fields.numbers(parts[0]) * width
        columns["rlnCoordinateY"] = fields.numbers(parts[1]) * rows
        notes.append(
            f"{fields.path}: coordinates are those in cryoSPARC's micrographs; another program's may be upside down"
        )
    return columns


def _ctf(fields: Fields, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Of each particle."""
    columns: dict[str, NDArray[Any]] = {}
    if "ctf/df1_A" not in fields:
        notes.append(f"{fields.path} has no ctf/df1_A: the particles have no defocus")
        return columns
    columns["rlnDefocusU"], columns["rlnDefocusV"] = fields.numbers("ctf/df1_A"), fields.numbers("ctf/df2_A")
    columns["rlnDefocusAngle"] = np.rad2deg(fields.numbers("ctf/df_angle_rad"))
    columns["rlnPhaseShift"] = np.rad2deg(fields.optional("ctf/phase_shift_rad"))
    columns["rlnCtfBfactor"] = fields.optional("ctf/bfactor")
    scale = columns["rlnCtfScalefactor"] = fields.optional("ctf/scale", default=1.0)
    if negative := int(np.count_nonzero(~(scale > 0))):
        notes.append(f"{fields.path}: ctf/scale of {negative} particles is not above 0; it is taken as it is")
    return columns


def _optics(fields: Fields, notes: list[str]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Columns of the groups (g,) and group of each particle; exposure groups of cryoSPARC, by what differs in them."""
    shape = fields.numbers("blob/shape", (2,)) if "blob/shape" in fields else np.zeros((fields.n, 2))
    if np.any(bad := shape[:, 0] != shape[:, 1]):
        row = int(np.argmax(bad))
        sides = f"{shape[row, 1]:g} × {shape[row, 0]:g}"
        raise InputError(f"{fields.path}, row {row + 1}: the image has {sides} px; extract the particles as squares")
    shared = {"rlnImagePixelSize": fields.numbers("blob/psize_A")}
    if np.any(bad := ~(shared["rlnImagePixelSize"] > 0)):
        row = int(np.argmax(bad))
        raise InputError(
            f"{fields.path}, row {row + 1}: blob/psize_A is not above 0; correct the particles' pixel size"
        )
    if shape.any():
        shared["rlnImageSize"] = shape[:, 0]
    for label, names in (
        ("rlnVoltage", ("ctf/accel_kv", "mscope_params/accel_kv")),
        ("rlnSphericalAberration", ("ctf/cs_mm", "mscope_params/cs_mm")),
        ("rlnAmplitudeContrast", ("ctf/amp_contrast",)),
    ):
        if (name := next((each for each in names if each in fields), None)) is not None:
            shared[label] = fields.numbers(name)
            fields.use(names)
    exposure = fields.optional("ctf/exp_group_id")
    lengths = {
        name: fields.optional(f"ctf/{name}" + ("" if name == "anisomag" else "_A"), (width,))
        for name, width in {"shift": 2, "tilt": 2, "trefoil": 2, "tetra": 4, "anisomag": 4}.items()
    }
    first, group = distinct([exposure, *shared.values(), *lengths.values()])
    columns: dict[str, NDArray[Any]] = {label: values[first] for label, values in shared.items()}
    if "rlnImageSize" in columns:
        columns["rlnImageSize"] = columns["rlnImageSize"].astype(np.int64)
    columns["rlnOpticsGroupName"] = _group_names(exposure[first])
    found = {name: values[first] for name, values in lengths.items()}
    if any(values.any() for values in found.values()):
        columns |= _aberrations(fields, found, columns, notes)
    return columns, group


def _group_names(exposure: Array) -> NDArray[Any]:
    """``exposureGroup7`` of its number; ``exposureGroup7_2`` where images of one group differ."""
    counts: dict[str, int] = {}
    names = []
    for number in exposure.tolist():
        name = f"exposureGroup{number:.0f}"
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name}_{counts[name]}")
    return np.array(names, object)


def _aberrations(
    fields: Fields, found: dict[str, Array], columns: dict[str, NDArray[Any]], notes: list[str]
) -> dict[str, NDArray[Any]]:
    if not np.isfinite(np.concatenate(list(found.values()), axis=1)).all():
        raise InputError(f"{fields.path}: an aberration (ctf/tilt_A and others) is not finite; correct the particles")
    missing = [label for label in ("rlnVoltage", "rlnSphericalAberration") if label not in columns]
    if missing or not (columns["rlnVoltage"] > 0).all():
        raise InputError(f"{fields.path} has aberrations, but no voltage and Cs (ctf/accel_kv, ctf/cs_mm); add them")
    if odd := [f"ctf/{name}_A" for name in _ODD if found[name].any()]:
        notes.append(
            f"{fields.path}: cryoSPARC does not document the sign of {', '.join(odd)}; they are taken with that of "
            "csparc2star's beam tilt: pycryo ctf-refine shows whether any is left, --ignore-optics "
            "beam-tilt,odd-zernike leaves them out"
        )
    return relion_columns(Aberrations(**found), columns["rlnVoltage"], columns["rlnSphericalAberration"])
