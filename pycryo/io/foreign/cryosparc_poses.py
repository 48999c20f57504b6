"""Poses, classes and half-sets of cryoSPARC: of one structure, of the likeliest of several, or in the plane only.

A pose is a rotation vector, of the transpose of docs/conventions.md's A; a shift, in px of the alignment, is RELION's
origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import from_rotation_vector, quaternion_to_euler
from pycryo.io.foreign.conversion import whole
from pycryo.io.foreign.cryosparc_fields import Fields

Array = NDArray[np.float64]
_Field = Callable[[str, int], Array]

_OF_A_CLASS = re.compile(r"(alignments_class_(\d{1,6}))/pose")
_STATISTICS = (
    *("error", "error_min", "resid_pow", "slice_pow", "image_pow", "cross_cor", "weight", "pose_ess", "shift_ess"),
    *("class_ess", "class_posterior", "alpha", "alpha_min"),
)


def pose_columns(fields: Fields, pixel_size: Array, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Columns (n,) of poses, origins, classes and half-sets; none where the file has none.

    Parameters
    ----------
    fields : Fields
    pixel_size : (n,)
        Å of the images, where the alignments do not tell theirs.
    notes : list of str
        Gets what was assumed.
    """
    prefix = next((name for name in ("alignments3D", "alignments3D_multi") if f"{name}/pose" in fields), None)
    if prefix == "alignments3D":
        return _of_field(fields, prefix, pixel_size, lambda name, k: _one(fields, f"alignments3D/{name}", k), notes)
    if prefix is not None:
        return _multi(fields, pixel_size, notes)
    classes = sorted(int(found[2]) for name in fields.names if (found := _OF_A_CLASS.fullmatch(name)))
    if classes:
        return _of_classes(fields, classes, pixel_size, notes)
    if "alignments2D/pose" in fields:
        return _in_plane(fields, pixel_size, notes)
    notes.append(f"{fields.path} has no alignments: the particles have no poses")
    return {}


def _of_field(fields: Fields, prefix: str, pixel_size: Array, get: _Field, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Of one alignment per particle, whose field of a name and width `get` returns."""
    vector = get("pose", 3)
    with np.errstate(invalid="ignore", over="ignore"):
        rot, tilt, psi = quaternion_to_euler(from_rotation_vector(-vector))
    columns: dict[str, NDArray[Any]] = {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi}
    size = get("psize_A", 0) if f"{prefix}/psize_A" in fields else None
    columns |= _origins(fields, prefix, get("shift", 2), size, pixel_size, notes)
    if f"{prefix}/split" in fields:
        columns |= _half_sets(fields, prefix, get("split", 0), notes)
    if f"{prefix}/class" in fields:
        columns["rlnClassNumber"] = whole(fields.path, f"{prefix}/class", get("class", 0)) + 1
    if f"{prefix}/alpha" in fields and (negative := int(np.count_nonzero(get("alpha", 0) < 0))):
        notes.append(
            f"{fields.path}: {prefix}/alpha of {negative} particles is negative: they look like the opposite of the "
            "map, as junk does"
        )
    fields.use(f"{prefix}/{name}" for name in _STATISTICS)
    return columns


def _one(fields: Fields, name: str, width: int) -> Array:
    return fields.numbers(name, (width,) if width else ())


def _multi(fields: Fields, pixel_size: Array, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Of the likeliest of several classes, whose fields are (n, classes, ...)."""
    posterior = fields.any_shape("alignments3D_multi/class_posterior")
    if posterior.ndim != 2 or not posterior.shape[1]:
        raise InputError(f"{fields.path}: alignments3D_multi/class_posterior has no classes; check the file")
    best = np.argmax(np.nan_to_num(posterior, nan=-1.0), axis=1)
    rows = np.arange(fields.n)

    def get(name: str, width: int) -> Array:
        full = f"alignments3D_multi/{name}"
        values = fields.any_shape(full)
        inner = (width,) if width else ()
        if values.shape == (fields.n, *inner):
            return values
        if values.shape != (fields.n, posterior.shape[1], *inner):
            raise InputError(f"{fields.path}: {full} has the shape {values.shape[1:]}; check the file")
        return np.asarray(values[rows, best])

    columns = _of_field(fields, "alignments3D_multi", pixel_size, get, notes)
    columns.setdefault("rlnClassNumber", best + 1)
    return columns


def _of_classes(fields: Fields, classes: list[int], pixel_size: Array, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Of the likeliest of several classes, each of which has its own fields."""
    names = [f"alignments_class_{k}" for k in classes]
    if len(names) > 1:
        posterior = np.stack([fields.numbers(f"{name}/class_posterior") for name in names])
        best = np.argmax(np.nan_to_num(posterior, nan=-1.0), axis=0)
    else:
        best = np.zeros(fields.n, np.int64)

    def get(name: str, width: int) -> Array:
        values = np.stack([_one(fields, f"{each}/{name}", width) for each in names])
        return np.asarray(values[best, np.arange(fields.n)])

    columns = _of_field(fields, names[0], pixel_size, get, notes)
    columns["rlnClassNumber"] = np.array(classes, np.int64)[best] + 1
    fields.use(f"{each}/{name}" for each in names for name in (*_STATISTICS, "class", "split"))
    return columns


def _in_plane(fields: Fields, pixel_size: Array, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Of a classification in two dimensions: the angle in the plane, and the class."""
    turn = np.rad2deg(fields.numbers("alignments2D/pose"))
    columns: dict[str, NDArray[Any]] = {"rlnAnglePsi": (turn + 180) % 360 - 180}
    size = fields.numbers("alignments2D/psize_A") if "alignments2D/psize_A" in fields else None
    columns |= _origins(fields, "alignments2D", fields.numbers("alignments2D/shift", (2,)), size, pixel_size, notes)
    if "alignments2D/class" in fields:
        columns["rlnClassNumber"] = whole(fields.path, "alignments2D/class", fields.numbers("alignments2D/class")) + 1
    fields.use(f"alignments2D/{name}" for name in (*_STATISTICS, "split"))
    notes.append(f"{fields.path} has alignments in the plane only (alignments2D): the particles have no 3D poses")
    return columns


def _origins(
    fields: Fields, prefix: str, shift: Array, size: Array | None, pixel_size: Array, notes: list[str]
) -> dict[str, NDArray[Any]]:
    """Å, by the pixel size of the alignment, which may be that of smaller images."""
    if size is None or not (size > 0).all():
        notes.append(f"{fields.path} has no {prefix}/psize_A: shifts are taken as pixels of the images")
        size = pixel_size if size is None else np.where(size > 0, size, pixel_size)
    return {"rlnOriginXAngst": shift[:, 0] * size, "rlnOriginYAngst": shift[:, 1] * size}


def _half_sets(fields: Fields, prefix: str, split: Array, notes: list[str]) -> dict[str, NDArray[Any]]:
    if not np.isin(split, (0, 1)).all():
        notes.append(f"{fields.path}: {prefix}/split is neither 0 nor 1 for all particles: no half-sets are taken over")
        return {}
    if split.size and split.min() == split.max():
        notes.append(f"{fields.path}: {prefix}/split is {split[0]:g} for all particles: no half-sets are taken over")
        return {}
    return {"rlnRandomSubset": split.astype(np.int64) + 1}
