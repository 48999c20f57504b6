"""Particles: what a STAR file says about a set of images, checked against the stacks, and back into a STAR file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.io.image_names import NO_NUMBER, ImageNames, check_stacks, find_stacks, split_names
from pycryo.io.mrc import MrcHeader
from pycryo.io.optics import (
    MOVED_LABELS,
    SHARED_LABELS,
    Optics,
    optics_labels,
    refuse_unsupported,
    resolve_optics,
)
from pycryo.io.particle_set import Particles
from pycryo.io.star import read_comments, read_tables, write_star
from pycryo.io.table import Table, make_table

__all__ = ["Particles", "read_particles", "write_particles"]

_FOLDER_COMMENT = "pycryo: image names begin in "  # a comment line, so that the file can be read from anywhere
_TABLE_NAMES = ("particles", "images", "")
_DEFOCUS_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_POSE_LABELS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGIN_LABELS = ("rlnOriginXAngst", "rlnOriginYAngst")
_PIXEL_ORIGIN_LABELS = ("rlnOriginX", "rlnOriginY")
_DEFAULTS = {
    "rlnPhaseShift": 0.0,
    "rlnCtfBfactor": 0.0,
    "rlnCtfScalefactor": 1.0,
    "rlnRandomSubset": 0,
    "rlnClassNumber": 1,
}


def read_particles(
    path: str | os.PathLike[str], *, particles_dir: str | os.PathLike[str] | None = None, validate: bool = True
) -> Particles:
    """Read the particles of a STAR file of RELION 3.0, 3.1, 4 or 5.

    Image names are looked up in `particles_dir`, the folder of the STAR file, the working folder, and the folders that
    `write_particles` noted in the file.

    Parameters
    ----------
    path : path
        The STAR file.
    particles_dir : path, optional
        Folder where the image names begin, or that holds the stacks.
    validate : bool
        Check every stack header and every index. Without, stacks need not exist, and neither need rlnImageName.

    Raises
    ------
    InputError
        If anything in the file or its stacks does not fit; names file, row and what to do.
    """
    path = Path(path)
    tables = dict(read_tables(path))
    name, table = particle_table(path, tables, "rlnImageName" if validate else "rlnAngleRot")
    optics = _as_table(tables.get("optics"))
    refuse_unsupported(path, (optics, table))
    if not table.n:
        raise InputError(f"{path}: data_{name} has no particles; give a file with at least one")
    where = f"{path}, data_{name}"
    labels = (*_POSE_LABELS, *_ORIGIN_LABELS, *_PIXEL_ORIGIN_LABELS, *_DEFOCUS_LABELS, *_DEFAULTS)
    numbers = [label for label in (*labels, *optics_labels(table)) if label in table.columns]
    texts = [label for label in ("rlnImageName",) if label in table.columns]
    columns = table.values(list(dict.fromkeys(numbers)), texts)
    names, stacks, folders, headers = _locate(path, where, columns, table.n, particles_dir, validate)
    boxes = sizes = None
    if headers:
        boxes = np.array([header.nx for header in headers])[names.stack]
        sizes = np.array([header.pixel_size for header in headers])[names.stack]
    found = resolve_optics(path, optics, table, columns, boxes, sizes)
    if boxes is not None:
        _check_boxes(where, found, names, stacks, boxes)
    return _assemble(where, path, tables, name, columns, names, found, stacks, headers, folders)


def write_particles(path: str | os.PathLike[str], particles: Particles, updates: Mapping[str, ArrayLike]) -> None:
    """Write particles with all their input columns, in the form of RELION 3.1 and later, atomically.

    Values that `updates` does not name stay as they were to the letter. A 3.0 file is converted: microscope columns
    move to data_optics, origins become Å. Image names stay as they are: RELION looks them up from the folder where it
    is started, pycryo also from the folders that a comment line of the file names.

    Parameters
    ----------
    path : path
        The STAR file.
    particles : Particles
    updates : mapping of str to (n,) arrays
        New values by label, for example ``{"rlnAngleRot": rot}``; columns are replaced or added.
    """
    table = particles.tables[particles.table_name]
    table = _as_table(table) or make_table({})
    values: dict[str, ArrayLike] = {}
    drop = {label for label in _PIXEL_ORIGIN_LABELS if label in table.columns}
    if drop:
        values |= {"rlnOriginXAngst": particles.origin_x, "rlnOriginYAngst": particles.origin_y}
    if "optics" not in particles.tables:
        drop |= MOVED_LABELS
    if particles.is_renumbered or "rlnOpticsGroup" not in table.columns:
        values["rlnOpticsGroup"] = particles.optics.number[particles.optics_group]
    written: dict[str, Table | Mapping[str, object]] = {"optics": particles.optics_table}
    written["particles"] = table.with_columns({**values, **updates}, drop=drop, rows=particles.rows)
    written |= {k: v for k, v in particles.tables.items() if k not in ("optics", "particles", particles.table_name)}
    write_star(path, written, comments=folder_comments(particles.folders))


def folder_comments(folders: Iterable[Path]) -> list[str]:
    """Lines for the head of a STAR file that name folders where its image names begin."""
    return [f"{_FOLDER_COMMENT}{folder}" for folder in folders]


def _as_table(table: Table | Mapping[str, str] | None) -> Table | None:
    """A list of pairs counts as a loop of one row."""
    if table is None or isinstance(table, Table):
        return table
    return make_table({label: np.array([value]) for label, value in table.items()})


def particle_table(path: Path, tables: dict[str, Table | dict[str, str]], substitute: str) -> tuple[str, Table]:
    """Name and table of the particles: the one with rlnImageName, or with `substitute` if there is none.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    for label in ("rlnImageName", substitute):
        found = {name: table for name, table in tables.items() if label in _columns(table)}
        if found:
            name = next((name for name in _TABLE_NAMES if name in found), None)
            if name is None and len(found) > 1:
                options = ", ".join(f"data_{option}" for option in found)
                raise InputError(f"{path} has {label} in several tables ({options}); call the right one data_particles")
            name = name if name is not None else next(iter(found))
            table = _as_table(found[name])
            assert table is not None
            return name, table
    options = ", ".join(f"data_{option}" for option in tables)
    raise InputError(f"{path} has no table with rlnImageName (only {options}); give a STAR file of particles")


