"""Particles from arrays: what a STAR file would say about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import array, described, number, numbers, positive, rotations
from pycryo.errors import InputError
from pycryo.geometry.rotations import matrix_to_quaternion, quaternion_to_euler
from pycryo.io.aberrations import group_values
from pycryo.io.optics import SHARED_LABELS, OpticsGroups
from pycryo.io.sources.array_stack import ArrayStack
from pycryo.io.table import make_table

_DEFOCUS = {"rlnDefocusU": "defocus_u", "rlnDefocusV": "defocus_v", "rlnDefocusAngle": "defocus_angle"}
_FURTHER = {
    "rlnPhaseShift": ("phase_shift", 0.0),
    "rlnCtfBfactor": ("ctf_b_factor", 0.0),
    "rlnCtfScalefactor": ("ctf_scale", 1.0),
}
_SHARED = ("voltage", "spherical_aberration", "amplitude_contrast")
_VALUES = {*_SHARED, *_DEFOCUS.values(), *(name for name, _ in _FURTHER.values()), "random_subset", "class_number"}
_NAME = "images.mrcs"
# In place of the STAR file's path.
IN_MEMORY = "particles in memory"


def fields_of_arrays(
    images: ArrayLike, pixel_size: float, values: dict[str, Any], poses: Any, origins: ArrayLike | None
) -> dict[str, Any]:
    """The fields of `pycryo.io.particle_set.Particles.from_arrays`, whose arguments these are.

    Raises
    ------
    InputError
        Names the argument that cannot be used.
    """
    stack = numbers("images", images, np.float32, (None, None, None))
    n, box = len(stack), stack.shape[2]
    if not n or stack.shape[1] != box or not box:
        raise InputError(f"images: expected (n, N, N), n and N at least 1, got {stack.shape}")
    pixel_size = number("pixel_size", pixel_size, least=1e-3, most=1e3)
    if unknown := set(values) - _VALUES:
        raise InputError(f"from_arrays has no argument {', '.join(sorted(unknown))}: use {', '.join(sorted(_VALUES))}")
    given = {name: value for name, value in values.items() if value is not None}
    microscope: dict[str, float] = {}
    if "voltage" in given:
        microscope["voltage"] = positive("voltage", given["voltage"], "kV")
    if "spherical_aberration" in given:
        microscope["spherical_aberration"] = number("spherical_aberration", given["spherical_aberration"])
    if "amplitude_contrast" in given:
        microscope["amplitude_contrast"] = number("amplitude_contrast", given["amplitude_contrast"], least=-1, most=1)
    columns = {name: _column(name, value, n) for name, value in given.items() if name not in microscope}
    if "defocus_u" in columns:
        columns = {"defocus_v": columns["defocus_u"], "defocus_angle": np.zeros(n)} | columns
    subset = _whole("random_subset", columns.pop("random_subset", np.zeros(n)), (0, 2))
    classes = _whole("class_number", columns.pop("class_number", np.ones(n)), (1, 2**31 - 1))
    angles = None if poses is None else _angles(poses, n)
    shifts = np.zeros((n, 2)) if origins is None else numbers("origins", origins, np.float64, (n, 2), finite=True)
    groups = OpticsGroups(
        ("opticsGroup1",),
        np.ones(1, np.int32),
        np.array([pixel_size]),
        np.array([box]),
        np.array([microscope.get("voltage", np.nan)]),
        np.array([microscope.get("spherical_aberration", np.nan)]),
        np.array([microscope.get("amplitude_contrast", np.nan)]),
        **group_values(Path(_NAME), {}, 1),
    )
    table: dict[str, ArrayLike] = {
        "rlnImageName": np.array([f"{i + 1:06d}@{_NAME}" for i in range(n)], object),
        "rlnOpticsGroup": np.ones(n, int),
    }
    table |= {label: columns[name] for label, name in _DEFOCUS.items() if name in columns}
    table |= {label: columns[name] for label, (name, _) in _FURTHER.items() if name in columns}
    if angles is not None:
        table |= dict(zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles.T, strict=True))
    if origins is not None:
        table |= {"rlnOriginXAngst": shifts[:, 0], "rlnOriginYAngst": shifts[:, 1]}
    table |= {"rlnRandomSubset": subset} if subset.any() else {}
    table |= {"rlnClassNumber": classes} if "class_number" in given else {}
    optics: dict[str, ArrayLike] = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnImagePixelSize": [pixel_size],
        "rlnImageSize": [box],
        "rlnImageDimensionality": [2],
    }
    optics |= {
        label: [microscope[name]] for label, name in zip(SHARED_LABELS, _SHARED, strict=True) if name in microscope
    }
    optics_table = make_table(optics, "data_optics")
    euler = np.zeros((n, 3)) if angles is None else angles
    missing = [label for label, name in _DEFOCUS.items() if name not in columns]
    missing += [label for label, name in zip(SHARED_LABELS, _SHARED, strict=True) if name not in microscope]
    return {
        "path": Path(IN_MEMORY),
        "tables": {"optics": optics_table, "particles": make_table(table, "data_particles")},
        "table_name": "particles",
        "rows": np.arange(n),
        "stacks": (Path(_NAME),),
        "headers": (ArrayStack(stack, pixel_size, Path(_NAME)),),
        "folders": (),
        "stack": np.zeros(n, np.int32),
        "image_index": np.arange(n),
        "optics": groups,
        "optics_group": np.zeros(n, np.int32),
        "optics_table": optics_table,
        "is_renumbered": False,
        **{name: columns.get(name, np.zeros(n)) for name in _DEFOCUS.values()},
        **{name: columns.get(name, np.full(n, default)) for name, default in _FURTHER.values()},
        **{name: euler[:, i].copy() for i, name in enumerate(("rot", "tilt", "psi"))},
        "origin_x": shifts[:, 0].copy(),
        "origin_y": shifts[:, 1].copy(),
        "random_subset": subset,
        "class_number": classes,
        "missing_ctf": tuple(missing),
        "has_poses": angles is not None,
    }


def _column(name: str, value: ArrayLike, n: int) -> NDArray[np.float64]:
    """(n,) a value for each particle, or one for all."""
    found = numbers(name, value, np.float64, finite=True)
    if found.shape not in ((), (n,)):
        raise InputError(f"{name}: expected a number or shape ({n},), got {found.shape}")
    return np.broadcast_to(found, (n,)).copy()


def _whole(name: str, values: NDArray[np.float64], limits: tuple[int, int]) -> NDArray[np.int32]:
    found = numbers(name, values, np.int32)
    if found.min() < limits[0] or found.max() > limits[1]:
        raise InputError(f"{name}: expected {limits[0]} to {limits[1]}, got {found.min()} to {found.max()}")
    return found


def _angles(poses: Any, n: int) -> NDArray[np.float64]:
    """(n, 3) RELION's angles, degrees, of poses that are angles or rotations."""
    if not hasattr(poses, "as_matrix"):
        found = array("poses", poses)
        if found.shape == (n, 3):
            return numbers("poses", found, np.float64, finite=True)
    matrices = rotations("poses", poses)
    if len(matrices) != n:
        raise InputError(f"poses: expected {n}, one for each image, got {len(matrices)}")
    return np.stack(quaternion_to_euler(matrix_to_quaternion(matrices)), axis=1)


