"""STAR files of particles with other poses, all else to the letter."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.frame_changes import Axis, expanded, mirrored_angle, turned_pose
from pycryo.geometry.symmetry import Symmetry
from pycryo.io.particle_set import POSE_LABELS, Particles
from pycryo.io.particles import read_particles
from pycryo.io.selection import ParticleTable, write_rows

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_ANGLES = ("rot", "tilt", "psi")
# Where the origin of a pose is in a file: labels, and whether in Å.
_ORIGINS = ((("rlnOriginXAngst", "rlnOriginYAngst"), True), (("rlnOriginX", "rlnOriginY"), False))
_PRIOR_ORIGINS = (
    (("rlnOriginXPriorAngst", "rlnOriginYPriorAngst"), True),
    (("rlnOriginXPrior", "rlnOriginYPrior"), False),
)
_PRIORS = tuple(f"{label}Prior" for label in POSE_LABELS)


def write_mirrored(path: str | os.PathLike[str], source: ParticleTable, axis: Axis) -> None:
    """Write particles with the poses at which the mirrored map shows their images, priors likewise.

    Raises
    ------
    InputError
        If the file has no poses.
    """
    _require_poses(source)
    values = {
        label: mirrored_angle(name, source.numbers(label), axis)  # type: ignore[arg-type]
        for labels in (POSE_LABELS, _PRIORS)
        for name, label in zip(_ANGLES, labels, strict=True)
        if label in source.table.columns
    }
    write_rows(path, source, np.arange(len(source.table)), values)


def write_turned(path: str | os.PathLike[str], source: ParticleTable, frame: Array, centre: Array) -> None:
    """Write particles with the poses of the map ``W(u) = V(frame u + centre)``, see `turned_pose`; priors likewise.

    Parameters
    ----------
    path : path
    source : ParticleTable
    frame : (3, 3) float64
    centre : (3,) float64
        Å.

    Raises
    ------
    InputError
        If the file has no poses, or no pixel size where its origins are in pixels.
    """
    _require_poses(source)
    # Values in Å and the matrices of the optics groups, in the order of the file.
    particles = read_particles(source.path, validate=False)
    values, drop = _turned(source, particles, POSE_LABELS, _ORIGINS, frame, centre), []
    if set(_PRIORS) <= set(source.table.columns):
        values |= _turned(source, particles, _PRIORS, _PRIOR_ORIGINS, frame, centre)
    else:
        drop = [label for label in _PRIORS if label in source.table.columns]
    if drop:
        logger.warning("%s: priors of single angles cannot be turned: %s left out", source.path, ", ".join(drop))
    write_rows(path, source, np.arange(len(source.table)), values, drop)


def write_expanded(path: str | os.PathLike[str], source: ParticleTable, group: Symmetry) -> int:
    """Write each particle as often as the group has rotations, at all poses that see its image.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        If the file has no poses.
    """
    _require_poses(source)
    angles = _numbers(source, POSE_LABELS)
    rows = np.repeat(np.arange(len(source.table)), len(group))
    values = dict(zip(POSE_LABELS, expanded((angles[0], angles[1], angles[2]), group), strict=True))
    drop = [label for label in _PRIORS if label in source.table.columns]
    if drop:
        logger.warning("%s: priors are of one pose only: %s left out", source.path, ", ".join(drop))
    write_rows(path, source, rows, values, drop)
    return len(rows)


def _require_poses(source: ParticleTable) -> None:
    missing = [label for label in POSE_LABELS if label not in source.table.columns]
    if missing:
        raise InputError(f"{source.path} has no {', '.join(missing)}: give particles with poses")
    volumes = [label for label in ("rlnOriginZAngst", "rlnOriginZ", "rlnCtfImage") if label in source.table.columns]
    if volumes:
        raise InputError(f"{source.path} has {volumes[0]}: it is of sub-tomograms, whose poses are not those of images")


def _numbers(source: ParticleTable, labels: tuple[str, ...]) -> list[Array]:
    return [source.numbers(label) for label in labels]


def _turned(
    source: ParticleTable,
    particles: Particles,
    labels: tuple[str, ...],
    origins: tuple[tuple[tuple[str, str], bool], ...],
    frame: Array,
    centre: Array,
) -> dict[str, Any]:
    """New columns of one set of angles and its origins."""
    pixel_size = particles.pixel_size
    names, in_angstrom = next((each for each in origins if set(each[0]) <= set(source.table.columns)), origins[0])
    unit = np.ones(particles.n) if in_angstrom else pixel_size
    has_origin = set(names) <= set(source.table.columns)
    origin = np.stack(_numbers(source, names), axis=1) * unit[:, None] if has_origin else np.zeros((particles.n, 2))
    magnification = particles.optics.magnification[particles.optics_group]
    rot, tilt, psi = _numbers(source, labels)
    angles, moved = turned_pose((rot, tilt, psi), origin, frame, centre, magnification)
    found: dict[str, Any] = dict(zip(labels, angles, strict=True))
    if not np.isfinite(moved / unit[:, None]).all():
        raise InputError(f"{source.path}: origins are in pixels, but there is no pixel size; add rlnImagePixelSize (Å)")
    if has_origin or np.abs(centre).max() > 0:
        found |= dict(zip(names, (moved / unit[:, None]).T, strict=True))
    return found