def _columns(table: Table | Mapping[str, str]) -> tuple[str, ...]:
    return table.columns if isinstance(table, Table) else tuple(table)


def _locate(
    path: Path,
    where: str,
    columns: Mapping[str, NDArray[Any]],
    n: int,
    particles_dir: str | os.PathLike[str] | None,
    validate: bool,
) -> tuple[ImageNames, tuple[Path, ...], tuple[Path, ...], tuple[MrcHeader, ...]]:
    """Take the image names apart; find and check the stacks if asked to."""
    if "rlnImageName" not in columns:
        return ImageNames(np.zeros(n, np.int64), np.zeros(n, np.int32), ()), (), (), ()
    names = split_names(columns["rlnImageName"], where)
    if not validate:
        return names, tuple(Path(stack) for stack in names.stacks), (), ()
    noted = [line.removeprefix(_FOLDER_COMMENT) for line in read_comments(path) if line.startswith(_FOLDER_COMMENT)]
    given = [Path(particles_dir)] if particles_dir is not None else []
    folders = [*given, path.parent, Path(), *map(Path, noted)]
    stacks, used = find_stacks(names, where, folders, [*given, *map(Path, noted)])
    return names, stacks, used, check_stacks(names, stacks, where)


def _check_boxes(
    where: str, found: Optics, names: ImageNames, stacks: tuple[Path, ...], boxes: NDArray[np.int64]
) -> None:
    expected = found.groups.box[found.group]
    if np.any(bad := boxes != expected):
        row = int(np.argmax(bad))
        raise InputError(
            f"{where}, row {row + 1}: {stacks[names.stack[row]]} has images of {boxes[row]} px, but rlnImageSize is "
            f"{expected[row]}; correct rlnImageSize or the image name"
        )