def new_columns(name: str, columns: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[Any]]:
    """Columns for a table of `n` particles: numbers or text (n,) by label; `name` is that of the argument.

    Raises
    ------
    InputError
        If they are none.
    """
    if not isinstance(columns, Mapping) or not all(isinstance(label, str) for label in columns):
        raise InputError(f"{name}: expected arrays by label, such as {{'rlnAngleRot': rot}}, got {described(columns)}")
    found = {}
    for label, values in columns.items():
        column = array(f"{name}, {label}", values)
        if column.shape != (n,):
            raise InputError(f"{name}, {label}: expected shape ({n},), a value for each particle, got {column.shape}")
        if column.dtype.kind not in "biufUO" or (
            column.dtype.kind == "O" and not all(isinstance(value, (str, int, float)) for value in column)
        ):
            raise InputError(f"{name}, {label}: expected numbers or text, got {described(values)}")
        found[label] = column
    return found


def chosen_rows(rows: ArrayLike, n: int, *, takes_mask: bool = False) -> NDArray[np.int64]:
    """(m,) numbers of some of `n` particles; of a mask (n,), too, with `takes_mask`.

    Raises
    ------
    InputError
        If they are none.
    """
    given = array("rows", rows, "whole numbers")
    if given.dtype == np.bool_ and takes_mask:
        return np.flatnonzero(numbers("rows", given, np.uint8, (n,)))
    chosen = numbers("rows", given, np.int64, (None,))
    if len(chosen) and not -n <= chosen.min() <= chosen.max() < n:
        raise InputError(f"rows: expected numbers below {n}, got {chosen.min()} to {chosen.max()}")
    return chosen


def picked_rows(which: Any, n: int) -> NDArray[np.int64]:
    """(m,) numbers of those of `n` particles that are in brackets: a slice, number, numbers or mask.

    Raises
    ------
    IndexError
        If one number is too large, which ends loops over the particles.
    InputError
        If numbers are too large or are none.
    """
    if isinstance(which, slice):
        return np.arange(n)[which]
    found = array("rows", which, "whole numbers")
    if not found.shape and found.dtype.kind in "iu":
        if not -n <= found < n:
            raise IndexError(f"there are {n} particles, there is no number {which}")
        found = found[None]
    return chosen_rows(found, n, takes_mask=True)
