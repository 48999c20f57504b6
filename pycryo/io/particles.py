"""Particles: what a STAR file says about a set of images, checked against the stacks, and back into a STAR file.

A .cs file of cryoSPARC is read as the STAR file that `pycryo import` makes of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import arguments
from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.aberrations import LABELS, check_kinds
from pycryo.io.foreign.formats import relion_tables
from pycryo.io.image_names import (
    NO_NUMBER,
    ImageNames,
    check_boxes,
    check_stacks,
    find_stacks,
    folder_comments,
    noted_folders,
    split_names,
)
from pycryo.io.mrc_header import MrcHeader
from pycryo.io.optics import (
    MOVED_LABELS,
    SHARED_LABELS,
    Optics,
    optics_labels,
    refuse_volumes,
    resolve_optics,
)
from pycryo.io.particle_order import by_image
from pycryo.io.particle_set import POSE_LABELS, Particles
from pycryo.io.selection import as_table, particle_table
from pycryo.io.sources.on_disc import names_from_here, on_disc
from pycryo.io.sources.particle_arrays import new_columns
from pycryo.io.star import read_comments, write_star
from pycryo.io.table import Table, check_finite, whole_numbers

__all__ = ["Particles", "read_particles", "write_particles"]

logger = logging.getLogger(__name__)

_DEFOCUS_LABELS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_ORIGIN_LABELS = ("rlnOriginXAngst", "rlnOriginYAngst")
_PIXEL_ORIGIN_LABELS = ("rlnOriginX", "rlnOriginY")
_DEFAULTS = {
    "rlnPhaseShift": 0.0,
    "rlnCtfBfactor": 0.0,
    "rlnCtfScalefactor": 1.0,
    "rlnRandomSubset": 0,
    "rlnClassNumber": 1,
}

_Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Source:
    """A STAR file: its tables, the name of the one with the particles, and folders where image names may begin."""

    path: Path
    tables: dict[str, Table | dict[str, str]]
    name: str
    folders: tuple[Path, ...]

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path}, data_{self.name}"


@dataclass(frozen=True, slots=True)
class _Images:
    """Names of the images, their stacks, the folders where names begin, and the stacks' headers if they were read."""

    names: ImageNames
    stacks: tuple[Path, ...]
    folders: tuple[Path, ...]
    headers: tuple[MrcHeader, ...]


def read_particles(
    path: str | os.PathLike[str],
    *,
    particles_dir: str | os.PathLike[str] | None = None,
    validate: bool = True,
    ignore_optics: Collection[str] = (),
) -> Particles:
    """Read the particles of a STAR file of RELION 3.0, 3.1, 4 or 5, or of a .cs file of cryoSPARC.

    Image names are looked up in `particles_dir`, the folder of the STAR file, the working folder, and the folders that
    `write_particles` noted in the file.

    Parameters
    ----------
    path : path
        The file.
    particles_dir : path, optional
        Folder where the image names begin, or that holds the stacks.
    validate : bool
        Check every stack header and every index. Without, stacks need not exist, and neither need rlnImageName.
    ignore_optics : collection of str
        Corrections to go on without: "beam-tilt", "odd-zernike", "even-zernike", "magnification", "premultiplied",
        "phase-flipped". Their columns stay in the file.

    Returns
    -------
    Particles
        In the order of their images' names, so that nothing that is drawn or summed depends on the order of the rows;
        `Particles.rows` tells the row of each. Without `validate` they come as in the file.

    Raises
    ------
    InputError
        If anything in the file or its stacks does not fit; names file, row and what to do, of all errors at once.

    Examples
    --------
    >>> len(pycryo.read_particles(pycryo.betagal() / "particles.star"))
    150
    """
    path = arguments.path("path", path)
    particles_dir = None if particles_dir is None else arguments.path("particles_dir", particles_dir)
    validate = arguments.flag("validate", validate)
    findings = Findings()
    particles = examine_particles(
        path, findings, particles_dir=particles_dir, validate=validate, ignore_optics=ignore_optics
    )
    findings.raise_errors()
    findings.log_warnings(logger)
    assert particles is not None
    return particles


def examine_particles(
    path: str | os.PathLike[str],
    findings: Findings,
    *,
    particles_dir: str | os.PathLike[str] | None = None,
    validate: bool = True,
    ignore_optics: Collection[str] = (),
) -> Particles | None:
    """Read particles as `read_particles` does; errors and warnings are added to `findings`.

    With errors the particles, if the table can be read at all, are to be looked at, not to be used.
    """
    check_kinds(ignore_optics)
    try:
        return _read(Path(path), particles_dir, validate, ignore_optics, findings)
    except InputError as error:
        findings.error("table", str(error))
        return None