def _assemble(
    where: str,
    path: Path,
    tables: Mapping[str, Table | dict[str, str]],
    table_name: str,
    columns: Mapping[str, NDArray[Any]],
    names: ImageNames,
    found: Optics,
    stacks: tuple[Path, ...],
    headers: tuple[MrcHeader, ...],
    folders: tuple[Path, ...],
) -> Particles:
    n = len(names.index)
    zeros = np.zeros(n)
    pixel_size = found.groups.pixel_size[found.group]
    if "rlnOriginX" in columns and "rlnOriginXAngst" not in columns and np.isnan(pixel_size).any():
        raise InputError(f"{where}: rlnOriginX is in pixels, but there is no pixel size; add rlnImagePixelSize (Å)")
    x, y = (
        columns[angst] if angst in columns else columns[pixels] * pixel_size if pixels in columns else zeros.copy()
        for angst, pixels in zip(_ORIGIN_LABELS, _PIXEL_ORIGIN_LABELS, strict=True)
    )
    poses = [columns.get(label, zeros.copy()) for label in _POSE_LABELS]
    for label, values in zip((*_POSE_LABELS, *_ORIGIN_LABELS), (*poses, x, y), strict=True):
        if np.any(bad := ~np.isfinite(values)):
            raise InputError(
                f"{where}, row {int(np.argmax(bad)) + 1}: {label} is not finite; correct or remove the row"
            )
    phase, b_factor, scale, subset, class_number = (
        columns.get(label, np.full(n, float(value))) for label, value in _DEFAULTS.items()
    )
    if np.any(bad := ~np.isin(subset, (0, 1, 2))):
        row = int(np.argmax(bad))
        raise InputError(f"{where}, row {row + 1}: rlnRandomSubset is {subset[row]:g}; it must be 1 or 2")
    missing = [label for label in _DEFOCUS_LABELS if label not in columns]
    shared = (found.groups.voltage, found.groups.spherical_aberration, found.groups.amplitude_contrast)
    missing += [label for label, values in zip(SHARED_LABELS, shared, strict=True) if np.isnan(values).any()]
    return Particles(
        path=path,
        tables=tables,
        table_name=table_name,
        rows=np.arange(n),
        stacks=stacks,
        headers=headers,
        folders=folders,
        stack=names.stack,
        image_index=np.where(names.index == NO_NUMBER, 0, names.index),
        optics=found.groups,
        optics_group=found.group,
        optics_table=found.table,
        is_renumbered=found.is_renumbered,
        defocus_u=columns.get("rlnDefocusU", zeros.copy()),
        defocus_v=columns.get("rlnDefocusV", zeros.copy()),
        defocus_angle=columns.get("rlnDefocusAngle", zeros.copy()),
        phase_shift=phase,
        ctf_b_factor=b_factor,
        ctf_scale=scale,
        rot=poses[0],
        tilt=poses[1],
        psi=poses[2],
        origin_x=x,
        origin_y=y,
        random_subset=subset.astype(np.int32),
        class_number=_integers(where, class_number, "rlnClassNumber"),
        missing_ctf=tuple(missing),
        has_poses=all(label in columns for label in _POSE_LABELS),
    )


def _integers(where: str, values: NDArray[np.float64], label: str) -> NDArray[np.int32]:
    if np.any(bad := ~((values >= 0) & (values < 2**31) & (values == np.floor(values)))):
        row = int(np.argmax(bad))
        raise InputError(f"{where}, row {row + 1}: {label} is {values[row]:g}, not a whole number from 0; correct it")
    return values.astype(np.int32)
