"""Optics groups: what images of one microscope setting share, from any version of RELION's STAR files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.io.table import Table, make_table

logger = logging.getLogger(__name__)

PIXEL_LABELS = ("rlnImagePixelSize", "rlnPixelSize", "rlnDetectorPixelSize", "rlnMagnification")
SHARED_LABELS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
MOVED_LABELS = frozenset((*PIXEL_LABELS, *SHARED_LABELS, "rlnImageSize", "rlnImageDimensionality"))
_NOT_ZERO = {
    "rlnBeamTiltX": "beam tilt",
    "rlnBeamTiltY": "beam tilt",
    "rlnOddZernike": "antisymmetric aberrations",
    "rlnEvenZernike": "symmetric aberrations",
    "rlnCtfDataAreCtfPremultiplied": "images multiplied by their CTF",
    "rlnCtfDataArePhaseFlipped": "phase-flipped images",
}
_MAGNIFICATION = {"rlnMagMat00": 1.0, "rlnMagMat01": 0.0, "rlnMagMat10": 0.0, "rlnMagMat11": 1.0}


@dataclass(frozen=True, slots=True, eq=False)
class OpticsGroups:
    """Optics groups that have images; all arrays (g,).

    Attributes
    ----------
    name : tuple of str
    number : int32
        rlnOpticsGroup.
    pixel_size : float64
        Å; NaN where unknown (only if the stacks were not read).
    box : int64
        Side of the images, px; 0 where unknown (only if the stacks were not read).
    voltage, spherical_aberration, amplitude_contrast : float64
        kV, mm, fraction; NaN where the file does not say.
    """

    name: tuple[str, ...]
    number: NDArray[np.int32]
    pixel_size: NDArray[np.float64]
    box: NDArray[np.int64]
    voltage: NDArray[np.float64]
    spherical_aberration: NDArray[np.float64]
    amplitude_contrast: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Optics:
    """Result of `resolve_optics`: the groups, each particle's group, the table to write, whether numbers changed."""

    groups: OpticsGroups
    group: NDArray[np.int32]
    table: Table
    is_renumbered: bool


def optics_labels(table: Table) -> list[str]:
    """Columns of the particle table that can say something about the optics."""
    return [name for name in ("rlnOpticsGroup", *sorted(MOVED_LABELS)) if name in table.columns]


def refuse_unsupported(path: Path, tables: tuple[Table | None, ...]) -> None:
    """Refuse images that need corrections which pycryo does not make.

    Raises
    ------
    InputError
        Naming each correction and its column.
    """
    found: dict[str, str] = {}
    for table in tables:
        if table is None:
            continue
        present = [name for name in ("rlnImageDimensionality", *_NOT_ZERO, *_MAGNIFICATION) if name in table.columns]
        for name, texts in table.values(texts=present).items():
            values = [_number_list(text, name, path) for text in dict.fromkeys(texts.tolist())]
            if name == "rlnImageDimensionality":
                if any(value != [2.0] for value in values):
                    raise InputError(
                        f"{path}: rlnImageDimensionality is not 2; pycryo needs 2D images, not sub-tomograms"
                    )
            elif name in _NOT_ZERO and any(any(value) for value in values):
                found[name] = _NOT_ZERO[name]
            elif name in _MAGNIFICATION and any(
                abs(v - _MAGNIFICATION[name]) > 1e-6 for value in values for v in value
            ):
                found[name] = "anisotropic magnification"
    if found:
        kinds = [
            f"{kind} ({', '.join(n for n in found if found[n] == kind)})" for kind in dict.fromkeys(found.values())
        ]
        raise InputError(
            f"{path} asks for corrections that pycryo does not make: {', '.join(kinds)}; "
            f"correct the images, or remove these columns to go on without"
        )


def _number_list(text: str, name: str, path: Path) -> list[float]:
    """Numbers of a value like ``1.5`` or ``[0.1,0.2]``."""
    try:
        return [float(part) for part in text.strip("[]() ").split(",") if part.strip()]
    except ValueError:
        raise InputError(f"{path}: {name} is {text!r}, not a number or a list of numbers; correct it") from None


def resolve_optics(
    path: Path,
    optics: Table | None,
    particles: Table,
    columns: Mapping[str, NDArray[Any]],
    header_box: NDArray[np.int64] | None,
    header_pixel_size: NDArray[np.float64] | None,
) -> Optics:
    """Find the optics group of each particle.

    Values come from the optics table, else from the particle table (RELION 3.0: groups are the distinct
    combinations), else, for box and pixel size, from the headers of the stacks with a warning.

    Parameters
    ----------
    path : Path
        The STAR file, for messages.
    optics : Table or None
    particles : Table
    columns : mapping
        Columns `optics_labels` of the particle table as float64 (n,).
    header_box, header_pixel_size : (n,) or None
        px and Å (0 where unknown) by the stack of each particle; None if the stacks were not read.
    """
    base, numbers, fixed = _base_groups(path, optics, particles, columns)
    n = len(base)
    by_particle: dict[str, NDArray[np.float64]] = {}
    inferred = {}
    for name in SHARED_LABELS:
        by_particle[name] = fixed[name][base] if name in fixed else columns.get(name, np.full(n, np.nan))
    pixel_size = fixed["rlnImagePixelSize"][base] if "rlnImagePixelSize" in fixed else _pixel_size(columns)
    if pixel_size is None:
        pixel_size = np.full(n, np.nan) if header_pixel_size is None else header_pixel_size
        inferred["rlnImagePixelSize"] = header_pixel_size is not None
        has_microscope = all(np.isfinite(by_particle[label]).all() for label in SHARED_LABELS)
        if header_pixel_size is not None and not header_pixel_size.any() and not has_microscope:
            logger.warning("%s and its stacks have no pixel size; 1 Å is assumed: put it into rlnImagePixelSize", path)
            pixel_size, inferred["rlnImagePixelSize"] = np.ones(n), False
    if np.any(bad := ~(pixel_size > 0)) and (header_pixel_size is not None or not np.isnan(pixel_size).all()):
        row = int(np.argmax(bad))
        source = "the MRC header has no pixel size" if inferred else f"the pixel size is {pixel_size[row]:g}"
        raise InputError(f"{path}, row {row + 1}: {source}; put the pixel size in Å into rlnImagePixelSize")
    by_particle["rlnImagePixelSize"] = pixel_size
    box = fixed["rlnImageSize"][base] if "rlnImageSize" in fixed else columns.get("rlnImageSize")
    if box is None:
        box = header_box.astype(np.float64) if header_box is not None else np.zeros(n)
        inferred["rlnImageSize"] = header_box is not None
    by_particle["rlnImageSize"] = box
    for name in (name for name, known in inferred.items() if known):
        logger.warning("%s has no %s; it is taken from the MRC headers", path, name)
    return _grouped(optics, numbers, base, fixed, by_particle, inferred)