def _read(
    path: Path,
    particles_dir: str | os.PathLike[str] | None,
    validate: bool,
    ignore_optics: Collection[str],
    findings: Findings,
) -> Particles:
    tables, above, notes = relion_tables(path)
    for note in notes:
        findings.warn("converted", note)
    name, table = particle_table(path, tables, "rlnImageName" if validate else "rlnAngleRot")
    tables[name] = table
    source, optics = _Source(path, tables, name, tuple(above)), as_table(tables.get("optics"))
    refuse_volumes(path, (optics, table))
    if not table.n:
        raise InputError(f"{path}: data_{source.name} has no particles; give a file with at least one")
    labels = (*POSE_LABELS, *_ORIGIN_LABELS, *_PIXEL_ORIGIN_LABELS, *_DEFOCUS_LABELS, *_DEFAULTS)
    numbers = [label for label in (*labels, *optics_labels(table)) if label in table.columns]
    texts = [label for label in ("rlnImageName",) if label in table.columns]
    columns = table.values(list(dict.fromkeys(numbers)), texts)
    images = _locate(source, table.n, columns, particles_dir, validate, findings)
    boxes = sizes = None
    if images.headers:
        boxes = np.array([header.nx for header in images.headers])[images.names.stack]
        sizes = np.array([header.pixel_size for header in images.headers])[images.names.stack]
    found = resolve_optics(path, optics, table, columns, boxes, sizes, ignore_optics, findings)
    if boxes is not None:
        with findings.collect("box"):
            check_boxes(source.where, found.groups.box[found.group], boxes, images.names, images.stacks)
    particles = _assemble(source, columns, images, found, findings)
    return by_image(particles, images.names.stacks) if validate else particles


def write_particles(
    path: str | os.PathLike[str], particles: Particles, updates: Mapping[str, ArrayLike] | None = None
) -> None:
    """Write particles with all their input columns, in the form of RELION 3.1 and later, atomically.

    Values that `updates` does not name stay as they were to the letter. A 3.0 file is converted: microscope columns
    move to data_optics, origins become Å. RELION looks image names up from the folder where it is started, so they
    begin in the working folder: names that led to their stacks from elsewhere (the folder of the STAR file,
    --particles-dir) are written anew. pycryo also looks in the folders that a comment line of the file names. Rows come
    in the order that they had in the file that the particles are from. Images in memory (`Particles.from_arrays`) are
    written beside the file, as images.mrcs, or with a number in the name where that has others.

    Parameters
    ----------
    path : path
        The STAR file.
    particles : Particles
    updates : mapping of str to (n,) arrays, optional
        New values by label, for example ``{"rlnAngleRot": rot}``; columns are replaced or added.

    Examples
    --------
    >>> particles = pycryo.read_particles(pycryo.betagal() / "particles.star")
    >>> pycryo.write_particles("some.star", particles[:10], {"rlnDefocusU": np.full(10, 12000.0)})
    >>> pycryo.read_particles("some.star").defocus_u[:2].tolist()
    [12000.0, 12000.0]
    """
    path = arguments.path("path", path)
    arguments.instance("particles", particles, Particles, "from read_particles")
    updates = {} if updates is None else new_columns("updates", updates, particles.n)
    particles = on_disc(particles, path.parent)
    table = particles.table
    values: dict[str, ArrayLike] = {}
    drop = {label for label in _PIXEL_ORIGIN_LABELS if label in table.columns}
    if drop:
        values |= {"rlnOriginXAngst": particles.origin_x, "rlnOriginYAngst": particles.origin_y}
    if "optics" not in particles.tables:
        # Aberrations that say nothing, or are left out, have not moved.
        drop |= MOVED_LABELS - (set(LABELS) - set(particles.optics_table.columns))
    if particles.is_renumbered or "rlnOpticsGroup" not in table.columns:
        values["rlnOpticsGroup"] = particles.optics.number[particles.optics_group]
    folders = particles.folders
    if "rlnImageName" not in updates and (names := names_from_here(particles)) is not None:
        values["rlnImageName"], folders = names, (Path.cwd(),)
    written: dict[str, Table | Mapping[str, object]] = {"optics": particles.optics_table}
    order = np.argsort(particles.rows, kind="stable")
    new = {label: np.asarray(column)[order] for label, column in {**values, **updates}.items()}
    written["particles"] = table.with_columns(new, drop=drop, rows=particles.rows[order])
    written |= {k: v for k, v in particles.tables.items() if k not in ("optics", "particles", particles.table_name)}
    write_star(path, written, comments=folder_comments(folders))


def _locate(
    source: _Source,
    n: int,
    columns: _Columns,
    particles_dir: str | os.PathLike[str] | None,
    validate: bool,
    findings: Findings,
) -> _Images:
    """Take the image names apart; find and check the stacks if asked to."""
    if "rlnImageName" not in columns:
        return _Images(ImageNames(np.zeros(n, np.int64), np.zeros(n, np.int32), ()), (), (), ())
    names = split_names(columns["rlnImageName"], source.where)
    if not validate:
        return _Images(names, tuple(Path(stack) for stack in names.stacks), (), ())
    noted = [] if source.folders else noted_folders(read_comments(source.path))
    given = [Path(particles_dir)] if particles_dir is not None else []
    stacks = find_stacks(
        names, source.where, [*given, source.path.parent, Path(), *noted, *source.folders], [*given, *noted], findings
    )
    headers = check_stacks(names, stacks, source.where, findings)
    if told := [header for header in headers if header.unsigned_by or header.is_sign_unknown]:
        more = f"; so are {len(told) - 1} further stacks" if len(told) > 1 else ""
        findings.warn("unsigned", told[0].sign_words() + more)
    return _Images(names, stacks.paths, stacks.folders, headers)


def _assemble(source: _Source, columns: _Columns, images: _Images, found: Optics, findings: Findings) -> Particles:
    """The particles, all values checked."""
    n, where = len(images.names.index), source.where
    x, y = _origins(where, columns, found)
    zeros = np.zeros(n)
    rot, tilt, psi = (columns.get(label, zeros.copy()) for label in POSE_LABELS)
    for label, values in zip((*POSE_LABELS, *_ORIGIN_LABELS), (rot, tilt, psi, x, y), strict=True):
        with findings.collect("pose"):
            check_finite(where, label, values)
    phase, b_factor, scale, subset, class_number = (
        columns.get(label, np.full(n, float(value))) for label, value in _DEFAULTS.items()
    )
    if np.any(bad := ~np.isin(subset, (0, 1, 2))):
        row = int(np.argmax(bad))
        findings.warn(
            "half-set",
            f"{where}, row {row + 1}: rlnRandomSubset is {subset[row]:g}; half-sets of rows that have neither 1 nor 2 "
            "are drawn",
        )
    classes = np.ones(n, np.int32)
    with findings.collect("class"):
        classes = whole_numbers(where, class_number, "rlnClassNumber")
    return Particles(
        path=source.path,
        tables=source.tables,
        table_name=source.name,
        rows=np.arange(n),
        stacks=images.stacks,
        headers=images.headers,
        folders=images.folders,
        stack=images.names.stack,
        image_index=np.where(images.names.index == NO_NUMBER, 0, images.names.index),
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
        rot=rot,
        tilt=tilt,
        psi=psi,
        origin_x=x,
        origin_y=y,
        random_subset=np.where(np.isin(subset, (1, 2)), subset, 0).astype(np.int32),
        class_number=classes,
        missing_ctf=_missing_ctf(columns, found),
        has_poses=all(label in columns for label in POSE_LABELS),
    )


def _origins(where: str, columns: _Columns, found: Optics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Origins x and y, (n,) Å; 0 where the file has none."""
    pixel_size = found.groups.pixel_size[found.group]
    zeros = np.zeros(len(pixel_size))
    if "rlnOriginX" in columns and "rlnOriginXAngst" not in columns and np.isnan(pixel_size).any():
        raise InputError(f"{where}: rlnOriginX is in pixels, but there is no pixel size; add rlnImagePixelSize (Å)")
    x, y = (
        columns[angst] if angst in columns else columns[pixels] * pixel_size if pixels in columns else zeros.copy()
        for angst, pixels in zip(_ORIGIN_LABELS, _PIXEL_ORIGIN_LABELS, strict=True)
    )
    return x, y


def _missing_ctf(columns: _Columns, found: Optics) -> tuple[str, ...]:
    """Labels without which no CTF can be computed."""
    shared = (found.groups.voltage, found.groups.spherical_aberration, found.groups.amplitude_contrast)
    missing = [label for label in _DEFOCUS_LABELS if label not in columns]
    return (*missing, *(label for label, values in zip(SHARED_LABELS, shared, strict=True) if np.isnan(values).any()))