def _base_groups(
    path: Path, optics: Table | None, particles: Table, columns: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int32], dict[str, NDArray[np.float64]]]:
    """Row of the optics table of each particle, numbers of the rows, and the columns of the optics table."""
    if optics is None or not optics.n:
        return np.zeros(particles.n, np.int64), np.ones(1, np.int32), {}
    wanted = ("rlnOpticsGroup", "rlnImagePixelSize", "rlnImageSize", *SHARED_LABELS)
    fixed = dict(optics.values([name for name in wanted if name in optics.columns]))
    numbers = fixed.pop("rlnOpticsGroup", np.arange(1.0, optics.n + 1))
    order = np.argsort(numbers)
    if len(np.unique(numbers)) < len(numbers):
        raise InputError(f"{path}: a number occurs twice in rlnOpticsGroup of data_optics; give each group its own")
    if "rlnOpticsGroup" not in columns:
        if optics.n > 1:
            raise InputError(
                f"{path}: the particles have no rlnOpticsGroup, but data_optics has {optics.n}; add the column"
            )
        return np.zeros(particles.n, np.int64), numbers.astype(np.int32), fixed
    wanted_numbers = columns["rlnOpticsGroup"]
    place = np.minimum(np.searchsorted(numbers[order], wanted_numbers), optics.n - 1)
    base = order[place]
    if np.any(bad := numbers[base] != wanted_numbers):
        row = int(np.argmax(bad))
        raise InputError(f"{path}, row {row + 1}: optics group {wanted_numbers[row]:g} is not in data_optics; add it")
    return base, numbers.astype(np.int32), fixed


def _pixel_size(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """Pixel size in Å from the particle table; RELION 3.0 has the detector's in µm and the magnification."""
    for name in ("rlnImagePixelSize", "rlnPixelSize"):
        if (found := columns.get(name)) is not None:
            return np.asarray(found, np.float64)
    if "rlnDetectorPixelSize" in columns and "rlnMagnification" in columns:
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.asarray(1e4 * columns["rlnDetectorPixelSize"] / columns["rlnMagnification"], np.float64)
        return np.where(np.isfinite(size), size, 0.0)
    return None


def _grouped(
    optics: Table | None,
    numbers: NDArray[np.int32],
    base: NDArray[np.int64],
    fixed: Mapping[str, NDArray[np.float64]],
    by_particle: Mapping[str, NDArray[np.float64]],
    inferred: Mapping[str, bool],
) -> Optics:
    """Number the distinct combinations, in the order of the optics table."""
    code = base
    for label, column in by_particle.items():
        if label not in fixed:
            distinct, inverse = np.unique(column, return_inverse=True)
            code = np.unique(code * len(distinct) + inverse, return_inverse=True)[1]
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    rows = base[first]
    is_renumbered = optics is None or "rlnOpticsGroup" not in optics.columns or len(np.unique(rows)) < len(rows)
    number = np.arange(1, len(rows) + 1, dtype=np.int32) if is_renumbered else numbers[rows]
    values = {label: column[first] for label, column in by_particle.items()}
    name = tuple(f"opticsGroup{i}" for i in number)
    if optics is not None and "rlnOpticsGroupName" in optics.columns and not is_renumbered:
        name = tuple(optics.values(texts=["rlnOpticsGroupName"])["rlnOpticsGroupName"][rows])
    shared = (values[label] for label in SHARED_LABELS)
    groups = OpticsGroups(name, number, values["rlnImagePixelSize"], values["rlnImageSize"].astype(np.int64), *shared)
    added: dict[str, ArrayLike] = {}
    if is_renumbered:
        added |= {"rlnOpticsGroup": number, "rlnOpticsGroupName": np.array(name, object)}
    known = {label: v for label, v in values.items() if label not in fixed and np.all(np.isfinite(v))}
    added |= {label: v for label, v in known.items() if label in SHARED_LABELS or np.all(v > 0)}
    if "rlnImageSize" in added:
        added["rlnImageSize"] = groups.box
    if optics is None or not optics.n:
        added["rlnImageDimensionality"] = np.full(len(rows), 2)
        if "rlnImagePixelSize" in added:
            added["rlnMicrographOriginalPixelSize"] = groups.pixel_size
        table = make_table(added, "data_optics")
    else:
        table = optics.with_columns(added, rows=rows) if added else optics
    return Optics(groups, group.astype(np.int32), table, is_renumbered)
